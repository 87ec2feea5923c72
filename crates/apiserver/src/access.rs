//! Who may come in, and what is written down of it, as an operator configures it: the files that flags name, read and
//! checked once before the server opens.

use crate::{
    audit::{AuditConfig, LogConfig, Policy, WebhookConfig},
    kubeconfig,
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use value::Value;

/// What a server is opened with. The default is Ferry's own: its audit policy and no file.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub audit: AuditConfig,
}

/// The files, and the numbers beside them.
#[derive(Debug, Clone, Default)]
pub struct AccessFiles {
    pub audit_policy: Option<PathBuf>,
    pub audit_log: Option<PathBuf>,
    /// Days.
    pub audit_log_max_age: Option<u64>,
    pub audit_log_max_backups: Option<usize>,
    /// Megabytes.
    pub audit_log_max_size: Option<u64>,
    /// A kubeconfig file.
    pub audit_webhook: Option<PathBuf>,
    pub audit_batch_size: Option<usize>,
    pub audit_batch_wait: Option<Duration>,
}

impl AccessFiles {
    /// Reads everything; the log goes to `log` where no file is named. The error names the file.
    pub fn load(self, log: PathBuf) -> Result<Access, String> {
        Ok(Access { audit: self.audit(log)? })
    }

    fn audit(&self, log: PathBuf) -> Result<AuditConfig, String> {
        let policy = match &self.audit_policy {
            None => None,
            Some(path) => {
                let of = |tree: Value| Policy::of(&tree).map_err(|why| format!("{why}: from file {}", path.display()));
                Some(of(yaml(path)?)?)
            }
        };
        let own = LogConfig::at(self.audit_log.clone().unwrap_or(log));
        let log = LogConfig {
            max_age: self.audit_log_max_age.unwrap_or(own.max_age),
            max_backups: self.audit_log_max_backups.unwrap_or(own.max_backups),
            max_size: self.audit_log_max_size.unwrap_or(own.max_size),
            path: own.path,
        };
        let webhook = match &self.audit_webhook {
            None => None,
            Some(path) => {
                let own = WebhookConfig::to(kubeconfig::load(path)?);
                Some(WebhookConfig {
                    max_size: self.audit_batch_size.unwrap_or(own.max_size).max(1),
                    max_wait: self.audit_batch_wait.unwrap_or(own.max_wait),
                    ..own
                })
            }
        };
        Ok(AuditConfig { policy, log: Some(log), webhook })
    }
}

/// A file of YAML.
fn yaml(path: &Path) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("failed to read file path \"{}\": {e}", path.display()))?;
    Ok(wire::yaml::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?.value)
}
