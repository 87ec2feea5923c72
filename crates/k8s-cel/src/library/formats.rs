//! Named formats: `format.dns1123Label().validate(text)` is absent where the text is right, and else a list of what is wrong.

use super::{Opaque, Row, Run, text, times, url::Url};
use crate::val::{EvalError, Fallible, Val};
use base::names;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::Arc;

/// A format that texts are held against.
#[derive(Debug)]
pub struct NamedFormat {
    pub name: &'static str,
    /// The length of the pattern behind it, which costs are counted by.
    pub regex_size: u64,
    check: fn(&str) -> Vec<String>,
}

static FORMATS: [(&str, NamedFormat); 13] = [
    ("dns1123Label", NamedFormat { name: "DNS1123Label", regex_size: 30, check: |s| faults(names::label(s)) }),
    (
        "dns1123Subdomain",
        NamedFormat { name: "DNS1123Subdomain", regex_size: 60, check: |s| faults(names::subdomain(s)) },
    ),
    ("dns1035Label", NamedFormat { name: "DNS1035Label", regex_size: 30, check: |s| faults(names::label1035(s)) }),
    (
        "qualifiedName",
        NamedFormat { name: "QualifiedName", regex_size: 60, check: |s| faults(names::qualified_name(s)) },
    ),
    (
        "dns1123LabelPrefix",
        NamedFormat { name: "DNS1123LabelPrefix", regex_size: 30, check: |s| faults(names::label(&masked(s))) },
    ),
    (
        "dns1123SubdomainPrefix",
        NamedFormat { name: "DNS1123SubdomainPrefix", regex_size: 60, check: |s| faults(names::subdomain(&masked(s))) },
    ),
    (
        "dns1035LabelPrefix",
        NamedFormat { name: "DNS1035LabelPrefix", regex_size: 30, check: |s| faults(names::label1035(&masked(s))) },
    ),
    ("labelValue", NamedFormat { name: "LabelValue", regex_size: 40, check: |s| faults(names::label_value(s)) }),
    ("uri", NamedFormat { name: "URI", regex_size: 1103, check: |s| faults(Url::parse(s).map(|_| ())) }),
    (
        "uuid",
        NamedFormat { name: "uuid", regex_size: 70, check: |s| unless(is_uuid(s), "does not match the UUID format") },
    ),
    (
        "byte",
        NamedFormat { name: "byte", regex_size: 84, check: |s| unless(STANDARD.decode(s).is_ok(), "invalid base64") },
    ),
    ("date", NamedFormat { name: "date", regex_size: 71, check: |s| unless(is_date(s), "invalid date") }),
    (
        "datetime",
        NamedFormat {
            name: "datetime",
            regex_size: 71,
            check: |s| unless(times::parse_time(s).is_some(), "invalid datetime"),
        },
    ),
];

/// The functions that give a format: `format.uuid()`.
pub(super) const CONSTANTS: &[(&str, Run)] = &[
    ("format.dns1123Label", |_| Ok(named("dns1123Label"))),
    ("format.dns1123Subdomain", |_| Ok(named("dns1123Subdomain"))),
    ("format.dns1035Label", |_| Ok(named("dns1035Label"))),
    ("format.qualifiedName", |_| Ok(named("qualifiedName"))),
    ("format.dns1123LabelPrefix", |_| Ok(named("dns1123LabelPrefix"))),
    ("format.dns1123SubdomainPrefix", |_| Ok(named("dns1123SubdomainPrefix"))),
    ("format.dns1035LabelPrefix", |_| Ok(named("dns1035LabelPrefix"))),
    ("format.labelValue", |_| Ok(named("labelValue"))),
    ("format.uri", |_| Ok(named("uri"))),
    ("format.uuid", |_| Ok(named("uuid"))),
    ("format.byte", |_| Ok(named("byte"))),
    ("format.date", |_| Ok(named("date"))),
    ("format.datetime", |_| Ok(named("datetime"))),
];

pub(super) const ROWS: &[Row] = &[
    ("format.named", "format-named", "(string) optional<Format>", |a| {
        Ok(find(text(a, 0)?).map_or(Val::Optional(None), |format| Val::some(Opaque::Format(format).into())))
    }),
    ("validate", "format-validate", "Format.(string) optional<list<string>>", validate),
];

fn find(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|(have, _)| *have == name).map(|(_, format)| format)
}

fn named(name: &str) -> Val<'static> {
    find(name).map_or(Val::Null, |format| Val::Opaque(Arc::new(Opaque::Format(format))))
}

fn validate<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let Some(Val::Opaque(opaque)) = args.first() else { return Err(EvalError::no_overload()) };
    let Opaque::Format(format) = &**opaque else { return Err(EvalError::no_overload()) };
    let faults = (format.check)(text(args, 1)?);
    if faults.is_empty() {
        return Ok(Val::Optional(None));
    }
    Ok(Val::some(Val::list(faults.into_iter().map(Val::from).collect())))
}

fn faults(check: Result<(), String>) -> Vec<String> {
    check.err().into_iter().collect()
}
fn unless(right: bool, fault: &str) -> Vec<String> {
    if right { Vec::new() } else { vec![fault.into()] }
}

/// A prefix is right where it would be with something behind its dash.
fn masked(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(before) if !before.is_empty() => format!("{before}a"),
        _ => prefix.into(),
    }
}

fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (i, length) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if i > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        match rest.get(..length) {
            Some(part) if part.bytes().all(|b| b.is_ascii_hexdigit()) => rest = &rest[length..],
            _ => return false,
        }
    }
    rest.is_empty()
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && times::parse_time(&format!("{text}T00:00:00Z")).is_some()
}
