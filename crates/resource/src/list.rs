//! `get` and `list`: from the cache. Where others write to the store, too, it is asked how far it is, never for objects.
//!
//! A list is consistent: it is the state at one revision, and its pages are pages of that same state.

use crate::{
    Answer, Call, Engine, ListQuery, ListReply, Reply, VersionMatch,
    cache::{KindCache, TooOld},
    call::not_unsigned,
    snap_map::SnapMap,
    topics::Topic,
    unreadable::Unreadable,
};
use base::{Result, Revision, Status};
use schema::{Kind, SubresourceAction};
use select::CompiledFieldSelector;
use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering::Relaxed},
};
use value::{Object, ObjectKey};

impl Engine {
    /// One object. A given revision is the oldest that the client accepts.
    pub async fn get(&self, call: &Call, revision: Option<&str>) -> Result<Reply> {
        self.reach(revision).await?;
        let object = self.current(call)?.ok_or_else(|| call.not_found())?;
        if let Some(SubresourceAction::Scale { .. }) = self.action(call) {
            return self.get_scale(call, &object).await;
        }
        Ok(Reply::ok(Answer::Stored(self.in_version(call, &object).await?)))
    }

    /// The objects that a query selects, or one page of them.
    pub async fn list(&self, call: &Call, query: &ListQuery) -> Result<ListReply> {
        let filter = Filter::new(call, query)?;
        let cache = self.published.cache(&call.kind).ok_or_else(Status::no_such_path)?;
        filter.check_readable(&call.kind, &self.published.unreadable)?;
        let (objects, revision, start) = self.state_for(&cache, query).await?;
        // As upstream, whose watch cache knows no pages: who takes any state gets all of it.
        let any = query.resource_version.as_deref() == Some("0") && query.continue_token.is_none();
        let limit = query.limit.filter(|n| *n > 0 && !any).unwrap_or(usize::MAX);
        let from = filter.first_key(start);
        let (mut items, more) = filter.select(&objects, from.as_ref(), limit);
        let more = more | self.select_converted(call, &filter, &mut items, limit).await?;
        let last = items.last().filter(|_| more).map(|o| o.key.clone());
        let remaining = match &last {
            Some(last) if filter.has_no_selectors() => Some(filter.count_after(&objects, last)),
            _ => None,
        };
        let continue_token = last.map(|key| Token { revision, last: key }.encode());
        self.conversions.objects(&call.kind, call.version, &mut items).await?;
        Ok(ListReply { items, revision, continue_token, remaining })
    }

    /// Where selectors look at what a webhook converts: leaves of the objects in reach those that match as the call's
    /// version shows them, up to a limit; whether there are more.
    pub(crate) async fn select_converted(
        &self,
        call: &Call,
        filter: &Filter,
        items: &mut Vec<Arc<Object>>,
        limit: usize,
    ) -> Result<bool> {
        if !filter.converted {
            return Ok(false);
        }
        self.conversions.objects(&call.kind, call.version, items).await?;
        items.retain(|object| filter.selects(object));
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(more)
    }

    /// The state that a list is made of, its revision, and the key behind which it goes on.
    async fn state_for(&self, cache: &KindCache, query: &ListQuery) -> Result<(SnapMap, Revision, Option<ObjectKey>)> {
        if let Some(token) = query.continue_token.as_deref().filter(|t| !t.is_empty()) {
            if !matches!(query.resource_version.as_deref(), None | Some("" | "0")) {
                return Err(Status::bad_request("specifying resource version is not allowed when using continue"));
            }
            let token = Token::decode(token)?;
            if token.revision == Revision::ZERO {
                self.catch_up().await?;
                let applied = self.revision();
                let (objects, last) = cache.snapshot();
                return Ok((objects, applied.max(last), Some(token.last)));
            }
            // The page before may be another server's, which was further: none is older than the one before it.
            self.wait_for(token.revision).await?;
            if token.revision.0 < self.published.compacted.load(Relaxed) {
                return Err(continue_expired(token.last));
            }
            return match cache.snapshot_at(token.revision) {
                Ok(objects) => Ok((objects, token.revision, Some(token.last))),
                Err(_) => Err(continue_expired(token.last)),
            };
        }
        let asked = parse_revision(query.resource_version.as_deref())?;
        match (asked, query.version_match) {
            (Some(revision), Some(VersionMatch::Exact)) => {
                self.wait_for(revision).await?;
                let objects = cache.snapshot_at(revision).map_err(|TooOld(oldest)| too_old(revision, oldest))?;
                Ok((objects, revision, None))
            }
            _ => {
                self.reach(query.resource_version.as_deref()).await?;
                // Read before the cache: everything up to here is in it.
                let applied = self.revision();
                let (objects, last) = cache.snapshot();
                Ok((objects, applied.max(last), None))
            }
        }
    }
}

/// What a list or watch selects.
pub(crate) struct Filter {
    namespace: value::Str,
    name: Option<value::Str>,
    labels: select::LabelSelector,
    fields: CompiledFieldSelector,
    no_labels: bool,
    no_fields: bool,
    topic: Option<Topic>,
    /// Selectors look at labels or fields that a webhook has a say in: they are held against converted objects.
    pub converted: bool,
}

impl Filter {
    pub fn new(call: &Call, query: &ListQuery) -> Result<Self> {
        let known: Vec<&str> = call.kind.selectable.iter().map(|f| f.name.as_str()).collect();
        // A field that only another version declares is none of this one.
        if let Some(own) = call.kind.policy.by_version.get(call.version) {
            query.fields.compile(&own.selectable.iter().map(|name| name.as_str()).collect::<Vec<_>>())?;
        }
        let fields = query.fields.compile(&known)?;
        let name = match call.name.as_str() {
            "" => fields.name().map(value::Str::from),
            name => Some(name.into()),
        };
        let one = name.clone().filter(|_| !call.kind.namespaced() || !call.namespace.is_empty());
        let (no_labels, no_fields) = (query.labels.is_everything(), fields.is_everything());
        let converted = call.kind.policy.conversion.is_some() && !(no_labels && no_fields);
        let field = || (0..known.len()).find_map(|i| Some(Topic::Field(i, fields.field(i)?.into())));
        let topic = one.map(|name| Topic::Object(ObjectKey::new(call.namespace.clone(), name)));
        let topic = if converted { topic } else { topic.or_else(field) };
        Ok(Filter {
            namespace: call.namespace.clone(),
            name,
            topic,
            no_labels,
            no_fields,
            converted,
            labels: query.labels.clone(),
            fields,
        })
    }
    /// 500 where an object that may match cannot be opened.
    pub fn check_readable(&self, kind: &Kind, unreadable: &Unreadable) -> Result<()> {
        if unreadable.is_empty() {
            return Ok(());
        }
        let found = match (self.namespace.as_str(), &self.name) {
            ("", Some(name)) if !kind.namespaced() => unreadable.find(&format!("{}{name}", kind.prefix())),
            ("", _) => unreadable.below(&kind.prefix()),
            (namespace, Some(name)) => unreadable.find(&format!("{}{namespace}/{name}", kind.prefix())),
            (namespace, None) => unreadable.below(&format!("{}{namespace}/", kind.prefix())),
        };
        found.map_or(Ok(()), |why| Err(Status::internal(why)))
    }
    /// Whether namespace and name are what is asked for.
    pub fn reaches(&self, object: &Object) -> bool {
        (self.namespace.is_empty() || object.key.namespace == self.namespace)
            && self.name.as_ref().is_none_or(|name| object.key.name == *name)
    }
    /// Whether the selectors want an object that is reached.
    pub fn selects(&self, object: &Object) -> bool {
        (self.no_labels || self.labels.matches(&object.meta)) && (self.no_fields || self.fields.matches(object))
    }
    pub fn matches(&self, object: &Object) -> bool {
        self.reaches(object) && self.selects(object)
    }
    /// What matches of a state, from a key on, up to a limit, and whether there is more; all that is reached where
    /// selectors have to wait for a conversion.
    pub fn select(&self, objects: &SnapMap, from: Option<&ObjectKey>, limit: usize) -> (Vec<Arc<Object>>, bool) {
        let mut items = Vec::with_capacity(if self.selects_all() { objects.len().min(limit) } else { 0 });
        let mut more = false;
        objects.walk_from(from, |object| {
            if self.is_past(object) {
                return ControlFlow::Break(());
            }
            if self.reaches(object) && (self.converted || self.selects(object)) {
                if items.len() == limit && !self.converted {
                    more = true;
                    return ControlFlow::Break(());
                }
                items.push(object.clone());
            }
            ControlFlow::Continue(())
        });
        (items, more)
    }
    /// What everything that matches has in common, where selectors say so.
    pub fn topic(&self) -> Option<Topic> {
        self.topic.clone()
    }
    fn has_no_selectors(&self) -> bool {
        self.no_labels && self.no_fields && self.name.is_none()
    }
    fn selects_all(&self) -> bool {
        self.has_no_selectors() && self.namespace.is_empty()
    }
    /// Where a walk begins: behind the last key of the page before, at the namespace, at the one name.
    pub fn first_key(&self, after: Option<ObjectKey>) -> Option<ObjectKey> {
        match (after, &self.name) {
            // The smallest key behind another: its name with a NUL.
            (Some(last), _) => Some(ObjectKey::new(last.namespace, format!("{}\0", last.name))),
            (None, Some(name)) if !self.namespace.is_empty() => {
                Some(ObjectKey::new(self.namespace.clone(), name.clone()))
            }
            (None, _) if !self.namespace.is_empty() => Some(ObjectKey::new(self.namespace.clone(), "")),
            _ => None,
        }
    }
    /// True for an object behind everything that can match.
    pub fn is_past(&self, object: &Object) -> bool {
        !self.namespace.is_empty()
            && (object.key.namespace > self.namespace
                || (object.key.namespace == self.namespace && self.name.as_ref().is_some_and(|n| object.key.name > *n)))
    }
    fn count_after(&self, objects: &SnapMap, last: &ObjectKey) -> u64 {
        let mut count = 0;
        objects.walk_from(self.first_key(Some(last.clone())).as_ref(), |object| {
            if self.is_past(object) {
                return ControlFlow::Break(());
            }
            count += 1;
            ControlFlow::Continue(())
        });
        count
    }
}

/// A continue token: opaque to clients; the revision of the list (zero: any) and the last key of the page.
struct Token {
    revision: Revision,
    last: ObjectKey,
}

impl Token {
    fn encode(&self) -> String {
        base::ids::hex(format!("{}\n{}\n{}", self.revision, self.last.namespace, self.last.name).as_bytes())
    }
    fn decode(token: &str) -> Result<Self> {
        let read = || {
            let pairs = token.as_bytes().chunks(2);
            let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
            let text = String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()?;
            let mut parts = text.splitn(3, '\n');
            let revision = parts.next()?.parse().ok()?;
            Some(Token { revision, last: ObjectKey::new(parts.next()?, parts.next()?) })
        };
        read().ok_or_else(|| Status::bad_request("invalid continue token: continue key is not valid"))
    }
}

/// `resourceVersion` of a read: `None` for "most recent" and for `"0"`.
pub(crate) fn parse_revision(text: Option<&str>) -> Result<Option<Revision>> {
    match text {
        None | Some("" | "0") => Ok(None),
        Some(text) => {
            let refused = |why| Status::bad_request(format!("invalid resource version: {why}"));
            text.parse().map(Some).map_err(|_| refused(no_revision(text)))
        }
    }
}

/// What is wrong with the `resourceVersion` of a read.
pub(crate) fn no_revision(text: &str) -> String {
    format!("resourceVersion: Invalid value: {}: {}", base::status::quote(text), not_unsigned(text))
}

/// 410: the client lists anew.
pub(crate) fn too_old(asked: Revision, oldest: Revision) -> Status {
    Status::expired(format!("too old resource version: {asked} ({oldest})"))
}

/// 410 with a token that goes on behind the same key, in whatever state there is then.
fn continue_expired(last: ObjectKey) -> Status {
    Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
    )
    .with_continue(Token { revision: Revision::ZERO, last }.encode())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_round_trip_and_rubbish_is_refused() {
        let token = Token { revision: Revision(42), last: ObjectKey::new("ns", "a.b") };
        let back = Token::decode(&token.encode()).unwrap();
        assert_eq!((back.revision, back.last), (token.revision, token.last));
        let status = continue_expired(ObjectKey::new("ns", "a")).to_json();
        let fresh = Token::decode(status["metadata"]["continue"].as_str().unwrap()).unwrap();
        assert_eq!((fresh.revision, fresh.last), (Revision::ZERO, ObjectKey::new("ns", "a")));
        for text in ["x", "zz", "0a", "é", "31"] {
            assert!(Token::decode(text).is_err(), "{text}");
        }
    }
}
