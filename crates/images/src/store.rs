//! The store: records of images, their unpacked layers, and what is thrown away when.
//!
//! A record is one small JSON file that holds all that [`Image`] shows, so a look-up reads no manifest. Two locks matter: `images`
//! is held for the moment in which records change; `content` is held shared while a pull or an import brings in blobs and layers
//! that no record names yet, and exclusively by the collector, which therefore never sees half an image.
//! Decided against: one index file (every change would rewrite it) and a database (nothing here is queried).

use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::layout::{Layout, Lock};
use crate::reference::Reference;
use crate::spec::ConfigFile;
use crate::unpack;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long a broken-off download waits to be taken up again.
const PARTIAL_KEPT: Duration = Duration::from_secs(24 * 3600);

/// An image that is ready to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:…` of the configuration.
    pub id: String,
    /// Full references with a tag.
    pub repo_tags: Vec<String>,
    /// `name@sha256:…` of the manifest, for images that came from a registry or an OCI archive.
    pub repo_digests: Vec<String>,
    /// Bytes of configuration and layers as they were transferred.
    pub size: u64,
    pub config: ImageConfig,
    /// Unpacked directories, lowest first: the lower directories of an overlay mount in reverse.
    pub layers: Vec<PathBuf>,
}

/// How the image wants to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageConfig {
    /// `user[:group]`, names or numbers; empty is root.
    pub user: String,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// Empty is `/`.
    pub working_dir: String,
    /// Empty is SIGTERM.
    pub stop_signal: String,
    /// Paths.
    pub volumes: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// `80/tcp`.
    pub exposed_ports: Vec<String>,
}

/// What is on disk per image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: Digest,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    pub size: u64,
    pub config: ImageConfig,
    pub diff_ids: Vec<Digest>,
    /// Blobs to keep: configuration and manifest.
    pub blobs: Vec<Digest>,
}

/// What [`Store::collect`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    pub layers: usize,
    pub blobs: usize,
}

/// The images of one node. Clones share everything; other processes may have the same directory open.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) layout: Layout,
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// One pull per reference at a time; the others find the image there when their turn comes.
    pub pulls: std::sync::Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    pub registries: std::sync::RwLock<Arc<crate::transport::Options>>,
    pub limits: std::sync::RwLock<unpack::Limits>,
}

impl Store {
    /// Opens the store in `root`, creating it if need be, and sweeps what dead processes left unfinished.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout::create(root)?;
        let store = Store { layout, shared: Arc::default() };
        store.sweep(SystemTime::now())?;
        Ok(store)
    }

    /// Certificates and time-outs for registries; applies to pulls that start from now on.
    pub fn set_registry_options(&self, options: crate::transport::Options) {
        *self.shared.registries.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Arc::new(options);
    }

    /// How much a layer may hold that is unpacked from now on.
    pub fn set_limits(&self, limits: unpack::Limits) {
        *self.shared.limits.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = limits;
    }

    fn limits(&self) -> unpack::Limits {
        *self.shared.limits.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The image by reference (`nginx`, `name:tag`, `name@digest`) or id (`sha256:…` or its hexadecimal part).
    pub fn get(&self, name: &str) -> Option<Image> {
        self.find(name).map(|record| self.image(record))
    }

    /// All images, by id.
    pub fn list(&self) -> Result<Vec<Image>> {
        Ok(self.records()?.into_iter().map(|record| self.image(record)).collect())
    }

    /// Removes a reference, and with its last tag the image; or, by id, the image with all its references. What nothing else uses
    /// is collected. Removing what is not there is no error, as CRI wants.
    pub fn remove(&self, name: &str) -> Result<()> {
        let lock = self.layout.lock("images")?;
        if let Some(mut record) = self.find(name) {
            let by_id = parse_id(name).is_some();
            let full = name.parse::<Reference>().map(|reference| reference.to_string()).unwrap_or_default();
            record.repo_tags.retain(|tag| *tag != full);
            let path = self.layout.record(&record.id);
            if by_id || record.repo_tags.is_empty() {
                fs::remove_file(&path).at(&path)?;
            } else {
                self.save(&record)?;
            }
        }
        drop(lock);
        self.collect().map(|_| ())
    }

    /// Gives an image one more name, taking it from the image that has it.
    pub fn tag(&self, name: &str, new: &Reference) -> Result<Image> {
        let _lock = self.layout.lock("images")?;
        let record = self.find(name).ok_or_else(|| Error::NotFound {
            reference: name.to_string(),
            what: "no such image in the local store".to_string(),
        })?;
        self.commit_locked(Record { repo_tags: vec![new.to_string()], ..record })
    }

    /// Keeps an image's layers from being collected until [`Store::release`], also over restarts: a container's root is mounted on
    /// them. `owner` is a pod or container id.
    pub fn hold(&self, owner: &str, image: &Image) -> Result<()> {
        let names: Vec<_> = image.layers.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        let _lock = self.layout.lock("images")?;
        self.layout.write_atomic(&self.hold_path(owner)?, serde_json::json!(names).to_string().as_bytes())
    }

    /// Ends a hold; one that does not exist is no error.
    pub fn release(&self, owner: &str) -> Result<()> {
        let path = self.hold_path(owner)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).at(&path),
            _ => Ok(()),
        }
    }

    /// Removes layers and blobs that no image and no hold names. Does nothing while a pull or an import runs in any process.
    pub fn collect(&self) -> Result<Collected> {
        let Some(_content) = self.layout.try_lock("content")? else { return Ok(Collected::default()) };
        let _images = self.layout.lock("images")?;
        let records = self.records()?;
        let mut layers: BTreeSet<String> = self.held()?;
        layers.extend(records.iter().flat_map(|record| &record.diff_ids).map(|id| id.hex().to_string()));
        let blobs: BTreeSet<_> =
            records.iter().flat_map(|record| &record.blobs).map(|digest| digest.hex().to_string()).collect();
        let mut collected = Collected::default();
        for name in names(&self.layout.dir("layers"))?.into_iter().filter(|name| !layers.contains(name)) {
            // Renamed first: a half-removed layer must not look like one.
            let (path, away) = (self.layout.dir("layers").join(&name), self.layout.temporary());
            fs::rename(&path, &away).at(&path)?;
            fs::remove_dir_all(&away).at(&away)?;
            collected.layers += 1;
        }
        for name in names(&self.layout.dir("blobs/sha256"))?.into_iter().filter(|name| !blobs.contains(name)) {
            let path = self.layout.dir("blobs/sha256").join(&name);
            fs::remove_file(&path).at(&path)?;
            collected.blobs += 1;
        }
        Ok(collected)
    }

    /// The bytes that the store's files take, for the kubelet's image file system statistics.
    pub fn usage(&self) -> Result<u64> {
        fn walk(dir: &Path) -> u64 {
            let Ok(entries) = fs::read_dir(dir) else { return 0 };
            entries
                .flatten()
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_dir() => walk(&entry.path()),
                    Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
                    Err(_) => 0,
                })
                .sum()
        }
        Ok(["blobs", "layers", "ingest"].iter().map(|name| walk(&self.layout.dir(name))).sum())
    }

    /// Where the store is.
    pub fn root(&self) -> PathBuf {
        self.layout.dir("")
    }

    /// Held while content arrives that no record names yet.
    pub(crate) fn begin(&self) -> Result<Lock> {
        self.layout.lock_shared("content")
    }

    /// Makes sure that the layer is unpacked. `open` gives its plain tar stream; `object` names it in errors.
    pub(crate) fn ensure_layer<'a>(
        &self,
        diff_id: &Digest,
        object: &str,
        open: impl FnOnce() -> Result<Box<dyn Read + 'a>>,
    ) -> Result<()> {
        self.build_layer(diff_id, |dir| {
            let actual = unpack::unpack(open()?, dir, object, self.limits())?;
            diff_id.expect(object, &actual)?;
            // One call for all files; without it a power cut leaves a layer with the right name and empty files.
            rustix::fs::syncfs(File::open(dir).at(dir)?).at(dir)
        })
    }

    /// Fills a new layer directory by `fill` unless it is there, and gives it its name when that is done. `fill` sees to it
    /// that file contents are on disk.
    pub(crate) fn build_layer(&self, diff_id: &Digest, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let path = self.layout.layer(diff_id);
        if path.exists() {
            return Ok(());
        }
        let _lock = self.layout.lock(&format!("layer-{}", diff_id.hex()))?;
        if path.exists() {
            return Ok(());
        }
        let temporary = self.layout.temporary();
        fs::create_dir(&temporary).at(&temporary)?;
        let publish = || -> Result<()> {
            fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755)).at(&temporary)?;
            fill(&temporary)?;
            fs::rename(&temporary, &path).at(&path)
        };
        publish().inspect_err(|_| {
            let _ = fs::remove_dir_all(&temporary);
        })
    }

    /// Records the image; names that it takes over are removed from others. All its layers must be there.
    pub(crate) fn commit(&self, record: Record) -> Result<Image> {
        let _lock = self.layout.lock("images")?;
        self.commit_locked(record)
    }

    fn commit_locked(&self, mut record: Record) -> Result<Image> {
        for mut other in self.records()? {
            if other.id == record.id {
                merge(&mut record.repo_tags, other.repo_tags);
                merge(&mut record.repo_digests, other.repo_digests);
                merge(&mut record.blobs, other.blobs);
            } else if other.repo_tags.iter().any(|tag| record.repo_tags.contains(tag)) {
                other.repo_tags.retain(|tag| !record.repo_tags.contains(tag));
                self.save(&other)?;
            }
        }
        self.save(&record)?;
        Ok(self.image(record))
    }

    pub(crate) fn find(&self, name: &str) -> Option<Record> {
        if let Some(id) = parse_id(name) {
            return self.load(&self.layout.record(&id)).ok().flatten();
        }
        let reference: Reference = name.parse().ok()?;
        let full = reference.to_string();
        let digest = reference.digest.as_ref().map(|digest| format!("{}@{digest}", reference.name()));
        self.records().ok()?.into_iter().find(|record| match &digest {
            Some(digest) => record.repo_digests.contains(digest),
            None => record.repo_tags.contains(&full),
        })
    }

    fn records(&self) -> Result<Vec<Record>> {
        let dir = self.layout.dir("images");
        let mut records = Vec::new();
        for name in names(&dir)? {
            records.extend(self.load(&dir.join(name))?);
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(records)
    }

    /// `None` if it was removed meanwhile, or if a layer is missing: then the image has to be had again.
    fn load(&self, path: &Path) -> Result<Option<Record>> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at(path)?,
        };
        let record: Record = serde_json::from_slice(&bytes)
            .map_err(|error| Error::content(path.display(), format!("damaged image record: {error}")))?;
        Ok(record.diff_ids.iter().all(|id| self.layout.layer(id).is_dir()).then_some(record))
    }

    fn save(&self, record: &Record) -> Result<()> {
        let bytes = serde_json::to_vec(record).map_err(|error| Error::content(&record.id, error))?;
        self.layout.write_atomic(&self.layout.record(&record.id), &bytes)
    }

    fn image(&self, record: Record) -> Image {
        Image {
            id: record.id.to_string(),
            repo_tags: record.repo_tags,
            repo_digests: record.repo_digests,
            size: record.size,
            config: record.config,
            layers: record.diff_ids.iter().map(|id| self.layout.layer(id)).collect(),
        }
    }

    fn hold_path(&self, owner: &str) -> Result<PathBuf> {
        let safe = !owner.is_empty() && owner.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !safe {
            return Err(Error::content(owner, "a holder's name has letters, digits, dashes and underscores only"));
        }
        Ok(self.layout.dir("holds").join(format!("{owner}.json")))
    }

    fn held(&self) -> Result<BTreeSet<String>> {
        let dir = self.layout.dir("holds");
        let mut layers = BTreeSet::new();
        for name in names(&dir)? {
            let path = dir.join(name);
            // Released meanwhile: no longer a reason to keep anything.
            let Ok(bytes) = fs::read(&path) else { continue };
            let held: Vec<String> = serde_json::from_slice(&bytes)
                .map_err(|error| Error::content(path.display(), format!("damaged hold: {error}")))?;
            layers.extend(held);
        }
        Ok(layers)
    }

    /// Removes temporary files of processes that are gone, and downloads that nobody came back for.
    fn sweep(&self, now: SystemTime) -> Result<()> {
        let dir = self.layout.dir("ingest");
        let Some(_content) = self.layout.try_lock("content")? else { return Ok(()) };
        for name in names(&dir)? {
            let path = dir.join(&name);
            let stale = match name.strip_prefix("tmp-").and_then(|rest| rest.split('-').next()) {
                Some(pid) => !Path::new("/proc").join(pid).exists(),
                None => path
                    .metadata()
                    .and_then(|meta| meta.modified())
                    .is_ok_and(|changed| now.duration_since(changed).is_ok_and(|age| age > PARTIAL_KEPT)),
            };
            if stale {
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                if let Err(error) = removed {
                    tracing::warn!(path = %path.display(), %error, "cannot remove an unfinished file");
                }
            }
        }
        Ok(())
    }
}

impl Record {
    pub fn new(id: Digest, size: u64, config: ConfigFile, manifest: Option<Digest>) -> Self {
        let mut blobs = vec![id.clone()];
        blobs.extend(manifest);
        let (diff_ids, run) = (config.rootfs.diff_ids, config.config.unwrap_or_default());
        let config = ImageConfig {
            user: run.user.unwrap_or_default(),
            env: run.env.unwrap_or_default(),
            entrypoint: run.entrypoint.unwrap_or_default(),
            cmd: run.cmd.unwrap_or_default(),
            working_dir: run.working_dir.unwrap_or_default(),
            stop_signal: run.stop_signal.unwrap_or_default(),
            volumes: run.volumes.unwrap_or_default().into_keys().collect(),
            labels: run.labels.unwrap_or_default(),
            exposed_ports: run.exposed_ports.unwrap_or_default().into_keys().collect(),
        };
        Record { id, repo_tags: Vec::new(), repo_digests: Vec::new(), size, config, diff_ids, blobs }
    }
}

/// An id is a digest or its hexadecimal part; neither parses as a reference.
fn parse_id(name: &str) -> Option<Digest> {
    name.parse().or_else(|_| format!("sha256:{name}").parse()).ok()
}

fn merge<T: PartialEq>(into: &mut Vec<T>, from: Vec<T>) {
    for item in from {
        if !into.contains(&item) {
            into.push(item);
        }
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at(dir)? {
        names.push(entry.at(dir)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
