//! Loops.
//!
//! The accumulator of `map` and `filter` grows in place: its slot is emptied for the moment, so that nobody else holds it.

use super::{Eval, Range};
use crate::{
    cost::LIST,
    plan::{FoldNode, Node},
    val::{EvalError, Fallible, List, Map, Val},
};
use std::{mem, sync::Arc};

impl<'a> Eval<'a, '_> {
    pub(super) fn fold(&mut self, fold: &'a FoldNode) -> Fallible<Val<'a>> {
        let range = match self.node(&fold.range)? {
            Val::List(list) => Range::List(list),
            Val::Map(map) => Range::Map(map),
            Val::Object(map, _) => Range::Map(Map::Tree(map, None)),
            other => {
                let message = format!("got '{}', expected iterable type", other.type_of().name());
                return Err(EvalError::new(message));
            }
        };
        self.slots[fold.accu] = self.node(&fold.init);
        self.ended(fold.accu)?;
        match range {
            Range::List(list) => {
                for at in 0..list.len() {
                    let item = list.get(at).unwrap_or(Ok(Val::Null));
                    let go_on = match fold.var2 {
                        None => self.step(fold, item, None)?,
                        Some(_) => self.step(fold, Ok(Val::Int(at as i64)), Some(item))?,
                    };
                    if !go_on {
                        break;
                    }
                }
            }
            Range::Map(map) => {
                for key in map.keys() {
                    let value = fold.var2.map(|_| map.get(&key).unwrap_or(Ok(Val::Null)));
                    if !self.step(fold, Ok(key), value)? {
                        break;
                    }
                }
            }
        }
        self.node(&fold.result)
    }

    /// One turn; `false` where the loop is over.
    fn step(
        &mut self,
        fold: &'a FoldNode,
        first: Fallible<Val<'a>>,
        second: Option<Fallible<Val<'a>>>,
    ) -> Fallible<bool> {
        self.slots[fold.var] = first;
        if let (Some(slot), Some(second)) = (fold.var2, second) {
            self.slots[slot] = second;
        }
        match self.node(&fold.condition) {
            Ok(Val::Bool(false)) => return Ok(false),
            Ok(_) | Err(EvalError::Failed(_)) => {}
            Err(end) => return Err(end),
        }
        self.slots[fold.accu] = self.node(&fold.step);
        self.ended(fold.accu)?;
        // Only a quantifier can still come to a result after an error.
        let hopeless = self.slots[fold.accu].is_err() && matches!(fold.condition, Node::Const(_));
        Ok(!hopeless)
    }

    /// Passes on what ends the whole evaluation.
    fn ended(&self, slot: usize) -> Fallible<()> {
        match &self.slots[slot] {
            Err(EvalError::Failed(_)) | Ok(_) => Ok(()),
            Err(end) => Err(end.clone()),
        }
    }

    pub(super) fn append(&mut self, slot: usize, items: &'a [(Node, bool)]) -> Fallible<Val<'a>> {
        self.charge(1)?;
        let items = self.items(items)?;
        self.charge(LIST + 1)?;
        match mem::replace(&mut self.slots[slot], Ok(Val::Null))? {
            Val::List(List::Vals(mut have, decl)) => {
                Arc::make_mut(&mut have).extend(items);
                Ok(Val::List(List::Vals(have, decl)))
            }
            Val::List(list) => Ok(Val::List(list.concat(&List::Vals(Arc::new(items), None))?)),
            _ => Err(EvalError::no_overload()),
        }
    }

    pub(super) fn insert(&mut self, slot: usize, key: &'a Node, value: &'a Node) -> Fallible<Val<'a>> {
        self.charge(1)?;
        let (key, value) = (self.node(key)?, self.node(value)?);
        self.charge(1)?;
        match mem::replace(&mut self.slots[slot], Ok(Val::Null))? {
            Val::Map(Map::Vals(mut have)) => {
                Arc::make_mut(&mut have).insert(key, value)?;
                Ok(Val::Map(Map::Vals(have)))
            }
            _ => Err(EvalError::no_overload()),
        }
    }
}
