//! Lease: who leads, or is alive, and until when. A PUT may create it, and must name the revision that it replaces.

use crate::{at::At, declare::declare};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("coordination.k8s.io", "Lease")
        .version("v1", "io.k8s.api.coordination.v1.Lease", columns())
        .routine()
        .create_on_update()
        .conditional_update()
        .hooks(Lease)
        .build()
}

fn columns() -> Vec<Column> {
    let holder = Column::text("Holder", |lease, _| lease.str_at(&["spec", "holderIdentity"]).into());
    vec![Column::object_name(), holder, Column::age()]
}

#[derive(Debug)]
struct Lease;

/// Fields of coordinated leader election, whose gate is off by default.
const GATED: [&str; 2] = ["strategy", "preferredHolder"];

impl Hooks for Lease {
    fn prepare_create(&self, _cx: &Context, obj: &mut Value) {
        for field in GATED {
            obj.remove(&["spec", field]);
        }
    }
    fn prepare_update(&self, _cx: &Context, obj: &mut Value, old: &Value) {
        for field in GATED.into_iter().filter(|field| old.at(&["spec", field]).is_null()) {
            obj.remove(&["spec", field]);
        }
    }
    fn validate(&self, _cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        let (duration, transitions) = (spec.get("leaseDurationSeconds"), spec.get("leaseTransitions"));
        let (strategy, holder) = (spec.get("strategy"), spec.get("preferredHolder"));
        if duration.is_set() && duration.int() <= 0 {
            duration.invalid_int(errors, "must be greater than 0");
        }
        transitions.non_negative(errors);
        if strategy.is_set() && strategy.str().contains('/') {
            strategy.get("strategy").shape_as(errors, strategy.str(), base::names::qualified_name(strategy.str()));
        } else if strategy.is_set() && strategy.str() != "OldestEmulationVersion" {
            errors.not_supported(strategy.path.key("strategy"), strategy.str(), &["OldestEmulationVersion"]);
        }
        if !holder.is_empty() && strategy.is_empty() {
            holder.forbidden(errors, "may only be specified if `strategy` is defined");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        create(
            &kind(),
            value!({"spec": {"leaseDurationSeconds": 0, "leaseTransitions": -1, "preferredHolder": "x"}}),
            expect![[r#"
                spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0
                spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0"#]],
        );
        // What an object has already, it keeps.
        update(
            &kind(),
            value!({"spec": {"preferredHolder": "x"}}),
            value!({"spec": {"preferredHolder": "y"}}),
            expect!["spec.preferredHolder: Forbidden: may only be specified if `strategy` is defined"],
        );
    }

    #[test]
    fn columns() {
        cells(&kind(), value!({"spec": {"holderIdentity": "a"}}), expect!["obj | a | 5m"]);
    }
}
