//! Conversions between types, named as their results.

use super::{Row, times};
use crate::{
    types::Type,
    val::{EvalError, Fallible, Val, duration_text, number_text},
};

pub(super) const ROWS: &[Row] = &[
    ("bool", "bool_to_bool", "(bool) bool", same),
    ("bool", "string_to_bool", "(string) bool", to_bool),
    ("bytes", "bytes_to_bytes", "(bytes) bytes", same),
    ("bytes", "string_to_bytes", "(string) bytes", to_bytes),
    ("double", "double_to_double", "(double) double", same),
    ("double", "int64_to_double", "(int) double", to_double),
    ("double", "string_to_double", "(string) double", to_double),
    ("double", "uint64_to_double", "(uint) double", to_double),
    ("duration", "duration_to_duration", "(duration) duration", same),
    ("duration", "int64_to_duration", "(int) duration", to_duration),
    ("duration", "string_to_duration", "(string) duration", to_duration),
    ("dyn", "to_dyn", "(A) dyn", same),
    ("int", "int64_to_int64", "(int) int", same),
    ("int", "double_to_int64", "(double) int", to_int),
    ("int", "duration_to_int64", "(duration) int", to_int),
    ("int", "string_to_int64", "(string) int", to_int),
    ("int", "timestamp_to_int64", "(timestamp) int", to_int),
    ("int", "uint64_to_int64", "(uint) int", to_int),
    ("string", "string_to_string", "(string) string", same),
    ("string", "bool_to_string", "(bool) string", to_string),
    ("string", "bytes_to_string", "(bytes) string", to_string),
    ("string", "double_to_string", "(double) string", to_string),
    ("string", "duration_to_string", "(duration) string", to_string),
    ("string", "int64_to_string", "(int) string", to_string),
    ("string", "timestamp_to_string", "(timestamp) string", to_string),
    ("string", "uint64_to_string", "(uint) string", to_string),
    ("string", "ip_to_string", "(IP) string", to_string),
    ("string", "cidr_to_string", "(CIDR) string", to_string),
    ("timestamp", "timestamp_to_timestamp", "(timestamp) timestamp", same),
    ("timestamp", "int64_to_timestamp", "(int) timestamp", to_timestamp),
    ("timestamp", "string_to_timestamp", "(string) timestamp", to_timestamp),
    ("type", "type", "(A) type", type_of),
    ("uint", "uint64_to_uint64", "(uint) uint", same),
    ("uint", "double_to_uint64", "(double) uint", to_uint),
    ("uint", "int64_to_uint64", "(int) uint", to_uint),
    ("uint", "string_to_uint64", "(string) uint", to_uint),
];

fn range(kind: &str) -> EvalError {
    EvalError::new(format!("{kind} overflow"))
}
fn refused(from: &str, to: &str) -> EvalError {
    EvalError::new(format!("type conversion error from '{from}' to '{to}'"))
}
/// As Go's strconv says it.
fn syntax(function: &str, text: &str) -> EvalError {
    EvalError::new(format!("strconv.{function}: parsing {text:?}: invalid syntax"))
}

fn same<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    args.first().cloned().ok_or_else(EvalError::no_overload)
}

fn to_bool<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match super::text(args, 0)? {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
        _ => Err(refused("string", "bool")),
    }
}

fn to_bytes<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    Ok(Val::Bytes(super::text(args, 0)?.as_bytes().into()))
}

fn to_double<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(n)] => Ok(Val::Double(*n as f64)),
        [Val::Uint(n)] => Ok(Val::Double(*n as f64)),
        [Val::String(text)] => {
            text.trim_start_matches('+').parse().map(Val::Double).map_err(|_| syntax("ParseFloat", text))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn to_int<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Double(n)] if n.is_finite() && *n > i64::MIN as f64 && *n < i64::MAX as f64 => Ok(Val::Int(*n as i64)),
        [Val::Double(_)] => Err(range("integer")),
        [Val::Uint(n)] => i64::try_from(*n).map(Val::Int).map_err(|_| range("integer")),
        [Val::Duration(nanos)] => Ok(Val::Int(*nanos)),
        [Val::Timestamp(t)] => Ok(Val::Int(t.as_seconds())),
        [Val::String(text)] => text.parse().map(Val::Int).map_err(|_| syntax("ParseInt", text)),
        _ => Err(EvalError::no_overload()),
    }
}

fn to_uint<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Double(n)] if *n >= 0.0 && *n < u64::MAX as f64 => Ok(Val::Uint(*n as u64)),
        [Val::Double(_)] => Err(range("unsigned integer")),
        [Val::Int(n)] => u64::try_from(*n).map(Val::Uint).map_err(|_| range("unsigned integer")),
        [Val::String(text)] => text.parse().map(Val::Uint).map_err(|_| syntax("ParseUint", text)),
        _ => Err(EvalError::no_overload()),
    }
}

fn to_string<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let text = match args {
        [Val::Bytes(bytes)] => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_string(),
            Err(_) => return Err(EvalError::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        [Val::Double(n)] => number_text(*n),
        [Val::Duration(nanos)] => duration_text(*nanos),
        [Val::Timestamp(t)] => t.to_string(),
        [val @ (Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Opaque(_))] => val.to_string(),
        _ => return Err(EvalError::no_overload()),
    };
    Ok(Val::from(text))
}

fn to_duration<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(nanos)] => Ok(Val::Duration(*nanos)),
        [Val::String(text)] => {
            times::parse_duration(text).map(Val::Duration).ok_or_else(|| refused("string", "google.protobuf.Duration"))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn to_timestamp<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(seconds)] => {
            times::Instant::from_seconds(*seconds).map(Val::Timestamp).ok_or_else(|| range("timestamp"))
        }
        [Val::String(text)] => {
            times::parse_time(text).map(Val::Timestamp).ok_or_else(|| refused("string", "google.protobuf.Timestamp"))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn type_of<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    Ok(Val::Type(args.first().map_or(Type::Dyn, Val::type_of)))
}
