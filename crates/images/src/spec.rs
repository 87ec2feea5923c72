//! The documents of the OCI image specification and of Docker's schema 2, as far as a node reads them.
//!
//! Written here rather than taken from `oci-spec`: six structs, read leniently, and no builder machinery to compile.

use crate::digest::Digest;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A pointer to content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Index {
    pub manifests: Vec<Descriptor>,
}

/// A manifest, or a list of manifests by platform.
#[derive(Debug, Clone)]
pub enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Tells the two apart by the media type (the header's or the document's own), or by shape where neither says.
    pub fn parse(object: &str, media_type: &str, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            media_type: Option<String>,
            schema_version: Option<u64>,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let bad = |error: serde_json::Error| Error::content(object, format!("malformed manifest: {error}"));
        let probe: Probe = serde_json::from_slice(bytes).map_err(bad)?;
        if probe.schema_version == Some(1) {
            return Err(Error::content(object, "manifests of schema version 1 are not supported"));
        }
        let media_type = probe.media_type.as_deref().unwrap_or(media_type);
        let is_index = match media_type {
            OCI_INDEX | DOCKER_LIST => true,
            OCI_MANIFEST | DOCKER_MANIFEST => false,
            _ => probe.manifests.is_some(),
        };
        if is_index {
            return Ok(Document::Index(serde_json::from_slice(bytes).map_err(bad)?));
        }
        Ok(Document::Manifest(serde_json::from_slice(bytes).map_err(bad)?))
    }
}

/// The image configuration blob; its digest is the image's id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConfigFile {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub config: Option<RunConfig>,
    #[serde(default)]
    pub rootfs: RootFs,
}

impl ConfigFile {
    pub fn parse(object: &str, bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes)
            .map_err(|error| Error::content(object, format!("malformed image configuration: {error}")))
    }
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(default, rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// The part of the configuration that says how to run the image. Every field may be missing or null.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    pub user: Option<String>,
    pub env: Option<Vec<String>>,
    pub entrypoint: Option<Vec<String>>,
    pub cmd: Option<Vec<String>>,
    pub working_dir: Option<String>,
    pub stop_signal: Option<String>,
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    pub labels: Option<BTreeMap<String, String>>,
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            other => other,
        };
        Platform { architecture: architecture.to_string(), os: "linux".to_string(), variant: None }
    }

    /// How well an entry of a list serves this platform; lower is better, `None` not at all. amd64 variants above v1 need
    /// newer processors than the machine may have; arm64 has only v8, said or unsaid.
    fn fit(&self, entry: &Platform) -> Option<u8> {
        if entry.os != self.os || entry.architecture != self.architecture {
            return None;
        }
        match entry.variant.as_deref() {
            None | Some("" | "v1") => Some(0),
            Some("v8") if self.architecture == "arm64" => Some(0),
            Some(_) => Some(1),
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// The best entry for `platform`. Entries without a platform (old OCI layouts) serve as a last resort.
pub fn select<'a>(entries: &'a [Descriptor], platform: &Platform) -> Option<&'a Descriptor> {
    entries
        .iter()
        .filter_map(|entry| match &entry.platform {
            Some(candidate) => platform.fit(candidate).map(|fit| (fit, entry)),
            None => Some((9, entry)),
        })
        .min_by_key(|(fit, _)| *fit)
        .map(|(_, entry)| entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(n: u8, platform: Option<(&str, &str, Option<&str>)>) -> Descriptor {
        Descriptor {
            media_type: OCI_MANIFEST.into(),
            digest: Digest::of(&[n]),
            size: u64::from(n),
            platform: platform.map(|(os, architecture, variant)| Platform {
                architecture: architecture.into(),
                os: os.into(),
                variant: variant.map(str::to_string),
            }),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn selection_by_platform() {
        let amd64 = Platform { architecture: "amd64".into(), os: "linux".into(), variant: None };
        let arm64 = Platform { architecture: "arm64".into(), os: "linux".into(), variant: None };
        let list = [
            entry(1, Some(("unknown", "unknown", None))),
            entry(2, Some(("windows", "amd64", None))),
            entry(3, Some(("linux", "amd64", Some("v3")))),
            entry(4, Some(("linux", "amd64", None))),
            entry(5, Some(("linux", "arm64", Some("v8")))),
        ];
        assert_eq!(select(&list, &amd64).map(|d| d.size), Some(4));
        assert_eq!(select(&list, &arm64).map(|d| d.size), Some(5));
        assert_eq!(select(&list[..2], &amd64).map(|d| d.size), None);
        assert_eq!(select(&[entry(6, None)], &amd64).map(|d| d.size), Some(6));
    }

    #[test]
    fn old_and_broken_manifests() {
        let error = Document::parse("m", "", br#"{"schemaVersion":1,"fsLayers":[]}"#).expect_err("schema 1");
        assert_eq!(error.to_string(), "m: manifests of schema version 1 are not supported");
        let error = Document::parse("m", OCI_MANIFEST, b"{\"config\":").expect_err("torn");
        assert!(error.to_string().starts_with("m: malformed manifest: EOF"), "{error}");
        assert!(matches!(Document::parse("m", "", br#"{"manifests":[]}"#), Ok(Document::Index(_))));
    }
}
