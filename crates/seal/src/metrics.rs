//! What is counted, under upstream's names.

use crate::kms::id_hash;
use std::{sync::Arc, time::Duration};
use telemetry::{Counter, Family, Gauge, Histogram, Registry};

/// The metrics of one cluster's encryption.
pub struct Metrics {
    operations: Arc<Family<Counter>>,
    took: Arc<Family<Histogram>>,
    reloads: Arc<Family<Counter>>,
    reloaded: Arc<Family<Gauge>>,
    calls: Arc<Family<Histogram>>,
    key_uses: Arc<Family<Counter>>,
    key_used_at: Arc<Family<Gauge>>,
    key_seen_at: Arc<Family<Gauge>>,
    ids_refused: Arc<Family<Counter>>,
    seeds: Arc<Family<Gauge>>,
    misses: Arc<Counter>,
    seeds_failed: Arc<Counter>,
}

/// Which way a value went.
#[derive(Clone, Copy)]
pub enum Way {
    FromStorage,
    ToStorage,
}

impl Metrics {
    pub fn new(registry: &Registry) -> Self {
        Metrics {
            operations: registry.family(
                "apiserver_storage_transformation_operations_total",
                "Values sealed and opened, by resource, direction, provider and outcome.",
                &["resource", "transformation_type", "transformer_prefix", "status"],
            ),
            took: registry.family(
                "apiserver_storage_transformation_duration_seconds",
                "How long sealing and opening a value took.",
                &["transformation_type", "transformer_prefix"],
            ),
            reloads: registry.family(
                "apiserver_encryption_config_controller_automatic_reloads_total",
                "Reloads of the encryption configuration, by outcome.",
                &["status"],
            ),
            reloaded: registry.family(
                "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds",
                "When the encryption configuration was last reloaded, by outcome.",
                &["status"],
            ),
            calls: registry.family(
                "apiserver_envelope_encryption_kms_operations_latency_seconds",
                "How long calls to KMS plugins took, by outcome.",
                &["provider_name", "method_name", "grpc_status_code"],
            ),
            key_uses: registry.family(
                "apiserver_envelope_encryption_key_id_hash_total",
                "Values sealed and opened with a key of a KMS plugin.",
                &["transformation_type", "provider_name", "key_id_hash"],
            ),
            key_used_at: registry.family(
                "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
                "When a key of a KMS plugin was last used.",
                &["transformation_type", "provider_name", "key_id_hash"],
            ),
            key_seen_at: registry.family(
                "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
                "When a KMS plugin last said that a key is its present one.",
                &["provider_name", "key_id_hash"],
            ),
            ids_refused: registry.family(
                "apiserver_envelope_encryption_invalid_key_id_from_status_total",
                "Key ids of KMS plugins that cannot be used.",
                &["provider_name", "error"],
            ),
            seeds: registry.family(
                "apiserver_envelope_encryption_dek_source_cache_size",
                "Seeds of a KMS plugin that are held; about as many calls a restart costs.",
                &["provider_name"],
            ),
            misses: registry.single(
                "apiserver_storage_envelope_transformation_cache_misses_total",
                "Values for which a KMS plugin had to be asked.",
            ),
            seeds_failed: registry.single(
                "apiserver_storage_data_key_generation_failures_total",
                "Seeds that a KMS plugin did not seal.",
            ),
        }
    }
    /// One value was sealed or opened.
    pub fn transformed(&self, resource: &str, way: Way, prefix: &str, good: bool, took: Duration) {
        let way = match way {
            Way::FromStorage => "from_storage",
            Way::ToStorage => "to_storage",
        };
        let status = if good { "OK" } else { "unknown-non-grpc" };
        self.operations.with(&[resource, way, prefix, status]).inc();
        if good {
            self.took.with(&[way, prefix]).observe(took);
        }
    }
    /// The file was looked at, and was another one.
    pub fn reloaded(&self, good: bool, at: i64) {
        let status = if good { "success" } else { "failure" };
        self.reloads.with(&[status]).inc();
        self.reloaded.with(&[status]).set(at);
    }
    /// A plugin answered, or did not.
    pub fn called(&self, provider: &str, path: &str, code: &str, took: Duration) {
        self.calls.with(&[provider, path, code]).observe(took);
    }
    /// A value was sealed or opened with a plugin's key; `at` in seconds.
    pub fn key_used(&self, provider: &str, way: &str, id: &str, at: i64) {
        let hash = id_hash(id);
        self.key_uses.with(&[way, provider, &hash]).inc();
        self.key_used_at.with(&[way, provider, &hash]).set(at);
    }
    /// A plugin's status named its key.
    pub fn id_seen(&self, provider: &str, id: &str, at: i64) {
        self.key_seen_at.with(&[provider, &id_hash(id)]).set(at);
    }
    /// A plugin's status named none that can be used.
    pub fn id_refused(&self, provider: &str, code: &str) {
        self.ids_refused.with(&[provider, code]).inc();
    }
    pub fn seeds_kept(&self, provider: &str, count: usize) {
        self.seeds.with(&[provider]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    /// A plugin had to be asked for a seed.
    pub fn cache_missed(&self) {
        self.misses.inc();
    }
    /// A plugin was asked to seal a new seed.
    pub fn seed_made(&self, good: bool) {
        if !good {
            self.seeds_failed.inc();
        }
    }
}
