//! Objects in other versions of their kind than the one that they are in.
//!
//! For most kinds a hook says how, which is a pure function. A custom kind may name a webhook instead, and then somebody
//! outside has to be asked ([`Converter`]). Every reader and writer awaits the same functions, whatever its kind: where
//! nobody has to be asked they are ready at once. Pure code that lacks a conversion in its middle ([`KindVersions`])
//! fails with the question; it is asked, and the code runs again.
//!
//! What lists and watches were answered is kept ([`Answers`]): upstream keeps a cache for every version that is read,
//! and asks once per change of an object. A get asks always, as upstream's does.

use crate::{Call, Engine, answered::Answers, encode, publish::meta_of};
use base::{BoxFuture, Result, Status};
use merge::managed::Versions;
use parking_lot::Mutex;
use schema::{ConversionWebhook, Kind, Schema};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::time::{Instant, timeout, timeout_at};
use value::{Object, Value};

/// How many objects are asked for at once.
const CHUNK: usize = 500;

/// How long is waited for a place among those who ask: as long as one call of a webhook may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long is waited for the answer to somebody else's question before it is asked once more.
const FOR_OTHERS: Duration = Duration::from_secs(1);

/// Asks a webhook.
pub trait Converter: Send + Sync {
    /// Objects of a kind in the version `to`, in their order. None of them is in it yet.
    fn convert<'a>(
        &'a self,
        kind: &'a Kind,
        webhook: &'a ConversionWebhook,
        to: usize,
        objects: Vec<Value>,
    ) -> BoxFuture<'a, Result<Vec<Value>>>;
}

/// All conversions of one engine.
#[derive(Default)]
pub struct Conversions {
    outside: OnceLock<Arc<dyn Converter>>,
    pub(crate) answers: Answers,
}

impl Conversions {
    /// A second call changes nothing.
    pub fn set(&self, converter: Arc<dyn Converter>) {
        let _ = self.outside.set(converter);
    }

    /// A tree in another version.
    pub async fn tree(&self, kind: &Kind, value: Value, from: usize, to: usize) -> Result<Value> {
        match &kind.policy.conversion {
            Some(webhook) if from != to => {
                let mut made = self.ask(kind, webhook, to, vec![value]).await?;
                made.pop().ok_or_else(|| Status::internal("a conversion has made nothing"))
            }
            _ => by_hook(kind, value, from, to),
        }
    }

    /// An object in a version: the same one where it is in that version.
    pub async fn object(&self, kind: &Kind, version: usize, object: &Arc<Object>) -> Result<Arc<Object>> {
        if is_in(kind, version, object) {
            return Ok(object.clone());
        }
        let from = version_of(kind, object)?;
        let value = self.tree(kind, object.value(), from, version).await?;
        let made = made(kind, object, &value);
        if let Some(webhook) = &kind.policy.conversion {
            self.answers.askers(&kind.prefix(), webhook);
            self.answers.keep(&kind.prefix(), webhook, version, &made);
        }
        Ok(made)
    }

    /// The same for many, of which those are not asked for that were answered before.
    pub async fn objects(&self, kind: &Kind, version: usize, objects: &mut [Arc<Object>]) -> Result<()> {
        if kind.versions.len() == 1 || objects.iter().all(|object| is_in(kind, version, object)) {
            return Ok(());
        }
        let Some(webhook) = &kind.policy.conversion else {
            for object in objects.iter_mut().filter(|object| !is_in(kind, version, object)) {
                let value = by_hook(kind, object.value(), version_of(kind, object)?, version)?;
                *object = made(kind, object, &value);
            }
            return Ok(());
        };
        let prefix = kind.prefix();
        let askers = self.answers.askers(&prefix, webhook);
        let until = Instant::now() + FOR_OTHERS;
        loop {
            let mut done = std::pin::pin!(askers.done.notified());
            done.as_mut().enable();
            let missing = self.fill(kind, &prefix, version, objects);
            if missing.is_empty() {
                return Ok(());
            }
            let place = |at: &usize| (objects[*at].key.clone(), version);
            let mine = askers.take(missing.iter().map(place));
            let asked: Vec<usize> = match mine.is_empty() {
                false => missing.iter().copied().filter(|at| mine.has(&place(at))).collect(),
                true if timeout_at(until, done).await.is_ok() => continue,
                true => missing,
            };
            for chunk in asked.chunks(CHUNK) {
                let call = timeout(PATIENCE, askers.calls.acquire()).await;
                let _call = call.map_err(|_| overdue(kind, version))?;
                for at in chunk {
                    version_of(kind, &objects[*at])?;
                }
                let values = chunk.iter().map(|at| objects[*at].value()).collect();
                let values = self.ask(kind, webhook, version, values).await?;
                for (at, value) in chunk.iter().zip(values) {
                    objects[*at] = made(kind, &objects[*at], &value);
                    self.answers.keep(&prefix, webhook, version, &objects[*at]);
                }
            }
        }
    }

    /// Puts what is known into its place; where nothing is.
    fn fill(&self, kind: &Kind, prefix: &str, version: usize, objects: &mut [Arc<Object>]) -> Vec<usize> {
        let mut missing = Vec::new();
        for (at, object) in objects.iter_mut().enumerate() {
            if is_in(kind, version, object) {
                continue;
            }
            match self.answers.find(prefix, version, object) {
                Some(known) => *object = known,
                None => missing.push(at),
            }
        }
        missing
    }

    /// Asks, and leaves of the answers what the version's schema knows.
    async fn ask(
        &self,
        kind: &Kind,
        webhook: &ConversionWebhook,
        to: usize,
        objects: Vec<Value>,
    ) -> Result<Vec<Value>> {
        let converter = self.outside.get().ok_or_else(|| Status::internal("nobody converts yet"))?;
        let mut made = converter.convert(kind, webhook, to, objects).await?;
        for object in &mut made {
            schema::prune(&kind.versions[to].schema, object);
        }
        Ok(made)
    }
}

/// Nobody of those who ask has made room in time.
fn overdue(kind: &Kind, version: usize) -> Status {
    let (group, name) = kind.group_version(version);
    let of = format!("{group}/{name}, Kind={}", kind.kind);
    Status::plain(format!("conversion webhook for {of} failed: context deadline exceeded"))
}

/// What a request says, in the version that is worked on.
pub(crate) fn from_request(call: &Call, value: Value) -> Result<Value> {
    by_hook(&call.kind, value, call.version, call.working_version())
}

/// What was worked on, in the version of the request.
pub(crate) fn for_reply(call: &Call, value: Value) -> Result<Value> {
    by_hook(&call.kind, value, call.working_version(), call.version)
}

fn by_hook(kind: &Kind, mut value: Value, from: usize, to: usize) -> Result<Value> {
    if from != to {
        kind.hooks.convert(&mut value, &kind.versions[from].name, &kind.versions[to].name)?;
        value.set(&["apiVersion"], kind.api_version(to));
    }
    Ok(value)
}

fn is_in(kind: &Kind, version: usize, object: &Object) -> bool {
    let (stored, name) = (encode::api_version(object.json()), &kind.versions[version].name);
    match kind.group.as_str() {
        "" => stored == name,
        group => stored.strip_prefix(group).and_then(|rest| rest.strip_prefix('/')) == Some(name),
    }
}

/// The version that a stored object is in.
fn version_of(kind: &Kind, object: &Object) -> Result<usize> {
    let stored = encode::api_version(object.json());
    match stored.rsplit('/').next().and_then(|name| kind.version(name)) {
        Some(version) => Ok(version),
        None if kind.custom.is_some() => {
            Err(Status::plain(format!("request to convert CR from an invalid group/version: {stored}")))
        }
        None => Ok(kind.storage),
    }
}

/// An object with another tree. A webhook may have changed what selectors look at.
fn made(kind: &Kind, object: &Object, value: &Value) -> Arc<Object> {
    let json = encode::complete(value, object.revision);
    let meta = match kind.policy.conversion {
        Some(_) => meta_of(kind, value),
        None => object.meta.clone(),
    };
    Object::new(object.key.clone(), object.revision, meta, json)
}

/// A conversion that somebody has asked for.
pub(crate) struct Known {
    object: Value,
    to: usize,
    made: Value,
}

/// A kind as its managers see it, with the conversions that are known.
pub(crate) struct KindVersions<'a> {
    kind: &'a Kind,
    known: &'a [Known],
    /// What was needed and not known: the object, the version that it is in, and the one that it is wanted in.
    missing: Mutex<Option<(Value, usize, usize)>>,
}

impl<'a> KindVersions<'a> {
    pub fn new(kind: &'a Kind, known: &'a [Known]) -> Self {
        KindVersions { kind, known, missing: Mutex::default() }
    }
    fn index(&self, api_version: &str) -> Option<usize> {
        (0..self.kind.versions.len()).find(|i| self.kind.api_version(*i) == api_version)
    }
}

impl Versions for KindVersions<'_> {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        Some(&self.kind.versions[self.index(api_version)?].schema)
    }
    fn convert(&self, object: &Value, api_version: &str) -> Result<Option<Value>> {
        let (from, to) = (self.index(object.str_at(&["apiVersion"])), self.index(api_version));
        let (Some(from), Some(to)) = (from, to) else { return Ok(None) };
        if self.kind.policy.conversion.is_none() || from == to {
            return by_hook(self.kind, object.clone(), from, to).map(Some);
        }
        if let Some(known) = self.known.iter().find(|known| known.to == to && known.object == *object) {
            return Ok(Some(known.made.clone()));
        }
        *self.missing.lock() = Some((object.clone(), from, to));
        Err(Status::internal("a conversion is not known"))
    }
    fn custom(&self) -> bool {
        self.kind.custom.is_some()
    }
}

impl Engine {
    /// An object in the version of a call.
    pub(crate) async fn in_version(&self, call: &Call, object: &Arc<Object>) -> Result<Arc<Object>> {
        self.conversions.object(&call.kind, call.version, object).await
    }

    /// The tree of an object in the version that is worked on.
    pub(crate) async fn working_value(&self, call: &Call, object: &Arc<Object>) -> Result<Value> {
        Ok(self.conversions.object(&call.kind, call.working_version(), object).await?.value())
    }

    /// Runs what may need conversions in its middle, again with each that it needs.
    pub(crate) async fn versioned<T>(
        &self,
        kind: &Kind,
        run: impl Fn(&KindVersions<'_>) -> Result<T> + Sync,
    ) -> Result<T> {
        let mut known = Vec::new();
        loop {
            let versions = KindVersions::new(kind, &known);
            let done = run(&versions);
            let Some((object, from, to)) = versions.missing.into_inner() else { return done };
            let made = self.conversions.tree(kind, object.clone(), from, to).await?;
            known.push(Known { object, to, made });
        }
    }
}
