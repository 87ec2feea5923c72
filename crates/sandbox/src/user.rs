//! Users and groups of an image: `/etc/passwd` and `/etc/group` as text in, numbers out.

/// Who a process runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// From `/etc/group`; the caller adds the pod's.
    pub groups: Vec<u32>,
    /// For `HOME`; empty when the image does not say.
    pub home: String,
}

/// Resolves `user[:group]`, each a name or a number, against the image's files. An unknown name is an error; an unknown
/// number is fine (gid 0, no groups). An empty user is 0.
pub fn resolve(spec: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, explicit_group) = match spec.split_once(':') {
        Some((u, g)) => (u, Some(g).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let entry = entries(passwd).find(|f| f[0] == user || (number.is_some() && field(f, 2) == number));
    let (name, uid, gid, home) = match (&entry, number) {
        (Some(f), _) => (
            f[0].to_string(),
            field(f, 2).ok_or_else(|| format!("user {user:?}: bad line in /etc/passwd"))?,
            field(f, 3).unwrap_or(0),
            f.get(5).unwrap_or(&"").to_string(),
        ),
        (None, Some(uid)) => (String::new(), uid, 0, String::new()),
        (None, None) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    if let Some(g) = explicit_group {
        let gid = match g.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => entries(group)
                .find(|f| f[0] == g)
                .and_then(|f| field(&f, 2))
                .ok_or_else(|| format!("unable to find group {g}: no matching entries in group file"))?,
        };
        // As in the OCI tools: an explicit group stands alone.
        return Ok(User { uid, gid, groups: Vec::new(), home });
    }
    Ok(User { uid, gid, groups: memberships(&name, group), home })
}

/// The gids of the groups that list this user.
pub fn memberships(user: &str, group: &str) -> Vec<u32> {
    entries(group)
        .filter(|f| !user.is_empty() && f.get(3).is_some_and(|m| m.split(',').any(|m| m == user)))
        .filter_map(|f| field(&f, 2))
        .collect()
}

fn entries(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().map(|l| l.trim().split(':').collect::<Vec<_>>()).filter(|f| f.len() >= 3 && !f[0].starts_with('#'))
}

fn field(f: &[&str], i: usize) -> Option<u32> {
    f.get(i)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:50:web,root\nssl:x:51:web\n";

    #[test]
    fn table() {
        let check = |spec: &str, want: Result<(u32, u32, &[u32], &str), &str>| {
            let got = resolve(spec, PASSWD, GROUP);
            let got = got.as_ref().map(|u| (u.uid, u.gid, &u.groups[..], &u.home[..])).map_err(|e| &e[..]);
            assert_eq!(got, want, "{spec:?}");
        };
        check("", Ok((0, 0, &[50], "/root")));
        check("web", Ok((33, 34, &[50, 51], "/srv")));
        check("33", Ok((33, 34, &[50, 51], "/srv")));
        check("1000", Ok((1000, 0, &[], "")));
        check("1000:1001", Ok((1000, 1001, &[], "")));
        check("web:ssl", Ok((33, 51, &[], "/srv")));
        check("nobody", Err("unable to find user nobody: no matching entries in passwd file"));
        check("web:nogroup", Err("unable to find group nogroup: no matching entries in group file"));
    }
}
