//! The union of authorizers: `system:masters`, Node, RBAC; and the task that keeps the RBAC index in step.

use crate::{
    Attributes, Decision, Rule,
    index::{Index, RbacKind},
    node::NodeAuthorizer,
    policy,
};
use base::{Revision, User};
use parking_lot::RwLock;
use resource::{Body, Call, Delivery, Engine, EventKind, ListQuery, VersionMatch, WriteOptions};
use schema::View;
use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::watch;
use value::{ObjectKey, Str, Value};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Decides. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer(Arc<Inner>);

struct Inner {
    view: Arc<dyn View>,
    node: NodeAuthorizer,
    index: RwLock<Index>,
    master: Arc<str>,
    /// The newest revision of each kind that the index has seen.
    seen: watch::Sender<[Revision; 4]>,
}

impl Authorizer {
    /// Fills the index from the view; it stands still until [`Authorizer::follow`].
    pub fn new(view: Arc<dyn View>) -> Self {
        let mut index = Index::default();
        let mut seen = [Revision::ZERO; 4];
        for (i, kind) in RbacKind::ALL.into_iter().enumerate() {
            for object in view.list(GROUP, kind.plural(), None) {
                index.apply(kind, &object.key, Some(&object.value()));
                seen[i] = seen[i].max(object.revision);
            }
        }
        Authorizer(Arc::new(Inner {
            view,
            node: NodeAuthorizer::default(),
            index: RwLock::new(index),
            master: "".into(),
            seen: watch::Sender::new(seen),
        }))
    }

    /// Follows the four kinds of an engine until it is dropped, and keeps aggregated cluster roles up to date.
    pub fn follow(&self, engine: &Arc<Engine>) {
        for (i, kind) in RbacKind::ALL.into_iter().enumerate() {
            tokio::spawn(follow(Arc::downgrade(&self.0), Arc::downgrade(engine), kind, i));
        }
        tokio::spawn(aggregate(Arc::downgrade(&self.0), Arc::downgrade(engine)));
    }

    /// May the user do that?
    pub fn authorize(&self, a: &Attributes<'_>) -> Decision {
        if a.user.in_group("system:masters") {
            return Decision::Allow(self.0.master.clone());
        }
        let why_not = match self.0.node.decide(a, &*self.0.view) {
            Decision::Allow(reason) => return Decision::Allow(reason),
            Decision::NoOpinion(why) => why,
        };
        match self.0.index.read().allows(a) {
            Some(reason) => Decision::Allow(reason),
            None => Decision::NoOpinion(why_not),
        }
    }

    /// Every rule that RBAC grants the user in a namespace.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Vec<Rule> {
        let mut rules = self.0.index.read().rules_for(user, namespace);
        if user.in_group("system:masters") {
            rules.push(Rule::of(&value::value!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})));
            rules.push(Rule::of(&value::value!({"verbs": ["*"], "nonResourceURLs": ["*"]})));
        }
        rules
    }

    /// The rules of a role; cluster roles have an empty namespace.
    pub fn role(&self, namespace: &str, name: &str) -> Option<Arc<[Rule]>> {
        self.0.index.read().role(&ObjectKey::new(namespace, name))
    }

    pub fn view(&self) -> &dyn View {
        &*self.0.view
    }

    /// Waits (briefly) until a write to an RBAC kind counts, so that who granted a right may use it in the next request.
    pub async fn settled(&self, plural: &str, revision: Revision) {
        let Some(i) = RbacKind::ALL.into_iter().position(|k| k.plural() == plural) else { return };
        let mut seen = self.0.seen.subscribe();
        let reached = seen.wait_for(|seen| seen[i] >= revision);
        let _ = tokio::time::timeout(Duration::from_millis(500), reached).await;
    }
}

/// Applies the events of one kind; begins anew where the watch is cut off.
async fn follow(inner: Weak<Inner>, engine: Weak<Engine>, kind: RbacKind, i: usize) {
    while let Some(mut watcher) = start(&inner, &engine, kind).await {
        // What the initial list does not name is gone since the last watch.
        let mut listed = Some(HashSet::new());
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more = watcher.next(&mut batch).await;
            let Some(inner) = inner.upgrade() else { return };
            apply(&inner, kind, i, &batch, &mut listed);
            if !matches!(more, Ok(true)) {
                break;
            }
        }
    }
}

fn apply(inner: &Inner, kind: RbacKind, i: usize, batch: &[Delivery], listed: &mut Option<HashSet<ObjectKey>>) {
    let mut last = Revision::ZERO;
    for delivery in batch {
        let object = &delivery.object;
        last = last.max(object.revision);
        match delivery.kind {
            EventKind::Bookmark if delivery.ends_initial_list() => {
                if let Some(listed) = listed.take() {
                    inner.index.write().retain(kind, &listed);
                }
            }
            EventKind::Bookmark | EventKind::Error => {}
            EventKind::Deleted => inner.index.write().apply(kind, &object.key, None),
            EventKind::Added | EventKind::Modified => {
                // Parsed before the lock is taken: readers are requests.
                let value = object.value();
                inner.index.write().apply(kind, &object.key, Some(&value));
            }
        }
        if let Some(listed) = listed {
            listed.insert(object.key.clone());
        }
    }
    inner.seen.send_modify(|seen| seen[i] = seen[i].max(last));
}

async fn start(inner: &Weak<Inner>, engine: &Weak<Engine>, kind: RbacKind) -> Option<resource::Watcher> {
    loop {
        inner.upgrade()?;
        let engine = engine.upgrade()?;
        if let Some(call) = call(&engine, kind.plural(), "", "") {
            let query = ListQuery {
                send_initial_events: Some(true),
                version_match: Some(VersionMatch::NotOlderThan),
                allow_bookmarks: true,
                ..ListQuery::default()
            };
            match engine.watch(&call, &query).await {
                Ok(watcher) => return Some(watcher),
                Err(e) => tracing::warn!("watch of {}: {e}", kind.plural()),
            }
        }
        drop(engine);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Writes the gathered rules of aggregated cluster roles whenever cluster roles change.
async fn aggregate(inner: Weak<Inner>, engine: Weak<Engine>) {
    let Some(mut seen) = inner.upgrade().map(|inner| inner.seen.subscribe()) else { return };
    loop {
        let before = seen.borrow_and_update()[1];
        let Some(engine) = engine.upgrade() else { return };
        let roles: Vec<Value> = engine.view().list(GROUP, "clusterroles", None).iter().map(|o| o.value()).collect();
        let full = policy::transitive(&roles);
        for role in &roles {
            let Some(wanted) = full.get(role.name()).filter(|w| w.at(&["rules"]) != role.at(&["rules"])) else {
                continue;
            };
            let Some(call) = call(&engine, "clusterroles", "", role.name()) else { continue };
            if let Err(e) = engine.update(&call, Body::from(wanted.clone()), &WriteOptions::default()).await {
                tracing::debug!("aggregated rules of {}: {e}", role.name());
            }
        }
        drop(engine);
        if seen.wait_for(|seen| seen[1] > before).await.is_err() {
            return;
        }
    }
}

/// A call of the server itself on an RBAC kind; `None` where the catalog does not have it.
pub(crate) fn call(engine: &Engine, plural: &str, namespace: &str, name: &str) -> Option<Call> {
    let kind = engine.catalog().get(GROUP, plural)?.clone();
    let version = kind.storage;
    Some(Call {
        user: Arc::new(User::master("system:apiserver")),
        kind,
        version,
        namespace: Str::from(namespace),
        name: Str::from(name),
        subresource: None,
    })
}
