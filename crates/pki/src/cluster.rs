//! All keys of one cluster, in one directory: made at the first start, read at every other.
//!
//! A half that is missing is an error, never a reason to make a new authority: that would lock every node out.

use crate::{Authority, Error, Result, SigningKey, file};
use std::{path::Path, sync::Arc};

/// The authorities and keys of a cluster.
#[derive(Clone)]
pub struct ClusterPki {
    /// Signs servers, clients and nodes.
    pub ca: Arc<Authority>,
    /// Signs the client certificate with which the API server speaks for users to aggregated servers.
    pub front_proxy: Arc<Authority>,
    /// Signs ServiceAccount tokens.
    pub service_accounts: Arc<SigningKey>,
    /// Seals Secrets at rest (AES-256-GCM).
    pub encryption_key: [u8; 32],
}

impl ClusterPki {
    /// A cluster that lives in memory only.
    pub fn ephemeral() -> Result<Self> {
        Ok(ClusterPki {
            ca: Arc::new(Authority::new("kubernetes")?),
            front_proxy: Arc::new(Authority::new("front-proxy-ca")?),
            service_accounts: Arc::new(SigningKey::generate()?),
            encryption_key: base::ids::random(),
        })
    }
    /// Reads `ca.{crt,key}`, `front-proxy-ca.{crt,key}`, `sa.key` and `encryption.key`, or makes what does not exist.
    pub fn load_or_create(dir: &Path) -> Result<Self> {
        Ok(ClusterPki {
            ca: Arc::new(authority(dir, "ca", "kubernetes")?),
            front_proxy: Arc::new(authority(dir, "front-proxy-ca", "front-proxy-ca")?),
            service_accounts: Arc::new(signing_key(&dir.join("sa.key"))?),
            encryption_key: encryption_key(&dir.join("encryption.key"))?,
        })
    }
    /// Reads them all. What is missing is an error: `data` holds what was signed or sealed with it.
    pub fn load(dir: &Path, data: &Path) -> Result<Self> {
        let files = ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "encryption.key"];
        match files.map(|name| dir.join(name)).into_iter().find(|path| !path.exists()) {
            Some(path) => Err(Error::Missing { path, needed_for: data.into() }),
            None => ClusterPki::load_or_create(dir),
        }
    }
}

fn authority(dir: &Path, name: &str, common_name: &str) -> Result<Authority> {
    // `save` writes the key first: a key alone is a creation that a crash cut short, and nothing was signed with it.
    let torn = !dir.join(format!("{name}.crt")).exists();
    match if torn { None } else { Authority::load(dir, name)? } {
        Some(authority) => Ok(authority),
        None => {
            let made = Authority::new(common_name)?;
            made.leaf().save(dir, name)?;
            Ok(made)
        }
    }
}

fn signing_key(path: &Path) -> Result<SigningKey> {
    match file::read(path)? {
        Some(pem) => SigningKey::from_pem(pem).map_err(Error::at(path)),
        None => {
            let key = SigningKey::generate()?;
            file::write(path, key.pem().as_bytes())?;
            Ok(key)
        }
    }
}

fn encryption_key(path: &Path) -> Result<[u8; 32]> {
    match file::read(path)? {
        Some(text) => parse_hex(text.trim())
            .ok_or_else(|| Error::malformed("encryption key", "want 64 hex digits"))
            .map_err(Error::at(path)),
        None => {
            let key = base::ids::random();
            file::write(path, base::ids::hex(&key).as_bytes())?;
            Ok(key)
        }
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_second_start_reads_what_the_first_made() {
        let dir = std::env::temp_dir().join(format!("ferry-pki-{}", base::ids::suffix(8)));
        let first = ClusterPki::load_or_create(&dir).unwrap();
        let second = ClusterPki::load_or_create(&dir).unwrap();
        assert_eq!(first.ca.cert_pem(), second.ca.cert_pem());
        assert_eq!(first.encryption_key, second.encryption_key);
        assert_eq!(first.service_accounts.id(), second.service_accounts.id());
        for entry in std::fs::read_dir(&dir).unwrap() {
            assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::remove_file(dir.join("ca.key")).unwrap();
        assert!(matches!(ClusterPki::load_or_create(&dir), Err(Error::Incomplete { .. })));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_key_that_data_depends_on_is_never_made_anew() {
        let dir = std::env::temp_dir().join(format!("ferry-pki-{}", base::ids::suffix(8)));
        ClusterPki::load_or_create(&dir).unwrap();
        assert!(ClusterPki::load(&dir, Path::new("/store")).is_ok());
        let lost = dir.join("encryption.key");
        std::fs::remove_file(&lost).unwrap();
        let missing = ClusterPki::load(&dir, Path::new("/store")).err().map(|e| e.to_string());
        assert_eq!(
            missing,
            Some(format!("{} is missing, and /store cannot be used without it: restore it", lost.display()))
        );
        std::fs::write(&lost, "00").unwrap();
        let malformed = ClusterPki::load(&dir, Path::new("/store")).err().map(|e| e.to_string());
        assert_eq!(malformed, Some(format!("{}: malformed encryption key: want 64 hex digits", lost.display())));
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_broken_file_is_named_and_said_in_words() {
        let dir = std::env::temp_dir().join(format!("ferry-pki-{}", base::ids::suffix(8)));
        ClusterPki::load_or_create(&dir).unwrap();
        let certificate = std::fs::read_to_string(dir.join("ca.crt")).unwrap();
        let cut = certificate.split("-----END").next().unwrap();
        let wrong = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n";
        for (name, text, want) in [
            ("ca.crt", "", "malformed certificate: the file holds none in PEM"),
            ("ca.crt", cut, "malformed certificate: it is cut off: the line -----END CERTIFICATE----- is missing"),
            (
                "ca.crt",
                "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
                "malformed certificate: what stands between the lines -----BEGIN and -----END is not base64",
            ),
            ("ca.crt", wrong, "malformed certificate: what the file holds as one is not X.509"),
            ("front-proxy-ca.key", "", "malformed private key: the file holds none in PEM"),
            (
                "front-proxy-ca.key",
                key,
                "malformed private key: not an unencrypted key in PKCS #8 (-----BEGIN PRIVATE KEY-----)",
            ),
            ("sa.key", "", "malformed signing key: data does not contain a valid RSA or ECDSA private key"),
            ("sa.key", key, "malformed private key: it is rejected: invalid encoding"),
        ] {
            let path = dir.join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, text).unwrap();
            let said = ClusterPki::load(&dir, Path::new("/store")).err().map(|e| e.to_string());
            assert_eq!(said, Some(format!("{}: {want}", path.display())));
            std::fs::write(&path, whole).unwrap();
        }
        assert!(ClusterPki::load(&dir, Path::new("/store")).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
