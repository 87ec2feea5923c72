//! ConfigMaps, Secrets and tokens that the node's pods use.
//!
//! Each named object is followed by a watch of its own (the Node authorizer allows no more), shared by all pods that name
//! it, begun with the first and ended with the last. A change wakes the pods. Tokens are bound to their pod and kept
//! until 80 % of their life is over; one that cannot be renewed then serves until it expires.

use crate::pod::{inbox::Inbox, worker::Message};
use base::time::{SignedDuration, Timestamp};
use client::{Client, Gvr, kinds};
use control::{Cache, Caches, Selection};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use value::{Object, ObjectKey, value};
use volumes::{Data, Objects};

/// How long a first look at an object may take.
const SYNC: Duration = Duration::from_secs(10);

/// Follows objects for pods.
pub struct ObjectStore {
    client: Client,
    caches: Caches,
    followed: Mutex<HashMap<(Kind, ObjectKey), Followed>>,
    tokens: Mutex<HashMap<TokenKey, Token>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Kind {
    ConfigMap,
    Secret,
}

impl Kind {
    fn gvr(self) -> Gvr {
        match self {
            Kind::ConfigMap => kinds::CONFIG_MAPS,
            Kind::Secret => kinds::SECRETS,
        }
    }
    fn word(self) -> &'static str {
        match self {
            Kind::ConfigMap => "configmap",
            Kind::Secret => "secret",
        }
    }
}

struct Followed {
    cache: Cache,
    users: Arc<Mutex<HashMap<String, Inbox>>>,
}

/// Pod uid, audience, lifetime.
type TokenKey = (String, String, i64);

#[derive(Debug, Clone)]
struct Token {
    text: String,
    refresh_at: Timestamp,
    expires: Timestamp,
}

/// After a renewal that failed: the next one.
const RENEW_AGAIN: SignedDuration = SignedDuration::from_secs(10);

/// What is to be done about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It serves.
    Good,
    /// It serves, and another one is to be asked for.
    Due,
    /// It serves no more.
    Expired,
}

impl Token {
    fn standing(&self, now: Timestamp) -> Standing {
        match () {
            () if now >= self.expires => Standing::Expired,
            () if now >= self.refresh_at => Standing::Due,
            () => Standing::Good,
        }
    }
}

/// When a token is renewed: at 80 % of its life, but never older than a day. Source: upstream's `requiresRefresh`.
fn renewal(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.duration_since(issued).max(SignedDuration::ZERO);
    issued + (life * 4 / 5).min(SignedDuration::from_hours(24))
}

/// What was fetched for one use.
#[derive(Debug, Default)]
pub struct Fetched {
    config_maps: BTreeMap<String, Data>,
    secrets: BTreeMap<String, Data>,
    tokens: BTreeMap<(String, i64), String>,
    /// When the first of the tokens must be renewed.
    pub refresh_at: Option<Timestamp>,
    /// The type of each Secret, for image pull credentials.
    pub secret_types: BTreeMap<String, String>,
}

impl Objects for Fetched {
    fn config_map(&self, name: &str) -> Option<Data> {
        self.config_maps.get(name).cloned()
    }
    fn secret(&self, name: &str) -> Option<Data> {
        self.secrets.get(name).cloned()
    }
    fn token(&self, audience: &str, seconds: i64) -> Option<String> {
        self.tokens.get(&(audience.to_string(), seconds)).cloned()
    }
}

/// What is to be fetched.
#[derive(Debug, Default)]
pub struct Wanted {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub tokens: BTreeSet<(String, i64)>,
}

impl ObjectStore {
    pub fn new(client: Client) -> Self {
        let caches = Caches::new(client.clone());
        ObjectStore { client, caches, followed: Mutex::default(), tokens: Mutex::default() }
    }

    /// Fetches for a pod; from now on changes of these objects reach `inbox`. The error names what could not be had.
    pub async fn fetch(&self, pod: &Pod, wanted: &Wanted, inbox: &Inbox, now: Timestamp) -> Result<Fetched, String> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut fetched = Fetched::default();
        for name in &wanted.config_maps {
            if let Some(object) = self.get(Kind::ConfigMap, &namespace, name, &uid, inbox).await? {
                fetched.config_maps.insert(name.clone(), config_map_data(&object));
            }
        }
        for name in &wanted.secrets {
            if let Some(object) = self.get(Kind::Secret, &namespace, name, &uid, inbox).await? {
                let (data, kind) = secret_data(&object);
                fetched.secrets.insert(name.clone(), data);
                fetched.secret_types.insert(name.clone(), kind);
            }
        }
        for (audience, seconds) in &wanted.tokens {
            let token = self.token(pod, audience, *seconds, now).await?;
            let earliest = fetched.refresh_at.map_or(token.refresh_at, |at| at.min(token.refresh_at));
            fetched.refresh_at = Some(earliest);
            fetched.tokens.insert((audience.clone(), *seconds), token.text);
        }
        Ok(fetched)
    }

    /// Ends what was followed for a pod.
    pub fn release(&self, uid: &str) {
        self.tokens.lock().retain(|(owner, ..), _| owner != uid);
        let mut unused = Vec::new();
        self.followed.lock().retain(|(kind, key), followed| {
            let mut users = followed.users.lock();
            users.remove(uid);
            if users.is_empty() {
                unused.push((*kind, key.clone()));
            }
            !users.is_empty()
        });
        for (kind, key) in unused {
            self.caches.forget(&kind.gvr(), &Selection::one(key.namespace, &key.name));
        }
    }

    async fn get(
        &self,
        kind: Kind,
        namespace: &str,
        name: &str,
        uid: &str,
        inbox: &Inbox,
    ) -> Result<Option<Arc<Object>>, String> {
        let key = ObjectKey::new(namespace, name);
        let cache = {
            let mut followed = self.followed.lock();
            let entry = followed.entry((kind, key.clone())).or_insert_with(|| {
                let cache = self.caches.select(&kind.gvr(), Selection::one(namespace, name));
                let users: Arc<Mutex<HashMap<String, Inbox>>> = Arc::default();
                let told = users.clone();
                cache.on_event(move |_| {
                    told.lock().values().for_each(|inbox| {
                        let _ = inbox.send(Message::Changed);
                    })
                });
                Followed { cache, users }
            });
            entry.users.lock().insert(uid.to_string(), inbox.clone());
            entry.cache.clone()
        };
        if tokio::time::timeout(SYNC, cache.wait_synced()).await.is_err() {
            return Err(format!("failed to sync {} cache: timed out waiting for the condition", kind.word()));
        }
        Ok(cache.get(&key))
    }

    async fn token(&self, pod: &Pod, audience: &str, seconds: i64, now: Timestamp) -> Result<Token, String> {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let key = (uid.clone(), audience.to_string(), seconds);
        let kept = self.tokens.lock().get(&key).cloned();
        if let Some(token) = kept.as_ref().filter(|token| token.standing(now) == Standing::Good) {
            return Ok(token.clone());
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let account = pod.spec.as_ref().and_then(|s| s.service_account_name.as_deref()).unwrap_or("default");
        let mut request = value!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {
                "expirationSeconds": seconds,
                "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": uid},
            },
        });
        if !audience.is_empty() {
            request.set(&["spec", "audiences"], vec![audience.into()]);
        }
        let api = self.client.api(&kinds::SERVICE_ACCOUNTS).namespace(namespace);
        let answer = match (api.post_subresource(account, "token", &request).await, kept) {
            (Ok(answer), _) => answer.value(),
            (Err(error), Some(token)) if token.standing(now) == Standing::Due => {
                let pod = pod.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(pod, namespace, %error, "cannot renew a token; the old one serves on");
                let refresh_at = (now + RENEW_AGAIN).min(token.expires);
                let token = Token { refresh_at, ..token };
                self.tokens.lock().insert(key, token.clone());
                return Ok(token);
            }
            (Err(error), _) => return Err(format!("failed to fetch token: {error}")),
        };
        let expires = base::time::parse(answer.str_at(&["status", "expirationTimestamp"]));
        let expires = expires.unwrap_or(now + SignedDuration::from_secs(seconds));
        let text = answer.str_at(&["status", "token"]).into();
        let token = Token { text, refresh_at: renewal(now, expires), expires };
        self.tokens.lock().insert(key, token.clone());
        Ok(token)
    }
}

fn config_map_data(object: &Object) -> Data {
    let map: ConfigMap = object.decode().unwrap_or_default();
    let text = map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes()));
    text.chain(map.binary_data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0))).collect()
}

fn secret_data(object: &Object) -> (Data, String) {
    let secret: Secret = object.decode().unwrap_or_default();
    let data = secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)).collect();
    (data, secret.type_.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_in_time() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let (hour, day) = (3600, 86_400);
        use Standing::{Due, Expired, Good};
        for (life, after, want) in [
            (hour, 0, Good),
            (hour, 2879, Good),
            (hour, 2880, Due),
            (hour, 3599, Due),
            (hour, 3600, Expired),
            (600, 479, Good),
            (600, 480, Due),
            // However long it lives: not older than a day.
            (day, 69_119, Good),
            (day, 69_120, Due),
            (365 * day, day - 1, Good),
            (365 * day, day, Due),
            (365 * day, 365 * day, Expired),
            // Nothing is left of it, by this machine's clock.
            (0, 0, Expired),
            (-60, 0, Expired),
        ] {
            let token = Token { text: String::new(), refresh_at: renewal(at(0), at(life)), expires: at(life) };
            assert_eq!(token.standing(at(after)), want, "{life} s of life, {after} s old");
        }
    }
}
