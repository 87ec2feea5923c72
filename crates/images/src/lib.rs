//! Archives, registries, content and overlay snapshots.
