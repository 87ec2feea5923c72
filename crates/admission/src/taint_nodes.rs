//! TaintNodesByCondition: a new node takes no pods until it is Ready.

use crate::{Plugin, Target};
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;
use value::{Value, value};

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub struct TaintNodesByCondition;

impl Plugin for TaintNodesByCondition {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("nodes", "") && target.operation == Operation::Create
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        let is = |t: &Value| t.str_at(&["key"]) == NOT_READY && t.str_at(&["effect"]) == "NoSchedule";
        if !a.object.items_at(&["spec", "taints"]).iter().any(is) {
            let taint = value!({"key": NOT_READY, "effect": "NoSchedule"});
            match a.object.at_mut(&["spec", "taints"]) {
                Value::Array(list) => list.push(taint),
                other => *other = Value::Array(vec![taint]),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Case, object_of};

    #[test]
    fn once() {
        let first =
            object_of(&TaintNodesByCondition, Case::default().create("", "nodes", value!({"metadata": {"name": "n"}})));
        assert_eq!(first.items_at(&["spec", "taints"]).len(), 1);
        assert_eq!(object_of(&TaintNodesByCondition, Case::default().create("", "nodes", first.clone())), first);
    }
}
