//! The type checker.
//!
//! Walks the tree once, gives every node a type and every call its overloads, and rewrites names: `a.b` that is declared
//! as one name becomes a name, `optional.of(x)` becomes a call of a function. Type variables are solved as they are met
//! (`unify`). A fault does not end the walk: its node has the error type, which fits everywhere, so that one mistake is
//! reported once.

mod calls;
mod unify;
mod validate;

use crate::{
    env::Env,
    library::Overload,
    syntax::{
        Parsed,
        ast::{Entry, Expr, FieldInit, Fold, Id, Kind, Literal},
    },
    text::Issue,
    types::{Type, library},
};
use std::collections::BTreeSet;
use unify::Unifier;
use value::Str;

/// An expression that checks.
#[derive(Debug)]
pub struct Checked {
    pub expr: Expr,
    types: Vec<Type>,
    /// The overloads that a call may take, by the node's id.
    overloads: Vec<Vec<&'static Overload>>,
    variables: BTreeSet<Str>,
}

impl Checked {
    pub fn type_of(&self, id: Id) -> &Type {
        self.types.get(id as usize).unwrap_or(&Type::Dyn)
    }
    pub fn overloads(&self, id: Id) -> &[&'static Overload] {
        self.overloads.get(id as usize).map_or(&[], Vec::as_slice)
    }
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }
}

/// Checks an expression against the variables and types of an environment.
pub fn check(env: &Env, parsed: Parsed) -> Result<Checked, Vec<Issue>> {
    let Parsed { mut expr, places, .. } = parsed;
    let mut checker = Checker {
        env,
        types: vec![Type::Error; places.len()],
        overloads: vec![Vec::new(); places.len()],
        places,
        scopes: Vec::new(),
        unifier: Unifier::default(),
        issues: Vec::new(),
        variables: BTreeSet::new(),
    };
    checker.check(&mut expr);
    if checker.issues.is_empty() {
        for ty in &mut checker.types {
            *ty = checker.unifier.substitute(ty, true);
        }
        validate::literals(&expr, &checker.types, &checker.places, &mut checker.issues);
    }
    let Checker { types, overloads, issues, variables, .. } = checker;
    if issues.is_empty() { Ok(Checked { expr, types, overloads, variables }) } else { Err(issues) }
}

struct Checker<'e> {
    env: &'e Env,
    places: Vec<u32>,
    types: Vec<Type>,
    overloads: Vec<Vec<&'static Overload>>,
    /// Loop variables, innermost last.
    scopes: Vec<(Str, Type)>,
    unifier: Unifier,
    issues: Vec<Issue>,
    variables: BTreeSet<Str>,
}

impl Checker<'_> {
    fn fault(&mut self, id: Id, message: impl Into<String>) {
        let place = self.places.get(id as usize).copied().unwrap_or(0);
        self.issues.push(Issue::new(place as usize, message));
    }
    fn undeclared(&mut self, id: Id, name: &str) {
        self.fault(id, format!("undeclared reference to '{name}' (in container '')"));
    }
    fn mismatch(&mut self, id: Id, expected: &Type, found: &Type) {
        self.fault(id, format!("expected type '{expected}' but found '{found}'"));
    }
    fn set(&mut self, id: Id, ty: Type) {
        self.types[id as usize] = ty;
    }
    fn get(&self, id: Id) -> Type {
        self.types[id as usize].clone()
    }

    /// The type of a name; `None` where nobody declared it.
    fn ident(&mut self, name: &str) -> Option<Type> {
        let (name, global) = match name.strip_prefix('.') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if !global && let Some((_, ty)) = self.scopes.iter().rev().find(|(have, _)| have == name) {
            return Some(ty.clone());
        }
        if let Some((_, decl)) = self.env.lookup(name) {
            self.variables.insert(name.into());
            return Some(decl.ty.clone());
        }
        type_named(name, self.env.has_patch_types()).map(|ty| Type::Meta(Some(ty.into())))
    }

    fn check(&mut self, e: &mut Expr) {
        let id = e.id;
        match &mut e.kind {
            Kind::Literal(literal) => {
                let ty = literal_type(literal);
                self.set(id, ty);
            }
            Kind::Ident(name) => {
                let name = name.clone();
                match self.ident(&name) {
                    Some(ty) => self.set(id, ty),
                    None => self.undeclared(id, name.trim_start_matches('.')),
                }
            }
            Kind::Select { .. } => self.select(e),
            Kind::Call { .. } => self.call(e),
            Kind::List(items) => self.list(id, items),
            Kind::Map(entries) => self.map(id, entries),
            Kind::Struct { name, fields } => {
                let name = name.clone();
                self.structure(id, &name, fields);
            }
            Kind::Fold(fold) => self.fold(id, fold),
        }
    }

    fn select(&mut self, e: &mut Expr) {
        if let Some(name) = e.qualified_name()
            && !self.is_local(&name)
            && let Some(ty) = self.ident(&name)
        {
            e.kind = Kind::Ident(name.into());
            return self.set(e.id, ty);
        }
        let Kind::Select { operand, field, test } = &mut e.kind else { return };
        let ty = self.field(e.id, operand, field, false);
        let ty = if *test { Type::Bool } else { self.unifier.substitute(&ty, false) };
        self.set(e.id, ty);
    }
    /// A dotted name starts with a loop variable: then it is no declared name.
    fn is_local(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.scopes.iter().any(|(have, _)| have == first)
    }

    /// The type of a field of an operand, which is checked first.
    fn field(&mut self, id: Id, operand: &mut Expr, field: &str, optional: bool) -> Type {
        self.check(operand);
        let operand = self.unifier.substitute(&self.get(operand.id), false);
        let (target, lifted) = match &operand {
            Type::Optional(inner) => ((**inner).clone(), true),
            other => (other.clone(), false),
        };
        let found = match &target {
            Type::Map(_, value) => (**value).clone(),
            Type::Object(_) | Type::Open(_) | Type::Library { opaque: false, .. } => {
                self.declared_field(id, &target, field)
            }
            Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &target);
                Type::Dyn
            }
            Type::Dyn | Type::Error => Type::Dyn,
            other => {
                self.fault(id, format!("type '{other}' does not support field selection"));
                Type::Dyn
            }
        };
        if lifted || optional { Type::optional(found) } else { found }
    }

    fn declared_field(&mut self, id: Id, ty: &Type, field: &str) -> Type {
        let found = match ty {
            Type::Object(object) => object.field(field).map(|f| f.decl.ty.clone()),
            Type::Open(_) => Some(Type::Dyn),
            ty if *ty == library::JSON_PATCH => match field {
                "op" | "path" | "from" => Some(Type::String),
                "value" => Some(Type::Dyn),
                _ => None,
            },
            _ => None,
        };
        found.unwrap_or_else(|| {
            self.fault(id, format!("undefined field '{field}'"));
            Type::Error
        })
    }

    fn list(&mut self, id: Id, items: &mut [(Expr, bool)]) {
        let mut element = None;
        for (item, optional) in items {
            self.check(item);
            let mut ty = self.get(item.id);
            if *optional {
                ty = self.unwrapped(item.id, ty);
            }
            element = Some(self.join(element, ty));
        }
        let element = element.unwrap_or_else(|| self.unifier.fresh());
        self.set(id, Type::list(element));
    }

    /// What an optional element holds.
    fn unwrapped(&mut self, id: Id, ty: Type) -> Type {
        match ty {
            Type::Optional(inner) => (*inner).clone(),
            Type::Dyn => Type::Dyn,
            other => {
                self.mismatch(id, &Type::optional(other.clone()), &other);
                other
            }
        }
    }

    fn map(&mut self, id: Id, entries: &mut [Entry]) {
        let (mut key, mut value) = (None, None);
        for entry in entries {
            self.check(&mut entry.key);
            let ty = self.get(entry.key.id);
            key = Some(self.join(key, ty));
            self.check(&mut entry.value);
            let mut ty = self.get(entry.value.id);
            if entry.optional {
                ty = self.unwrapped(entry.value.id, ty);
            }
            value = Some(self.join(value, ty));
        }
        let key = key.unwrap_or_else(|| self.unifier.fresh());
        let value = value.unwrap_or_else(|| self.unifier.fresh());
        self.set(id, Type::map(key, value));
    }

    /// The common type of the elements of a literal. Where there is none, `validate` speaks of it.
    fn join(&mut self, previous: Option<Type>, current: Type) -> Type {
        let Some(previous) = previous else { return current };
        if self.unifier.assignable(&previous, &current) {
            return unify::most_general(&previous, &current).clone();
        }
        Type::Dyn
    }

    fn structure(&mut self, id: Id, name: &str, fields: &mut [FieldInit]) {
        let ty = match self.ident(name) {
            None => {
                self.undeclared(id, name);
                return;
            }
            Some(Type::Meta(Some(ty))) => match &*ty {
                Type::Open(_) | Type::Library { .. } => (*ty).clone(),
                other => {
                    self.fault(id, format!("'{}' is not a message type", other.name()));
                    Type::Error
                }
            },
            Some(other) => {
                self.fault(id, format!("'{}' is not a type", other.name()));
                Type::Error
            }
        };
        self.set(id, ty.clone());
        for field in fields {
            self.check(&mut field.value);
            let expected =
                if ty == Type::Error { Type::Error } else { self.declared_field(field.id, &ty, &field.name) };
            let mut found = self.get(field.value.id);
            if field.optional {
                found = self.unwrapped(field.value.id, found);
            }
            if !self.unifier.assignable(&expected, &found) {
                let name = &field.name;
                let message = format!("expected type of field '{name}' is '{expected}' but provided type is '{found}'");
                self.fault(field.id, message);
            }
        }
    }

    fn fold(&mut self, id: Id, fold: &mut Fold) {
        self.check(&mut fold.range);
        self.check(&mut fold.init);
        let range = self.unifier.substitute(&self.get(fold.range.id), false);
        let accu = self.get(fold.init.id);
        let two = fold.var2.is_some();
        let (first, second) = match &range {
            Type::List(element) if two => (Type::Int, (**element).clone()),
            Type::List(element) => ((**element).clone(), Type::Dyn),
            Type::Map(key, value) => ((**key).clone(), (**value).clone()),
            Type::Dyn | Type::Error | Type::Param(_) => {
                self.unifier.assignable(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.fault(fold.range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((fold.accu.clone(), accu.clone()));
        let depth = self.scopes.len();
        self.scopes.push((fold.var.clone(), first));
        if let Some(var2) = &fold.var2 {
            self.scopes.push((var2.clone(), second));
        }
        self.check(&mut fold.condition);
        self.assert(&fold.condition, &Type::Bool);
        self.check(&mut fold.step);
        self.assert(&fold.step, &accu);
        self.scopes.truncate(depth);
        self.check(&mut fold.result);
        self.scopes.truncate(depth - 1);
        let ty = self.unifier.substitute(&self.get(fold.result.id), false);
        self.set(id, ty);
    }

    fn assert(&mut self, e: &Expr, expected: &Type) {
        let found = self.get(e.id);
        if !self.unifier.assignable(expected, &found) {
            self.mismatch(e.id, expected, &found);
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// The types that expressions may name.
pub fn type_named(name: &str, patch_types: bool) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "type" => Type::Meta(None),
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        "kubernetes.Quantity" => library::QUANTITY,
        "kubernetes.URL" => library::URL,
        "kubernetes.Semver" => library::SEMVER,
        "kubernetes.NamedFormat" => library::FORMAT,
        "net.IP" => library::IP,
        "net.CIDR" => library::CIDR,
        "JSONPatch" if patch_types => library::JSON_PATCH,
        name if patch_types && (name == "Object" || name.starts_with("Object.")) => Type::Open(name.into()),
        _ => return None,
    })
}
