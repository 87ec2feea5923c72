//! ServiceAccount tokens: JSON Web Tokens (RFC 7519), ES256, bound to objects that must still exist.
//!
//! A token is verified once and its claims are kept under its hash; whether the account and the object it is bound to
//! still live is asked at every request, which is a look into the cache.

use base::{User, clock::Clock, time::Timestamp};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::RwLock;
use pki::{PublicKey, SigningKey};
use schema::View;
use std::{collections::HashMap, fmt, sync::Arc};
use value::{Value, value};

/// How many verified tokens are kept.
const KEPT: usize = 4096;
/// Clocks may differ that much. Source: go-jose's default leeway.
const LEEWAY: i64 = 60;

/// Why a token is not taken. Clients are told no more than "Unauthorized"; the text goes to TokenReview and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenError {
    /// Not a JWT of this issuer: another authenticator may know it.
    Unknown,
    /// Ours in form, and refused.
    Invalid(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenError::Unknown => f.write_str("invalid bearer token"),
            TokenError::Invalid(why) => f.write_str(why),
        }
    }
}
impl std::error::Error for TokenError {}

/// A name and the UID that it had when the token was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

/// What a token says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    pub id: String,
    pub audiences: Vec<String>,
    /// Seconds since 1970.
    pub issued: i64,
    pub not_before: i64,
    pub expires: i64,
    pub namespace: String,
    pub account: Reference,
    pub pod: Option<Reference>,
    pub secret: Option<Reference>,
    pub node: Option<Reference>,
    pub warn_after: Option<i64>,
}

/// Who issues tokens, and whose are taken.
#[derive(Clone)]
pub struct Issuer {
    /// Signs.
    pub key: Arc<SigningKey>,
    /// What verifies beside the public half of it: keys that signed before, or will.
    pub others: Vec<PublicKey>,
    /// `iss`: the first one issues, tokens of all of them are taken. Not empty.
    pub names: Vec<String>,
    /// The audiences of the API server itself; tokens that ask for none get these.
    pub audiences: Vec<String>,
    /// Where the key set is, if not at this server.
    pub jwks_uri: Option<String>,
    /// What a token may ask for at most, in seconds.
    pub max_expiration: Option<i64>,
    /// Tokens of pods live a year, for clients that do not read them again.
    pub extend: bool,
}

impl Issuer {
    /// One key, one name, which is the only audience.
    pub fn new(key: Arc<SigningKey>, name: String) -> Self {
        Issuer {
            key,
            others: Vec::new(),
            audiences: vec![name.clone()],
            names: vec![name],
            jwks_uri: None,
            max_expiration: None,
            extend: true,
        }
    }
}

/// Makes and verifies tokens.
pub struct Tokens {
    issuer: Issuer,
    /// Everything that verifies; each key once.
    keys: Vec<PublicKey>,
    clock: Arc<dyn Clock>,
    kept: RwLock<HashMap<[u8; 32], Arc<Claims>>>,
}

impl Tokens {
    /// `issuer` is `https://kubernetes.default.svc.<domain>`, and the only audience.
    pub fn new(key: Arc<SigningKey>, issuer: String, clock: Arc<dyn Clock>) -> Self {
        Tokens::of(Issuer::new(key, issuer), clock)
    }
    pub fn of(issuer: Issuer, clock: Arc<dyn Clock>) -> Self {
        let mut keys: Vec<PublicKey> = Vec::new();
        for key in issuer.others.iter().chain([issuer.key.public()]) {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        Tokens { issuer, keys, clock, kept: RwLock::default() }
    }
    /// `iss` of new tokens.
    pub fn issuer(&self) -> &str {
        self.issuer.names.first().map_or("", String::as_str)
    }
    pub fn issuers(&self) -> &[String] {
        &self.issuer.names
    }
    pub fn audiences(&self) -> &[String] {
        &self.issuer.audiences
    }
    pub(crate) fn limits(&self) -> (Option<i64>, bool) {
        (self.issuer.max_expiration, self.issuer.extend)
    }
    /// Where the key set is, if not at this server.
    pub fn jwks_uri(&self) -> Option<&str> {
        self.issuer.jwks_uri.as_deref()
    }
    /// How tokens may be signed, by name, sorted.
    pub fn algorithms(&self) -> Vec<&'static str> {
        let mut names: Vec<&str> = self.keys.iter().map(|key| key.algorithm().name()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
    /// The public key set (RFC 7517), as `/openid/v1/jwks` serves it.
    pub fn jwks(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(PublicKey::jwk).collect();
        format!(r#"{{"keys":[{}]}}"#, keys.join(","))
    }

    /// Signs claims.
    pub fn sign(&self, claims: &Claims) -> String {
        let key = &self.issuer.key;
        let header = value!({"alg": key.public().algorithm().name(), "kid": key.id()});
        let text = format!("{}.{}", encode(&header.to_json()), encode(&claims.to_value(self.issuer()).to_json()));
        let signature = key.sign(text.as_bytes());
        format!("{text}.{}", encode(&signature))
    }

    /// The claims of a token with a good signature and a life that covers now.
    pub fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let hash = ring::digest::digest(&ring::digest::SHA256, token.as_bytes());
        let hash: [u8; 32] = hash.as_ref().try_into().unwrap_or_default();
        let kept = self.kept.read().get(&hash).cloned();
        let claims = match kept {
            Some(claims) => claims,
            None => {
                let claims = Arc::new(self.open(token)?);
                let mut kept = self.kept.write();
                if kept.len() >= KEPT {
                    kept.clear();
                }
                kept.insert(hash, claims.clone());
                claims
            }
        };
        let now = self.clock.now().as_second();
        if now > claims.expires + LEEWAY {
            return Err(TokenError::Invalid("service account token has expired".into()));
        }
        if now < claims.not_before - LEEWAY {
            return Err(TokenError::Invalid("service account token is not valid yet".into()));
        }
        Ok(claims)
    }

    /// The user of a token that is good for one of `audiences` and whose account and bound object still live.
    pub fn user(&self, token: &str, audiences: &[String], view: &dyn View) -> Result<(User, Vec<String>), TokenError> {
        let claims = self.verify(token)?;
        let good: Vec<String> = claims.audiences.iter().filter(|a| audiences.contains(a)).cloned().collect();
        if good.is_empty() {
            let why =
                format!("token audiences {:?} is invalid for the target audiences {audiences:?}", claims.audiences);
            return Err(TokenError::Invalid(why));
        }
        claims.check_live(view, self.clock.now()).map_err(TokenError::Invalid)?;
        Ok((claims.user(), good))
    }

    fn open(&self, token: &str) -> Result<Claims, TokenError> {
        let mut parts = token.split('.');
        let (Some(header), Some(body), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Unknown);
        };
        let json = |text: &str| value::parse_lenient(&decode(text)?).ok();
        let claims = json(body).ok_or(TokenError::Unknown)?;
        if !self.issuer.names.iter().any(|name| name == claims.str_at(&["iss"])) {
            return Err(TokenError::Unknown);
        }
        let bad = |why: &str| TokenError::Invalid(why.into());
        let header = json(header).ok_or(TokenError::Unknown)?;
        // The algorithm is the key's to say, not the token's.
        let mut keys: Vec<&PublicKey> =
            self.keys.iter().filter(|key| key.algorithm().name() == header.str_at(&["alg"])).collect();
        if keys.is_empty() {
            return Err(bad("unexpected signature algorithm"));
        }
        // Tokens of before its key had an id, or had another, name none that is known: all keys are tried then.
        let named = header.str_at(&["kid"]);
        if keys.iter().any(|key| key.id() == named) {
            keys.retain(|key| key.id() == named);
        }
        let signed = &token[..token.len() - signature.len() - 1];
        let signature = decode(signature).ok_or_else(|| bad("invalid signature"))?;
        if !keys.iter().any(|key| key.verify(signed.as_bytes(), &signature)) {
            return Err(bad("invalid signature"));
        }
        Claims::of(&claims).ok_or_else(|| bad("the token's claims are not those of a service account"))
    }
}

impl Claims {
    fn to_value(&self, issuer: &str) -> Value {
        let mut own = value!({
            "namespace": self.namespace,
            "serviceaccount": {"name": self.account.name, "uid": self.account.uid},
        });
        for (key, reference) in [("pod", &self.pod), ("secret", &self.secret), ("node", &self.node)] {
            if let Some(Reference { name, uid }) = reference {
                own.set(&[key, "name"], name.as_str());
                if !uid.is_empty() {
                    own.set(&[key, "uid"], uid.as_str());
                }
            }
        }
        if let Some(at) = self.warn_after {
            own.set(&["warnafter"], at);
        }
        value!({
            "aud": self.audiences, "exp": self.expires, "iat": self.issued, "iss": issuer, "jti": self.id,
            "kubernetes.io": own, "nbf": self.not_before,
            "sub": format!("system:serviceaccount:{}:{}", self.namespace, self.account.name),
        })
    }
    fn of(claims: &Value) -> Option<Self> {
        let own = claims.at(&["kubernetes.io"]);
        let reference = |key: &str| {
            let at = own.at(&[key]);
            at.as_object()?;
            Some(Reference { name: at.str_at(&["name"]).into(), uid: at.str_at(&["uid"]).into() })
        };
        let account = reference("serviceaccount")?;
        let namespace = own.str_at(&["namespace"]).to_string();
        if claims.str_at(&["sub"]) != format!("system:serviceaccount:{namespace}:{}", account.name) {
            return None;
        }
        Some(Claims {
            id: claims.str_at(&["jti"]).into(),
            audiences: claims.items_at(&["aud"]).iter().filter_map(Value::as_str).map(String::from).collect(),
            issued: claims.at(&["iat"]).as_i64()?,
            not_before: claims.at(&["nbf"]).as_i64()?,
            expires: claims.at(&["exp"]).as_i64()?,
            namespace,
            account,
            pod: reference("pod"),
            secret: reference("secret"),
            node: reference("node"),
            warn_after: own.at(&["warnafter"]).as_i64(),
        })
    }
    /// The account exists with its UID, and so does what the token is bound to; a deletion counts after the leeway.
    fn check_live(&self, view: &dyn View, now: Timestamp) -> Result<(), String> {
        let invalidated = || "service account token has been invalidated".to_string();
        let alive = |plural: &str, namespace: &str, reference: &Reference| {
            let object = view.get("", plural, namespace, &reference.name)?;
            let same = object.meta.uid == reference.uid;
            (same && !(object.meta.deleting && deleted_before(&object.value(), now))).then_some(())
        };
        let account = &self.account;
        match view.get("", "serviceaccounts", &self.namespace, &account.name) {
            None => return Err(format!("serviceaccounts {:?} not found", account.name)),
            Some(object) if object.meta.uid != account.uid => {
                return Err(format!(
                    "service account UID ({}) does not match claim ({})",
                    object.meta.uid, account.uid
                ));
            }
            Some(object) if object.meta.deleting && deleted_before(&object.value(), now) => {
                return Err(format!("service account {}/{} has been deleted", self.namespace, account.name));
            }
            Some(_) => {}
        }
        if let Some(secret) = &self.secret {
            alive("secrets", &self.namespace, secret).ok_or_else(invalidated)?;
        }
        match (&self.pod, &self.node) {
            (Some(pod), _) => alive("pods", &self.namespace, pod).ok_or_else(invalidated)?,
            (None, Some(node)) => alive("nodes", "", node).ok_or_else(invalidated)?,
            (None, None) => {}
        }
        Ok(())
    }
    /// The user that the token speaks for.
    pub fn user(&self) -> User {
        let mut user = User::service_account(&self.namespace, &self.account.name, &self.account.uid);
        let mut extra = |key: &str, value: String| {
            if !value.is_empty() {
                user.extra.push((format!("authentication.kubernetes.io/{key}"), vec![value]));
            }
        };
        extra("credential-id", if self.id.is_empty() { String::new() } else { format!("JTI={}", self.id) });
        if let Some(node) = &self.node {
            extra("node-name", node.name.clone());
            extra("node-uid", node.uid.clone());
        }
        if let Some(pod) = &self.pod {
            extra("pod-name", pod.name.clone());
            extra("pod-uid", pod.uid.clone());
        }
        user
    }
}

fn deleted_before(object: &Value, now: Timestamp) -> bool {
    let at = base::time::parse(object.str_at(&["metadata", "deletionTimestamp"]));
    at.is_none_or(|at| at.as_second() < now.as_second() - LEEWAY)
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use base::Revision;
    use parking_lot::Mutex;
    use value::{Meta, Object, ObjectKey};

    pub(crate) struct Hand(pub Mutex<Timestamp>);
    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            *self.0.lock()
        }
    }

    /// Objects by plural.
    #[derive(Default)]
    pub(crate) struct Objects(pub Vec<(&'static str, Arc<Object>)>);
    impl Objects {
        pub(crate) fn with(mut self, plural: &'static str, v: Value) -> Self {
            let key = ObjectKey::new(v.namespace(), v.name());
            let object = Object::new(key, Revision(1), Meta::of(&v, Box::default()), v.to_json().into());
            self.0.push((plural, object));
            self
        }
    }
    impl View for Objects {
        fn get(&self, _: &str, plural: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
            let found = self.0.iter().find(|(p, o)| *p == plural && o.namespace() == namespace && o.name() == name);
            found.map(|(_, o)| o.clone())
        }
        fn list(&self, _: &str, plural: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
            let of = |(p, o): &&(&str, Arc<Object>)| *p == plural && namespace.is_none_or(|n| n == o.namespace());
            self.0.iter().filter(of).map(|(_, o)| o.clone()).collect()
        }
    }

    fn claims() -> Claims {
        Claims {
            id: "id-1".into(),
            audiences: vec!["https://issuer".into()],
            issued: 1000,
            not_before: 1000,
            expires: 4600,
            namespace: "dev".into(),
            account: Reference { name: "bot".into(), uid: "u-bot".into() },
            pod: Some(Reference { name: "web".into(), uid: "u-web".into() }),
            ..Claims::default()
        }
    }

    fn world() -> Objects {
        Objects::default()
            .with("serviceaccounts", value!({"metadata": {"name": "bot", "namespace": "dev", "uid": "u-bot"}}))
            .with("pods", value!({"metadata": {"name": "web", "namespace": "dev", "uid": "u-web"}}))
    }

    #[test]
    fn a_token_says_who_and_dies_with_what_it_is_bound_to() {
        let clock = Arc::new(Hand(Mutex::new(Timestamp::from_second(2000).unwrap())));
        let tokens = Tokens::new(Arc::new(SigningKey::generate().unwrap()), "https://issuer".into(), clock.clone());
        let token = tokens.sign(&claims());
        let ours = ["https://issuer".to_string()];
        let (user, audiences) = tokens.user(&token, &ours, &world()).unwrap();
        assert_eq!(user.name, "system:serviceaccount:dev:bot");
        assert_eq!(audiences, ours);
        assert!(user.in_group("system:serviceaccounts:dev") && user.in_group("system:authenticated"));
        assert!(user.extra.contains(&("authentication.kubernetes.io/pod-name".into(), vec!["web".into()])));

        let refused = |world: &Objects| tokens.user(&token, &ours, world).unwrap_err().to_string();
        let account = value!({"metadata": {"name": "bot", "namespace": "dev", "uid": "u-bot"}});
        assert_eq!(
            refused(&Objects::default().with("serviceaccounts", account.clone())),
            "service account token has been invalidated"
        );
        let other = value!({"metadata": {"name": "bot", "namespace": "dev", "uid": "u-new"}});
        assert!(refused(&Objects::default().with("serviceaccounts", other)).contains("does not match claim"));
        let gone = value!({"metadata": {"name": "web", "namespace": "dev", "uid": "u-web", "deletionTimestamp": "1970-01-01T00:20:00Z"}});
        assert_eq!(
            refused(&Objects::default().with("serviceaccounts", account).with("pods", gone)),
            "service account token has been invalidated"
        );
        assert!(tokens.user(&token, &["vault".to_string()], &world()).unwrap_err().to_string().contains("audiences"));

        *clock.0.lock() = Timestamp::from_second(4600 + LEEWAY + 1).unwrap();
        assert_eq!(refused(&world()), "service account token has expired");
    }

    #[test]
    fn keys_and_issuers_are_rotated() {
        let clock = || Arc::new(Hand(Mutex::new(Timestamp::from_second(2000).unwrap())));
        let rsa = SigningKey::from_pem(include_str!("../../pki/testdata/rsa-pkcs1.pem").into()).unwrap();
        let (old, new) = (Arc::new(SigningKey::generate().unwrap()), Arc::new(rsa));
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<String>>();
        let before = Tokens::new(old.clone(), "https://old".into(), clock());
        let both = Issuer {
            others: vec![old.public().clone(), new.public().clone()],
            names: names(&["https://new", "https://old"]),
            audiences: names(&["https://new", "https://old"]),
            ..Issuer::new(new.clone(), String::new())
        };
        let during = Tokens::of(both, clock());
        let after = Tokens::new(new.clone(), "https://new".into(), clock());
        let (first, second) = (before.sign(&claims()), during.sign(&claims()));
        assert!(during.verify(&first).is_ok() && during.verify(&second).is_ok() && after.verify(&second).is_ok());
        assert_eq!(after.verify(&first).unwrap_err(), TokenError::Unknown);
        assert_eq!(before.verify(&second).unwrap_err(), TokenError::Unknown);
        assert_eq!(during.algorithms(), ["ES256", "RS256"]);
        assert_eq!(during.jwks(), format!(r#"{{"keys":[{},{}]}}"#, old.jwk(), new.jwk()));
        // The key's algorithm counts, whatever the header says.
        let parts: Vec<&str> = second.split('.').collect();
        let header = encode(format!(r#"{{"alg":"ES256","kid":"{}"}}"#, new.id()).as_bytes());
        let confused = during.verify(&format!("{header}.{}.{}", parts[1], parts[2])).unwrap_err();
        assert_eq!(confused.to_string(), "invalid signature");
        // A token whose key had another id.
        let header = encode(br#"{"alg":"ES256","kid":"of before"}"#);
        let text = format!("{header}.{}", encode(&claims().to_value("https://old").to_json()));
        let unnamed = format!("{text}.{}", encode(&old.sign(text.as_bytes())));
        assert!(during.verify(&unnamed).is_ok());
    }

    #[test]
    fn forgeries_are_refused() {
        let clock = || Arc::new(Hand(Mutex::new(Timestamp::from_second(2000).unwrap())));
        let tokens = Tokens::new(Arc::new(SigningKey::generate().unwrap()), "https://issuer".into(), clock());
        let others = Tokens::new(Arc::new(SigningKey::generate().unwrap()), "https://issuer".into(), clock());
        let foreign = Tokens::new(Arc::new(SigningKey::generate().unwrap()), "https://else".into(), clock());
        let token = tokens.sign(&claims());
        let parts: Vec<&str> = token.split('.').collect();
        let mut richer = claims();
        richer.account.name = "admin".into();
        let body = encode(&richer.to_value("https://issuer").to_json());
        let none = encode(br#"{"alg":"none"}"#);
        for (text, want) in [
            (others.sign(&claims()), "invalid signature"),
            (format!("{}.{body}.{}", parts[0], parts[2]), "invalid signature"),
            (format!("{none}.{}.", parts[1]), "unexpected signature algorithm"),
            (foreign.sign(&claims()), "invalid bearer token"),
            ("a.b".into(), "invalid bearer token"),
            ("".into(), "invalid bearer token"),
            ("a.b.c".into(), "invalid bearer token"),
        ] {
            assert_eq!(tokens.verify(&text).unwrap_err().to_string(), want, "{text}");
        }
        assert!(tokens.verify(&token).is_ok());
    }
}
