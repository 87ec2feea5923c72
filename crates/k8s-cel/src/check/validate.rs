//! Faults that types do not show: literals of times and patterns that are none, and literals of lists and maps whose
//! elements differ in type behind a `dyn`.

use crate::{
    library::{
        format_string::{Clauses, Piece},
        regex, times,
    },
    syntax::ast::{Expr, Id, Kind, Literal},
    text::Issue,
    types::Type,
};
use std::collections::HashSet;

pub fn literals(expr: &Expr, types: &[Type], places: &[u32], issues: &mut Vec<Issue>) {
    let mut fault = |id: Id, message: String| {
        issues.push(Issue::new(places.get(id as usize).copied().unwrap_or(0) as usize, message));
    };
    // Arguments of `format` may be of any types.
    let mut exempt = HashSet::new();
    expr.walk(&mut |e| match &e.kind {
        Kind::Call { function, .. } if function == "format" => e.walk(&mut |below| {
            exempt.insert(below.id);
        }),
        _ => {}
    });
    expr.walk(&mut |e| match &e.kind {
        Kind::Call { target, function, args } => {
            if let (Some(target), "format") = (target, function.as_str()) {
                return format_string(e.id, target, args, types, &mut fault);
            }
            if let (Some(Expr { id, kind: Kind::Literal(Literal::Int(seconds)) }), "timestamp") =
                (args.first(), function.as_str())
                && times::Instant::from_seconds(*seconds).is_none()
            {
                return fault(*id, format!("invalid {function} argument"));
            }
            let Some(Expr { id, kind: Kind::Literal(Literal::String(text)) }) = args.first() else { return };
            let right = match function.as_str() {
                "duration" => times::parse_duration(text).is_some(),
                "timestamp" => times::parse_time(text).is_some(),
                // As a function the text comes first, as a method the pattern does; the reference looks at the first.
                "matches" => regex::compile(text).is_ok(),
                _ => true,
            };
            if !right {
                fault(*id, format!("invalid {function} argument"));
            }
        }
        Kind::List(_) | Kind::Map(_) if exempt.contains(&e.id) => {}
        Kind::List(items) => {
            let elements =
                items.iter().map(|(item, optional)| (item.id, unwrapped(&types[item.id as usize], *optional)));
            alike(elements, true, &mut fault);
        }
        Kind::Map(entries) => {
            let keys = entries.iter().map(|e| (e.key.id, &types[e.key.id as usize]));
            alike(keys, false, &mut fault);
            let values = entries.iter().map(|e| (e.value.id, unwrapped(&types[e.value.id as usize], e.optional)));
            alike(values, false, &mut fault);
        }
        _ => {}
    });
}

fn unwrapped(ty: &Type, optional: bool) -> &Type {
    match ty {
        Type::Optional(inner) if optional => inner,
        other => other,
    }
}

fn alike<'t>(items: impl Iterator<Item = (Id, &'t Type)>, once: bool, fault: &mut dyn FnMut(Id, String)) {
    let mut first = None;
    for (id, ty) in items {
        let Some(first) = first else {
            first = Some(ty);
            continue;
        };
        if first != ty {
            fault(id, format!("expected type '{first}' but found '{ty}'"));
            if once {
                return;
            }
        }
    }
}

/// `'…'.format([…])` with a literal text and a literal list: clauses and arguments must go together.
fn format_string(call: Id, target: &Expr, args: &[Expr], types: &[Type], fault: &mut dyn FnMut(Id, String)) {
    let (Kind::Literal(Literal::String(text)), [Expr { kind: Kind::List(items), .. }]) = (&target.kind, args) else {
        return;
    };
    let mut clauses = 0;
    for clause in Clauses::new(text) {
        let clause = match clause {
            Ok(Piece::Text(_)) => continue,
            Ok(Piece::Clause(clause)) => clause,
            Err(message) => return fault(call, message),
        };
        let Some((item, _)) = items.get(clauses) else {
            return fault(call, format!("index {clauses} out of range"));
        };
        if let Some(message) = clause.refuses(&types[item.id as usize]) {
            return fault(item.id, format!("error during formatting: {message}"));
        }
        clauses += 1;
    }
    if items.len() > clauses {
        let given = items.len();
        fault(call, format!("too many arguments supplied to string.format (expected {clauses}, got {given})"));
    }
}
