//! DefaultTolerationSeconds: a pod stays five minutes on a node that does not answer.

use crate::{Plugin, Target};
use base::Result;
use resource::{Attributes, Call};
use schema::Operation;
use value::{Value, value};

const TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];
const SECONDS: i64 = 300;

pub struct DefaultTolerationSeconds;

impl Plugin for DefaultTolerationSeconds {
    fn applies(&self, _: &Call, target: Target<'_>) -> bool {
        target.is("pods", "") && matches!(target.operation, Operation::Create | Operation::Update)
    }
    fn mutate(&self, a: &mut Attributes<'_>) -> Result<()> {
        for key in TAINTS {
            let tolerates = |t: &Value| {
                let (own, effect) = (t.str_at(&["key"]), t.str_at(&["effect"]));
                (own == key || own.is_empty()) && (effect == "NoExecute" || effect.is_empty())
            };
            if a.object.items_at(&["spec", "tolerations"]).iter().any(tolerates) {
                continue;
            }
            let toleration =
                value!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS});
            match a.object.at_mut(&["spec", "tolerations"]) {
                Value::Array(list) => list.push(toleration),
                other => *other = Value::Array(vec![toleration]),
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
    fn only_what_is_missing_is_added() {
        for (own, want) in [
            (value!([]), 2),
            (value!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]), 2),
            (value!([{"operator": "Exists"}]), 1),
            (value!([{"key": "x", "operator": "Exists"}]), 3),
        ] {
            let pod = value!({"metadata": {"name": "p", "namespace": "d"}, "spec": {"tolerations": own}});
            let out = object_of(&DefaultTolerationSeconds, Case::default().create("", "pods", pod));
            assert_eq!(out.items_at(&["spec", "tolerations"]).len(), want, "{out}");
        }
    }
}
