//! Tables of expressions and what becomes of them.

use k8s_cel::{Activation, Budget, CompileError, Decl, Env, Type};
use value::{Value, value};

/// What an expression comes to: its value, `error: …` where evaluation fails, `compile: …` with the first message where it
/// does not compile. Variables are objects with their declarations.
pub fn outcome(env: &Env, text: &str, variables: &[(&str, &Value, Option<&Decl>)]) -> String {
    match env.compile(text) {
        Err(CompileError::Issues(report)) => {
            let first = report.lines().next().unwrap_or_default();
            format!("compile: {}", first.strip_prefix("ERROR: <input>:").unwrap_or(first))
        }
        Err(CompileError::Program(why)) => format!("program: {why}"),
        Ok(program) => {
            let activation = variables.iter().fold(Activation::new(), |activation, (name, value, decl)| match decl {
                Some(decl) => activation.typed(name, value, decl),
                None => activation.bind(name, value),
            });
            match program.eval(&activation, &mut Budget::default()) {
                Ok(val) => val.to_string(),
                Err(error) => format!("error: {error}"),
            }
        }
    }
}

/// A dynamic variable `x` beside constants.
pub fn dynamic(text: &str, x: &Value) -> String {
    outcome(&Env::new().variable("x", Type::Dyn), text, &[("x", x, None)])
}

pub fn constant(text: &str) -> String {
    dynamic(text, &value!({}))
}

/// Holds a table against what its expressions come to; all that differ are told at once.
#[track_caller]
pub fn check(cases: &[(&str, &str)], run: impl Fn(&str) -> String) {
    let mut wrong = Vec::new();
    for (text, want) in cases {
        let got = run(text);
        if got != *want {
            wrong.push(format!("{text}\n    want {want}\n    got  {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
