//! Which ranges of addresses the clusters of this host have. Two that start at the same moment must not choose the same, and
//! one that is stopped keeps its own: a range shows in the kernel's routes only while it is in use.
//!
//! A file per cluster below the host's state names its ranges; whoever chooses holds that directory's lock until the choice is
//! written. A claim ends with the cluster's directory, so that removing one by hand gives its ranges back.
//!
//! Decided against: routes that keep a range visible (the host's tables hold what is used, and nothing else); a range that follows
//! from the directory's name (there are twelve usual ones for pods: clusters would often share one).

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use netlink::{Cidr, Route};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, io_at, kernel};
use crate::machine::write_atomically;
use crate::{Machines, bridge_name, tag};

/// What a cluster has.
#[derive(Debug, Serialize, Deserialize)]
struct Claim {
    cluster: PathBuf,
    ranges: Vec<String>,
}

impl Machines {
    /// The range of all pods: what `kept` says, or the first of 10.244.0.0/16 … 10.255.0.0/16 that no route of this host and no
    /// other cluster has, which is then kept there. The host routes to pods, and several clusters may run on it.
    pub fn pod_network(&self, kept: &Path) -> Result<Cidr> {
        let (ranges, mut route) = (Ranges::lock(&self.config.host_state, &self.config.dir)?, self.route()?);
        let earlier = match fs::read_to_string(kept) {
            Ok(text) => Some(text.trim().parse().map_err(kernel(kept.display()))?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(io_at(kept)(error)),
        };
        if let Some(range) = earlier {
            ranges.claim(range, &mut route)?;
            return Ok(range);
        }
        let usual: Vec<Cidr> =
            (244..=255).map(|n| Cidr { address: Ipv4Addr::new(10, n, 0, 0).into(), prefix: 16 }).collect();
        let range = ranges.choose(&usual, &mut route)?.ok_or_else(|| Error::Invalid {
            object: "10.244.0.0/16 to 10.255.0.0/16".into(),
            reason: "no range is free for pods: routes of this host have them all".into(),
        })?;
        ranges.claim(range, &mut route)?;
        write_atomically(kept, range.to_string().as_bytes())?;
        Ok(range)
    }
}

/// Held while ranges are looked at and taken for a cluster.
pub(crate) struct Ranges<'a> {
    directory: PathBuf,
    own: &'a Path,
    _lock: File,
}

impl<'a> Ranges<'a> {
    /// Waits until nobody else chooses.
    pub(crate) fn lock(host_state: &Path, own: &'a Path) -> Result<Self> {
        let directory = directory(host_state);
        fs::create_dir_all(&directory).map_err(io_at(&directory))?;
        let path = directory.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_at(&path))?;
        lock.lock().map_err(io_at(&path))?;
        Ok(Ranges { directory, own, _lock: lock })
    }

    /// The first candidate that neither a route nor another cluster has. If stopped clusters leave none, one of theirs.
    pub(crate) fn choose(&self, candidates: &[Cidr], route: &mut Route) -> Result<Option<Cidr>> {
        let routes = route.routes().map_err(kernel("host"))?;
        let addresses = route.addresses().map_err(kernel("host"))?;
        let mut used: Vec<Cidr> =
            routes.iter().map(|r| r.destination).chain(addresses.iter().map(|a| a.cidr.network())).collect();
        let without_claims = choose(candidates, &used);
        used.extend(self.others()?.into_iter().flat_map(|(_, ranges)| ranges));
        Ok(choose(candidates, &used).or(without_claims))
    }

    /// Writes that the cluster has this range, beside those that it has. Fails where a cluster that runs has taken it meanwhile.
    pub(crate) fn claim(&self, range: Cidr, route: &mut Route) -> Result<()> {
        for (other, _) in self.others()?.iter().filter(|(_, theirs)| theirs.iter().any(|r| r.overlaps(range))) {
            if route.link(&bridge_name(&tag(other))).map_err(kernel("host"))?.is_some() {
                let reason = format!("the cluster in {} has taken it; stop that one first", other.display());
                return Err(Error::Invalid { object: range.to_string(), reason });
            }
        }
        let path = path(&self.directory, self.own);
        let mut ranges = read(&path)?.map(|claim| claim.ranges).unwrap_or_default();
        if !ranges.contains(&range.to_string()) {
            ranges.push(range.to_string());
            let json = serde_json::to_vec(&Claim { cluster: self.own.into(), ranges });
            write_atomically(&path, &json.map_err(|e| io_at(&path)(std::io::Error::from(e)))?)?;
        }
        Ok(())
    }

    /// What other clusters have whose directories are still there.
    fn others(&self) -> Result<Vec<(PathBuf, Vec<Cidr>)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(io_at(&self.directory))? {
            let file = entry.map_err(io_at(&self.directory))?.path();
            if file.extension().is_none_or(|e| e != "json") || file == path(&self.directory, self.own) {
                continue;
            }
            let Some(claim) = read(&file)? else { continue };
            match claim.cluster.exists() {
                true => found.push((claim.cluster, claim.ranges.iter().filter_map(|r| r.parse().ok()).collect())),
                false => fs::remove_file(&file).map_err(io_at(&file))?,
            }
        }
        Ok(found)
    }
}

/// Gives back what a cluster has.
pub(crate) fn release(host_state: &Path, own: &Path) -> Result<()> {
    let path = path(&directory(host_state), own);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io_at(&path)(error)),
        _ => Ok(()),
    }
}

fn directory(host_state: &Path) -> PathBuf {
    host_state.join("ranges")
}

fn path(directory: &Path, own: &Path) -> PathBuf {
    directory.join(format!("{}.json", tag(own)))
}

fn read(path: &Path) -> Result<Option<Claim>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| io_at(path)(std::io::Error::from(e))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_at(path)(error)),
    }
}

/// The first candidate that shares no address with what is in use. The default route is no obstacle.
fn choose(candidates: &[Cidr], used: &[Cidr]) -> Option<Cidr> {
    candidates.iter().copied().find(|range| !used.iter().any(|other| other.prefix > 0 && other.overlaps(*range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_collides_with_nothing() {
        let cidr = |s: &str| s.parse::<Cidr>().expect(s);
        let candidates = ["172.30.0.0/24", "172.30.1.0/24", "172.30.2.0/24"].map(cidr);
        let chosen = |used: &[&str]| {
            choose(&candidates, &used.iter().map(|s| cidr(s)).collect::<Vec<_>>()).map(|c| c.to_string())
        };
        assert_eq!(chosen(&["0.0.0.0/0", "192.0.2.0/24"]).as_deref(), Some("172.30.0.0/24"));
        assert_eq!(chosen(&["172.30.0.128/25"]).as_deref(), Some("172.30.1.0/24"));
        assert_eq!(chosen(&["172.30.0.0/23"]).as_deref(), Some("172.30.2.0/24"));
        assert_eq!(chosen(&["172.16.0.0/12"]), None);
    }
}
