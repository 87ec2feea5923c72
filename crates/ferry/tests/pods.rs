//! Pods on a node, from the API's side: what a pod asks for in its spec is what its containers find, and what happens to
//! them is what its status says.
//!
//! One cluster for all scenarios, each a task with a namespace of its own, all at once: a scenario mostly waits. Names are
//! those of upstream's conformance suite where one checks the same. `SCENARIO=word` runs those that have the word in their
//! name.

mod common;
#[path = "pods/mod.rs"]
mod scenarios;

use common::{Cluster, PATIENCE};
use scenarios::{Scene, table};

#[tokio::test(flavor = "multi_thread")]
async fn pods_on_a_node() {
    let cluster = Cluster::up(&["--nodes", "1"]);
    let client = cluster.client().await;
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let local = tokio::task::LocalSet::new();
    let mut running = Vec::new();
    for (i, (name, story)) in table().into_iter().filter(|(name, _)| name.contains(&wanted)).enumerate() {
        let scene = Scene::new(client.clone(), &cluster.kubeconfig(), &format!("scenario-{i}"));
        let (own, started) = (scene.clone(), std::time::Instant::now());
        let task = local.spawn_local(async move {
            own.open().await;
            tokio::time::timeout(2 * PATIENCE, story(own)).await.expect("an end");
        });
        running.push(local.spawn_local(async move {
            let end = task.await;
            let took = started.elapsed().as_secs_f32();
            println!("{} {took:5.1} s  {name}", if end.is_ok() { "passed" } else { "FAILED" });
            let failure = match end {
                Ok(()) => None,
                Err(error) => {
                    let panic = error.into_panic();
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                    Some(format!("=== {name}\n{text}\n{}", scene.dump().await))
                }
            };
            scene.close().await;
            failure
        }));
    }
    let (count, mut failures) = (running.len(), Vec::new());
    assert!(count > 0, "no scenario has {wanted:?} in its name");
    local
        .run_until(async {
            for task in running {
                failures.extend(task.await.expect("the task that waits"));
            }
        })
        .await;
    assert!(failures.is_empty(), "{} of {count} scenarios failed\n{}", failures.len(), failures.join("\n"));
}
