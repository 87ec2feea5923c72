//! Rules over one object, within one budget.
//!
//! Two walks go in step: the value with its old one, as transition rules see it (`oldSelf`), and the correlation that
//! ratcheting goes by. They differ: a member that the schema does not name has an old value and no correlation.

use super::{
    paths::shown,
    tree::{Node, Rule},
};
use base::{
    FieldErrors,
    status::{Problem, quote},
};
use k8s_cel::{Activation, Budget, EvalError, budget};
use schema::{Arena, ListType, NodeId};
use std::collections::HashMap;
use value::{Path, Value};

const SPENT: &str = "validation failed due to running out of cost budget, no further validation rules will be run";

/// What is asked.
pub enum Mode<'e> {
    /// What refuses the object.
    Errors(&'e mut FieldErrors),
    /// What would, had the update not left it as it was.
    Tolerated(&'e mut Vec<String>),
}

pub struct Run<'e> {
    arena: &'e Arena,
    mode: Mode<'e>,
    budget: Budget,
    /// No further rules are run.
    over: bool,
}

/// A value and the one that stood at its place.
#[derive(Clone, Copy)]
struct Pair<'v> {
    id: NodeId,
    new: &'v Value,
    old: &'v Value,
}

/// Where ratcheting stands: at a correlated value, or below the nearest one.
#[derive(Clone, Copy, Default)]
struct Correlation<'v> {
    here: Option<Pair<'v>>,
    above: Option<Pair<'v>>,
}

impl<'e> Run<'e> {
    pub fn new(arena: &'e Arena, mode: Mode<'e>) -> Self {
        Run { arena, mode, budget: Budget::new(budget::PER_OBJECT), over: false }
    }

    pub fn object(mut self, tree: &Node, object: &Value, old: Option<&Value>) {
        let here = old.map(|old| Pair { id: tree.id, new: object, old });
        self.node(tree, object, old, Correlation { here, above: None }, &Path::root());
    }

    fn node(&mut self, node: &Node, value: &Value, old: Option<&Value>, at: Correlation, path: &Path) {
        if self.over || value.is_null() {
            return;
        }
        let old = old.filter(|old| !old.is_null());
        self.rules(node, value, old, at, path);
        match value {
            Value::Array(items) => {
                let Some(below) = node.items.as_deref() else { return };
                let before = by_keys(self.arena, node.id, old);
                for (i, item) in items.iter().enumerate() {
                    let old = before.get(&keys(self.arena, node.id, item)).copied();
                    self.node(below, item, old, at.item(self.arena, item), &path.index(i));
                }
            }
            Value::Object(members) => {
                for (key, member) in members.iter() {
                    let old = old.and_then(|old| old.get(key));
                    if let Some(below) = node.properties.get(key) {
                        self.node(below, member, old, at.member(self.arena, key), &path.key(key));
                    } else if let Some(below) = node.additional.as_deref() {
                        self.node(below, member, old, at.member(self.arena, key), &path.map_key(key));
                    }
                }
            }
            _ => {}
        }
    }

    fn rules(&mut self, node: &Node, value: &Value, old: Option<&Value>, at: Correlation, path: &Path) {
        if node.rules.is_empty() {
            return;
        }
        if self.budget.remaining() == 0 {
            return self.end(path, node, SPENT.into());
        }
        for rule in &node.rules {
            let judged = self.rule(node, rule, value, old, path);
            if let Some(Verdict { path, problem, value, detail }) = judged {
                let ratcheted = problem.2 && !rule.compiled.uses_old && at.unchanged(self.arena);
                let error = base::FieldError { problem: problem.0, path, value, detail };
                match &mut self.mode {
                    Mode::Errors(errors) if !ratcheted => errors.0.push(error),
                    Mode::Tolerated(warnings) if ratcheted => warnings.push(error.to_string()),
                    _ => {}
                }
                self.over |= problem.1;
            }
            if self.over {
                return;
            }
        }
    }

    /// What one rule has to say, if anything.
    fn rule(&mut self, node: &Node, rule: &Rule, value: &Value, old: Option<&Value>, path: &Path) -> Option<Verdict> {
        let failed = |detail: String, over: bool| {
            let (path, value) = (shown(path, ""), Some(quote(&node.ty)));
            Some(Verdict { path, problem: (Problem::Invalid, over, false), value, detail })
        };
        if let Some(why) = &rule.compiled.error {
            return failed(format!("rule compile error: {why}"), false);
        }
        let program = rule.compiled.program.as_ref()?;
        // A transition needs two states.
        if rule.compiled.uses_old && old.is_none() && !rule.optional_old {
            return None;
        }
        let bound = || Activation::new().typed("self", value, &node.decl);
        let plain = || match old {
            Some(old) => bound().typed("oldSelf", old, &node.decl),
            None => bound(),
        };
        let activation = if rule.optional_old { bound().optional("oldSelf", old, &node.decl) } else { plain() };
        match program.eval(&activation, &mut self.budget) {
            Ok(result) if result.as_bool() == Some(true) => return None,
            Ok(_) => {}
            Err(EvalError::Budget) => return failed(SPENT.into(), true),
            Err(why @ EvalError::CallCost) => {
                let text = "no further validation rules will be run due to call cost exceeds limit for rule";
                return failed(format!("'{why}': {text}: {}", rule.name), true);
            }
            Err(why) if why.to_string().starts_with("no such overload") => {
                let text = "call arguments did not match a supported operator, function or macro signature for rule";
                return failed(format!("'{why}': {text}: {}", rule.name), false);
            }
            Err(why) => return failed(format!("{why} evaluating rule: {}", rule.name), false),
        }
        let path = shown(path, &rule.field_path);
        let detail = match self.message(rule, &plain()) {
            Ok(made) => made.unwrap_or_else(|| rule.message.clone()),
            Err(detail) => {
                let value = Some(quote(&node.ty));
                return Some(Verdict { path, problem: (Problem::Invalid, true, true), value, detail });
            }
        };
        let whole = matches!(node.ty.as_str(), "object" | "array");
        let shown = (!whole).then(|| value.to_string());
        let (problem, value, detail) = match rule.reason.as_str() {
            "FieldValueForbidden" => (Problem::Forbidden, None, detail),
            "FieldValueRequired" => (Problem::Required, None, detail),
            "FieldValueDuplicate" => (Problem::Duplicate, shown, String::new()),
            _ => (Problem::Invalid, shown, detail),
        };
        Some(Verdict { path, problem: (problem, false, true), value, detail })
    }

    /// What the message expression says; nothing where it says nothing that could stand in a message. The error ends
    /// the run.
    fn message<'a>(&mut self, rule: &'a Rule, activation: &Activation<'a>) -> Result<Option<String>, String> {
        let Some(program) = &rule.compiled.message else { return Ok(None) };
        let text = match program.eval(activation, &mut self.budget) {
            Ok(result) => result.as_str().unwrap_or("").trim().to_string(),
            Err(EvalError::Budget) => {
                return Err("messageExpression evaluation failed due to running out of cost budget, no further \
                            validation rules will be run"
                    .into());
            }
            Err(EvalError::CallCost) => {
                let text = "no further validation rules will be run due to call cost exceeds limit for";
                return Err(format!("{text} messageExpression: {}", quote(&rule.message_source)));
            }
            Err(_) => return Ok(None),
        };
        let usable = !text.is_empty() && text.len() <= budget::MESSAGE_SIZE && !text.contains('\n');
        Ok(usable.then_some(text))
    }

    fn end(&mut self, path: &Path, node: &Node, detail: String) {
        if let Mode::Errors(errors) = &mut self.mode {
            errors.invalid(shown(path, ""), &node.ty, detail);
        }
        self.over = true;
    }
}

/// What a rule says is wrong.
struct Verdict {
    path: String,
    /// The problem, whether it ends the run, whether ratcheting applies to it.
    problem: (Problem, bool, bool),
    value: Option<String>,
    detail: String,
}

impl<'v> Correlation<'v> {
    fn member(self, arena: &Arena, key: &str) -> Self {
        let Some(here) = self.here else { return self };
        // Both states are shown in the version of the request, whatever they were written in.
        if self.above.is_none() && matches!(key, "apiVersion" | "kind") {
            return Correlation::default();
        }
        Correlation { here: here.member(arena, key), above: Some(here) }
    }
    fn item(self, arena: &Arena, item: &'v Value) -> Self {
        let Some(here) = self.here else { return self };
        Correlation { here: here.item(arena, item), above: Some(here) }
    }
    fn unchanged(self, arena: &Arena) -> bool {
        self.here.or(self.above).is_some_and(|pair| pair.same(arena))
    }
}

impl<'v> Pair<'v> {
    fn member(self, arena: &Arena, key: &str) -> Option<Pair<'v>> {
        let node = &arena[self.id];
        let id = node.field(key).map(|f| f.node).or(node.additional)?;
        Some(Pair { id, new: self.new.get(key)?, old: self.old.get(key)? })
    }
    fn item(self, arena: &Arena, item: &'v Value) -> Option<Pair<'v>> {
        let old = by_keys(arena, self.id, Some(self.old)).get(&keys(arena, self.id, item)).copied()?;
        Some(Pair { id: arena[self.id].items?, new: item, old })
    }
    /// Equality, but for the order of lists that are maps.
    fn same(self, arena: &Arena) -> bool {
        match (self.new, self.old) {
            (Value::Array(new), Value::Array(old)) if arena[self.id].list_type == ListType::Map => {
                new.len() == old.len()
                    && new.iter().all(|item| self.item(arena, item).is_some_and(|pair| pair.same(arena)))
            }
            (Value::Object(new), Value::Object(old)) => {
                let named = |key: &str| self.member(arena, key).is_some_and(|pair| pair.same(arena));
                new.len() == old.len() && new.keys().all(named)
            }
            (new, old) => new == old,
        }
    }
}

/// The elements of a list of type map by their keys; of other lists none.
fn by_keys<'v>(arena: &Arena, id: NodeId, list: Option<&'v Value>) -> HashMap<String, &'v Value> {
    match list.and_then(Value::as_array) {
        Some(items) if arena[id].list_type == ListType::Map => {
            items.iter().rev().map(|item| (keys(arena, id, item), item)).collect()
        }
        _ => HashMap::new(),
    }
}

fn keys(arena: &Arena, id: NodeId, item: &Value) -> String {
    let node = &arena[id];
    if node.list_type != ListType::Map {
        return String::new();
    }
    node.list_keys.iter().map(|key| item.at(&[key]).to_string() + ",").collect()
}
