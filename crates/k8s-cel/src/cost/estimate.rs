//! The bounds of what an expression can cost, from its tree and the sizes that a schema allows.
//!
//! Each node has a cost, a size (of its value) and perhaps a path into the schema, from which the size comes. A loop costs
//! its body times the size of its range. Whatever has no bound has the greatest one, so that a rule over an unbounded
//! list of unbounded strings is refused.

use super::{Estimate, LIST, MAP, OBJECT};
use crate::{
    check::Checked,
    decl::{Decl, Shape},
    syntax::ast::{Expr, Fold, Id, Kind, Literal},
    types::Type,
};
use std::collections::HashMap;
use value::Str;

type Path = Vec<Str>;

/// The cost of a checked expression.
pub fn estimate(checked: &Checked, root: Option<&Decl>) -> Estimate {
    let mut coster = Coster {
        checked,
        root,
        key: Decl {
            ty: Type::String,
            max_elements: i64::from(i32::MAX),
            min_size: 2,
            shape: Shape::String,
            nullable: false,
        },
        paths: HashMap::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
        scopes: Vec::new(),
    };
    // Keys of maps have the plain string type of the reference, which has no bound of its own.
    coster.key.max_elements = 0;
    coster.cost(&checked.expr)
}

pub(super) struct Coster<'e> {
    pub checked: &'e Checked,
    root: Option<&'e Decl>,
    key: Decl,
    paths: HashMap<Id, Path>,
    sizes: HashMap<Id, Estimate>,
    pub entries: HashMap<Id, Entries>,
    scopes: Vec<Local>,
}

/// Sizes of the elements of a literal list or map.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entries {
    list: bool,
    key: Estimate,
    pub value: Estimate,
}

#[derive(Debug, Clone)]
struct Local {
    name: Str,
    path: Path,
    size: Option<Estimate>,
    entries: Option<Entries>,
}

/// A node, or the elements of one that is a list, as the functions' estimates look at it.
#[derive(Debug, Clone)]
pub(super) struct Sized<'e> {
    pub expr: Option<&'e Expr>,
    pub ty: Type,
    pub path: Path,
    /// What is known without asking the schema.
    pub computed: Option<Estimate>,
}

impl Entries {
    pub fn union(self, other: Entries) -> Entries {
        Entries { list: self.list, key: self.key.union(other.key), value: self.value.union(other.value) }
    }
}

impl<'e> Coster<'e> {
    pub fn cost(&mut self, e: &'e Expr) -> Estimate {
        match &e.kind {
            Kind::Literal(_) => Estimate::default(),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(e.id, path);
                Estimate::fixed(1)
            }
            Kind::Select { operand, field, test } => {
                let cost = self.cost(operand);
                if *test {
                    return cost;
                }
                let mut path = self.path(operand);
                path.push(field.clone());
                self.paths.insert(e.id, path);
                match self.checked.type_of(operand.id) {
                    Type::Map(..) | Type::Object(_) | Type::Open(_) | Type::Library { opaque: false, .. } => {
                        cost.plus(Estimate::fixed(1))
                    }
                    _ => cost,
                }
            }
            Kind::Call { target, function, args } => self.call(e, target.as_deref(), function, args),
            Kind::List(items) => {
                let mut cost = Estimate::fixed(LIST);
                let mut size = Estimate { min: if items.is_empty() { 0 } else { u64::MAX }, max: 0 };
                for (item, _) in items {
                    cost = cost.plus(self.cost(item));
                    size = size.union(self.size_of(item).unwrap_or(Estimate::UNKNOWN));
                }
                self.entries.insert(e.id, Entries { list: true, key: Estimate::fixed(1), value: size });
                cost
            }
            Kind::Map(entries) => {
                let mut cost = Estimate::fixed(MAP);
                let least = if entries.is_empty() { 0 } else { u64::MAX };
                let (mut key, mut value) = (Estimate { min: least, max: 0 }, Estimate { min: least, max: 0 });
                for entry in entries {
                    cost = cost.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_of(&entry.key).unwrap_or(Estimate::UNKNOWN));
                    value = value.union(self.size_of(&entry.value).unwrap_or(Estimate::UNKNOWN));
                }
                self.entries.insert(e.id, Entries { list: false, key, value });
                cost
            }
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Estimate::fixed(OBJECT), |cost, field| cost.plus(self.cost(&field.value)))
            }
            Kind::Fold(fold) if fold.is_bind() => self.bind(e, fold),
            Kind::Fold(fold) => self.fold(e, fold),
        }
    }

    fn call(&mut self, e: &'e Expr, target: Option<&'e Expr>, function: &str, args: &'e [Expr]) -> Estimate {
        if let ("dyn", [arg]) = (function, args) {
            let cost = self.cost(arg);
            self.copy_sizes(e, arg);
            return cost.plus(Estimate::fixed(1));
        }
        let costs: Vec<Estimate> = args.iter().map(|arg| self.cost(arg)).collect();
        let nodes: Vec<Sized<'e>> = args.iter().map(|arg| self.sized(arg)).collect();
        // Selections of optional fields have an overload in the reference, although none is chosen here.
        let overloads: Vec<&str> = match function {
            "_?._" => vec!["select_optional_field"],
            _ => self.checked.overloads(e.id).iter().map(|o| o.id).collect(),
        };
        if overloads.is_empty() {
            return Estimate::default();
        }
        let mut sum = Estimate::default();
        let on = target.map(|target| {
            sum = self.cost(target);
            self.sized(target)
        });
        let mut whole = Estimate { min: u64::MAX, max: 0 };
        let mut result: Option<Estimate> = None;
        for overload in overloads {
            let (cost, size) = self.function(e, function, overload, on.as_ref(), &nodes, &costs);
            whole = whole.union(cost);
            if let Some(size) = size {
                result = Some(result.map_or(size, |have| have.union(size)));
            }
            if let ("index_list" | "index_map", Some(list)) = (overload, args.first()) {
                result = self.entries_of(list).map(|entries| entries.value);
                let mut path = self.path(list);
                path.push(if overload == "index_list" { "@items" } else { "@values" }.into());
                self.paths.insert(e.id, path);
            }
            if result.is_none() {
                result = self.size_of(e);
            }
        }
        if let Some(size) = result {
            self.sizes.insert(e.id, size);
        }
        sum.plus(whole)
    }

    fn bind(&mut self, e: &'e Expr, fold: &'e Fold) -> Estimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        sum = sum.plus(self.cost(&fold.result));
        self.scopes.pop();
        self.copy_sizes(e, &fold.result);
        sum
    }

    fn fold(&mut self, e: &'e Expr, fold: &'e Fold) -> Estimate {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_value(&fold.accu, &fold.init);
        let entries = self.entries_of(&fold.range);
        let list = match entries {
            Some(entries) => entries.list,
            None => matches!(self.checked.type_of(fold.range.id), Type::List(_)),
        };
        let (first, second) = (entries.map(|e| e.key), entries.map(|e| e.value));
        let range = self.path(&fold.range);
        let mut push = |name: &Str, step: &str, size: Option<Estimate>| {
            let mut path = range.clone();
            path.push(step.into());
            self.scopes.push(Local { name: name.clone(), path, size, entries: None });
        };
        match &fold.var2 {
            Some(var2) => {
                push(&fold.var, if list { "@indices" } else { "@keys" }, first);
                push(var2, if list { "@items" } else { "@values" }, second);
            }
            None if list => push(&fold.var, "@items", second),
            None => push(&fold.var, "@keys", first),
        }
        let body = self.cost(&fold.condition);
        let body = self.cost(&fold.step).plus(body);
        self.scopes.truncate(self.scopes.len() - 1 - usize::from(fold.var2.is_some()));
        sum = sum.plus(self.cost(&fold.result));
        self.scopes.pop();
        let count = self.size_of(&fold.range).unwrap_or(Estimate::UNKNOWN);
        sum = sum.plus(count.times(body));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size_of(&fold.init) {
                    self.sizes.insert(e.id, size);
                }
            }
            Kind::List(_) | Kind::Map(_) => {
                self.sizes.insert(e.id, count);
                if let Some(entries) = self.entries_of(&fold.step) {
                    self.entries.insert(e.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    fn push_value(&mut self, name: &Str, e: &Expr) {
        let local =
            Local { name: name.clone(), path: self.path(e), size: self.size_of(e), entries: self.entries_of(e) };
        self.scopes.push(local);
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.scopes.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, e: &Expr) -> Path {
        let local = match &e.kind {
            Kind::Ident(name) => self.local(name),
            _ => None,
        };
        match local {
            Some(local) => local.path.clone(),
            None => self.paths.get(&e.id).cloned().unwrap_or_default(),
        }
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size_of(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn sized(&mut self, e: &'e Expr) -> Sized<'e> {
        let mut path = self.path(e);
        if path.first().is_some_and(|first| first == "@result" || first == "__result__") {
            path.clear();
        }
        let ty = self.checked.type_of(e.id).clone();
        Sized { expr: Some(e), ty, path, computed: self.size_of(e) }
    }

    /// The size of a node where anything is known of it.
    pub fn size_of(&mut self, e: &Expr) -> Option<Estimate> {
        if let Some(size) = self.sizes.get(&e.id) {
            return Some(*size);
        }
        let literal = match &e.kind {
            Kind::Literal(Literal::String(text)) => Some(text.chars().count()),
            Kind::Literal(Literal::Bytes(bytes)) => Some(bytes.len()),
            Kind::Literal(_) => Some(1),
            Kind::List(items) => Some(items.len()),
            Kind::Map(entries) => Some(entries.len()),
            _ => None,
        };
        if let Some(size) = literal {
            return Some(Estimate::fixed(size as u64));
        }
        if let Some(size) = self.declared(&self.path(e)) {
            self.sizes.insert(e.id, size);
            return Some(size);
        }
        if self.checked.type_of(e.id).is_scalar() {
            return Some(Estimate::fixed(1));
        }
        match &e.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    pub fn entries_of(&self, e: &Expr) -> Option<Entries> {
        let known = self.entries.get(&e.id).copied();
        known.or_else(|| match &e.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.entries),
            _ => None,
        })
    }

    /// What the schema says of a path; its first step is the variable, whichever it is.
    pub fn declared(&self, path: &[Str]) -> Option<Estimate> {
        let (_, steps) = path.split_first()?;
        let mut decl = self.root?;
        for step in steps {
            decl = decl.step(step, &self.key)?;
        }
        Some(Estimate { min: 0, max: decl.max_elements as u64 })
    }
}
