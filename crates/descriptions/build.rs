//! Makes the table of descriptions from the schemas that the `k8s-openapi` crate carries under its feature `schemars`: they
//! are asked for while this crate is built, so no text of theirs stands in this tree, and none of their code in the binary.
//!
//! Decided against: the feature in the binary itself (a megabyte of code that builds a schema at a time), and reading the
//! crate's sources, which lie wherever Cargo put them.
//!
//! The table: its texts, each once, in the order of their first use, `\u{1e}` between them; `\u{1d}`; then a line per type,
//! its name and the number of its text (`-` for none), and below it, indented, its fields in the same way. Deflated.

use flate2::{Compression, write::DeflateEncoder};
use k8s_openapi::{
    schemars::{SchemaGenerator, generate::SchemaSettings},
    serde_json::Value,
};
use std::{collections::HashMap, fmt::Write as _, io::Write as _, path::PathBuf};

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let path = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("table.deflate");
    let mut encoder = DeflateEncoder::new(std::fs::File::create(path)?, Compression::best());
    encoder.write_all(table().as_bytes())?;
    encoder.finish()?.sync_all()
}

fn table() -> String {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    roots(&mut generator);
    let mut texts = Texts::default();
    let mut lines = String::new();
    for (name, schema) in generator.take_definitions(false) {
        let _ = writeln!(lines, "{name} {}", texts.number(&schema));
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let _ = writeln!(lines, " {field} {}", texts.number(schema));
        }
    }
    format!("{}\u{1d}{lines}", texts.list.join("\u{1e}"))
}

#[derive(Default)]
struct Texts {
    list: Vec<String>,
    numbers: HashMap<String, usize>,
}

impl Texts {
    /// The number of a schema's description, `-` where it has none.
    fn number(&mut self, schema: &Value) -> String {
        let Some(text) = schema["description"].as_str() else { return "-".into() };
        if let Some(number) = self.numbers.get(text) {
            return number.to_string();
        }
        self.list.push(text.into());
        self.numbers.insert(text.into(), self.list.len() - 1);
        (self.list.len() - 1).to_string()
    }
}

/// Asks for the schemas of every type that a served kind leads to. A type that is missing here has no descriptions: a test
/// of the API server holds the table against the documents that it makes.
fn roots(generator: &mut SchemaGenerator) {
    macro_rules! roots {
        ($($($module:ident)::+ [$($kind:ident)+];)+) => {$({
            use k8s_openapi::$($module)::+ as module;
            $(generator.subschema_for::<module::$kind>();)+
        })+};
    }
    roots! {
        api::admissionregistration::v1 [
            MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration
            ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration
        ];
        api::apps::v1 [ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet];
        api::authentication::v1 [SelfSubjectReview TokenRequest TokenReview];
        api::authorization::v1 [
            LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview
        ];
        api::autoscaling::v1 [HorizontalPodAutoscaler Scale];
        api::autoscaling::v2 [HorizontalPodAutoscaler];
        api::batch::v1 [CronJob Job];
        api::certificates::v1 [CertificateSigningRequest];
        api::coordination::v1 [Lease];
        api::core::v1 [
            Binding ComponentStatus ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume Pod
            PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount
        ];
        api::discovery::v1 [EndpointSlice];
        api::events::v1 [Event];
        api::flowcontrol::v1 [FlowSchema PriorityLevelConfiguration];
        api::networking::v1 [IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR];
        api::node::v1 [RuntimeClass];
        api::policy::v1 [Eviction PodDisruptionBudget];
        api::rbac::v1 [ClusterRole ClusterRoleBinding Role RoleBinding];
        api::resource::v1 [DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice];
        api::scheduling::v1 [PriorityClass];
        api::storage::v1 [CSIDriver CSINode CSIStorageCapacity StorageClass VolumeAttachment VolumeAttributesClass];
        apiextensions_apiserver::pkg::apis::apiextensions::v1 [CustomResourceDefinition];
        apimachinery::pkg::apis::meta::v1 [Patch Status];
        kube_aggregator::pkg::apis::apiregistration::v1 [APIService];
    }
}
