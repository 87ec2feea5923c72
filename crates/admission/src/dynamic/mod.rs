//! Admission that the cluster's users configure: webhooks, and policies in CEL.
//!
//! What applies to a request, what a webhook is asked, and what its answer means are pure functions ([`matching`],
//! [`review`], [`conditions`]); [`call`] sends. The configurations are compiled when they change and held in one
//! [`Index`] that is replaced as a whole. It is renewed in two ways: by a task that follows the engine's watches, and by
//! whoever answers a write to a configuration, so that a client that has been told of its write finds it in force.
//! Without any configuration a request costs one atomic load.

mod call;
pub mod conditions;
mod credentials;
mod hook;
mod index;
mod matching;
mod mutating;
mod notes;
mod policy;
mod review;
mod type_check;
mod validating;
mod versions;
mod webhooks;

pub use credentials::{Credential, Credentials};
pub use hook::{target, trust};
pub use index::GROUP;
pub use matching::is_exempt;
pub use review::unexpected;
pub use webhooks::Rounds;

/// Which policies are asked a second time.
pub type PolicyRounds = mutating::Rounds;

use auth::Authorizer;
use hook::Hook;
use index::{Compiled, Source, hooks_of};
use mutating::Mutations;
use net::Outgoing;
use parking_lot::{Mutex, RwLock};
use policy::{Binding, Bound, Policy, bound};
use resource::{Call, Engine};
use schema::{Catalog, View};
use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicBool, Ordering},
};
use validating::Validations;

/// Every configuration of a cluster, compiled.
#[derive(Default)]
pub struct Index {
    pub mutating: Vec<Arc<Hook>>,
    pub validating: Vec<Arc<Hook>>,
    pub mutations: Vec<Bound<Mutations>>,
    pub validations: Vec<Bound<Validations>>,
}

impl Index {
    fn is_empty(&self) -> bool {
        self.mutating.is_empty()
            && self.validating.is_empty()
            && self.mutations.is_empty()
            && self.validations.is_empty()
    }
}

/// What the index is made of, by source.
#[derive(Default)]
struct Sources {
    mutating: Compiled<Vec<Arc<Hook>>>,
    validating: Compiled<Vec<Arc<Hook>>>,
    mutations: Compiled<Policy<Mutations>>,
    mutating_bindings: Compiled<Binding>,
    validations: Compiled<Policy<Validations>>,
    validating_bindings: Compiled<Binding>,
}

/// Configured admission of one cluster.
#[derive(Default)]
pub struct Dynamic {
    /// False while there is no configuration.
    any: AtomicBool,
    index: RwLock<Arc<Index>>,
    sources: Mutex<Sources>,
    outgoing: OnceLock<Arc<Outgoing>>,
    authorizer: Arc<OnceLock<Authorizer>>,
    /// For the kinds of parameters.
    engine: OnceLock<Weak<Engine>>,
    /// Whether the status of validating policies is kept up.
    checks_types: AtomicBool,
    to_mutating: Credentials,
    to_validating: Credentials,
}

impl Dynamic {
    /// With the authorizer that expressions ask, once it is there,
    /// and what is shown to mutating and to validating webhooks.
    pub fn new(authorizer: Arc<OnceLock<Authorizer>>, mutating: Credentials, validating: Credentials) -> Self {
        Dynamic { authorizer, to_mutating: mutating, to_validating: validating, ..Dynamic::default() }
    }
    /// The way out, once it is there.
    pub fn outgoing(&self) -> Option<&Arc<Outgoing>> {
        self.outgoing.get()
    }
    /// The engine, from [`Dynamic::follow`] on.
    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }
    /// Gives it the way out; a second call changes nothing.
    pub fn set_outgoing(&self, outgoing: Arc<Outgoing>) {
        let _ = self.outgoing.set(outgoing);
    }
    /// What a request goes by; `None` where nothing is configured, or nothing may apply to it.
    pub fn index(&self, call: &Call) -> Option<Arc<Index>> {
        if !self.any.load(Ordering::Acquire) || is_exempt(call) {
            return None;
        }
        Some(self.index.read().clone())
    }
    /// Whether anything may apply to a call.
    pub fn applies(&self, call: &Call) -> bool {
        self.any.load(Ordering::Acquire) && !is_exempt(call)
    }

    /// Keeps up the status of validating policies from the next event on: the part of a controller manager.
    pub fn check_types(&self) {
        self.checks_types.store(true, Ordering::Release);
    }
    /// All kinds; none before [`Dynamic::follow`].
    pub fn catalog(&self) -> Arc<Catalog> {
        self.engine().map(|engine| engine.catalog()).unwrap_or_default()
    }

    /// Compiles what has changed. What the view shows is in force when this returns.
    pub fn renew(&self, view: &dyn View) {
        let mut sources = self.sources.lock();
        let sources = &mut *sources;
        let mutating = sources.mutating.renew(view, Source::MutatingWebhooks, hooks_of);
        let validating = sources.validating.renew(view, Source::ValidatingWebhooks, hooks_of);
        let flat = |lists: Vec<Arc<Vec<Arc<Hook>>>>| lists.iter().flat_map(|list| list.iter().cloned()).collect();
        let mutations = sources.mutations.renew(view, Source::MutatingPolicies, |p| Policy::of(p, true, Mutations::of));
        let validations =
            sources.validations.renew(view, Source::ValidatingPolicies, |p| Policy::of(p, false, Validations::of));
        let mutating_bindings = sources.mutating_bindings.renew(view, Source::MutatingBindings, Binding::of);
        let validating_bindings = sources.validating_bindings.renew(view, Source::ValidatingBindings, Binding::of);
        let index = Index {
            mutating: flat(mutating),
            validating: flat(validating),
            mutations: bound(mutations, &mutating_bindings),
            validations: bound(validations, &validating_bindings),
        };
        let any = !index.is_empty();
        *self.index.write() = Arc::new(index);
        self.any.store(any, Ordering::Release);
    }

    /// Follows an engine until it is dropped; a second call changes nothing.
    pub fn follow(self: &Arc<Self>, engine: &Arc<Engine>) {
        if self.engine.set(Arc::downgrade(engine)).is_err() {
            return;
        }
        self.renew(engine.view());
        for source in Source::ALL {
            tokio::spawn(follow(Arc::downgrade(self), Arc::downgrade(engine), source));
        }
    }
}

async fn follow(dynamic: Weak<Dynamic>, engine: Weak<Engine>, source: Source) {
    while let Some(mut watcher) = resource::follow(&dynamic, &engine, GROUP, source.plural()).await {
        let mut batch = Vec::new();
        loop {
            batch.clear();
            let more = watcher.next(&mut batch).await;
            let (Some(dynamic), Some(engine)) = (dynamic.upgrade(), engine.upgrade()) else { return };
            if !batch.is_empty() {
                dynamic.renew(engine.view());
            }
            let checks = source == Source::ValidatingPolicies && dynamic.checks_types.load(Ordering::Acquire);
            if checks && !batch.is_empty() {
                type_check::all(&engine).await;
            }
            if !matches!(more, Ok(true)) {
                break;
            }
        }
    }
}
