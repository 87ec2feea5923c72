//! Macros: calls that become loops or presence tests before anything is checked.
//!
//! The expansions are the reference's, step by step, because costs are counted over the expanded tree and rules that
//! were admitted once must stay admitted.

use super::{
    ast::{Expr, Fold, Kind, Literal},
    parser::{Parser, Stop},
};
use value::Str;

/// The accumulator's name; no expression can say it.
pub const ACCUMULATOR: &str = "@result";
/// What older versions called it: loops may not use this name either.
const OLD_ACCUMULATOR: &str = "__result__";

type Expanded = Option<Result<Expr, Stop>>;

/// `has(a.b)`; `None` where the call is none of a macro.
pub(super) fn function(parser: &mut Parser<'_>, place: u32, name: &str, args: &[Expr]) -> Expanded {
    let ("has", [arg]) = (name, args) else { return None };
    let mut make = Make { parser, place };
    Some(match &arg.kind {
        Kind::Select { operand, field, test: false } => {
            Ok(make.node(Kind::Select { operand: operand.clone(), field: field.clone(), test: true }))
        }
        _ => Err(make.fault(arg, "invalid argument to has() macro")),
    })
}

/// A macro that is written as a method; `None` where the call is none.
pub(super) fn method(parser: &mut Parser<'_>, place: u32, name: &str, target: &Expr, args: &[Expr]) -> Expanded {
    let mut make = Make { parser, place };
    Some(match (name, args) {
        ("all" | "exists" | "exists_one" | "existsOne", [var, test]) => {
            make.one(var, "argument must be a simple name").map(|var| make.quantifier(name, target, var, None, test))
        }
        ("all" | "exists" | "exists_one" | "existsOne", [var, var2, test]) => {
            make.two(var, var2).map(|(var, var2)| make.quantifier(name, target, var, Some(var2), test))
        }
        ("map", [var, item]) => make.map(target, var, None, item),
        ("map", [var, filter, item]) => make.map(target, var, Some(filter), item),
        ("filter", [var, filter]) => make.map(target, var, Some(filter), var),
        ("transformList", [var, var2, item]) => make.transform_list(target, var, var2, None, item),
        ("transformList", [var, var2, filter, item]) => make.transform_list(target, var, var2, Some(filter), item),
        ("transformMap" | "transformMapEntry", [var, var2, item]) => {
            make.transform_map(name == "transformMapEntry", target, [var, var2], None, item)
        }
        ("transformMap" | "transformMapEntry", [var, var2, filter, item]) => {
            make.transform_map(name == "transformMapEntry", target, [var, var2], Some(filter), item)
        }
        ("optMap" | "optFlatMap", [var, item]) => make.opt_map(name, target, var, item),
        ("bind", [var, value, result])
            if make.parser.bindings && matches!(&target.kind, Kind::Ident(n) if n == "cel") =>
        {
            make.bound(var, value, result)
        }
        ("sortBy", [var, key]) => make.sort_by(target, var, key),
        _ => return None,
    })
}

/// Makes nodes at the place of the macro.
struct Make<'p, 'a> {
    parser: &'p mut Parser<'a>,
    place: u32,
}

impl Make<'_, '_> {
    fn node(&mut self, kind: Kind) -> Expr {
        self.parser.node(self.place, kind)
    }
    fn fault(&mut self, at: &Expr, message: impl Into<String>) -> Stop {
        let place = self.parser.place(at.id);
        self.parser.fault(place, message);
        Stop
    }
    fn literal(&mut self, literal: Literal) -> Expr {
        self.node(Kind::Literal(literal))
    }
    fn ident(&mut self, name: &str) -> Expr {
        self.node(Kind::Ident(name.into()))
    }
    fn accu(&mut self) -> Expr {
        self.ident(ACCUMULATOR)
    }
    fn call(&mut self, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call { target: None, function: function.into(), args })
    }
    fn on(&mut self, target: Expr, function: &str, args: Vec<Expr>) -> Expr {
        self.node(Kind::Call { target: Some(Box::new(target)), function: function.into(), args })
    }
    fn list(&mut self, items: Vec<Expr>) -> Expr {
        self.node(Kind::List(items.into_iter().map(|item| (item, false)).collect()))
    }

    /// The name of a loop variable.
    fn one(&mut self, var: &Expr, message: &str) -> Result<Str, Stop> {
        let Kind::Ident(name) = &var.kind else { return Err(self.fault(var, message)) };
        if name == ACCUMULATOR || name == OLD_ACCUMULATOR {
            return Err(self.fault(var, "iteration variable overwrites accumulator variable"));
        }
        Ok(name.clone())
    }
    fn two(&mut self, var: &Expr, var2: &Expr) -> Result<(Str, Str), Stop> {
        let (first, second) =
            (self.one(var, "argument must be a simple name")?, self.one(var2, "argument must be a simple name")?);
        if first == second {
            return Err(self.fault(var2, format!("duplicate variable name: {first}")));
        }
        Ok((first, second))
    }

    fn fold(
        &mut self,
        range: Expr,
        var: Str,
        var2: Option<Str>,
        init: Expr,
        [condition, step, result]: [Expr; 3],
    ) -> Expr {
        self.node(Kind::Fold(Box::new(Fold {
            var,
            var2,
            range,
            accu: ACCUMULATOR.into(),
            init,
            condition,
            step,
            result,
        })))
    }

    fn quantifier(&mut self, name: &str, target: &Expr, var: Str, var2: Option<Str>, test: &Expr) -> Expr {
        let (accu, test) = (self.accu(), test.clone());
        let (init, condition, step, result) = match name {
            "all" => {
                let condition = self.call("@not_strictly_false", vec![accu]);
                let accu = self.accu();
                let step = self.call("_&&_", vec![accu, test]);
                (Literal::Bool(true), condition, step, self.accu())
            }
            "exists" => {
                let not = self.call("!_", vec![accu]);
                let condition = self.call("@not_strictly_false", vec![not]);
                let accu = self.accu();
                let step = self.call("_||_", vec![accu, test]);
                (Literal::Bool(false), condition, step, self.accu())
            }
            _ => {
                let one = self.literal(Literal::Int(1));
                let more = self.call("_+_", vec![accu, one]);
                let same = self.accu();
                let step = self.call("_?_:_", vec![test, more, same]);
                let (accu, one) = (self.accu(), self.literal(Literal::Int(1)));
                let result = self.call("_==_", vec![accu, one]);
                (Literal::Int(0), self.literal(Literal::Bool(true)), step, result)
            }
        };
        let init = self.literal(init);
        self.fold(target.clone(), var, var2, init, [condition, step, result])
    }

    fn map(&mut self, target: &Expr, var: &Expr, filter: Option<&Expr>, item: &Expr) -> Result<Expr, Stop> {
        let name = self.one(var, "argument is not an identifier")?;
        let step = self.append(item.clone(), filter);
        Ok(self.collect(target, name, None, step))
    }
    fn transform_list(
        &mut self,
        target: &Expr,
        var: &Expr,
        var2: &Expr,
        filter: Option<&Expr>,
        item: &Expr,
    ) -> Result<Expr, Stop> {
        let (name, name2) = self.two(var, var2)?;
        let step = self.append(item.clone(), filter);
        Ok(self.collect(target, name, Some(name2), step))
    }
    fn append(&mut self, item: Expr, filter: Option<&Expr>) -> Expr {
        let (accu, item) = (self.accu(), self.list(vec![item]));
        let step = self.call("_+_", vec![accu, item]);
        self.filtered(step, filter)
    }
    fn filtered(&mut self, step: Expr, filter: Option<&Expr>) -> Expr {
        let Some(filter) = filter else { return step };
        let same = self.accu();
        self.call("_?_:_", vec![filter.clone(), step, same])
    }
    fn collect(&mut self, target: &Expr, var: Str, var2: Option<Str>, step: Expr) -> Expr {
        let (init, always, result) = (self.list(Vec::new()), self.literal(Literal::Bool(true)), self.accu());
        self.fold(target.clone(), var, var2, init, [always, step, result])
    }

    fn transform_map(
        &mut self,
        entries: bool,
        target: &Expr,
        vars: [&Expr; 2],
        filter: Option<&Expr>,
        item: &Expr,
    ) -> Result<Expr, Stop> {
        let (name, name2) = self.two(vars[0], vars[1])?;
        let mut args = vec![self.accu()];
        if !entries {
            args.push(self.ident(&name));
        }
        args.push(item.clone());
        let step = self.call("cel.@mapInsert", args);
        let step = self.filtered(step, filter);
        let (init, always, result) = (self.node(Kind::Map(Vec::new())), self.literal(Literal::Bool(true)), self.accu());
        Ok(self.fold(target.clone(), name, Some(name2), init, [always, step, result]))
    }

    /// `cel.bind(name, value, result)`
    fn bound(&mut self, var: &Expr, value: &Expr, result: &Expr) -> Result<Expr, Stop> {
        let Kind::Ident(name) = &var.kind else {
            return Err(self.fault(var, "cel.bind() variable names must be simple identifiers"));
        };
        Ok(self.bind(name.clone(), value.clone(), result.clone()))
    }

    /// A loop over nothing whose accumulator is the bound name.
    fn bind(&mut self, name: Str, value: Expr, result: Expr) -> Expr {
        let (range, never, same) = (self.list(Vec::new()), self.literal(Literal::Bool(false)), self.ident(&name));
        self.node(Kind::Fold(Box::new(Fold {
            var: "#unused".into(),
            var2: None,
            range,
            accu: name,
            init: value,
            condition: never,
            step: same,
            result,
        })))
    }

    fn opt_map(&mut self, name: &str, target: &Expr, var: &Expr, item: &Expr) -> Result<Expr, Stop> {
        let Kind::Ident(var) = &var.kind else {
            return Err(self.fault(var, format!("{name}() variable name must be a simple identifier")));
        };
        let present = self.on(target.clone(), "hasValue", Vec::new());
        let copy = self.parser.copy(target);
        let value = self.on(copy, "value", Vec::new());
        let mut some = self.bind(var.clone(), value, item.clone());
        if name == "optMap" {
            some = self.call("optional.of", vec![some]);
        }
        let none = self.call("optional.none", Vec::new());
        Ok(self.call("_?_:_", vec![present, some, none]))
    }

    fn sort_by(&mut self, target: &Expr, var: &Expr, key: &Expr) -> Result<Expr, Stop> {
        const INPUT: &str = "@__sortBy_input__";
        if matches!(target.kind, Kind::Literal(_) | Kind::Map(_) | Kind::Struct { .. }) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(self.fault(target, message));
        }
        let input = self.ident(INPUT);
        let keys = self.map(&input, var, None, key)?;
        let input = self.ident(INPUT);
        let sorted = self.on(input, "@sortByAssociatedKeys", vec![keys]);
        Ok(self.bind(INPUT.into(), target.clone(), sorted))
    }
}
