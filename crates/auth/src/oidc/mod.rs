//! Users of other issuers: JSON Web Tokens by an `AuthenticationConfiguration`.
//!
//! [`config`] is what the operator wrote, [`jws`] signatures, [`claims`] the way from claims to a user; all of that is
//! pure. Here an issuer's keys are fetched: its document first (OpenID Connect Discovery 1.0), then its key set, when the
//! first token of it comes, and again when a token names a key that is not known. A fetch that did not help is not
//! repeated for a while, so nobody makes this server ask an issuer again and again by showing rubbish.
//! Groups may be kept elsewhere (`_claim_names`): they are fetched for each token that says so, and what comes is a token
//! itself, of whatever issuer it names. Upstream believes any that answers at that address, because the first issuer has
//! named the place.

mod claims;
pub mod config;
pub mod jws;

pub use config::{Anonymous, Configuration};

use base::{User, clock::Clock};
use claims::Elsewhere;
use config::Issuer;
use http::{HeaderMap, HeaderValue, Method, header};
use jws::{Key, Token};
use net::{
    Outgoing, Trust,
    outgoing::{Call, Target},
};
use parking_lot::Mutex;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use value::Value;

/// For one document. Source: upstream's client has 30 seconds; a request waits for it here.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most of a document, in bytes.
const LIMIT: usize = 1 << 20;
/// A fetch that did not help is not repeated sooner. Source: upstream tries discovery again after ten seconds.
const PAUSE: Duration = Duration::from_secs(10);
/// Clocks may differ that much where a token begins. Source: go-oidc.
const LEEWAY: i64 = 60;

/// All issuers of a configuration.
pub struct Oidc {
    issuers: Vec<Known>,
    outgoing: Arc<Outgoing>,
    clock: Arc<dyn Clock>,
}

struct Known {
    issuer: Arc<Issuer>,
    own: Arc<Signer>,
    /// Issuers of claims that are kept elsewhere.
    others: Mutex<Vec<Arc<Signer>>>,
}

/// So many of them are remembered, of each issuer.
const OTHERS: usize = 16;

/// Who signs tokens, and for whom.
#[derive(Clone)]
struct Source {
    url: String,
    /// Where its document is, where not below its URL.
    discovery_url: Option<String>,
    trust: Trust,
    audiences: Vec<String>,
}

impl Source {
    fn of(issuer: &Issuer) -> Self {
        Source {
            url: issuer.url.clone(),
            discovery_url: issuer.discovery_url.clone(),
            trust: issuer.trust.clone(),
            audiences: issuer.audiences.clone(),
        }
    }
}

struct Signer {
    source: Source,
    keys: Mutex<Arc<Vec<Key>>>,
    /// Held while keys are fetched: who needs them too waits for the same fetch. When one last did not help.
    fetching: tokio::sync::Mutex<Fetches>,
}

#[derive(Default)]
struct Fetches {
    count: u64,
    in_vain: Option<Instant>,
    /// From the issuer's document.
    keys_url: Option<String>,
    error: Option<String>,
}

impl Signer {
    fn new(source: Source) -> Arc<Self> {
        Arc::new(Signer { source, keys: Mutex::default(), fetching: tokio::sync::Mutex::default() })
    }
}

impl Known {
    /// The signer of claims that are kept elsewhere; a new one is asked for its keys when they are needed.
    fn signer(&self, url: &str) -> Arc<Signer> {
        if url == self.own.source.url {
            return self.own.clone();
        }
        let mut others = self.others.lock();
        if let Some(found) = others.iter().find(|other| other.source.url == url) {
            return found.clone();
        }
        let new = Signer::new(Source { url: url.into(), discovery_url: None, ..self.own.source.clone() });
        if others.len() == OTHERS {
            others.remove(0);
        }
        others.push(new.clone());
        new
    }
}

impl Oidc {
    pub fn new(configuration: &Configuration, outgoing: Arc<Outgoing>, clock: Arc<dyn Clock>) -> Self {
        let known = |issuer: &Arc<Issuer>| Known {
            issuer: issuer.clone(),
            own: Signer::new(Source::of(issuer)),
            others: Mutex::default(),
        };
        Oidc { issuers: configuration.issuers.iter().map(known).collect(), outgoing, clock }
    }

    /// The user of a token; `None` where none of the issuers made it, and an error where one of them should have.
    pub async fn user(&self, text: &str) -> Option<Result<User, String>> {
        if self.issuers.is_empty() {
            return None;
        }
        let issuer = jws::issuer_of(text)?;
        let known = self.issuers.iter().find(|known| known.issuer.url == issuer)?;
        Some(self.verified(known, text).await)
    }

    async fn verified(&self, known: &Known, text: &str) -> Result<User, String> {
        let failed = |why| format!("oidc: verify token: {why}");
        let mut claims = self.claims(&known.own, text).await.map_err(failed)?;
        if let Some(wanted) = claims::elsewhere(&known.issuer, &claims)? {
            let failed = |why| format!("oidc: could not expand distributed claims: {why}");
            let found = self.resolve(known, &wanted).await.map_err(failed)?;
            claims.set(&[&wanted.claim], found);
        }
        claims::user_of(&known.issuer, &claims)
    }

    /// The claims of a token that this signer has made, for its audience, and for now.
    async fn claims(&self, signer: &Signer, text: &str) -> Result<Value, String> {
        let token = Token::parse(text).ok_or("oidc: malformed jwt")?;
        check(&signer.source, &token, self.clock.now().as_second())?;
        self.signed(signer, &token).await?;
        Ok(token.claims)
    }

    /// A claim that somebody else has.
    async fn resolve(&self, known: &Known, wanted: &Elsewhere) -> Result<Value, String> {
        let Elsewhere { claim, url, token } = wanted;
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(header::AUTHORIZATION, value.map_err(|_| format!("access token for {url}: no header"))?);
        }
        let answer = self.get(&known.own.source, url.clone(), headers).await;
        let answer = answer.map_err(|why| format!("while getting distributed claim {claim:?}: {why}"))?;
        let text = std::str::from_utf8(&answer).unwrap_or("").trim();
        let issuer = jws::issuer_of(text).ok_or_else(|| {
            format!("getting untrusted issuer from endpoint {url} failed for claim {claim:?}: oidc: malformed jwt")
        })?;
        let claims = self.claims(&known.signer(&issuer), text).await;
        let claims = claims.map_err(|why| format!("verify distributed claim token: {why}"))?;
        claims
            .get(claim)
            .cloned()
            .ok_or_else(|| format!("jwt returned by distributed claim endpoint {url:?} did not contain claim: {claim}"))
    }

    /// Whether one of the issuer's keys has signed it, as they are or as they have become.
    async fn signed(&self, known: &Signer, token: &Token<'_>) -> Result<(), String> {
        let keys = known.keys.lock().clone();
        if signed_by(token, &keys) {
            return Ok(());
        }
        let mut fetches = known.fetching.lock().await;
        let newer = known.keys.lock().clone();
        if !Arc::ptr_eq(&keys, &newer) && signed_by(token, &newer) {
            return Ok(());
        }
        let failed = |why: &str| Err(format!("failed to verify signature: {why}"));
        let unknown = "failed to verify id token signature";
        if fetches.in_vain.is_some_and(|at| at.elapsed() < PAUSE) {
            return failed(fetches.error.as_deref().unwrap_or(unknown));
        }
        fetches.count += 1;
        match self.fetch(&known.source, &mut fetches.keys_url).await {
            Ok(fetched) => {
                let found = signed_by(token, &fetched);
                *known.keys.lock() = Arc::new(fetched);
                fetches.error = None;
                fetches.in_vain = (!found).then(Instant::now);
                if found { Ok(()) } else { failed(unknown) }
            }
            Err(why) => {
                tracing::warn!(issuer = %known.source.url, "oidc: {why}");
                fetches.in_vain = Some(Instant::now());
                let said = failed(&why);
                fetches.error = Some(why);
                said
            }
        }
    }

    async fn fetch(&self, issuer: &Source, keys_url: &mut Option<String>) -> Result<Vec<Key>, String> {
        let url = match keys_url {
            Some(url) => url.clone(),
            None => {
                let below = || format!("{}/.well-known/openid-configuration", issuer.url.trim_end_matches('/'));
                let document =
                    self.get(issuer, issuer.discovery_url.clone().unwrap_or_else(below), HeaderMap::new()).await?;
                let document = value::parse_lenient(&document)
                    .map_err(|e| format!("failed to decode provider discovery object: {e}"))?;
                keys_url.insert(keys_of(issuer, &document)?).clone()
            }
        };
        Key::set(&self.get(issuer, url, HeaderMap::new()).await?)
    }

    async fn get(&self, issuer: &Source, url: String, headers: HeaderMap) -> Result<bytes::Bytes, String> {
        let call = Call {
            method: Method::GET,
            target: Target::Url(url.clone()),
            query: None,
            headers,
            body: bytes::Bytes::new(),
            trust: issuer.trust.clone(),
            identity: None,
            timeout: TIMEOUT,
            limit: LIMIT,
        };
        let answer = self.outgoing.call(call).await.map_err(|e| e.to_string())?;
        if !answer.status.is_success() {
            return Err(format!("{url}: {}", answer.status));
        }
        Ok(answer.body)
    }
}

fn signed_by(token: &Token<'_>, keys: &[Key]) -> bool {
    let named = |key: &&Key| token.key.is_empty() || token.key == key.id;
    keys.iter().filter(named).any(|key| token.is_signed_by(key))
}

/// Where the keys are, by a document that must be the issuer's own.
fn keys_of(issuer: &Source, document: &Value) -> Result<String, String> {
    let said = document.str_at(&["issuer"]);
    if said != issuer.url {
        return Err(format!(
            "oidc: issuer did not match the issuer returned by provider, expected {:?} got {said:?}",
            issuer.url
        ));
    }
    match document.str_at(&["jwks_uri"]) {
        url if url.starts_with("https://") => Ok(url.into()),
        "" => Err("provider did not return JWKS URL".into()),
        url => Err(format!("jwks_uri {url:?}: want https://")),
    }
}

/// What a token says of itself: algorithm, audience, and when it lives.
fn check(issuer: &Source, token: &Token<'_>, now: i64) -> Result<(), String> {
    let failed = |why: String| Err(why);
    if !jws::ALGORITHMS.contains(&token.algorithm.as_str()) {
        return failed(format!(
            "oidc: id token signed with unsupported algorithm, expected {:?} got {:?}",
            jws::ALGORITHMS,
            token.algorithm
        ));
    }
    let audience = token.claims.at(&["aud"]);
    let audiences: Vec<&str> = match audience {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        one => one.as_str().into_iter().collect(),
    };
    if !audiences.iter().any(|given| issuer.audiences.iter().any(|own| own == given)) {
        return failed(format!("oidc: expected audience in {:?} got {audiences:?}", issuer.audiences));
    }
    let time = |claim: &str| {
        let at = token.claims.at(&[claim]);
        at.as_i64().or_else(|| at.as_f64().map(|at| at as i64))
    };
    match time("exp") {
        Some(end) if end >= now => {}
        end => return failed(format!("oidc: token is expired (Token Expiry: {})", shown(end))),
    }
    match time("nbf") {
        Some(begin) if now + LEEWAY < begin => failed(format!(
            "oidc: current time {} before the nbf (not before) time: {}",
            shown(Some(now)),
            shown(Some(begin))
        )),
        _ => Ok(()),
    }
}

fn shown(second: Option<i64>) -> String {
    let at = second.and_then(|second| base::time::Timestamp::from_second(second).ok());
    at.map_or_else(|| "none".into(), base::time::seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    fn issuer(audiences: Value) -> Source {
        let file = value!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{
            "issuer": {"url": "https://i", "audiences": audiences, "audienceMatchPolicy": "MatchAny"},
            "claimMappings": {"username": {"claim": "sub", "prefix": ""}}}]});
        Source::of(&Configuration::of(&file, &[]).unwrap().issuers[0])
    }

    #[test]
    fn what_a_token_says_of_itself() {
        let key = pki::SigningKey::generate().unwrap();
        let issuer = issuer(value!(["a", "b"]));
        let said = |header: Value, claims: Value| {
            let text = jws::tests::sign(&key, &header, &claims);
            check(&issuer, &Token::parse(&text).unwrap(), 1000).err().unwrap_or_default()
        };
        let es = || value!({"alg": "ES256"});
        assert_eq!(said(es(), value!({"aud": "a", "exp": 1000})), "");
        assert_eq!(said(es(), value!({"aud": ["x", "b"], "exp": 1000.5, "nbf": 1060})), "");
        let expired = "oidc: token is expired (Token Expiry: 1970-01-01T00:16:39Z)";
        assert_eq!(said(es(), value!({"aud": "a", "exp": 999})), expired);
        assert!(said(es(), value!({"aud": "a"})).contains("token is expired"), "a token without an end has none");
        assert!(said(es(), value!({"aud": "a", "exp": 2000, "nbf": 1061})).contains("before the nbf"));
        assert!(
            said(es(), value!({"aud": "c", "exp": 2000})).contains("expected audience in [\"a\", \"b\"] got [\"c\"]")
        );
        assert!(said(es(), value!({"exp": 2000})).contains("expected audience"));
        assert!(said(value!({"alg": "none"}), value!({"aud": "a", "exp": 2000})).contains("unsupported algorithm"));
    }

    #[test]
    fn a_document_is_the_issuers_own() {
        let issuer = issuer(value!(["a"]));
        let said = |document: Value| keys_of(&issuer, &document);
        assert_eq!(said(value!({"issuer": "https://i", "jwks_uri": "https://k"})).unwrap(), "https://k");
        assert!(
            said(value!({"issuer": "https://evil", "jwks_uri": "https://k"})).unwrap_err().contains("did not match")
        );
        assert_eq!(said(value!({"issuer": "https://i"})).unwrap_err(), "provider did not return JWKS URL");
        assert!(said(value!({"issuer": "https://i", "jwks_uri": "http://k"})).is_err());
    }
}
