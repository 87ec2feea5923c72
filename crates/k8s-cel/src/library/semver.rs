//! Semantic versions, strict by default; normalized ones may have a `v`, leading zeros and fewer parts.
//! Source: semver.org 2.0.0; messages as the Go library that upstream uses has them.

use super::{Opaque, Row, text};
use crate::val::{EvalError, Fallible, Val};
use std::{cmp::Ordering, fmt};

pub(super) const ROWS: &[Row] = &[
    ("semver", "string_to_semver", "(string) Semver", |a| {
        Version::parse(text(a, 0)?).map(|v| Opaque::Semver(v).into()).map_err(EvalError::new)
    }),
    ("semver", "string_bool_to_semver", "(string,bool) Semver", |a| {
        read(a)?.map(|v| Opaque::Semver(v).into()).map_err(EvalError::new)
    }),
    ("isSemver", "is_semver_string", "(string) bool", |a| Ok(Version::parse(text(a, 0)?).is_ok().into())),
    ("isSemver", "is_semver_string_bool", "(string,bool) bool", |a| Ok(read(a)?.is_ok().into())),
    ("isGreaterThan", "semver_is_greater_than", "Semver.(Semver) bool", |a| {
        Ok(Val::Bool(get(a, 0)?.order(get(a, 1)?).is_gt()))
    }),
    ("isLessThan", "semver_is_less_than", "Semver.(Semver) bool", |a| {
        Ok(Val::Bool(get(a, 0)?.order(get(a, 1)?).is_lt()))
    }),
    ("compareTo", "semver_compare_to", "Semver.(Semver) int", |a| Ok(Val::Int(get(a, 0)?.order(get(a, 1)?) as i64))),
    ("major", "semver_major", "Semver.() int", |a| Ok(Val::Int(get(a, 0)?.numbers[0] as i64))),
    ("minor", "semver_minor", "Semver.() int", |a| Ok(Val::Int(get(a, 0)?.numbers[1] as i64))),
    ("patch", "semver_patch", "Semver.() int", |a| Ok(Val::Int(get(a, 0)?.numbers[2] as i64))),
];

#[derive(Debug, Clone)]
pub struct Version {
    numbers: [u64; 3],
    pre: Vec<String>,
    build: Vec<String>,
}

impl Version {
    pub fn parse(text: &str) -> Result<Version, String> {
        if text.is_empty() {
            return Err("Version string empty".into());
        }
        let (core, build) = text.split_once('+').map_or((text, None), |(core, build)| (core, Some(build)));
        let (core, pre) = core.split_once('-').map_or((core, None), |(core, pre)| (core, Some(pre)));
        let parts: Vec<&str> = core.splitn(3, '.').collect();
        let [major, minor, patch] = parts.as_slice() else {
            return Err("No Major.Minor.Patch elements found".into());
        };
        let numbers = [number("major", major)?, number("minor", minor)?, number("patch", patch)?];
        let mut version = Version { numbers, pre: Vec::new(), build: Vec::new() };
        for part in pre.into_iter().flat_map(|pre| pre.split('.')) {
            if part.is_empty() {
                return Err("prerelease is empty".into());
            }
            if part.bytes().all(|b| b.is_ascii_digit()) {
                if part.len() > 1 && part.starts_with('0') {
                    return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
                }
            } else if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return Err(format!("Invalid character(s) found in prerelease {part:?}"));
            }
            version.pre.push(part.into());
        }
        for part in build.into_iter().flat_map(|build| build.split('.')) {
            if part.is_empty() {
                return Err("Build meta data is empty".into());
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return Err(format!("Invalid character(s) found in build meta data {part:?}"));
            }
            version.build.push(part.into());
        }
        Ok(version)
    }

    /// Reads what is almost a version.
    fn normalized(text: &str) -> Result<Version, String> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".into());
        }
        parts.resize(3, "0".into());
        Version::parse(&parts.join("."))
    }

    /// The order of versions; build data does not count.
    pub fn order(&self, other: &Version) -> Ordering {
        let pre = match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let mut parts = self.pre.iter().zip(&other.pre).map(|(a, b)| part_order(a, b));
                parts.find(|o| o.is_ne()).unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then(pre)
    }
}

fn part_order(a: &str, b: &str) -> Ordering {
    let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    match (numeric(a), numeric(b)) {
        (true, true) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a.cmp(b),
    }
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    let mut title = name.to_string();
    title[..1].make_ascii_uppercase();
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {name} number {text:?}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        return Err(format!("{title} number must not contain leading zeroes {text:?}"));
    }
    text.parse().map_err(|_| format!("strconv.ParseUint: parsing {text:?}: value out of range"))
}

fn without_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.into();
    }
    let trimmed = part.trim_start_matches('0');
    if trimmed.starts_with(|c: char| c.is_ascii_digit()) { trimmed.into() } else { format!("0{trimmed}") }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre.is_empty() {
            write!(f, "-{}", self.pre.join("."))?;
        }
        if !self.build.is_empty() {
            write!(f, "+{}", self.build.join("."))?;
        }
        Ok(())
    }
}

fn read(args: &[Val<'_>]) -> Fallible<Result<Version, String>> {
    let text = text(args, 0)?;
    match args.get(1) {
        Some(Val::Bool(true)) => Ok(Version::normalized(text)),
        Some(Val::Bool(false)) => Ok(Version::parse(text)),
        _ => Err(EvalError::no_overload()),
    }
}

fn get<'v>(args: &'v [Val<'_>], at: usize) -> Fallible<&'v Version> {
    match args.get(at) {
        Some(Val::Opaque(opaque)) => match &**opaque {
            Opaque::Semver(version) => Ok(version),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let order = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-2a",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.0.10",
        ];
        let mut versions: Vec<Version> = order.iter().filter_map(|v| Version::parse(v).ok()).collect();
        versions.sort_by(Version::order);
        let sorted: Vec<String> = versions.iter().map(Version::to_string).collect();
        assert_eq!(sorted[0], "1.0.0-2a");
        assert_eq!(sorted[sorted.len() - 2..], ["1.0.0", "1.0.10"]);
        assert_eq!(sorted.len(), order.len());
    }
}
