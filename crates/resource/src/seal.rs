//! Sealing of stored bytes (Secrets at rest).

use base::ids;
use bytes::Bytes;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Turns the bytes of kinds whose policy says `sealed` into what the store keeps, and back.
pub trait Sealer: Send + Sync {
    /// `key` is the store key: sealed bytes cannot be moved to another one.
    fn seal(&self, key: &str, plain: &[u8]) -> Bytes;
    fn open(&self, key: &str, stored: &Bytes) -> Result<Bytes, String>;
}

/// Keeps bytes as they are: for tests of the engine alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsealed;

impl Sealer for Unsealed {
    fn seal(&self, _: &str, plain: &[u8]) -> Bytes {
        Bytes::copy_from_slice(plain)
    }
    fn open(&self, _: &str, stored: &Bytes) -> Result<Bytes, String> {
        Ok(stored.clone())
    }
}

/// AES-256-GCM with one local key; the store key is the associated data. The prefix is upstream's for the `aesgcm`
/// provider, so that tools recognise sealed values.
pub struct AesGcm {
    key: LessSafeKey,
}

const HEADER: &[u8] = b"k8s:enc:aesgcm:v1:key1:";

impl AesGcm {
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the algorithm's length");
        AesGcm { key: LessSafeKey::new(key) }
    }
}

impl Sealer for AesGcm {
    fn seal(&self, key: &str, plain: &[u8]) -> Bytes {
        let nonce = ids::random::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(key.as_bytes()), &mut sealed)
            .expect("an object is far below the algorithm's limit");
        [HEADER, &nonce, &sealed].concat().into()
    }
    fn open(&self, key: &str, stored: &Bytes) -> Result<Bytes, String> {
        let Some(rest) = stored.strip_prefix(HEADER) else {
            return Err(format!("{key}: the stored value is not sealed, though its kind must be"));
        };
        if rest.len() < NONCE_LEN {
            return Err(format!("{key}: the sealed value is cut short"));
        }
        let (nonce, sealed) = rest.split_at(NONCE_LEN);
        let mut buffer = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|e| e.to_string())?;
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(key.as_bytes()), &mut buffer)
            .map_err(|_| format!("{key}: the sealed value does not open with this cluster's key"))?;
        Ok(Bytes::copy_from_slice(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_only_with_its_key_at_its_place() {
        let sealer = AesGcm::new(&[7; 32]);
        let sealed = sealer.seal("/registry/secrets/a/b", b"hush");
        assert!(!sealed.windows(4).any(|w| w == b"hush"));
        assert_eq!(sealer.open("/registry/secrets/a/b", &sealed).unwrap(), "hush");
        assert!(sealer.open("/registry/secrets/a/c", &sealed).is_err());
        assert!(AesGcm::new(&[8; 32]).open("/registry/secrets/a/b", &sealed).is_err());
        assert!(sealer.open("/registry/secrets/a/b", &Bytes::from_static(b"{}")).is_err());
    }
}
