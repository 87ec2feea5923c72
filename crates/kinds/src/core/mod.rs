//! The legacy group, `/api/v1`.

mod binding;
mod configmap;
mod endpoints;
mod event;
mod namespace;
mod node;
mod pod;
mod podtemplate;
mod secret;
mod service;
mod serviceaccount;

/// All kinds of the group.
pub fn kinds() -> Vec<schema::Kind> {
    vec![
        binding::kind(),
        configmap::kind(),
        endpoints::kind(),
        event::kind(),
        namespace::kind(),
        node::kind(),
        pod::kind(),
        podtemplate::kind(),
        secret::kind(),
        service::kind(),
        serviceaccount::kind(),
    ]
}

/// The most that data of a ConfigMap or Secret may weigh, in bytes.
const MAX_DATA: usize = 1 << 20;
