//! kubeconfig files: reading one's own connection from them, and merging a context into them.
//!
//! Files are handled as trees, so that whatever another tool wrote stays (comments are lost, as with `kubectl config`).
//! Writes go to a file beside and are renamed into place, mode 0600.

use crate::{Credentials, Error, Remote, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};
use value::{Value, value};

/// `$KUBECONFIG` (its first entry) or `~/.kube/config`.
pub fn default_path() -> Result<PathBuf> {
    if let Some(list) = std::env::var_os("KUBECONFIG")
        && let Some(first) = std::env::split_paths(&list).find(|p| !p.as_os_str().is_empty())
    {
        return Ok(first);
    }
    let home = std::env::var_os("HOME").ok_or_else(|| Error::Config("HOME is not set; name a kubeconfig".into()))?;
    Ok(Path::new(&home).join(".kube/config"))
}

/// A kubeconfig with one cluster, user and context, all named `name`.
pub fn document(name: &str, remote: &Remote) -> Value {
    let mut document = value!({"apiVersion": "v1", "kind": "Config"});
    merge(&mut document, name, remote);
    document
}

/// Writes the cluster, user and context `name` into the file and makes it the current context; everything else in the file
/// stays. A file that cannot be parsed is left alone and reported.
pub fn merge_file(path: &Path, name: &str, remote: &Remote) -> Result<()> {
    let mut document = match fs::read_to_string(path) {
        Ok(text) => parse(path, &text)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Value::object(),
        Err(e) => return Err(Error::Config(format!("{}: {e}", path.display()))),
    };
    merge(&mut document, name, remote);
    write_file(path, &document)
}

/// Takes the cluster, user and context `name` out of the file again. No file, or no such context: nothing happens.
pub fn remove_from_file(path: &Path, name: &str) -> Result<()> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::Config(format!("{}: {e}", path.display()))),
    };
    let mut document = parse(path, &text)?;
    let before = document.clone();
    for list in ["clusters", "users", "contexts"] {
        if let Some(items) = document.array_at_mut(&[list]) {
            items.retain(|item| item.str_at(&["name"]) != name);
        }
    }
    if document.str_at(&["current-context"]) == name {
        document.set(&["current-context"], "");
    }
    if document == before { Ok(()) } else { write_file(path, &document) }
}

/// Reads the connection of a context (`None`: the current one).
pub fn read_file(path: &Path, context: Option<&str>) -> Result<Remote> {
    let text = fs::read_to_string(path).map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
    let document = parse(path, &text)?;
    remote_of(&document, context, path.parent().unwrap_or(Path::new(".")))
        .map_err(|e| Error::Config(format!("{}: {e}", path.display())))
}

/// Writes a kubeconfig whole or not at all, mode 0600, and makes its directory.
pub fn write_file(path: &Path, document: &Value) -> Result<()> {
    let io = |e: std::io::Error| Error::Config(format!("{}: {e}", path.display()));
    let json = serde_json::Value::from(document);
    let text = serde_saphyr::to_string(&json).map_err(|e| Error::Config(format!("{}: {e}", path.display())))?;
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        fs::create_dir_all(dir).map_err(io)?;
    }
    // A symlinked kubeconfig stays a symlink.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let beside = target.with_extension(format!("ferry-{}", base::ids::suffix(6)));
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &target)
    };
    write().inspect_err(|_| drop(fs::remove_file(&beside))).map_err(io)
}

fn parse(path: &Path, text: &str) -> Result<Value> {
    if text.trim().is_empty() {
        return Ok(Value::object());
    }
    let json: serde_json::Value =
        serde_saphyr::from_str(text).map_err(|e| Error::Config(format!("{}: not YAML: {e}", path.display())))?;
    match Value::from(json) {
        document @ Value::Object(_) => Ok(document),
        _ => Err(Error::Config(format!("{}: not a kubeconfig", path.display()))),
    }
}

fn merge(document: &mut Value, name: &str, remote: &Remote) {
    document.set_default(&["apiVersion"], "v1");
    document.set_default(&["kind"], "Config");
    let mut cluster = value!({"server": remote.server.as_str()});
    if !remote.ca.is_empty() {
        cluster.set(&["certificate-authority-data"], STANDARD.encode(&remote.ca));
    }
    if let Some(server_name) = &remote.server_name {
        cluster.set(&["tls-server-name"], server_name);
    }
    let user = match &remote.credentials {
        Credentials::None => Value::object(),
        Credentials::Certificate { certificate, key } => value!({
            "client-certificate-data": STANDARD.encode(certificate), "client-key-data": STANDARD.encode(key),
        }),
        Credentials::Token(token) => value!({"token": token}),
        Credentials::TokenFile(file) => value!({"tokenFile": file}),
    };
    put(document, "clusters", name, "cluster", cluster);
    put(document, "users", name, "user", user);
    put(document, "contexts", name, "context", value!({"cluster": name, "user": name}));
    document.set(&["current-context"], name);
}

/// Replaces the entry of that name, or appends it.
fn put(document: &mut Value, list: &str, name: &str, field: &str, content: Value) {
    let mut entry = value!({"name": name});
    entry.set(&[field], content);
    if document.at(&[list]).as_array().is_none() {
        document.set(&[list], Vec::new());
    }
    let items = document.array_at_mut(&[list]).expect("made above");
    match items.iter_mut().find(|item| item.str_at(&["name"]) == name) {
        Some(item) => *item = entry,
        None => items.push(entry),
    }
}

fn remote_of(document: &Value, context: Option<&str>, dir: &Path) -> std::result::Result<Remote, String> {
    let name = context.unwrap_or_else(|| document.str_at(&["current-context"]));
    if name.is_empty() {
        return Err("no current-context".into());
    }
    let context = entry(document, "contexts", name)?.at(&["context"]);
    let cluster = entry(document, "clusters", context.str_at(&["cluster"]))?.at(&["cluster"]);
    let user = entry(document, "users", context.str_at(&["user"]))?.at(&["user"]);
    let pem = |from: &Value, field: &str| -> std::result::Result<Option<String>, String> {
        let data = from.str_at(&[&format!("{field}-data")]);
        if !data.is_empty() {
            let bytes = STANDARD.decode(data).map_err(|e| format!("{field}-data: {e}"))?;
            return String::from_utf8(bytes).map(Some).map_err(|e| format!("{field}-data: {e}"));
        }
        match from.str_at(&[field]) {
            "" => Ok(None),
            file => fs::read_to_string(dir.join(file)).map(Some).map_err(|e| format!("{file}: {e}")),
        }
    };
    let credentials = match (pem(user, "client-certificate")?, pem(user, "client-key")?) {
        (Some(certificate), Some(key)) => Credentials::Certificate { certificate, key },
        _ => match (user.str_at(&["token"]), user.str_at(&["tokenFile"])) {
            ("", "") => Credentials::None,
            ("", file) => Credentials::TokenFile(dir.join(file).display().to_string()),
            (token, _) => Credentials::Token(token.into()),
        },
    };
    Ok(Remote {
        server: cluster.str_at(&["server"]).into(),
        ca: pem(cluster, "certificate-authority")?.unwrap_or_default(),
        server_name: Some(cluster.str_at(&["tls-server-name"])).filter(|s| !s.is_empty()).map(String::from),
        credentials,
    })
}

fn entry<'a>(document: &'a Value, list: &str, name: &str) -> std::result::Result<&'a Value, String> {
    let found = document.items_at(&[list]).iter().find(|item| item.str_at(&["name"]) == name);
    found.ok_or_else(|| format!("{list}: no entry named {name:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn remote() -> Remote {
        Remote {
            server: "https://127.0.0.1:6443".into(),
            ca: "CA".into(),
            server_name: None,
            credentials: Credentials::Certificate { certificate: "C".into(), key: "K".into() },
        }
    }

    #[test]
    fn merging_keeps_what_others_wrote() {
        let dir = std::env::temp_dir().join(format!("ferry-kubeconfig-{}", base::ids::suffix(8)));
        let path = dir.join("sub/config");
        merge_file(&path, "ferry", &remote()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let other = "apiVersion: v1\nkind: Config\npreferences: {colors: true}\nclusters:\n- name: x\n  cluster: {server: 'https://x'}\ncurrent-context: x\n";
        fs::write(&path, other).unwrap();
        merge_file(&path, "ferry", &remote()).unwrap();
        merge_file(&path, "ferry", &remote()).unwrap();
        let document = parse(&path, &fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(document.items_at(&["clusters"]).len(), 2);
        assert_eq!(document.at(&["preferences", "colors"]).as_bool(), Some(true));
        let read = read_file(&path, None).unwrap();
        assert_eq!((read.server.as_str(), read.ca.as_str()), ("https://127.0.0.1:6443", "CA"));
        assert!(matches!(read.credentials, Credentials::Certificate { key, .. } if key == "K"));

        remove_from_file(&path, "ferry").unwrap();
        assert!(read_file(&path, Some("ferry")).is_err());
        fs::write(&path, "a: [").unwrap();
        assert!(merge_file(&path, "ferry", &remote()).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "a: [");
        fs::remove_dir_all(dir).unwrap();
    }
}
