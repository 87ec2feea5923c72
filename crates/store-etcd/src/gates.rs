//! The order of commits: etcd promises none to calls that are under way at the same time, the contract does. A commit
//! waits for those before it that touch one of its keys; all others run beside it.

use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use store::Txn;
use tokio::sync::watch;

/// Ends with its sender.
type Done = watch::Receiver<()>;

#[derive(Default)]
pub struct Gates(Arc<Mutex<Lanes>>);

#[derive(Default)]
struct Lanes {
    /// The last commit under way of each key.
    last: HashMap<Arc<str>, (u64, Done)>,
    next: u64,
}

/// A commit's place. Whoever waits behind it goes on when it is dropped.
pub struct Turn {
    lanes: Arc<Mutex<Lanes>>,
    keys: Vec<Arc<str>>,
    number: u64,
    before: Vec<Done>,
    _done: watch::Sender<()>,
}

impl Gates {
    /// Takes a place behind all that touch the same keys; behind all there are, where the transaction is empty.
    pub fn enter(&self, txn: &Txn) -> Turn {
        let (sender, receiver) = watch::channel(());
        let mut keys: Vec<Arc<str>> = txn.conditions.iter().map(|c| c.key().clone()).collect();
        keys.extend(txn.writes.iter().map(|w| w.key.clone()));
        keys.sort_unstable();
        keys.dedup();
        let mut lanes = self.0.lock();
        let number = lanes.next;
        lanes.next += 1;
        let before = match keys.is_empty() {
            true => lanes.last.values().map(|(_, done)| done.clone()).collect(),
            false => {
                let swapped = keys.iter().map(|key| lanes.last.insert(key.clone(), (number, receiver.clone())));
                swapped.flatten().map(|(_, done)| done).collect()
            }
        };
        drop(lanes);
        Turn { lanes: self.0.clone(), keys, number, before, _done: sender }
    }
}

impl Turn {
    /// Waits for those before.
    pub async fn come(&mut self) {
        for mut done in std::mem::take(&mut self.before) {
            while done.changed().await.is_ok() {}
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut lanes = self.lanes.lock();
        for key in &self.keys {
            if lanes.last.get(key).is_some_and(|(number, _)| *number == self.number) {
                lanes.last.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn may_go(turn: &mut Turn) -> bool {
        // What was not waited for in full is waited for again.
        let before = turn.before.clone();
        let came = matches!(pin!(turn.come()).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
        turn.before = before;
        came
    }

    #[test]
    fn commits_of_one_key_go_one_by_one() {
        let gates = Gates::default();
        let mut first = gates.enter(&Txn::create("/a", "1"));
        let mut second = gates.enter(&Txn::delete("/a", base::Revision(1)));
        let mut other = gates.enter(&Txn::create("/b", "1"));
        let mut barrier = gates.enter(&Txn::default());
        let mut may = || [&mut first, &mut second, &mut other, &mut barrier].map(may_go);
        assert_eq!(may(), [true, false, true, false]);
        drop(first);
        assert!(may_go(&mut second));
        drop(second);
        assert!(!may_go(&mut barrier));
        drop(other);
        assert!(may_go(&mut barrier));
        assert!(gates.0.lock().last.is_empty());
    }
}
