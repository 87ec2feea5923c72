//! Order, equality, membership and size.

use super::{Row, arithmetic::unreachable};
use crate::val::{EvalError, Fallible, Val, compare};
use std::cmp::Ordering;

/// One operator over all pairs of types that have an order.
macro_rules! ordered {
    ($operator:literal, $name:literal, $run:ident) => {
        &[
            ($operator, concat!($name, "_bool"), "(bool,bool) bool", $run),
            ($operator, concat!($name, "_int64"), "(int,int) bool", $run),
            ($operator, concat!($name, "_int64_double"), "(int,double) bool", $run),
            ($operator, concat!($name, "_int64_uint64"), "(int,uint) bool", $run),
            ($operator, concat!($name, "_uint64"), "(uint,uint) bool", $run),
            ($operator, concat!($name, "_uint64_double"), "(uint,double) bool", $run),
            ($operator, concat!($name, "_uint64_int64"), "(uint,int) bool", $run),
            ($operator, concat!($name, "_double"), "(double,double) bool", $run),
            ($operator, concat!($name, "_double_int64"), "(double,int) bool", $run),
            ($operator, concat!($name, "_double_uint64"), "(double,uint) bool", $run),
            ($operator, concat!($name, "_string"), "(string,string) bool", $run),
            ($operator, concat!($name, "_bytes"), "(bytes,bytes) bool", $run),
            ($operator, concat!($name, "_timestamp"), "(timestamp,timestamp) bool", $run),
            ($operator, concat!($name, "_duration"), "(duration,duration) bool", $run),
        ]
    };
}

pub(super) const LESS: &[Row] = ordered!("_<_", "less", less);
pub(super) const LESS_EQUALS: &[Row] = ordered!("_<=_", "less_equals", less_equals);
pub(super) const GREATER: &[Row] = ordered!("_>_", "greater", greater);
pub(super) const GREATER_EQUALS: &[Row] = ordered!("_>=_", "greater_equals", greater_equals);

pub(super) const ROWS: &[Row] = &[
    ("_==_", "equals", "(A,A) bool", unreachable),
    ("_!=_", "not_equals", "(A,A) bool", unreachable),
    ("@in", "in_list", "(A,list<A>) bool", contains),
    ("@in", "in_map", "(A,map<A,B>) bool", contains),
    ("size", "size_bytes", "(bytes) int", size),
    ("size", "bytes_size", "bytes.() int", size),
    ("size", "size_list", "(list<A>) int", size),
    ("size", "list_size", "list<A>.() int", size),
    ("size", "size_map", "(map<A,B>) int", size),
    ("size", "map_size", "map<A,B>.() int", size),
    ("size", "size_string", "(string) int", size),
    ("size", "string_size", "string.() int", size),
];

fn ordered<'a>(args: &[Val<'a>], wanted: fn(Ordering) -> bool) -> Fallible<Val<'a>> {
    let [a, b] = args else { return Err(EvalError::no_overload()) };
    match compare(a, b) {
        Some(order) => Ok(Val::Bool(wanted(order))),
        None if [a, b].iter().any(|v| matches!(v, Val::Double(n) if n.is_nan())) => {
            Err(EvalError::new("NaN values cannot be ordered"))
        }
        None => Err(EvalError::no_overload()),
    }
}
fn less<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    ordered(args, Ordering::is_lt)
}
fn less_equals<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    ordered(args, Ordering::is_le)
}
fn greater<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    ordered(args, Ordering::is_gt)
}
fn greater_equals<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    ordered(args, Ordering::is_ge)
}

fn contains<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [item, Val::List(list)] => list.contains(item).map(Val::Bool),
        [key, Val::Map(map)] => Ok(Val::Bool(map.get(key).is_some())),
        [Val::String(key), Val::Object(map, _)] => Ok(Val::Bool(map.contains_key(key))),
        _ => Err(EvalError::no_overload()),
    }
}

fn size<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    match args {
        [val @ (Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) | Val::Object(..))] => {
            Ok(Val::Int(val.size() as i64))
        }
        _ => Err(EvalError::no_overload()),
    }
}
