//! Pods on a node, from the API's side: what a pod asks for in its spec is what its containers find, and what happens to
//! them is what its status says. Names are those of upstream's conformance suite where one checks the same.

mod debug;
mod env;
mod io;
mod lifecycle;
mod probes;
mod resize;
mod security;
mod status;
mod volumes;

use crate::{common::Cluster, scenes};

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_a_node() {
    let cluster = Cluster::up(&["--nodes", "1"]);
    let table = [
        lifecycle::table(),
        probes::table(),
        env::table(),
        volumes::table(),
        security::table(),
        io::table(),
        status::table(),
        debug::table(),
        resize::table(),
    ];
    scenes::play(&cluster, table.concat(), scenes::All::AtOnce).await;
}
