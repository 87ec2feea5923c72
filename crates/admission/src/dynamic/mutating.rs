//! MutatingAdmissionPolicy: expressions that change what is written, by an apply configuration or a JSON patch. Source:
//! `apiserver/pkg/admission/plugin/policy/mutating`, whose sentences these are.

use super::{
    Dynamic,
    conditions::Expression,
    matching::{Facts, old},
    policy::{Bound, Envs, Policy, Seen, forbidden},
    versions::taken,
};
use base::Result;
use k8s_cel::{Budget, Val, to_tree};
use merge::managed::{self, Versions};
use resource::Attributes;
use schema::{Catalog, Kind, Schema};
use std::collections::BTreeSet;
use value::{Str, Value, value};

/// What a mutating policy does.
pub struct Mutations {
    mutations: Vec<Mutation>,
    again: bool,
}

enum Mutation {
    Apply(Expression),
    Patch(Expression),
}

/// Which policy was asked by which binding with which parameter.
type Asked = (Str, Str, String);

/// Which of the policies are asked again. Source: upstream's `policyReinvokeContext`.
#[derive(Debug, Default)]
pub struct Rounds {
    asked: BTreeSet<Asked>,
    due: BTreeSet<Asked>,
    last: Option<Value>,
    pub changed: bool,
}

impl Mutations {
    pub fn of(spec: &Value, envs: &Envs) -> Self {
        let mutation = |m: &Value| match m.str_at(&["patchType"]) {
            "JSONPatch" => Mutation::Patch(Expression::compile(&envs.full, m.str_at(&["jsonPatch", "expression"]))),
            _ => Mutation::Apply(Expression::compile(&envs.full, m.str_at(&["applyConfiguration", "expression"]))),
        };
        Mutations {
            mutations: spec.items_at(&["mutations"]).iter().map(mutation).collect(),
            again: spec.str_at(&["reinvocationPolicy"]) == "IfNeeded",
        }
    }
}

impl Mutation {
    /// The object with the mutation; `None` where it changes nothing.
    fn of(
        &self,
        policy: &Policy<Mutations>,
        kind: &Kind,
        seen: &Seen,
        params: &Value,
    ) -> Result<Option<Value>, String> {
        let activation = policy.activation(seen, params);
        let mut budget = Budget::default();
        match self {
            Mutation::Apply(expression) => {
                let val = expression.eval(&activation, &mut budget).map_err(|e| e.text())?;
                val.check_type_names().map_err(|why| format!("type mismatch: {why}"))?;
                let config = to_tree(&val).map_err(|e| e.to_string())?;
                applied(kind, &seen.object, config).map_err(|why| format!("error applying patch: {why}"))
            }
            Mutation::Patch(expression) => {
                let val = expression.eval(&activation, &mut budget).map_err(|e| e.text())?;
                patched(&seen.object, &val)
            }
        }
    }
}

/// One version of a kind: an apply configuration is in the object's own.
struct OneVersion<'a>(&'a Kind);

impl Versions for OneVersion<'_> {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        let version = (0..self.0.versions.len()).find(|v| self.0.api_version(*v) == api_version)?;
        Some(&self.0.versions[version].schema)
    }
    fn convert(&self, object: &Value, api_version: &str) -> Result<Option<Value>> {
        Ok((object.str_at(&["apiVersion"]) == api_version).then(|| object.clone()))
    }
    fn custom(&self) -> bool {
        self.0.custom.is_some()
    }
}

fn applied(kind: &Kind, object: &Value, mut config: Value) -> Result<Option<Value>, String> {
    for field in ["apiVersion", "kind"] {
        config.set(&[field], object.at(&[field]));
    }
    let api_version = object.str_at(&["apiVersion"]);
    let versions = OneVersion(kind);
    if let Some(schema) = versions.schema(api_version) {
        let atomic = managed::atomics(schema, &config);
        if !atomic.is_empty() {
            let places = atomic.join(", ");
            return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {places}"));
        }
    }
    let mut live = object.clone();
    let managers = live.remove(&["metadata", "managedFields"]);
    let reach = managed::Reach::default();
    let write = managed::Write { manager: "admission", api_version, subresource: "", time: "", reach: &reach };
    let merged = managed::apply(&versions, Some((&live, &Value::Null)), &config, &write, true);
    let merged = merged.map_err(|refused| match refused {
        managed::Refused::Misfit(lines) => format!("failed to convert patch object to typed object: {lines}"),
        managed::Refused::Status(status) => status.message().to_string(),
        managed::Refused::Conflicts(_) => "failed to merge patch".into(),
    })?;
    Ok(merged.object.map(|mut object| {
        if let Some(managers) = managers {
            object.set(&["metadata", "managedFields"], managers);
        }
        object
    }))
}

fn patched(object: &Value, val: &Val<'_>) -> Result<Option<Value>, String> {
    let Val::List(list) = val else {
        return Err("type mismatch: JSONPatchType.expression should evaluate to array".into());
    };
    let mut operations = Vec::new();
    for item in list.iter() {
        let item = item.map_err(|e| e.to_string())?;
        if let Val::Struct(operation) = &item
            && let Some((_, value)) = operation.fields.iter().find(|(name, _)| name == "value")
        {
            value.check_type_names().map_err(|why| format!("type mismatch: {why}"))?;
        }
        operations.push(to_tree(&item).map_err(|e| {
            format!("JSONPath valueExpression evaluated to a type that could not marshal to JSON: {e}")
        })?);
    }
    let patch = Value::Array(operations).to_json();
    let patch =
        merge::parse("application/json-patch+json", &patch).map_err(|e| format!("JSON Patch: {}", e.message()))?;
    match merge::json_patch(&patch, object.clone()) {
        Ok(new) => Ok(Some(new)),
        // A test that fails says that there is nothing to do.
        Err(why) if why.contains("test failed") => Ok(None),
        Err(why) => Err(format!("JSON Patch: {why}")),
    }
}

impl Dynamic {
    /// One round of all policies.
    pub async fn mutate_by_policies(
        &self,
        policies: &[Bound<Mutations>],
        a: &mut Attributes<'_>,
        catalog: &Catalog,
        rounds: &mut Rounds,
        again: bool,
    ) -> Result<()> {
        if again && rounds.last.as_ref().is_some_and(|last| *last != a.object) {
            rounds.due.append(&mut rounds.asked);
        }
        let mut failures: Vec<(String, Option<&str>)> = Vec::new();
        let invocations = self.invocations(policies, a, catalog, &mut failures).await;
        for (policy, version, asked, params) in invocations {
            if again && !rounds.due.contains(&asked) {
                continue;
            }
            let mut seen = Seen::of(a, version, self.authorizer.get()).await?;
            let mut fail = |why: String| {
                if !policy.fails_open {
                    let text = format!("policy '{}' with binding '{}' denied request: {why}", asked.0, asked.1);
                    failures.push((text, Some("Invalid")));
                }
            };
            match policy.conditions.matches(&policy.activation(&seen, &params)) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(why) => {
                    fail(why);
                    continue;
                }
            }
            for mutation in &policy.work.mutations {
                if a.object.is_null() {
                    break;
                }
                match mutation.of(policy, &a.call.kind, &seen, &params) {
                    Ok(None) => {}
                    Ok(Some(object)) => {
                        let object = taken(a, object, version).await?;
                        if object != a.object {
                            a.object = object;
                            rounds.changed = true;
                            rounds.due.append(&mut rounds.asked);
                            seen = Seen::of(a, version, self.authorizer.get()).await?;
                        }
                    }
                    Err(why) => fail(why),
                }
            }
            if policy.work.again {
                rounds.asked.insert(asked);
            }
        }
        rounds.last = (!rounds.asked.is_empty() || !rounds.due.is_empty()).then(|| a.object.clone());
        let Some((message, reason)) = failures.first() else { return Ok(()) };
        Err(forbidden(a, "admission request denied by policy", |status| {
            status.set(&["message"], message.as_str());
            if let Some(reason) = reason {
                status.set(&["reason"], *reason);
            }
            let causes: Value = failures.iter().map(|(text, _)| value!({"message": (text.as_str())})).collect();
            status.set(&["details", "causes"], causes);
        }))
    }

    /// Every policy that the request is about, with its version, once per binding and parameter.
    async fn invocations<'p>(
        &self,
        policies: &'p [Bound<Mutations>],
        a: &Attributes<'_>,
        catalog: &Catalog,
        failures: &mut Vec<(String, Option<&'static str>)>,
    ) -> Vec<(&'p Policy<Mutations>, usize, Asked, Value)> {
        let facts = Facts::of(a.call, a.operation, &a.name);
        let mut all = Vec::new();
        for Bound { policy, bindings } in policies {
            let version = match policy.criteria.matches(&facts, &a.object, old(a), a.view) {
                Ok(None) => continue,
                Ok(Some(version)) => version,
                Err(_) if policy.fails_open => continue,
                Err(status) => {
                    let why = status.message();
                    failures.push((
                        format!("policy {:?} denied request: failed to configure policy: {why}", policy.name.as_str()),
                        None,
                    ));
                    continue;
                }
            };
            for binding in bindings {
                let params = match binding.matches(&facts, a) {
                    Ok(false) => continue,
                    Ok(true) => policy.params(binding, &facts, catalog, a).await,
                    Err(status) => Err(status.message().to_string()),
                };
                match params {
                    Ok(params) => all.extend(params.into_iter().map(|params| {
                        let param = format!("{}/{}", params.namespace(), params.name());
                        (&**policy, version, (policy.name.clone(), binding.name.clone(), param), params)
                    })),
                    Err(_) if policy.fails_open => {}
                    Err(why) => {
                        let (policy, binding) = (&policy.name, &binding.name);
                        let text = format!(
                            "policy '{policy}' with binding '{binding}' denied request: failed to configure binding: {why}"
                        );
                        failures.push((text, None));
                    }
                }
            }
        }
        all
    }
}
