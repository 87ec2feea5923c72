//! Kubeconfig files as upstream's server reads them for its webhooks: the current context says which server is called, by
//! whose certificate it is believed, and what is shown to it.
//!
//! Files that are named in it are read once, with it. There is no call without TLS, so a server of another scheme is
//! refused, and so is what this server could not do: `tls-server-name`, `proxy-url` and programs that print credentials.

use admission::{Credential, Credentials};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
use net::{Endpoint, Trust};
use pki::Leaf;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use value::Value;

/// Reads a file. The error names it.
pub fn load(path: &Path) -> Result<Endpoint, String> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let tree = wire::yaml::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?.value;
    of(&tree, dir).map_err(|e| format!("{}: {e}", path.display()))
}

/// The same of its text; relative names of files begin at `dir`.
pub fn of(config: &Value, dir: &Path) -> Result<Endpoint, String> {
    let named = |list: &str, name: &str, what: &'static str| -> Result<Value, String> {
        let mut entries = config.items_at(&[list]).iter();
        let found = entries.find(|entry| entry.str_at(&["name"]) == name);
        found.map(|entry| entry.at(&[what]).clone()).ok_or_else(|| format!("{what} {name:?} does not exist"))
    };
    let current = config.str_at(&["current-context"]);
    let context = named("contexts", current, "context")?;
    let cluster = named("clusters", context.str_at(&["cluster"]), "cluster")?;
    let user = match context.str_at(&["user"]) {
        "" => Value::Null,
        name => named("users", name, "user")?,
    };
    let url = cluster.str_at(&["server"]);
    if !url.starts_with("https://") {
        return Err(format!("server {url:?}: want https://"));
    }
    unsupported(&[(&cluster, "tls-server-name"), (&cluster, "proxy-url"), (&user, "exec"), (&user, "auth-provider")])?;
    let trust =
        match (cluster.at(&["insecure-skip-tls-verify"]).as_bool(), given(&cluster, "certificate-authority", dir)?) {
            (Some(true), _) => Trust::Anyone,
            (_, Some(pem)) => Trust::Bundle(pem.into()),
            (_, None) => Trust::System,
        };
    Ok(Endpoint { url: url.into(), trust, identity: identity(&user, dir)?, headers: authorization(&user, dir)? })
}

/// What a kubeconfig file of webhooks says is shown to whom: its users, by name, and that of the current context.
pub fn credentials(path: &Path) -> Result<Credentials, String> {
    let dir = path.parent().unwrap_or(Path::new(""));
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let tree = wire::yaml::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?.value;
    shown(&tree, dir).map_err(|e| format!("{}: {e}", path.display()))
}

fn shown(config: &Value, dir: &Path) -> Result<Credentials, String> {
    let mut all = Credentials::default();
    for entry in config.items_at(&["users"]) {
        let user = entry.at(&["user"]);
        unsupported(&[(user, "exec"), (user, "auth-provider"), (user, "as")])?;
        let credential = Credential { identity: identity(user, dir)?, headers: authorization(user, dir)? };
        all.users.insert(entry.str_at(&["name"]).into(), credential);
    }
    let current = config.str_at(&["current-context"]);
    let mut contexts = config.items_at(&["contexts"]).iter();
    let context = contexts.find(|context| !current.is_empty() && context.str_at(&["name"]) == current);
    all.current = context.and_then(|context| all.users.get(context.str_at(&["context", "user"])).cloned());
    Ok(all)
}

fn unsupported(fields: &[(&Value, &str)]) -> Result<(), String> {
    match fields.iter().find(|(of, field)| !of.at(&[field]).is_null()) {
        Some((_, field)) => Err(format!("{field} is not supported")),
        None => Ok(()),
    }
}

fn identity(user: &Value, dir: &Path) -> Result<Option<Arc<Leaf>>, String> {
    match (given(user, "client-certificate", dir)?, given(user, "client-key", dir)?) {
        (Some(cert_pem), Some(key_pem)) => Ok(Some(Arc::new(Leaf { cert_pem, key_pem }))),
        (None, None) => Ok(None),
        _ => Err("client-certificate and client-key go together".into()),
    }
}

/// The text of `field`, which is the name of a file, or of `field-data`, which is the text itself in base64.
fn given(of: &Value, field: &str, dir: &Path) -> Result<Option<String>, String> {
    let data = of.str_at(&[&format!("{field}-data")]);
    if !data.is_empty() {
        let bytes = STANDARD.decode(data).map_err(|e| format!("{field}-data: {e}"))?;
        return String::from_utf8(bytes).map(Some).map_err(|e| format!("{field}-data: {e}"));
    }
    match of.str_at(&[field]) {
        "" => Ok(None),
        name => read(dir.join(name)).map(Some),
    }
}

fn read(path: PathBuf) -> Result<String, String> {
    std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
}

fn authorization(user: &Value, dir: &Path) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let token = match (user.str_at(&["token"]), user.str_at(&["tokenFile"])) {
        ("", "") => None,
        (token, "") => Some(token.to_string()),
        (_, file) => Some(read(dir.join(file))?.trim().to_string()),
    };
    let text = match (token, user.str_at(&["username"])) {
        (Some(token), _) => format!("Bearer {token}"),
        (None, "") => return Ok(headers),
        (None, name) => format!("Basic {}", STANDARD.encode(format!("{name}:{}", user.str_at(&["password"])))),
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| "the credential is no text for a header".to_string())?;
    value.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, value);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn config(cluster: Value, user: Value) -> Value {
        value!({"apiVersion": "v1", "kind": "Config", "current-context": "hook",
            "contexts": [{"name": "other", "context": {}}, {"name": "hook", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": cluster}], "users": [{"name": "u", "user": user}]})
    }
    fn read(cluster: Value, user: Value) -> Result<Endpoint, String> {
        of(&config(cluster, user), Path::new("/nowhere"))
    }

    #[test]
    fn what_is_called_and_how() {
        let url = "https://hook.example.com/audit";
        let plain = read(value!({"server": url}), value!({})).unwrap();
        assert_eq!((plain.url.as_str(), &plain.trust, plain.identity.is_none()), (url, &Trust::System, true));
        assert!(plain.headers.is_empty());
        let pem = STANDARD.encode("pem");
        let full = read(
            value!({"server": url, "certificate-authority-data": (pem.as_str())}),
            value!({"client-certificate-data": (pem.as_str()), "client-key-data": (pem.as_str()), "token": "t"}),
        );
        let full = full.unwrap();
        assert_eq!(full.trust, Trust::Bundle("pem".into()));
        assert_eq!(full.identity.unwrap().key_pem, "pem");
        assert_eq!(full.headers[header::AUTHORIZATION], "Bearer t");
        let basic = read(value!({"server": url}), value!({"username": "a", "password": "b"})).unwrap();
        assert_eq!(basic.headers[header::AUTHORIZATION], format!("Basic {}", STANDARD.encode("a:b")));
    }

    #[test]
    fn what_is_shown_to_webhooks() {
        let user = |name: &str, user: Value| value!({"name": name, "user": user});
        let mut file = value!({"current-context": "c", "contexts": [{"name": "c", "context": {"user": "b"}}],
            "users": [user("*.ops.svc", value!({"token": "t"})), user("b", value!({"username": "u", "password": "p"}))]});
        let found = shown(&file, Path::new("/nowhere")).unwrap();
        assert_eq!(found.users["*.ops.svc"].headers[header::AUTHORIZATION], "Bearer t");
        assert_eq!(found.current.unwrap().headers[header::AUTHORIZATION], format!("Basic {}", STANDARD.encode("u:p")));
        file.set(&["users"], value!([user("x", value!({"exec": {"command": "c"}}))]));
        assert_eq!(shown(&file, Path::new("")).err().unwrap(), "exec is not supported");
    }

    #[test]
    fn what_is_refused() {
        let url = "https://h";
        for (cluster, user, want) in [
            (value!({"server": "http://h"}), value!({}), "server \"http://h\": want https://"),
            (value!({"server": url, "tls-server-name": "x"}), value!({}), "tls-server-name is not supported"),
            (value!({"server": url}), value!({"exec": {}}), "exec is not supported"),
            (
                value!({"server": url}),
                value!({"client-key-data": "eA=="}),
                "client-certificate and client-key go together",
            ),
            (
                value!({"server": url, "certificate-authority": "ca.pem"}),
                value!({}),
                "/nowhere/ca.pem: No such file or directory (os error 2)",
            ),
        ] {
            assert_eq!(read(cluster, user).unwrap_err(), want);
        }
        assert_eq!(of(&value!({"current-context": "x"}), Path::new("")).unwrap_err(), "context \"x\" does not exist");
    }
}
