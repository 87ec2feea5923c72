//! Key services: plugins that hold the keys themselves and are asked over a Unix socket (KMS v2, KEP-3299).
//!
//! The service seals a *seed*, not values: each value is sealed here, with a key of its own that is derived from the
//! seed. So a write asks nobody, a read asks once per seed that it meets, and what is stored says which seed it was:
//! [`envelope`]. Whether the service is well, and whether its key has changed, is asked about once a minute
//! ([`probe`]); when the key's id is another one, a new seed is made and what was sealed before is stale.
//!
//! Without a good answer the present seed goes on for three minutes, then writes fail; reads go on as long as their
//! seed is known.

mod client;
mod envelope;
mod probe;
mod proto;
mod worker;

pub use envelope::id_hash;
pub use worker::Worker;

use crate::{config, metrics::Metrics};
use base::{clock::Clock, time::Timestamp};
use bytes::Bytes;
use client::Client;
use envelope::{Dek, SEED};
use parking_lot::{Mutex, RwLock};
use probe::Last;
use prost::Message;
use proto::EncryptedObject;
use resource::Opened;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// How long a seed that is not used is kept. Source: upstream's `cacheTTL`.
const KEPT: i64 = 24 * 3600;
/// How long it is believed that a seed cannot be had: a list of a thousand objects asks once.
const REFUSED: i64 = 3;

/// What providers are made with.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    /// Told when what did not open may open.
    pub changed: watch::Sender<u64>,
    pub worker: Arc<Worker>,
}

/// Something about a seed and when it was learned, by [`envelope::cache_key`].
type Kept<T> = HashMap<[u8; 32], (Timestamp, T)>;

/// One key service.
pub struct Kms {
    name: String,
    /// What its values begin with.
    pub prefix: String,
    client: Client,
    around: Surroundings,
    /// What writes use; `None` until the service has once answered well.
    state: RwLock<Option<Arc<State>>>,
    /// Seeds that have been met, by what they were sealed to.
    seeds: Mutex<Kept<Arc<Dek>>>,
    refused: Mutex<Kept<String>>,
    last: tokio::sync::Mutex<Last>,
}

/// A seed that writes may use.
pub struct State {
    dek: Arc<Dek>,
    /// The object without its data.
    envelope: EncryptedObject,
    cache_key: [u8; 32],
    expires: Timestamp,
}

impl Kms {
    /// Asks nobody yet. The error says what is wrong with the endpoint.
    pub fn new(config: &config::Kms, around: Surroundings) -> Result<Self, String> {
        let client = Client::new(config, around.clone())?;
        Ok(Kms {
            name: config.name.clone(),
            prefix: format!("k8s:enc:kms:v2:{}:", config.name),
            client,
            around,
            state: RwLock::default(),
            seeds: Mutex::default(),
            refused: Mutex::default(),
            last: tokio::sync::Mutex::default(),
        })
    }

    fn now(&self) -> Timestamp {
        self.around.clock.now()
    }
    fn state(&self) -> Result<Arc<State>, String> {
        self.state.read().clone().ok_or_else(|| "got unexpected nil transformer".into())
    }

    /// Seals without asking anybody.
    pub fn seal(&self, place: &str, plain: &Bytes) -> Result<Bytes, String> {
        let state = self.state()?;
        let now = self.now();
        if now > state.expires {
            return Err(format!(
                "encryptedDEKSource with keyID hash {:?} expired at {} (current time is {})",
                envelope::id_hash(&state.envelope.key_id),
                base::time::seconds(state.expires),
                base::time::seconds(now)
            ));
        }
        self.keep(state.cache_key, state.dek.clone());
        let mut object = state.envelope.clone();
        object.encrypted_data = state.dek.seal(place, plain)?;
        self.around.metrics.key_used(&self.name, "to_storage", &object.key_id, now.as_second());
        let mut out = Vec::with_capacity(self.prefix.len() + object.encoded_len());
        out.extend(self.prefix.as_bytes());
        object.encode(&mut out).map_err(|e| e.to_string())?;
        Ok(out.into())
    }

    /// Opens; waits for the service where the seed is not known.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Opened, String> {
        let object = EncryptedObject::decode(sealed).map_err(|e| e.to_string())?;
        envelope::validate(&object)?;
        let state = self.state()?;
        let key = envelope::cache_key(&object);
        let known = self.seeds.lock().get(&key).map(|(_, dek)| dek.clone());
        let dek = match known {
            Some(dek) => dek,
            None => self.ask(key, &object)?,
        };
        self.around.metrics.key_used(&self.name, "from_storage", &object.key_id, self.now().as_second());
        let plain = dek.open(place, &object.encrypted_data)?;
        let stale = object.key_id != state.envelope.key_id || object.source_type != SEED;
        Ok(Opened { plain: plain.into(), stale })
    }

    /// The seed of an object, from the service.
    fn ask(&self, key: [u8; 32], object: &EncryptedObject) -> Result<Arc<Dek>, String> {
        let now = self.now();
        let refused = self.refused.lock().get(&key).cloned();
        if let Some((at, why)) = refused
            && now.as_second() < at.as_second() + REFUSED
        {
            return Err(why);
        }
        self.around.metrics.cache_missed();
        let opened = self.client.decrypt_blocking(object).and_then(|seed| Dek::new(object.source_type, &seed));
        match opened {
            Ok(dek) => {
                let dek = Arc::new(dek);
                self.keep(key, dek.clone());
                Ok(dek)
            }
            Err(why) => {
                self.refused.lock().insert(key, (now, why.clone()));
                Err(why)
            }
        }
    }

    fn keep(&self, key: [u8; 32], dek: Arc<Dek>) {
        let now = self.now();
        let mut seeds = self.seeds.lock();
        if seeds.insert(key, (now, dek)).is_none() {
            seeds.retain(|_, (at, _)| now.as_second() < at.as_second() + KEPT);
            self.around.metrics.seeds_kept(&self.name, seeds.len());
        }
    }
}
