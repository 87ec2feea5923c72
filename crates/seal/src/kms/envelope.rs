//! What is stored: rules for it, and the keys that follow from a seed.

use super::proto::EncryptedObject;
use crate::cipher::Cipher;
use ring::{
    digest::{Context, SHA256, digest},
    hkdf::{HKDF_SHA256, KeyType, Prk},
};
use std::collections::BTreeMap;

/// The plaintext of the DEK source is the key itself.
const KEY: i32 = 0;
/// It is a seed: HKDF-SHA256's expand step with a random info of 32 bytes makes the key of each value.
pub const SEED: i32 = 1;

/// Of a seed, of the info, and of a derived key.
const SIZE: usize = 32;
const ANNOTATIONS: usize = 32 * 1024;
const KEY_ID: usize = 1024;
const SOURCE: usize = 1024;

/// What values are sealed with.
pub enum Dek {
    Key(Cipher),
    Seed(Box<Prk>),
}

struct DerivedKey;
impl KeyType for DerivedKey {
    fn len(&self) -> usize {
        SIZE
    }
}

impl Dek {
    /// From the plaintext of a DEK source.
    pub fn new(source_type: i32, plain: &[u8]) -> Result<Self, String> {
        match source_type {
            KEY => {
                let cipher = Cipher::gcm(plain);
                cipher.map(Dek::Key).ok_or_else(|| format!("crypto/aes: invalid key size {}", plain.len()))
            }
            _ if plain.len() < SIZE => Err(format!("invalid seed length {} used for key generation", plain.len())),
            _ => Ok(Dek::Seed(Box::new(Prk::new_less_safe(HKDF_SHA256, plain)))),
        }
    }
    /// A new seed, and what it is made of.
    pub fn generate() -> Result<(Self, [u8; SIZE]), String> {
        let seed = base::ids::random::<SIZE>();
        Ok((Dek::new(SEED, &seed)?, seed))
    }
    /// The info, then what AES-GCM makes with the key that follows from it.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Dek::Key(cipher) => cipher.seal(place, plain),
            Dek::Seed(seed) => {
                let info = base::ids::random::<SIZE>();
                Ok([&info[..], &derived(seed, &info)?.seal(place, plain)?].concat())
            }
        }
    }
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        match self {
            Dek::Key(cipher) => cipher.open(place, sealed),
            Dek::Seed(_) if sealed.len() < SIZE => Err("the stored data was shorter than the required size".into()),
            Dek::Seed(seed) => {
                let (info, sealed) = sealed.split_at(SIZE);
                derived(seed, info)?.open(place, sealed)
            }
        }
    }
}

fn derived(seed: &Prk, info: &[u8]) -> Result<Cipher, String> {
    let mut key = [0; SIZE];
    let parts = [info];
    let expanded = seed.expand(&parts, DerivedKey).and_then(|okm| okm.fill(&mut key));
    expanded.ok().and_then(|()| Cipher::gcm(&key)).ok_or_else(|| "failed to KDF expand seed with info".into())
}

/// What an object must hold to be written or opened.
pub fn validate(object: &EncryptedObject) -> Result<(), String> {
    if !matches!(object.source_type, KEY | SEED) {
        return Err(format!("unknown encryptedDEKSourceType: {}", object.source_type));
    }
    if object.encrypted_data.is_empty() {
        return Err("encrypted data is empty".into());
    }
    let of = |what: &'static str| move |why: String| format!("failed to validate {what}: {why}");
    match object.encrypted_dek_source.len() {
        0 => Err("encrypted DEK source is empty".to_string()),
        n if n > SOURCE => Err(format!("encrypted DEK source is {n} bytes, which exceeds the max size of {SOURCE}")),
        _ => Ok(()),
    }
    .map_err(of("encrypted DEK source"))?;
    check_id(&object.key_id).map_err(|(_, why)| why).map_err(of("key id"))?;
    check_annotations(&object.annotations).map_err(of("annotations"))
}

/// A key's id; the error has a word for metrics beside it.
pub fn check_id(id: &str) -> Result<(), (&'static str, String)> {
    match id.len() {
        0 => Err(("empty", "keyID is empty".into())),
        n if n > KEY_ID => Err(("too_long", format!("keyID is {n} bytes, which exceeds the max size of {KEY_ID}"))),
        _ => Ok(()),
    }
}

fn check_annotations(annotations: &BTreeMap<String, Vec<u8>>) -> Result<(), String> {
    let mut failed: Vec<String> = annotations.keys().filter_map(|name| check_domain(name).err()).collect();
    let size: usize = annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > ANNOTATIONS {
        failed.push(format!("total size of annotations is {size}, which exceeds the max size of {ANNOTATIONS}"));
    }
    match failed.as_slice() {
        [] => Ok(()),
        [one] => Err(one.clone()),
        all => Err(format!("[{}]", all.join(", "))),
    }
}

/// A fully qualified domain name.
fn check_domain(name: &str) -> Result<(), String> {
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        return Err("annotations: Required value".into());
    }
    let wrong = |why: String| format!("annotations: Invalid value: {name:?}: {why}");
    base::names::subdomain(name).map_err(wrong)?;
    if !name.contains('.') {
        return Err(wrong("should be a domain with at least two segments separated by dots".into()));
    }
    name.split('.').try_for_each(base::names::label).map_err(wrong)
}

/// Under what a seed is kept: everything that the service was given to make it out.
pub fn cache_key(object: &EncryptedObject) -> [u8; 32] {
    let mut hash = Context::new(&SHA256);
    let mut add = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(&object.source_type.to_be_bytes());
    add(&object.encrypted_dek_source);
    add(object.key_id.as_bytes());
    for (name, value) in &object.annotations {
        add(name.as_bytes());
        add(value);
    }
    hash.finish().as_ref().try_into().unwrap_or_default()
}

/// An id as logs and metrics show it.
pub fn id_hash(id: &str) -> String {
    match id {
        "" => String::new(),
        id => format!("sha256:{}", base::ids::hex(digest(&SHA256, id.as_bytes()).as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    fn object() -> EncryptedObject {
        EncryptedObject {
            encrypted_data: vec![1],
            key_id: "key-1".into(),
            encrypted_dek_source: vec![2],
            annotations: [("local-kek.kms.kubernetes.io".to_string(), vec![3])].into(),
            source_type: SEED,
        }
    }

    fn refused(change: impl Fn(&mut EncryptedObject)) -> String {
        let mut object = object();
        change(&mut object);
        validate(&object).unwrap_err()
    }

    #[test]
    fn objects_are_checked_before_they_are_believed() {
        assert_eq!(validate(&object()), Ok(()));
        assert_eq!(refused(|o| o.source_type = 2), "unknown encryptedDEKSourceType: 2");
        assert_eq!(refused(|o| o.encrypted_data.clear()), "encrypted data is empty");
        let source = "failed to validate encrypted DEK source: encrypted DEK source is";
        assert_eq!(refused(|o| o.encrypted_dek_source.clear()), format!("{source} empty"));
        let long = refused(|o| o.encrypted_dek_source = vec![0; 1025]);
        assert_eq!(long, format!("{source} 1025 bytes, which exceeds the max size of 1024"));
        assert_eq!(refused(|o| o.key_id.clear()), "failed to validate key id: keyID is empty");
        let long = refused(|o| o.key_id = "x".repeat(1025));
        assert_eq!(long, "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024");
        let named = |name: &str, size: usize| {
            let annotations = BTreeMap::from([(name.to_string(), vec![0; size])]);
            refused(|o| o.annotations = annotations.clone())
        };
        let wrong = "failed to validate annotations: annotations:";
        assert_eq!(named("", 0), format!("{wrong} Required value"));
        assert_eq!(
            named("panda", 0),
            format!(
                "{wrong} Invalid value: \"panda\": should be a domain with at least two segments separated by dots"
            )
        );
        assert!(
            named("Foo.Panda", 0).starts_with(&format!("{wrong} Invalid value: \"Foo.Panda\": a lowercase RFC 1123"))
        );
        assert_eq!(
            named("a.b", 32 * 1024),
            "failed to validate annotations: total size of annotations is 32771, which exceeds the max size of 32768"
        );
    }

    /// RFC 5869's expand step (test case 1: its PRK, its info) makes what ring is asked for here, and values of other
    /// servers open: the layout is info, nonce, data, tag.
    #[test]
    fn seeds_make_keys() {
        let seed = Dek::new(SEED, &[7; 32]).unwrap();
        let sealed = seed.seal("/registry/secrets/a/b", b"hush").unwrap();
        assert_eq!(sealed.len(), 32 + 12 + 4 + 16);
        let Dek::Seed(prk) = &seed else { panic!() };
        let key = derived(prk, &sealed[..32]).unwrap();
        assert_eq!(key.open("/registry/secrets/a/b", &sealed[32..]).unwrap(), b"hush");
        assert_eq!(seed.open("/registry/secrets/a/b", &sealed).unwrap(), b"hush");
        assert!(seed.open("/registry/secrets/a/c", &sealed).is_err());
        assert!(Dek::new(SEED, &[8; 32]).unwrap().open("/registry/secrets/a/b", &sealed).is_err());
        assert!(Dek::new(SEED, &[7; 31]).is_err() && Dek::new(KEY, &[7; 31]).is_err());
        assert!(seed.open("/a", &sealed[..10]).is_err());
        let key = Dek::new(KEY, &[7; 32]).unwrap();
        assert_eq!(key.open("/a", &key.seal("/a", b"x").unwrap()).unwrap(), b"x");
        assert!(Dek::generate().unwrap().1 != Dek::generate().unwrap().1);
    }

    #[test]
    fn a_stored_object_is_upstreams() {
        let bytes = object().encode_to_vec();
        let mut want = vec![0x0a, 1, 1, 0x12, 5];
        want.extend(b"key-1");
        want.extend([0x1a, 1, 2, 0x22, 32, 0x0a, 27]);
        want.extend(b"local-kek.kms.kubernetes.io");
        want.extend([0x12, 1, 3, 0x28, 1]);
        assert_eq!(bytes, want);
    }

    #[test]
    fn a_seed_is_kept_under_all_that_made_it() {
        let mut other = object();
        other.encrypted_data = vec![9];
        assert_eq!(cache_key(&other), cache_key(&object()));
        for change in [
            (|o| o.key_id = "key-2".into()) as fn(&mut EncryptedObject),
            |o| o.source_type = 0,
            |o| o.encrypted_dek_source = vec![3],
            |o| o.annotations.clear(),
        ] {
            let mut other = object();
            change(&mut other);
            assert_ne!(cache_key(&other), cache_key(&object()));
        }
    }
}
