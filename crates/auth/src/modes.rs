//! `AuthorizationConfiguration`: who is asked whether a request may be made, and in which order. Source: KEP-3221;
//! `apiserver/pkg/apis/apiserver/validation`, whose sentences these are.
//!
//! `system:masters` comes before all of them, as upstream has it. There is no AlwaysAllow here: this server has no way to
//! turn authorization off.

use crate::{
    access_webhook::{AccessWebhookConfig, Condition},
    shape::{self, Shape},
};
use base::{FieldErrors, names};
use net::Endpoint;
use std::{collections::HashSet, sync::Arc, time::Duration};
use value::Value;

const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];
/// Those that this server has.
const TYPES: [&str; 4] = ["AlwaysDeny", "Node", "RBAC", "Webhook"];
/// Defaults of a webhook's answers. Source: upstream's `SetDefaults_WebhookConfiguration`.
const ALLOWED: Duration = Duration::from_secs(300);
const REFUSED: Duration = Duration::from_secs(30);
const MOST_CONDITIONS: usize = 64;

/// One authorizer.
#[derive(Debug, Clone)]
pub enum ModeConfig {
    Node,
    Rbac,
    /// Nobody after it is asked.
    AlwaysDeny,
    Webhook(Box<AccessWebhookConfig>),
}

/// Node, then RBAC.
pub fn default() -> Vec<ModeConfig> {
    vec![ModeConfig::Node, ModeConfig::Rbac]
}

/// Reads a file; `load` reads the kubeconfig files that it names.
pub fn of(file: &Value, load: &dyn Fn(&str) -> Result<Endpoint, String>) -> Result<Vec<ModeConfig>, String> {
    let (api_version, kind) = (file.str_at(&["apiVersion"]), file.str_at(&["kind"]));
    if !VERSIONS.contains(&api_version) || kind != "AuthorizationConfiguration" {
        return Err(format!("no kind {kind:?} is registered for version {api_version:?}"));
    }
    shape::check(file, FILE, true)?;
    let mut errors = FieldErrors::default();
    let list = file.items_at(&["authorizers"]);
    if list.is_empty() {
        errors.required("authorizers", "at least one authorization mode must be defined");
    }
    let (mut types, mut seen, mut modes) = (HashSet::new(), HashSet::new(), Vec::new());
    for (i, entry) in list.iter().enumerate() {
        let at = format!("authorizers[{i}]");
        let (kind, name) = (entry.str_at(&["type"]), entry.str_at(&["name"]));
        if kind.is_empty() {
            errors.required(format!("{at}.type"), "");
            continue;
        }
        if !TYPES.contains(&kind) {
            errors.not_supported(format!("{at}.type"), kind, &TYPES);
            continue;
        }
        if !types.insert(kind) && kind != "Webhook" {
            errors.duplicate(format!("{at}.type"), kind);
            continue;
        }
        if name.is_empty() {
            errors.required(format!("{at}.name"), "");
        } else if !seen.insert(name) {
            errors.duplicate(format!("{at}.name"), name);
        } else if let Err(why) = names::subdomain(name) {
            errors.invalid(format!("{at}.name"), name, format!("authorizer name is invalid: {why}"));
        }
        let of = entry.at(&["webhook"]);
        match (kind, of.is_null()) {
            ("Webhook", true) => errors.required(format!("{at}.webhook"), "required when type=Webhook"),
            ("Webhook", false) => {
                modes.extend(webhook(name, of, &at, load, &mut errors).map(|w| ModeConfig::Webhook(Box::new(w))))
            }
            (_, false) => {
                errors.invalid(format!("{at}.webhook"), "non-null", "may only be specified when type=Webhook")
            }
            ("Node", _) => modes.push(ModeConfig::Node),
            ("RBAC", _) => modes.push(ModeConfig::Rbac),
            _ => modes.push(ModeConfig::AlwaysDeny),
        }
    }
    if errors.is_empty() { Ok(modes) } else { Err(errors.aggregate()) }
}

/// What the file may hold.
const FILE: Shape = Shape::Struct(&[
    ("apiVersion", Shape::Text),
    ("kind", Shape::Text),
    ("authorizers", Shape::List(&Shape::Struct(&[("type", Shape::Text), ("name", Shape::Text), ("webhook", WEBHOOK)]))),
]);
const WEBHOOK: Shape = Shape::Struct(&[
    ("authorizedTTL", Shape::Text),
    ("cacheAuthorizedRequests", Shape::Bool),
    ("unauthorizedTTL", Shape::Text),
    ("cacheUnauthorizedRequests", Shape::Bool),
    ("timeout", Shape::Text),
    ("subjectAccessReviewVersion", Shape::Text),
    ("matchConditionSubjectAccessReviewVersion", Shape::Text),
    ("failurePolicy", Shape::Text),
    ("connectionInfo", Shape::Struct(&[("type", Shape::Text), ("kubeConfigFile", Shape::Text)])),
    ("matchConditions", Shape::List(&Shape::Struct(&[("expression", Shape::Text)]))),
]);

fn webhook(
    name: &str,
    of: &Value,
    at: &str,
    load: &dyn Fn(&str) -> Result<Endpoint, String>,
    errors: &mut FieldErrors,
) -> Option<AccessWebhookConfig> {
    let before = errors.0.len();
    let text = |field: &str| of.str_at(&[field]);
    let mut time = |field: &str| match duration(text(field)) {
        Ok(time) => time,
        Err(why) => {
            errors.invalid(format!("{at}.{field}"), text(field), why);
            Duration::ZERO
        }
    };
    let (timeout, allowed, refused) = (time("timeout"), time("authorizedTTL"), time("unauthorizedTTL"));
    if timeout.is_zero() && errors.0.len() == before {
        errors.required(format!("{at}.timeout"), "");
    } else if timeout > Duration::from_secs(30) {
        errors.invalid(format!("{at}.timeout"), text("timeout"), "must be > 0s and <= 30s");
    }
    let version = text("subjectAccessReviewVersion");
    match version {
        "" => errors.required(format!("{at}.subjectAccessReviewVersion"), ""),
        "v1" | "v1beta1" => {}
        other => errors.not_supported(format!("{at}.subjectAccessReviewVersion"), other, &["v1", "v1beta1"]),
    }
    let list = of.items_at(&["matchConditions"]);
    let version_at = format!("{at}.matchConditionSubjectAccessReviewVersion");
    match text("matchConditionSubjectAccessReviewVersion") {
        "" if list.is_empty() => {}
        "" => errors.required(version_at, "required if match conditions are specified"),
        "v1" => {}
        other => errors.not_supported(version_at, other, &["v1"]),
    }
    let policy = text("failurePolicy");
    match policy {
        "" => errors.required(format!("{at}.failurePolicy"), ""),
        "NoOpinion" | "Deny" => {}
        other => errors.not_supported(format!("{at}.failurePolicy"), other, &["NoOpinion", "Deny"]),
    }
    let conditions = conditions(list, at, errors);
    let endpoint = endpoint(of.at(&["connectionInfo"]), &format!("{at}.connectionInfo"), load, errors);
    let kept = |time: Duration, default: Duration, flag: &str| {
        let time = if time.is_zero() { default } else { time };
        (of.at(&[flag]).as_bool() != Some(false)).then_some(time)
    };
    let config = AccessWebhookConfig {
        name: name.into(),
        endpoint: endpoint?,
        version: version.into(),
        timeout,
        allowed_ttl: kept(allowed, ALLOWED, "cacheAuthorizedRequests"),
        refused_ttl: kept(refused, REFUSED, "cacheUnauthorizedRequests"),
        fails_closed: policy == "Deny",
        conditions,
    };
    (errors.0.len() == before).then_some(config)
}

fn conditions(list: &[Value], at: &str, errors: &mut FieldErrors) -> Vec<Arc<Condition>> {
    if list.len() > MOST_CONDITIONS {
        errors.invalid_raw(
            format!("{at}.matchConditions"),
            list.len(),
            format!("must have at most {MOST_CONDITIONS} items"),
        );
        return Vec::new();
    }
    let (mut seen, mut all) = (HashSet::new(), Vec::new());
    for (i, condition) in list.iter().enumerate() {
        let (at, text) = (format!("{at}.matchConditions[{i}].expression"), condition.str_at(&["expression"]));
        if text.trim().is_empty() {
            errors.required(at, "");
        } else if !seen.insert(text) {
            errors.duplicate(at, text);
        } else {
            match Condition::compile(text) {
                Ok(condition) => all.push(Arc::new(condition)),
                Err(why) => errors.invalid(at, text, why),
            }
        }
    }
    all
}

fn endpoint(
    of: &Value,
    at: &str,
    load: &dyn Fn(&str) -> Result<Endpoint, String>,
    errors: &mut FieldErrors,
) -> Option<Endpoint> {
    let file = of.str_at(&["kubeConfigFile"]);
    let file_at = format!("{at}.kubeConfigFile");
    match of.str_at(&["type"]) {
        "" => errors.required(format!("{at}.type"), ""),
        "KubeConfigFile" if file.is_empty() => errors.required(file_at, ""),
        "KubeConfigFile" if !file.starts_with('/') => errors.invalid(file_at, file, "must be an absolute path"),
        "KubeConfigFile" => match load(file) {
            Ok(endpoint) => return Some(endpoint),
            Err(why) => errors.invalid(file_at, file, format!("error loading file: {why}")),
        },
        other => errors.not_supported(format!("{at}.type"), other, &["KubeConfigFile"]),
    }
    None
}

/// A duration as Go prints it: `5m`, `1m30s`, `500ms`; nothing is zero.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("time: invalid duration {text:?}");
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..end].parse().map_err(|_| wrong())?;
        let unit_end = rest[end..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| end + n);
        let seconds = match &rest[end..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number * seconds;
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn file(authorizers: Value) -> Value {
        value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers})
    }
    fn hook() -> Value {
        value!({"timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
            "matchConditionSubjectAccessReviewVersion": "v1", "matchConditions": [{"expression": "request.user != 'x'"}],
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": "/hook.yaml"}})
    }
    fn read(authorizers: Value) -> Result<Vec<ModeConfig>, String> {
        let load = |path: &str| match path {
            "/hook.yaml" => {
                let (url, headers) = ("https://h".to_string(), http::HeaderMap::new());
                Ok(Endpoint { url, trust: net::Trust::System, identity: None, headers })
            }
            _ => Err("no such file".to_string()),
        };
        of(&file(authorizers), &load)
    }

    #[test]
    fn a_good_file() {
        let modes = read(value!([
            {"type": "Webhook", "name": "w", "webhook": (hook())},
            {"type": "Node", "name": "node"}, {"type": "RBAC", "name": "rbac"},
        ]));
        let modes = modes.unwrap();
        let [ModeConfig::Webhook(w), ModeConfig::Node, ModeConfig::Rbac] = modes.as_slice() else {
            panic!("{modes:?}")
        };
        assert_eq!((w.timeout, w.allowed_ttl, w.refused_ttl), (Duration::from_secs(3), Some(ALLOWED), Some(REFUSED)));
        assert_eq!((w.fails_closed, w.conditions.len()), (true, 1));
        let mut own = hook();
        own.set(&["authorizedTTL"], "1m30s");
        own.set(&["cacheUnauthorizedRequests"], false);
        let modes = read(value!([{"type": "Webhook", "name": "w", "webhook": own}])).unwrap();
        let [ModeConfig::Webhook(w)] = modes.as_slice() else { panic!("{modes:?}") };
        assert_eq!((w.allowed_ttl, w.refused_ttl), (Some(Duration::from_secs(90)), None));
    }

    #[test]
    fn wrong_files() {
        let with = |path: &[&str], v: Value| {
            let mut hook = hook();
            hook.set(path, v);
            read(value!([{"type": "Webhook", "name": "w", "webhook": hook}])).unwrap_err()
        };
        for (got, want) in [
            (
                read(value!([])).unwrap_err(),
                "authorizers: Required value: at least one authorization mode must be defined",
            ),
            (read(value!([{"name": "x"}])).unwrap_err(), "authorizers[0].type: Required value"),
            (
                read(value!([{"type": "AlwaysAllow", "name": "x"}])).unwrap_err(),
                "authorizers[0].type: Unsupported value: \"AlwaysAllow\": supported values: \"AlwaysDeny\", \"Node\", \"RBAC\", \"Webhook\"",
            ),
            (
                read(value!([{"type": "RBAC", "name": "x"}, {"type": "RBAC", "name": "y"}])).unwrap_err(),
                "authorizers[1].type: Duplicate value: \"RBAC\"",
            ),
            (
                read(value!([{"type": "RBAC", "name": "x"}, {"type": "Node", "name": "x"}])).unwrap_err(),
                "authorizers[1].name: Duplicate value: \"x\"",
            ),
            (
                read(value!([{"type": "Webhook", "name": "w"}])).unwrap_err(),
                "authorizers[0].webhook: Required value: required when type=Webhook",
            ),
            (
                with(&["timeout"], value!("31s")),
                "authorizers[0].timeout: Invalid value: \"31s\": must be > 0s and <= 30s",
            ),
            (
                with(&["timeout"], value!("soon")),
                "authorizers[0].timeout: Invalid value: \"soon\": time: invalid duration \"soon\"",
            ),
            (with(&["failurePolicy"], value!("")), "authorizers[0].failurePolicy: Required value"),
            (
                with(&["connectionInfo", "kubeConfigFile"], value!("hook.yaml")),
                "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"hook.yaml\": must be an absolute path",
            ),
            (
                with(&["connectionInfo", "kubeConfigFile"], value!("/other")),
                "authorizers[0].connectionInfo.kubeConfigFile: Invalid value: \"/other\": error loading file: no such file",
            ),
            (
                with(&["matchConditions"], value!([{"expression": "1"}])),
                "authorizers[0].matchConditions[0].expression: Invalid value: \"1\": must evaluate to bool but got int",
            ),
            (
                with(&["failurePolice"], value!("Deny")),
                "strict decoding error: unknown field \"authorizers[0].webhook.failurePolice\"",
            ),
            (
                with(&["matchConditions"], value!({"expression": "true"})),
                "strict decoding error: cannot unmarshal object into field \"authorizers[0].webhook.matchConditions\" of type array",
            ),
            (
                with(&["cacheAuthorizedRequests"], value!("false")),
                "strict decoding error: cannot unmarshal string into field \"authorizers[0].webhook.cacheAuthorizedRequests\" of type boolean",
            ),
        ] {
            assert_eq!(got, want);
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("", Some(0)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1500)),
            ("10", None),
            ("1x", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), want, "{text}");
        }
    }
}
