//! What the pods of a node hold of it: who is there, with which resources, and whose share is free again.
//!
//! One place for the admission of new pods and for the resizing of those that run. A pod that waits for room is woken when
//! somebody leaves or takes less.

use crate::pod::{inbox::Inbox, worker::Message};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};

/// The shares of all pods that this node has taken up, by uid.
#[derive(Debug, Default)]
pub struct Shares(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    pods: HashMap<String, Share>,
    waiting: HashMap<String, Inbox>,
}

#[derive(Debug)]
struct Share {
    /// With the resources that were granted.
    pod: Arc<Pod>,
    /// Nothing of it runs or will run again.
    ended: bool,
}

impl Shares {
    /// A pod holds what it asks for in `pod`.
    pub fn set(&self, uid: &str, pod: Arc<Pod>) {
        let waiting = {
            let mut state = self.0.lock();
            let ended = state.pods.get(uid).is_some_and(|share| share.ended);
            state.pods.insert(uid.into(), Share { pod, ended });
            std::mem::take(&mut state.waiting)
        };
        wake(waiting);
    }
    /// A pod's processes are over for good, before the API says so; or after all not.
    pub fn end(&self, uid: &str, ended: bool) {
        let waiting = {
            let mut state = self.0.lock();
            let Some(share) = state.pods.get_mut(uid).filter(|share| share.ended != ended) else { return };
            share.ended = ended;
            if ended { std::mem::take(&mut state.waiting) } else { HashMap::new() }
        };
        wake(waiting);
    }
    /// A pod is gone.
    pub fn remove(&self, uid: &str) {
        let waiting = {
            let mut state = self.0.lock();
            state.pods.remove(uid);
            state.waiting.remove(uid);
            std::mem::take(&mut state.waiting)
        };
        wake(waiting);
    }
    /// All others that still hold something.
    pub fn others(&self, uid: &str) -> Vec<Arc<Pod>> {
        let state = self.0.lock();
        let others = state.pods.iter().filter(|(other, share)| *other != uid && !share.ended);
        others.map(|(_, share)| share.pod.clone()).collect()
    }
    /// Tells a pod's worker once when there may be more room.
    pub fn wait(&self, uid: &str, inbox: Inbox) {
        self.0.lock().waiting.insert(uid.into(), inbox);
    }
}

fn wake(waiting: HashMap<String, Inbox>) {
    for inbox in waiting.into_values() {
        // A worker that is over wants no room.
        let _ = inbox.send(Message::Room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pod::inbox::inbox;

    #[test]
    fn who_leaves_makes_room() {
        let shares = Shares::default();
        let (sender, mut messages) = inbox();
        shares.set("a", Arc::default());
        shares.set("b", Arc::default());
        assert_eq!((shares.others("a").len(), shares.others("c").len()), (1, 2));
        shares.wait("a", sender.clone());
        shares.end("b", true);
        shares.end("b", true);
        assert_eq!(shares.others("a").len(), 0);
        assert!(matches!(messages.try_recv(), Some(Message::Room)) && messages.try_recv().is_none());
        shares.wait("a", sender);
        shares.remove("b");
        assert!(matches!(messages.try_recv(), Some(Message::Room)));
    }
}
