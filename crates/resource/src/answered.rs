//! What conversion webhooks have answered, and who asks them now.
//!
//! Answers are kept for all kinds together, up to a bound; the oldest ones go first, and those of a definition go with it. An
//! object is asked for by one at a time: many watchers are told of one change at once. Nobody relies on that, though: who
//! has waited a little for another's answer asks too, so that a call that hangs delays those who need the same objects by
//! that little, and all others not at all. A bound per kind keeps a webhook that hangs from gathering calls.

use parking_lot::Mutex;
use schema::ConversionWebhook;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};
use tokio::sync::{Notify, Semaphore};
use value::{Object, ObjectKey};

/// How much is kept of all answers, in bytes of JSON.
const KEPT: usize = 64 << 20;

/// How many calls of lists and watches wait for the webhook of one kind.
const ASKERS: usize = 16;

/// An object in a version.
pub type Place = (ObjectKey, usize);

/// All answers of one engine.
pub struct Answers {
    bound: usize,
    kept: Mutex<Kept>,
}

impl Default for Answers {
    fn default() -> Self {
        Answers { bound: KEPT, kept: Mutex::default() }
    }
}

#[derive(Default)]
struct Kept {
    /// By prefix of the kind's store keys.
    kinds: HashMap<Arc<str>, OfKind>,
    /// Every answer by when it was kept.
    order: BTreeMap<u64, (Arc<str>, Place)>,
    next: u64,
    /// Of their JSON, in bytes.
    weight: usize,
}

struct OfKind {
    prefix: Arc<str>,
    webhook: Arc<ConversionWebhook>,
    objects: HashMap<Place, (u64, Arc<Object>)>,
    askers: Arc<Askers>,
}

/// Who asks one webhook.
pub struct Askers {
    pub calls: Semaphore,
    asking: Mutex<HashSet<Place>>,
    /// Somebody has asked to the end.
    pub done: Notify,
}

/// What somebody asks for; dropped when it is answered, or when nobody waits for it any more.
pub struct Asking<'a> {
    askers: &'a Askers,
    places: HashSet<Place>,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asking = self.askers.asking.lock();
        for place in &self.places {
            asking.remove(place);
        }
        drop(asking);
        self.askers.done.notify_waiters();
    }
}

impl Askers {
    /// Takes those of the places that nobody asks for.
    pub fn take(&self, places: impl IntoIterator<Item = Place>) -> Asking<'_> {
        let mut asking = self.asking.lock();
        let free = places.into_iter().filter(|place| asking.insert(place.clone())).collect();
        Asking { askers: self, places: free }
    }
}

impl Asking<'_> {
    pub fn has(&self, place: &Place) -> bool {
        self.places.contains(place)
    }
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}

impl Answers {
    /// Who asks for a kind. A definition that has changed begins anew.
    pub fn askers(&self, prefix: &str, webhook: &Arc<ConversionWebhook>) -> Arc<Askers> {
        let mut kept = self.kept.lock();
        if let Some(known) = kept.kinds.get(prefix)
            && Arc::ptr_eq(&known.webhook, webhook)
        {
            return known.askers.clone();
        }
        kept.forget(prefix);
        let askers = Askers { calls: Semaphore::new(ASKERS), asking: Mutex::default(), done: Notify::new() };
        let askers = Arc::new(askers);
        let prefix: Arc<str> = prefix.into();
        let (webhook, objects) = (webhook.clone(), HashMap::new());
        let of_kind = OfKind { prefix: prefix.clone(), webhook, objects, askers: askers.clone() };
        kept.kinds.insert(prefix, of_kind);
        askers
    }

    /// The answer for the present state of an object; `None` where it was not asked for.
    pub fn find(&self, prefix: &str, version: usize, object: &Object) -> Option<Arc<Object>> {
        let kept = self.kept.lock();
        let (_, known) = kept.kinds.get(prefix)?.objects.get(&(object.key.clone(), version))?;
        (known.revision == object.revision).then(|| known.clone())
    }

    /// Keeps an answer of a webhook, unless the definition has changed or gone since it was asked.
    pub fn keep(&self, prefix: &str, webhook: &Arc<ConversionWebhook>, version: usize, made: &Arc<Object>) {
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        let Some(of_kind) = kept.kinds.get_mut(prefix).filter(|known| Arc::ptr_eq(&known.webhook, webhook)) else {
            return;
        };
        let place = (made.key.clone(), version);
        if of_kind.objects.get(&place).is_some_and(|(_, known)| known.revision > made.revision) {
            return;
        }
        kept.next += 1;
        kept.order.insert(kept.next, (of_kind.prefix.clone(), place.clone()));
        kept.weight += made.json().len();
        if let Some((at, old)) = of_kind.objects.insert(place, (kept.next, made.clone())) {
            kept.order.remove(&at);
            kept.weight = kept.weight.saturating_sub(old.json().len());
        }
        while kept.weight > self.bound
            && let Some((_, (prefix, place))) = kept.order.pop_first()
        {
            let old = kept.kinds.get_mut(&prefix).and_then(|of_kind| of_kind.objects.remove(&place));
            kept.weight = kept.weight.saturating_sub(old.map_or(0, |(_, old)| old.json().len()));
        }
    }

    /// Forgets all answers for a kind.
    pub fn forget(&self, prefix: &str) {
        self.kept.lock().forget(prefix);
    }

    /// How much is kept, in bytes of JSON.
    pub fn weight(&self) -> usize {
        self.kept.lock().weight
    }
}

impl Kept {
    fn forget(&mut self, prefix: &str) {
        let Some(gone) = self.kinds.remove(prefix) else { return };
        for (at, old) in gone.objects.into_values() {
            self.order.remove(&at);
            self.weight = self.weight.saturating_sub(old.json().len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Revision;
    use value::{Meta, value};

    fn object(name: &str, revision: u64, size: usize) -> Arc<Object> {
        let tree = value!({"metadata": {"name": name}});
        let meta = Meta::of(&tree, Box::default());
        Object::new(ObjectKey::cluster(name), Revision(revision), meta, vec![b'x'; size].into())
    }
    fn webhook() -> Arc<ConversionWebhook> {
        Arc::new(ConversionWebhook { definition: "d".into(), config: value::Value::Null })
    }

    #[test]
    fn the_oldest_answers_of_all_kinds_make_room() {
        let answers = Answers { bound: 100, ..Answers::default() };
        let (a, b) = (webhook(), webhook());
        answers.askers("/a/", &a);
        answers.askers("/b/", &b);
        let has = |prefix: &str, name: &str, revision| answers.find(prefix, 0, &object(name, revision, 1)).is_some();
        answers.keep("/a/", &a, 0, &object("x", 1, 40));
        answers.keep("/b/", &b, 0, &object("x", 1, 40));
        assert!(has("/a/", "x", 1) && has("/b/", "x", 1) && !has("/a/", "x", 2) && !has("/a/", "y", 1));
        // The newer answer takes the place of the older one, never the other way round.
        answers.keep("/a/", &a, 0, &object("x", 3, 50));
        answers.keep("/a/", &a, 0, &object("x", 2, 50));
        assert!(has("/a/", "x", 3) && !has("/a/", "x", 2));
        assert_eq!(answers.weight(), 90);
        // The other kind's is the oldest by now.
        answers.keep("/a/", &a, 0, &object("y", 4, 20));
        assert!(!has("/b/", "x", 1) && has("/a/", "x", 3) && has("/a/", "y", 4));
        assert_eq!(answers.weight(), 70);
        answers.keep("/b/", &b, 0, &object("large", 5, 101));
        assert_eq!(answers.weight(), 0, "what is larger than all is not kept");
    }

    #[test]
    fn answers_go_with_their_definition() {
        let answers = Answers::default();
        let (old, new) = (webhook(), webhook());
        answers.askers("/a/", &old);
        answers.keep("/a/", &old, 0, &object("x", 1, 40));
        answers.askers("/a/", &new);
        answers.keep("/a/", &old, 0, &object("x", 2, 40));
        assert_eq!(answers.weight(), 0, "asked before the definition changed");
        answers.keep("/a/", &new, 0, &object("x", 2, 40));
        assert_eq!(answers.weight(), 40);
        answers.forget("/a/");
        answers.keep("/a/", &new, 0, &object("x", 2, 40));
        assert_eq!(answers.weight(), 0);
    }

    #[test]
    fn an_object_is_asked_for_once_at_a_time() {
        let askers = Answers::default().askers("/a/", &webhook());
        let place = |name: &str| (ObjectKey::cluster(name), 0);
        let first = askers.take([place("a"), place("b")]);
        let second = askers.take([place("b"), place("c")]);
        assert!(first.has(&place("b")) && !second.has(&place("b")) && second.has(&place("c")));
        drop(first);
        assert!(askers.take([place("b"), place("c")]).has(&place("b")));
        assert!(askers.take([place("c")]).is_empty());
    }
}
