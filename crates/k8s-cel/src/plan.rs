//! A checked expression as it is evaluated.
//!
//! Names become slots, calls carry the code of their overload, and what is constant is computed here: literals of lists and
//! maps, conversions of literals, patterns. That is not only speed: the reference folds the same things, and what is
//! folded costs nothing at run time.

use crate::{
    check::{Checked, type_named},
    cost::Charge,
    env::Env,
    library::{self, Overload, overloads},
    syntax::ast::{Entry, Expr, Fold, Kind, Literal},
    types::Type,
    val::{EvalError, List, Map, MapVals, Text, Val},
};
use std::sync::Arc;
use value::Str;

/// The root and the number of slots that loops need.
#[derive(Debug)]
pub struct Plan {
    pub root: Node,
    pub slots: usize,
}

#[derive(Debug)]
pub enum Node {
    Const(Val<'static>),
    /// A declared variable.
    Var(Arc<str>),
    /// A loop variable or accumulator.
    Local(usize),
    /// `operand.field`
    Select {
        operand: Box<Node>,
        field: Str,
        optional: bool,
    },
    /// `has(operand.field)`
    Has {
        operand: Box<Node>,
        field: Str,
    },
    /// `operand[index]`; `optional` for `[?index]`.
    Index {
        operand: Box<Node>,
        index: Box<Node>,
        optional: bool,
    },
    And(Box<[Node; 2]>),
    Or(Box<[Node; 2]>),
    If(Box<[Node; 3]>),
    Equal {
        sides: Box<[Node; 2]>,
        negated: bool,
    },
    /// Membership in a list of constants, which costs nothing.
    Among {
        item: Box<Node>,
        list: List<'static>,
    },
    NotStrictlyFalse(Box<Node>),
    /// `lhs.or(rhs)`, `lhs.orValue(rhs)`
    OrElse {
        sides: Box<[Node; 2]>,
        value: bool,
    },
    Call(Box<Call>),
    List(Box<[(Node, bool)]>),
    Map(Box<[(Node, Node, bool)]>),
    Struct {
        ty: Type,
        fields: Box<[(Str, Node, bool)]>,
    },
    Fold(Box<FoldNode>),
    /// `accumulator + [items]`: the step of `map` and `filter`, without copying what is there.
    Append {
        slot: usize,
        items: Box<[(Node, bool)]>,
    },
    /// `cel.@mapInsert(accumulator, key, value)`, likewise.
    Insert {
        slot: usize,
        key: Box<Node>,
        value: Box<Node>,
    },
}

#[derive(Debug)]
pub struct Call {
    pub function: Str,
    /// The overloads that may be meant; tried in turn where there are several.
    pub candidates: Vec<&'static Overload>,
    pub charge: Charge,
    pub args: Vec<Node>,
    /// The pattern of `matches`, `find` and `findAll` where it is constant.
    pub regex: Option<regex::Regex>,
}

#[derive(Debug)]
pub struct FoldNode {
    pub range: Node,
    pub init: Node,
    pub condition: Node,
    pub step: Node,
    pub result: Node,
    pub var: usize,
    pub var2: Option<usize>,
    pub accu: usize,
}

/// Plans an expression; an error is a constant that has no value.
pub fn plan(env: &Env, checked: &Checked) -> Result<Plan, String> {
    let mut planner = Planner { env, checked, scopes: Vec::new(), slots: 0 };
    let root = planner.node(&checked.expr)?;
    Ok(Plan { root, slots: planner.slots })
}

struct Planner<'e> {
    env: &'e Env,
    checked: &'e Checked,
    scopes: Vec<(Str, usize)>,
    slots: usize,
}

type Planned = Result<Node, String>;

impl Planner<'_> {
    fn boxed(&mut self, e: &Expr) -> Result<Box<Node>, String> {
        self.node(e).map(Box::new)
    }
    fn pair(&mut self, args: &[Expr]) -> Result<Box<[Node; 2]>, String> {
        let [a, b] = args else { return Err("two operands expected".into()) };
        Ok(Box::new([self.node(a)?, self.node(b)?]))
    }

    fn node(&mut self, e: &Expr) -> Planned {
        match &e.kind {
            Kind::Literal(literal) => Ok(Node::Const(constant(literal))),
            Kind::Ident(name) => Ok(self.ident(name)),
            Kind::Select { operand, field, test } => {
                let operand = self.boxed(operand)?;
                Ok(match test {
                    true => Node::Has { operand, field: field.clone() },
                    false => Node::Select { operand, field: field.clone(), optional: false },
                })
            }
            Kind::Call { target, function, args } => self.call(e, target.as_deref(), function, args),
            Kind::List(items) => {
                let items: Result<Vec<_>, String> =
                    items.iter().map(|(item, optional)| Ok((self.node(item)?, *optional))).collect();
                let items = items?;
                let constant = items.iter().map(|(item, optional)| (!optional).then(|| as_const(item)).flatten());
                Ok(match constant.collect::<Option<Vec<_>>>() {
                    Some(vals) => Node::Const(Val::list(vals)),
                    None => Node::List(items.into()),
                })
            }
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => {
                let ty = type_named(name, self.env.has_patch_types()).ok_or_else(|| format!("unknown type: {name}"))?;
                let fields: Result<Vec<_>, String> =
                    fields.iter().map(|f| Ok((f.name.clone(), self.node(&f.value)?, f.optional))).collect();
                Ok(Node::Struct { ty, fields: fields?.into() })
            }
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, name: &str) -> Node {
        let plain = name.trim_start_matches('.');
        let local = self.scopes.iter().rev().find(|(have, _)| have == name);
        match (local, self.env.lookup(plain)) {
            (Some((_, slot)), _) => Node::Local(*slot),
            (None, Some((at, _))) => Node::Var(self.env.variables()[at].0.clone()),
            (None, None) => match type_named(plain, self.env.has_patch_types()) {
                Some(ty) => Node::Const(Val::Type(ty)),
                None => Node::Var(plain.into()),
            },
        }
    }

    fn map(&mut self, entries: &[Entry]) -> Planned {
        let mut nodes = Vec::with_capacity(entries.len());
        for entry in entries {
            nodes.push((self.node(&entry.key)?, self.node(&entry.value)?, entry.optional));
        }
        let mut vals = MapVals::default();
        for (key, value, optional) in &nodes {
            let (Some(key), Some(value), false) = (as_const(key), as_const(value), *optional) else {
                return Ok(Node::Map(nodes.into()));
            };
            vals.set(key, value).map_err(|e| e.to_string())?;
        }
        Ok(Node::Const(Val::Map(Map::Vals(Arc::new(vals)))))
    }

    fn call(&mut self, e: &Expr, target: Option<&Expr>, function: &str, args: &[Expr]) -> Planned {
        match (function, target, args) {
            ("_&&_", ..) => return self.pair(args).map(Node::And),
            ("_||_", ..) => return self.pair(args).map(Node::Or),
            ("_?_:_", None, [a, b, c]) => {
                return Ok(Node::If(Box::new([self.node(a)?, self.node(b)?, self.node(c)?])));
            }
            ("_==_", ..) => return Ok(Node::Equal { sides: self.pair(args)?, negated: false }),
            ("_!=_", ..) => return Ok(Node::Equal { sides: self.pair(args)?, negated: true }),
            ("_[_]" | "_[?_]", None, [operand, index]) => {
                let (operand, index) = (self.boxed(operand)?, self.boxed(index)?);
                return Ok(Node::Index { operand, index, optional: function == "_[?_]" });
            }
            ("_?._", None, [operand, Expr { kind: Kind::Literal(Literal::String(field)), .. }]) => {
                return Ok(Node::Select { operand: self.boxed(operand)?, field: field.clone(), optional: true });
            }
            ("@not_strictly_false", None, [arg]) => return self.boxed(arg).map(Node::NotStrictlyFalse),
            ("or" | "orValue", Some(lhs), [rhs]) => {
                let sides = Box::new([self.node(lhs)?, self.node(rhs)?]);
                return Ok(Node::OrElse { sides, value: function == "orValue" });
            }
            ("_+_", None, [Expr { kind: Kind::Ident(name), .. }, Expr { kind: Kind::List(items), .. }])
                if name == "@result" =>
            {
                if let Node::Local(slot) = self.ident(name) {
                    let items: Result<Vec<_>, String> =
                        items.iter().map(|(item, optional)| Ok((self.node(item)?, *optional))).collect();
                    return Ok(Node::Append { slot, items: items?.into() });
                }
            }
            ("cel.@mapInsert", None, [Expr { kind: Kind::Ident(name), .. }, key, value]) => {
                if let Node::Local(slot) = self.ident(name) {
                    return Ok(Node::Insert { slot, key: self.boxed(key)?, value: self.boxed(value)? });
                }
            }
            _ => {}
        }
        let nodes: Result<Vec<Node>, String> = target.into_iter().chain(args).map(|arg| self.node(arg)).collect();
        self.plain_call(e, function, nodes?)
    }

    fn plain_call(&mut self, e: &Expr, function: &str, args: Vec<Node>) -> Planned {
        let found = self.checked.overloads(e.id);
        // Costs know an overload only where the checker found exactly one.
        let known = match found {
            [only] => Some(only.id),
            _ => None,
        };
        // Dynamic arguments may turn out to be of any type that the function takes.
        let method = found.first().is_some_and(|o| o.method);
        let candidates = match found {
            [only] => vec![*only],
            _ => overloads(function).iter().filter(|o| o.method == method && o.params.len() == args.len()).collect(),
        };
        if known == Some("in_list")
            && let [_, Node::Const(Val::List(list))] = args.as_slice()
            && list.iter().all(|item| item.is_ok_and(|item| is_simple(&item)))
        {
            let list = list.clone();
            return Ok(match args.into_iter().next() {
                Some(item) if !list.is_empty() => Node::Among { item: Box::new(item), list },
                _ => Node::Const(Val::Bool(false)),
            });
        }
        if let ([Node::Const(arg)], true) = (args.as_slice(), CONVERSIONS.contains(&function)) {
            let arg = [arg.clone()];
            let result = candidates.iter().find(|o| o.params.iter().zip(&arg).all(|(p, a)| a.fits(p)));
            let result = result.map_or_else(|| Err(library::no_overload(function, &arg)), |o| (o.run)(&arg));
            return result.map(Node::Const).map_err(|e: EvalError| e.to_string());
        }
        let regex = match (function, args.get(1)) {
            ("matches" | "find" | "findAll", Some(Node::Const(Val::String(pattern)))) => {
                Some(library::regex::compile(pattern)?)
            }
            _ => None,
        };
        let charge = Charge::of(function, known);
        Ok(Node::Call(Box::new(Call { function: function.into(), candidates, charge, args, regex })))
    }

    fn fold(&mut self, fold: &Fold) -> Planned {
        let range = self.node(&fold.range)?;
        let init = self.node(&fold.init)?;
        let depth = self.scopes.len();
        let accu = self.slot(&fold.accu);
        let var = self.slot(&fold.var);
        let var2 = fold.var2.as_ref().map(|var2| self.slot(var2));
        let condition = self.node(&fold.condition)?;
        let step = self.node(&fold.step)?;
        self.scopes.truncate(depth + 1);
        let result = self.node(&fold.result)?;
        self.scopes.truncate(depth);
        Ok(Node::Fold(Box::new(FoldNode { range, init, condition, step, result, var, var2, accu })))
    }
    /// A slot of its own: slots are few, and loops in a step must not share those around them.
    fn slot(&mut self, name: &str) -> usize {
        self.scopes.push((name.into(), self.slots));
        self.slots += 1;
        self.slots - 1
    }
}

/// What is computed while planning where its argument is a literal.
const CONVERSIONS: [&str; 10] =
    ["bool", "bytes", "double", "duration", "dyn", "int", "string", "timestamp", "type", "uint"];

fn is_simple(val: &Val<'_>) -> bool {
    matches!(val, Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::String(_))
}

fn as_const(node: &Node) -> Option<Val<'static>> {
    match node {
        Node::Const(val) => Some(val.clone()),
        _ => None,
    }
}

fn constant(literal: &Literal) -> Val<'static> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(n) => Val::Int(*n),
        Literal::Uint(n) => Val::Uint(*n),
        Literal::Double(n) => Val::Double(*n),
        Literal::String(text) => Val::String(Text::Shared(text.as_str().into())),
        Literal::Bytes(bytes) => Val::Bytes(bytes.as_slice().into()),
    }
}
