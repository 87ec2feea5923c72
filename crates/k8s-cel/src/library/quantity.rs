//! Resource quantities.

use super::{Opaque, Row, text};
use crate::val::{EvalError, Fallible, Val};
use base::quantity::Quantity;

pub(super) const ROWS: &[Row] = &[
    ("quantity", "string_to_quantity", "(string) Quantity", |a| {
        Quantity::parse(text(a, 0)?).map(|q| Opaque::Quantity(q).into()).map_err(EvalError::new)
    }),
    ("isQuantity", "is_quantity_string", "(string) bool", |a| Ok(Quantity::parse(text(a, 0)?).is_ok().into())),
    ("sign", "quantity_sign", "(Quantity) int", |a| Ok(Val::Int(get(a, 0)?.nanos().signum() as i64))),
    ("isGreaterThan", "quantity_is_greater_than", "Quantity.(Quantity) bool", |a| {
        Ok(Val::Bool(get(a, 0)? > get(a, 1)?))
    }),
    ("isLessThan", "quantity_is_less_than", "Quantity.(Quantity) bool", |a| Ok(Val::Bool(get(a, 0)? < get(a, 1)?))),
    ("compareTo", "quantity_compare_to", "Quantity.(Quantity) int", |a| {
        Ok(Val::Int(get(a, 0)?.cmp(&get(a, 1)?) as i64))
    }),
    ("asApproximateFloat", "quantity_get_float", "Quantity.() double", |a| {
        Ok(Val::Double(get(a, 0)?.nanos() as f64 / 1e9))
    }),
    ("asInteger", "quantity_get_int", "Quantity.() int", |a| {
        whole(get(a, 0)?).map(Val::Int).ok_or_else(|| EvalError::new("cannot convert value to integer"))
    }),
    ("isInteger", "quantity_is_integer", "Quantity.() bool", |a| Ok(Val::Bool(whole(get(a, 0)?).is_some()))),
    ("add", "quantity_add", "Quantity.(Quantity) Quantity", |a| Ok(Opaque::Quantity(get(a, 0)? + get(a, 1)?).into())),
    ("add", "quantity_add_int", "Quantity.(int) Quantity", |a| Ok(Opaque::Quantity(get(a, 0)? + units(a)?).into())),
    ("sub", "quantity_sub", "Quantity.(Quantity) Quantity", |a| Ok(Opaque::Quantity(get(a, 0)? - get(a, 1)?).into())),
    ("sub", "quantity_sub_int", "Quantity.(int) Quantity", |a| Ok(Opaque::Quantity(get(a, 0)? - units(a)?).into())),
];

fn get(args: &[Val<'_>], at: usize) -> Fallible<Quantity> {
    match args.get(at) {
        Some(Val::Opaque(opaque)) => match &**opaque {
            Opaque::Quantity(quantity) => Ok(*quantity),
            _ => Err(EvalError::no_overload()),
        },
        _ => Err(EvalError::no_overload()),
    }
}

fn units(args: &[Val<'_>]) -> Fallible<Quantity> {
    super::int(args, 1).map(Quantity::from_units)
}

fn whole(quantity: Quantity) -> Option<i64> {
    quantity.is_whole().then(|| i64::try_from(quantity.units()).ok()).flatten()
}
