//! The demo image, made from the running binary instead of downloaded.
//!
//! One layer: the binary as `/bin/ferry` and links of every program's name to it. The layer directory gets a hard link of the
//! binary where it can (same file system), a reflink or one copy where it cannot; nothing is packed into an archive and unpacked
//! again. The diff id is that of the archive that *would* hold the layer, so image ids agree between nodes and with `write_archive`.

use crate::digest::{Digest, HashingSink};
use crate::error::{At, Error, Result};
use crate::spec::{ConfigFile, Platform, RootFs, RunConfig};
use crate::store::{Image, Record, Store};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use tar::{Builder, EntryType, Header};

/// The name under which the demo image is known.
pub const TOOLBOX: &str = "ferry.local/toolbox:latest";

/// Says of which file the image was made, so that the next start need not hash it again.
const SOURCE_LABEL: &str = "ferry.local/source";

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n";
const GROUP: &str = "root:x:0:\nnogroup:x:65534:\n";

/// What goes into the image.
#[derive(Debug, Clone)]
pub struct Recipe<'a> {
    /// A static executable that acts as the program that argv[0] names.
    pub binary: &'a Path,
    /// Full reference, [`TOOLBOX`] for the demo.
    pub tag: &'a str,
    /// Names of programs, each a link `/bin/<name>`.
    pub links: &'a [&'a str],
    pub cmd: &'a [&'a str],
}

/// Makes the image in the store, or finds it made from the same binary. Blocking.
pub fn make_image(store: &Store, recipe: &Recipe<'_>) -> Result<Image> {
    let meta = recipe.binary.metadata().at(recipe.binary)?;
    let mut names = Digest::of(recipe.links.join("\n").as_bytes()).hex().to_string();
    names.truncate(12);
    let source = format!(
        "{}-{}-{}.{:09}-{names}-{}",
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec(),
        recipe.cmd.join(" ")
    );
    if let Some(image) = store.get(recipe.tag).filter(|image| image.config.labels.get(SOURCE_LABEL) == Some(&source)) {
        return Ok(image);
    }
    let _content = store.begin()?;
    let mut sink = HashingSink::default();
    write_layer(recipe, &mut sink)?;
    let diff_id = sink.hasher.finish();
    store.build_layer(&diff_id, |dir| fill(dir, recipe))?;
    let config = config(recipe, diff_id);
    let bytes = serde_json::to_vec(&config).map_err(|error| Error::content(recipe.tag, error))?;
    let id = Digest::of(&bytes);
    store.layout.put_blob(&id, recipe.tag, &bytes)?;
    let mut record = Record::new(id, sink.len + bytes.len() as u64, config, None);
    record.repo_tags.push(recipe.tag.to_string());
    // Kept beside the configuration, not in it: the id must depend on content alone.
    record.config.labels.insert(SOURCE_LABEL.to_string(), source);
    store.commit(record)
}

/// Writes the same image as a `docker save` archive, for other machines and for tests of the import.
pub fn write_archive(recipe: &Recipe<'_>, out: impl Write) -> Result<()> {
    let mut sink = HashingSink::default();
    write_layer(recipe, &mut sink)?;
    let (layer_len, diff_id) = (sink.len, sink.hasher.finish());
    let config = serde_json::to_vec(&config(recipe, diff_id)).map_err(|error| Error::content(recipe.tag, error))?;
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let manifest = serde_json::json!([{"Config": config_name, "RepoTags": [recipe.tag], "Layers": ["layer.tar"]}]);
    let mut tar = Builder::new(out);
    let mut write = || -> io::Result<()> {
        file(&mut tar, &config_name, 0o644, &config)?;
        file(&mut tar, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
        let mut header = header(EntryType::Regular, 0o644, layer_len);
        header.set_path("layer.tar")?;
        header.set_cksum();
        tar.get_mut().write_all(header.as_bytes())?;
        Ok(())
    };
    write().at(recipe.binary)?;
    // The layer itself is streamed; it is a multiple of tar's block already.
    write_layer(recipe, tar.get_mut())?;
    tar.finish().at(recipe.binary)
}

fn config(recipe: &Recipe<'_>, diff_id: Digest) -> ConfigFile {
    let strings = |list: &[&str]| list.iter().map(|item| item.to_string()).collect::<Vec<_>>();
    let platform = Platform::host();
    ConfigFile {
        architecture: platform.architecture,
        os: platform.os,
        config: Some(RunConfig {
            env: Some(strings(&["PATH=/bin"])),
            cmd: Some(strings(recipe.cmd)),
            working_dir: Some("/".to_string()),
            labels: Some(BTreeMap::new()),
            ..RunConfig::default()
        }),
        rootfs: RootFs { kind: "layers".to_string(), diff_ids: vec![diff_id] },
    }
}

/// The directories of the image, with their modes.
const DIRECTORIES: [(&str, u32); 8] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
];

fn fill(dir: &Path, recipe: &Recipe<'_>) -> Result<()> {
    for (name, mode) in DIRECTORIES {
        let path = dir.join(name);
        fs::create_dir(&path).at(&path)?;
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).at(&path)?;
    }
    for (name, text) in [("etc/passwd", PASSWD), ("etc/group", GROUP)] {
        let path = dir.join(name);
        let write = || -> io::Result<()> {
            let mut file = File::create_new(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().at(&path)?;
    }
    place(recipe.binary, &dir.join("bin/ferry"))?;
    for name in recipe.links {
        let path = dir.join("bin").join(name);
        std::os::unix::fs::symlink("ferry", &path).at(&path)?;
    }
    Ok(())
}

/// A hard link shares owner and mode with the original, so it serves only where those are right already.
fn place(binary: &Path, target: &Path) -> Result<()> {
    let binary = &binary.canonicalize().at(binary)?;
    let meta = binary.metadata().at(binary)?;
    if meta.uid() == 0 && meta.mode() & 0o7777 == 0o755 && fs::hard_link(binary, target).is_ok() {
        return Ok(());
    }
    let (from, to) = (File::open(binary).at(binary)?, File::create_new(target).at(target)?);
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        fs::copy(binary, target).at(target)?;
    }
    to.set_permissions(PermissionsExt::from_mode(0o755)).at(target)?;
    to.sync_data().at(target)
}

fn write_layer(recipe: &Recipe<'_>, out: impl Write) -> Result<()> {
    let mut tar = Builder::new(out);
    let mut write = || -> io::Result<()> {
        for (name, mode) in DIRECTORIES {
            let mut header = header(EntryType::Directory, mode, 0);
            tar.append_data(&mut header, format!("{name}/"), io::empty())?;
        }
        file(&mut tar, "etc/passwd", 0o644, PASSWD.as_bytes())?;
        file(&mut tar, "etc/group", 0o644, GROUP.as_bytes())?;
        let binary = File::open(recipe.binary)?;
        let mut binary_header = header(EntryType::Regular, 0o755, binary.metadata()?.len());
        tar.append_data(&mut binary_header, "bin/ferry", binary)?;
        for name in recipe.links {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            tar.append_link(&mut header, format!("bin/{name}"), "ferry")?;
        }
        tar.finish()
    };
    write().at(recipe.binary)
}

fn file(tar: &mut Builder<impl Write>, name: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    tar.append_data(&mut header(EntryType::Regular, mode, bytes.len() as u64), name, bytes)
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}
