//! Import of image archives: `docker save` (manifest.json) and OCI layouts (index.json), plain or compressed as a whole.
//!
//! The archive is indexed once and its members are then read in place; only an archive that is itself compressed is written out
//! first. `manifest.json` wins where both indexes are present (Docker since 25 writes both): it names tags in full, while the
//! annotations of an OCI index are a matter of taste.

use crate::decompress;
use crate::digest::Digest;
use crate::error::{At, Error, Result};
use crate::layout::file_digest;
use crate::reference::Reference;
use crate::spec::{self, ConfigFile, Descriptor, Document, Index, Manifest, Platform};
use crate::store::{Image, Record, Store};
use serde::Deserialize;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};
use tar::EntryType;

/// The largest manifest or configuration that is read into memory.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Layouts may nest indexes; nobody nests them deeper than twice.
const MAX_DEPTH: usize = 4;

impl Store {
    /// Imports every image in the archive at `path` that fits this machine. Blocking; layers that are there already are not
    /// unpacked again. Errors name the file and the member.
    pub fn import(&self, path: &Path) -> Result<Vec<Image>> {
        self.import_for(path, &Platform::host())
    }

    fn import_for(&self, path: &Path, platform: &Platform) -> Result<Vec<Image>> {
        let content = self.begin()?;
        let opened = Archive::open(self, path)?;
        let images = if opened.members.contains_key("manifest.json") {
            opened.docker(self)
        } else if opened.members.contains_key("index.json") {
            opened.oci(self, platform)
        } else {
            Err(opened.bad("neither manifest.json nor index.json inside: not an image archive"))
        };
        drop(opened);
        drop(content);
        self.collect()?;
        images
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

enum Member {
    File { offset: u64, size: u64 },
    Link(String),
}

struct Archive {
    /// What errors call it.
    path: PathBuf,
    /// What is read: the same, or its decompressed copy.
    data: PathBuf,
    members: HashMap<String, Member>,
}

impl Drop for Archive {
    fn drop(&mut self) {
        if self.data != self.path {
            let _ = fs::remove_file(&self.data);
        }
    }
}

impl Archive {
    fn open(store: &Store, path: &Path) -> Result<Self> {
        let mut file = File::open(path).at(path)?;
        if file.metadata().at(path)?.is_dir() {
            return Err(Error::BadArchive { file: path.to_path_buf(), what: "is a directory".to_string() });
        }
        let mut head = Vec::new();
        file.by_ref().take(4).read_to_end(&mut head).at(path)?;
        file.rewind().at(path)?;
        let mut archive = Archive { path: path.to_path_buf(), data: path.to_path_buf(), members: HashMap::new() };
        if decompress::is_compressed(&head) {
            archive.data = store.layout.temporary();
            let mut plain = File::create_new(&archive.data).at(&archive.data)?;
            let mut reader = decompress::decompress(file).at(path)?;
            io::copy(&mut reader, &mut plain).map_err(|error| archive.bad(format!("cannot decompress: {error}")))?;
        }
        archive.index()?;
        Ok(archive)
    }

    fn index(&mut self) -> Result<()> {
        let damaged = |error: io::Error| Error::BadArchive {
            file: self.path.clone(),
            what: format!("damaged or not a tar archive: {error}"),
        };
        let file = File::open(&self.data).at(&self.data)?;
        let length = file.metadata().at(&self.data)?.len();
        let mut tar = tar::Archive::new(file);
        let mut members = HashMap::new();
        for entry in tar.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            let Some(name) = normal(Path::new(""), &entry.path().map_err(damaged)?) else { continue };
            let (offset, size) = (entry.raw_file_position(), entry.size());
            if offset + size > length {
                let what = format!("truncated: {name} needs {} bytes, the file has {length}", offset + size);
                return Err(Error::BadArchive { file: self.path.clone(), what });
            }
            match entry.header().entry_type() {
                EntryType::Regular | EntryType::Continuous => {
                    members.insert(name, Member::File { offset, size });
                }
                kind @ (EntryType::Symlink | EntryType::Link) => {
                    let Some(target) = entry.link_name().map_err(damaged)? else { continue };
                    let base = if kind == EntryType::Symlink { Path::new(&name).parent() } else { None };
                    if let Some(target) = normal(base.unwrap_or(Path::new("")), &target) {
                        members.insert(name, Member::Link(target));
                    }
                }
                _ => {}
            }
        }
        self.members = members;
        Ok(())
    }

    fn docker(&self, store: &Store) -> Result<Vec<Image>> {
        let list: Vec<DockerImage> = self.json("manifest.json")?;
        if list.is_empty() {
            return Err(self.bad("manifest.json lists no image"));
        }
        list.into_iter().map(|image| self.docker_image(store, image)).collect()
    }

    fn docker_image(&self, store: &Store, image: DockerImage) -> Result<Image> {
        let bytes = self.document(&image.config)?;
        let id = Digest::of(&bytes);
        let config = ConfigFile::parse(&self.object(&image.config), &bytes)?;
        let mut size = bytes.len() as u64;
        for layer in &image.layers {
            size += self.member(layer)?.1;
        }
        self.layers(store, &config, &image.layers)?;
        store.layout.put_blob(&id, &image.config, &bytes)?;
        let mut record = Record::new(id, size, config, None);
        for tag in image.repo_tags.unwrap_or_default() {
            record.repo_tags.push(tag.parse::<Reference>()?.to_string());
        }
        store.commit(record)
    }

    fn oci(&self, store: &Store, platform: &Platform) -> Result<Vec<Image>> {
        let index: Index = self.json("index.json")?;
        let mut found = Vec::new();
        let mut groups: Vec<(Option<String>, Vec<Descriptor>)> = Vec::new();
        // Entries with one name are one image for several platforms; entries without a name stand for themselves.
        for entry in index.manifests {
            let name = name_of(&entry);
            match groups.iter_mut().find(|(other, _)| name.is_some() && *other == name) {
                Some((_, entries)) => entries.push(entry),
                None => groups.push((name, vec![entry])),
            }
        }
        let alone = groups.len() == 1;
        for (name, entries) in groups {
            let image = spec::select(&entries, platform)
                .map_or(Ok(None), |entry| self.oci_image(store, entry, name.as_deref(), platform, 0))?;
            match image {
                Some(image) => found.push(image),
                None if alone => return Err(self.no_platform(platform)),
                None => {}
            }
        }
        if found.is_empty() { Err(self.no_platform(platform)) } else { Ok(found) }
    }

    /// `None`: a list without an entry for the platform.
    fn oci_image(
        &self,
        store: &Store,
        entry: &Descriptor,
        name: Option<&str>,
        platform: &Platform,
        depth: usize,
    ) -> Result<Option<Image>> {
        let path = blob_path(&entry.digest);
        let bytes = self.document(&path)?;
        entry.digest.verify(&self.object(&path), &bytes)?;
        let manifest = match Document::parse(&self.object(&path), &entry.media_type, &bytes)? {
            Document::Index(_) if depth == MAX_DEPTH => return Err(self.bad("indexes are nested too deep")),
            Document::Index(index) => {
                let Some(inner) = spec::select(&index.manifests, platform) else { return Ok(None) };
                return self.oci_image(store, inner, name, platform, depth + 1);
            }
            Document::Manifest(manifest) => manifest,
        };
        self.oci_manifest(store, &entry.digest, &bytes, manifest, name, platform)
    }

    fn oci_manifest(
        &self,
        store: &Store,
        digest: &Digest,
        bytes: &[u8],
        manifest: Manifest,
        name: Option<&str>,
        platform: &Platform,
    ) -> Result<Option<Image>> {
        let id = manifest.config.digest.clone();
        let config_path = blob_path(&id);
        let config_bytes = self.document(&config_path)?;
        id.verify(&self.object(&config_path), &config_bytes)?;
        let config = ConfigFile::parse(&self.object(&config_path), &config_bytes)?;
        // An index entry may leave the platform out; the configuration always says it.
        if !config.architecture.is_empty() && config.architecture != platform.architecture {
            return Ok(None);
        }
        let paths: Vec<_> = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
        for (layer, path) in manifest.layers.iter().zip(&paths) {
            if self.member(path)?.1 != layer.size {
                return Err(self.bad(format!("{path} is not {} bytes long as the manifest says", layer.size)));
            }
            if !config.rootfs.diff_ids.iter().all(|id| store.layout.layer(id).exists()) {
                let actual = file_digest(self.reader(path)?).map_err(|error| self.bad(format!("{path}: {error}")))?;
                layer.digest.expect(&self.object(path), &actual)?;
            }
        }
        let size = manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>();
        self.layers(store, &config, &paths)?;
        store.layout.put_blob(&id, &config_path, &config_bytes)?;
        store.layout.put_blob(digest, "manifest", bytes)?;
        let mut record = Record::new(id, size, config, Some(digest.clone()));
        // A bare tag (`latest`, as `ref.name` often is) names no repository; the image is then known by its id.
        if let Some(reference) = name.filter(|name| name.contains([':', '/'])) {
            let reference: Reference = reference.parse()?;
            record.repo_digests.push(format!("{}@{digest}", reference.name()));
            record.repo_tags.push(reference.to_string());
        }
        store.commit(record).map(Some)
    }

    /// Unpacks what is missing, each layer from the member that holds it.
    fn layers(&self, store: &Store, config: &ConfigFile, paths: &[String]) -> Result<()> {
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != paths.len() {
            let what = format!("{} layers, but {} diff ids in the configuration", paths.len(), diff_ids.len());
            return Err(self.bad(what));
        }
        for (diff_id, path) in diff_ids.iter().zip(paths) {
            let object = self.object(path);
            store.ensure_layer(diff_id, &object, || {
                let reader = self.reader(path)?;
                decompress::decompress(reader).map_err(|error| self.bad(format!("{path}: {error}")))
            })?;
        }
        Ok(())
    }

    fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        serde_json::from_slice(&self.document(name)?).map_err(|error| self.bad(format!("malformed {name}: {error}")))
    }

    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let size = self.member(name)?.1;
        if size > MAX_DOCUMENT {
            return Err(self.bad(format!("{name} is too large for a document: {size} bytes")));
        }
        let mut bytes = Vec::new();
        self.reader(name)?.read_to_end(&mut bytes).map_err(|error| self.bad(format!("{name}: {error}")))?;
        Ok(bytes)
    }

    /// Offset and size of a member, links followed.
    fn member(&self, name: &str) -> Result<(u64, u64)> {
        let mut at = name.to_string();
        for _ in 0..8 {
            let clean = normal(Path::new(""), Path::new(&at)).unwrap_or_default();
            match self.members.get(&clean) {
                Some(Member::File { offset, size }) => return Ok((*offset, *size)),
                Some(Member::Link(target)) => at = target.clone(),
                None => return Err(self.bad(format!("{at} is missing"))),
            }
        }
        Err(self.bad(format!("{name} is a circle of links")))
    }

    fn reader(&self, name: &str) -> Result<io::Take<File>> {
        let (offset, size) = self.member(name)?;
        let mut file = File::open(&self.data).at(&self.data)?;
        file.seek(SeekFrom::Start(offset)).at(&self.data)?;
        Ok(file.take(size))
    }

    fn object(&self, member: &str) -> String {
        format!("{}: {member}", self.path.display())
    }

    fn bad(&self, what: impl Into<String>) -> Error {
        Error::BadArchive { file: self.path.clone(), what: what.into() }
    }

    fn no_platform(&self, platform: &Platform) -> Error {
        Error::NoPlatform { reference: self.path.display().to_string(), platform: platform.to_string() }
    }
}

/// containerd's annotation holds the full name; OCI's own is a full name with some tools and a bare tag with others.
fn name_of(entry: &Descriptor) -> Option<String> {
    ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
        .iter()
        .find_map(|key| entry.annotations.get(*key))
        .cloned()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// `base/path` without dots; `None` if it leaves the archive or is the archive itself.
fn normal(base: &Path, path: &Path) -> Option<String> {
    let mut parts: Vec<&str> = base.iter().filter_map(|part| part.to_str()).collect();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
