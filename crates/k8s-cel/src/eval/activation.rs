//! What the variables of an expression stand for in one evaluation.

use crate::{
    budget::Budget,
    decl::Decl,
    program::Program,
    val::{EvalError, Fallible, Val, adapt},
};
use std::cell::{Cell, OnceCell};
use value::Value;

/// The variables of one request. Objects are borrowed; the variables of a policy are computed when an expression first
/// reads them and kept for the expressions that follow.
#[derive(Debug, Default)]
pub struct Activation<'a> {
    bound: Vec<(&'a str, Fallible<Val<'a>>)>,
    lazy: Vec<Lazy<'a>>,
}

#[derive(Debug)]
struct Lazy<'a> {
    name: &'a str,
    program: &'a Program,
    value: OnceCell<Fallible<Val<'a>>>,
    /// Being computed: a variable that reads itself is an error, not a loop.
    busy: Cell<bool>,
}

impl<'a> Activation<'a> {
    pub fn new() -> Self {
        Activation::default()
    }
    /// Binds an object without a schema; null stands for one that is absent.
    pub fn bind(self, name: &'a str, value: &'a Value) -> Self {
        self.set(name, adapt(value, None))
    }
    /// Binds an object that is read through its schema.
    pub fn typed(self, name: &'a str, value: &'a Value, decl: &'a Decl) -> Self {
        self.set(name, adapt(value, Some(decl)))
    }
    /// Binds an optional object that is read through its schema (`oldSelf` with `optionalOldSelf`).
    pub fn optional(self, name: &'a str, value: Option<&'a Value>, decl: &'a Decl) -> Self {
        let val = match value {
            None => Ok(Val::Optional(None)),
            Some(value) => adapt(value, Some(decl)).map(Val::some),
        };
        self.set(name, val)
    }
    /// Binds a value.
    pub fn value(self, name: &'a str, val: Val<'a>) -> Self {
        self.set(name, Ok(val))
    }
    fn set(mut self, name: &'a str, val: Fallible<Val<'a>>) -> Self {
        self.bound.retain(|(have, _)| *have != name);
        self.bound.push((name, val));
        self
    }
    /// Adds `variables.name`, computed by a program from this same activation.
    pub fn variable(mut self, name: &'a str, program: &'a Program) -> Self {
        self.lazy.push(Lazy { name, program, value: OnceCell::new(), busy: Cell::new(false) });
        self
    }

    pub(super) fn get(&self, name: &str) -> Fallible<Val<'a>> {
        match self.bound.iter().find(|(have, _)| *have == name) {
            Some((_, val)) => val.clone(),
            None => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }
    pub(super) fn has_lazy(&self, name: &str) -> bool {
        self.lazy.iter().any(|lazy| lazy.name == name)
    }
    pub(super) fn lazy(&self, name: &str, budget: &mut Budget) -> Option<Fallible<Val<'a>>> {
        let lazy = self.lazy.iter().find(|lazy| lazy.name == name)?;
        if let Some(val) = lazy.value.get() {
            return Some(val.clone());
        }
        if lazy.busy.replace(true) {
            return Some(Err(EvalError::new(format!("composited variable {name:?} refers to itself"))));
        }
        let val = match lazy.program.eval(self, budget) {
            Err(EvalError::Failed(text)) => {
                Err(EvalError::new(format!("composited variable {name:?} fails to evaluate: {text}")))
            }
            other => other,
        };
        lazy.busy.set(false);
        Some(lazy.value.get_or_init(|| val).clone())
    }
}
