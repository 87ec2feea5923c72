//! How much evaluation may cost.
//!
//! A unit of cost is about the time of reading a field. There is no clock: an expression that is too expensive ends at
//! the same step on every machine. Source of the numbers: `apiserver/pkg/apis/cel` and `apiextensions/validation`.

/// What one evaluation may cost.
pub const PER_CALL: u64 = 1_000_000;
/// What all rules of one object, or all expressions of one policy binding, may cost.
pub const PER_OBJECT: u64 = 10_000_000;
/// What all match conditions of one webhook or policy may cost.
pub const MATCH_CONDITIONS: u64 = 2_500_000;
/// The estimate that one rule of a definition may have.
pub const ESTIMATE_PER_EXPRESSION: u64 = 10_000_000;
/// The estimate that all rules of one version's schema may have.
pub const ESTIMATE_PER_DEFINITION: u64 = 100_000_000;
/// The longest message that a message expression may make, in bytes.
pub const MESSAGE_SIZE: usize = 5 * 1024;

/// What is left to spend, over several evaluations.
#[derive(Debug, Clone)]
pub struct Budget {
    per_call: u64,
    remaining: u64,
    spent: u64,
}

impl Budget {
    /// `remaining` for all evaluations together, [`PER_CALL`] for each.
    pub fn new(remaining: u64) -> Self {
        Budget { per_call: PER_CALL, remaining, spent: 0 }
    }
    /// Another bound for a single evaluation.
    pub fn per_call(mut self, per_call: u64) -> Self {
        self.per_call = per_call;
        self
    }
    pub fn remaining(&self) -> u64 {
        self.remaining
    }
    /// What was spent so far.
    pub fn spent(&self) -> u64 {
        self.spent
    }
    pub(crate) fn call_limit(&self) -> u64 {
        self.per_call
    }
    /// Takes the cost of an evaluation; `false` where it is more than what is left.
    pub(crate) fn spend(&mut self, cost: u64) -> bool {
        self.spent += cost;
        let enough = cost <= self.remaining;
        self.remaining = self.remaining.saturating_sub(cost);
        enough
    }
}

impl Default for Budget {
    /// [`PER_OBJECT`].
    fn default() -> Self {
        Budget::new(PER_OBJECT)
    }
}
