//! Where a control plane keeps its objects: in its own directory, or on an etcd that it may share with others.

use crate::{cli::StoreOptions, layout::Layout};
use pki::ClusterPki;
use std::sync::Arc;
use store::Store;
use store_disk::Disk;
use store_etcd::{Endpoint, Etcd, Options, TlsFiles, endpoints};

/// What `--store` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    Disk,
    /// URLs of the members.
    Etcd(String),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "disk" => Ok(Choice::Disk),
            Some(("etcd", urls)) if !urls.is_empty() => Ok(Choice::Etcd(urls.into())),
            _ => Err("want disk, or etcd=URL,URL…".into()),
        }
    }
}

/// An open store, and the keys that belong to what is in it.
pub struct Opened {
    pub store: Arc<dyn Store>,
    pub pki: ClusterPki,
    /// Kept open with it.
    pub disk: Option<Disk>,
}

/// Looks at what was typed, before anything is made.
pub fn check(options: &StoreOptions) -> Result<(), String> {
    match &options.store {
        Choice::Disk => Ok(()),
        Choice::Etcd(urls) => members(urls, options).map(drop),
    }
}

/// Opens the store. One that holds anything is opened with the keys that it was written with, or not at all.
pub async fn open(layout: &Layout, options: &StoreOptions) -> Result<Opened, String> {
    let dir = layout.pki();
    let Choice::Etcd(urls) = &options.store else {
        let used = layout.store().exists();
        let pki = if used { ClusterPki::load(&dir, &layout.store()) } else { ClusterPki::load_or_create(&dir) };
        let pki = pki.map_err(|e| e.to_string())?;
        let disk = Disk::open(layout.store(), store_disk::Options::default()).map_err(|e| e.to_string())?;
        return Ok(Opened { store: disk.keyspace("cluster"), pki, disk: Some(disk) });
    };
    if layout.store().exists() {
        return Err(format!("{} holds a cluster already: it is not moved to an etcd", layout.store().display()));
    }
    let members = members(urls, options)?;
    let store: Arc<dyn Store> = Etcd::open(Options::new(members)).await.map_err(|e| e.to_string())?;
    let used = !store.range("/registry/", None, 1).await.map_err(|e| e.to_string())?.is_empty();
    let what = format!("the cluster on the etcd at {urls}");
    let pki = if used { ClusterPki::load(&dir, what.as_ref()) } else { ClusterPki::load_or_create(&dir) };
    Ok(Opened { store, pki: pki.map_err(|e| e.to_string())?, disk: None })
}

fn members(urls: &str, options: &StoreOptions) -> Result<Vec<Endpoint>, String> {
    let files = TlsFiles {
        ca: options.etcd_cafile.clone(),
        cert: options.etcd_certfile.clone(),
        key: options.etcd_keyfile.clone(),
    };
    match endpoints(urls, &files) {
        Ok(none) if none.is_empty() => Err(format!("--store etcd={urls} names no member")),
        Ok(members) => Ok(members),
        Err(why) => Err(format!("--store etcd={urls}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stores_are_chosen_by_name() {
        assert_eq!("disk".parse(), Ok(Choice::Disk));
        assert_eq!(
            "etcd=https://a:2379,https://b:2379".parse(),
            Ok(Choice::Etcd("https://a:2379,https://b:2379".into()))
        );
        for bad in ["", "etcd", "etcd=", "disk=/x", "mysql=x"] {
            assert!(bad.parse::<Choice>().is_err(), "{bad}");
        }
    }
}
