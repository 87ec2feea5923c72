//! `status.typeChecking` of ValidatingAdmissionPolicies: what is wrong with their expressions for the types that their
//! rules name. It only warns: a policy may be about types that nobody knows yet.
//!
//! Upstream's controller manager does this with the OpenAPI documents; here it stands beside the index, where the
//! catalog is at hand. Source: `apiserver/pkg/admission/plugin/policy/validating/typechecking.go`.

use super::index::{GROUP, Source};
use base::User;
use k8s_cel::{Decl, Env, Type, ready};
use resource::{Call, Engine, WriteOptions};
use schema::Catalog;
use std::sync::Arc;
use value::{Str, Value, value};

/// Whose status it is, among the managers of the object.
const NAME: &str = "validatingadmissionpolicy-status-controller";

/// The most types that one policy is checked for.
const TYPES: usize = 10;

/// Brings the status of every policy up to its generation.
pub async fn all(engine: &Arc<Engine>) {
    for policy in engine.view().list(GROUP, Source::ValidatingPolicies.plural(), None) {
        let tree = policy.value();
        let generation = tree.at(&["metadata", "generation"]).as_i64().unwrap_or(0);
        if generation <= tree.at(&["status", "observedGeneration"]).as_i64().unwrap_or(0) {
            continue;
        }
        let catalog = engine.catalog();
        let Some(kind) = catalog.get(GROUP, Source::ValidatingPolicies.plural()).cloned() else { return };
        let mut checked = Value::object();
        let warnings = check(&tree, &catalog);
        if !warnings.is_empty() {
            checked.set(&["expressionWarnings"], warnings);
        }
        let body = value!({"status": {"observedGeneration": generation, "typeChecking": checked}});
        let patch = merge::Patch { kind: merge::PatchKind::Merge, body, duplicates: Vec::new() };
        let call = Call {
            user: Arc::new(User::service_account("kube-system", NAME, "")),
            version: kind.storage,
            kind,
            namespace: "".into(),
            name: tree.name().into(),
            subresource: Some("status".into()),
        };
        let options = WriteOptions { field_manager: NAME.into(), ..WriteOptions::default() };
        match engine.patch(&call, &patch, &options).await {
            Err(status) if !status.is(base::Reason::NotFound) => {
                tracing::warn!("status of policy {}: {status}", tree.name())
            }
            _ => {}
        }
    }
}

/// The warnings of a policy.
fn check(policy: &Value, catalog: &Catalog) -> Vec<Value> {
    let spec = policy.at(&["spec"]);
    let types = types(spec, catalog);
    let params = params(spec, catalog);
    let mut warnings = Vec::new();
    for (i, validation) in spec.items_at(&["validations"]).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let text = validation.str_at(&[field]);
            if text.is_empty() {
                continue;
            }
            let wrong = |(name, decl): &(String, Arc<Decl>)| {
                let why = env(spec, decl, params.as_ref()).compile(text).err()?;
                Some(format!("{name}: {why}\n"))
            };
            let found: Vec<String> = types.iter().filter_map(wrong).collect();
            if !found.is_empty() {
                let place = format!("spec.validations[{i}].{field}");
                warnings.push(value!({"fieldRef": place, "warning": (found.join("\n"))}));
            }
        }
    }
    warnings
}

/// The environment of a policy where its object is of one type.
fn env(spec: &Value, object: &Arc<Decl>, params: Option<&Arc<Decl>>) -> Env {
    let has_params = !spec.at(&["paramKind"]).is_null();
    let with = ready::Admission { params: has_params, authorizer: true, patch_types: false };
    let mut base = ready::admission(with).declared("object", object.clone()).declared("oldObject", object.clone());
    if let Some(params) = params {
        base = base.declared("params", params.clone());
    }
    let mut known: Vec<(&str, Type)> = Vec::new();
    let mut env = base.clone();
    for variable in spec.items_at(&["variables"]) {
        let ty =
            env.compile(variable.str_at(&["expression"])).map_or(Type::Dyn, |program| program.output_type().clone());
        known.push((variable.str_at(&["name"]), ty));
        env = ready::with_variables(&base, &known);
    }
    env
}

/// The types that the rules name without wildcards, as messages show them, in their order.
fn types(spec: &Value, catalog: &Catalog) -> Vec<(String, Arc<Decl>)> {
    let mut found: Vec<(Str, Str, Str, Arc<Decl>)> = Vec::new();
    for rule in spec.items_at(&["matchConstraints", "resourceRules"]) {
        let list = |field: &str| -> Vec<&str> {
            let mut list: Vec<&str> = rule.items_at(&[field]).iter().filter_map(Value::as_str).collect();
            if list.contains(&"*") {
                list.clear();
            }
            list.sort_unstable();
            list
        };
        for group in list("apiGroups") {
            for version in list("apiVersions") {
                for resource in list("resources").into_iter().filter(|r| !r.contains('/')) {
                    let Some(lookup) = catalog.resolve(group, version, resource) else { continue };
                    let kind = &lookup.kind;
                    let name = kind.kind.as_str();
                    let Some(decl) = Decl::of_schema(&kind.versions[lookup.version].schema, true, name) else {
                        continue;
                    };
                    found.push((group.into(), version.into(), name.into(), decl));
                }
            }
        }
    }
    found.sort_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
    found.dedup_by(|a, b| (&a.0, &a.1, &a.2) == (&b.0, &b.1, &b.2));
    found.truncate(TYPES);
    found.into_iter().map(|(group, version, kind, decl)| (format!("{group}/{version}, Kind={kind}"), decl)).collect()
}

/// The type of the parameters, where it is known.
fn params(spec: &Value, catalog: &Catalog) -> Option<Arc<Decl>> {
    let kind = spec.at(&["paramKind"]);
    let api_version = kind.str_at(&["apiVersion"]);
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let name = kind.str_at(&["kind"]);
    let found = catalog.by_kind(group, name)?;
    Decl::of_schema(&found.versions[found.version(version)?].schema, true, name)
}
