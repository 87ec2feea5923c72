//! The files of ConfigMap, Secret, downward API and projected volumes, from objects that were fetched.

use crate::{
    atomic::{File, Files},
    downward::{self, Facts},
    plan::TOKEN_SECONDS,
};
use k8s_openapi::api::core::v1::{DownwardAPIVolumeFile, KeyToPath, Pod, Volume};
use std::{collections::BTreeMap, fmt};

/// Keys and values of a ConfigMap (data and binaryData) or a Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// What was fetched before. All of the pod's own namespace.
pub trait Objects {
    fn config_map(&self, name: &str) -> Option<Data>;
    fn secret(&self, name: &str) -> Option<Data>;
    /// A bound token for the pod's ServiceAccount.
    fn token(&self, audience: &str, seconds: i64) -> Option<String>;
}

/// Why a volume's content cannot be made. The pod waits; a change of the objects may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// `configmap "x" not found`
    NotFound { resource: &'static str, name: String },
    /// A key is asked for that the object lacks.
    NoKey { resource: &'static str, key: String },
    /// No token could be had from the API server.
    NoToken,
    /// A path that leaves the volume, or an unknown field of the downward API.
    Unsupported(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound { resource, name } => write!(f, "{resource} {name:?} not found"),
            Error::NoKey { resource, key } => write!(f, "{resource} references non-existent config key: {key}"),
            Error::NoToken => f.write_str("failed to fetch token"),
            Error::Unsupported(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

/// The files of one volume; `private` makes tokens readable by their owner only (a user or group will own them).
pub fn content(
    volume: &Volume,
    pod: &Pod,
    facts: &Facts,
    objects: &dyn Objects,
    private: bool,
) -> Result<Files, Error> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let (items, mode) = (source.items.as_deref(), mode(source.default_mode));
        let data = objects.config_map(&source.name);
        add(&mut files, "configmap", &source.name, data, items, mode, source.optional)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let (items, mode) = (source.items.as_deref(), mode(source.default_mode));
        add(&mut files, "secret", name, objects.secret(name), items, mode, source.optional)?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        add_downward(&mut files, items, mode(source.default_mode), pod, facts)?;
    } else if let Some(projected) = &volume.projected {
        let mode = mode(projected.default_mode);
        for source in projected.sources.iter().flatten() {
            if let Some(s) = &source.config_map {
                let data = objects.config_map(&s.name);
                add(&mut files, "configmap", &s.name, data, s.items.as_deref(), mode, s.optional)?;
            }
            if let Some(s) = &source.secret {
                let data = objects.secret(&s.name);
                add(&mut files, "secret", &s.name, data, s.items.as_deref(), mode, s.optional)?;
            }
            if let Some(s) = &source.downward_api {
                add_downward(&mut files, s.items.as_deref().unwrap_or_default(), mode, pod, facts)?;
            }
            if let Some(s) = &source.service_account_token {
                let seconds = s.expiration_seconds.unwrap_or(TOKEN_SECONDS);
                let token = objects.token(s.audience.as_deref().unwrap_or_default(), seconds).ok_or(Error::NoToken)?;
                let mode = if private { 0o600 } else { mode };
                insert(&mut files, &s.path, token.into_bytes(), mode)?.owned = true;
            }
            if source.cluster_trust_bundle.is_some() || source.pod_certificate.is_some() {
                return Err(Error::Unsupported("this node projects neither trust bundles nor pod certificates".into()));
            }
        }
    }
    Ok(files)
}

fn mode(mode: Option<i32>) -> u32 {
    mode.and_then(|m| u32::try_from(m).ok()).unwrap_or(0o644)
}

fn add(
    files: &mut Files,
    resource: &'static str,
    name: &str,
    data: Option<Data>,
    items: Option<&[KeyToPath]>,
    default_mode: u32,
    optional: Option<bool>,
) -> Result<(), Error> {
    let optional = optional.unwrap_or(false);
    let Some(data) = data else {
        return if optional { Ok(()) } else { Err(Error::NotFound { resource, name: name.into() }) };
    };
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        for (key, bytes) in data {
            insert(files, &key, bytes, default_mode)?;
        }
        return Ok(());
    };
    for item in items {
        match data.get(&item.key) {
            Some(bytes) => {
                insert(files, &item.path, bytes.clone(), item.mode.map_or(default_mode, |m| mode(Some(m))))?;
            }
            None if optional => {}
            None => return Err(Error::NoKey { resource, key: item.key.clone() }),
        }
    }
    Ok(())
}

fn add_downward(
    files: &mut Files,
    items: &[DownwardAPIVolumeFile],
    default_mode: u32,
    pod: &Pod,
    facts: &Facts,
) -> Result<(), Error> {
    for item in items {
        let text = if let Some(selector) = &item.field_ref {
            downward::field(pod, facts, &selector.field_path)?
        } else if let Some(selector) = &item.resource_field_ref {
            let name = selector.container_name.as_deref().unwrap_or_default();
            let spec = pod.spec.as_ref();
            let all = spec.into_iter().flat_map(|s| s.containers.iter().chain(s.init_containers.iter().flatten()));
            let container = all.into_iter().find(|c| c.name == name);
            let container = container.ok_or_else(|| Error::Unsupported(format!("container {name} not found")))?;
            downward::resource(container, facts, selector)?
        } else {
            String::new()
        };
        insert(files, &item.path, text.into_bytes(), item.mode.map_or(default_mode, |m| mode(Some(m))))?;
    }
    Ok(())
}

fn insert<'a>(files: &'a mut Files, path: &str, bytes: Vec<u8>, mode: u32) -> Result<&'a mut File, Error> {
    let inside = |part: &str| !part.is_empty() && part != "." && part != "..";
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    if parts.is_empty() || path.starts_with('/') || !parts.iter().all(|p| inside(p)) || parts[0].starts_with("..") {
        return Err(Error::Unsupported(format!("invalid path {path:?} in a volume")));
    }
    let file = files.entry(parts.join("/")).or_default();
    *file = File { bytes, mode, owned: false };
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fixed;
    impl Objects for Fixed {
        fn config_map(&self, name: &str) -> Option<Data> {
            (name == "c").then(|| [("a".to_string(), b"1".to_vec()), ("b".into(), b"2".to_vec())].into())
        }
        fn secret(&self, name: &str) -> Option<Data> {
            (name == "s").then(|| [("k".to_string(), vec![0, 1])].into())
        }
        fn token(&self, audience: &str, seconds: i64) -> Option<String> {
            (audience != "none").then(|| format!("{audience}:{seconds}"))
        }
    }

    fn make(volume: serde_json::Value) -> Result<String, String> {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "labels": {"x": "y"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"cpu": "1"}}}], "volumes": [volume]}
        }))
        .unwrap();
        let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        let files = content(volume, &pod, &Facts::default(), &Fixed, false).map_err(|e| e.to_string())?;
        let line = |(path, f): (&String, &File)| {
            format!("{path}={}/{:o}", String::from_utf8_lossy(&f.bytes).escape_debug(), f.mode)
        };
        Ok(files.iter().map(line).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn what_volumes_hold() {
        for (volume, want) in [
            (json!({"name": "v", "configMap": {"name": "c", "defaultMode": 256}}), Ok("a=1/400 b=2/400")),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "x/y", "mode": 420}]}}),
                Ok("x/y=1/644"),
            ),
            (json!({"name": "v", "configMap": {"name": "none"}}), Err("configmap \"none\" not found")),
            (json!({"name": "v", "configMap": {"name": "none", "optional": true}}), Ok("")),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "z", "path": "x"}]}}),
                Err("configmap references non-existent config key: z"),
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "optional": true, "items": [{"key": "z", "path": "x"}]}}),
                Ok(""),
            ),
            (
                json!({"name": "v", "configMap": {"name": "c", "items": [{"key": "a", "path": "../x"}]}}),
                Err("invalid path \"../x\" in a volume"),
            ),
            (json!({"name": "v", "secret": {"secretName": "s"}}), Ok("k=\\0\\u{1}/644")),
            (
                json!({"name": "v", "downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "cpu", "resourceFieldRef": {"containerName": "c", "resource": "limits.cpu"}}]}}),
                Ok("cpu=1/644 labels=x=\\\"y\\\"/644"),
            ),
            (
                json!({"name": "v", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "c", "items": [{"key": "a", "path": "ca"}]}}]}}),
                Ok("ca=1/644 token=:3600/644"),
            ),
            (
                json!({"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "audience": "none"}}]}}),
                Err("failed to fetch token"),
            ),
        ] {
            let want = want.map(String::from).map_err(String::from);
            assert_eq!(make(volume.clone()), want, "{volume}");
        }
    }
}
