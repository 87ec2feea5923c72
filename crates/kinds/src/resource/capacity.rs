//! What a device has, and how much of it one claim may take (KEP-5075).

use crate::{at::At, rules::quantity};
use base::{FieldErrors, quantity::Quantity};

const MAX_OPTIONS: usize = 10;

/// A `DeviceCapacity`. Only a device that several claims may share has rules for their requests.
pub fn capacity(capacity: At, shared: bool, errors: &mut FieldErrors) {
    let policy = capacity.get("requestPolicy");
    if !policy.is_set() {
        return;
    }
    if !shared {
        return policy.forbidden(errors, "allowMultipleAllocations must be true");
    }
    let (values, range) = (policy.get("validValues"), policy.get("validRange"));
    if !values.is_empty() && range.is_set() {
        let detail =
            "exactly one policy can be specified, cannot specify \"validValues\" and \"validRange\" at the same time";
        return policy.forbidden(errors, detail);
    }
    let whole = quantity(capacity.get("value").value).unwrap_or_else(|| Quantity::from_units(0));
    let default = policy.get("default");
    let kind = match (values.is_empty(), range.is_set()) {
        (false, _) => "validValues",
        (_, true) => "validRange",
        _ => return,
    };
    match quantity(default.value) {
        None => default.required(errors, format!("required when {kind} is defined")),
        Some(default) if kind == "validValues" => options(values, default, whole, errors),
        Some(default) => self::range(range, default, whole, errors),
    }
}

fn options(values: At, default: Quantity, whole: Quantity, errors: &mut FieldErrors) {
    let amounts: Vec<Option<Quantity>> = values.items().map(|value| quantity(value.value)).collect();
    for (i, pair) in amounts.windows(2).enumerate() {
        if let [Some(a), Some(b)] = pair
            && a > b
        {
            errors.invalid(values.path.index(i + 1), &b.to_string(), "values must be sorted in ascending order");
        }
    }
    if !values.fits(errors, MAX_OPTIONS) {
        return;
    }
    for (value, amount) in values.items().zip(&amounts) {
        if let Some(amount) = amount.filter(|amount| *amount > whole) {
            value.invalid_as(errors, &amount.to_string(), format!("option is larger than capacity value: {whole}"));
        }
    }
    values.unique_by(errors, |value| quantity(value).map_or(String::new(), |q| q.units().to_string()));
    if !amounts.contains(&Some(default)) {
        values.invalid_as(errors, &default.to_string(), "default value is not valid according to the requestPolicy");
    }
}

fn range(range: At, default: Quantity, whole: Quantity, errors: &mut FieldErrors) {
    let (low, high, step) = (range.get("min"), range.get("max"), range.get("step"));
    let Some(min) = quantity(low.value) else { return low.required(errors, "required when validRange is defined") };
    if min > whole {
        low.invalid_as(errors, &min.to_string(), format!("min is larger than capacity value: {whole}"));
    }
    if default < min {
        low.invalid_as(errors, &default.to_string(), format!("default is less than min: {min}"));
    }
    let max = quantity(high.value);
    if let Some(max) = max {
        if min > max {
            high.invalid_as(errors, &min.to_string(), format!("min is larger than max: {max}"));
        }
        if max > whole {
            high.invalid_as(errors, &max.to_string(), format!("max is larger than capacity value: {whole}"));
        }
        if default > max {
            high.invalid_as(errors, &default.to_string(), format!("default is more than max: {max}"));
        }
    }
    if let Some(size) = quantity(step.value) {
        let next = min + size;
        if next > whole {
            let detail = format!("one step {next} is larger than capacity value: {whole}");
            step.invalid_as(errors, &size.to_string(), detail);
        }
        for value in [Some(default), max].into_iter().flatten() {
            // A step of nothing divides nothing.
            if size.units() != 0 && (value.units() - min.units()) % size.units() != 0 {
                let detail = format!("value is not a multiple of a given step ({size}) from ({min})");
                step.invalid_as(errors, &value.to_string(), detail);
            }
        }
    }
}
