//! Keys that sign ServiceAccount tokens, and keys that verify them.
//!
//! The cluster's own is ECDSA P-256, used as ES256. Those that an operator brings may be RSA (RS256) or P-384 (ES384) as
//! well, in any of the forms that openssl and kubeadm write. Not P-521: ring does not know it.

use crate::{Error, Result, authority, der, identity::NO_X509};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    error::KeyRejected,
    rand::SystemRandom,
    rsa,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
        RsaKeyPair, UnparsedPublicKey,
    },
};
use x509_parser::{
    pem::Pem,
    prelude::{FromDer, X509Certificate},
    public_key,
    x509::SubjectPublicKeyInfo,
};

const NO_KEY: &str = "what the file holds as one is no key of RSA or ECDSA";

/// How tokens are signed (RFC 7518).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Algorithm {
    Es256,
    Es384,
    Rs256,
}

impl Algorithm {
    /// `alg` of tokens and of JSON Web Keys.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Rs256 => "RS256",
        }
    }
}

/// Verifies. Its id is upstream's `kid`: a hash of the key's SubjectPublicKeyInfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    algorithm: Algorithm,
    id: String,
    /// An uncompressed point, or an RSAPublicKey (PKCS #1).
    raw: Vec<u8>,
    /// Of RSA: modulus and exponent.
    numbers: (Vec<u8>, Vec<u8>),
}

impl PublicKey {
    /// Every key of a file: public keys, certificates, and the public halves of private keys. None is an error.
    pub fn all_from_pem(text: &[u8]) -> Result<Vec<Self>> {
        let mut keys = Vec::new();
        for block in Pem::iter_from_buffer(text) {
            let block = block.map_err(|e| Error::malformed("key", e))?;
            let bytes = block.contents.as_slice();
            match block.label.as_str() {
                "PUBLIC KEY" => keys.push(PublicKey::from_spki(bytes)?),
                "RSA PUBLIC KEY" => keys.push(PublicKey::rsa(bytes)?),
                "CERTIFICATE" => {
                    let (_, found) =
                        X509Certificate::from_der(bytes).map_err(|_| Error::malformed("certificate", NO_X509))?;
                    keys.push(PublicKey::of(found.public_key())?);
                }
                label if label.ends_with("PRIVATE KEY") => keys.push(Pair::from_der(label, bytes)?.public()?),
                // `openssl ecparam` writes the curve beside the key.
                _ => {}
            }
        }
        match keys.is_empty() {
            true => Err(Error::malformed("key", "data does not contain any valid RSA or ECDSA public keys")),
            false => Ok(keys),
        }
    }
    fn from_spki(bytes: &[u8]) -> Result<Self> {
        let (_, found) = SubjectPublicKeyInfo::from_der(bytes).map_err(|_| Error::malformed("public key", NO_KEY))?;
        PublicKey::of(&found)
    }
    fn of(found: &SubjectPublicKeyInfo<'_>) -> Result<Self> {
        match found.parsed().map_err(|e| Error::malformed("public key", e))? {
            public_key::PublicKey::RSA(_) => PublicKey::rsa(&found.subject_public_key.data),
            public_key::PublicKey::EC(point) => PublicKey::ec(point.data()),
            _ => Err(Error::malformed("public key", "neither RSA nor ECDSA")),
        }
    }
    fn ec(point: &[u8]) -> Result<Self> {
        let (algorithm, curve) = match point.len() {
            65 => (Algorithm::Es256, der::P256),
            97 => (Algorithm::Es384, der::P384),
            _ => return Err(Error::malformed("public key", "unknown curve, must be 256 or 384")),
        };
        let id = id(&der::spki(&[der::EC, curve].concat(), point));
        Ok(PublicKey { algorithm, id, raw: point.into(), numbers: Default::default() })
    }
    fn rsa(bytes: &[u8]) -> Result<Self> {
        let (_, found) =
            public_key::RSAPublicKey::from_der(bytes).map_err(|_| Error::malformed("public key", NO_KEY))?;
        let positive = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
        let numbers = (positive(found.modulus), positive(found.exponent));
        let id = id(&der::spki(der::RSA, bytes));
        Ok(PublicKey { algorithm: Algorithm::Rs256, id, raw: bytes.into(), numbers })
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
    /// `kid` of tokens.
    pub fn id(&self) -> &str {
        &self.id
    }
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match self.algorithm {
            Algorithm::Es256 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.raw).verify(message, signature),
            Algorithm::Es384 => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, &self.raw).verify(message, signature),
            Algorithm::Rs256 => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.raw).verify(message, signature)
            }
        };
        verified.is_ok()
    }
    /// As a JSON Web Key (RFC 7517).
    pub fn jwk(&self) -> String {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (id, algorithm) = (&self.id, self.algorithm.name());
        if self.algorithm == Algorithm::Rs256 {
            let (n, e) = (text(&self.numbers.0), text(&self.numbers.1));
            return format!(r#"{{"use":"sig","kty":"RSA","kid":"{id}","alg":"{algorithm}","n":"{n}","e":"{e}"}}"#);
        }
        let (x, y) = self.raw[1..].split_at(self.raw.len() / 2);
        let curve = if self.algorithm == Algorithm::Es256 { "P-256" } else { "P-384" };
        let (x, y) = (text(x), text(y));
        format!(r#"{{"use":"sig","kty":"EC","kid":"{id}","crv":"{curve}","alg":"{algorithm}","x":"{x}","y":"{y}"}}"#)
    }
}

fn id(spki: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, spki))
}

/// Both halves.
enum Pair {
    Ec(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
}

impl Pair {
    /// Of a PEM block.
    fn from_der(label: &str, bytes: &[u8]) -> Result<Self> {
        match label {
            "RSA PRIVATE KEY" => Ok(Pair::Rsa(Box::new(RsaKeyPair::from_der(bytes).map_err(rejected)?))),
            "EC PRIVATE KEY" => {
                let curve = if der::find(bytes, der::P384) { der::P384 } else { der::P256 };
                Pair::ec(&der::pkcs8(&[der::EC, curve].concat(), bytes))
            }
            _ => match Pair::ec(bytes) {
                Ok(pair) => Ok(pair),
                Err(why) => {
                    let rsa = der::find(bytes, der::RSA).then(|| RsaKeyPair::from_pkcs8(bytes));
                    rsa.transpose().map_err(rejected)?.map(|pair| Pair::Rsa(Box::new(pair))).ok_or(why)
                }
            },
        }
    }
    fn ec(pkcs8: &[u8]) -> Result<Self> {
        let random = SystemRandom::new();
        if let Ok(pair) = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8, &random) {
            return Ok(Pair::Ec(Box::new(pair)));
        }
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
        Ok(Pair::Ec(Box::new(pair.map_err(rejected)?)))
    }
    fn public(&self) -> Result<PublicKey> {
        match self {
            Pair::Ec(pair) => PublicKey::ec(pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                let numbers: rsa::PublicKeyComponents<Vec<u8>> = pair.public().into();
                PublicKey::rsa(&der::sequence(&[der::integer(&numbers.n), der::integer(&numbers.e)].concat()))
            }
        }
    }
}

/// The library's reason is a name like `InvalidEncoding`.
fn rejected(why: KeyRejected) -> Error {
    let mut words = String::new();
    for c in why.to_string().chars() {
        if c.is_ascii_uppercase() && words.chars().last().is_some_and(char::is_lowercase) {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
    }
    Error::malformed("private key", format!("it is rejected: {words}"))
}

/// Signs and verifies.
pub struct SigningKey {
    pem: String,
    public: PublicKey,
    pair: Pair,
    random: SystemRandom,
}

impl SigningKey {
    pub fn generate() -> Result<Self> {
        SigningKey::from_pem(authority::new_key()?.serialize_pem())
    }
    /// The first private key of a file.
    pub fn from_pem(pem: String) -> Result<Self> {
        let mut pair = None;
        for block in Pem::iter_from_buffer(pem.as_bytes()) {
            let block = block.map_err(|e| Error::malformed("signing key", e))?;
            if block.label.ends_with("PRIVATE KEY") {
                pair = Some(Pair::from_der(&block.label, &block.contents)?);
                break;
            }
        }
        let none = || Error::malformed("signing key", "data does not contain a valid RSA or ECDSA private key");
        let pair = pair.ok_or_else(none)?;
        Ok(SigningKey { public: pair.public()?, pem, pair, random: SystemRandom::new() })
    }
    pub fn pem(&self) -> &str {
        &self.pem
    }
    /// What verifies.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }
    /// `kid` of tokens.
    pub fn id(&self) -> &str {
        self.public.id()
    }
    /// Of ECDSA: r and s, of one length.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        const RANDOM: &str = "the kernel gives random bytes";
        match &self.pair {
            Pair::Ec(pair) => pair.sign(&self.random, message).expect(RANDOM).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature).expect(RANDOM);
                signature
            }
        }
    }
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public.verify(message, signature)
    }
    /// The public key as a JSON Web Key.
    pub fn jwk(&self) -> String {
        self.public.jwk()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys that openssl made: `genrsa -traditional`, `genpkey`, `ecparam -genkey`, and their public halves.
    const FILES: &[(&str, Algorithm)] = &[
        (include_str!("../testdata/rsa-pkcs1.pem"), Algorithm::Rs256),
        (include_str!("../testdata/rsa-pkcs8.pem"), Algorithm::Rs256),
        (include_str!("../testdata/p256-sec1.pem"), Algorithm::Es256),
        (include_str!("../testdata/p384-sec1.pem"), Algorithm::Es384),
        (include_str!("../testdata/p384-pkcs8.pem"), Algorithm::Es384),
    ];

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

    #[test]
    fn other_peoples_files_are_read() {
        for (pem, algorithm) in FILES {
            let key = SigningKey::from_pem((*pem).into()).unwrap();
            assert_eq!(key.public().algorithm(), *algorithm);
            assert!(key.verify(b"hello", &key.sign(b"hello")));
            assert!(!key.verify(b"hallo", &key.sign(b"hello")));
            assert_eq!(PublicKey::all_from_pem(pem.as_bytes()).unwrap(), [key.public().clone()]);
        }
        // The public half alone, as SubjectPublicKeyInfo: whose hash is the id.
        let public = include_str!("../testdata/rsa-public.pem");
        let private = SigningKey::from_pem(FILES[0].0.into()).unwrap();
        assert_eq!(PublicKey::all_from_pem(public.as_bytes()).unwrap(), [private.public().clone()]);
        assert_eq!(private.id(), include_str!("../testdata/rsa-public.id").trim());
        let all: String = FILES.iter().map(|(pem, _)| *pem).collect();
        assert_eq!(PublicKey::all_from_pem(all.as_bytes()).unwrap().len(), FILES.len());
        let curve = PublicKey::all_from_pem(include_str!("../testdata/p384-public.pem").as_bytes()).unwrap();
        assert_eq!(curve, [SigningKey::from_pem(FILES[3].0.into()).unwrap().public().clone()]);
        assert!(curve[0].jwk().contains(r#""crv":"P-384","alg":"ES384""#));
    }

    #[test]
    fn what_is_no_key_says_so() {
        let refused = |text: &str| SigningKey::from_pem(text.into()).err().map(|e| e.to_string());
        let none = "malformed signing key: data does not contain a valid RSA or ECDSA private key";
        assert_eq!(refused(""), Some(none.into()));
        assert_eq!(refused(include_str!("../testdata/rsa-public.pem")), Some(none.into()));
        let none = "malformed key: data does not contain any valid RSA or ECDSA public keys";
        assert_eq!(PublicKey::all_from_pem(b"x").unwrap_err().to_string(), none);
        assert!(refused(&FILES[2].0.replace("EC PRIVATE", "RSA PRIVATE")).is_some());
    }
}
