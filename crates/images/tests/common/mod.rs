//! Images made in memory, and a directory that goes away.

use images::Digest;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new(name: &str) -> Self {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("clock").as_nanos();
        let path = std::env::temp_dir().join(format!("ferry-images-{name}-{}-{nanos:x}", std::process::id()));
        std::fs::create_dir_all(&path).expect("temporary directory");
        TempDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A tar archive under construction. Names go in raw, so that hostile ones can be made.
pub struct Layer(pub Builder<Vec<u8>>);

impl Layer {
    pub fn new() -> Self {
        Layer(Builder::new(Vec::new()))
    }

    pub fn raw(mut self, name: &str, kind: EntryType, mode: u32, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_uid(1000);
        header.set_gid(2000);
        header.set_mtime(1_000_000_000);
        header.set_cksum();
        self.0.append(&header, content).expect("in memory");
        self
    }

    pub fn file(self, name: &str, content: &[u8]) -> Self {
        self.raw(name, EntryType::Regular, 0o644, "", content)
    }

    pub fn build(self) -> Vec<u8> {
        self.0.into_inner().expect("in memory")
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("in memory");
    encoder.finish().expect("in memory")
}

/// A configuration for these plain layers.
pub fn config(architecture: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
    json!({
        "architecture": architecture, "os": "linux",
        "config": {"User": "1000:1000", "Env": ["A=b"], "Entrypoint": ["/bin/app"], "Cmd": null, "WorkingDir": "/srv",
            "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/data": {}}, "Labels": {"l": "v"}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
    .to_string()
    .into_bytes()
}

pub fn host_architecture() -> String {
    images::spec::Platform::host().architecture
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

/// An OCI manifest over a configuration and packed layers.
pub fn manifest(config: &[u8], packed: &[Vec<u8>]) -> Vec<u8> {
    let layers: Vec<_> =
        packed.iter().map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)).collect();
    json!({
        "schemaVersion": 2, "mediaType": images::spec::OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", config), "layers": layers,
    })
    .to_string()
    .into_bytes()
}
