//! Which API servers there are, where several share a store: each renews a Lease of its own, and keeps the endpoints of the
//! Service `kubernetes` at those that are renewed. So pods reach a server that lives, whichever went.
//!
//! Upstream keeps such leases beside the API, as keys of etcd (`masterleases`); Leases are seen by everybody, and carry the
//! label by which upstream marks servers. Clocks are not compared: a server is gone when its lease has not changed for a
//! while as seen from here. All servers advertise one port, as upstream's do.

use base::{clock::Clock, time};
use client::{Api, Client, DeleteOptions, Error, ListOptions, kinds};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use value::{Value, value};

const RENEW: Duration = Duration::from_secs(5);
/// Source: upstream's master leases.
const LIFE: Duration = Duration::from_secs(15);
const LABEL: &str = "apiserver.kubernetes.io/identity=kube-apiserver";

/// Tells of this server until `stop`, then takes it out.
pub async fn announce(client: Client, clock: Arc<dyn Clock>, address: SocketAddr, mut stop: watch::Receiver<bool>) {
    if address.ip().is_loopback() {
        // No pod could reach it, and the API refuses such endpoints.
        return;
    }
    let leases = client.api(&kinds::LEASES).namespace("kube-system");
    let own = format!("apiserver-{}", address.ip().to_string().replace(':', "-"));
    let mut seen = Seen::default();
    loop {
        let round = async {
            renew(&leases, &own, address, &*clock).await?;
            let list = leases.list(&ListOptions { label_selector: LABEL.into(), ..ListOptions::default() }).await?;
            let now: Vec<(String, String)> = list.items.iter().map(|lease| lease_of(&lease.value())).collect();
            let alive = seen.alive(Instant::now(), now);
            point(&client, &alive, address.port()).await
        };
        if let Err(error) = round.await {
            tracing::debug!(%error, "this server is not announced");
        }
        if tokio::time::timeout(RENEW, stop.wait_for(|stop| *stop)).await.is_ok() {
            let _ = leases.delete(&own, &DeleteOptions::default()).await;
            let mut others = seen.addresses();
            others.remove(&address.ip().to_string());
            if !others.is_empty() {
                let _ = point(&client, &others, address.port()).await;
            }
            return;
        }
    }
}

async fn renew(leases: &Api, own: &str, address: SocketAddr, clock: &dyn Clock) -> Result<(), Error> {
    let (key, label) = LABEL.split_once('=').unwrap_or((LABEL, ""));
    let mut lease = value!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"name": own, "namespace": "kube-system", "labels": {key: label}},
        "spec": {"holderIdentity": address.ip().to_string(), "leaseDurationSeconds": LIFE.as_secs(),
                 "renewTime": time::micros(clock.now())},
    });
    match leases.get_opt(own).await? {
        None => leases.create(&lease).await.map(drop),
        Some(old) => {
            lease.set(&["metadata", "resourceVersion"], old.revision.to_string());
            leases.update(own, &lease).await.map(drop)
        }
    }
}

/// Address, and what changes when the lease is renewed.
fn lease_of(lease: &Value) -> (String, String) {
    (lease.str_at(&["spec", "holderIdentity"]).into(), lease.str_at(&["spec", "renewTime"]).into())
}

/// When each server's lease was seen to change.
#[derive(Default)]
struct Seen(BTreeMap<String, (String, Instant)>);

impl Seen {
    /// The addresses of those that live.
    fn alive(&mut self, now: Instant, leases: Vec<(String, String)>) -> BTreeSet<String> {
        let mut next = BTreeMap::new();
        for (address, renewed) in leases {
            let since = match self.0.get(&address) {
                Some((before, since)) if *before == renewed => *since,
                _ => now,
            };
            next.insert(address, (renewed, since));
        }
        self.0 = next;
        self.0.iter().filter(|(_, (_, since))| now.duration_since(*since) <= LIFE).map(|(a, _)| a.clone()).collect()
    }

    fn addresses(&self) -> BTreeSet<String> {
        self.0.iter().filter(|(_, (_, since))| since.elapsed() <= LIFE).map(|(address, _)| address.clone()).collect()
    }
}

/// Makes the endpoints of `kubernetes` these.
async fn point(client: &Client, addresses: &BTreeSet<String>, port: u16) -> Result<(), Error> {
    let ports = value!([{"name": "https", "port": port, "protocol": "TCP"}]);
    let each: Vec<Value> = addresses.iter().map(|ip| value!({"ip": ip})).collect();
    let subsets = value!([{"addresses": each, "ports": ports.clone()}]);
    let slices: Vec<Value> =
        addresses.iter().map(|ip| value!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    for (kind, field, wanted) in
        [(&kinds::ENDPOINTS, "subsets", subsets), (&kinds::ENDPOINT_SLICES, "endpoints", Value::from(slices))]
    {
        let api = client.api(kind).namespace("default");
        let Some(object) = api.get_opt("kubernetes").await? else { continue };
        let mut value = object.value();
        if *value.at(&[field]) != wanted {
            value.set(&[field], wanted);
            api.update("kubernetes", &value).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_renew_is_gone() {
        let (start, mut seen) = (Instant::now(), Seen::default());
        let mut alive = |seconds, leases: &[(&str, &str)]| {
            let leases = leases.iter().map(|(a, r)| ((*a).into(), (*r).into())).collect();
            seen.alive(start + Duration::from_secs(seconds), leases).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(alive(0, &[("a", "1"), ("b", "1")]), "a b");
        assert_eq!(alive(10, &[("a", "2"), ("b", "1")]), "a b");
        assert_eq!(alive(16, &[("a", "3"), ("b", "1")]), "a");
        // It is back.
        assert_eq!(alive(20, &[("a", "4"), ("b", "2")]), "a b");
        assert_eq!(alive(21, &[("a", "4")]), "a");
    }
}
