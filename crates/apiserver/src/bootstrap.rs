//! What every cluster has from its first second: namespaces, roles, the `kubernetes` Service and where it leads, and
//! what kinds themselves bring along ([`schema::Hooks::initial`]): flow schemas, priority levels, the Service network.

use crate::server::Inner;
use base::{Reason, Result, Status};
use futures::future::try_join_all;
use resource::{Body, WriteOptions};
use schema::{AUTO_UPDATE, ClusterConfig, Initial, Keep, Kind};
use std::{net::IpAddr, sync::Arc};
use value::{Value, value};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// How often, and after how long, what could not be made is looked for before it counts as an error.
const OTHERS: u32 = 20;
const MOMENT: std::time::Duration = std::time::Duration::from_millis(10);

/// Creates what is missing and repairs what the server itself owns.
pub async fn ensure(server: &Inner) -> Result<()> {
    for name in NAMESPACES {
        let object = value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        put(server, "", "namespaces", object, false).await?;
    }
    let (roles, service, maps, initial) = tokio::join!(
        auth::ensure_bootstrap(&server.engine),
        kubernetes_service(server),
        config_maps(server),
        initial(server)
    );
    roles.and(service).and(maps).and(initial)
}

/// What kinds bring along.
async fn initial(server: &Inner) -> Result<()> {
    let catalog = server.engine.catalog();
    let of = |kind: &Arc<Kind>| {
        let initial = kind.hooks.initial(&server.config.cluster);
        initial.into_iter().map(|initial| (kind.clone(), initial)).collect::<Vec<_>>()
    };
    try_join_all(catalog.iter().flat_map(of).map(|(kind, initial)| keep(server, kind, initial))).await.map(drop)
}

/// Creates an object that is missing, or brings it up to date as far as it is kept.
async fn keep(server: &Inner, kind: Arc<Kind>, Initial { mut object, keep }: Initial) -> Result<()> {
    object.set(&["apiVersion"], kind.api_version(kind.storage));
    object.set(&["kind"], kind.kind.as_str());
    let repair = match server.engine.view().get(&kind.group, &kind.plural, object.namespace(), object.name()) {
        Some(present) => follows(keep, &present.value()),
        None => false,
    };
    put(server, &kind.group, &kind.plural, object, repair).await
}

/// True where the server's word goes. A suggested object says by an annotation whether it follows; before it says
/// anything, it does as long as its spec is the first.
fn follows(keep: Keep, present: &Value) -> bool {
    match (keep, present.str_at(&["metadata", "annotations", AUTO_UPDATE])) {
        (Keep::Once, _) | (Keep::Suggested, "false") => false,
        (Keep::Mandatory, _) | (Keep::Suggested, "true") => true,
        (Keep::Suggested, _) => present.at(&["metadata", "generation"]).as_i64() == Some(1),
    }
}

/// The first address of the Service network: that of `kubernetes.default`.
pub fn service_address(cluster: &ClusterConfig) -> IpAddr {
    match cluster.service_cidr {
        (IpAddr::V4(base), _) => IpAddr::from((u32::from(base) + 1).to_be_bytes()),
        (IpAddr::V6(base), _) => IpAddr::from((u128::from(base) + 1).to_be_bytes()),
    }
}

async fn kubernetes_service(server: &Inner) -> Result<()> {
    let (address, port) = (server.config.advertise.ip().to_string(), server.config.advertise.port());
    let own = value!({"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}});
    let service = value!({
        "apiVersion": "v1", "kind": "Service", "metadata": own.clone(),
        "spec": {
            "clusterIP": service_address(&server.config.cluster).to_string(), "type": "ClusterIP",
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
        },
    });
    put(server, "", "services", service, false).await?;
    if server.config.advertise.ip().is_loopback() {
        // No pod could reach it, and the API refuses such endpoints.
        return Ok(());
    }
    let endpoints = value!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": address}], "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    let family = if server.config.advertise.is_ipv4() { "IPv4" } else { "IPv6" };
    let slice = value!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": family,
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    put(server, "", "endpoints", endpoints, true).await?;
    put(server, "discovery.k8s.io", "endpointslices", slice, true).await
}

/// What aggregated API servers read to trust us.
async fn config_maps(server: &Inner) -> Result<()> {
    let pki = &server.config.pki;
    let mut authentication = value!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
        "data": {"client-ca-file": pki.ca.cert_pem()},
    });
    for (key, text) in server.fronts.headers.published() {
        authentication.set(&["data", key], text);
    }
    put(server, "", "configmaps", authentication, true).await
}

/// Creates an object that is missing; `repair` also makes an existing one agree in everything that is given.
async fn put(server: &Inner, group: &str, plural: &str, object: Value, repair: bool) -> Result<()> {
    let engine = &server.engine;
    let Some(mut call) = engine.own_call(group, plural, object.namespace(), "") else { return Ok(()) };
    let key = (object.namespace().to_string(), object.name().to_string());
    let find = || engine.view().get(group, plural, &key.0, &key.1);
    let Some(present) = find() else {
        let created = engine.create(&call, Body::from(object), &WriteOptions::default()).await;
        let created = ignore(created.map(drop), Reason::AlreadyExists);
        // Another server of the store may be making the same: what it claims is seen a moment before the object.
        for _ in 0..OTHERS {
            if created.is_ok() || find().is_some() {
                return Ok(());
            }
            tokio::time::sleep(MOMENT).await;
        }
        return created;
    };
    if !repair {
        return Ok(());
    }
    let present = present.value();
    let mut wanted = present.clone();
    overlay(&mut wanted, &object);
    if wanted == present {
        return Ok(());
    }
    call.name = object.name().into();
    ignore(engine.update(&call, Body::from(wanted), &WriteOptions::default()).await.map(drop), Reason::Conflict)
}

/// Writes what `object` says over `base`; lists are replaced where they hold other values.
fn overlay(base: &mut Value, object: &Value) {
    match object {
        Value::Object(map) => {
            for (key, value) in map.iter() {
                overlay(base.at_mut(&[key]), value);
            }
        }
        Value::Array(items) => {
            let same = base.as_array().is_some_and(|have| {
                have.len() == items.len() && have.iter().zip(items).all(|(have, item)| covers(have, item))
            });
            if !same {
                *base = object.clone();
            }
        }
        other => *base = other.clone(),
    }
}

fn covers(have: &Value, wanted: &Value) -> bool {
    let mut merged = have.clone();
    overlay(&mut merged, wanted);
    merged == *have
}

/// Another server of the same cluster may be faster.
fn ignore(done: Result<()>, reason: Reason) -> Result<()> {
    done.or_else(|e: Status| if e.is(reason) { Ok(()) } else { Err(e) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_server() {
        let of = |annotation: &str, generation: i64| {
            let mut object = value!({"metadata": {"generation": generation}});
            if !annotation.is_empty() {
                object.set(&["metadata", "annotations", AUTO_UPDATE], annotation);
            }
            object
        };
        for (keep, annotation, generation, want) in [
            (Keep::Once, "true", 1, false),
            (Keep::Mandatory, "false", 2, true),
            (Keep::Suggested, "true", 2, true),
            (Keep::Suggested, "false", 1, false),
            (Keep::Suggested, "", 1, true),
            (Keep::Suggested, "", 2, false),
            (Keep::Suggested, "perhaps", 2, false),
        ] {
            assert_eq!(follows(keep, &of(annotation, generation)), want, "{keep:?} {annotation} {generation}");
        }
    }
}
