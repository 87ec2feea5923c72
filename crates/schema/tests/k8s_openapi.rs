//! The table of built-in types against the k8s-openapi crate: field names and types of every kind served.
//!
//! k8s-openapi's types are walked by deserializing them: a deserializer that is asked for a struct compares the names it
//! is given with the table's, and then offers every field in turn, so that the walk reaches what the struct contains.

use schema::{Arena, NodeId, Schema, Type, builtin};
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor, value};
use std::{cell::RefCell, collections::BTreeSet};

type Fault = value::Error;

/// What a walk has seen and found.
#[derive(Default)]
struct Notes {
    seen: BTreeSet<u32>,
    faults: Vec<String>,
    structs: usize,
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    arena: &'a Arena,
    id: NodeId,
    /// The type and field that led here.
    place: &'a str,
    notes: &'a RefCell<Notes>,
}

impl Probe<'_> {
    /// Something is left to compare at this node.
    fn is_new(&self) -> bool {
        let node = &self.arena[self.id];
        let known = !node.fields.is_empty() && self.notes.borrow().seen.contains(&self.id.0);
        node.ty != Type::Any && !known
    }
    fn expect(&self, types: &[Type], given: &str) {
        let node = &self.arena[self.id];
        if !types.contains(&node.ty) && node.ty != Type::Any {
            let text = format!("{}: {given} in k8s-openapi, {:?} {} here", self.place, node.ty, node.name);
            self.notes.borrow_mut().faults.push(text);
        }
    }
}

macro_rules! scalars {
    ($($method:ident $visit:ident $value:expr, $types:expr;)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            self.expect(&$types, stringify!($method));
            visitor.$visit($value)
        })+
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Fault;
    scalars! {
        deserialize_bool visit_bool false, [Type::Boolean];
        deserialize_i32 visit_i32 0, [Type::Integer];
        deserialize_i64 visit_i64 0, [Type::Integer];
        deserialize_f64 visit_f64 0.0, [Type::Number];
    }
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.arena[self.id].ty {
            Type::IntOrString => visitor.visit_i32(0),
            Type::String => visitor.visit_str("0"),
            _ => visitor.visit_unit(),
        }
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.expect(&[Type::String], "string");
        let text = match self.arena[self.id].format.as_str() {
            "date-time" => "2026-01-01T00:00:00.000000Z",
            _ => "",
        };
        visitor.visit_str(text)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.is_new() { visitor.visit_some(self) } else { visitor.visit_none() }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        let here = &self.arena[self.id].name;
        // ByteString, Time and the like are names of formats.
        if !here.is_empty() && !here.ends_with(name) {
            let text = format!("{}: {name} in k8s-openapi, {here} here", self.place);
            self.notes.borrow_mut().faults.push(text);
        }
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.expect(&[Type::Array], "list");
        let next = self.arena[self.id].items.filter(|id| Probe { id: *id, ..self }.is_new());
        visitor.visit_seq(Once { probe: self, next })
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.expect(&[Type::Object], "map");
        let next = self.arena[self.id].additional.filter(|id| Probe { id: *id, ..self }.is_new());
        visitor.visit_map(Once { probe: self, next })
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let node = &self.arena[self.id];
        self.expect(&[Type::Object], name);
        self.notes.borrow_mut().seen.insert(self.id.0);
        let theirs: BTreeSet<&str> = fields.iter().copied().collect();
        let ours: BTreeSet<&str> = node.fields.iter().map(|f| f.name.as_str()).collect();
        let mut notes = self.notes.borrow_mut();
        notes.structs += 1;
        for field in theirs.symmetric_difference(&ours) {
            let side = if ours.contains(field) { "only here" } else { "only in k8s-openapi" };
            notes.faults.push(format!("{}.{field}: {side}", node.name));
        }
        drop(notes);
        visitor.visit_map(Members { probe: self, fields: fields.iter(), current: None })
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str("")
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }
    serde::forward_to_deserialize_any! { i8 i16 u8 u16 u32 u64 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum }
}

/// A list or map with one element.
struct Once<'a> {
    probe: Probe<'a>,
    next: Option<NodeId>,
}

impl<'de> SeqAccess<'de> for Once<'_> {
    type Error = Fault;
    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next.take().map(|id| seed.deserialize(Probe { id, ..self.probe })).transpose()
    }
}
impl<'de> MapAccess<'de> for Once<'_> {
    type Error = Fault;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next.map(|_| seed.deserialize(value::StrDeserializer::new("key"))).transpose()
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        match self.next.take() {
            Some(id) => seed.deserialize(Probe { id, ..self.probe }),
            None => Err(Fault::custom("no value")),
        }
    }
}

/// All fields of a struct.
struct Members<'a> {
    probe: Probe<'a>,
    fields: std::slice::Iter<'static, &'static str>,
    current: Option<&'static str>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Fault;
    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let node = &self.probe.arena[self.probe.id];
        // Group, version and kind are constants there; what only one side has is reported already.
        let wanted = |name: &&&str| !["apiVersion", "kind"].contains(*name) && node.field(name).is_some();
        self.current = self.fields.by_ref().find(|name| wanted(name)).copied();
        self.current.map(|name| seed.deserialize(value::StrDeserializer::new(name))).transpose()
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let node = &self.probe.arena[self.probe.id];
        let name = self.current.unwrap_or("");
        let field = node.field(name).ok_or_else(|| Fault::custom("no such field"))?;
        let place = format!("{}.{name}", node.name);
        seed.deserialize(Probe { id: field.node, place: &place, ..self.probe })
    }
}

/// Walks one type; how many structs that covered.
fn walk<T: DeserializeOwned>(name: &str, faults: &mut Vec<String>) -> usize {
    let schema: Schema = builtin::schema(name).unwrap_or_else(|| panic!("{name} is not in the table"));
    let (arena, id) = schema.parts();
    let notes = RefCell::default();
    if let Err(why) = T::deserialize(Probe { arena, id, place: name, notes: &notes }) {
        faults.push(format!("{name}: the walk ended early: {why}"));
    }
    let notes: Notes = notes.into_inner();
    faults.extend(notes.faults);
    notes.structs
}

macro_rules! walk_all {
    ($($module:ident, $prefix:literal: $($ty:ident)+;)+) => {{
        let (mut faults, mut structs) = (Vec::new(), 0);
        $($(structs += walk::<$module::$ty>(concat!($prefix, ".", stringify!($ty)), &mut faults);)+)+
        (faults, structs)
    }};
}

#[test]
fn the_table_agrees_with_k8s_openapi() {
    use k8s_openapi::api::admissionregistration::v1 as admissionregistration_v1;
    use k8s_openapi::api::apps::v1 as apps_v1;
    use k8s_openapi::api::authentication::v1 as authentication_v1;
    use k8s_openapi::api::authorization::v1 as authorization_v1;
    use k8s_openapi::api::autoscaling::v1 as autoscaling_v1;
    use k8s_openapi::api::autoscaling::v2 as autoscaling_v2;
    use k8s_openapi::api::batch::v1 as batch_v1;
    use k8s_openapi::api::certificates::v1 as certificates_v1;
    use k8s_openapi::api::coordination::v1 as coordination_v1;
    use k8s_openapi::api::core::v1 as core_v1;
    use k8s_openapi::api::discovery::v1 as discovery_v1;
    use k8s_openapi::api::events::v1 as events_v1;
    use k8s_openapi::api::flowcontrol::v1 as flowcontrol_v1;
    use k8s_openapi::api::networking::v1 as networking_v1;
    use k8s_openapi::api::node::v1 as node_v1;
    use k8s_openapi::api::policy::v1 as policy_v1;
    use k8s_openapi::api::rbac::v1 as rbac_v1;
    use k8s_openapi::api::resource::v1 as resource_v1;
    use k8s_openapi::api::scheduling::v1 as scheduling_v1;
    use k8s_openapi::api::storage::v1 as storage_v1;
    use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1 as apiextensions_v1;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta_v1;
    use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1 as apiregistration_v1;
    let (faults, structs) = walk_all! {
        core_v1, "io.k8s.api.core.v1": Pod Service Node Namespace ConfigMap Secret Endpoints Event LimitRange
            PersistentVolume PersistentVolumeClaim PodTemplate ReplicationController ResourceQuota ServiceAccount Binding;
        apps_v1, "io.k8s.api.apps.v1": Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision;
        batch_v1, "io.k8s.api.batch.v1": Job CronJob;
        autoscaling_v1, "io.k8s.api.autoscaling.v1": Scale;
        autoscaling_v2, "io.k8s.api.autoscaling.v2": HorizontalPodAutoscaler;
        networking_v1, "io.k8s.api.networking.v1": Ingress IngressClass NetworkPolicy IPAddress ServiceCIDR;
        policy_v1, "io.k8s.api.policy.v1": PodDisruptionBudget Eviction;
        rbac_v1, "io.k8s.api.rbac.v1": Role ClusterRole RoleBinding ClusterRoleBinding;
        storage_v1, "io.k8s.api.storage.v1": StorageClass CSIDriver CSINode CSIStorageCapacity VolumeAttachment;
        admissionregistration_v1, "io.k8s.api.admissionregistration.v1": ValidatingWebhookConfiguration
            MutatingWebhookConfiguration ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding;
        authentication_v1, "io.k8s.api.authentication.v1": TokenReview TokenRequest SelfSubjectReview;
        authorization_v1, "io.k8s.api.authorization.v1": SubjectAccessReview SelfSubjectAccessReview
            LocalSubjectAccessReview SelfSubjectRulesReview;
        certificates_v1, "io.k8s.api.certificates.v1": CertificateSigningRequest;
        coordination_v1, "io.k8s.api.coordination.v1": Lease;
        discovery_v1, "io.k8s.api.discovery.v1": EndpointSlice;
        events_v1, "io.k8s.api.events.v1": Event;
        flowcontrol_v1, "io.k8s.api.flowcontrol.v1": FlowSchema PriorityLevelConfiguration;
        node_v1, "io.k8s.api.node.v1": RuntimeClass;
        resource_v1, "io.k8s.api.resource.v1": ResourceClaim ResourceClaimTemplate ResourceSlice DeviceClass;
        scheduling_v1, "io.k8s.api.scheduling.v1": PriorityClass;
        apiextensions_v1, "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1":
            CustomResourceDefinition;
        apiregistration_v1, "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1": APIService;
        meta_v1, "io.k8s.apimachinery.pkg.apis.meta.v1": DeleteOptions Status;
    };
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(structs > 500, "only {structs} structs were reached");
}
