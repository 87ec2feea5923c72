//! OwnerReferencesPermissionEnforcement: who says that an object has an owner may delete the object, and who makes the
//! owner wait for it may set the owner's finalizers.

use crate::{Plugin, Target, dynamic::Dynamic, plugin::forbid};
use auth::{Authorizer, Decision};
use base::{Result, Status};
use resource::{Attributes, Call};
use schema::{Operation, Scope};
use std::sync::{Arc, OnceLock};
use value::Value;

const REFERENCES: [&str; 2] = ["metadata", "ownerReferences"];

pub struct Owners {
    pub authorizer: Arc<OnceLock<Authorizer>>,
    /// Knows which kinds there are.
    pub dynamic: Arc<Dynamic>,
}

impl Plugin for Owners {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        matches!(target.operation, Operation::Create | Operation::Update) && !target.is("pods", "status")
    }
    fn validate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let old = a.old.map_or(&[][..], |old| old.items_at(&REFERENCES));
        let new = a.object.items_at(&REFERENCES);
        if new == old {
            return Ok(());
        }
        let Some(authorizer) = self.authorizer.get() else { return Err(forbid(a, "not yet ready to handle request")) };
        let (call, kind, user) = (a.call, &a.call.kind, &*a.call.user);
        if a.operation != Operation::Create {
            let question = auth::Attributes {
                version: kind.versions.get(call.version).map_or("", |version| version.name.as_str()),
                subresource: call.subresource.as_deref().unwrap_or(""),
                ..auth::Attributes::resource(user, "delete", call.group(), &kind.plural)
            };
            let answer = authorizer.authorize(&question.in_namespace(&call.namespace).named(&a.name));
            if !answer.allowed() {
                return Err(refused(a, "cannot set an ownerRef on a resource you can't delete", &answer));
            }
        }
        let blocking = newly_blocking(new, old);
        let anything = auth::Attributes { version: "*", ..auth::Attributes::resource(user, "update", "*", "*") };
        if blocking.is_empty() || authorizer.authorize(&anything.subresource("finalizers").named("*")).allowed() {
            return Ok(());
        }
        let catalog = self.dynamic.catalog();
        for reference in blocking {
            let (api_version, name) = (reference.str_at(&["apiVersion"]), reference.str_at(&["kind"]));
            let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
            let found = catalog
                .by_kind(group, name)
                .filter(|kind| kind.versions.iter().any(|own| own.served && own.name == version));
            let Some(owner) = found else {
                let why = format!("no matches for kind {name:?} in version {api_version:?}");
                return Err(forbid(
                    a,
                    format!(
                        "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {api_version} Kind {name}: {why}"
                    ),
                ));
            };
            // An owner in a namespace stands in that of what it owns.
            let namespace = if owner.scope == Scope::Namespaced { call.namespace.as_str() } else { "" };
            let question =
                auth::Attributes { version, ..auth::Attributes::resource(user, "update", group, &owner.plural) };
            let question =
                question.subresource("finalizers").in_namespace(namespace).named(reference.str_at(&["name"]));
            let answer = authorizer.authorize(&question);
            if !answer.allowed() {
                let what = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
                return Err(refused(a, what, &answer));
            }
        }
        Ok(())
    }
}

/// Upstream prints the authorizer's reason and its error, of which there is none.
fn refused(a: &Attributes<'_>, what: &str, answer: &Decision) -> Status {
    forbid(a, format!("{what}: {}, <nil>", answer.refusal().unwrap_or("")))
}

/// References that make their owner wait and did not before.
fn newly_blocking<'v>(new: &'v [Value], old: &[Value]) -> Vec<&'v Value> {
    let blocks = |reference: &Value| reference.at(&["blockOwnerDeletion"]).as_bool() == Some(true);
    let did = |reference: &Value| {
        let same = |old: &&Value| old.str_at(&["uid"]) == reference.str_at(&["uid"]);
        old.iter().rfind(same).is_some_and(blocks)
    };
    new.iter().filter(|reference| blocks(reference) && !did(reference)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn which_references_are_new() {
        let of = |uid: &str, blocks: Option<bool>| match blocks {
            Some(blocks) => value!({"uid": uid, "blockOwnerDeletion": blocks}),
            None => value!({"uid": uid}),
        };
        for (new, old, want) in [
            (vec![of("a", Some(true))], vec![], "a"),
            (vec![of("a", Some(true))], vec![of("a", Some(true))], ""),
            (vec![of("a", Some(true)), of("b", None)], vec![of("a", Some(false))], "a"),
            (vec![of("a", Some(false)), of("b", None)], vec![], ""),
        ] {
            let found = newly_blocking(&new, &old).iter().map(|r| r.str_at(&["uid"]).to_string()).collect::<String>();
            assert_eq!(found, want);
        }
    }
}
