//! Fields, indexes and presence.

use super::Eval;
use crate::{
    plan::Node,
    val::{EvalError, Fallible, Val, adapt},
};

/// Names and steps from them; what they cost is counted together.
fn is_path(node: &Node) -> bool {
    matches!(node, Node::Var(_) | Node::Local(_) | Node::Select { .. } | Node::Index { .. } | Node::If(_))
}

/// Whether reading a path counts its start.
pub(super) fn starts_with_name(node: &Node) -> bool {
    match node {
        Node::Var(_) | Node::Local(_) => true,
        Node::Select { operand, .. } | Node::Index { operand, .. } => match **operand {
            Node::If(_) => false,
            ref operand => !is_path(operand) || starts_with_name(operand),
        },
        _ => false,
    }
}

impl<'a> Eval<'a, '_> {
    /// The operand of a step; a value that is computed counts as a name.
    fn operand(&mut self, node: &'a Node) -> Fallible<Val<'a>> {
        let val = self.node(node)?;
        if !is_path(node) {
            self.charge(1)?;
        }
        Ok(val)
    }

    pub(super) fn select(&mut self, operand: &'a Node, name: &'a str, optional: bool) -> Fallible<Val<'a>> {
        if let Some(variable) = self.variable(operand, name) {
            return variable;
        }
        let val = self.operand(operand)?;
        self.charge(1)?;
        match val {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => present(field(&inner, name)),
            val if optional => present(field(&val, name)),
            val => match field(&val, name)? {
                Some(found) => Ok(found),
                None => Err(EvalError::no_key(&name)),
            },
        }
    }

    /// `variables.name` of a policy, computed when it is first read.
    fn variable(&mut self, operand: &'a Node, name: &str) -> Option<Fallible<Val<'a>>> {
        let Node::Var(operand) = operand else { return None };
        if **operand != *"variables" || !self.activation.has_lazy(name) {
            return None;
        }
        if let Err(end) = self.charge(2) {
            return Some(Err(end));
        }
        self.activation.lazy(name, self.budget)
    }

    pub(super) fn has(&mut self, operand: &'a Node, name: &'a str) -> Fallible<Val<'a>> {
        if let Node::Var(operand) = operand
            && **operand == *"variables"
            && self.activation.has_lazy(name)
        {
            self.charge(1)?;
            return Ok(Val::Bool(true));
        }
        let val = self.operand(operand)?;
        let there = match &val {
            Val::Optional(None) => false,
            Val::Optional(Some(inner)) => field(inner, name)?.is_some(),
            val => field(val, name)?.is_some(),
        };
        Ok(Val::Bool(there))
    }

    pub(super) fn index(&mut self, operand: &'a Node, index: &'a Node, optional: bool) -> Fallible<Val<'a>> {
        let val = self.operand(operand)?;
        let key = self.node(index)?;
        // An index that is a path was counted by its own steps.
        if !is_path(index) {
            self.charge(1)?;
        }
        match val {
            Val::Optional(None) => Ok(Val::Optional(None)),
            Val::Optional(Some(inner)) => present(element(&inner, &key)),
            val if optional => present(element(&val, &key)),
            val => match element(&val, &key)? {
                Some(found) => Ok(found),
                None if matches!(val, Val::List(_)) => Err(EvalError::bounds(&key)),
                None => Err(EvalError::no_key(&key)),
            },
        }
    }
}

fn present(found: Fallible<Option<Val<'_>>>) -> Fallible<Val<'_>> {
    Ok(found?.map_or(Val::Optional(None), Val::some))
}

/// A field; `None` where it is absent.
fn field<'a>(val: &Val<'a>, name: &str) -> Fallible<Option<Val<'a>>> {
    match val {
        Val::Map(map) => map.get_str(name).transpose(),
        Val::Object(map, object) => match object.field(name) {
            // In an object with declared fields null is the same as absent.
            Some(field) => {
                let value = map.get(&field.name).filter(|value| !value.is_null());
                value.map(|value| adapt(value, Some(&field.decl))).transpose()
            }
            None => Ok(None),
        },
        Val::Struct(object) => Ok(object.fields.iter().find(|(have, _)| have == name).map(|(_, v)| v.clone())),
        _ => Err(EvalError::no_key(&name)),
    }
}

/// An element; `None` where it is absent.
fn element<'a>(val: &Val<'a>, key: &Val<'a>) -> Fallible<Option<Val<'a>>> {
    match (val, key) {
        (Val::List(list), key) => {
            let at = match key {
                Val::Int(n) => usize::try_from(*n).ok(),
                Val::Uint(n) => usize::try_from(*n).ok(),
                Val::Double(n) if n.fract() == 0.0 && *n >= 0.0 => Some(*n as usize),
                Val::Double(_) => None,
                other => {
                    let message = format!("unsupported index type '{}' in list", other.type_of().name());
                    return Err(EvalError::new(message));
                }
            };
            at.and_then(|at| list.get(at)).transpose()
        }
        (Val::Map(map), key) => map.get(key).transpose(),
        (val, Val::String(name)) => field(val, name),
        (_, key) => Err(EvalError::no_key(key)),
    }
}
