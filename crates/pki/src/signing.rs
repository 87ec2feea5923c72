//! The key that signs ServiceAccount tokens: ECDSA P-256, used as ES256.

use crate::{Error, Result, authority};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::KeyPair;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, UnparsedPublicKey},
};

/// Signs and verifies. Its id is a hash of the public key, as upstream's `kid`.
pub struct SigningKey {
    pem: String,
    id: String,
    pair: EcdsaKeyPair,
    /// Uncompressed point, 65 bytes.
    public: Vec<u8>,
    random: SystemRandom,
}

impl SigningKey {
    pub fn generate() -> Result<Self> {
        SigningKey::from_pem(authority::new_key()?.serialize_pem())
    }
    /// A PKCS #8 key.
    pub fn from_pem(pem: String) -> Result<Self> {
        let bad = |why: &dyn std::fmt::Display| Error::malformed("signing key", why);
        let key = KeyPair::from_pem(&pem).map_err(|e| bad(&e))?;
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der(), &random)
            .map_err(|e| bad(&e))?;
        let public = key.public_key_raw().to_vec();
        let id = URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, &public));
        Ok(SigningKey { pem, id, pair, public, random })
    }
    pub fn pem(&self) -> &str {
        &self.pem
    }
    /// `kid` of tokens.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// 64 bytes: r and s.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(&self.random, message).expect("the kernel gives random bytes").as_ref().to_vec()
    }
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.public).verify(message, signature).is_ok()
    }
    /// The public key as a JSON Web Key (RFC 7517).
    pub fn jwk(&self) -> String {
        let (x, y) = (URL_SAFE_NO_PAD.encode(&self.public[1..33]), URL_SAFE_NO_PAD.encode(&self.public[33..]));
        let id = &self.id;
        format!(r#"{{"use":"sig","kty":"EC","kid":"{id}","crv":"P-256","alg":"ES256","x":"{x}","y":"{y}"}}"#)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_verifies() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(b"hello");
        assert_eq!(signature.len(), 64);
        assert!(key.verify(b"hello", &signature));
        assert!(!key.verify(b"hallo", &signature));
        let again = SigningKey::from_pem(key.pem().into()).unwrap();
        assert_eq!(again.id(), key.id());
        assert!(again.verify(b"hello", &signature));
    }
}
