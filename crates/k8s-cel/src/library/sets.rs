//! Lists as sets.

use super::Row;
use crate::val::{EvalError, Fallible, List, Val};

pub(super) const ROWS: &[Row] = &[
    ("sets.contains", "list_sets_contains_list", "(list<T>,list<T>) bool", |a| {
        let (a, b) = pair(a)?;
        contains(a, b).map(Val::Bool)
    }),
    ("sets.equivalent", "list_sets_equivalent_list", "(list<T>,list<T>) bool", |a| {
        let (a, b) = pair(a)?;
        Ok(Val::Bool(contains(a, b)? && contains(b, a)?))
    }),
    ("sets.intersects", "list_sets_intersects_list", "(list<T>,list<T>) bool", |a| {
        let (a, b) = pair(a)?;
        for item in a.iter() {
            if b.contains(&item?)? {
                return Ok(Val::Bool(true));
            }
        }
        Ok(Val::Bool(false))
    }),
];

fn pair<'v, 'a>(args: &'v [Val<'a>]) -> Fallible<(&'v List<'a>, &'v List<'a>)> {
    match args {
        [Val::List(a), Val::List(b)] => Ok((a, b)),
        _ => Err(EvalError::no_overload()),
    }
}

fn contains<'a>(list: &List<'a>, part: &List<'a>) -> Fallible<bool> {
    for item in part.iter() {
        if !list.contains(&item?)? {
            return Ok(false);
        }
    }
    Ok(true)
}
