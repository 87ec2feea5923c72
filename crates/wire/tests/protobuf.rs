//! Every built-in kind through protobuf: JSON to messages and back loses nothing, and the messages are those that the
//! generated code of the k8s-pb crate reads and writes.

use prost::Message;
use schema::{Arena, Node, NodeId, Schema, Type, builtin};
use std::collections::BTreeSet;
use value::{Map, Value, value};
use wire::protobuf;

/// Deterministic choices: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Makes values of any type; with `all` every field is set, else about half of them.
struct Maker<'a> {
    schema: &'a Schema,
    arena: &'a Arena,
    random: Random,
    all: bool,
}

impl Maker<'_> {
    fn make(&mut self, id: NodeId, owner: NodeId, depth: usize) -> Value {
        let node = &self.arena[id];
        match node.ty {
            Type::Object if node.additional.is_none() => self.members(id, depth),
            Type::Object => {
                let count = self.random.below(3);
                let entry = |i| (format!("key-{i}"), self.make(node.additional.unwrap_or(id), owner, depth + 1));
                Value::Object((0..count).map(entry).collect())
            }
            Type::Array => {
                let count = if depth > 9 { 0 } else { 1 + self.random.below(2) };
                (0..count).map(|_| self.make(node.items.unwrap_or(id), owner, depth + 1)).collect()
            }
            _ => self.leaf(node, owner, depth),
        }
    }

    fn members(&mut self, id: NodeId, depth: usize) -> Value {
        let mut map = Map::new();
        // Schemas refer to themselves in a dozen places.
        let step = if self.arena[id].name.ends_with("JSONSchemaProps") { 4 } else { 1 };
        for field in &self.arena[id].fields {
            let deep = depth > 9 && !field.required;
            if !deep && (self.all || field.required || self.random.below(2) == 0) {
                map.insert(field.name.clone(), self.make(field.node, id, depth + step));
            }
        }
        Value::Object(map)
    }

    /// The members of a type that stands where its schema cannot be seen.
    fn named(&mut self, id: NodeId, depth: usize) -> Value {
        let mut value = self.members(id, depth);
        schema::normalize(&self.schema.goto(id), &mut value);
        bare(self.arena, id, &mut value);
        value
    }

    fn leaf(&mut self, node: &Node, owner: NodeId, depth: usize) -> Value {
        let pick = self.random.below(4) as usize;
        let deep = depth > 6;
        match (node.ty, node.name.rsplit('.').next().unwrap_or("")) {
            (_, "Quantity") => ["0", "100m", "1Gi", "-3"][pick].into(),
            (_, "Time") => {
                ["2026-01-02T03:04:05Z", "1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "2100-01-01T00:00:00Z"][pick]
                    .into()
            }
            (_, "MicroTime") => [
                "2026-01-02T03:04:05.000001Z",
                "1970-01-01T00:00:00.000000Z",
                "1969-12-31T23:59:59.250000Z",
                "2026-01-01T00:00:00.999999Z",
            ][pick]
                .into(),
            (_, "IntOrString") => [value!(80), value!("http"), value!(-1), value!("25%")][pick].clone(),
            (_, "RawExtension" | "FieldsV1") => value!({"f:a": {".": {}}, "b": [1, null, 2.5, "x"]}),
            (_, "JSON") => [value!(null), value!({"a": [null]}), value!("x"), value!(1.5)][pick].clone(),
            (_, "JSONSchemaPropsOrBool") if deep || pick == 0 => depth.is_multiple_of(2).into(),
            (_, "JSONSchemaPropsOrArray") if pick == 0 && !deep => {
                (0..2).map(|_| self.named(owner, depth + 4)).collect()
            }
            (_, "JSONSchemaPropsOrStringArray") if deep || pick == 0 => value!(["a", ""]),
            (_, "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrStringArray") => {
                self.named(owner, depth + 4)
            }
            (Type::String, _) if node.format == "byte" => ["AAECAw==", "", "//8=", "aGVsbG8="][pick].into(),
            (Type::String, _) => ["a", "", "grüße", &"long ".repeat(40)][pick].into(),
            (Type::Boolean, _) => pick.is_multiple_of(2).into(),
            (Type::Number, _) => [value!(0.5), value!(-2.25), value!(3), value!(1e300)][pick].clone(),
            (_, _) if node.format == "int32" => [0, 1, i32::MIN, i32::MAX][pick].into(),
            (_, _) => [0, 1, i64::MIN, i64::MAX][pick].into(),
        }
    }
}

/// A value of a kind as upstream's encoder would write it; it says what it is only at its root.
fn sample(schema: &Schema, seed: u64) -> Value {
    let (arena, root) = schema.parts();
    let mut maker = Maker { schema, arena, random: Random(0x9e37_79b9 + seed * 77), all: seed == 0 };
    let mut value = maker.members(root, 0);
    schema::normalize(schema, &mut value);
    bare(arena, root, &mut value);
    value
}

/// Takes away what protobuf has no place for: the apiVersion and kind of items, which the list's kind says, and the
/// difference between an empty list and none.
fn bare(arena: &Arena, id: NodeId, value: &mut Value) {
    let node = &arena[id];
    match value {
        Value::Object(map) => {
            map.retain(|key, member| {
                let empty = match member {
                    Value::Array(items) => items.is_empty(),
                    Value::Object(map) => {
                        map.is_empty() && node.field(key).is_some_and(|f| arena[f.node].additional.is_some())
                    }
                    _ => false,
                };
                if empty {
                    *member = Value::Null;
                }
                node.field(key).is_none_or(|f| f.number != 0 && (!empty || f.empty == schema::Empty::Null))
            });
            for (key, member) in map.iter_mut() {
                if let Some(below) = node.field(key).map(|f| f.node).or(node.additional) {
                    bare(arena, below, member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| bare(arena, node.items.unwrap_or(id), item)),
        _ => {}
    }
}

#[test]
fn json_to_protobuf_and_back_loses_nothing() {
    let (mut kinds, mut fields) = (0, 0);
    for name in builtin::names() {
        let schema = builtin::schema(&name).unwrap();
        // Named scalars and what is never sent.
        if schema.node().ty != Type::Object || name.ends_with("version.Info") {
            continue;
        }
        kinds += 1;
        for seed in 0..6 {
            let value = sample(&schema, seed);
            let message = protobuf::message(&schema, &value);
            let mut back = protobuf::parse_message(&schema, &message).unwrap_or_else(|e| panic!("{name}: {e}"));
            schema::normalize(&schema, &mut back);
            let (arena, root) = schema.parts();
            bare(arena, root, &mut back);
            if let Some(place) = difference(&value, &back) {
                panic!("{name}, seed {seed}: {place}");
            }
            // What is written is in its final form.
            assert_eq!(protobuf::message(&schema, &back), message, "{name}, seed {seed}");
            fields += value.to_string().matches("\":").count();
        }
    }
    assert!(kinds > 700 && fields > 100_000, "{kinds} types, {fields} fields");
}

/// The first place where two values differ, with both.
fn difference(a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let keys: BTreeSet<&str> = x.keys().chain(y.keys()).collect();
            let null = Value::Null;
            keys.into_iter().find_map(|k| {
                let below = difference(x.get(k).unwrap_or(&null), y.get(k).unwrap_or(&null))?;
                Some(format!("{k}.{below}"))
            })
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            x.iter().zip(y).enumerate().find_map(|(i, (x, y))| Some(format!("[{i}].{}", difference(x, y)?)))
        }
        _ => (a != b).then(|| format!(" {a} became {b}")),
    }
}

/// Our message, read and written by generated code.
fn through<M: Message + Default>(name: &str, message: &[u8]) -> Vec<u8> {
    M::decode(message).unwrap_or_else(|e| panic!("{name}: {e}")).encode_to_vec()
}

type Through = fn(&str, &[u8]) -> Vec<u8>;

macro_rules! generated {
    ($($prefix:literal = $module:path: $($kind:ident)+;)+) => {
        fn generated() -> Vec<(&'static str, &'static str, Through)> {
            let mut out: Vec<(_, _, Through)> = Vec::new();
            $({
                use $module as module;
                $(out.push(($prefix, stringify!($kind), through::<module::$kind>));)+
            })+
            out
        }
    };
}

generated! {
    "io.k8s.api.admissionregistration.v1" = k8s_pb::api::admissionregistration::v1: MutatingWebhookConfiguration MutatingWebhookConfigurationList ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingAdmissionPolicyBindingList ValidatingAdmissionPolicyList ValidatingWebhookConfiguration ValidatingWebhookConfigurationList;
    "io.k8s.api.admissionregistration.v1alpha1" = k8s_pb::api::admissionregistration::v1alpha1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingAdmissionPolicyBindingList MutatingAdmissionPolicyList;
    "io.k8s.api.admissionregistration.v1beta1" = k8s_pb::api::admissionregistration::v1beta1: MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingAdmissionPolicyBindingList MutatingAdmissionPolicyList;
    "io.k8s.api.apiserverinternal.v1alpha1" = k8s_pb::api::apiserverinternal::v1alpha1: StorageVersion StorageVersionList;
    "io.k8s.api.apps.v1" = k8s_pb::api::apps::v1: ControllerRevision ControllerRevisionList DaemonSet DaemonSetList Deployment DeploymentList ReplicaSet ReplicaSetList StatefulSet StatefulSetList;
    "io.k8s.api.authentication.v1" = k8s_pb::api::authentication::v1: SelfSubjectReview TokenRequest TokenReview;
    "io.k8s.api.authorization.v1" = k8s_pb::api::authorization::v1: LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview;
    "io.k8s.api.autoscaling.v1" = k8s_pb::api::autoscaling::v1: HorizontalPodAutoscaler HorizontalPodAutoscalerList Scale;
    "io.k8s.api.autoscaling.v2" = k8s_pb::api::autoscaling::v2: HorizontalPodAutoscaler HorizontalPodAutoscalerList;
    "io.k8s.api.batch.v1" = k8s_pb::api::batch::v1: CronJob CronJobList Job JobList;
    "io.k8s.api.certificates.v1" = k8s_pb::api::certificates::v1: CertificateSigningRequest CertificateSigningRequestList;
    "io.k8s.api.certificates.v1alpha1" = k8s_pb::api::certificates::v1alpha1: ClusterTrustBundle ClusterTrustBundleList;
    "io.k8s.api.certificates.v1beta1" = k8s_pb::api::certificates::v1beta1: ClusterTrustBundle ClusterTrustBundleList PodCertificateRequest PodCertificateRequestList;
    "io.k8s.api.coordination.v1" = k8s_pb::api::coordination::v1: Lease LeaseList;
    "io.k8s.api.coordination.v1alpha2" = k8s_pb::api::coordination::v1alpha2: LeaseCandidate LeaseCandidateList;
    "io.k8s.api.coordination.v1beta1" = k8s_pb::api::coordination::v1beta1: LeaseCandidate LeaseCandidateList;
    "io.k8s.api.core.v1" = k8s_pb::api::core::v1: Binding ComponentStatus ComponentStatusList ConfigMap ConfigMapList Endpoints EndpointsList Event EventList LimitRange LimitRangeList Namespace NamespaceList Node NodeList PersistentVolume PersistentVolumeClaim PersistentVolumeClaimList PersistentVolumeList Pod PodList PodTemplate PodTemplateList ReplicationController ReplicationControllerList ResourceQuota ResourceQuotaList Secret SecretList Service ServiceAccount ServiceAccountList ServiceList;
    "io.k8s.api.discovery.v1" = k8s_pb::api::discovery::v1: EndpointSlice EndpointSliceList;
    "io.k8s.api.events.v1" = k8s_pb::api::events::v1: Event EventList;
    "io.k8s.api.flowcontrol.v1" = k8s_pb::api::flowcontrol::v1: FlowSchema FlowSchemaList PriorityLevelConfiguration PriorityLevelConfigurationList;
    "io.k8s.api.networking.v1" = k8s_pb::api::networking::v1: IPAddress IPAddressList Ingress IngressClass IngressClassList IngressList NetworkPolicy NetworkPolicyList ServiceCIDR ServiceCIDRList;
    "io.k8s.api.networking.v1beta1" = k8s_pb::api::networking::v1beta1: IPAddress IPAddressList ServiceCIDR ServiceCIDRList;
    "io.k8s.api.node.v1" = k8s_pb::api::node::v1: RuntimeClass RuntimeClassList;
    "io.k8s.api.policy.v1" = k8s_pb::api::policy::v1: Eviction PodDisruptionBudget PodDisruptionBudgetList;
    "io.k8s.api.rbac.v1" = k8s_pb::api::rbac::v1: ClusterRole ClusterRoleBinding ClusterRoleBindingList ClusterRoleList Role RoleBinding RoleBindingList RoleList;
    "io.k8s.api.resource.v1" = k8s_pb::api::resource::v1: DeviceClass DeviceClassList ResourceClaim ResourceClaimList ResourceClaimTemplate ResourceClaimTemplateList ResourceSlice ResourceSliceList;
    "io.k8s.api.resource.v1alpha3" = k8s_pb::api::resource::v1alpha3: DeviceTaintRule DeviceTaintRuleList;
    "io.k8s.api.resource.v1beta1" = k8s_pb::api::resource::v1beta1: DeviceClass DeviceClassList ResourceClaim ResourceClaimList ResourceClaimTemplate ResourceClaimTemplateList ResourceSlice ResourceSliceList;
    "io.k8s.api.resource.v1beta2" = k8s_pb::api::resource::v1beta2: DeviceClass DeviceClassList ResourceClaim ResourceClaimList ResourceClaimTemplate ResourceClaimTemplateList ResourceSlice ResourceSliceList;
    "io.k8s.api.scheduling.v1" = k8s_pb::api::scheduling::v1: PriorityClass PriorityClassList;
    "io.k8s.api.storage.v1" = k8s_pb::api::storage::v1: CSIDriver CSIDriverList CSINode CSINodeList CSIStorageCapacity CSIStorageCapacityList StorageClass StorageClassList VolumeAttachment VolumeAttachmentList VolumeAttributesClass VolumeAttributesClassList;
    "io.k8s.api.storage.v1beta1" = k8s_pb::api::storage::v1beta1: VolumeAttributesClass VolumeAttributesClassList;
    "io.k8s.api.storagemigration.v1beta1" = k8s_pb::api::storagemigration::v1beta1: StorageVersionMigration StorageVersionMigrationList;
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1" = k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1: CustomResourceDefinition CustomResourceDefinitionList;
    "io.k8s.apimachinery.pkg.apis.meta.v1" = k8s_pb::apimachinery::pkg::apis::meta::v1: APIGroup APIGroupList APIResourceList APIVersions Status;
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1" = k8s_pb::kube_aggregator::pkg::apis::apiregistration::v1: APIService APIServiceList;
}

#[test]
fn generated_code_reads_and_writes_the_same() {
    let mut unknown_to_it = BTreeSet::new();
    for (prefix, kind, through) in generated() {
        let name = format!("{prefix}.{kind}");
        let schema = builtin::schema(&name).unwrap_or_else(|| panic!("{name}"));
        for seed in 0..4 {
            let value = sample(&schema, seed);
            let message = protobuf::message(&schema, &value);
            let theirs = through(&name, &message);
            let mut back = protobuf::parse_message(&schema, &theirs).unwrap_or_else(|e| panic!("{name}: {e}"));
            schema::normalize(&schema, &mut back);
            let (arena, root) = schema.parts();
            bare(arena, root, &mut back);
            lost(arena, root, "", &value, &back, &mut unknown_to_it);
        }
    }
    let known = |name: &String| NEWER.iter().any(|newer| name.contains(newer));
    let wrong: Vec<&String> = unknown_to_it.iter().filter(|name| !known(name)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Fields of Kubernetes 1.36 that the crate, which is of 1.35, does not have.
const NEWER: &[&str] = &[
    "certificates.v1beta1.PodCertificateRequestSpec.stubPKCS10Request",
    "core.v1.PodSpec.schedulingGroup",
    "core.v1.PodStatus.nodeAllocatableResourceClaimStatuses",
    "core.v1.ResourceHealth.message",
    "core.v1.VolumeMountStatus.volumeStatus",
    "Device.nodeAllocatableResourceMappings",
    "DeviceAttribute.bools",
    "DeviceAttribute.ints",
    "DeviceAttribute.strings",
    "DeviceAttribute.versions",
    "storage.v1.CSIDriverSpec.preventPodSchedulingIfMissing",
    "meta.v1.ListMeta.shardInfo",
];

/// Notes the fields that did not come back as they were sent.
fn lost(arena: &Arena, id: NodeId, place: &str, sent: &Value, back: &Value, out: &mut BTreeSet<String>) {
    let node = &arena[id];
    match (sent, back) {
        (Value::Object(a), Value::Object(b)) if node.ty == Type::Object => {
            for (key, value) in a.iter() {
                let field = node.field(key).map(|f| (f.node, format!("{}.{key}", node.name)));
                let below = field.or(node.additional.map(|id| (id, place.to_string())));
                let (below, place) = below.unwrap_or_else(|| panic!("{place}.{key}"));
                lost(arena, below, &place, value, b.get(key).unwrap_or(&Value::Null), out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (x, y) in a.iter().zip(b) {
                lost(arena, node.items.unwrap_or(id), place, x, y, out);
            }
        }
        _ if sent != back => {
            out.insert(place.into());
        }
        _ => {}
    }
}
