//! Brings the kernel to a ruleset. The first time the whole table is replaced in one transaction (whatever an earlier process left in
//! it; established connections live on, and clients keep their remembered endpoints), afterwards only what differs.

use std::collections::BTreeSet;

use netlink::nft::{Batch, Element, Nft};
use netlink::{Cidr, Result, conntrack::Conntrack};

use crate::conntrack::stale;
use crate::input::Protocol;
use crate::ruleset::{Changes, Frontend, GroupId, Ruleset};
use crate::tables;

/// The service tables of one node.
pub struct Proxy {
    nft: Nft,
    conntrack: Conntrack,
    pod_cidr: Option<Cidr>,
    /// What the kernel holds; unknown before the first success.
    current: Option<Ruleset>,
}

/// What an [`Proxy::apply`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// Elements added and removed.
    pub elements: usize,
    /// UDP flows that were cut off an endpoint they should not have.
    pub flows: usize,
    /// The whole table was written anew.
    pub replaced: bool,
}

impl Proxy {
    /// Opens the tables of the calling thread's network namespace. Nothing changes yet.
    pub fn open(pod_cidr: Option<Cidr>) -> Result<Proxy> {
        Ok(Proxy { nft: Nft::open()?, conntrack: Conntrack::open()?, pod_cidr, current: None })
    }

    /// Makes the ruleset the one that counts. On an error the kernel holds what it held before, and the next call writes the whole
    /// table.
    pub fn apply(&mut self, next: Ruleset) -> Result<Applied> {
        let old = self.current.take();
        let changes = old.as_ref().unwrap_or(&Ruleset::default()).diff(&next);
        let mut applied = Applied { elements: changes.len(), flows: 0, replaced: old.is_none() };
        if old.is_some() && changes.is_empty() {
            self.current = old;
            return Ok(applied);
        }
        let differed = old.is_some() && {
            let mut batch = Batch::new();
            tables::change(&mut batch, &changes);
            let committed = self.nft.commit(batch);
            if let Err(error) = &committed {
                tracing::warn!(%error, "the service table is not as it was left; writing it anew");
            }
            committed.is_ok()
        };
        if !differed {
            applied.replaced = true;
            self.replace(&next)?;
        } else if changes.endpoints.removed.iter().any(|(group, _)| remembers(&old, *group)) {
            self.forget_clients(&next)?;
        }
        if touches_udp(&changes, old.as_ref(), &next) {
            applied.flows = self.cut_flows(&old.unwrap_or_default(), &next)?;
        }
        self.current = Some(next);
        Ok(applied)
    }

    /// Removes the table.
    pub fn remove(&mut self) -> Result<()> {
        self.current = None;
        if self.nft.has_table(&tables::table())? {
            let mut batch = Batch::new();
            batch.delete_table(&tables::table());
            self.nft.commit(batch)?;
        }
        Ok(())
    }

    fn replace(&mut self, next: &Ruleset) -> Result<()> {
        let remembered = match self.nft.has_table(&tables::table())? {
            // A table of an older version may lack the map; its clients choose again.
            true => self.nft.elements(&tables::table(), tables::AFFINITY).unwrap_or_default(),
            false => Vec::new(),
        };
        let mut batch = tables::replace(self.pod_cidr);
        tables::change(&mut batch, &Ruleset::default().diff(next));
        let valid: Vec<_> = remembered.into_iter().filter(|element| is_valid(element, next)).collect();
        batch.add_elements(&tables::table(), tables::AFFINITY, &valid);
        self.nft.commit(batch)
    }

    /// Drops remembered endpoints that no longer belong to their group: a client that comes back would refresh its entry for ever.
    fn forget_clients(&mut self, next: &Ruleset) -> Result<()> {
        // A dump may leave out entries while the kernel resizes the map, so the last one has to find nothing.
        for _ in 0..10 {
            let mut stale = self.nft.elements(&tables::table(), tables::AFFINITY)?;
            stale.retain(|element| !is_valid(element, next));
            if stale.is_empty() {
                break;
            }
            for element in stale {
                let mut batch = Batch::new();
                batch.delete_elements(&tables::table(), tables::AFFINITY, &[element]);
                // One by one, because it may expire meanwhile.
                netlink::error::allow_missing(self.nft.commit(batch))?;
            }
        }
        Ok(())
    }

    fn cut_flows(&mut self, old: &Ruleset, next: &Ruleset) -> Result<usize> {
        let flows = self.conntrack.flows(|flow| flow.protocol == Protocol::Udp.number())?;
        let stale = stale(&flows, old, next);
        for flow in &stale {
            self.conntrack.delete(flow)?;
        }
        Ok(stale.len())
    }
}

fn remembers(old: &Option<Ruleset>, group: GroupId) -> bool {
    old.as_ref().and_then(|r| r.groups.get(&group)).is_some_and(|g| g.pick.affinity.is_some())
}

fn is_valid(element: &Element, next: &Ruleset) -> bool {
    tables::parse_affinity(element).is_some_and(|(group, _, target)| {
        next.groups.get(&group).is_some_and(|g| g.pick.affinity.is_some()) && next.targets(group).any(|t| t == target)
    })
}

/// Whether flows may have gone stale: a UDP frontend, or an endpoint of one, changed; or nobody knows what there was.
fn touches_udp(changes: &Changes, old: Option<&Ruleset>, new: &Ruleset) -> bool {
    let udp = |f: &Frontend| f.protocol == Protocol::Udp;
    let Some(old) = old else { return new.services.keys().chain(new.refused.keys()).any(udp) };
    if changes.services.removed.iter().chain(changes.services.added.iter().map(|(f, _)| f)).any(udp)
        || changes.refused.added.iter().any(|(f, _)| udp(f))
    {
        return true;
    }
    let removed: BTreeSet<GroupId> = changes.endpoints.removed.iter().map(|(group, _)| *group).collect();
    !removed.is_empty()
        && old.frontends.iter().chain(&old.local_frontends).any(|(f, group)| udp(f) && removed.contains(group))
}
