//! One key and its algorithm: AES-GCM, AES-CBC, or XSalsa20 with Poly1305, laid out as upstream stores them.
//!
//! AES-GCM is ring's, but for keys of 192 bits, which ring does not know.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use base::ids;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit, block_padding::NoPadding, block_padding::Pkcs7};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

type Aes192Gcm = aes_gcm::AesGcm<aes::Aes192, aes_gcm::aead::consts::U12>;
type Secretbox = crypto_secretbox::XSalsa20Poly1305;

const BLOCK: usize = 16;
const SECRETBOX_NONCE: usize = 24;
const SECRETBOX_TAG: usize = 16;
const TOO_SHORT: &str = "the stored data was shorter than the required size";
const NOT_AUTHENTIC: &str = "cipher: message authentication failed";

/// A key that seals and opens.
pub enum Cipher {
    /// A random nonce of 12 bytes, the sealed bytes, a tag of 16. The store key is authenticated.
    Gcm(Box<LessSafeKey>),
    /// The same with a key of 192 bits.
    Gcm192(Box<Aes192Gcm>),
    /// A random block, then the padded bytes (PKCS #7). Nothing is authenticated.
    Cbc(Vec<u8>),
    /// A random nonce of 24 bytes, a tag of 16, the sealed bytes. The store key is not authenticated.
    Secretbox(Box<Secretbox>),
}

impl Cipher {
    /// AES-GCM; `None` for a key that is not 16, 24 or 32 bytes long.
    pub fn gcm(key: &[u8]) -> Option<Self> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Some(Cipher::Gcm192(Box::new(Aes192Gcm::new_from_slice(key).ok()?))),
        };
        Some(Cipher::Gcm(Box::new(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?))))
    }
    /// AES-CBC; the same lengths.
    pub fn cbc(key: &[u8]) -> Option<Self> {
        matches!(key.len(), 16 | 24 | 32).then(|| Cipher::Cbc(key.into()))
    }
    /// XSalsa20-Poly1305; `None` for a key that is not 32 bytes long.
    pub fn secretbox(key: &[u8]) -> Option<Self> {
        Some(Cipher::Secretbox(Box::new(Secretbox::new_from_slice(key).ok()?)))
    }

    /// Seals; `place` is the store key. Fails for more bytes than the algorithm takes, gigabytes.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, String> {
        let failed = || "the value is too large to be sealed".to_string();
        match self {
            Cipher::Gcm(key) => {
                let nonce = ids::random::<NONCE_LEN>();
                let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + BLOCK);
                sealed.extend(nonce);
                sealed.extend(plain);
                let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(place.as_bytes()));
                let tag = key.seal_in_place_separate_tag(nonce, aad, &mut sealed[NONCE_LEN..]).map_err(|_| failed())?;
                sealed.extend(tag.as_ref());
                Ok(sealed)
            }
            Cipher::Gcm192(key) => {
                let nonce = ids::random::<NONCE_LEN>();
                let payload = Payload { msg: plain, aad: place.as_bytes() };
                let sealed = key.encrypt(&nonce.into(), payload).map_err(|_| failed())?;
                Ok([&nonce[..], &sealed].concat())
            }
            Cipher::Cbc(key) => {
                let start = ids::random::<BLOCK>();
                Ok([&start[..], &cbc_seal(key, &start, plain).ok_or_else(failed)?].concat())
            }
            Cipher::Secretbox(key) => {
                let nonce = ids::random::<SECRETBOX_NONCE>();
                let sealed = key.encrypt(&nonce.into(), plain).map_err(|_| failed())?;
                Ok([&nonce[..], &sealed].concat())
            }
        }
    }

    /// Opens what was sealed at `place`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, String> {
        let needed = match self {
            Cipher::Gcm(_) | Cipher::Gcm192(_) => NONCE_LEN,
            Cipher::Cbc(_) => BLOCK,
            Cipher::Secretbox(_) => SECRETBOX_NONCE + SECRETBOX_TAG,
        };
        if sealed.len() < needed {
            return Err(TOO_SHORT.into());
        }
        match self {
            Cipher::Gcm(key) => {
                let (nonce, sealed) = sealed.split_at(NONCE_LEN);
                let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| TOO_SHORT)?;
                let mut plain = sealed.to_vec();
                let opened = key.open_in_place(nonce, Aad::from(place.as_bytes()), &mut plain);
                let length = opened.map_err(|_| NOT_AUTHENTIC)?.len();
                plain.truncate(length);
                Ok(plain)
            }
            Cipher::Gcm192(key) => {
                let (nonce, msg) = sealed.split_at(NONCE_LEN);
                let opened = key.decrypt(nonce.into(), Payload { msg, aad: place.as_bytes() });
                opened.map_err(|_| NOT_AUTHENTIC.into())
            }
            Cipher::Cbc(key) => {
                let (start, sealed) = sealed.split_at(BLOCK);
                if sealed.len() % BLOCK != 0 {
                    return Err("the stored data is not a multiple of the block size".into());
                }
                unpad(cbc_open(key, start, sealed).ok_or(TOO_SHORT)?)
            }
            Cipher::Secretbox(key) => {
                let (nonce, sealed) = sealed.split_at(SECRETBOX_NONCE);
                // Upstream's words, which tell of another error.
                key.decrypt(nonce.into(), sealed).map_err(|_| "output array was not large enough for encryption".into())
            }
        }
    }
}

fn cbc_seal(key: &[u8], start: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
    fn with<C>(key: &[u8], start: &[u8], plain: &[u8]) -> Option<Vec<u8>>
    where
        cbc::Encryptor<C>: KeyIvInit + BlockEncryptMut,
        C: BlockEncryptMut + aes::cipher::BlockCipher,
    {
        Some(cbc::Encryptor::<C>::new_from_slices(key, start).ok()?.encrypt_padded_vec_mut::<Pkcs7>(plain))
    }
    match key.len() {
        16 => with::<aes::Aes128>(key, start, plain),
        24 => with::<aes::Aes192>(key, start, plain),
        _ => with::<aes::Aes256>(key, start, plain),
    }
}

fn cbc_open(key: &[u8], start: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    fn with<C>(key: &[u8], start: &[u8], sealed: &[u8]) -> Option<Vec<u8>>
    where
        cbc::Decryptor<C>: KeyIvInit + BlockDecryptMut,
        C: BlockDecryptMut + aes::cipher::BlockCipher,
    {
        cbc::Decryptor::<C>::new_from_slices(key, start).ok()?.decrypt_padded_vec_mut::<NoPadding>(sealed).ok()
    }
    match key.len() {
        16 => with::<aes::Aes128>(key, start, sealed),
        24 => with::<aes::Aes192>(key, start, sealed),
        _ => with::<aes::Aes256>(key, start, sealed),
    }
}

/// Takes PKCS #7 padding away, of any length as upstream does.
fn unpad(mut plain: Vec<u8>) -> Result<Vec<u8>, String> {
    let size = plain.last().copied().unwrap_or(0) as usize;
    if size == 0 || size > plain.len() {
        return Err("invalid PKCS7 data (empty or not padded)".into());
    }
    let length = plain.len() - size;
    if plain[length..].iter().any(|byte| *byte as usize != size) {
        return Err("invalid padding on input".into());
    }
    plain.truncate(length);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(&'static str, Cipher)> {
        let mut all = Vec::new();
        for length in [16, 24, 32] {
            let key: Vec<u8> = (0..length).collect();
            all.push(("gcm", Cipher::gcm(&key).unwrap()));
            all.push(("cbc", Cipher::cbc(&key).unwrap()));
        }
        all.push(("secretbox", Cipher::secretbox(&[9; 32]).unwrap()));
        all
    }

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn what_is_sealed_opens() {
        for (name, cipher) in all() {
            for length in [0, 1, 15, 16, 17, 4096] {
                let plain = vec![0xab; length];
                let sealed = cipher.seal("/registry/secrets/a/b", &plain).unwrap();
                assert_eq!(cipher.open("/registry/secrets/a/b", &sealed).unwrap(), plain, "{name} {length}");
                assert_ne!(
                    cipher.seal("/registry/secrets/a/b", &plain).unwrap(),
                    sealed,
                    "{name}: no nonce comes twice"
                );
                assert!(cipher.open("", &sealed[..8]).is_err(), "{name}");
            }
            let mut sealed = cipher.seal("/a", b"hush").unwrap();
            if name == "gcm" {
                assert_eq!(cipher.open("/b", &sealed).unwrap_err(), NOT_AUTHENTIC, "it cannot be moved");
            }
            if name != "cbc" {
                *sealed.last_mut().unwrap() ^= 1;
                assert!(cipher.open("/a", &sealed).is_err(), "{name}: a bit flipped");
            }
        }
        for wrong in [0, 15, 31, 33] {
            assert!(Cipher::gcm(&vec![0; wrong]).is_none() && Cipher::cbc(&vec![0; wrong]).is_none());
        }
        assert!(Cipher::secretbox(&[0; 16]).is_none());
    }

    /// Values that others have sealed: NIST's SP 800-38A for CBC, the GCM specification's test cases, and NaCl's own.
    #[test]
    fn what_others_sealed_opens() {
        let plain = bytes("6bc1bee22e409f96e93d7e117393172a");
        let start = "000102030405060708090a0b0c0d0e0f";
        for (key, sealed) in [
            ("2b7e151628aed2a6abf7158809cf4f3c", "7649abac8119b246cee98e9b12e9197d"),
            ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", "4f021db243bc633d7178183a9fa071e8"),
            ("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", "f58c4c04d6e5f1ba779eabfb5f7bfbd6"),
        ] {
            assert_eq!(cbc_open(&bytes(key), &bytes(start), &bytes(sealed)).unwrap(), plain);
        }
        // Test case 8: 192 bits of zero, a nonce of zero, a block of zero.
        let sealed = bytes("00000000000000000000000098e7247c07f0fe411c267e4384b0f6002ff58d80033927ab8ef4d4587514f0fb");
        assert_eq!(Cipher::gcm(&[0; 24]).unwrap().open("", &sealed).unwrap(), [0; 16]);
        let mut sealed = vec![2; 24];
        sealed.extend(bytes(
            "8442bc313f4626f1359e3b50122b6ce6fe66ddfe7d39d14e637eb4fd5b45beadab55198df6ab5368439792a23c87db70acb6156dc5ef957ac04f6276cf6093b84be77ff0849cc33e34b7254d5a8f65ad",
        ));
        assert_eq!(Cipher::secretbox(&[1; 32]).unwrap().open("", &sealed).unwrap(), [3; 64]);
    }
}
