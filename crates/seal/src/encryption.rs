//! What the engine is given: the configuration at work, and the cluster's own key behind it.

use crate::{
    Error,
    config::{self, Configuration},
    kms::{Kms, Surroundings, Worker},
    metrics::Metrics,
    providers::{Provider, Providers, plain},
    reload,
};
use base::clock::Clock;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use resource::{Opened, Sealer};
use schema::Kind;
use std::{path::PathBuf, sync::Arc};
use telemetry::Registry;
use tokio::sync::watch;

/// Where the configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// An EncryptionConfiguration; without one, kinds that are sealed by nature are sealed with the cluster's own key.
    pub file: Option<PathBuf>,
    /// The file is looked at again, about once a minute.
    pub reload: bool,
}

/// Seals and opens the objects of one cluster.
pub struct Encryption {
    pub(crate) settings: Settings,
    /// The cluster's own key: seals what the file does not name, and reads behind what it does.
    own: Provider,
    /// Swapped whole by a reload.
    pub(crate) providers: RwLock<Arc<Providers>>,
    /// The SHA-256 of the file that is in force.
    pub(crate) hash: Mutex<Option<[u8; 32]>>,
    pub(crate) changed: watch::Sender<u64>,
    pub(crate) metrics: Arc<Metrics>,
    /// Asks key services; started with the first of them.
    worker: Mutex<Option<Arc<Worker>>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Encryption {
    /// Reads the configuration, if there is one.
    pub async fn open(
        settings: Settings,
        own_key: &[u8; 32],
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Arc<Self>, Error> {
        let own = Provider::own(own_key).ok_or_else(|| Error::Providers("the cluster's key is unusable".into()))?;
        let encryption = Encryption {
            own,
            providers: RwLock::default(),
            hash: Mutex::default(),
            changed: watch::Sender::new(0),
            metrics: Arc::new(Metrics::new(registry)),
            worker: Mutex::default(),
            clock,
            settings,
        };
        if let Some(path) = &encryption.settings.file {
            let (configuration, hash) = reload::load(path, encryption.settings.reload).await?;
            let providers = encryption.make(&configuration).await?;
            encryption.put(providers, hash);
        }
        Ok(Arc::new(encryption))
    }

    /// Providers of a configuration. Key services are asked once here, so that the first write finds them; one that
    /// does not answer may come later.
    pub(crate) async fn make(&self, configuration: &Configuration) -> Result<Providers, Error> {
        let providers = Providers::new(configuration, &mut |config| self.service(config).map(Arc::new))?;
        for kms in &providers.services {
            if let Err(why) = kms.check().await {
                tracing::error!("{why}");
            }
            kms.follow();
        }
        Ok(providers)
    }

    fn service(&self, config: &config::Kms) -> Result<Kms, Error> {
        match config.api_version.as_str() {
            "v2" => {}
            "v1" => {
                let why = "KMSv1 is deprecated and will only receive security updates going forward. Use KMSv2 instead.  Set --feature-gates=KMSv1=true to use the deprecated KMSv1 feature.";
                return Err(Error::Providers(why.into()));
            }
            version => {
                let name = &config.name;
                let why = format!("could not configure KMS plugin {name:?}, unsupported KMS API version {version:?}");
                return Err(Error::Providers(why));
            }
        }
        let worker = {
            let mut held = self.worker.lock();
            match held.as_ref() {
                Some(worker) => worker.clone(),
                None => {
                    let started = Worker::start().map_err(|e| Error::Providers(format!("starting a thread: {e}")))?;
                    held.insert(Arc::new(started)).clone()
                }
            }
        };
        let around = Surroundings {
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            changed: self.changed.clone(),
            worker,
        };
        let name = &config.name;
        let failed = |why| Error::Providers(format!("could not configure KMSv2-Plugin's probe {name:?}, error: {why}"));
        Kms::new(config, around).map_err(failed)
    }

    /// Puts providers in force.
    pub(crate) fn put(&self, providers: Providers, hash: [u8; 32]) {
        *self.providers.write() = Arc::new(providers);
        *self.hash.lock() = Some(hash);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Whether there is a health check `kms-providers`: there are key services, or there may come some.
    pub fn has_check(&self) -> bool {
        self.settings.reload || !self.providers().services.is_empty()
    }
    /// Whether all key services are well.
    pub async fn check(&self) -> Result<(), String> {
        let providers = self.providers();
        providers.check().await
    }

    fn providers(&self) -> Arc<Providers> {
        self.providers.read().clone()
    }
}

impl Sealer for Encryption {
    fn seal(&self, kind: &Kind, key: &str, plain: &Bytes) -> Result<Bytes, String> {
        match self.providers().of(kind) {
            Some(chain) => chain.seal(kind, key, plain, &self.metrics),
            None if kind.policy.sealed => self.own.seal(key, plain),
            None => Ok(plain.clone()),
        }
    }

    fn open(&self, kind: &Kind, key: &str, stored: &Bytes) -> Result<Opened, String> {
        match self.providers().of(kind) {
            Some(chain) => match chain.open(kind, key, stored, &self.metrics) {
                Err(why) if kind.policy.sealed => {
                    let own = self.own.open(key, stored).map_err(|_| why)?;
                    Ok(Opened { stale: true, ..own })
                }
                opened => opened,
            },
            // An API server of upstream's without a configuration seals nothing.
            None if kind.policy.sealed && wire::protobuf::is_envelope(stored) => {
                Ok(Opened { plain: stored.clone(), stale: true })
            }
            None if kind.policy.sealed => self.own.open(key, stored),
            None => plain(stored),
        }
    }

    fn rotates(&self, kind: &Kind) -> bool {
        self.providers().of(kind).is_some()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
