//! Signed tokens (RFC 7515, compact form) and the keys that verify them (RFC 7517).
//!
//! The algorithm that a token names must be one of the issuer's family of keys: a token cannot choose `none`, nor make a
//! public key a secret. Algorithms are upstream's; P-521 has a crate of its own, because `ring` has no such curve.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use p521::ecdsa::signature::Verifier;
use ring::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey};
use value::Value;

/// What the issuers of a configuration may sign with.
pub const ALGORITHMS: [&str; 9] = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"];

/// A token in its parts. Nothing in it is to be believed before [`Token::is_signed_by`] says so.
#[derive(Debug)]
pub struct Token<'t> {
    pub algorithm: String,
    /// Which of the issuer's keys; empty where the token does not say.
    pub key: String,
    pub claims: Value,
    signed: &'t str,
    signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// `None` where the text is no signed token.
    pub fn parse(text: &'t str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        let header = json(header)?;
        // Extensions that must be understood are not.
        if !header.at(&["crit"]).is_null() {
            return None;
        }
        Some(Token {
            algorithm: header.str_at(&["alg"]).into(),
            key: header.str_at(&["kid"]).into(),
            claims: json(claims).filter(|claims| claims.as_object().is_some())?,
            signed,
            signature: decode(signature)?,
        })
    }
    pub fn is_signed_by(&self, key: &Key) -> bool {
        key.verify(&self.algorithm, self.signed.as_bytes(), &self.signature)
    }
}

/// The issuer that a token names, without believing it.
pub fn issuer_of(token: &str) -> Option<String> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return None;
    };
    json(claims)?.at(&["iss"]).as_str().map(String::from)
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: String,
    /// Where the key says that it is for one algorithm only.
    algorithm: String,
    material: Material,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// An uncompressed point.
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
}

impl Key {
    /// `None` for keys of other kinds, and for those that encrypt.
    pub fn of(jwk: &Value) -> Option<Self> {
        if !matches!(jwk.str_at(&["use"]), "" | "sig") {
            return None;
        }
        let part = |name: &str| decode(jwk.str_at(&[name])).filter(|bytes| !bytes.is_empty());
        let point = |size: usize| {
            let (x, y) = (part("x")?, part("y")?);
            (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
        };
        let material = match (jwk.str_at(&["kty"]), jwk.str_at(&["crv"])) {
            ("RSA", _) => Material::Rsa { n: part("n")?, e: part("e")? },
            ("EC", "P-256") => Material::P256(point(32)?),
            ("EC", "P-384") => Material::P384(point(48)?),
            ("EC", "P-521") => Material::P521(point(66)?),
            _ => return None,
        };
        Some(Key { id: jwk.str_at(&["kid"]).into(), algorithm: jwk.str_at(&["alg"]).into(), material })
    }
    /// Every usable key of a set; the error says that it is none.
    pub fn set(document: &[u8]) -> Result<Vec<Key>, String> {
        let set = value::parse_lenient(document).map_err(|e| format!("failed to decode keys: {e}"))?;
        let keys = set.at(&["keys"]).as_array().ok_or("failed to decode keys: the document has no keys")?;
        Ok(keys.iter().filter_map(Key::of).collect())
    }

    fn verify(&self, algorithm: &str, message: &[u8], sign: &[u8]) -> bool {
        if !self.algorithm.is_empty() && self.algorithm != algorithm {
            return false;
        }
        let rsa = |parameters: &'static RsaParameters| match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(parameters, message, sign).is_ok(),
            _ => false,
        };
        match (algorithm, &self.material) {
            ("RS256", _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            ("RS384", _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            ("RS512", _) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            ("PS256", _) => rsa(&signature::RSA_PSS_2048_8192_SHA256),
            ("PS384", _) => rsa(&signature::RSA_PSS_2048_8192_SHA384),
            ("PS512", _) => rsa(&signature::RSA_PSS_2048_8192_SHA512),
            ("ES256", Material::P256(point)) => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point).verify(message, sign).is_ok()
            }
            ("ES384", Material::P384(point)) => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point).verify(message, sign).is_ok()
            }
            ("ES512", Material::P521(point)) => {
                let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(point);
                let signature = p521::ecdsa::Signature::from_slice(sign);
                key.is_ok_and(|key| signature.is_ok_and(|signature| key.verify(message, &signature).is_ok()))
            }
            _ => false,
        }
    }
}

fn json(text: &str) -> Option<Value> {
    value::parse_lenient(&decode(text)?).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use value::value;

    /// A token of these claims.
    pub(crate) fn sign(key: &pki::SigningKey, header: &Value, claims: &Value) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let text = format!("{}.{}", encode(&header.to_json()), encode(&claims.to_json()));
        let signature = encode(&key.sign(text.as_bytes()));
        format!("{text}.{signature}")
    }
    pub(crate) fn public(key: &pki::SigningKey) -> Key {
        Key::of(&value::parse(key.jwk().as_bytes()).unwrap().value).unwrap()
    }

    #[test]
    fn a_token_is_signed_or_it_is_not() {
        let (own, other) = (pki::SigningKey::generate().unwrap(), pki::SigningKey::generate().unwrap());
        let claims = value!({"iss": "https://i", "sub": "alice"});
        let good = sign(&own, &value!({"alg": "ES256", "kid": "k"}), &claims);
        let token = Token::parse(&good).unwrap();
        assert_eq!((token.algorithm.as_str(), token.key.as_str(), &token.claims), ("ES256", "k", &claims));
        assert!(token.is_signed_by(&public(&own)));
        assert!(!token.is_signed_by(&public(&other)));
        assert_eq!(issuer_of(&good).as_deref(), Some("https://i"));

        for algorithm in ["none", "HS256", "RS256", "ES384", ""] {
            let text = sign(&own, &value!({"alg": algorithm}), &claims);
            assert!(!Token::parse(&text).unwrap().is_signed_by(&public(&own)), "{algorithm}");
        }
        let (body, signature) = good.rsplit_once('.').unwrap();
        let forged =
            format!("{}.{signature}", body.replace(body.split_once('.').unwrap().1, &URL_SAFE_NO_PAD.encode("{}")));
        assert!(!Token::parse(&forged).unwrap().is_signed_by(&public(&own)));
        let critical = sign(&own, &value!({"alg": "ES256", "crit": ["x"]}), &claims);
        for text in ["", "a.b", "a.b.c.d", "..", &critical, &good.replace('.', "!")] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    /// RFC 7515, appendix A.2.
    #[test]
    fn rsa_signatures() {
        let key = value!({"kty": "RSA", "e": "AQAB", "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"});
        let text = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let token = Token::parse(text).unwrap();
        assert_eq!(token.claims.str_at(&["iss"]), "joe");
        assert!(token.is_signed_by(&Key::of(&key).unwrap()));
        let mut narrow = key.clone();
        narrow.set(&["alg"], "PS256");
        assert!(!token.is_signed_by(&Key::of(&narrow).unwrap()), "the key is for another algorithm");
        let mut cipher = key;
        cipher.set(&["use"], "enc");
        assert_eq!(Key::of(&cipher), None);
    }

    /// RFC 7515, appendix A.4.
    #[test]
    fn a_signature_of_p521() {
        let key = value!({"kty": "EC", "crv": "P-521",
            "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"});
        let sign = "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn";
        let (key, mut sign) = (Key::of(&key).unwrap(), decode(sign).unwrap());
        let text = b"eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA";
        assert!(key.verify("ES512", text, &sign));
        assert!(!key.verify("ES384", text, &sign) && !key.verify("ES512", b"other", &sign));
        sign[100] ^= 1;
        assert!(!key.verify("ES512", text, &sign) && !key.verify("ES512", text, b"short"));
    }

    #[test]
    fn sets_of_keys() {
        let own = pki::SigningKey::generate().unwrap();
        let set = format!(
            r#"{{"keys":[{}, {{"kty":"oct","k":"AA"}}, {{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}}]}}"#,
            own.jwk()
        );
        assert_eq!(Key::set(set.as_bytes()).unwrap(), [public(&own)]);
        assert!(Key::set(b"{}").is_err() && Key::set(b"<html>").is_err());
    }
}
