//! Expressions in objects of the API: policies, match conditions, device selectors.
//!
//! The place where an expression is compiled when its object is written, in the environment in which it will be evaluated
//! ([`Scope`]). Admission compiles it again for itself: what is stored is text. Messages are upstream's
//! (`apiserver/pkg/admission/plugin/cel/compile.go`).

use crate::at::At;
use base::{FieldErrors, status::Problem};
use k8s_cel::{CompileError, Env, Type, ready};

/// What an expression may name beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Names {
    pub params: bool,
    pub authorizer: bool,
    /// `Object{…}` and `JSONPatch{…}`.
    pub patches: bool,
}

/// What the expressions of one policy or webhook may name: [`Names`], and the variables that were declared so far.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub names: Names,
    variables: Vec<(String, Type)>,
}

impl Scope {
    pub fn new(names: Names) -> Self {
        Scope { names, variables: Vec::new() }
    }
    /// With other names and the same variables.
    pub fn with(&self, names: Names) -> Self {
        Scope { names, variables: self.variables.clone() }
    }
    /// A variable for the expressions that follow.
    pub fn declare(&mut self, name: &str, ty: Type) {
        self.variables.push((name.into(), ty));
    }
    fn env(&self) -> Env {
        let Names { params, authorizer, patches } = self.names;
        let env = ready::admission(ready::Admission { params, authorizer, patch_types: patches });
        let known: Vec<(&str, Type)> = self.variables.iter().map(|(name, ty)| (name.as_str(), ty.clone())).collect();
        if known.is_empty() { env } else { ready::with_variables(&env, &known) }
    }
}

impl At<'_> {
    /// An expression that must be there and compile to one of these types (none: to any). Answers with its type.
    pub fn compiles(&self, errors: &mut FieldErrors, missing: &str, scope: &Scope, wanted: &[&str]) -> Option<Type> {
        let text = self.str();
        if text.trim().is_empty() {
            self.required(errors, missing);
            return None;
        }
        match scope.env().compile(text) {
            Ok(program) => {
                let ty = program.output_type();
                let shown = if *ty == Type::Null { "null_type".into() } else { ty.to_string() };
                match wanted {
                    [] => return Some(ty.clone()),
                    _ if wanted.contains(&shown.as_str()) => return Some(ty.clone()),
                    [one] => self.invalid(errors, format!("must evaluate to {one} but got {shown}")),
                    many => {
                        self.invalid(errors, format!("must evaluate to one of [{}] but got {shown}", many.join(" ")));
                    }
                }
            }
            Err(why @ CompileError::Issues(_)) => self.invalid(errors, why.to_string()),
            Err(why @ CompileError::Program(_)) => errors.add(Problem::Internal, self.path, None, why.to_string()),
        }
        None
    }
}
