//! `/version`.

/// What `kubectl version` shows.
pub const GIT_VERSION: &str = "v1.36.2+ferry";

/// The document. Clients parse `gitVersion`; the fields of a Go build say what this is instead.
pub fn document() -> String {
    let platform = format!("linux/{}", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" });
    value::value!({
        "major": "1", "minor": "36", "emulationMajor": "1", "emulationMinor": "36",
        "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
        "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "rust", "compiler": "rustc", "platform": platform,
    })
    .to_string()
}
