//! The legacy group, `/api/v1`.

mod binding;
pub mod claims;
mod componentstatus;
mod configmap;
mod endpoints;
mod event;
mod limitrange;
mod namespace;
mod node;
mod persistentvolume;
mod persistentvolumeclaim;
mod pod;
mod podtemplate;
mod replicationcontroller;
mod resourcequota;
mod secret;
mod service;
mod serviceaccount;
pub mod volumes;

use value::Value;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![
        binding::kind(),
        componentstatus::kind(),
        configmap::kind(),
        endpoints::kind(),
        event::kind(),
        limitrange::kind(),
        namespace::kind(),
        node::kind(),
        persistentvolume::kind(),
        persistentvolumeclaim::kind(),
        pod::kind(),
        podtemplate::kind(),
        replicationcontroller::kind(),
        resourcequota::kind(),
        secret::kind(),
        service::kind(),
        serviceaccount::kind(),
    ]
}

/// The most that data of a ConfigMap or Secret may weigh, in bytes.
const MAX_DATA: usize = 1 << 20;

/// The annotation that named the class of a volume before there was a field.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// The class of a volume or claim.
fn class(obj: &Value) -> &str {
    match obj.at(&["metadata", "annotations", CLASS]).as_str() {
        Some(class) => class,
        None => obj.str_at(&["spec", "storageClassName"]),
    }
}

/// The phase of a volume or claim, as a Table shows it.
fn phase(obj: &Value) -> &str {
    if obj.at(&["metadata", "deletionTimestamp"]).is_null() { obj.str_at(&["status", "phase"]) } else { "Terminating" }
}

/// `RWO,ROX`
fn access_modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |mode: &str| modes.items_at(&[]).iter().any(|m| *m == mode);
    SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}
