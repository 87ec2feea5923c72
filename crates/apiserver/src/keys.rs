//! Keys that an operator brings, beside those that the cluster makes for itself.

/// The default is the cluster's own keys alone.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    /// What stored objects are sealed with.
    pub encryption: seal::Settings,
}
