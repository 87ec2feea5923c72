//! ImagePolicyWebhook: somebody else says which images may run. It is a step of the chain and no [`crate::Plugin`], because
//! it waits; what it was told it keeps for a while.

use crate::plugin::forbid;
use auth::webhook::{Kept, Reviewer, key};
use base::{Result, clock::System};
use net::{Endpoint, Outgoing};
use resource::{Attributes, Call};
use schema::Operation;
use std::{sync::Arc, time::Duration};
use value::{Value, value};

const AUDIT: &str = "imagepolicywebhook.image-policy.k8s.io/";
/// How many answers are kept.
const ANSWERS: usize = 1024;
/// For one call.
const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Configuration {
    pub endpoint: Endpoint,
    /// How long a yes counts.
    pub allowed: Duration,
    /// How long a no counts.
    pub denied: Duration,
    /// The first pause after a failure.
    pub backoff: Duration,
    /// Images may run where nobody answers.
    pub default_allow: bool,
}

pub struct ImagePolicy {
    configuration: Configuration,
    kept: Kept<Value>,
}

impl ImagePolicy {
    pub fn new(configuration: Configuration) -> Self {
        ImagePolicy { configuration, kept: Kept::new(ANSWERS, Arc::new(System)) }
    }
    /// Whether it has anything to say.
    pub fn applies(&self, call: &Call, operation: Operation) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && call.kind.group.is_empty()
            && call.kind.plural == "pods"
            && matches!(call.subresource.as_deref(), None | Some("ephemeralcontainers"))
    }
    /// Asks about a pod's images.
    pub async fn ask(&self, outgoing: Option<&Arc<Outgoing>>, a: &Attributes<'_>) -> Result<()> {
        let own = &self.configuration;
        let spec = question(a);
        let key = key(&[&spec.to_string()]);
        let status = match self.kept.get(&key) {
            Some(status) => status,
            None => match self.call(outgoing, spec).await {
                Ok(status) => {
                    let life = if is_allowed(&status) { own.allowed } else { own.denied };
                    self.kept.put(key, status.clone(), life);
                    status
                }
                Err(why) if own.default_allow => {
                    tracing::warn!("the image policy webhook is not asked: {why}");
                    a.options.notes.add(format!("{AUDIT}failed-open"), || "true".into());
                    return Ok(());
                }
                Err(why) => return Err(forbid(a, why)),
            },
        };
        for (name, value) in status.members_at(&["auditAnnotations"]) {
            a.options.notes.add(format!("{AUDIT}{name}"), || value.as_str().unwrap_or("").into());
        }
        match (is_allowed(&status), status.str_at(&["reason"])) {
            (true, _) => Ok(()),
            (false, "") => Err(forbid(a, "one or more images rejected by webhook backend")),
            (false, why) => Err(forbid(a, format!("image policy webhook backend denied one or more images: {why}"))),
        }
    }

    async fn call(&self, outgoing: Option<&Arc<Outgoing>>, spec: Value) -> Result<Value, String> {
        let outgoing = outgoing.cloned().ok_or("the server is starting")?;
        let review = value!({"apiVersion": "imagepolicy.k8s.io/v1alpha1", "kind": "ImageReview",
            "metadata": {}, "spec": spec, "status": {"allowed": false}});
        let reviewer = Reviewer { endpoint: self.configuration.endpoint.clone(), outgoing, timeout: TIMEOUT };
        reviewer.ask_after(&review, self.configuration.backoff).await
    }
}

fn is_allowed(status: &Value) -> bool {
    status.at(&["allowed"]).as_bool() == Some(true)
}

/// `spec` of the review.
fn question(a: &Attributes<'_>) -> Value {
    let lists: &[&str] = match a.call.subresource {
        None => &["containers", "initContainers"],
        Some(_) => &["ephemeralContainers"],
    };
    let containers = lists.iter().flat_map(|list| a.object.items_at(&["spec", list]));
    let containers: Vec<Value> = containers.map(|c| value!({"image": (c.str_at(&["image"]))})).collect();
    let mut spec = value!({"namespace": (a.call.namespace.as_str())});
    if !containers.is_empty() {
        spec.set(&["containers"], Value::Array(containers));
    }
    for (name, text) in a.object.members_at(&["metadata", "annotations"]) {
        if name.contains(".image-policy.k8s.io/") {
            spec.set(&["annotations", name], text.clone());
        }
    }
    spec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plugin, Target, testing::Case};
    use parking_lot::Mutex;

    #[test]
    fn what_is_asked() {
        #[derive(Default)]
        struct Asks(Mutex<String>);
        impl Plugin for Asks {
            fn applies(&self, _: &Call, _: Target<'_>) -> bool {
                true
            }
            fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
                *self.0.lock() = question(a).to_string();
                Ok(())
            }
        }
        let pod = value!({"metadata": {"name": "p", "namespace": "dev",
                "annotations": {"break-glass.image-policy.k8s.io/ticket": "7", "other": "x"}},
            "spec": {"containers": [{"image": "a"}], "initContainers": [{"image": "b"}], "ephemeralContainers": [{"image": "c"}]}});
        for (case, want) in [
            (
                Case::default().create("", "pods", pod.clone()),
                r#"{"annotations":{"break-glass.image-policy.k8s.io/ticket":"7"},"containers":[{"image":"a"},{"image":"b"}],"namespace":"dev"}"#,
            ),
            (
                Case::default().update("", "pods", "ephemeralcontainers", pod.clone(), pod.clone()),
                r#"{"annotations":{"break-glass.image-policy.k8s.io/ticket":"7"},"containers":[{"image":"c"}],"namespace":"dev"}"#,
            ),
        ] {
            let asks = Asks::default();
            crate::testing::check(&asks, case, "ok");
            assert_eq!(*asks.0.lock(), want);
        }
    }
}
