//! A compiled expression.

use crate::{
    budget::Budget,
    check::Checked,
    cost::{self, Estimate},
    decl::Decl,
    deep,
    eval::{self, Activation},
    plan::Plan,
    types::Type,
    val::{EvalError, Val},
};

/// Compiled once, kept, evaluated from any thread.
#[derive(Debug)]
pub struct Program {
    checked: Checked,
    plan: Plan,
    height: usize,
}

impl Program {
    pub(crate) fn new(checked: Checked, plan: Plan, height: usize) -> Self {
        Program { checked, plan, height }
    }
    /// The type of its value.
    pub fn output_type(&self) -> &Type {
        self.checked.type_of(self.checked.expr.id)
    }
    /// Whether the expression refers to a variable (`oldSelf` makes a rule a transition rule).
    pub fn uses(&self, variable: &str) -> bool {
        self.checked.uses(variable)
    }
    /// The least and the greatest cost. `root` bounds the sizes of what is reached from any variable (upstream's
    /// estimator does not tell `self` and `oldSelf` apart); without it, whatever is no scalar may have any size.
    pub fn estimate_cost(&self, root: Option<&Decl>) -> Estimate {
        deep::run(self.height, || cost::estimate(&self.checked, root)).unwrap_or(Estimate::UNKNOWN)
    }
    /// Evaluates. The value borrows from the program and from what the activation binds, not from the activation.
    pub fn eval<'a>(&'a self, activation: &Activation<'a>, budget: &mut Budget) -> Result<Val<'a>, EvalError> {
        eval::run(&self.plan, activation, budget)
    }
}
