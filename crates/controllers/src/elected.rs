//! Controllers where several servers share a store: one of them runs them all, by a Lease.

use crate::{Surroundings, start};
use base::User;
use client::Client;
use control::{LeaderConfig, lead};
use tokio::{sync::watch, task::JoinSet};

/// One lease for all of them: what they write is worked on best where the caches are warm.
const LEASE: &str = "ferry-controllers";

/// Runs the controllers whenever this process leads. `identity` tells it from others. After `stop` the lease is given
/// back, and the task ends; without that, the next one takes over when the lease has not been renewed for 15 s.
pub fn start_elected(
    client: impl Fn(User) -> Client + Send + Sync + 'static,
    surroundings: Surroundings,
    identity: String,
    mut stop: watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let config = LeaderConfig { namespace: "kube-system".into(), name: LEASE.into(), identity };
        while !*stop.borrow() {
            let mut told = stop.clone();
            let work = async {
                let mut running = start(&client, &surroundings);
                let _ = told.wait_for(|stop| *stop).await;
                running.shutdown().await;
            };
            let leading = lead(client(User::master("ferry")), config.clone(), surroundings.clock.clone(), work);
            tokio::select! {
                biased;
                _ = leading => {}
                // A candidate that leads nothing has nothing to give back; a leader gets the time to do so.
                () = late(&mut stop) => {}
            }
        }
    });
    tasks
}

/// A while after the stop.
async fn late(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
}
