//! What the kinds of the group share: names of drivers, free parameters.

use crate::at::At;
use base::{FieldErrors, names};

const BYTES_MAX: usize = 256 << 10;
const PARAMETERS_MAX: usize = 512;
const DRIVER_MAX: usize = 63;

/// The name of who makes volumes.
pub fn provisioner(name: At, errors: &mut FieldErrors) {
    if name.need(errors) {
        name.shape_as(errors, &name.str().to_lowercase(), names::qualified_name(&name.str().to_lowercase()));
    }
}

/// The name of a CSI driver.
pub fn driver(name: At, errors: &mut FieldErrors) {
    if !name.need(errors) {
        return;
    }
    if name.str().len() > DRIVER_MAX {
        errors.too_long(name.path, DRIVER_MAX);
    }
    name.shape(errors, names::subdomain(&name.str().to_lowercase()));
}

/// Keys and values for whoever makes volumes.
pub fn parameters(parameters: At, errors: &mut FieldErrors) {
    if parameters.len() > PARAMETERS_MAX {
        return errors.too_long(parameters.path, PARAMETERS_MAX);
    }
    if parameters.entries().any(|(key, _)| key.is_empty()) {
        parameters.invalid_as(errors, "", "field can not be empty.");
    }
    bytes(parameters, errors);
}

/// All keys and values of a map together.
pub fn bytes(map: At, errors: &mut FieldErrors) {
    if map.entries().map(|(key, value)| key.len() + value.str().len()).sum::<usize>() > BYTES_MAX {
        errors.too_long(map.path, BYTES_MAX);
    }
}
