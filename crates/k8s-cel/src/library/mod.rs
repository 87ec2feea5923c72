//! The functions that expressions may call.
//!
//! One table row per overload: the function, the overload's name (costs are counted by it), its signature and the code.
//! The checker reads the signatures, the evaluator runs the code, the cost estimator asks for the names; so a function
//! that is here is complete. Which libraries a Kubernetes 1.36 server has: `apiserver/pkg/cel/environment`.

mod arithmetic;
pub mod authz;
mod compare;
mod convert;
pub(crate) mod format_string;
mod formats;
mod lists;
mod net;
mod opaque;
mod optional;
mod quantity;
pub(crate) mod regex;
mod semver;
mod sets;
mod strings;
pub(crate) mod times;
mod url;

pub use opaque::Opaque;
pub use times::Instant;

use crate::{
    types::{self, Type},
    val::{EvalError, Fallible, Val},
};
use std::{collections::HashMap, sync::OnceLock};

/// The code of an overload. Arguments fit the signature; the target of a method is the first one.
pub type Run = for<'a> fn(&[Val<'a>]) -> Fallible<Val<'a>>;

/// A row: function, overload, signature (`string.(int) string` is a method of strings), code.
pub(crate) type Row = (&'static str, &'static str, &'static str, Run);

#[derive(Debug)]
pub struct Overload {
    pub id: &'static str,
    pub method: bool,
    pub params: Vec<Type>,
    pub result: Type,
    pub run: Run,
}

/// All overloads of a function; none where there is no such function.
pub fn overloads(function: &str) -> &'static [Overload] {
    static REGISTRY: OnceLock<HashMap<&'static str, Vec<Overload>>> = OnceLock::new();
    let registry = REGISTRY.get_or_init(|| {
        let mut out: HashMap<&'static str, Vec<Overload>> = HashMap::new();
        let tables: [&[Row]; 22] = [
            arithmetic::ROWS,
            compare::ROWS,
            compare::LESS,
            compare::LESS_EQUALS,
            compare::GREATER,
            compare::GREATER_EQUALS,
            convert::ROWS,
            times::ROWS,
            strings::ROWS,
            lists::ROWS,
            regex::ROWS,
            url::ROWS,
            quantity::ROWS,
            semver::ROWS,
            net::ROWS,
            authz::ROWS,
            formats::ROWS,
            sets::ROWS,
            optional::ROWS,
            format_string::ROWS,
            lists::TYPED,
            lists::KEYED,
        ];
        for row in tables.into_iter().flatten() {
            out.entry(row.0).or_default().push(overload(row));
        }
        for (id, function) in formats::CONSTANTS {
            let row: Row = (id, id, "() Format", *function);
            out.entry(id).or_default().push(overload(&row));
        }
        out
    });
    registry.get(function).map_or(&[], Vec::as_slice)
}

fn overload((_, id, signature, run): &Row) -> Overload {
    let open = signature.find('(').unwrap_or(0);
    let close = signature.rfind(')').unwrap_or(signature.len() - 1);
    let target = signature[..open].trim_end_matches('.');
    let mut params = Vec::new();
    if !target.is_empty() {
        params.push(types::parse(target));
    }
    let (mut depth, mut start) = (0, open + 1);
    for (i, c) in signature[..=close].char_indices().skip_while(|(i, _)| *i <= open) {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' | ')' if depth == 0 => {
                if i > start {
                    params.push(types::parse(&signature[start..i]));
                }
                start = i + 1;
            }
            _ => {}
        }
    }
    let result = types::parse(&signature[close + 1..]);
    Overload { id, method: !target.is_empty(), params, result, run: *run }
}

/// What is said where no overload takes the arguments.
pub(crate) fn no_overload(function: &str, args: &[Val<'_>]) -> EvalError {
    if !function.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return EvalError::no_overload();
    }
    let types: Vec<String> = args.iter().map(|arg| arg.type_of().name().to_string()).collect();
    EvalError::new(format!("no such overload: {function}({})", types.join(", ")))
}

/// The text of an argument that the signature says is one.
pub(crate) fn text<'v>(args: &'v [Val<'_>], at: usize) -> Fallible<&'v str> {
    args.get(at).and_then(Val::as_str).ok_or_else(EvalError::no_overload)
}

/// The integer of an argument that the signature says is one.
pub(crate) fn int(args: &[Val<'_>], at: usize) -> Fallible<i64> {
    match args.get(at) {
        Some(Val::Int(n)) => Ok(*n),
        _ => Err(EvalError::no_overload()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let shown = |function: &str| -> Vec<String> {
            let show = |o: &Overload| {
                let params: Vec<String> = o.params.iter().map(Type::to_string).collect();
                format!("{} {} ({}) {}", o.id, o.method, params.join(", "), o.result)
            };
            overloads(function).iter().map(show).collect()
        };
        assert_eq!(shown("substring")[1], "string_substring_int_int true (string, int, int) string");
        assert_eq!(shown("cel.@mapInsert")[0], "@mapInsert_map_key_value false (map(A, B), A, B) map(A, B)");
        assert_eq!(shown("optional.none"), ["optional_none false () optional_type(A)"]);
        assert_eq!(shown("nothing"), Vec::<String>::new());
    }
}
