//! What the server itself asks of its engine: calls in its own name, and watches by which its parts follow a kind.

use crate::{Call, Engine, ListQuery, VersionMatch, Watcher};
use base::User;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// A kind that cannot be watched (yet) is tried again after this long.
const AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// A call of the server itself, in the storage version; an empty name for the collection. `None` where there is no
    /// such kind.
    pub fn own_call(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Call> {
        let kind = self.catalog().get(group, plural)?.clone();
        Some(Call {
            user: Arc::new(User::master("system:apiserver")),
            version: kind.storage,
            kind,
            namespace: namespace.into(),
            name: name.into(),
            subresource: None,
        })
    }
}

/// A watch of all objects of a kind, with those that are there first, tried until there is one; `None` once `owner`, for
/// whom it is, or the engine is gone.
pub async fn follow<T>(owner: &Weak<T>, engine: &Weak<Engine>, group: &str, plural: &str) -> Option<Watcher> {
    loop {
        owner.upgrade()?;
        let engine = engine.upgrade()?;
        if let Some(call) = engine.own_call(group, plural, "", "") {
            let query = ListQuery {
                send_initial_events: Some(true),
                version_match: Some(VersionMatch::NotOlderThan),
                allow_bookmarks: true,
                ..ListQuery::default()
            };
            match engine.watch(&call, &query).await {
                Ok(watcher) => return Some(watcher),
                Err(error) => tracing::warn!(%error, "watch of {plural}"),
            }
        }
        drop(engine);
        tokio::time::sleep(AGAIN).await;
    }
}
