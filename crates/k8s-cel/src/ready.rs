//! The environments that a Kubernetes server has, with their variables.

use crate::{
    decl::Decl,
    env::Env,
    types::{Type, library},
};
use std::sync::{Arc, OnceLock};

/// A validation rule of a custom resource: `self`, and `oldSelf`, which is optional where the rule says
/// `optionalOldSelf`.
pub fn validation_rule(decl: &Arc<Decl>, optional_old_self: bool) -> Env {
    let old = match optional_old_self {
        true => Decl::of_type(Type::optional(decl.ty.clone())),
        false => decl.clone(),
    };
    Env::new().declared("self", decl.clone()).declared("oldSelf", old)
}

/// What an admission expression may refer to beside the request itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Admission {
    /// `params`: the policy has a paramKind.
    pub params: bool,
    /// `authorizer` and `authorizer.requestResource`.
    pub authorizer: bool,
    /// `Object{…}`, `JSONPatch{…}`: a mutation.
    pub patch_types: bool,
}

/// An expression of an admission policy, or a match condition: `object`, `oldObject`, `request` and `namespaceObject`,
/// and what `with` says. Objects have no schema here; null stands for one that is absent.
pub fn admission(with: Admission) -> Env {
    static REQUEST: OnceLock<Arc<Decl>> = OnceLock::new();
    static NAMESPACE: OnceLock<Arc<Decl>> = OnceLock::new();
    let mut env = Env::new()
        .variable("object", Type::Dyn)
        .variable("oldObject", Type::Dyn)
        .declared("namespaceObject", NAMESPACE.get_or_init(namespace).clone())
        .declared("request", REQUEST.get_or_init(request).clone());
    if with.params {
        env = env.variable("params", Type::Dyn);
    }
    if with.authorizer {
        env = env
            .variable("authorizer", library::AUTHORIZER)
            .variable("authorizer.requestResource", library::RESOURCE_CHECK);
    }
    if with.patch_types {
        env = env.patch_types();
    }
    env
}

/// The device that a selector of dynamic resource allocation looks at, as [`device`] declares it: for cost estimates. Source:
/// `k8s.io/dynamic-resource-allocation/cel`, with the feature gates that are on in 1.36.
pub fn device_decl() -> Arc<Decl> {
    const DRIVER: i64 = 63;
    const VALUE: i64 = 64;
    const ENTRIES: i64 = 32;
    let any = Decl::bounded(Type::Dyn, VALUE);
    let quantity = Decl::of_type(library::QUANTITY);
    Decl::object(
        "kubernetes.DRADevice",
        &[
            ("driver", Decl::bounded(Type::String, DRIVER)),
            ("allowMultipleAllocations", Decl::bounded(Type::Bool, 1)),
            ("attributes", Decl::map(Decl::map(any, ENTRIES), ENTRIES)),
            ("capacity", Decl::map(Decl::map(quantity, ENTRIES), ENTRIES)),
        ],
    )
}

/// A device selector: `device`, and `cel.bind`.
pub fn device() -> Env {
    Env::new().declared("device", device_decl()).bindings()
}

/// The environment with the policy's variables so far: `variables.name` for each. Variables are compiled in their order,
/// each in the environment of those before it.
pub fn with_variables(env: &Env, variables: &[(&str, Type)]) -> Env {
    let fields: Vec<(&str, Arc<Decl>)> =
        variables.iter().map(|(name, ty)| (*name, Decl::of_type(ty.clone()))).collect();
    env.clone().declared("variables", Decl::object("kubernetes.variables", &fields))
}

fn text() -> Arc<Decl> {
    Decl::of_type(Type::String)
}
fn time() -> Arc<Decl> {
    Decl::of_type(Type::Timestamp)
}

/// `request`: an AdmissionRequest without its objects and its uid.
fn request() -> Arc<Decl> {
    let kind = Decl::object("kubernetes.GroupVersionKind", &[("group", text()), ("version", text()), ("kind", text())]);
    let resource = Decl::object(
        "kubernetes.GroupVersionResource",
        &[("group", text()), ("version", text()), ("resource", text())],
    );
    let user = Decl::object(
        "kubernetes.UserInfo",
        &[
            ("username", text()),
            ("uid", text()),
            ("groups", Decl::list(text(), -1)),
            ("extra", Decl::map(Decl::list(text(), -1), -1)),
        ],
    );
    Decl::object(
        "kubernetes.AdmissionRequest",
        &[
            ("kind", kind.clone()),
            ("resource", resource.clone()),
            ("subResource", text()),
            ("requestKind", kind),
            ("requestResource", resource),
            ("requestSubResource", text()),
            ("name", text()),
            ("namespace", text()),
            ("operation", text()),
            ("userInfo", user),
            ("dryRun", Decl::of_type(Type::Bool)),
            ("options", Decl::of_type(Type::Dyn)),
        ],
    )
}

/// `namespaceObject`: a Namespace without the fields that nobody should decide by.
fn namespace() -> Arc<Decl> {
    let number = || Decl::of_type(Type::Int);
    let texts = || Decl::list(text(), -1);
    let metadata = Decl::object(
        "kubernetes.NamespaceMetadata",
        &[
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", Decl::map(text(), -1)),
            ("annotations", Decl::map(text(), -1)),
            ("UID", text()),
            ("creationTimestamp", time()),
            ("deletionGracePeriodSeconds", number()),
            ("deletionTimestamp", time()),
            ("generation", number()),
            ("resourceVersion", text()),
            ("finalizers", texts()),
        ],
    );
    let condition = Decl::object(
        "kubernetes.NamespaceCondition",
        &[
            ("status", text()),
            ("type", text()),
            ("lastTransitionTime", time()),
            ("message", text()),
            ("reason", text()),
        ],
    );
    let spec = Decl::object("kubernetes.NamespaceSpec", &[("finalizers", texts())]);
    let status =
        Decl::object("kubernetes.NamespaceStatus", &[("conditions", Decl::list(condition, -1)), ("phase", text())]);
    Decl::object("kubernetes.Namespace", &[("metadata", metadata), ("spec", spec), ("status", status)])
}
