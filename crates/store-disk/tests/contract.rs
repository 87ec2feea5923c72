//! The disk store passes the contract, as it is and when every few commits make a new segment and a new base.

use std::{path::PathBuf, sync::Arc, time::Duration};
use store::{Store, contract::Harness};
use store_disk::{Disk, Options};

struct OnDisk {
    dir: PathBuf,
    options: Options,
    disk: Option<Disk>,
}

impl OnDisk {
    fn new(name: &str, options: Options) -> Self {
        let dir = std::env::temp_dir().join(format!("ferry-contract-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        OnDisk { dir, options, disk: None }
    }
}

impl Harness for OnDisk {
    fn open(&mut self) -> Arc<dyn Store> {
        self.reopen().expect("a disk lasts")
    }
    fn reopen(&mut self) -> Option<Arc<dyn Store>> {
        self.disk = None;
        let disk = Disk::open(&self.dir, self.options.clone()).expect("it opens");
        Some(self.disk.insert(disk).keyspace("main"))
    }
}

impl Drop for OnDisk {
    fn drop(&mut self) {
        self.disk = None;
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

mod as_it_is {
    use super::*;
    store::contract_suite!(|case| OnDisk::new(case, Options::default()));
}

/// Segments of 4 KiB. History must stay as the cases expect it, so nothing folds by itself.
mod in_small_segments {
    use super::*;
    fn small() -> Options {
        Options { segment_bytes: 4096, retention: Duration::from_secs(300), fold_bytes: 1 << 40 }
    }
    store::contract_suite!(|case: &str| OnDisk::new(&format!("small-{case}"), small()));
}
