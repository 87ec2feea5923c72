//! Evaluation of a plan.
//!
//! A walk over the nodes with a row of slots for loop variables. Costs are counted where the reference counts them: a name
//! and each step from it 1, a call by its charge, a loop nothing of its own. An accumulator may hold an error, since
//! quantifiers carry on past one.

mod activation;
mod fold;
mod select;

pub use activation::Activation;

use crate::{
    budget::Budget,
    cost::{self, LIST, MAP, OBJECT},
    library,
    plan::{Call, Node, Plan},
    types::Type,
    val::{EvalError, Fallible, List, Map, MapVals, Struct, Val, equal},
};
use std::sync::Arc;
use value::Str;

/// Evaluates a plan and takes its cost from the budget.
pub fn run<'a>(plan: &'a Plan, activation: &Activation<'a>, budget: &mut Budget) -> Fallible<Val<'a>> {
    let limit = budget.call_limit();
    let slots = vec![Ok(Val::Null); plan.slots];
    let mut eval = Eval { activation, slots, cost: 0, limit, budget };
    let result = eval.node(&plan.root);
    let cost = eval.cost;
    if !budget.spend(cost) && !matches!(result, Err(EvalError::CallCost)) {
        return Err(EvalError::Budget);
    }
    result
}

struct Eval<'a, 'e> {
    activation: &'e Activation<'a>,
    slots: Vec<Fallible<Val<'a>>>,
    cost: u64,
    limit: u64,
    budget: &'e mut Budget,
}

impl<'a> Eval<'a, '_> {
    fn charge(&mut self, cost: u64) -> Fallible<()> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::CallCost) } else { Ok(()) }
    }

    fn node(&mut self, node: &'a Node) -> Fallible<Val<'a>> {
        match node {
            Node::Const(val) => Ok(val.clone()),
            Node::Var(name) => {
                self.charge(1)?;
                self.activation.get(name)
            }
            Node::Local(slot) => {
                self.charge(1)?;
                self.slots[*slot].clone()
            }
            Node::Select { operand, field, optional } => self.select(operand, field, *optional),
            Node::Has { operand, field } => self.has(operand, field),
            Node::Index { operand, index, optional } => self.index(operand, index, *optional),
            Node::And(sides) => self.logic(sides, false),
            Node::Or(sides) => self.logic(sides, true),
            Node::If(parts) => self.choose(parts),
            Node::Equal { sides, negated } => self.equal(sides, *negated),
            Node::Among { item, list } => self.among(item, list),
            Node::NotStrictlyFalse(inner) => self.not_strictly_false(inner),
            Node::OrElse { sides, value } => self.or_else(sides, *value),
            Node::Call(call) => self.call(call),
            Node::List(items) => self.list(items),
            Node::Map(entries) => self.map(entries),
            Node::Struct { ty, fields } => self.structure(ty, fields),
            Node::Fold(fold) => self.fold(fold),
            Node::Append { slot, items } => self.append(*slot, items),
            Node::Insert { slot, key, value } => self.insert(*slot, key, value),
        }
    }

    fn equal(&mut self, sides: &'a [Node; 2], negated: bool) -> Fallible<Val<'a>> {
        let (a, b) = (self.node(&sides[0])?, self.node(&sides[1])?);
        self.charge(cost::equality(&a, &b, negated))?;
        Ok(Val::Bool(equal(&a, &b) != negated))
    }

    fn among(&mut self, item: &'a Node, list: &'a List<'static>) -> Fallible<Val<'a>> {
        let (item, list): (Val<'a>, List<'a>) = (self.node(item)?, list.clone());
        list.contains(&item).map(Val::Bool)
    }

    fn not_strictly_false(&mut self, inner: &'a Node) -> Fallible<Val<'a>> {
        let inner = self.node(inner);
        self.charge(1)?;
        match inner {
            Ok(val) => Ok(Val::Bool(val.as_bool() != Some(false))),
            Err(EvalError::Failed(_)) => Ok(Val::Bool(true)),
            Err(end) => Err(end),
        }
    }

    fn or_else(&mut self, sides: &'a [Node; 2], value: bool) -> Fallible<Val<'a>> {
        match self.node(&sides[0])? {
            Val::Optional(Some(inner)) if value => Ok((*inner).clone()),
            Val::Optional(None) => self.node(&sides[1]),
            Val::Optional(some) => Ok(Val::Optional(some)),
            _ => Err(EvalError::no_overload()),
        }
    }

    /// `&&` and `||`: one side that decides is enough, whatever the other one is.
    fn logic(&mut self, sides: &'a [Node; 2], decides: bool) -> Fallible<Val<'a>> {
        let mut failed = None;
        for side in sides {
            match self.node(side) {
                Ok(Val::Bool(b)) if b == decides => return Ok(Val::Bool(decides)),
                Ok(Val::Bool(_)) => {}
                Ok(_) => failed = failed.or_else(|| Some(EvalError::no_overload())),
                Err(EvalError::Failed(text)) => failed = failed.or(Some(EvalError::Failed(text))),
                Err(end) => return Err(end),
            }
        }
        failed.map_or(Ok(Val::Bool(!decides)), Err)
    }

    fn choose(&mut self, [condition, yes, no]: &'a [Node; 3]) -> Fallible<Val<'a>> {
        let branch = match self.node(condition)? {
            Val::Bool(true) => yes,
            Val::Bool(false) => no,
            _ => return Err(EvalError::no_overload()),
        };
        let result = self.node(branch);
        // A name that is chosen is not counted as read, only the steps from it.
        if select::starts_with_name(branch) {
            self.cost = self.cost.saturating_sub(1);
        }
        result
    }

    fn call(&mut self, call: &'a Call) -> Fallible<Val<'a>> {
        match call.args.as_slice() {
            [] => self.apply(call, &[]),
            [a] => {
                let args = [self.node(a)?];
                self.apply(call, &args)
            }
            [a, b] => {
                let args = [self.node(a)?, self.node(b)?];
                self.apply(call, &args)
            }
            more => {
                let args: Fallible<Vec<Val<'a>>> = more.iter().map(|arg| self.node(arg)).collect();
                self.apply(call, &args?)
            }
        }
    }

    fn apply(&mut self, call: &'a Call, args: &[Val<'a>]) -> Fallible<Val<'a>> {
        let fits = |o: &library::Overload| o.params.iter().zip(args).all(|(param, arg)| arg.fits(param));
        let Some(overload) = call.candidates.iter().find(|o| fits(o)) else {
            self.charge(1)?;
            return Err(library::no_overload(&call.function, args));
        };
        let result = match &call.regex {
            Some(regex) => library::regex::with(&call.function, regex, args),
            None => (overload.run)(args),
        };
        match result {
            Ok(result) => {
                let cost = call.charge.cost(args, &result);
                self.charge(cost)?;
                Ok(result)
            }
            Err(failed) => {
                self.charge(call.charge.cost(args, &Val::Null))?;
                Err(failed)
            }
        }
    }

    fn list(&mut self, items: &'a [(Node, bool)]) -> Fallible<Val<'a>> {
        let items = self.items(items)?;
        self.charge(LIST)?;
        Ok(Val::list(items))
    }

    fn structure(&mut self, ty: &'a Type, fields: &'a [(Str, Node, bool)]) -> Fallible<Val<'a>> {
        let fields = self.fields(fields)?;
        self.charge(OBJECT)?;
        Ok(Val::Struct(Arc::new(Struct { ty: ty.clone(), fields })))
    }

    fn items(&mut self, items: &'a [(Node, bool)]) -> Fallible<Vec<Val<'a>>> {
        let mut out = Vec::with_capacity(items.len());
        for (item, optional) in items {
            match (self.node(item)?, optional) {
                (val, false) => out.push(val),
                (Val::Optional(inner), true) => out.extend(inner.map(|inner| (*inner).clone())),
                (val, true) => {
                    let message = format!("cannot initialize optional list element from non-optional value {val}");
                    return Err(EvalError::new(message));
                }
            }
        }
        Ok(out)
    }

    fn map(&mut self, entries: &'a [(Node, Node, bool)]) -> Fallible<Val<'a>> {
        let mut out = MapVals::default();
        for (key, value, optional) in entries {
            let (key, value) = (self.node(key)?, self.node(value)?);
            if let Some(value) = entry(&key, value, *optional)? {
                out.set(key, value)?;
            }
        }
        self.charge(MAP)?;
        Ok(Val::Map(Map::Vals(Arc::new(out))))
    }

    fn fields(&mut self, fields: &'a [(Str, Node, bool)]) -> Fallible<Vec<(Str, Val<'a>)>> {
        let mut out = Vec::with_capacity(fields.len());
        for (name, value, optional) in fields {
            let value = self.node(value)?;
            if let Some(value) = entry(name, value, *optional)? {
                out.push((name.clone(), value));
            }
        }
        Ok(out)
    }
}

/// The value of an entry; `None` for an optional one that is absent.
fn entry<'a>(key: &impl std::fmt::Display, value: Val<'a>, optional: bool) -> Fallible<Option<Val<'a>>> {
    match value {
        value if !optional => Ok(Some(value)),
        Val::Optional(inner) => Ok(inner.map(|inner| (*inner).clone())),
        value => {
            let message = format!("cannot initialize optional entry '{key}' from non-optional value {value}");
            Err(EvalError::new(message))
        }
    }
}

/// What a loop runs over: pairs for two variables, single values for one.
pub(super) enum Range<'a> {
    List(List<'a>),
    Map(Map<'a>),
}
