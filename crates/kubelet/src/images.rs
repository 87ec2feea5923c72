//! Images for containers: policy, credentials from pull Secrets, and the words for what went wrong.

use crate::{node::Node, objects::Fetched};
use base64::Engine;
use control::Reference;
use cri::{AuthConfig, Image, ImageReason};
use k8s_openapi::api::core::v1::{Container, Pod};
use value::Value;
use volumes::Objects;

/// An image could not be had: reason and message of the waiting state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageProblem {
    pub reason: &'static str,
    pub message: String,
}

/// `Always`, `IfNotPresent`, `Never`; where the spec says nothing, `:latest` or no tag is pulled always.
pub fn policy(spec: &Container) -> &str {
    match spec.image_pull_policy.as_deref() {
        Some(policy) if !policy.is_empty() => policy,
        _ => {
            let image = spec.image.as_deref().unwrap_or_default();
            let last = image.rsplit('/').next().unwrap_or(image);
            let latest = !last.contains('@') && last.split_once(':').is_none_or(|(_, tag)| tag == "latest");
            if latest { "Always" } else { "IfNotPresent" }
        }
    }
}

/// Makes sure that the image is there; returns it and the reference to use.
pub async fn ensure(
    node: &Node,
    pod: &Pod,
    spec: &Container,
    secrets: &Fetched,
    about: &Reference,
) -> Result<(Image, String), ImageProblem> {
    let name = spec.image.as_deref().unwrap_or_default();
    let policy = policy(spec);
    let present = node.images.image_status(name).await.map_err(|e| {
        let (reason, message) = match e {
            // Nobody is asked for what is no name.
            cri::Error::Image(ImageReason::InvalidImageName, why) | cri::Error::InvalidArgument(why) => {
                (ImageReason::InvalidImageName, format!("Failed to apply default image tag {name:?}: {why}"))
            }
            cri::Error::Image(reason, why) => (reason, format!("Failed to inspect image {name:?}: {why}")),
            other => (ImageReason::ImageInspectError, format!("Failed to inspect image {name:?}: {other}")),
        };
        node.recorder.warning(about, "InspectFailed", &message);
        node.recorder.warning(about, "Failed", format!("Error: {}", reason.as_str()));
        ImageProblem { reason: reason.as_str(), message }
    })?;
    match present {
        Some(image) if policy != "Always" => {
            node.recorder.normal(about, "Pulled", format!("Container image {name:?} already present on machine"));
            Ok((image, name.to_string()))
        }
        None if policy == "Never" => {
            let message = format!("Container image {name:?} is not present with pull policy of Never");
            node.recorder.warning(about, "ErrImageNeverPull", &message);
            Err(ImageProblem { reason: "ErrImageNeverPull", message })
        }
        _ => pull(node, pod, name, secrets, about).await,
    }
}

async fn pull(
    node: &Node,
    pod: &Pod,
    name: &str,
    secrets: &Fetched,
    about: &Reference,
) -> Result<(Image, String), ImageProblem> {
    node.recorder.normal(about, "Pulling", format!("Pulling image {name:?}"));
    let begun = std::time::Instant::now();
    let mut result = Err(cri::Error::NotFound(name.to_string()));
    let credentials = credentials(pod, name, secrets);
    // Each credential that fits, and without any last, as upstream tries them.
    let none = (credentials.is_empty()).then_some(None);
    for auth in credentials.iter().map(Some).chain(none) {
        result = node.images.pull_image(name, auth).await;
        if result.is_ok() {
            break;
        }
    }
    let reference = result.map_err(|e| {
        let (reason, why) = match e {
            // A registry that does not answer shows as the failed pull that it is.
            cri::Error::Image(ImageReason::RegistryUnavailable, why) => (ImageReason::ErrImagePull, why),
            cri::Error::Image(reason, why) => (reason, why),
            cri::Error::InvalidArgument(why) => (ImageReason::InvalidImageName, why),
            other => (ImageReason::ErrImagePull, other.to_string()),
        };
        let message = format!("failed to pull and unpack image {name:?}: {why}");
        node.recorder.warning(about, "Failed", format!("Failed to pull image {name:?}: {why}"));
        node.recorder.warning(about, "Failed", format!("Error: {}", reason.as_str()));
        ImageProblem { reason: reason.as_str(), message }
    })?;
    let image = node.images.image_status(&reference).await.ok().flatten().unwrap_or_default();
    let took = begun.elapsed();
    let took = match took.as_millis() {
        ms @ 0..1000 => format!("{ms}ms"),
        _ => format!("{:.3}s", took.as_secs_f64()),
    };
    let message = format!(
        "Successfully pulled image {name:?} in {took} ({took} including waiting). Image size: {} bytes.",
        image.size
    );
    node.recorder.normal(about, "Pulled", message);
    Ok((image, reference))
}

/// The names of a pod's pull Secrets.
pub fn pull_secrets(pod: &Pod) -> Vec<String> {
    let spec = pod.spec.as_ref();
    spec.into_iter().flat_map(|s| s.image_pull_secrets.iter().flatten()).map(|r| r.name.clone()).collect()
}

/// The credentials that a pod's pull Secrets hold for the registry of an image, the longest match first.
pub fn credentials(pod: &Pod, image: &str, secrets: &Fetched) -> Vec<AuthConfig> {
    let mut found: Vec<(usize, AuthConfig)> = Vec::new();
    for name in pull_secrets(pod) {
        let Some(data) = secrets.secret(&name) else { continue };
        let text = data.get(".dockerconfigjson").or_else(|| data.get(".dockercfg"));
        let Some(Ok(document)) = text.map(|bytes| value::parse_lenient(bytes)) else { continue };
        let auths = if document.get("auths").is_some() { document.at(&["auths"]) } else { &document };
        for (registry, entry) in auths.members_at(&[]) {
            if let Some(weight) = matches(registry, image) {
                found.push((weight, auth(registry, entry)));
            }
        }
    }
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    found.into_iter().map(|(_, auth)| auth).collect()
}

/// How specific a registry entry is for an image; `None` where it is another registry's.
fn matches(registry: &str, image: &str) -> Option<usize> {
    let entry = registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let entry = entry.trim_end_matches("/v1").trim_end_matches("/v2");
    let first = image.split('/').next().unwrap_or_default();
    let qualified = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let hub = matches!(entry, "index.docker.io" | "docker.io" | "registry-1.docker.io");
    if hub {
        let of_hub = !qualified || first == "docker.io" || first == "index.docker.io";
        return of_hub.then_some(entry.len());
    }
    let rest = image.strip_prefix(entry)?;
    (rest.is_empty() || rest.starts_with(['/', ':', '@'])).then_some(entry.len())
}

fn auth(registry: &str, entry: &Value) -> AuthConfig {
    let mut auth = AuthConfig {
        username: entry.str_at(&["username"]).into(),
        password: entry.str_at(&["password"]).into(),
        auth: entry.str_at(&["auth"]).into(),
        server_address: registry.into(),
        identity_token: entry.str_at(&["identitytoken"]).into(),
        registry_token: entry.str_at(&["registrytoken"]).into(),
    };
    if auth.username.is_empty() && !auth.auth.is_empty() {
        let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).unwrap_or_default();
        if let Some((user, password)) = String::from_utf8_lossy(&decoded).split_once(':') {
            (auth.username, auth.password) = (user.into(), password.into());
        }
    }
    auth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies() {
        for (image, own, want) in [
            ("nginx", None, "Always"),
            ("nginx:latest", None, "Always"),
            ("nginx:1.2", None, "IfNotPresent"),
            ("localhost:5000/nginx", None, "Always"),
            ("nginx@sha256:00", None, "IfNotPresent"),
            ("nginx", Some("Never"), "Never"),
        ] {
            let spec = Container {
                image: Some(image.into()),
                image_pull_policy: own.map(String::from),
                ..Container::default()
            };
            assert_eq!(policy(&spec), want, "{image}");
        }
    }

    #[test]
    fn registries_match_images() {
        for (registry, image, want) in [
            ("https://index.docker.io/v1/", "nginx:1", true),
            ("https://index.docker.io/v1/", "ghcr.io/x/y", false),
            ("ghcr.io", "ghcr.io/x/y:1", true),
            ("ghcr.io/x", "ghcr.io/x/y", true),
            ("ghcr.io/x", "ghcr.io/xy/z", false),
            ("localhost:5000", "localhost:5000/a", true),
        ] {
            assert_eq!(matches(registry, image).is_some(), want, "{registry} {image}");
        }
    }
}
