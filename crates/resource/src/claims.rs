//! Claims: what an object holds alone (a cluster IP, a node port), kept as keys of the store that are written in the
//! object's own transaction.
//!
//! Decided against: an allocator with a bitmap of its own (upstream's), which needs a repair loop because it can differ
//! from the objects.

use crate::{OpenError, publish::Published};
use schema::{Claim, Kind, Pool};
use std::{collections::BTreeSet, sync::Arc};
use store::{CommitError, Condition, Store, Txn, Write};
use value::Value;

/// Keys of claims begin with this; the rest is the claim.
pub(crate) const PREFIX: &str = "/registry/ferry/claims/";

fn key(claim: &Claim) -> Arc<str> {
    format!("{PREFIX}{}", claim.0).into()
}

/// The conditions and writes that move claims from what `old` held to what `new` holds.
pub(crate) fn transfer(
    kind: &Kind,
    old: Option<&Value>,
    new: Option<&Value>,
    owner: &str,
) -> (Vec<Condition>, Vec<Write>) {
    let held =
        |v: Option<&Value>| v.map(|v| kind.hooks.claims(v).into_iter().collect::<BTreeSet<_>>()).unwrap_or_default();
    let (old, new) = (held(old), held(new));
    let conditions = new.difference(&old).map(|c| Condition::Absent { key: key(c) }).collect();
    let taken = new.difference(&old).map(|c| Write::put(key(c), owner.as_bytes().to_vec()));
    let given_back = old.difference(&new).map(|c| Write::delete(key(c)));
    (conditions, taken.chain(given_back).collect())
}

/// Claims what objects hold that an API server of upstream's has stored: it keeps no such keys.
pub(crate) async fn adopt(store: &dyn Store, published: &Published) -> Result<(), OpenError> {
    let unclaimed = published.unclaimed.lock().take().unwrap_or_default();
    for (owner, claims) in unclaimed {
        let failed =
            |why: &dyn std::fmt::Display| OpenError::Object(format!("{owner}: what it holds is not claimed: {why}"));
        let Some((revision, _)) = store.get(&owner).await.map_err(|e| failed(&e))? else { continue };
        for claim in claims.iter().filter(|claim| !published.taken(claim)) {
            let key = key(claim);
            let conditions =
                vec![Condition::At { key: owner.clone(), revision }, Condition::Absent { key: key.clone() }];
            let writes = vec![Write::put(key, owner.as_bytes().to_vec())];
            match store.commit(Txn { conditions, writes }).await {
                // Another server did it, or whoever changed the object.
                Ok(_) | Err(CommitError::Conflict { .. }) => {}
                Err(e) => return Err(failed(&e)),
            }
        }
    }
    Ok(())
}

impl Pool for Published {
    fn taken(&self, claim: &Claim) -> bool {
        self.claims.read().contains(claim.0.as_str())
    }
}
