//! The tree of an expression, macros expanded.
//!
//! Operators are calls with the reference implementation's names (`_&&_`, `@in`), because clients see these names in
//! messages and costs are counted per name. Every node has an id; types, references and sizes stand in tables beside the
//! tree, so that checker and cost estimator need no second tree.

use value::Str;

/// The number of a node, from 0 within one expression.
pub type Id = u32;

#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    pub id: Id,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Literal(Literal),
    Ident(Str),
    /// `operand.field`; `test` for `has(operand.field)`.
    Select {
        operand: Box<Expr>,
        field: Str,
        test: bool,
    },
    Call {
        target: Option<Box<Expr>>,
        function: Str,
        args: Vec<Expr>,
    },
    /// Elements; `true` beside one that is written `?e`.
    List(Vec<(Expr, bool)>),
    Map(Vec<Entry>),
    Struct {
        name: Str,
        fields: Vec<FieldInit>,
    },
    Fold(Box<Fold>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct FieldInit {
    pub id: Id,
    pub name: Str,
    pub value: Expr,
    pub optional: bool,
}

/// A loop over a list or map with an accumulator: what all comprehension macros become.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    pub var: Str,
    /// With two variables the first is the index or key, the second the value.
    pub var2: Option<Str>,
    pub range: Expr,
    pub accu: Str,
    pub init: Expr,
    pub condition: Expr,
    pub step: Expr,
    pub result: Expr,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Str),
    Bytes(Vec<u8>),
}

impl Fold {
    /// A binding of one name, written as a loop over nothing (`optMap`, `sortBy`).
    pub fn is_bind(&self) -> bool {
        let nothing = matches!(&self.range.kind, Kind::List(items) if items.is_empty());
        nothing && self.condition.kind == Kind::Literal(Literal::Bool(false))
    }
}

impl Expr {
    /// `a.b.c` where the expression is nothing but names.
    pub fn qualified_name(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.to_string()),
            Kind::Select { operand, field, test: false } => {
                let mut name = operand.qualified_name()?;
                name.push('.');
                name.push_str(field);
                Some(name)
            }
            _ => None,
        }
    }

    /// Nodes on the longest way down.
    pub fn height(&self) -> usize {
        let mut highest = 0;
        self.each(&mut |below| highest = highest.max(below.height()));
        highest + 1
    }

    /// Calls `f` for this node and all nodes below it, parents first.
    pub fn walk<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        f(self);
        self.each(&mut |below| below.walk(f));
    }

    /// Calls `f` for the nodes right below.
    pub fn each<'a>(&'a self, f: &mut dyn FnMut(&'a Expr)) {
        match &self.kind {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { operand, .. } => f(operand),
            Kind::Call { target, args, .. } => {
                if let Some(target) = target {
                    f(target);
                }
                args.iter().for_each(f);
            }
            Kind::List(items) => items.iter().for_each(|(item, _)| f(item)),
            Kind::Map(entries) => {
                for entry in entries {
                    f(&entry.key);
                    f(&entry.value);
                }
            }
            Kind::Struct { fields, .. } => fields.iter().for_each(|field| f(&field.value)),
            Kind::Fold(fold) => {
                for e in [&fold.range, &fold.init, &fold.condition, &fold.step, &fold.result] {
                    f(e);
                }
            }
        }
    }
}
