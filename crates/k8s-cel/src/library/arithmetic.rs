//! Operators of numbers, texts, lists and times.

use super::{Row, times};
use crate::val::{EvalError, Fallible, Text, Val};

pub(super) const ROWS: &[Row] = &[
    ("_+_", "add_bytes", "(bytes,bytes) bytes", add),
    ("_+_", "add_double", "(double,double) double", add),
    ("_+_", "add_duration_duration", "(duration,duration) duration", add),
    ("_+_", "add_duration_timestamp", "(duration,timestamp) timestamp", add),
    ("_+_", "add_timestamp_duration", "(timestamp,duration) timestamp", add),
    ("_+_", "add_int64", "(int,int) int", add),
    ("_+_", "add_list", "(list<A>,list<A>) list<A>", add),
    ("_+_", "add_string", "(string,string) string", add),
    ("_+_", "add_uint64", "(uint,uint) uint", add),
    ("_-_", "subtract_double", "(double,double) double", subtract),
    ("_-_", "subtract_duration_duration", "(duration,duration) duration", subtract),
    ("_-_", "subtract_int64", "(int,int) int", subtract),
    ("_-_", "subtract_timestamp_duration", "(timestamp,duration) timestamp", subtract),
    ("_-_", "subtract_timestamp_timestamp", "(timestamp,timestamp) duration", subtract),
    ("_-_", "subtract_uint64", "(uint,uint) uint", subtract),
    ("_*_", "multiply_double", "(double,double) double", multiply),
    ("_*_", "multiply_int64", "(int,int) int", multiply),
    ("_*_", "multiply_uint64", "(uint,uint) uint", multiply),
    ("_/_", "divide_double", "(double,double) double", divide),
    ("_/_", "divide_int64", "(int,int) int", divide),
    ("_/_", "divide_uint64", "(uint,uint) uint", divide),
    ("_%_", "modulo_int64", "(int,int) int", modulo),
    ("_%_", "modulo_uint64", "(uint,uint) uint", modulo),
    ("-_", "negate_double", "(double) double", negate),
    ("-_", "negate_int64", "(int) int", negate),
    ("!_", "logical_not", "(bool) bool", not),
    // Evaluated by nodes of their own; here for the checker.
    ("_&&_", "logical_and", "(bool,bool) bool", unreachable),
    ("_||_", "logical_or", "(bool,bool) bool", unreachable),
    ("_?_:_", "conditional", "(bool,A,A) A", unreachable),
    ("@not_strictly_false", "not_strictly_false", "(bool) bool", unreachable),
    ("_[_]", "index_list", "(list<A>,int) A", unreachable),
    ("_[_]", "index_map", "(map<A,B>,A) B", unreachable),
];

/// Bytes of the longest text that an expression may make: walking it would use up a call's budget.
pub(super) const LONGEST: usize = 10_000_000;

fn overflow(kind: &str) -> EvalError {
    EvalError::new(match kind {
        "" => "integer overflow".to_string(),
        kind => format!("{kind} overflow"),
    })
}

/// A node evaluates it: nothing calls this.
pub(super) fn unreachable<'a>(_: &[Val<'a>]) -> Fallible<Val<'a>> {
    Err(EvalError::no_overload())
}

pub(super) fn add<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let [a, b] = args else { return Err(EvalError::no_overload()) };
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => a.checked_add(*b).map(Val::Int).ok_or_else(|| overflow("")),
        (Val::Uint(a), Val::Uint(b)) => a.checked_add(*b).map(Val::Uint).ok_or_else(|| overflow("unsigned integer")),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::String(a), Val::String(b)) => {
            if a.len() + b.len() > LONGEST {
                return Err(EvalError::CallCost);
            }
            let mut text = String::with_capacity(a.len() + b.len());
            text.push_str(a);
            text.push_str(b);
            Ok(Val::String(Text::Shared(text.into())))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            if a.len() + b.len() > LONGEST {
                return Err(EvalError::CallCost);
            }
            Ok(Val::Bytes([&**a, &**b].concat().into()))
        }
        (Val::List(a), Val::List(b)) => a.concat(b).map(Val::List),
        (Val::Duration(a), Val::Duration(b)) => {
            a.checked_add(*b).map(Val::Duration).ok_or_else(|| overflow("duration"))
        }
        (Val::Timestamp(t), Val::Duration(d)) | (Val::Duration(d), Val::Timestamp(t)) => {
            times::shift(*t, i128::from(*d)).map(Val::Timestamp).ok_or_else(|| overflow("timestamp"))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn subtract<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let [a, b] = args else { return Err(EvalError::no_overload()) };
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => a.checked_sub(*b).map(Val::Int).ok_or_else(|| overflow("")),
        (Val::Uint(a), Val::Uint(b)) => a.checked_sub(*b).map(Val::Uint).ok_or_else(|| overflow("unsigned integer")),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a - b)),
        (Val::Duration(a), Val::Duration(b)) => {
            a.checked_sub(*b).map(Val::Duration).ok_or_else(|| overflow("duration"))
        }
        (Val::Timestamp(t), Val::Duration(d)) => {
            times::shift(*t, -i128::from(*d)).map(Val::Timestamp).ok_or_else(|| overflow("timestamp"))
        }
        (Val::Timestamp(a), Val::Timestamp(b)) => {
            let nanos = a.as_nanos() - b.as_nanos();
            i64::try_from(nanos).map(Val::Duration).map_err(|_| overflow("duration"))
        }
        _ => Err(EvalError::no_overload()),
    }
}

fn multiply<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(a), Val::Int(b)] => a.checked_mul(*b).map(Val::Int).ok_or_else(|| overflow("")),
        [Val::Uint(a), Val::Uint(b)] => a.checked_mul(*b).map(Val::Uint).ok_or_else(|| overflow("unsigned integer")),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a * b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn divide<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => Err(EvalError::new("division by zero")),
        [Val::Int(a), Val::Int(b)] => a.checked_div(*b).map(Val::Int).ok_or_else(|| overflow("")),
        [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(a / b)),
        [Val::Double(a), Val::Double(b)] => Ok(Val::Double(a / b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn modulo<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)] => Err(EvalError::new("modulus by zero")),
        [Val::Int(a), Val::Int(b)] => a.checked_rem(*b).map(Val::Int).ok_or_else(|| overflow("")),
        [Val::Uint(a), Val::Uint(b)] => Ok(Val::Uint(a % b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn negate<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Int(n)] => n.checked_neg().map(Val::Int).ok_or_else(|| overflow("")),
        [Val::Double(n)] => Ok(Val::Double(-n)),
        _ => Err(EvalError::no_overload()),
    }
}

fn not<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [Val::Bool(b)] => Ok(Val::Bool(!b)),
        _ => Err(EvalError::no_overload()),
    }
}
