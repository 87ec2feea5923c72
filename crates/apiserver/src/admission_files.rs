//! The files of `--admission-control-config-file`: what the admission crate, which reads none, is given.

use crate::kubeconfig;
use admission::{Credentials, Files, Settings};
use net::Endpoint;
use std::path::Path;
use value::Value;

/// What an operator says to admission plugins. The error names the file.
pub fn admission_settings(path: &Path) -> Result<Settings, String> {
    Settings::load(path, &OnDisk)
}

struct OnDisk;

impl Files for OnDisk {
    fn tree(&self, path: &Path) -> Result<Value, String> {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(wire::yaml::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?.value)
    }
    fn server(&self, path: &Path) -> Result<Endpoint, String> {
        kubeconfig::load(path)
    }
    fn credentials(&self, path: &Path) -> Result<Credentials, String> {
        kubeconfig::credentials(path)
    }
}
