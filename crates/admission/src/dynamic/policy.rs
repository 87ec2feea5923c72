//! ValidatingAdmissionPolicy and MutatingAdmissionPolicy, as far as they are alike: what a policy is about, its bindings,
//! its parameters, and what its expressions see.

use super::{
    conditions::{Conditions, Expression, Rights},
    matching::{Criteria, Facts, old},
    review,
    versions::{in_version, shown},
};
use auth::Authorizer;
use base::{Result, Status};
use k8s_cel::{Activation, Env, Type, ready};
use resource::Attributes;
use schema::Catalog;
use select::LabelSelector;
use std::sync::Arc;
use value::{Str, Value};

/// One policy with what it does (`W`), compiled.
pub struct Policy<W> {
    pub name: Str,
    pub criteria: Criteria,
    param_kind: Option<(Str, Str)>,
    pub fails_open: bool,
    pub conditions: Conditions,
    variables: Vec<(Str, Expression)>,
    pub work: W,
}

/// The environments of a policy's expressions.
pub struct Envs {
    pub full: Env,
    /// Without `authorizer`: messages.
    pub plain: Env,
}

/// One binding.
pub struct Binding {
    pub name: Str,
    pub policy: Str,
    criteria: Option<Criteria>,
    param_ref: Value,
    /// `validationActions`
    pub actions: Vec<Str>,
}

/// A policy and its bindings, in the order of their names.
pub struct Bound<W> {
    pub policy: Arc<Policy<W>>,
    pub bindings: Vec<Arc<Binding>>,
}

/// What a policy's expressions see of one request.
pub struct Seen {
    pub object: Value,
    pub old: Value,
    pub request: Value,
    pub namespace: Value,
    pub rights: Rights,
}

impl<W> Policy<W> {
    /// Compiles a policy; `work` compiles what it does.
    pub fn of(policy: &Value, patch_types: bool, work: impl FnOnce(&Value, &Envs) -> W) -> Self {
        let spec = policy.at(&["spec"]);
        let kind = spec.at(&["paramKind"]);
        let params = !kind.is_null();
        let env = |authorizer| ready::admission(ready::Admission { params, authorizer, patch_types });
        let mut envs = Envs { full: env(true), plain: env(false) };
        let mut variables: Vec<(Str, Expression)> = Vec::new();
        let mut types: Vec<(String, Type)> = Vec::new();
        for variable in spec.items_at(&["variables"]) {
            let name = variable.str_at(&["name"]);
            let compiled = Expression::compile(&envs.full, variable.str_at(&["expression"]));
            let ty = compiled.program.as_ref().map_or(Type::Dyn, |program| program.output_type().clone());
            variables.push((name.into(), compiled));
            types.push((name.into(), ty));
            let known: Vec<(&str, Type)> = types.iter().map(|(name, ty)| (name.as_str(), ty.clone())).collect();
            envs = Envs {
                full: ready::with_variables(&env(true), &known),
                plain: ready::with_variables(&env(false), &known),
            };
        }
        Policy {
            name: policy.name().into(),
            criteria: Criteria::of_policy(spec.at(&["matchConstraints"])),
            param_kind: params.then(|| (kind.str_at(&["apiVersion"]).into(), kind.str_at(&["kind"]).into())),
            fails_open: spec.str_at(&["failurePolicy"]) == "Ignore",
            conditions: Conditions::of(spec.items_at(&["matchConditions"]), params),
            variables,
            work: work(spec, &envs),
        }
    }

    /// The variables of its expressions.
    pub fn activation<'a>(&'a self, seen: &'a Seen, params: &'a Value) -> Activation<'a> {
        let mut activation = Activation::new()
            .bind("object", &seen.object)
            .bind("oldObject", &seen.old)
            .bind("request", &seen.request)
            .bind("namespaceObject", &seen.namespace)
            .bind("params", params);
        for (name, expression) in &self.variables {
            if let Ok(program) = &expression.program {
                activation = activation.variable(name, program);
            }
        }
        seen.rights.bind(activation)
    }

    /// The parameters that a binding brings, each for an evaluation of its own; one Null where there are none to bring.
    pub async fn params(
        &self,
        binding: &Binding,
        facts: &Facts<'_>,
        catalog: &Catalog,
        a: &Attributes<'_>,
    ) -> Result<Vec<Value>, String> {
        let (Some((api_version, kind)), false) = (&self.param_kind, binding.param_ref.is_null()) else {
            return Ok(vec![Value::Null]);
        };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let Some(found) = catalog.by_kind(group, kind).filter(|k| k.version(version).is_some()) else {
            return Err(format!("failed to find resource referenced by paramKind: '{group}/{version}, Kind={kind}'"));
        };
        let reference = &binding.param_ref;
        let given = reference.str_at(&["namespace"]);
        let namespace = match (found.namespaced(), given, facts.namespace) {
            (false, "", _) => "",
            (false, ..) => {
                return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".into());
            }
            (true, "", "") => {
                return Err(
                    "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources".into()
                );
            }
            (true, "", own) => own,
            (true, given, _) => given,
        };
        let objects = match reference.str_at(&["name"]) {
            "" => {
                let selector = LabelSelector::from_object(reference.at(&["selector"]))?;
                let mut all = a.view.list(group, &found.plural, Some(namespace));
                all.retain(|object| selector.matches(&object.meta));
                all
            }
            name => a.view.get(group, &found.plural, namespace, name).into_iter().collect(),
        };
        if objects.is_empty() && reference.str_at(&["parameterNotFoundAction"]) == "Deny" {
            return Err("no params found for policy binding with `Deny` parameterNotFoundAction".into());
        }
        let version = found.version(version).unwrap_or(found.storage);
        let mut params = Vec::with_capacity(objects.len());
        for object in &objects {
            params.push(in_version(a, found, object, version).await.map_err(|e| e.message().to_string())?);
        }
        Ok(params)
    }
}

impl Binding {
    pub fn of(binding: &Value) -> Self {
        let spec = binding.at(&["spec"]);
        let resources = spec.at(&["matchResources"]);
        let actions = spec.items_at(&["validationActions"]);
        Binding {
            name: binding.name().into(),
            policy: spec.str_at(&["policyName"]).into(),
            criteria: (!resources.is_null()).then(|| Criteria::of_policy(resources)),
            param_ref: spec.at(&["paramRef"]).clone(),
            actions: actions.iter().filter_map(Value::as_str).map(Str::from).collect(),
        }
    }
    /// Whether it brings its policy to a request.
    pub fn matches(&self, facts: &Facts<'_>, a: &Attributes<'_>) -> Result<bool> {
        let Some(criteria) = &self.criteria else { return Ok(true) };
        Ok(criteria.matches(facts, &a.object, old(a), a.view)?.is_some())
    }
}

/// Policies with those bindings that name them; a policy without one does nothing.
pub fn bound<W>(policies: Vec<Arc<Policy<W>>>, bindings: &[Arc<Binding>]) -> Vec<Bound<W>> {
    let own = |policy: &Policy<W>| bindings.iter().filter(|b| b.policy == policy.name).cloned().collect();
    let with = |policy: Arc<Policy<W>>| Bound { bindings: own(&policy), policy };
    policies.into_iter().map(with).filter(|bound| !bound.bindings.is_empty()).collect()
}

impl Seen {
    /// A request in the version that a policy is about.
    pub async fn of(a: &Attributes<'_>, version: usize, authorizer: Option<&Authorizer>) -> Result<Self> {
        let facts = Facts::of(a.call, a.operation, &a.name);
        let namespace = match a.call.namespace.as_str() {
            "" => Value::Null,
            name => {
                let found = a.view.get("", "namespaces", "", name);
                let mut namespace = found.ok_or_else(|| Status::not_found("", "namespaces", name))?.value();
                // Nobody should decide by these.
                namespace.remove(&["metadata", "managedFields"]);
                namespace.remove(&["metadata", "ownerReferences"]);
                namespace
            }
        };
        Ok(Seen {
            object: shown(a, &a.object, version).await?,
            old: shown(a, old(a).unwrap_or(&Value::Null), version).await?,
            request: review::request(&facts, version, a.options),
            namespace,
            rights: Rights::of(authorizer, &facts),
        })
    }
}

/// 403 in the words that admission has for a refusal, with another reason, code and message where they are given.
pub fn forbidden(a: &Attributes<'_>, why: &str, change: impl FnOnce(&mut Value)) -> Status {
    let status = Status::forbidden(a.call.group(), &a.call.kind.plural, &a.name, why);
    let mut tree = Value::from(status.to_json());
    change(&mut tree);
    Status::from_json(&(&tree).into()).unwrap_or(status)
}
