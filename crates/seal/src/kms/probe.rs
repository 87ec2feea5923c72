//! Is the service well, and has its key changed? Asked at the start, about once a minute, and by health checks.

use super::{
    Kms, State,
    envelope::{self, Dek, SEED},
    proto::{EncryptedObject, StatusResponse},
};
use base::time::{SignedDuration, Timestamp};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// How often the service is asked while it is well, and while it is not.
const WELL: Duration = Duration::from_secs(60);
const ILL: Duration = Duration::from_secs(10);
/// For so many seconds health checks believe the last answer, a good and a bad one.
const GOOD: i64 = 20;
const BAD: i64 = 3;
/// For so long writes go on without a good answer.
const COASTING: SignedDuration = SignedDuration::from_secs(180);

/// The last answer.
#[derive(Default)]
pub struct Last {
    at: Option<Timestamp>,
    failed: Option<String>,
    /// The version of the first one, which must not change.
    version: String,
}

impl Kms {
    /// Whether the service is well, as of now or of a moment ago. A new seed is made here where its key has changed.
    pub async fn check(&self) -> Result<(), String> {
        let mut last = self.last.lock().await;
        let now = self.now();
        let life = if last.failed.is_none() { GOOD } else { BAD };
        if last.at.is_some_and(|at| now.as_second() < at.as_second() + life) {
            return last.failed.clone().map_or(Ok(()), Err);
        }
        let first = last.at.is_none();
        let found = self.ask_status(&mut last).await;
        let recovered = first || last.failed.is_some();
        last.at = Some(self.now());
        last.failed = found.as_ref().err().cloned();
        drop(last);
        if found.is_ok() {
            let refused = std::mem::take(&mut *self.refused.lock());
            if recovered || !refused.is_empty() {
                self.around.changed.send_modify(|n| *n += 1);
            }
        }
        found
    }

    /// Goes on asking until the provider is gone.
    pub fn follow(self: &Arc<Self>) {
        self.around.worker.spawn(follow(Arc::downgrade(self)));
    }

    async fn ask_status(&self, last: &mut Last) -> Result<(), String> {
        let status = self.client.status().await.map_err(|why| {
            let name = &self.name;
            format!("failed to perform status section of the healthz check for KMS Provider {name}, error: {why}")
        })?;
        let mut failed = Vec::new();
        if status.healthz != "ok" {
            failed.push(format!("got unexpected healthz status: {}", status.healthz));
        }
        failed.extend(check_version(&status, last).err());
        match envelope::check_id(&status.key_id) {
            Err((code, why)) => {
                self.around.metrics.id_refused(&self.name, code);
                failed.push(format!("got invalid KMSv2 KeyID hash {:?}: {why}", envelope::id_hash(&status.key_id)));
            }
            Ok(()) => {
                self.around.metrics.id_seen(&self.name, &status.key_id, self.now().as_second());
                failed.extend(self.take_key(&status.key_id).await.err());
            }
        }
        let why = match failed.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        Err(format!("kmsv2 Provider {} is not healthy, error: {why}", self.name))
    }

    /// Goes on with the present seed if the service's key is still the one that sealed it; makes a new seed otherwise.
    /// Where that fails the present one stays, until it expires.
    async fn take_key(&self, key_id: &str) -> Result<(), String> {
        // Taken before the call: it is an upper bound.
        let expires = self.now().checked_add(COASTING).map_err(|e| e.to_string())?;
        let present = self.state.read().clone();
        if let Some(present) = present.as_ref().filter(|state| state.envelope.key_id == key_id) {
            let (dek, envelope) = (present.dek.clone(), present.envelope.clone());
            *self.state.write() = Some(Arc::new(State { dek, envelope, cache_key: present.cache_key, expires }));
            return Ok(());
        }
        let uid = base::ids::uid();
        let made = self.new_seed(&uid).await;
        self.around.metrics.seed_made(made.is_ok());
        let why = match made {
            Ok((dek, envelope)) if envelope.key_id == key_id => {
                let cache_key = envelope::cache_key(&envelope);
                *self.state.write() = Some(Arc::new(State { dek: Arc::new(dek), envelope, cache_key, expires }));
                tracing::info!(provider = self.name, key = envelope::id_hash(key_id), "a new seed for a new key");
                return Ok(());
            }
            Ok((_, envelope)) => format!(
                "errGen=<nil>, statusKeyIDHash={:?}, encryptKeyIDHash={:?}",
                envelope::id_hash(key_id),
                envelope::id_hash(&envelope.key_id)
            ),
            Err(why) => {
                format!("errGen={why}, statusKeyIDHash={:?}, encryptKeyIDHash=\"\"", envelope::id_hash(key_id))
            }
        };
        let (state, until) = match &present {
            Some(state) => (envelope::id_hash(&state.envelope.key_id), base::time::seconds(state.expires)),
            None => (String::new(), "0001-01-01T00:00:00Z".into()),
        };
        let valid = if present.is_some() { "<nil>" } else { "got unexpected nil transformer" };
        Err(format!(
            "failed to rotate DEK uid={uid:?}, useSeed=true, errState={valid}, {why}, stateKeyIDHash={state:?}, expirationTimestamp={until}"
        ))
    }

    /// A seed, sealed by the service.
    async fn new_seed(&self, uid: &str) -> Result<(Dek, EncryptedObject), String> {
        let (dek, seed) = Dek::generate()?;
        let answer = self.client.encrypt(uid, &seed).await;
        let answer = answer.map_err(|why| format!("failed to encrypt DEK, error: {why}"))?;
        let mut object = EncryptedObject {
            // Anything, to be valid.
            encrypted_data: vec![0],
            key_id: answer.key_id,
            encrypted_dek_source: answer.ciphertext,
            annotations: answer.annotations,
            source_type: SEED,
        };
        envelope::validate(&object)?;
        object.encrypted_data.clear();
        Ok((dek, object))
    }
}

fn check_version(status: &StatusResponse, last: &mut Last) -> Result<(), String> {
    let version = &status.version;
    if !matches!(version.as_str(), "v2" | "v2beta1") {
        return Err(format!("expected KMSv2 API version v2, got {version}"));
    }
    if last.version.is_empty() {
        last.version.clone_from(version);
    }
    if last.version != *version {
        let first = &last.version;
        return Err(format!(
            "KMSv2 API version should not change after the initial status response version {first}, got {version}"
        ));
    }
    Ok(())
}

async fn follow(kms: Weak<Kms>) {
    let mut pause = match kms.upgrade() {
        Some(kms) if kms.last.lock().await.failed.is_none() => WELL,
        _ => ILL,
    };
    loop {
        tokio::time::sleep(pause).await;
        let Some(kms) = kms.upgrade() else { return };
        pause = match kms.check().await {
            Ok(()) => WELL,
            Err(why) => {
                tracing::error!("{why}");
                ILL
            }
        };
    }
}
