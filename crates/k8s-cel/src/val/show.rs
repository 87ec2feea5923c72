//! Values as texts: in messages, in `string()` and in `%s`.

use super::{Val, to_tree};
use base::time::SignedDuration;
use std::fmt;

impl fmt::Display for Val<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Null => f.write_str("null"),
            Val::Bool(b) => write!(f, "{b}"),
            Val::Int(n) => write!(f, "{n}"),
            Val::Uint(n) => write!(f, "{n}"),
            Val::Double(n) => f.write_str(&number_text(*n)),
            Val::String(text) => f.write_str(text),
            Val::Bytes(bytes) => f.write_str(&String::from_utf8_lossy(bytes)),
            Val::Timestamp(t) => write!(f, "{t}"),
            Val::Duration(nanos) => f.write_str(&duration_text(*nanos)),
            Val::Type(ty) => f.write_str(ty.name()),
            Val::Optional(None) => f.write_str("optional.none()"),
            Val::Optional(Some(inner)) => write!(f, "optional({inner})"),
            Val::Opaque(opaque) => write!(f, "{opaque}"),
            other => match to_tree(other) {
                Ok(tree) => write!(f, "{tree}"),
                Err(_) => f.write_str(other.type_of().name()),
            },
        }
    }
}

/// The shortest text that reads as the same double; large and small ones in scientific form, as Go's `%g` has it.
pub(crate) fn number_text(n: f64) -> String {
    if n.is_nan() {
        return "NaN".into();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    if n == 0.0 {
        return if n.is_sign_negative() { "-0".into() } else { "0".into() };
    }
    let scientific = format!("{n:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or(0);
    if (-4..21).contains(&power) {
        return format!("{n}");
    }
    format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

/// Seconds, as JSON has durations: `90s`, `1.5s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    let duration = SignedDuration::from_nanos(nanos);
    let (seconds, rest) = (duration.as_secs(), duration.subsec_nanos().unsigned_abs());
    let sign = if nanos < 0 { "-" } else { "" };
    let seconds = seconds.unsigned_abs();
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}
