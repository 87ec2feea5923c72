//! Bearer tokens that another server knows: a TokenReview for each, and its answer kept for a while.
//! Source: `apiserver/plugin/pkg/authenticator/token/webhook`.

use crate::{
    review::user_of_info,
    webhook::{Kept, Reviewer, key},
};
use base::{User, clock::Clock};
use net::{Endpoint, Outgoing};
use std::{sync::Arc, time::Duration};
use value::{Value, value};

/// How long the server may take. Source: upstream's `WebhookTokenAuthnCacheTTL` config has 30 seconds for a call.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many answers are kept.
const KEPT: usize = 4096;

/// Where tokens are reviewed.
#[derive(Debug, Clone)]
pub struct TokenWebhookConfig {
    pub endpoint: Endpoint,
    /// `v1`, or `v1beta1`, which is upstream's default.
    pub version: String,
    /// How long an answer counts.
    pub ttl: Duration,
}

impl TokenWebhookConfig {
    /// With upstream's defaults.
    pub fn to(endpoint: Endpoint) -> Self {
        TokenWebhookConfig { endpoint, version: "v1beta1".into(), ttl: Duration::from_secs(120) }
    }
}

type Answer = Option<(User, Vec<String>)>;

pub struct TokenWebhook {
    reviewer: Reviewer,
    api_version: String,
    ttl: Duration,
    kept: Kept<Answer>,
}

impl TokenWebhook {
    /// The error says that the version is none.
    pub fn new(config: &TokenWebhookConfig, outgoing: Arc<Outgoing>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let version = &config.version;
        if !matches!(version.as_str(), "v1" | "v1beta1") {
            return Err(format!(
                "unsupported authentication webhook version {version:?}, supported versions are \"v1\", \"v1beta1\""
            ));
        }
        Ok(TokenWebhook {
            reviewer: Reviewer { endpoint: config.endpoint.clone(), outgoing, timeout: TIMEOUT },
            api_version: format!("authentication.k8s.io/{version}"),
            ttl: config.ttl,
            kept: Kept::new(KEPT, clock),
        })
    }

    /// Whose token it is, and for which of the wanted audiences it is good. `own`: the API server's audiences, which a
    /// server means that names none.
    pub async fn user(&self, token: &str, wanted: &[String], own: &[String]) -> Result<Answer, String> {
        let mut parts = vec![token];
        parts.extend(wanted.iter().map(String::as_str));
        let key = key(&parts);
        if let Some(answer) = self.kept.get(&key) {
            return Ok(answer);
        }
        let status = self.reviewer.ask(&self.review(token, wanted)).await;
        let status = status.inspect_err(|why| tracing::error!("token webhook: {why}"))?;
        let answer = answered(&status, wanted, own)?;
        self.kept.put(key, answer.clone(), self.ttl);
        Ok(answer)
    }

    fn review(&self, token: &str, audiences: &[String]) -> Value {
        value!({
            "kind": "TokenReview", "apiVersion": (self.api_version.as_str()), "metadata": {},
            "spec": {"token": token, "audiences": (audiences.iter().map(String::as_str).collect::<Value>())},
        })
    }
}

/// An error is not kept: it may be another one, or none, the next time.
fn answered(status: &Value, wanted: &[String], own: &[String]) -> Result<Answer, String> {
    let given: Vec<String> =
        status.items_at(&["audiences"]).iter().filter_map(Value::as_str).map(String::from).collect();
    let got = if given.is_empty() { own } else { &given };
    let audiences: Vec<String> = wanted.iter().filter(|audience| got.contains(audience)).cloned().collect();
    if audiences.is_empty() {
        return Ok(None);
    }
    if status.at(&["authenticated"]).as_bool() != Some(true) {
        return match status.str_at(&["error"]) {
            "" => Ok(None),
            why => Err(why.into()),
        };
    }
    let mut user = user_of_info(status.at(&["user"]));
    if user.name.is_empty() {
        return Err("the token webhook names no user".into());
    }
    if !user.in_group("system:authenticated") && !user.in_group("system:unauthenticated") {
        user.groups.push("system:authenticated".into());
    }
    Ok(Some((user, audiences)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means() {
        let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let said = |status: Value, wanted: &[&str]| match answered(&status, &texts(wanted), &texts(&["api"])) {
            Ok(None) => "nobody".to_string(),
            Ok(Some((user, audiences))) => format!("{} {:?} {:?} {audiences:?}", user.name, user.groups, user.extra),
            Err(why) => why,
        };
        let alice =
            || value!({"authenticated": true, "user": {"username": "alice", "groups": ["dev"], "extra": {"k": ["v"]}}});
        let good = r#"alice ["dev", "system:authenticated"] [("k", ["v"])] ["api"]"#;
        assert_eq!(said(alice(), &["api"]), good);
        assert_eq!(said(alice(), &["other"]), "nobody", "who names no audience means the API server's");
        let mut named = alice();
        named.set(&["audiences"], value!(["other"]));
        assert_eq!(said(named.clone(), &["api"]), "nobody", "the token is for somebody else");
        assert!(said(named, &["other", "api"]).ends_with(r#"["other"]"#));
        assert_eq!(said(value!({"user": {"username": "alice"}}), &["api"]), "nobody");
        assert_eq!(said(value!({"error": "no"}), &["api"]), "no");
        assert_eq!(said(value!({"authenticated": true, "user": {}}), &["api"]), "the token webhook names no user");
    }
}
