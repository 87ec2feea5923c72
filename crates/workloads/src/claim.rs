//! Which objects a controller owns, should adopt and should release. Source: upstream's
//! `ControllerRefManager`: adoption needs matching labels and no other controller, release a label that no longer matches.

use client::Api;
use select::LabelSelector;
use value::{Value, value};

/// What an owned candidate looks like.
pub trait Claimable {
    fn controller(&self) -> Option<&str>;
    fn labels(&self) -> &Value;
    fn deleting(&self) -> bool;
}

/// What to do about a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// Owned and selected.
    Keep,
    /// Selected, nobody's.
    Adopt,
    /// Owned, but selected no longer.
    Release,
    /// None of our business.
    Leave,
}

/// Decides about one candidate.
pub fn claim(candidate: &impl Claimable, owner_uid: &str, owner_deleting: bool, selector: &LabelSelector) -> Claim {
    let matches = selector.matches_map(candidate.labels());
    match candidate.controller() {
        Some(uid) if uid == owner_uid => match matches {
            true => Claim::Keep,
            false if owner_deleting || candidate.deleting() => Claim::Keep,
            false => Claim::Release,
        },
        Some(_) => Claim::Leave,
        None if matches && !owner_deleting && !candidate.deleting() => Claim::Adopt,
        None => Claim::Leave,
    }
}

impl Claimable for crate::pod::Pod {
    fn controller(&self) -> Option<&str> {
        self.controller.as_deref()
    }
    fn labels(&self) -> &Value {
        &self.labels
    }
    fn deleting(&self) -> bool {
        self.deleting
    }
}

/// `metadata.ownerReferences` entry that makes `owner` the controller.
pub fn reference(api_version: &str, kind: &str, owner: &Value) -> Value {
    value!({
        "apiVersion": api_version, "kind": kind, "name": owner.name(), "uid": owner.str_at(&["metadata", "uid"]),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Whether an owner may adopt at all. Asks the API itself: one that is being deleted and leaves behind what it owned must not
/// take it back, and the caches of two kinds are not read at one moment.
pub async fn may_adopt(owners: &Api, owner: &Value) -> Result<bool, client::Error> {
    let present = owners.get_opt(owner.name()).await?;
    Ok(present.is_some_and(|o| !o.meta.deleting && *o.meta.uid == *owner.str_at(&["metadata", "uid"])))
}

/// The strategic merge patch that adopts an object; the uid makes sure that it is still the same one.
pub fn adoption(reference: Value, uid: &str) -> Value {
    let mut patch = value!({"metadata": {"uid": uid}});
    patch.set(&["metadata", "ownerReferences"], vec![reference]);
    patch
}

/// The strategic merge patch that releases one.
pub fn release(owner_uid: &str, uid: &str) -> Value {
    value!({"metadata": {"uid": uid, "ownerReferences": [{"$patch": "delete", "uid": owner_uid}]}})
}
