//! The union of authorizers: `system:masters`, then those that are configured, by default Node and RBAC; and the task that
//! keeps the RBAC index in step.

use crate::{
    Attributes, Decision, Rule,
    access_webhook::AccessWebhook,
    index::{Index, RbacKind},
    modes::ModeConfig,
    node::NodeAuthorizer,
    policy,
};
use base::{Revision, User, clock::Clock};
use net::Outgoing;
use parking_lot::RwLock;
use resource::{Body, Call, Delivery, Engine, EventKind, WriteOptions};
use schema::View;
use std::{
    collections::HashSet,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::sync::watch;
use value::{ObjectKey, Value};

const GROUP: &str = "rbac.authorization.k8s.io";

/// Who is asked, in turn.
enum Mode {
    Node,
    Rbac,
    AlwaysDeny,
    Webhook(Arc<AccessWebhook>),
}

/// Decides. Cheap to clone.
#[derive(Clone)]
pub struct Authorizer(Arc<Inner>);

struct Inner {
    view: Arc<dyn View>,
    node: NodeAuthorizer,
    index: RwLock<Index>,
    modes: RwLock<Arc<[Mode]>>,
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
            modes: RwLock::new([Mode::Node, Mode::Rbac].into()),
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

    /// Takes over who is asked, for questions from now on.
    pub fn configure(&self, modes: Vec<ModeConfig>, outgoing: &Arc<Outgoing>, clock: &Arc<dyn Clock>) {
        let mode = |config| match config {
            ModeConfig::Node => Mode::Node,
            ModeConfig::Rbac => Mode::Rbac,
            ModeConfig::AlwaysDeny => Mode::AlwaysDeny,
            ModeConfig::Webhook(config) => {
                Mode::Webhook(Arc::new(AccessWebhook::new(*config, outgoing.clone(), clock.clone())))
            }
        };
        *self.0.modes.write() = modes.into_iter().map(mode).collect();
    }
    fn webhooks(&self) -> bool {
        self.0.modes.read().iter().any(|mode| matches!(mode, Mode::Webhook(_)))
    }
    /// Whether somebody looks at the selectors of a user's requests.
    pub fn reads_selectors(&self, user: &User) -> bool {
        user.in_group("system:nodes") || self.webhooks()
    }

    /// May the user do that? Waits where a webhook has to be asked.
    pub async fn ask(&self, a: &Attributes<'_>) -> Decision {
        if !self.webhooks() {
            return self.authorize(a);
        }
        if let Some(decision) = self.master(a) {
            return decision;
        }
        let modes = self.0.modes.read().clone();
        let mut why = String::new();
        for mode in modes.iter() {
            let decision = match mode {
                Mode::Webhook(webhook) => webhook.decide(a).await,
                other => self.decide(other, a),
            };
            match decision {
                Decision::NoOpinion(more) => join(&mut why, &more),
                decided => return decided,
            }
        }
        Decision::NoOpinion(why)
    }

    /// The same for those who cannot wait: expressions, and plugins of admission. A webhook that has not said it before is
    /// asked all the same where the runtime has threads enough; where it has one, it has no opinion.
    pub fn authorize(&self, a: &Attributes<'_>) -> Decision {
        if let Some(decision) = self.master(a) {
            return decision;
        }
        let modes = self.0.modes.read().clone();
        let mut why = String::new();
        for mode in modes.iter() {
            match self.decide(mode, a) {
                Decision::NoOpinion(more) => join(&mut why, &more),
                decided => return decided,
            }
        }
        Decision::NoOpinion(why)
    }

    fn master(&self, a: &Attributes<'_>) -> Option<Decision> {
        a.user.in_group("system:masters").then(|| Decision::Allow(self.0.master.clone()))
    }

    fn decide(&self, mode: &Mode, a: &Attributes<'_>) -> Decision {
        match mode {
            Mode::Node => self.0.node.decide(a, &*self.0.view),
            Mode::Rbac => match self.0.index.read().allows(a) {
                Some(reason) => Decision::Allow(reason),
                None => Decision::NoOpinion(String::new()),
            },
            Mode::AlwaysDeny => Decision::Deny("Everything is forbidden.".into()),
            Mode::Webhook(webhook) => match webhook.known(a) {
                Ok(decision) => decision,
                Err(_) => waited(webhook.decide(a)),
            },
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

    /// What [`Authorizer::rules_for`] does not know; `None` where it is everything.
    pub fn incomplete(&self, user: &User) -> Option<String> {
        let mut why = Vec::new();
        for mode in self.0.modes.read().iter() {
            match mode {
                Mode::Node if user.node_name().is_some() => {
                    why.push("node authorizer does not support user rule resolution");
                }
                Mode::Webhook(_) => why.push("webhook authorizer does not support user rule resolution"),
                _ => {}
            }
        }
        match why.as_slice() {
            [] => None,
            [one] => Some((*one).into()),
            all => Some(format!("[{}]", all.join(", "))),
        }
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

fn join(why: &mut String, more: &str) {
    if !why.is_empty() && !more.is_empty() {
        why.push('\n');
    }
    why.push_str(more);
}

/// Waits on a thread that may be spared.
fn waited(answer: impl Future<Output = Decision>) -> Decision {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(|| handle.block_on(answer))
        }
        _ => Decision::NoOpinion("the authorization webhook cannot be asked here".into()),
    }
}

/// Applies the events of one kind; begins anew where the watch is cut off.
async fn follow(inner: Weak<Inner>, engine: Weak<Engine>, kind: RbacKind, i: usize) {
    while let Some(mut watcher) = resource::follow(&inner, &engine, GROUP, kind.plural()).await {
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
    engine.own_call(GROUP, plural, namespace, name)
}
