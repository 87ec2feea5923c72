//! The file, read again while it is in force. What is broken is told and changes nothing.

use crate::{
    Encryption, Error,
    config::{self, Configuration},
    validate::validate,
};
use std::{
    path::Path,
    sync::{Arc, Weak},
    time::Duration,
};

/// How often the file is looked at. Source: upstream's `EncryptionConfigFileChangePollDuration`.
const EVERY: Duration = Duration::from_secs(60);

/// Reads and validates a file; its content's hash beside it.
pub async fn load(path: &Path, reload: bool) -> Result<(Configuration, [u8; 32]), Error> {
    let text = read(path).await?;
    let configuration =
        config::parse(&String::from_utf8_lossy(&text)).map_err(|why| Error::Malformed(path.into(), why))?;
    let errors = validate(&configuration, reload);
    match errors.is_empty() {
        true => Ok((configuration, hash(&text))),
        false => Err(Error::Invalid(errors)),
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let text = tokio::fs::read(path).await.map_err(|e| Error::File(path.into(), e))?;
    if text.is_empty() { Err(Error::Empty(path.into())) } else { Ok(text) }
}

fn hash(text: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, text).as_ref().try_into().unwrap_or_default()
}

impl Encryption {
    /// Looks at the file again; true where it was another one, which is in force now.
    pub async fn reload(&self) -> Result<bool, Error> {
        let Some(path) = &self.settings.file else { return Ok(false) };
        // Only the content's hash is kept: no key stays in memory outside its provider.
        let now = self.clock.now().as_second();
        match self.take(path).await {
            Ok(true) => {
                self.metrics.reloaded(true, now);
                tracing::info!(file = %path.display(), "the encryption configuration was reloaded");
                Ok(true)
            }
            Ok(false) => Ok(false),
            Err(error) => {
                self.metrics.reloaded(false, now);
                Err(error)
            }
        }
    }

    async fn take(&self, path: &Path) -> Result<bool, Error> {
        let known = *self.hash.lock();
        if Some(hash(&read(path).await?)) == known {
            return Ok(false);
        }
        let (configuration, found) = load(path, true).await?;
        let providers = self.make(&configuration).await?;
        // Nobody is served by keys that cannot be had.
        providers.check().await.map_err(Error::Unhealthy)?;
        self.put(providers, found);
        Ok(true)
    }

    /// Looks at the file now and then, if that is wanted, until the cluster is gone.
    pub fn follow(self: &Arc<Self>) {
        if self.settings.reload && self.settings.file.is_some() {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }
}

async fn watch(encryption: Weak<Encryption>) {
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(encryption) = encryption.upgrade() else { return };
        if let Err(error) = encryption.reload().await {
            tracing::error!("error processing encryption config file: {error}");
        }
    }
}
