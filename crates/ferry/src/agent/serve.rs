//! What a node does for Services: its network, its service tables, its DNS. What fails is tried again; until the network
//! is there, the node says so in its Ready condition.

use super::{DOMAIN, Place, network};
use client::Client;
use control::{Backoff, Caches};
use netlink::Cidr;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

const RETRY: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };

/// Opens the network once the node has its range, then keeps service tables and DNS until dropped.
pub async fn run(client: Client, runtime: Arc<runtime::Runtime>, later: Arc<network::Later>, place: Place) {
    let range = network::pod_range(&client, &place.name).await;
    let opened = again("the node's network cannot be opened", || async {
        let (state, own) = (place.storage.join("network"), vec![place.pods, place.node_network]);
        let open = tokio::task::spawn_blocking(move || network::open(state, range, own));
        open.await.map_err(|e| e.to_string())?
    });
    later.set(opened.await);
    runtime.collect_networks().await;
    let caches = Caches::new(client);
    tokio::join!(tables(&caches, &place, range), names(&caches));
}

async fn tables(caches: &Caches, place: &Place, range: Cidr) {
    let open = || async { proxy::Proxy::open(Some(range)).map_err(|e| e.to_string()) };
    let tables = again("service tables cannot be kept", open).await;
    let addresses = match place.address {
        IpAddr::V4(address) => vec![address],
        IpAddr::V6(_) => Vec::new(),
    };
    let node = proxy::Node { name: place.name.clone(), addresses, pod_cidr: Some(range) };
    proxy::run(proxy::Watched::new(caches), node, tables, |_| {}).await;
}

async fn names(caches: &Caches) {
    let server = again("cluster DNS cannot be served", || async {
        let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        let servers = kubelet::dns::parse(&text).servers;
        let upstreams = servers.iter().filter_map(|s| s.parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53));
        let server = dns::Server::bind(SocketAddr::from((network::DNS, 53))).await.map_err(|e| e.to_string())?;
        server.with_upstreams(&dns::Upstreams::new(upstreams)).map_err(|e| e.to_string())
    });
    dns::run(dns::Watched::new(caches), DOMAIN, server.await).await;
}

/// Tries until it works.
async fn again<T, F: Future<Output = Result<T, String>>>(what: &str, attempt: impl Fn() -> F) -> T {
    let mut failures = 0;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => tracing::error!(%error, "{what}"),
        }
        tokio::time::sleep(RETRY.delay(failures)).await;
        failures += 1;
    }
}
