//! Lists: Kubernetes' own functions and version 3 of the lists extension.

use super::{Row, int};
use crate::{
    budget::PER_CALL,
    types::Type,
    val::{EvalError, Fallible, List, Val, compare, equal},
};
use std::{cmp::Ordering, sync::Arc};

pub(super) const ROWS: &[Row] = &[
    ("indexOf", "list_a_index_of_int", "list<A>.(A) int", index_of),
    ("lastIndexOf", "list_a_last_index_of_int", "list<A>.(A) int", last_index_of),
    ("slice", "list_slice", "list<A>.(int,int) list<A>", slice),
    ("flatten", "list_flatten", "list<list<A>>.() list<A>", flatten),
    ("flatten", "list_flatten_int", "list<dyn>.(int) list<dyn>", flatten),
    ("lists.range", "lists_range", "(int) list<int>", range),
    ("reverse", "list_reverse", "list<A>.() list<A>", |a| {
        let mut items = items(a, 0)?;
        items.reverse();
        Ok(Val::list(items))
    }),
    ("distinct", "list_distinct", "list<A>.() list<A>", distinct),
];

/// One overload per type that has an order, or that can be summed up.
macro_rules! typed {
    ($(($function:literal, $before:literal, $ty:literal, $after:literal, $result:literal, $run:ident)),+ $(,)?) => {
        &[$(($function, concat!($before, $ty, $after), concat!("list<", $ty, ">.() ", $result), $run)),+]
    };
}
macro_rules! keyed {
    ($($ty:literal),+) => { &[$((
        "@sortByAssociatedKeys",
        concat!("list_", $ty, "_sortByAssociatedKeys"),
        concat!("list<A>.(list<", $ty, ">) list<A>"),
        sort_by,
    )),+] };
}

pub(super) const KEYED: &[Row] = keyed!("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes");

pub(super) const TYPED: &[Row] = typed![
    ("isSorted", "list_", "int", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "uint", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "double", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "bool", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "duration", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "timestamp", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "string", "_is_sorted_bool", "bool", is_sorted),
    ("isSorted", "list_", "bytes", "_is_sorted_bool", "bool", is_sorted),
    ("sum", "list_", "int", "_sum_int", "int", sum_int),
    ("sum", "list_", "uint", "_sum_uint", "uint", sum_uint),
    ("sum", "list_", "double", "_sum_double", "double", sum_double),
    ("sum", "list_", "duration", "_sum_duration", "duration", sum_duration),
    ("max", "list_", "int", "_max_int", "int", max),
    ("max", "list_", "uint", "_max_uint", "uint", max),
    ("max", "list_", "double", "_max_double", "double", max),
    ("max", "list_", "bool", "_max_bool", "bool", max),
    ("max", "list_", "duration", "_max_duration", "duration", max),
    ("max", "list_", "timestamp", "_max_timestamp", "timestamp", max),
    ("max", "list_", "string", "_max_string", "string", max),
    ("max", "list_", "bytes", "_max_bytes", "bytes", max),
    ("min", "list_", "int", "_min_int", "int", min),
    ("min", "list_", "uint", "_min_uint", "uint", min),
    ("min", "list_", "double", "_min_double", "double", min),
    ("min", "list_", "bool", "_min_bool", "bool", min),
    ("min", "list_", "duration", "_min_duration", "duration", min),
    ("min", "list_", "timestamp", "_min_timestamp", "timestamp", min),
    ("min", "list_", "string", "_min_string", "string", min),
    ("min", "list_", "bytes", "_min_bytes", "bytes", min),
    ("sort", "list_", "int", "_sort", "list<int>", sort),
    ("sort", "list_", "uint", "_sort", "list<uint>", sort),
    ("sort", "list_", "double", "_sort", "list<double>", sort),
    ("sort", "list_", "bool", "_sort", "list<bool>", sort),
    ("sort", "list_", "duration", "_sort", "list<duration>", sort),
    ("sort", "list_", "timestamp", "_sort", "list<timestamp>", sort),
    ("sort", "list_", "string", "_sort", "list<string>", sort),
    ("sort", "list_", "bytes", "_sort", "list<bytes>", sort),
];

fn list<'v, 'a>(args: &'v [Val<'a>], at: usize) -> Fallible<&'v List<'a>> {
    match args.get(at) {
        Some(Val::List(list)) => Ok(list),
        _ => Err(EvalError::no_overload()),
    }
}
fn items<'a>(args: &[Val<'a>], at: usize) -> Fallible<Vec<Val<'a>>> {
    list(args, at)?.to_vec()
}

fn index_of<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (list, wanted) = (list(args, 0)?, args.get(1).ok_or_else(EvalError::no_overload)?);
    for (i, item) in list.iter().enumerate() {
        if equal(&item?, wanted) {
            return Ok(Val::Int(i as i64));
        }
    }
    Ok(Val::Int(-1))
}

fn last_index_of<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (items, wanted) = (items(args, 0)?, args.get(1).ok_or_else(EvalError::no_overload)?);
    Ok(Val::Int(items.iter().rposition(|item| equal(item, wanted)).map_or(-1, |i| i as i64)))
}

fn slice<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (list, start, end) = (list(args, 0)?, int(args, 1)?, int(args, 2)?);
    let wrong = |why: String| Err(EvalError::new(format!("cannot slice({start}, {end}), {why}")));
    if start < 0 || end < 0 {
        return wrong("negative indexes not supported".into());
    }
    if start > end {
        return wrong("start index must be less than or equal to end index".into());
    }
    if end > list.len() as i64 {
        return wrong(format!("list is length {}", list.len()));
    }
    let part: Fallible<Vec<Val<'a>>> = (start..end).filter_map(|i| list.get(i as usize)).collect();
    part.map(Val::list)
}

fn flatten<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let depth = if args.len() > 1 { int(args, 1)? } else { 1 };
    if depth < 0 {
        return Err(EvalError::new("level must be non-negative"));
    }
    let mut out = Vec::new();
    flat(list(args, 0)?, depth, &mut out)?;
    Ok(Val::list(out))
}

fn flat<'a>(list: &List<'a>, depth: i64, out: &mut Vec<Val<'a>>) -> Fallible<()> {
    for item in list.iter() {
        match item? {
            Val::List(below) if depth > 0 => flat(&below, depth - 1, out)?,
            other => out.push(other),
        }
    }
    Ok(())
}

fn range<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let n = int(args, 0)?;
    // Each element costs 1: a longer list is beyond any call, and need not be made to find that out.
    if n > PER_CALL as i64 {
        return Err(EvalError::CallCost);
    }
    Ok(Val::list((0..n).map(Val::Int).collect()))
}

fn distinct<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let mut out: Vec<Val<'a>> = Vec::new();
    for item in list(args, 0)?.iter() {
        let item = item?;
        if !out.iter().any(|have| equal(have, &item)) {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

fn is_sorted<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let items = items(args, 0)?;
    for pair in items.windows(2) {
        if compare(&pair[0], &pair[1]).ok_or_else(EvalError::no_overload)?.is_gt() {
            return Ok(Val::Bool(false));
        }
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(args: &[Val<'a>], zero: Val<'a>) -> Fallible<Val<'a>> {
    let mut total = zero;
    for item in list(args, 0)?.iter() {
        total = super::arithmetic::add(&[total, item?])?;
    }
    Ok(total)
}
fn sum_int<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    // Dynamic lists come here first: the first element tells what is summed up.
    match list(args, 0)?.get(0) {
        Some(Ok(Val::Uint(_))) => sum_uint(args),
        Some(Ok(Val::Double(_))) => sum_double(args),
        Some(Ok(Val::Duration(_))) => sum_duration(args),
        _ => sum(args, Val::Int(0)),
    }
}
fn sum_uint<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    sum(args, Val::Uint(0))
}
fn sum_double<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    sum(args, Val::Double(0.0))
}
fn sum_duration<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    sum(args, Val::Duration(0))
}

fn extreme<'a>(args: &[Val<'a>], name: &str, wanted: Ordering) -> Fallible<Val<'a>> {
    let mut best: Option<Val<'a>> = None;
    for item in list(args, 0)?.iter() {
        let item = item?;
        best = Some(match best {
            None => item,
            Some(have) if compare(&item, &have).ok_or_else(EvalError::no_overload)? == wanted => item,
            Some(have) => have,
        });
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}
fn min<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    extreme(args, "min", Ordering::Less)
}
fn max<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    extreme(args, "max", Ordering::Greater)
}

fn sort<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let keys = args.first().cloned().ok_or_else(EvalError::no_overload)?;
    sort_by(&[keys.clone(), keys])
}

fn sort_by<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (items, keys) = (items(args, 0)?, items(args, 1)?);
    if items.len() != keys.len() {
        let message = format!(
            "@sortByAssociatedKeys() expected a list of the same size as the associated keys list, but got {} and {} \
             elements respectively",
            items.len(),
            keys.len()
        );
        return Err(EvalError::new(message));
    }
    let Some(first) = keys.first() else { return Ok(Val::list(items)) };
    let ty = first.type_of();
    if compare(first, first).is_none() || matches!(ty, Type::Library { .. }) {
        return Err(EvalError::new("list elements must be comparable"));
    }
    if keys.iter().any(|key| key.type_of() != ty) {
        return Err(EvalError::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..keys.len()).collect();
    order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(Ordering::Equal));
    let sorted: Vec<Val<'a>> = order.into_iter().map(|i| items[i].clone()).collect();
    Ok(Val::List(List::Vals(Arc::new(sorted), None)))
}
