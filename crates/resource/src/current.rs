//! How far a call must see. The cache is what was published here; where other processes write to the same store, that may
//! be older than what somebody was already answered.

use crate::{Engine, list::parse_revision};
use base::{Result, Revision, Status};
use std::time::Duration;

/// How long a call waits for what the store says is committed: for the watch to come to another member, at worst.
const PATIENCE: Duration = Duration::from_secs(10);

impl Engine {
    /// Makes `resourceVersion` of a read true: at least the given revision; the newest there is, for none; `"0"` is
    /// content with anything.
    pub(crate) async fn reach(&self, revision: Option<&str>) -> Result<()> {
        match parse_revision(revision)? {
            Some(revision) => self.wait_for(revision).await,
            None if revision.is_none_or(str::is_empty) => self.catch_up().await,
            None => Ok(()),
        }
    }

    /// Comes up to what anybody has committed before this call. Costs nothing where nobody else writes to the store.
    pub(crate) async fn catch_up(&self) -> Result<()> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let unavailable = |why: String| Status::new(base::Reason::ServiceUnavailable, why).with_retry_after(1);
        let committed = self.store.current().await.map_err(|e| unavailable(e.to_string()))?;
        let mut applied = self.published.applied.subscribe();
        let reached = tokio::time::timeout(PATIENCE, applied.wait_for(|at: &Revision| *at >= committed)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => Err(unavailable(format!("the store is at revision {committed}, its watch at {}", self.revision()))),
        }
    }
}
