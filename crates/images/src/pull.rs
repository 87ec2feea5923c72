//! A pull: manifest, configuration, then the layers that are missing, a few at a time.
//!
//! The configuration comes before the layers because it names their diff ids, and a layer that is unpacked already, by whichever
//! image, is not downloaded. Each layer is downloaded to a file, verified, and only then unpacked: bytes that nobody vouches for
//! never reach the unpacker. Its compressed file is removed afterwards; a node pushes nothing.

use crate::auth::Credentials;
use crate::decompress;
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::layout::Partial;
use crate::reference::Reference;
use crate::registry::Registry;
use crate::spec::{self, ConfigFile, Descriptor, Document, Manifest, Platform};
use crate::store::{Image, Record, Store};
use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};
use std::collections::HashSet;
use std::fs::{self, File};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Layers of one image that come in at the same time (containerd's default).
const CONCURRENT_LAYERS: usize = 3;
/// Attempts for one layer within a pull; each takes up where the last one broke off.
const ATTEMPTS: u32 = 3;

/// Host of images that exist on machines only. There is no such registry, so that `imagePullPolicy: Always` (the default
/// for `:latest`) finds what the machine has instead of asking a stranger for it.
const LOCAL: &str = "ferry.local";

impl Store {
    /// Pulls an image from its registry, for this machine's platform. Pulls of one reference wait for each other; a pull that is
    /// dropped leaves partial downloads to resume.
    pub async fn pull(&self, reference: &str, credentials: Option<Credentials>) -> Result<Image> {
        let reference: Reference = reference.parse()?;
        if reference.registry == LOCAL {
            return self.get(&reference.to_string()).ok_or_else(|| Error::NotFound {
                reference: reference.to_string(),
                what: format!("images of {LOCAL} are not pulled; import it with `ferry image import`"),
            });
        }
        let turn = {
            let mut pulls = self.shared.pulls.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
            pulls.entry(reference.to_string()).or_default().clone()
        };
        let _turn = turn.lock().await;
        let store = self.clone();
        let content = blocking(move || store.begin()).await?;
        let image = Pull::start(self, reference, credentials.unwrap_or_default()).await?.run().await;
        drop(content);
        let store = self.clone();
        // Names may have moved and a broken pull may have left blobs; a failed sweep is no reason to fail the pull.
        if let Err(error) = blocking(move || store.collect()).await {
            tracing::warn!(%error, "cannot collect unused image content");
        }
        image
    }

    /// Tries credentials in turn, then none at all; an error other than a refusal ends it.
    pub async fn pull_with(&self, reference: &str, candidates: Vec<Credentials>) -> Result<Image> {
        let mut attempts: Vec<_> = candidates.into_iter().map(Some).collect();
        if attempts.is_empty() {
            attempts.push(None);
        }
        let mut last = None;
        for credentials in attempts {
            match self.pull(reference, credentials).await {
                Err(error @ Error::Unauthorized { .. }) => last = Some(error),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(|| Error::Unauthorized {
            reference: reference.to_string(),
            what: "no credentials".to_string(),
        }))
    }
}

struct Pull {
    store: Store,
    registry: Registry,
    reference: Reference,
    platform: Platform,
}

impl Pull {
    async fn start(store: &Store, reference: Reference, credentials: Credentials) -> Result<Self> {
        let options = store.shared.registries.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let registry = Registry::connect(options, &reference, credentials).await?;
        Ok(Pull { store: store.clone(), registry, reference, platform: Platform::host() })
    }

    async fn run(&self) -> Result<Image> {
        let top = self.registry.manifest(&self.reference.target()).await?;
        let (digest, bytes, manifest) = self.descend(&top).await?;
        let id = manifest.config.digest.clone();
        let config_bytes = match self.store.layout.get_blob(&id) {
            Some(bytes) => Bytes::from(bytes),
            None => self.registry.small_blob(&id).await?,
        };
        let config = ConfigFile::parse(&format!("{}: configuration", self.reference), &config_bytes)?;
        let foreign = |ours: &str, its: &str| !its.is_empty() && its != ours;
        if foreign(&self.platform.architecture, &config.architecture) || foreign(&self.platform.os, &config.os) {
            return Err(self.no_platform());
        }
        self.layers(&manifest, &config).await?;
        let size = manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
        let mut record = Record::new(id.clone(), size, config, Some(digest.clone()));
        record.repo_digests.push(format!("{}@{}", self.reference.name(), top.digest));
        if self.reference.digest.is_none() {
            record.repo_tags.push(self.reference.to_string());
        }
        let (store, name) = (self.store.clone(), self.reference.to_string());
        blocking(move || {
            store.layout.put_blob(&id, &name, &config_bytes)?;
            store.layout.put_blob(&digest, &name, &bytes)?;
            store.commit(record)
        })
        .await
    }

    /// From what the reference names to the manifest for this platform.
    async fn descend(&self, top: &crate::registry::Fetched) -> Result<(Digest, Bytes, Manifest)> {
        let object = format!("{}: manifest", self.reference);
        let index = match Document::parse(&object, &top.media_type, &top.bytes)? {
            Document::Manifest(manifest) => return Ok((top.digest.clone(), top.bytes.clone(), manifest)),
            Document::Index(index) => index,
        };
        let entry = spec::select(&index.manifests, &self.platform).ok_or_else(|| self.no_platform())?;
        let inner = self.registry.manifest(&entry.digest.to_string()).await?;
        match Document::parse(&object, &inner.media_type, &inner.bytes)? {
            Document::Manifest(manifest) => Ok((inner.digest, inner.bytes, manifest)),
            Document::Index(_) => Err(Error::content(object, "a manifest list inside a manifest list")),
        }
    }

    async fn layers(&self, manifest: &Manifest, config: &ConfigFile) -> Result<()> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let what =
                format!("{} layers, but {} diff ids in the configuration", manifest.layers.len(), diff_ids.len());
            return Err(Error::content(&self.reference, what));
        }
        // Empty layers recur inside one image; each is wanted once.
        let mut seen = HashSet::new();
        let mut missing = Vec::new();
        for (layer, diff_id) in manifest.layers.iter().zip(diff_ids) {
            if seen.insert(diff_id) && !self.store.layout.layer(diff_id).exists() {
                missing.push(self.layer(layer, diff_id));
            }
        }
        futures::stream::iter(missing).buffer_unordered(CONCURRENT_LAYERS).try_collect::<Vec<()>>().await?;
        Ok(())
    }

    async fn layer(&self, layer: &Descriptor, diff_id: &Digest) -> Result<()> {
        let object = format!("{}: layer {}", self.reference, layer.digest);
        let mut attempt = 1;
        loop {
            match self.download(layer, &object).await {
                Ok(()) => break,
                Err(error @ Error::RegistryUnavailable { .. }) if attempt < ATTEMPTS => {
                    tracing::debug!(%error, attempt, "layer download broke off; resuming");
                    tokio::time::sleep(Duration::from_millis(200) * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error),
            }
        }
        let (store, digest, diff_id) = (self.store.clone(), layer.digest.clone(), diff_id.clone());
        blocking(move || {
            let path = store.layout.blob(&digest);
            store.ensure_layer(&diff_id, &object, || {
                let file = File::open(&path).at(&path)?;
                decompress::decompress(file).at(&path)
            })?;
            let _ = fs::remove_file(&path);
            Ok(())
        })
        .await
    }

    /// Brings the blob in, from where an earlier attempt ended. Files are written by a thread of their own.
    async fn download(&self, layer: &Descriptor, object: &str) -> Result<()> {
        let (layout, digest) = (self.store.layout.clone(), layer.digest.clone());
        let Some(mut partial) = blocking(move || Partial::open(&layout, &digest)).await? else { return Ok(()) };
        if partial.len() > layer.size {
            partial.restart()?;
        }
        if partial.len() < layer.size {
            let (response, resumed) = self.registry.blob(&layer.digest, partial.len()).await?;
            if !resumed {
                partial.restart()?;
            }
            let (sender, mut receiver) = mpsc::channel::<Bytes>(8);
            let limit = layer.size;
            let writer = blocking(move || {
                while let Some(data) = receiver.blocking_recv() {
                    partial.write(&data)?;
                    // One byte too many proves the content wrong; the rest of an endless body need not come.
                    if partial.len() > limit {
                        break;
                    }
                }
                Ok(partial)
            });
            let mut body = response.into_body();
            let reader = async {
                while let Some(data) = self.registry.next(&mut body).await? {
                    if sender.send(data).await.is_err() {
                        break;
                    }
                }
                drop(sender);
                Ok(())
            };
            let (written, read) = tokio::join!(writer, reader);
            partial = written?;
            read?;
        }
        let (object, size) = (object.to_string(), layer.size);
        blocking(move || partial.commit(&object, size)).await
    }

    fn no_platform(&self) -> Error {
        Error::NoPlatform { reference: self.reference.to_string(), platform: self.platform.to_string() }
    }
}

/// Runs file work off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::content("image store", "the runtime is shutting down")),
        },
    }
}
