//! Who may come in, and what is written down of it, as an operator configures it: the files that flags name, read and
//! checked once before the server opens.

use crate::{
    audit::{AuditConfig, BackendFlags, Format, LogConfig, Policy, WebhookConfig},
    kubeconfig,
    server::Inner,
};
use auth::{
    Others, Tokens,
    modes::{self, ModeConfig},
    oidc::{Anonymous, Configuration, Oidc},
    token_webhook::{TokenWebhook, TokenWebhookConfig},
};
use base::clock::Clock;
use net::Outgoing;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};
use value::Value;

/// What a server is opened with. The default is Ferry's own: its audit policy, and nobody beside its own authorities.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub audit: AuditConfig,
    pub authentication: Authentication,
    pub authorization: Authorization,
    /// How often the files are looked at again; `None`: every minute, as upstream does where it is not told of changes.
    pub look: Option<Duration>,
}

/// Who is asked whether a request may be made.
#[derive(Debug, Clone, Default)]
pub struct Authorization {
    /// An `AuthorizationConfiguration`; Node and RBAC without one.
    pub file: Option<ConfigFile>,
}

impl Authorization {
    /// Everybody in turn. The error says what is wrong with the configuration.
    pub fn modes(&self) -> Result<Vec<ModeConfig>, String> {
        match &self.file {
            None => Ok(modes::default()),
            Some(file) => modes::of(&file.tree, &|path| kubeconfig::load(Path::new(path))),
        }
    }
}

/// A file of configuration: what it says, and where it may be read again.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    pub tree: Value,
    pub path: Option<PathBuf>,
}

/// Who else says who somebody is.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    /// An `AuthenticationConfiguration`.
    pub file: Option<ConfigFile>,
    pub token_webhook: Option<TokenWebhookConfig>,
    /// `--anonymous-auth`
    pub anonymous: Option<bool>,
}

impl Authentication {
    /// Everybody whom the authenticator asks. The error says what is wrong with the configuration.
    pub fn open(&self, tokens: &Tokens, outgoing: &Arc<Outgoing>, clock: &Arc<dyn Clock>) -> Result<Others, String> {
        let webhook = self.token_webhook.as_ref();
        let webhook = webhook.map(|config| TokenWebhook::new(config, outgoing.clone(), clock.clone())).transpose()?;
        self.renewed(webhook.map(Arc::new), tokens, outgoing, clock)
    }

    /// The same with the webhook that there is.
    fn renewed(
        &self,
        webhook: Option<Arc<TokenWebhook>>,
        tokens: &Tokens,
        outgoing: &Arc<Outgoing>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Others, String> {
        let own = tokens.issuers().to_vec();
        let file = self.file.as_ref().map(|file| Configuration::of(&file.tree, &own)).transpose()?;
        let file = file.unwrap_or_default();
        let anonymous = match (self.anonymous, file.anonymous.clone()) {
            (Some(_), Some(_)) => {
                let why = "--anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file";
                return Err(format!("anonymous: Forbidden: {why}"));
            }
            (Some(enabled), None) => Some(Anonymous { enabled, paths: Vec::new() }),
            (None, configured) => configured,
        };
        Ok(Others { oidc: Some(Oidc::new(&file, outgoing.clone(), clock.clone())), webhook, anonymous })
    }
}

impl ConfigFile {
    /// Reads it once more; `None` where it says what it said.
    fn read_again(&self) -> Option<Result<ConfigFile, String>> {
        let path = self.path.as_ref()?;
        match yaml(path) {
            Ok(tree) if tree == self.tree => None,
            Ok(tree) => Some(Ok(ConfigFile { tree, path: self.path.clone() })),
            Err(why) => Some(Err(why)),
        }
    }
}

/// Takes over what the files of authentication and authorization have become, until the server is gone. A file that is
/// wrong changes nothing.
pub(crate) async fn follow(server: Weak<Inner>) {
    let Some(mut known) = server.upgrade().map(|server| server.config.access.clone()) else { return };
    let watched = [&known.authentication.file, &known.authorization.file];
    if watched.into_iter().flatten().all(|file| file.path.is_none()) {
        return;
    }
    let mut said = String::new();
    loop {
        tokio::time::sleep(known.look.unwrap_or(LOOK)).await;
        let Some(server) = server.upgrade() else { return };
        for look in [known.look_at_authentication(&server), known.look_at_authorization(&server)] {
            match look {
                Ok(()) => {}
                Err(why) if why == said => {}
                Err(why) => {
                    tracing::error!("a configuration is not taken over: {why}");
                    said = why;
                }
            }
        }
    }
}

impl Access {
    fn look_at_authentication(&mut self, server: &Inner) -> Result<(), String> {
        let Some(read) = self.authentication.file.as_ref().and_then(ConfigFile::read_again) else { return Ok(()) };
        let new = Authentication { file: Some(read?), ..self.authentication.clone() };
        let webhook = server.authenticator.webhook();
        let others = new.renewed(webhook, &server.tokens, &server.outgoing, &server.config.clock)?;
        server.authenticator.configure(others);
        self.authentication = new;
        tracing::info!("the authentication configuration has changed");
        Ok(())
    }
    fn look_at_authorization(&mut self, server: &Inner) -> Result<(), String> {
        let Some(read) = self.authorization.file.as_ref().and_then(ConfigFile::read_again) else { return Ok(()) };
        let new = Authorization { file: Some(read?) };
        server.authorizer.configure(new.modes()?, &server.outgoing, &server.config.clock);
        self.authorization = new;
        tracing::info!("the authorization configuration has changed");
        Ok(())
    }
}

const LOOK: Duration = Duration::from_secs(60);

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
    pub audit_log_compress: bool,
    /// `json` or `legacy`
    pub audit_log_format: Option<String>,
    pub audit_log_backend: BackendFlags,
    /// A kubeconfig file.
    pub audit_webhook: Option<PathBuf>,
    pub audit_webhook_backoff: Option<Duration>,
    pub audit_webhook_backend: BackendFlags,
    /// An `AuthenticationConfiguration`.
    pub authentication: Option<PathBuf>,
    pub anonymous: Option<bool>,
    /// A kubeconfig file.
    pub token_webhook: Option<PathBuf>,
    pub token_webhook_version: Option<String>,
    pub token_webhook_ttl: Option<Duration>,
    /// An `AuthorizationConfiguration`.
    pub authorization: Option<PathBuf>,
}

impl AccessFiles {
    /// Reads everything; the log goes to `log` where no file is named. The error names the file.
    pub fn load(self, log: PathBuf) -> Result<Access, String> {
        Ok(Access {
            audit: self.audit(log)?,
            authentication: self.authentication()?,
            authorization: self.authorization()?,
            look: None,
        })
    }

    fn authorization(&self) -> Result<Authorization, String> {
        let Some(path) = &self.authorization else { return Ok(Authorization::default()) };
        let read = Authorization { file: Some(ConfigFile { tree: yaml(path)?, path: Some(path.clone()) }) };
        read.modes().map_err(|why| format!("{}: {why}", path.display()))?;
        Ok(read)
    }

    fn authentication(&self) -> Result<Authentication, String> {
        let file = match &self.authentication {
            None => None,
            Some(path) => {
                let file = ConfigFile { tree: yaml(path)?, path: Some(path.clone()) };
                // Its own issuer is not known here; the server checks once more.
                Configuration::of(&file.tree, &[]).map_err(|why| format!("{}: {why}", path.display()))?;
                Some(file)
            }
        };
        let token_webhook = match &self.token_webhook {
            None => None,
            Some(path) => {
                let own = TokenWebhookConfig::to(kubeconfig::load(path)?);
                Some(TokenWebhookConfig {
                    version: self.token_webhook_version.clone().unwrap_or(own.version),
                    ttl: self.token_webhook_ttl.unwrap_or(own.ttl),
                    ..own
                })
            }
        };
        Ok(Authentication { file, token_webhook, anonymous: self.anonymous })
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
        let format = match self.audit_log_format.as_deref() {
            None | Some("json") => Format::Json,
            Some("legacy") => Format::Legacy,
            Some(other) => {
                return Err(format!("invalid audit log format {other}, allowed formats are \"legacy,json\""));
            }
        };
        let (mode, batching, limits) = self.audit_log_backend.feed("log", (own.mode, own.batching), UNTHROTTLED)?;
        let log = LogConfig {
            compress: self.audit_log_compress,
            format,
            mode,
            batching,
            limits,
            max_age: self.audit_log_max_age.unwrap_or(own.max_age),
            max_backups: self.audit_log_max_backups.unwrap_or(own.max_backups),
            max_size: self.audit_log_max_size.unwrap_or(own.max_size),
            path: own.path,
        };
        let webhook = match &self.audit_webhook {
            None => None,
            Some(path) => {
                let own = WebhookConfig::to(kubeconfig::load(path)?);
                let flags = &self.audit_webhook_backend;
                let (mode, batching, limits) = flags.feed("webhook", (own.mode, own.batching), UNTHROTTLED)?;
                let initial_backoff = self.audit_webhook_backoff.unwrap_or(own.initial_backoff);
                Some(WebhookConfig { mode, batching, limits, initial_backoff, ..own })
            }
        };
        Ok(AuditConfig { policy, log: Some(log), webhook })
    }
}

/// What `--audit-…-batch-throttle-enable` alone means: batches a second, and at once. Source: upstream's defaults.
const UNTHROTTLED: (f64, u32) = (10.0, 15);

/// A file of YAML.
fn yaml(path: &Path) -> Result<Value, String> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("failed to read file path \"{}\": {e}", path.display()))?;
    Ok(wire::yaml::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?.value)
}
