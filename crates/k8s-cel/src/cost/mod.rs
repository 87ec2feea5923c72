//! What evaluation costs: counted while it runs, and bounded beforehand from a schema.
//!
//! Both follow the reference unit by unit: a definition that upstream admits must be admitted here, and what upstream
//! stops must stop. The numbers: reading a name or field 1, making a list 10, a map 30, an object 40, a walk over a string
//! a tenth of its length, a pattern a quarter of its length for each such tenth.

mod actual;
mod calls;
mod estimate;

pub use actual::{Charge, equality};
pub use estimate::estimate;

pub const LIST: u64 = 10;
pub const MAP: u64 = 30;
pub const OBJECT: u64 = 40;
/// Per character of a string that is walked.
const WALK: f64 = 0.1;
/// Per character of a pattern.
const PATTERN: f64 = 0.25;
/// An authorization check: two of them fit into one call.
const CHECK: u64 = 350_000;

/// A least and a greatest value: of a cost or of a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Estimate {
    pub min: u64,
    pub max: u64,
}

impl Estimate {
    pub const UNKNOWN: Estimate = Estimate { min: 0, max: u64::MAX };

    pub fn fixed(n: u64) -> Self {
        Estimate { min: n, max: n }
    }
    pub(crate) fn plus(self, other: Estimate) -> Self {
        Estimate { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }
    pub(crate) fn times(self, other: Estimate) -> Self {
        Estimate { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }
    pub(crate) fn factor(self, factor: f64) -> Self {
        Estimate { min: scaled(self.min, factor), max: scaled(self.max, factor) }
    }
    pub(crate) fn union(self, other: Estimate) -> Self {
        Estimate { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Rounded up; the greatest number where it does not fit.
fn scaled(n: u64, factor: f64) -> u64 {
    // A float that is too large becomes the greatest integer.
    (n as f64 * factor).ceil() as u64
}
