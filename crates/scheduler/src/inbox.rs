//! What the scheduler has not looked at yet: of each object one state, the newest.
//!
//! Caches tell of every change and cannot wait. A channel would hold them all while a long decision runs; here a state
//! takes the place of the one before it, so that there is never more than there are objects. A deletion is never
//! passed over: what comes after it is another object, also where the name is the same.

use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tokio::sync::Notify;
use value::{Object, ObjectKey};

/// Whose change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Of {
    Node,
    Pod,
}

/// A change, or something else that the scheduler is told.
#[derive(Debug)]
pub enum Input<T> {
    Changed(Of, ObjectKey, Option<Arc<Object>>),
    Told(T),
}

/// Handles share one inbox.
pub struct Inbox<T>(Arc<Shared<T>>);

impl<T> Clone for Inbox<T> {
    fn clone(&self) -> Self {
        Inbox(self.0.clone())
    }
}

struct Shared<T> {
    state: Mutex<State<T>>,
    came: Notify,
}

struct State<T> {
    /// By arrival.
    inputs: BTreeMap<u64, Input<T>>,
    /// Where an object's newest state waits.
    newest: HashMap<(Of, ObjectKey), u64>,
    arrivals: u64,
}

impl<T> Default for Inbox<T> {
    fn default() -> Self {
        let state = State { inputs: BTreeMap::new(), newest: HashMap::new(), arrivals: 0 };
        Inbox(Arc::new(Shared { state: Mutex::new(state), came: Notify::new() }))
    }
}

impl<T> Inbox<T> {
    /// An object changed, or went.
    pub fn changed(&self, of: Of, key: ObjectKey, object: Option<Arc<Object>>) {
        self.0.state.lock().changed(of, key, object);
        self.0.came.notify_one();
    }
    pub fn tell(&self, news: T) {
        self.0.state.lock().push(Input::Told(news));
        self.0.came.notify_one();
    }
    /// What waits, in order of arrival; waits for something.
    pub async fn take(&self) -> Vec<Input<T>> {
        loop {
            let came = self.0.came.notified();
            let waiting = {
                let mut state = self.0.state.lock();
                state.newest.clear();
                std::mem::take(&mut state.inputs)
            };
            if !waiting.is_empty() {
                return waiting.into_values().collect();
            }
            came.await;
        }
    }
}

impl<T> State<T> {
    fn push(&mut self, input: Input<T>) {
        self.inputs.insert(self.arrivals, input);
        self.arrivals += 1;
    }
    fn changed(&mut self, of: Of, key: ObjectKey, object: Option<Arc<Object>>) {
        if let Some(new) = &object
            && let Some(at) = self.newest.get(&(of, key.clone()))
            && let Some(Input::Changed(_, _, Some(old))) = self.inputs.get_mut(at)
            && old.meta.uid == new.meta.uid
        {
            *old = new.clone();
            return;
        }
        self.newest.insert((of, key.clone()), self.arrivals);
        self.push(Input::Changed(of, key, object));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(uid: &str, revision: u64) -> Option<Arc<Object>> {
        let json = format!(r#"{{"metadata":{{"name":"x","uid":"{uid}","resourceVersion":"{revision}"}}}}"#);
        Some(Object::from_json(json.into()).unwrap())
    }

    #[tokio::test]
    async fn of_each_object_the_newest_state_waits() {
        let inbox: Inbox<&str> = Inbox::default();
        let key = |name: &str| ObjectKey::new("ns", name);
        for revision in 1..=100 {
            inbox.changed(Of::Pod, key("a"), object("1", revision));
            inbox.changed(Of::Node, key("a"), object("1", revision));
        }
        inbox.tell("failed");
        inbox.changed(Of::Pod, key("a"), None);
        inbox.changed(Of::Pod, key("a"), object("2", 101));
        inbox.changed(Of::Pod, key("a"), object("2", 102));
        // Another object without a deletion that was told: both are seen.
        inbox.changed(Of::Pod, key("a"), object("3", 103));
        let told: Vec<String> = inbox
            .take()
            .await
            .into_iter()
            .map(|input| match input {
                Input::Changed(of, _, Some(o)) => format!("{of:?} {} {}", o.meta.uid, o.revision),
                Input::Changed(of, _, None) => format!("{of:?} gone"),
                Input::Told(what) => what.into(),
            })
            .collect();
        assert_eq!(told, ["Pod 1 100", "Node 1 100", "failed", "Pod gone", "Pod 2 102", "Pod 3 103"]);
        // What was taken is taken: the next state waits anew.
        inbox.changed(Of::Pod, key("a"), object("3", 104));
        assert_eq!(inbox.take().await.len(), 1);
        let later = inbox.clone();
        let waiting = tokio::spawn(async move { later.take().await.len() });
        tokio::task::yield_now().await;
        inbox.tell("x");
        assert_eq!(waiting.await.unwrap(), 1);
    }
}
