//! Garbage collection: objects go when their owners have gone. Source: `pkg/controller/garbagecollector`.
//!
//! Every kind that can be listed, watched and deleted is followed as a small node: uid, owners, finalizers. An object
//! whose owners are all gone is deleted; the `foregroundDeletion` finalizer holds an owner until its blocking dependents
//! are gone, `orphan` until they are set free. That an owner is gone, and that an object still has it, is asked of the API
//! before anything is deleted: the caches of two kinds are not read at one moment.

use crate::resources::{Resource, served};
use base::{clock::Clock, time::Timestamp};
use client::{Client, DeleteOptions, Gvr, Patch, kinds};
use control::{Cache, Caches, Outcome, Projection, Queue, Reconciler, Selection, index::OwnerReference};
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc, time::Duration};
use value::{Object, ObjectKey, Str, Value, value};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const OWNER: &str = "owner";

/// What is followed of an object.
#[derive(Debug, Clone, PartialEq)]
struct Node {
    key: ObjectKey,
    uid: Str,
    owners: Vec<OwnerReference>,
    deleting: bool,
    foreground: bool,
    orphan: bool,
}

impl Projection for Node {
    fn project(object: &Object) -> Option<Self> {
        // Finalizers are read only where the object is going: nothing asks for them before.
        let going = if object.meta.deleting { object.value() } else { Value::Null };
        let has = |f: &str| going.items_at(&["metadata", "finalizers"]).iter().any(|x| *x == *f);
        Some(Node {
            key: object.key.clone(),
            uid: object.meta.uid.clone(),
            owners: control::index::owners(object),
            deleting: object.meta.deleting,
            foreground: has(FOREGROUND),
            orphan: has(ORPHAN),
        })
    }
}

/// An object: the resource and its key.
type Key = (Gvr, ObjectKey);

struct Followed {
    resource: Resource,
    cache: Cache<Arc<Node>>,
}

struct Garbage {
    client: Client,
    followed: RwLock<HashMap<Gvr, Arc<Followed>>>,
    queue: Queue<Key>,
}

/// Runs the controller until the client's server ends.
pub async fn run(caches: Caches, clock: Arc<dyn Clock>) {
    let queue: Queue<Key> = Queue::default();
    let client = caches.client().clone();
    let garbage = Arc::new(Garbage { client: client.clone(), followed: RwLock::default(), queue: queue.clone() });
    // Kinds come and go with CustomResourceDefinitions.
    let changes: Queue<()> = Queue::default();
    let definitions = caches.kind(&kinds::CRDS);
    definitions.subscribe(&changes, |_| Some(()));
    changes.add(());
    let follower = garbage.clone();
    let follow = async move {
        while changes.next().await.is_some() {
            if let Err(error) = follower.follow(&caches).await {
                tracing::debug!(%error, "the kinds could not be read");
                changes.add_after((), Duration::from_secs(1));
            }
            changes.done(&());
        }
    };
    tokio::join!(follow, control::run(garbage, queue, 4, clock));
}

impl Garbage {
    /// Starts following kinds that are new, and forgets those that are gone.
    async fn follow(self: &Arc<Self>, caches: &Caches) -> Result<(), client::Error> {
        let wanted: Vec<Resource> = served(&self.client).await?;
        let wanted: Vec<Resource> = wanted
            .into_iter()
            .filter(|r| {
                r.can("list") && r.can("watch") && r.can("delete") && r.gvr != kinds::EVENTS && r.gvr.plural != "events"
            })
            .collect();
        self.followed.write().retain(|gvr, _| {
            let served = wanted.iter().any(|r| r.gvr == *gvr);
            if !served {
                caches.forget(gvr, &Selection::default());
            }
            served
        });
        for resource in wanted {
            if self.followed.read().contains_key(&resource.gvr) {
                continue;
            }
            let cache = caches.projected::<Node>(&resource.gvr);
            cache.index(OWNER, |node| node.owners.iter().map(|o| o.uid.clone()).collect());
            let gvr = resource.gvr.clone();
            self.followed.write().insert(gvr.clone(), Arc::new(Followed { resource, cache: cache.clone() }));
            let garbage = Arc::downgrade(self);
            cache.on_event(move |event| {
                if let Some(garbage) = garbage.upgrade() {
                    garbage.seen(&gvr, event.old, event.new);
                }
            });
        }
        Ok(())
    }

    fn seen(&self, gvr: &Gvr, old: Option<&Arc<Node>>, new: Option<&Arc<Node>>) {
        match (old, new) {
            (_, Some(new)) if !new.owners.is_empty() || new.foreground || new.orphan => {
                self.queue.add((gvr.clone(), new.key.clone()));
            }
            _ => {}
        }
        // The owner went, or begins to: its dependents are looked at. The dependent went: its owners may be waiting.
        let gone = new.is_none();
        let begins =
            new.is_some_and(|n| n.deleting && n.foreground) && !old.is_some_and(|o| o.deleting && o.foreground);
        if let Some(node) = old.or(new).filter(|_| gone || begins) {
            for (key, _) in self.dependents(&node.uid) {
                self.queue.add(key);
            }
        }
        // So may they be where it no longer blocks them.
        let let_go = new.is_none_or(|new| old.is_some_and(|old| old.owners != new.owners));
        if let_go && let Some(old) = old {
            for owner in &old.owners {
                if let Some((owner, _)) = self.find(owner, &old.key.namespace) {
                    self.queue.add(owner);
                }
            }
        }
    }

    fn dependents(&self, uid: &str) -> Vec<(Key, Arc<Node>)> {
        let followed = self.followed.read();
        let of = |(gvr, f): (&Gvr, &Arc<Followed>)| {
            let gvr = gvr.clone();
            f.cache.by_index(OWNER, uid).into_iter().map(move |n| ((gvr.clone(), n.key.clone()), n)).collect::<Vec<_>>()
        };
        followed.iter().flat_map(of).collect()
    }

    /// The resource of an owner reference.
    fn resource_of(&self, owner: &OwnerReference) -> Option<Resource> {
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let followed = self.followed.read();
        followed
            .values()
            .find(|f| f.resource.gvr.group == group && f.resource.kind == owner.kind)
            .map(|f| f.resource.clone())
    }

    /// The owner as the caches know it.
    fn find(&self, owner: &OwnerReference, namespace: &str) -> Option<(Key, Arc<Node>)> {
        let resource = self.resource_of(owner)?;
        let namespace = if resource.namespaced { namespace } else { "" };
        let key = ObjectKey::new(namespace, owner.name.clone());
        let node = self.followed.read().get(&resource.gvr)?.cache.get(&key)?;
        (node.uid == owner.uid).then_some(((resource.gvr, key), node))
    }

    /// Whether an owner is there: from the cache, or (where it is not in it) from the API itself.
    async fn state(&self, owner: &OwnerReference, namespace: &str) -> Result<Owner, client::Error> {
        if let Some((_, node)) = self.find(owner, namespace) {
            return Ok(if node.deleting && node.foreground { Owner::Waiting } else { Owner::Solid });
        }
        // A kind that nobody serves may come back: its objects are not gone for sure.
        let Some(resource) = self.resource_of(owner) else { return Ok(Owner::Unknown) };
        let namespace = if resource.namespaced { namespace } else { "" };
        match self.client.api(&resource.gvr).namespace(namespace).get_opt(&owner.name).await? {
            Some(object) if object.meta.uid == owner.uid => Ok(Owner::Solid),
            _ => Ok(Owner::Gone),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Solid,
    /// It is being deleted in the foreground: it waits for its dependents.
    Waiting,
    Gone,
    Unknown,
}

/// What to do with an object whose owners were looked at.
#[derive(Debug, PartialEq)]
enum Verdict {
    Keep,
    /// Remove these owner references (uids): others hold it.
    Trim(Vec<Str>),
    Delete(&'static str),
}

/// Decides from the states of all owners; `has_dependents`: it is an owner itself.
fn verdict(owners: &[(OwnerReference, Owner)], has_dependents: bool) -> Verdict {
    if owners.is_empty() {
        return Verdict::Keep;
    }
    let held = owners.iter().any(|(_, o)| matches!(o, Owner::Solid | Owner::Unknown));
    let loose: Vec<Str> =
        owners.iter().filter(|(_, o)| matches!(o, Owner::Gone | Owner::Waiting)).map(|(r, _)| r.uid.clone()).collect();
    match (held, loose.is_empty()) {
        (true, true) => Verdict::Keep,
        (true, false) => Verdict::Trim(loose),
        // Its owner waits in the foreground: so must its own dependents.
        (false, _) if has_dependents && owners.iter().any(|(_, o)| *o == Owner::Waiting) => {
            Verdict::Delete("Foreground")
        }
        (false, _) => Verdict::Delete("Background"),
    }
}

impl Reconciler for Garbage {
    type Key = Key;
    type Plan = Arc<Node>;

    fn name(&self) -> &'static str {
        "garbage-collector"
    }

    fn plan(&self, (gvr, key): &Key, _now: Timestamp) -> Option<Arc<Node>> {
        self.followed.read().get(gvr)?.cache.get(key)
    }

    async fn execute(&self, (gvr, key): &Key, node: Arc<Node>) -> Result<Outcome, client::Error> {
        if node.deleting && node.orphan {
            return self.set_free(gvr, &node).await;
        }
        if node.deleting && node.foreground {
            return self.release_owner(gvr, &node).await;
        }
        if node.deleting {
            return Ok(Outcome::Done);
        }
        let mut owners = Vec::new();
        for owner in &node.owners {
            owners.push((owner.clone(), self.state(owner, &key.namespace).await?));
        }
        let api = self.client.api(gvr).namespace(key.namespace.clone());
        let result = match verdict(&owners, !self.dependents(&node.uid).is_empty()) {
            Verdict::Keep => {
                return Ok(if owners.iter().any(|o| o.1 == Owner::Unknown) {
                    Outcome::After(Duration::from_secs(30))
                } else {
                    Outcome::Done
                });
            }
            Verdict::Delete(policy) => {
                // Read after its owners: who was set free before an owner went is owned no more, whatever the cache says.
                let Some(mut present) = api.get_opt(&key.name).await?.filter(|o| o.meta.uid == node.uid) else {
                    return Ok(Outcome::Done);
                };
                if control::index::owners(&present) != node.owners {
                    // The event with the others is on its way.
                    return Ok(Outcome::Done);
                }
                // Objects that own each other in a circle would each wait for the next: this one stops blocking.
                if policy == "Foreground" && self.dependents(&node.uid).iter().any(|(_, n)| n.deleting && n.foreground)
                {
                    // Not before that is written: one that is going is not looked at again.
                    present = match unblock(&api, &present).await {
                        Err(error) if error.is_not_found() => return Ok(Outcome::Done),
                        unblocked => unblocked?,
                    }
                }
                let options = DeleteOptions::uid(node.uid.as_str()).propagation(policy);
                let resource_version = Some(present.revision.to_string());
                api.delete(&key.name, &DeleteOptions { resource_version, ..options }).await
            }
            Verdict::Trim(uids) => trim(&api, &node, &uids).await,
        };
        settled(result)
    }
}

/// What is gone needs nothing more. What has changed meanwhile is looked at again: its event may say nothing that a node
/// holds (a status), and then nobody else would.
fn settled(result: Result<(), client::Error>) -> Result<Outcome, client::Error> {
    match result {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(Outcome::Done),
    }
}

impl Garbage {
    /// An owner that waits in the foreground goes once no dependent blocks it.
    async fn release_owner(&self, gvr: &Gvr, node: &Node) -> Result<Outcome, client::Error> {
        let dependents = self.dependents(&node.uid);
        let blocks = |n: &Node| n.owners.iter().any(|o| o.uid == node.uid && o.block_owner_deletion);
        for (key, dependent) in &dependents {
            if !dependent.deleting {
                self.queue.add(key.clone());
            }
        }
        if dependents.iter().any(|(_, n)| blocks(n)) {
            return Ok(Outcome::Done);
        }
        self.take_finalizer(gvr, node, FOREGROUND).await
    }

    /// Dependents lose the reference; then the owner may go.
    async fn set_free(&self, gvr: &Gvr, node: &Node) -> Result<Outcome, client::Error> {
        for ((dependent_gvr, key), dependent) in self.dependents(&node.uid) {
            let api = self.client.api(&dependent_gvr).namespace(key.namespace.clone());
            match trim(&api, &dependent, std::slice::from_ref(&node.uid)).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
        }
        self.take_finalizer(gvr, node, ORPHAN).await
    }

    async fn take_finalizer(&self, gvr: &Gvr, node: &Node, finalizer: &str) -> Result<Outcome, client::Error> {
        let api = self.client.api(gvr).namespace(node.key.namespace.clone());
        let Some(object) = api.get_opt(&node.key.name).await?.filter(|o| o.meta.uid == node.uid) else {
            return Ok(Outcome::Done);
        };
        let present = object.value();
        let keep: Vec<Value> =
            present.items_at(&["metadata", "finalizers"]).iter().filter(|f| **f != *finalizer).cloned().collect();
        let mut patch = value!({"metadata": {"resourceVersion": object.revision.to_string()}});
        patch.set(&["metadata", "finalizers"], keep);
        match api.patch(&node.key.name, &Patch::Merge(patch)).await {
            Err(error) if error.is_not_found() => Ok(Outcome::Done),
            other => other.map(|_| Outcome::Done),
        }
    }
}

/// Takes `blockOwnerDeletion` from all owner references of an object; what it is then.
async fn unblock(api: &client::Api, object: &Object) -> Result<Arc<Object>, client::Error> {
    let mut owners = object.value().items_at(&["metadata", "ownerReferences"]).to_vec();
    owners.iter_mut().for_each(|owner| owner.set(&["blockOwnerDeletion"], false));
    let mut patch = value!({"metadata": {"resourceVersion": object.revision.to_string()}});
    patch.set(&["metadata", "ownerReferences"], owners);
    api.patch(&object.key.name, &Patch::Merge(patch)).await
}

/// Removes owner references by uid.
async fn trim(api: &client::Api, node: &Node, uids: &[Str]) -> Result<(), client::Error> {
    let object = api.get(&node.key.name).await?;
    if object.meta.uid != node.uid {
        return Ok(());
    }
    let present = object.value();
    let keep = present
        .items_at(&["metadata", "ownerReferences"])
        .iter()
        .filter(|o| !uids.iter().any(|u| *u == *o.str_at(&["uid"])));
    let keep: Vec<Value> = keep.cloned().collect();
    let mut patch = value!({"metadata": {"resourceVersion": object.revision.to_string()}});
    patch.set(&["metadata", "ownerReferences"], keep);
    api.patch(&node.key.name, &Patch::Merge(patch)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_meanwhile_is_looked_at_again() {
        let refused = |reason| Err(client::Error::Status(base::Status::new(reason, "no")));
        assert!(matches!(settled(refused(base::Reason::NotFound)), Ok(Outcome::Done)));
        assert!(settled(refused(base::Reason::Conflict)).is_err_and(|error| error.is_conflict()));
        assert!(matches!(settled(Ok(())), Ok(Outcome::Done)));
    }

    #[test]
    fn verdicts() {
        let owner = |uid: &str| OwnerReference {
            api_version: "v1".into(),
            kind: "K".into(),
            name: uid.into(),
            uid: uid.into(),
            controller: false,
            block_owner_deletion: false,
        };
        let check = |states: &[Owner], dependents: bool| {
            let owners: Vec<_> = states.iter().enumerate().map(|(i, s)| (owner(&i.to_string()), *s)).collect();
            verdict(&owners, dependents)
        };
        use Owner::{Gone, Solid, Unknown, Waiting};
        assert_eq!(check(&[], false), Verdict::Keep);
        assert_eq!(check(&[Solid], false), Verdict::Keep);
        assert_eq!(check(&[Gone], true), Verdict::Delete("Background"));
        assert_eq!(check(&[Solid, Gone, Waiting], false), Verdict::Trim(vec!["1".into(), "2".into()]));
        assert_eq!(check(&[Waiting, Gone], true), Verdict::Delete("Foreground"));
        assert_eq!(check(&[Waiting], false), Verdict::Delete("Background"));
        assert_eq!(check(&[Unknown, Gone], false), Verdict::Trim(vec!["1".into()]));
    }
}
