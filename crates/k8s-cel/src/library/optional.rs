//! Optional values, and what loops over two variables build maps with.

use super::{Row, arithmetic::unreachable};
use crate::val::{EvalError, Fallible, List, Map, MapVals, Val};
use std::sync::Arc;

pub(super) const ROWS: &[Row] = &[
    ("optional.of", "optional_of", "(V) optional<V>", |a| Ok(Val::some(first(a)?))),
    ("optional.ofNonZeroValue", "optional_ofNonZeroValue", "(V) optional<V>", |a| {
        let val = first(a)?;
        Ok(if val.is_zero() { Val::Optional(None) } else { Val::some(val) })
    }),
    ("optional.none", "optional_none", "() optional<A>", |_| Ok(Val::Optional(None))),
    ("value", "optional_value", "optional<V>.() V", |a| match first(a)? {
        Val::Optional(Some(inner)) => Ok((*inner).clone()),
        Val::Optional(None) => Err(EvalError::new("optional.none() dereference")),
        _ => Err(EvalError::no_overload()),
    }),
    ("hasValue", "optional_hasValue", "optional<V>.() bool", |a| match first(a)? {
        Val::Optional(inner) => Ok(Val::Bool(inner.is_some())),
        _ => Err(EvalError::no_overload()),
    }),
    ("first", "list_first", "list<V>.() optional<V>", |a| at(a, |_| 0)),
    ("last", "list_last", "list<V>.() optional<V>", |a| at(a, |list| list.len().saturating_sub(1))),
    ("optional.unwrap", "optional_unwrap", "(list<optional<V>>) list<V>", unwrap),
    ("unwrapOpt", "optional_unwrapOpt", "list<optional<V>>.() list<V>", unwrap),
    // Evaluated by nodes of their own; here for the checker.
    ("or", "optional_or_optional", "optional<V>.(optional<V>) optional<V>", unreachable),
    ("orValue", "optional_orValue_value", "optional<V>.(V) V", unreachable),
    ("_[?_]", "list_optindex_optional_int", "(list<V>,int) optional<V>", unreachable),
    ("_[?_]", "optional_list_optindex_optional_int", "(optional<list<V>>,int) optional<V>", unreachable),
    ("_[?_]", "map_optindex_optional_value", "(map<K,V>,K) optional<V>", unreachable),
    ("_[?_]", "optional_map_optindex_optional_value", "(optional<map<K,V>>,K) optional<V>", unreachable),
    ("_[_]", "optional_list_index_int", "(optional<list<V>>,int) optional<V>", unreachable),
    ("_[_]", "optional_map_index_value", "(optional<map<K,V>>,K) optional<V>", unreachable),
    ("cel.@mapInsert", "@mapInsert_map_key_value", "(map<A,B>,A,B) map<A,B>", insert),
    ("cel.@mapInsert", "@mapInsert_map_map", "(map<A,B>,map<A,B>) map<A,B>", merge),
];

fn first<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    args.first().cloned().ok_or_else(EvalError::no_overload)
}

fn at<'a>(args: &[Val<'a>], index: fn(&List<'a>) -> usize) -> Fallible<Val<'a>> {
    let [Val::List(list)] = args else { return Err(EvalError::no_overload()) };
    Ok(list.get(index(list)).transpose()?.map_or(Val::Optional(None), Val::some))
}

fn unwrap<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let [Val::List(list)] = args else { return Err(EvalError::no_overload()) };
    let mut out = Vec::new();
    for item in list.iter() {
        match item? {
            Val::Optional(inner) => out.extend(inner.map(|inner| (*inner).clone())),
            other => return Err(EvalError::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Val::list(out))
}

fn entries<'a>(map: &Map<'a>) -> Fallible<MapVals<'a>> {
    let mut out = MapVals::default();
    for (key, value) in map.entries()? {
        out.set(key, value)?;
    }
    Ok(out)
}

fn insert<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let [Val::Map(map), key, value] = args else { return Err(EvalError::no_overload()) };
    let mut out = entries(map)?;
    out.insert(key.clone(), value.clone())?;
    Ok(Val::Map(Map::Vals(Arc::new(out))))
}

fn merge<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let [Val::Map(map), Val::Map(more)] = args else { return Err(EvalError::no_overload()) };
    let mut out = entries(map)?;
    for (key, value) in more.entries()? {
        out.insert(key, value)?;
    }
    Ok(Val::Map(Map::Vals(Arc::new(out))))
}
