//! A webhook as it is kept: everything of its configuration that a request needs, read once.

use super::{
    conditions::{Conditions, Rights},
    matching::{Criteria, Facts},
    versions::shown,
};
use auth::Authorizer;
use base::{Result, Status};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_cel::Activation;
use net::{Trust, outgoing::Target};
use resource::Attributes;
use schema::ReviewVersion;
use std::time::Duration;
use value::{Str, Value};

/// What a webhook has where it does not say: upstream's defaults.
const TIMEOUT_SECONDS: u64 = 10;
const PORT: u16 = 443;

/// One webhook.
pub struct Hook {
    /// The name of the object that it stands in.
    pub configuration: Str,
    pub name: Str,
    pub criteria: Criteria,
    conditions: Conditions,
    /// `failurePolicy: Ignore`
    pub fails_open: bool,
    /// May be called in a dry run.
    pub no_side_effects: bool,
    pub timeout: Duration,
    /// `reinvocationPolicy: IfNeeded`
    pub again: bool,
    pub review: Option<ReviewVersion>,
    pub target: Target,
    /// `Err`: why its authorities cannot be read.
    pub trust: Result<Trust, String>,
}

impl Hook {
    /// Of one entry of `webhooks` of a configuration.
    pub fn of(hook: &Value, configuration: &str) -> Self {
        let seconds = hook.at(&["timeoutSeconds"]).as_i64().and_then(|s| u64::try_from(s).ok());
        let client = hook.at(&["clientConfig"]);
        Hook {
            configuration: configuration.into(),
            name: hook.str_at(&["name"]).into(),
            criteria: Criteria::of_webhook(hook),
            conditions: Conditions::of(hook.items_at(&["matchConditions"]), false),
            fails_open: hook.str_at(&["failurePolicy"]) == "Ignore",
            no_side_effects: matches!(hook.str_at(&["sideEffects"]), "None" | "NoneOnDryRun"),
            timeout: Duration::from_secs(seconds.filter(|s| *s > 0).unwrap_or(TIMEOUT_SECONDS)),
            again: hook.str_at(&["reinvocationPolicy"]) == "IfNeeded",
            review: ReviewVersion::first(hook.items_at(&["admissionReviewVersions"])),
            target: target(client),
            trust: trust(client),
        }
    }

    /// The version in which the webhook sees the request, or that it does not.
    pub async fn wants(
        &self,
        a: &Attributes<'_>,
        old: Option<&Value>,
        authorizer: Option<&Authorizer>,
    ) -> Result<Option<usize>> {
        let facts = Facts::of(a.call, a.operation, &a.name);
        let Some(version) = self.criteria.matches(&facts, &a.object, old, a.view)? else { return Ok(None) };
        if self.conditions.is_empty() {
            return Ok(Some(version));
        }
        let object = shown(a, &a.object, version).await?;
        let old = shown(a, old.unwrap_or(&Value::Null), version).await?;
        let request = super::review::request(&facts, version, a.options);
        let activation = Activation::new()
            .bind("object", &object)
            .bind("oldObject", &old)
            .bind("request", &request)
            .bind("namespaceObject", &Value::Null);
        match self.conditions.matches(&Rights::of(authorizer, &facts).bind(activation)) {
            Ok(matched) => Ok(matched.then_some(version)),
            Err(_) if self.fails_open => Ok(None),
            Err(why) => {
                let kind = &a.call.kind;
                Err(Status::forbidden(a.call.group(), &kind.plural, &a.name, &why))
            }
        }
    }
}

/// Whom a `clientConfig` trusts; `Err`: why its authorities cannot be read.
pub fn trust(client: &Value) -> Result<Trust, String> {
    match client.str_at(&["caBundle"]) {
        "" => Ok(Trust::System),
        text => STANDARD.decode(text).map(|pem| Trust::Bundle(pem.into())).map_err(|e| e.to_string()),
    }
}

/// Where a `clientConfig` points.
pub fn target(client: &Value) -> Target {
    let service = client.at(&["service"]);
    if service.is_null() {
        return Target::Url(client.str_at(&["url"]).into());
    }
    let path = service.str_at(&["path"]);
    let slash = if path.is_empty() || path.starts_with('/') { "" } else { "/" };
    Target::Service {
        namespace: service.str_at(&["namespace"]).into(),
        name: service.str_at(&["name"]).into(),
        port: service.at(&["port"]).as_i64().and_then(|p| u16::try_from(p).ok()).unwrap_or(PORT),
        path: format!("{slash}{path}"),
    }
}
