//! What an expression may refer to, and how it becomes a program.

use crate::{
    check,
    decl::Decl,
    deep, plan,
    program::Program,
    syntax::{self, Parsed},
    text::{CompileError, Issue, report},
    types::Type,
};
use std::sync::Arc;

/// A set of declared variables. Cheap to clone; made once per kind of expression.
#[derive(Debug, Clone, Default)]
pub struct Env {
    variables: Vec<(Arc<str>, Arc<Decl>)>,
    patch_types: bool,
    bindings: bool,
}

impl Env {
    /// Without variables, with all libraries of the server's base environment.
    pub fn new() -> Self {
        Env::default()
    }
    /// Declares a variable of a plain type.
    pub fn variable(self, name: &str, ty: Type) -> Self {
        self.declared(name, Decl::of_type(ty))
    }
    /// Declares a variable whose type comes from a schema.
    pub fn declared(mut self, name: &str, decl: Arc<Decl>) -> Self {
        self.variables.retain(|(have, _)| **have != *name);
        self.variables.push((name.into(), decl));
        self
    }
    /// Adds what mutating policies have: `Object{…}`, `JSONPatch{…}` and `jsonpatch.escapeKey`.
    pub fn patch_types(mut self) -> Self {
        self.patch_types = true;
        self
    }
    /// Adds `cel.bind(name, value, expression)`.
    pub fn bindings(mut self) -> Self {
        self.bindings = true;
        self
    }
    pub(crate) fn has_patch_types(&self) -> bool {
        self.patch_types
    }
    pub(crate) fn lookup(&self, name: &str) -> Option<(usize, &Arc<Decl>)> {
        let found = self.variables.iter().position(|(have, _)| **have == *name)?;
        Some((found, &self.variables[found].1))
    }
    pub(crate) fn variables(&self) -> &[(Arc<str>, Arc<Decl>)] {
        &self.variables
    }

    /// Parses, checks and plans an expression.
    pub fn compile(&self, text: &str) -> Result<Program, CompileError> {
        let failed = |issues: Vec<Issue>| CompileError::Issues(report(text, &issues));
        let parsed = syntax::parse(text, self.bindings).map_err(failed)?;
        deep::run(parsed.height, || self.compiled(text, parsed))
            .unwrap_or_else(|| Err(failed(vec![Issue::nowhere("expression recursion limit exceeded: out of memory")])))
    }

    fn compiled(&self, text: &str, parsed: Parsed) -> Result<Program, CompileError> {
        let failed = |issues: Vec<Issue>| CompileError::Issues(report(text, &issues));
        let height = parsed.height;
        let checked = check::check(self, parsed).map_err(failed)?;
        let plan = plan::plan(self, &checked).map_err(CompileError::Program)?;
        Ok(Program::new(checked, plan, height))
    }
}
