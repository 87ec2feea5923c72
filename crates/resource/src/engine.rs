//! The engine of one cluster: what it is made of, and the few services that all verbs share.

use crate::{
    Call,
    admission::{Admission, Attributes, Beside, Charge},
    claims,
    convert::{Conversions, Converter},
    encode, layout,
    publish::{self, Prepared, Published, meta_of},
    seal::Sealer,
    unreadable,
};
use base::{FieldErrors, Result, Revision, Status, clock::Clock};
use bytes::Bytes;
use parking_lot::Mutex;
use schema::{Catalog, ClusterConfig, Context, Kind, Operation, View};
use std::{collections::HashMap, sync::Arc, time::Duration};
use store::{CommitError, Condition, Store, Txn, Write};
use value::{Object, ObjectKey, Value};

/// What an engine is given beside its store.
pub struct Options {
    pub cluster: ClusterConfig,
    pub clock: Arc<dyn Clock>,
    pub admission: Arc<dyn Admission>,
    pub sealer: Arc<dyn Sealer>,
}

/// Why an engine could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The store could not be replayed.
    Store(store::OpenError),
    /// A stored object cannot be read; nothing was changed.
    Object(String),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Store(e) => e.fmt(f),
            OpenError::Object(why) => write!(f, "a stored object cannot be read: {why}"),
        }
    }
}
impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Store(e) => Some(e),
            OpenError::Object(_) => None,
        }
    }
}

/// One cluster's engine.
pub struct Engine {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) published: Arc<Published>,
    pub(crate) options: Options,
    /// Uniform read access for hooks and plugins.
    reader: Reader,
    /// What new objects are owned by, where they are alike.
    pub(crate) known: merge::managed::Known,
    pub(crate) conversions: Arc<Conversions>,
}

/// How often a write that lost a race is tried again before the client is told.
pub(crate) const RETRIES: usize = 16;

/// How long a read waits for a revision that has not been reached yet. Source: upstream's watch cache.
const REVISION_WAIT: Duration = Duration::from_secs(3);

impl Engine {
    /// Replays the store into the caches.
    pub async fn open(store: Arc<dyn Store>, builtins: Catalog, options: Options) -> Result<Arc<Self>, OpenError> {
        let published = Arc::new(Published::new(builtins, options.sealer.clone()));
        store.subscribe(published.clone()).await.map_err(OpenError::Store)?;
        if let Some(why) = published.damage.lock().take() {
            return Err(OpenError::Object(why));
        }
        layout::move_old(&*store, &published).await?;
        claims::adopt(&*store, &published).await?;
        tokio::spawn(publish::age(Arc::downgrade(&published)));
        tokio::spawn(publish::compact(Arc::downgrade(&published)));
        let news = published.sealer.changes();
        tokio::spawn(unreadable::follow(Arc::downgrade(&published), Arc::downgrade(&store), news));
        let reader = Reader { published: published.clone() };
        let (known, conversions) = (merge::managed::Known::default(), published.conversions.clone());
        Ok(Arc::new(Engine { store, published, options, reader, known, conversions }))
    }

    /// All kinds, as they are now.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.published.catalog.read().clone()
    }
    /// Counts up with each change of the catalog; documents made from it are cached under this number.
    pub fn catalog_generation(&self) -> u64 {
        *self.published.generation.borrow()
    }
    /// Wakes when the catalog changes.
    pub fn catalog_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.published.generation.subscribe()
    }
    /// The newest published revision.
    pub fn revision(&self) -> Revision {
        *self.published.applied.borrow()
    }
    /// Whether the store takes writes: an empty transaction waits for those before it, and fails where they did.
    pub async fn check_store(&self) -> std::result::Result<(), CommitError> {
        self.store.commit(Txn::default()).await.map(drop)
    }
    /// How many objects of a kind there are.
    pub fn count(&self, kind: &Kind) -> usize {
        self.published.cache(kind).map_or(0, |cache| cache.len())
    }
    /// Read access to all objects, for authorizers, admission and hooks.
    pub fn view(&self) -> &dyn View {
        &self.reader
    }
    /// The same, to keep.
    pub fn shared_view(&self) -> Arc<dyn View> {
        Arc::new(Reader { published: self.published.clone() })
    }
    /// Gives it who converts what hooks do not; a second call changes nothing.
    pub fn set_converter(&self, converter: Arc<dyn Converter>) {
        self.conversions.set(converter);
    }
    /// How much is kept of what conversion webhooks have answered, in bytes of JSON.
    pub fn kept_conversions(&self) -> usize {
        self.conversions.answers.weight()
    }
    /// Facts about the cluster.
    pub fn cluster(&self) -> &ClusterConfig {
        &self.options.cluster
    }
    pub(crate) fn clock(&self) -> base::time::Timestamp {
        self.options.clock.now()
    }

    /// The present state of the object that the call names. 500 where there is one that cannot be opened.
    pub(crate) fn current(&self, call: &Call) -> Result<Option<Arc<Object>>> {
        let Some(cache) = self.published.cache(&call.kind) else { return Ok(None) };
        let key = call.key();
        if !self.published.unreadable.is_empty()
            && let Some(why) = self.published.unreadable.find(&call.kind.store_key(&key))
        {
            return Err(Status::internal(why));
        }
        Ok(cache.get(&key))
    }

    /// Whether the stored bytes of an object are sealed as they would not be today: a write that changes nothing is
    /// done all the same then. The only read that asks the store, because nobody else needs to know.
    pub(crate) async fn is_stale(&self, kind: &Kind, object: &Object) -> bool {
        if !self.options.sealer.rotates(kind) {
            return false;
        }
        let key = kind.store_key(&object.key);
        match self.store.get(&key).await {
            Ok(Some((revision, stored))) if revision == object.revision => {
                self.options.sealer.open(kind, &key, &stored).is_ok_and(|opened| opened.stale)
            }
            _ => false,
        }
    }

    pub(crate) fn context<'a>(&'a self, call: &'a Call, operation: Operation) -> Context<'a> {
        Context {
            now: self.clock(),
            user: &call.user,
            operation,
            subresource: call.subresource.as_deref(),
            version: &call.kind.versions[call.version].name,
            cluster: &self.options.cluster,
            view: &self.reader,
        }
    }

    /// Waits until a revision is published; 504 as upstream when it does not come.
    pub(crate) async fn wait_for(&self, revision: Revision) -> Result<()> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut applied = self.published.applied.subscribe();
        let reached = tokio::time::timeout(REVISION_WAIT, applied.wait_for(|r| *r >= revision)).await;
        if matches!(reached, Ok(Ok(_))) {
            return Ok(());
        }
        Err(Status::too_large_version(revision, self.revision()))
    }

    /// Runs one half of the admission chain.
    pub(crate) async fn admit(
        &self,
        half: Half,
        call: &Call,
        operation: Operation,
        change: Change<'_>,
    ) -> Result<Value> {
        let Change { object, old, options, warnings } = change;
        if !self.options.admission.applies(call, operation) {
            return Ok(object);
        }
        let name = match call.name.as_str() {
            "" => object.name().to_string(),
            name => name.to_string(),
        };
        let mut attributes = Attributes {
            call,
            operation,
            name,
            object,
            old,
            options,
            view: &self.reader,
            conversions: &self.conversions,
            now: self.clock(),
            warnings: Vec::new(),
        };
        let done = match half {
            Half::Mutating => self.options.admission.mutate(&mut attributes).await,
            Half::Validating => self.options.admission.validate(&mut attributes).await,
        };
        warnings.append(&mut attributes.warnings);
        done?;
        Ok(attributes.object)
    }

    /// Commits the new state of one object, which replaces `old` (`None`: there must be none). The tree moves into the
    /// published object: whoever looks at the news first need not parse it.
    pub(crate) async fn commit(
        &self,
        call: &Call,
        key: &ObjectKey,
        old: Option<(&Object, &Value)>,
        new: Value,
    ) -> Result<Committed<Arc<Object>>> {
        let kind = &call.kind;
        let new = self.conversions.tree(kind, new, call.working_version(), kind.storage).await?;
        let plain = encode::stored(&new);
        let mut tree = Some(new);
        for _ in 0..RETRIES {
            let Some(new) = tree.take() else { break };
            let mut txn = self.transaction(kind, key, old, Some(&new));
            let beside = self.charged(call, old.map(|o| o.1), &new)?;
            let first = self.put(&mut txn, kind, &plain, new)?;
            let mut waiting = vec![self.waiting(first)];
            for Beside { group, plural, old, new } in beside {
                let catalog = self.catalog();
                let Some(kind) = catalog.get(group, plural) else { continue };
                let key: Arc<str> = kind.store_key(&old.key).into();
                txn.conditions.push(Condition::At { key: key.clone(), revision: old.revision });
                txn.beside.push(key.clone());
                let plain = encode::stored(&new);
                let bytes = self.put_at(&mut txn, kind, key, &plain, new)?;
                waiting.push(self.waiting(bytes));
            }
            match self.submit(txn).await? {
                // The account moved: what was charged is charged anew.
                Committed::BesideTaken => tree = waiting.first().and_then(Waiting::take_back),
                done => return Ok(done.map(|revision| self.committed(kind, key, &plain, revision))),
            }
        }
        Err(call.stale())
    }

    /// What a write changes beside its object.
    pub(crate) fn charged(&self, call: &Call, old: Option<&Value>, new: &Value) -> Result<Vec<Beside>> {
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let charge = Charge { call, operation, object: new, old, view: &self.reader, now: self.clock() };
        self.options.admission.charge(&charge)
    }

    /// Adds the write of the call's own object; the bytes under which its tree waits for the publication.
    fn put(&self, txn: &mut Transaction, kind: &Kind, plain: &Bytes, tree: Value) -> Result<Bytes> {
        let key = txn.key.clone();
        self.put_at(txn, kind, key, plain, tree)
    }

    fn put_at(&self, txn: &mut Transaction, kind: &Kind, key: Arc<str>, plain: &Bytes, tree: Value) -> Result<Bytes> {
        let stored = self.options.sealer.seal(kind, &key, plain).map_err(Status::internal)?;
        let expires = kind.policy.ttl.and_then(|ttl| self.clock().checked_add(ttl).ok());
        txn.writes.push(Write { key, value: Some(stored.clone()), expires });
        let prepared = Prepared { meta: meta_of(kind, &tree), plain: plain.clone(), tree: Some(tree) };
        self.published.prepared.lock().insert(stored.as_ptr() as usize, prepared);
        Ok(stored)
    }

    fn waiting(&self, bytes: Bytes) -> Waiting<'_> {
        Waiting { map: &self.published.prepared, bytes }
    }

    /// The object of a revision, as it was published.
    fn committed(&self, kind: &Kind, key: &ObjectKey, plain: &Bytes, revision: Revision) -> Arc<Object> {
        match self.published.cache(kind).and_then(|c| c.get(key)) {
            Some(object) if object.revision == revision => object,
            // Already changed again, or gone: what this call wrote.
            _ => {
                let meta = value::parse_lenient(plain).map(|value| meta_of(kind, &value)).unwrap_or_default();
                Object::new(key.clone(), revision, meta, encode::with_revision(plain, revision))
            }
        }
    }

    /// Commits that there is no such object any more; the revision of its removal.
    pub(crate) async fn commit_removal(
        &self,
        call: &Call,
        key: &ObjectKey,
        old: Option<(&Object, &Value)>,
    ) -> Result<Committed<Revision>> {
        let mut txn = self.transaction(&call.kind, key, old, None);
        txn.writes.push(Write { key: txn.key.clone(), value: None, expires: None });
        self.submit(txn).await
    }

    /// All of a transaction but the write of the object itself.
    fn transaction(
        &self,
        kind: &Kind,
        key: &ObjectKey,
        old: Option<(&Object, &Value)>,
        new: Option<&Value>,
    ) -> Transaction {
        let key: Arc<str> = kind.store_key(key).into();
        let (mut conditions, writes) = claims::transfer(kind, old.map(|o| o.1), new, &key);
        conditions.push(match old {
            Some((object, _)) => Condition::At { key: key.clone(), revision: object.revision },
            None => Condition::Absent { key: key.clone() },
        });
        Transaction { key, conditions, writes, beside: Vec::new() }
    }

    async fn submit(&self, txn: Transaction) -> Result<Committed<Revision>> {
        let Transaction { key, conditions, writes, beside } = txn;
        match self.store.commit(Txn { conditions, writes }).await {
            Ok(revision) => Ok(Committed::Done(revision)),
            Err(CommitError::Conflict { key: lost, .. }) if lost == key => Ok(Committed::Raced),
            Err(CommitError::Conflict { key: lost, .. }) if beside.contains(&lost) => Ok(Committed::BesideTaken),
            Err(CommitError::Conflict { .. }) => Ok(Committed::ClaimTaken),
            Err(CommitError::TooLarge { .. }) => {
                Err(Status::new(base::Reason::RequestEntityTooLarge, "Request entity too large: limit is 3145728"))
            }
            // It did not take place; a client may simply repeat it. Where that is not known it has to look first.
            Err(error @ CommitError::Unavailable { .. }) => {
                Err(Status::new(base::Reason::ServiceUnavailable, error.to_string()).with_retry_after(1))
            }
            Err(error @ CommitError::InDoubt { .. }) => Err(Status::new(base::Reason::Timeout, error.to_string())),
            Err(error) => Err(Status::internal(error)),
        }
    }

    /// 422 for the object, or nothing.
    pub(crate) fn check(&self, call: &Call, name: &str, errors: &FieldErrors) -> Result<()> {
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid(&call.kind.group, &call.kind.kind, name, errors)) }
    }
}

/// Takes back what waits for a publication that did not come.
struct Waiting<'a> {
    map: &'a Mutex<HashMap<usize, Prepared>>,
    /// Held, so that their address is nobody else's until the entry is gone.
    bytes: Bytes,
}

impl Waiting<'_> {
    /// The tree of what was not published.
    fn take_back(&self) -> Option<Value> {
        self.map.lock().remove(&(self.bytes.as_ptr() as usize))?.tree
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.map.lock().remove(&(self.bytes.as_ptr() as usize));
    }
}

/// A transaction under way, for the object of one store key.
struct Transaction {
    key: Arc<str>,
    conditions: Vec<Condition>,
    writes: Vec<Write>,
    /// The keys of what is written beside the object.
    beside: Vec<Arc<str>>,
}

/// What became of a commit.
pub(crate) enum Committed<T> {
    Done(T),
    /// The object is not what it was.
    Raced,
    /// Something that the object wants to hold was taken in the meantime.
    ClaimTaken,
    /// What is written beside the object is not what it was; [`Engine::commit`] tries again itself.
    BesideTaken,
}

impl<T> Committed<T> {
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Committed<U> {
        match self {
            Committed::Done(done) => Committed::Done(make(done)),
            Committed::Raced => Committed::Raced,
            Committed::ClaimTaken => Committed::ClaimTaken,
            Committed::BesideTaken => Committed::BesideTaken,
        }
    }
}

/// The state in which an object went.
pub(crate) fn last_state(kind: &Kind, key: &ObjectKey, revision: Revision, value: &Value) -> Arc<Object> {
    Object::new(key.clone(), revision, meta_of(kind, value), encode::complete(value, revision))
}

#[derive(Clone, Copy)]
pub(crate) enum Half {
    Mutating,
    Validating,
}

/// What a half of the admission chain is shown.
pub(crate) struct Change<'a> {
    pub object: Value,
    pub old: Option<&'a Value>,
    pub options: &'a crate::WriteOptions,
    pub warnings: &'a mut Vec<String>,
}

struct Reader {
    published: Arc<Published>,
}

impl View for Reader {
    fn get(&self, group: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let kind = self.published.catalog.read().get(group, plural)?.clone();
        self.published.cache(&kind)?.get(&ObjectKey::new(namespace, name))
    }
    fn list(&self, group: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let Some(kind) = self.published.catalog.read().get(group, plural).cloned() else { return Vec::new() };
        let Some(cache) = self.published.cache(&kind) else { return Vec::new() };
        cache.snapshot().0.namespace(namespace.unwrap_or(""))
    }
    fn indexed(
        &self,
        group: &str,
        plural: &str,
        namespace: Option<&str>,
        field: &str,
        value: &str,
    ) -> Option<Vec<Arc<Object>>> {
        let kind = self.published.catalog.read().get(group, plural)?.clone();
        kind.selectable.iter().find(|known| known.indexed && known.name == field)?;
        self.published.cache(&kind)?.find(value, namespace)
    }
}
