//! What a namespace's labels ask for: a level and a version of the standards, for each of three purposes.

use std::fmt;
use value::Value;

const PREFIX: &str = "pod-security.kubernetes.io/";

/// How much is forbidden, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// The minor version of Kubernetes whose standards hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

pub const LATEST: Version = Version(u32::MAX);

/// A level at a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    pub level: Level,
    pub version: Version,
}

/// `baseline:v1.24`
impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.version {
            LATEST => write!(f, "{level}:latest"),
            Version(minor) => write!(f, "{level}:v1.{minor}"),
        }
    }
}

/// A label that cannot be read.
#[derive(Debug, PartialEq)]
pub struct LabelError {
    pub label: String,
    pub value: String,
    pub why: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy {
    pub enforce: Mode,
    pub warn: Mode,
    pub audit: Mode,
}

impl Default for Policy {
    fn default() -> Self {
        let open = Mode { level: Level::Privileged, version: LATEST };
        Policy { enforce: open, warn: open, audit: open }
    }
}

impl Policy {
    /// Reads labels; what they do not say is as by default. Who cannot be understood enforces the most, and warns of nothing.
    pub fn of(labels: &Value, defaults: Policy) -> (Policy, Vec<LabelError>) {
        let (mut policy, errors, enforces) = read(labels, PREFIX, defaults);
        // Who enforces is warned of as much, where nothing else is said: templates are only ever warned about.
        let said = |label: &str| labels.get(&format!("{PREFIX}{label}")).is_some();
        if !said("warn") && enforces && policy.enforce.level > policy.warn.level {
            policy.warn.level = policy.enforce.level;
            if !said("warn-version") {
                policy.warn.version = policy.enforce.version;
            }
        }
        (policy, errors)
    }
    /// Reads `defaults` of a configuration.
    pub fn configured(defaults: &Value) -> (Policy, Vec<LabelError>) {
        let mut said = Value::object();
        for (name, text) in defaults.members_at(&[]).filter(|(_, text)| text.as_str().is_some_and(|t| !t.is_empty())) {
            said.set(&[name], text.clone());
        }
        let (policy, errors, _) = read(&said, "", Policy::default());
        (policy, errors)
    }
    /// What a namespace's labels say that is more than privileged: `enforce=baseline:latest, warn=restricted:v1.24`.
    pub fn told(&self, labels: &Value) -> String {
        let modes = [("enforce", self.enforce), ("audit", self.audit), ("warn", self.warn)];
        let said = |label: &str| labels.get(&format!("{PREFIX}{label}")).is_some();
        let told = modes.into_iter().filter(|(purpose, mode)| {
            mode.level != Level::Privileged && (said(purpose) || said(&format!("{purpose}-version")))
        });
        told.map(|(purpose, mode)| format!("{purpose}={mode}")).collect::<Vec<_>>().join(", ")
    }
    /// Nothing is forbidden, and nothing is said.
    pub fn is_privileged(&self) -> bool {
        [self.enforce, self.warn, self.audit].iter().all(|mode| mode.level == Level::Privileged)
    }
}

/// The policy, what is wrong, and whether a level that is enforced was read.
fn read(from: &Value, prefix: &str, start: Policy) -> (Policy, Vec<LabelError>, bool) {
    let (mut policy, mut errors) = (start, Vec::new());
    let mut read = |purpose: &str, mode: &mut Mode, otherwise: Level| {
        let (level, version) = (format!("{prefix}{purpose}"), format!("{prefix}{purpose}-version"));
        let mut fine = false;
        if let Some(text) = from.get(&level).and_then(Value::as_str) {
            let read = parse_level(text);
            fine = read.is_some();
            mode.level = read.unwrap_or(otherwise);
            if !fine {
                let why = "must be one of privileged, baseline, restricted";
                errors.push(LabelError { label: level, value: text.into(), why });
            }
        }
        if let Some(text) = from.get(&version).and_then(Value::as_str) {
            let read = parse_version(text);
            mode.version = read.unwrap_or(LATEST);
            if read.is_none() {
                let why = "must be \"latest\" or \"v1.x\"";
                errors.push(LabelError { label: version, value: text.into(), why });
            }
        }
        fine
    };
    let enforces = read("enforce", &mut policy.enforce, Level::Restricted);
    read("audit", &mut policy.audit, Level::Privileged);
    read("warn", &mut policy.warn, Level::Privileged);
    (policy, errors, enforces)
}

fn parse_level(text: &str) -> Option<Level> {
    match text {
        "privileged" => Some(Level::Privileged),
        "baseline" => Some(Level::Baseline),
        "restricted" => Some(Level::Restricted),
        _ => None,
    }
}

fn parse_version(text: &str) -> Option<Version> {
    if text == "latest" {
        return Some(LATEST);
    }
    let minor = text.strip_prefix("v1.")?;
    let plain = minor == "0" || !minor.starts_with('0') && minor.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| minor.parse().ok().map(Version)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn labels() {
        for (labels, want, errors) in [
            (value!({}), "privileged:latest privileged:latest privileged:latest", 0),
            (value!({"enforce": "baseline"}), "baseline:latest baseline:latest privileged:latest", 0),
            (
                value!({"enforce": "restricted", "enforce-version": "v1.24", "warn": "baseline", "audit": "restricted"}),
                "restricted:v1.24 baseline:latest restricted:latest",
                0,
            ),
            (
                value!({"enforce": "baseline", "enforce-version": "v1.24"}),
                "baseline:v1.24 baseline:v1.24 privileged:latest",
                0,
            ),
            (value!({"enforce": "strict", "warn": "x"}), "restricted:latest privileged:latest privileged:latest", 2),
            (value!({"enforce-version": "1.24"}), "privileged:latest privileged:latest privileged:latest", 1),
            (value!({"enforce-version": "v1.024"}), "privileged:latest privileged:latest privileged:latest", 1),
        ] {
            let mut full = Value::object();
            for (name, text) in labels.members_at(&[]) {
                full.set(&[&format!("{PREFIX}{name}")], text.clone());
            }
            let (policy, found) = Policy::of(&full, Policy::default());
            let got = format!("{} {} {}", policy.enforce, policy.warn, policy.audit);
            assert_eq!((got.as_str(), found.len()), (want, errors), "{labels}");
        }
    }
}
