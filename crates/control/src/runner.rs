//! The plan runner: decide in a pure function, print the decision, then act.

use crate::Queue;
use base::{clock::Clock, time::Timestamp};
use std::{fmt::Debug, hash::Hash, sync::Arc, time::Duration};
use tokio::task::JoinSet;

/// A controller for one kind of key.
///
/// `plan` reads caches and decides; it cannot wait, and what it returns can be printed and compared. `execute` performs the
/// plan through the API. Whoever makes the plan a function of plain values can test it without either.
pub trait Reconciler: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    type Plan: Debug + Send;

    /// For logs: `deployment`, `endpointslice`.
    fn name(&self) -> &'static str;
    /// `None`: nothing is to be done.
    fn plan(&self, key: &Self::Key, now: Timestamp) -> Option<Self::Plan>;
    /// Performs the plan. An error brings the key back after a growing delay, whatever the error is.
    fn execute(&self, key: &Self::Key, plan: Self::Plan)
    -> impl Future<Output = Result<Outcome, client::Error>> + Send;
}

/// What follows a plan that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The next event decides.
    Done,
    /// Look again then, unless an event comes before.
    After(Duration),
    /// Look again with the delays of failures.
    Retry,
}

/// Works on the queue's keys with `workers` tasks until the queue is closed.
pub async fn run<R: Reconciler>(reconciler: Arc<R>, queue: Queue<R::Key>, workers: usize, clock: Arc<dyn Clock>) {
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(work(reconciler.clone(), queue.clone(), clock.clone()));
    }
    while let Some(ended) = tasks.join_next().await {
        if ended.is_err_and(|e| e.is_panic()) {
            tracing::error!(controller = reconciler.name(), "a worker panicked; starting another");
            tasks.spawn(work(reconciler.clone(), queue.clone(), clock.clone()));
        }
    }
}

/// [`run`] as a task of its own.
pub fn spawn<R: Reconciler>(
    reconciler: Arc<R>,
    queue: Queue<R::Key>,
    workers: usize,
    clock: Arc<dyn Clock>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(run(reconciler, queue, workers, clock))
}

async fn work<R: Reconciler>(reconciler: Arc<R>, queue: Queue<R::Key>, clock: Arc<dyn Clock>) {
    while let Some(key) = queue.next().await {
        let held = Held { queue: &queue, key: &key };
        match step(&*reconciler, &key, clock.now()).await {
            Ok(Outcome::Done) => queue.forget(&key),
            Ok(Outcome::After(delay)) => {
                queue.forget(&key);
                queue.add_after(key.clone(), delay);
            }
            Ok(Outcome::Retry) => queue.add_rate_limited(key.clone()),
            Err(error) => {
                let controller = reconciler.name();
                // Conflicts are how concurrent writers meet; the first few failures of anything else are transient too.
                if error.is_conflict() || queue.failures(&key) < 3 {
                    tracing::debug!(controller, ?key, %error, "will try again");
                } else {
                    tracing::warn!(controller, ?key, %error, "still failing");
                }
                queue.add_rate_limited(key.clone());
            }
        }
        drop(held);
    }
}

/// Gives the key back even when a plan panics.
struct Held<'a, K: Clone + Eq + Hash> {
    queue: &'a Queue<K>,
    key: &'a K,
}

impl<K: Clone + Eq + Hash> Drop for Held<'_, K> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.queue.add_rate_limited(self.key.clone());
        }
        self.queue.done(self.key);
    }
}

async fn step<R: Reconciler>(reconciler: &R, key: &R::Key, now: Timestamp) -> Result<Outcome, client::Error> {
    let Some(plan) = reconciler.plan(key, now) else { return Ok(Outcome::Done) };
    tracing::debug!(controller = reconciler.name(), ?key, ?plan, "plan");
    reconciler.execute(key, plan).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    struct Count(Mutex<Vec<u32>>);

    impl Reconciler for Count {
        type Key = u32;
        type Plan = u32;
        fn name(&self) -> &'static str {
            "count"
        }
        fn plan(&self, key: &u32, _now: Timestamp) -> Option<u32> {
            assert!(*key != 13 || !self.0.lock().is_empty(), "the first look at 13 panics");
            (*key != 0).then_some(*key)
        }
        async fn execute(&self, key: &u32, plan: u32) -> Result<Outcome, client::Error> {
            let tries = {
                let mut done = self.0.lock();
                done.push(plan);
                done.iter().filter(|k| *k == key).count()
            };
            match (*key, tries) {
                (2, 1) => Err(client::Error::Transport("gone".into())),
                (3, 1) => Ok(Outcome::After(Duration::from_secs(5))),
                _ => Ok(Outcome::Done),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_and_delays_come_back() {
        let (queue, count) = (Queue::default(), Arc::new(Count(Mutex::default())));
        let running = spawn(count.clone(), queue.clone(), 2, Arc::new(base::clock::System));
        for key in [0, 1, 2, 3] {
            queue.add(key);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(*count.0.lock(), [1, 2, 3, 2]);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(*count.0.lock(), [1, 2, 3, 2, 3]);
        queue.close();
        running.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_costs_one_try_and_no_worker() {
        let (queue, count) = (Queue::default(), Arc::new(Count(Mutex::default())));
        let running = spawn(count.clone(), queue.clone(), 1, Arc::new(base::clock::System));
        queue.add(13);
        queue.add(1);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(*count.0.lock(), [1, 13]);
        queue.close();
        running.await.unwrap();
    }
}
