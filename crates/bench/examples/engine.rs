//! The API server over its disk store and nothing else: what to profile when a write or a read is slow.
//! `cargo run --release -p bench --example engine -- DIR PORT`, then `bench --kubeconfig DIR/kubeconfig --pid …`.

use apiserver::{Config, Server};
use client::{Credentials, Remote, kubeconfig};
use pki::ClusterPki;
use schema::ClusterConfig;
use std::{error::Error, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};
use store_disk::Disk;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(port)) = (arguments.next(), arguments.next()) else { return Err("DIR PORT".into()) };
    let dir = PathBuf::from(dir);
    std::fs::create_dir_all(&dir)?;
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse()?));
    let pki = ClusterPki::load_or_create(&dir.join("pki"))?;
    let disk = Disk::open(dir.join("store"), store_disk::Options::default())?;
    let config = Config {
        cluster: ClusterConfig::default(),
        pki: pki.clone(),
        advertise: address,
        names: Vec::new(),
        access: apiserver::Access {
            audit: apiserver::AuditConfig::to_file(dir.join("audit.log")),
            ..Default::default()
        },
        clock: Arc::new(base::clock::System),
        keys: apiserver::Keys::default(),
        request_headers: None,
    };
    let server = Server::open(disk.keyspace("cluster"), kinds::builtin(), config).await?;
    server.ensure_bootstrap().await?;
    let leaf = pki.ca.client("ferry-admin", Some("system:masters"))?;
    let remote = Remote {
        server: format!("https://{address}"),
        ca: pki.ca.cert_pem().into(),
        server_name: None,
        credentials: Credentials::Certificate { certificate: leaf.cert_pem, key: leaf.key_pem },
    };
    kubeconfig::merge_file(&dir.join("kubeconfig"), "engine", &remote)?;
    println!("pid {} at {address}", std::process::id());
    let (_stop, stopping) = tokio::sync::watch::channel(false);
    server.serve(tokio::net::TcpListener::bind(address).await?, stopping, Duration::from_secs(1)).await?;
    Ok(())
}
