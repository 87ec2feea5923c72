//! Image messages.

use serde::{Deserialize, Serialize};

/// An image on this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:…` of the image's configuration.
    pub id: String,
    pub repo_tags: Vec<String>,
    pub repo_digests: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// The image's user when it is a number.
    pub uid: Option<i64>,
    /// The image's user when it is a name.
    pub username: String,
    /// Not to be removed when space is short.
    pub pinned: bool,
}

/// Credentials for one registry, as an imagePullSecret carries them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthConfig {
    pub username: String,
    pub password: String,
    /// base64 of `user:password`, instead of both.
    pub auth: String,
    pub server_address: String,
    pub identity_token: String,
    pub registry_token: String,
}

impl std::fmt::Debug for AuthConfig {
    /// Names the user and the server, never a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthConfig")
            .field("username", &self.username)
            .field("server_address", &self.server_address)
            .finish_non_exhaustive()
    }
}

/// Use of one filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesystemUsage {
    /// Nanoseconds since the epoch.
    pub timestamp: i64,
    pub mountpoint: String,
    pub used_bytes: u64,
    pub inodes_used: u64,
    /// Of the whole filesystem, as statvfs tells; an addition to the protocol, for disk pressure.
    pub capacity_bytes: u64,
    pub available_bytes: u64,
}
