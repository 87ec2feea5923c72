//! The command line.

use crate::{fronts::Fronts, store::Choice};
use apiserver::{AccessFiles, AdmissionChoice, BackendFlags, EncryptionSettings, Keys, ProxyClient, TokenKeys};
use clap::{Args, Parser, Subcommand};
use schema::Features;
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// Kubernetes in one binary: a cluster on this machine with one command.
#[derive(Debug, Parser)]
#[command(name = "ferry", version, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a control plane and nodes on this machine, in the foreground
    Up(Up),
    /// Start a control plane alone
    Server(Server),
    /// Make this machine a node of a cluster
    Agent(Agent),
    /// Look at the images of this machine's nodes, or bring some in
    Image(Image),
    /// Stop what an earlier run left, and remove everything it made on this machine
    Down(Down),
    /// Print the version
    Version,
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// Where everything is kept.
#[derive(Debug, Args, Clone)]
pub struct Data {
    /// State of the cluster: store, keys, machines, images
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ferry", env = "FERRY_DATA_DIR", global = true)]
    pub data_dir: PathBuf,
}

/// Admission plugins, by their names in Kubernetes. docs/flags.md has all flags that are hidden here: in the help, words as
/// long would break the lines of all the others.
#[derive(Debug, Default, Clone, Args)]
pub struct Admission {
    /// Admission plugins to run beside the default ones
    #[arg(long, value_name = "NAMES", value_delimiter = ',', hide = true)]
    pub enable_admission_plugins: Vec<String>,
    /// Admission plugins not to run, although they are default
    #[arg(long, value_name = "NAMES", value_delimiter = ',', hide = true)]
    pub disable_admission_plugins: Vec<String>,
    /// An AdmissionConfiguration: what plugins are told
    #[arg(long, value_name = "FILE", hide = true)]
    pub admission_control_config_file: Option<PathBuf>,
}

impl Admission {
    pub fn choice(&self) -> Result<AdmissionChoice, String> {
        let file = self.admission_control_config_file.as_deref();
        let settings = file.map(apiserver::admission_settings).transpose()?.unwrap_or_default();
        AdmissionChoice::of(&self.enable_admission_plugins, &self.disable_admission_plugins, settings)
    }
}

/// Files and numbers of authentication, authorization and audit, by their names in Kubernetes; docs/access.md tells of them.
#[derive(Debug, Default, Clone, Args)]
pub struct Access {
    /// Which requests are written into the audit log, and how much of them
    #[arg(long, value_name = "FILE", hide = true)]
    pub audit_policy_file: Option<PathBuf>,
    /// The audit log; - for standard output
    #[arg(long, value_name = "FILE", hide = true)]
    pub audit_log_path: Option<PathBuf>,
    /// Days that old files of the audit log are kept
    #[arg(long, value_name = "DAYS", hide = true)]
    pub audit_log_maxage: Option<u64>,
    /// How many old files of the audit log are kept
    #[arg(long, value_name = "N", hide = true)]
    pub audit_log_maxbackup: Option<usize>,
    /// Megabytes at which the audit log is put aside
    #[arg(long, value_name = "MB", hide = true)]
    pub audit_log_maxsize: Option<u64>,
    /// Pack old files of the audit log
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_log_compress: Option<bool>,
    /// How events are written: json, legacy
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub audit_log_format: Option<String>,
    /// Whether requests wait until the log has their events: batch, blocking, blocking-strict
    #[arg(long, value_name = "MODE", hide = true)]
    pub audit_log_mode: Option<String>,
    /// How many audit events may wait
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_log_batch_buffer_size: Option<i64>,
    /// The most audit events that are written at once
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_log_batch_max_size: Option<i64>,
    /// How long an audit event waits for others, such as 30s
    #[arg(long, value_name = "TIME", hide = true, value_parser = time)]
    pub audit_log_batch_max_wait: Option<Duration>,
    /// Whether there are only so many batches in a second
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_log_batch_throttle_enable: Option<bool>,
    /// Batches in a second
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_log_batch_throttle_qps: Option<f64>,
    /// Batches at once, where there were fewer before
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_log_batch_throttle_burst: Option<i64>,
    /// Whether large events lose their objects, and large batches are split
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_log_truncate_enabled: Option<bool>,
    /// Bytes of the largest batch
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    pub audit_log_truncate_max_batch_size: Option<i64>,
    /// Bytes of the largest event
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    pub audit_log_truncate_max_event_size: Option<i64>,
    /// The version of the events: audit.k8s.io/v1
    #[arg(long, value_name = "VERSION", hide = true)]
    pub audit_log_version: Option<String>,
    /// A kubeconfig file of the server that gets audit events
    #[arg(long, value_name = "FILE", hide = true)]
    pub audit_webhook_config_file: Option<PathBuf>,
    /// How long until a call is tried again first, such as 10s
    #[arg(long, value_name = "TIME", hide = true, value_parser = time)]
    #[arg(alias = "audit-webhook-batch-initial-backoff")]
    pub audit_webhook_initial_backoff: Option<Duration>,
    /// Whether requests wait until that server has their events: batch, blocking, blocking-strict
    #[arg(long, value_name = "MODE", hide = true)]
    pub audit_webhook_mode: Option<String>,
    /// How many audit events may wait
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_webhook_batch_buffer_size: Option<i64>,
    /// The most audit events that are written at once
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_webhook_batch_max_size: Option<i64>,
    /// How long an audit event waits for others, such as 30s
    #[arg(long, value_name = "TIME", hide = true, value_parser = time)]
    pub audit_webhook_batch_max_wait: Option<Duration>,
    /// Whether there are only so many batches in a second
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_webhook_batch_throttle_enable: Option<bool>,
    /// Batches in a second
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_webhook_batch_throttle_qps: Option<f64>,
    /// Batches at once, where there were fewer before
    #[arg(long, value_name = "N", hide = true, allow_hyphen_values = true)]
    pub audit_webhook_batch_throttle_burst: Option<i64>,
    /// Whether large events lose their objects, and large batches are split
    #[arg(long, value_name = "BOOL", hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub audit_webhook_truncate_enabled: Option<bool>,
    /// Bytes of the largest batch
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    pub audit_webhook_truncate_max_batch_size: Option<i64>,
    /// Bytes of the largest event
    #[arg(long, value_name = "BYTES", hide = true, allow_hyphen_values = true)]
    pub audit_webhook_truncate_max_event_size: Option<i64>,
    /// The version of the events: audit.k8s.io/v1
    #[arg(long, value_name = "VERSION", hide = true)]
    pub audit_webhook_version: Option<String>,
    /// Issuers of JSON Web Tokens, and how their claims become users
    #[arg(long, value_name = "FILE", hide = true)]
    pub authentication_config: Option<PathBuf>,
    /// Whether requests without a credential are let in as system:anonymous
    #[arg(long, value_name = "BOOL", hide = true)]
    pub anonymous_auth: Option<bool>,
    /// A kubeconfig file of the server that reviews bearer tokens
    #[arg(long, value_name = "FILE", hide = true)]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of its reviews
    #[arg(long, value_name = "VERSION", hide = true)]
    pub authentication_token_webhook_version: Option<String>,
    /// How long an answer of it counts, such as 2m
    #[arg(long, value_name = "TIME", hide = true, value_parser = time)]
    pub authentication_token_webhook_cache_ttl: Option<Duration>,
    /// Who is asked whether a request may be made, in which order
    #[arg(long, value_name = "FILE", hide = true)]
    pub authorization_config: Option<PathBuf>,
}

impl Access {
    pub fn files(&self) -> AccessFiles {
        let own = self.clone();
        AccessFiles {
            audit_policy: own.audit_policy_file,
            audit_log: own.audit_log_path,
            audit_log_max_age: own.audit_log_maxage,
            audit_log_max_backups: own.audit_log_maxbackup,
            audit_log_max_size: own.audit_log_maxsize,
            audit_log_compress: own.audit_log_compress.unwrap_or(false),
            audit_log_format: own.audit_log_format,
            audit_log_backend: BackendFlags {
                mode: own.audit_log_mode,
                batch_buffer_size: own.audit_log_batch_buffer_size,
                batch_max_size: own.audit_log_batch_max_size,
                batch_max_wait: own.audit_log_batch_max_wait,
                batch_throttle_enable: own.audit_log_batch_throttle_enable,
                batch_throttle_qps: own.audit_log_batch_throttle_qps,
                batch_throttle_burst: own.audit_log_batch_throttle_burst,
                truncate_enabled: own.audit_log_truncate_enabled,
                truncate_max_batch_size: own.audit_log_truncate_max_batch_size,
                truncate_max_event_size: own.audit_log_truncate_max_event_size,
                version: own.audit_log_version,
            },
            audit_webhook: own.audit_webhook_config_file,
            audit_webhook_backoff: own.audit_webhook_initial_backoff,
            audit_webhook_backend: BackendFlags {
                mode: own.audit_webhook_mode,
                batch_buffer_size: own.audit_webhook_batch_buffer_size,
                batch_max_size: own.audit_webhook_batch_max_size,
                batch_max_wait: own.audit_webhook_batch_max_wait,
                batch_throttle_enable: own.audit_webhook_batch_throttle_enable,
                batch_throttle_qps: own.audit_webhook_batch_throttle_qps,
                batch_throttle_burst: own.audit_webhook_batch_throttle_burst,
                truncate_enabled: own.audit_webhook_truncate_enabled,
                truncate_max_batch_size: own.audit_webhook_truncate_max_batch_size,
                truncate_max_event_size: own.audit_webhook_truncate_max_event_size,
                version: own.audit_webhook_version,
            },
            authentication: own.authentication_config,
            anonymous: own.anonymous_auth,
            token_webhook: own.authentication_token_webhook_config_file,
            token_webhook_version: own.authentication_token_webhook_version,
            token_webhook_ttl: own.authentication_token_webhook_cache_ttl,
            authorization: own.authorization_config,
        }
    }
}

/// Keys of the operator, by their flags' names in Kubernetes; docs/encryption.md and docs/tokens.md tell of them.
#[derive(Debug, Default, Clone, Args)]
pub struct KeyFiles {
    /// An EncryptionConfiguration: what stored objects are sealed with
    #[arg(long, value_name = "FILE", hide = true)]
    pub encryption_provider_config: Option<PathBuf>,
    /// Look at that file again each minute
    #[arg(long, value_name = "BOOL", hide = true, requires = "encryption_provider_config")]
    #[arg(action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value_t = false)]
    pub encryption_provider_config_automatic_reload: bool,
    /// Keys that verify ServiceAccount tokens; may be given several times
    #[arg(long, value_name = "FILE", hide = true)]
    pub service_account_key_file: Vec<PathBuf>,
    /// The key that signs ServiceAccount tokens
    #[arg(long, value_name = "FILE", hide = true)]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// Who issues ServiceAccount tokens; of several the first, the others' are taken
    #[arg(long, value_name = "URL", hide = true)]
    pub service_account_issuer: Vec<String>,
    /// Whom tokens must be meant for
    #[arg(long, value_name = "NAMES", value_delimiter = ',', hide = true)]
    pub api_audiences: Vec<String>,
    /// Where the keys are published
    #[arg(long, value_name = "URL", hide = true)]
    pub service_account_jwks_uri: Option<String>,
    /// How long a ServiceAccount token may live at most, such as 24h
    #[arg(long, value_name = "TIME", hide = true, value_parser = time)]
    pub service_account_max_token_expiration: Option<Duration>,
    /// Whether tokens of pods live a year, for clients that do not read them again
    #[arg(long, value_name = "BOOL", hide = true)]
    pub service_account_extend_token_expiration: Option<bool>,
    /// The certificate that is shown to extension API servers
    #[arg(long, value_name = "FILE", hide = true, requires = "proxy_client_key_file")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", hide = true, requires = "proxy_client_cert_file")]
    pub proxy_client_key_file: Option<PathBuf>,
}

impl KeyFiles {
    pub fn keys(self) -> Keys {
        let encryption = EncryptionSettings {
            file: self.encryption_provider_config,
            reload: self.encryption_provider_config_automatic_reload,
        };
        let tokens = TokenKeys {
            signing_key: self.service_account_signing_key_file,
            keys: self.service_account_key_file,
            issuers: self.service_account_issuer,
            audiences: self.api_audiences,
            jwks_uri: self.service_account_jwks_uri,
            max_expiration: self.service_account_max_token_expiration,
            extend: self.service_account_extend_token_expiration,
        };
        let proxy_client = match (self.proxy_client_cert_file, self.proxy_client_key_file) {
            (Some(certificate), Some(key)) => Some(ProxyClient { certificate, key }),
            _ => None,
        };
        Keys { encryption, tokens, proxy_client }
    }
}

/// What is not on by default, by its name in Kubernetes; docs/flags.md tells of it.
#[derive(Debug, Default, Clone, Copy, Args)]
pub struct Gates {
    /// NAME=true or NAME=false, with commas between
    #[arg(long, value_name = "GATES", hide = true)]
    pub feature_gates: Option<Features>,
}

impl Gates {
    pub fn features(self) -> Features {
        self.feature_gates.unwrap_or_default()
    }
}

/// Where objects are kept; docs/etcd.md tells of it.
#[derive(Debug, Clone, Args)]
pub struct StoreOptions {
    /// Where objects are kept: disk (the data directory), or etcd=URL,URL…
    #[arg(long, value_name = "STORE", default_value = "disk")]
    pub store: Choice,
    /// Authorities of the etcd's certificates, in PEM
    #[arg(long, value_name = "FILE", hide = true)]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate that is shown to the etcd, in PEM
    #[arg(long, value_name = "FILE", hide = true, requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", hide = true, requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// The cluster's keys, where they are not in the data directory: all servers of one etcd need the same
    #[arg(long, value_name = "DIR", hide = true)]
    pub pki_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Up {
    #[command(flatten)]
    pub data: Data,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub nodes: u16,
    /// Port of the API server
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub api_port: u16,
    /// Write a kubeconfig here instead of merging the context `ferry` into ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Run the demo: two replicas behind a Service, and print the address that answers
    #[arg(long)]
    pub demo: bool,
    #[command(flatten)]
    pub admission: Admission,
    #[command(flatten)]
    pub gates: Gates,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub fronts: Fronts,
    #[command(flatten)]
    pub keys: KeyFiles,
    #[command(flatten)]
    pub store: StoreOptions,
}

#[derive(Debug, Args)]
pub struct Server {
    #[command(flatten)]
    pub data: Data,
    /// Port of the API server
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub api_port: u16,
    /// The address at which nodes reach this server; also a name in its certificate
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub advertise_address: IpAddr,
    /// Write a kubeconfig here instead of merging the context `ferry` into ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub admission: Admission,
    #[command(flatten)]
    pub gates: Gates,
    #[command(flatten)]
    pub access: Access,
    #[command(flatten)]
    pub fronts: Fronts,
    #[command(flatten)]
    pub keys: KeyFiles,
    #[command(flatten)]
    pub store: StoreOptions,
}

#[derive(Debug, Args)]
pub struct Agent {
    /// https://HOST:PORT of the API server
    #[arg(long, value_name = "URL", value_parser = https)]
    pub server: String,
    /// A bootstrap token, as `ferry server` prints it; needed until the node has its certificate
    #[arg(long, value_name = "TOKEN", env = "FERRY_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The cluster's authority in PEM
    #[arg(long, value_name = "FILE")]
    pub ca_file: PathBuf,
    /// The node's name; the host name by default
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The node's address; by default the one that routes to the server
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<IpAddr>,
    /// State of the node: pods, images, certificates
    #[arg(long, value_name = "DIR", default_value = "/var/lib/ferry-agent")]
    pub data_dir: PathBuf,
    /// The range of all pods of the cluster
    #[arg(long, value_name = "CIDR", default_value = "10.244.0.0/16")]
    pub cluster_cidr: String,
    /// Enter this machine first (a directory that `ferry up` made)
    #[arg(long, value_name = "DIR", hide = true)]
    pub machine: Option<PathBuf>,
    /// Images of several nodes in one place
    #[arg(long, value_name = "DIR", hide = true)]
    pub image_dir: Option<PathBuf>,
    /// End the pods with the agent
    #[arg(long, hide = true)]
    pub end_pods: bool,
}

#[derive(Debug, Args)]
pub struct Image {
    #[command(flatten)]
    pub data: Data,
    #[command(subcommand)]
    pub command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Bring docker or OCI archives to the nodes of this machine
    Import {
        /// Archives, as `docker save` or `skopeo copy … oci-archive:` write them
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List the images that the nodes of this machine have
    Ls,
}

#[derive(Debug, Args)]
pub struct Down {
    #[command(flatten)]
    pub data: Data,
    /// Remove its data too: objects, keys, images, volumes
    #[arg(long)]
    pub purge: bool,
}

/// A duration as Go's flags have it, in one unit.
fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.parse().ok()?;
        Duration::try_from_secs_f64(number * seconds).ok()
    });
    parsed.ok_or_else(|| "want a number with ms, s, m or h".into())
}

/// A token is never sent in the clear.
fn https(url: &str) -> Result<String, String> {
    match url.strip_prefix("https://") {
        Some(host) if !host.is_empty() => Ok(url.into()),
        _ => Err("want https://HOST:PORT".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn keys(arguments: &[&str]) -> Result<Keys, String> {
        let all = ["ferry", "server"].iter().chain(arguments);
        match Cli::try_parse_from(all).map_err(|e| e.to_string())?.command {
            Command::Server(server) => Ok(server.keys.keys()),
            other => Err(format!("{other:?}")),
        }
    }

    /// What the help leaves out stands on one page.
    #[test]
    fn every_hidden_flag_is_told_of() {
        let page = include_str!("../../../docs/flags.md");
        let mut hidden = 0;
        for command in Cli::command().get_subcommands() {
            for flag in command.get_arguments().filter(|a| a.is_hide_set()).filter_map(|a| a.get_long()) {
                hidden += 1;
                let row = [' ', '`'].iter().any(|end| page.contains(&format!("| `--{flag}{end}")));
                assert!(row, "docs/flags.md does not tell of --{flag} of `ferry {}`", command.get_name());
            }
        }
        assert!(hidden > 60, "{hidden}: of up and server, some thirty each");
        let told = page.lines().filter(|line| line.starts_with("| `--")).count();
        let names: std::collections::BTreeSet<String> = Cli::command()
            .get_subcommands()
            .flat_map(|c| c.get_arguments().filter(|a| a.is_hide_set()).filter_map(|a| a.get_long().map(String::from)))
            .collect();
        assert_eq!(told, names.len(), "docs/flags.md tells of flags that there are not, or are not hidden");
    }

    #[test]
    fn keys_are_named_as_upstream_names_them() {
        let none = keys(&[]).unwrap();
        assert!(none.encryption.file.is_none() && !none.encryption.reload && none.tokens.keys.is_empty());
        for (flag, reload) in [("", true), ("=true", true), ("=false", false)] {
            let flag = format!("--encryption-provider-config-automatic-reload{flag}");
            let given = keys(&["--encryption-provider-config", "e.yaml", &flag]).unwrap();
            assert_eq!((given.encryption.file, given.encryption.reload), (Some("e.yaml".into()), reload));
        }
        assert!(keys(&["--encryption-provider-config-automatic-reload"]).is_err(), "of which file?");
        let given = keys(&[
            "--service-account-key-file=a.pub",
            "--service-account-key-file=b.pub",
            "--service-account-signing-key-file=b.key",
            "--service-account-issuer=https://b",
            "--service-account-issuer=https://a",
            "--api-audiences=x,y",
            "--service-account-max-token-expiration=24h",
            "--service-account-extend-token-expiration=false",
        ]);
        let tokens = given.unwrap().tokens;
        assert_eq!(tokens.keys, [PathBuf::from("a.pub"), "b.pub".into()]);
        assert_eq!(
            (tokens.signing_key, tokens.issuers),
            (Some("b.key".into()), vec!["https://b".into(), "https://a".into()])
        );
        assert_eq!(tokens.audiences, ["x", "y"]);
        assert_eq!((tokens.max_expiration, tokens.extend), (Some(Duration::from_secs(86400)), Some(false)));
    }
}
