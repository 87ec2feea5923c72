//! Keys of stores that an older version wrote: [`schema::Kind::former_prefix`]. The layout
//! itself is one function, [`schema::Kind::prefix`].

use crate::{OpenError, publish::Published};
use std::sync::Arc;
use store::{Condition, Store, Txn, Write};

/// Moves what is found at an old place. An object keeps everything but its revision.
pub(crate) async fn move_old(store: &dyn Store, published: &Published) -> Result<(), OpenError> {
    let catalog = published.catalog.read().clone();
    for (from, to) in catalog.iter().filter_map(|kind| Some((kind.former_prefix()?, kind.prefix()))) {
        for (key, revision) in published.unknown_below(&from) {
            let new: Arc<str> = key.replacen(&from, &to, 1).into();
            let failed = |why: &dyn std::fmt::Display| {
                OpenError::Object(format!("{key}, which an older version wrote, does not move to {new}: {why}"))
            };
            let value = store.get(&key).await.map_err(|e| failed(&e))?;
            let Some((_, value)) = value.filter(|(at, _)| *at == revision) else { continue };
            let conditions = vec![Condition::At { key: key.clone(), revision }, Condition::Absent { key: new.clone() }];
            let writes = vec![Write::delete(key.clone()), Write::put(new.clone(), value)];
            store.commit(Txn { conditions, writes }).await.map_err(|e| failed(&e))?;
            tracing::info!(%key, %new, "moved to its place");
        }
    }
    Ok(())
}
