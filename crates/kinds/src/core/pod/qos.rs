//! The quality-of-service class, which decides whom the kernel kills first. Source: `pkg/apis/core/helper/qos`.

use crate::rules::quantity;
use base::quantity::Quantity;
use std::collections::BTreeMap;
use value::Value;

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`.
pub fn class(pod: &Value) -> &'static str {
    let spec = pod.at(&["spec"]);
    let own = spec.at(&["resources"]);
    let holders: Vec<&Value> = match own.as_object() {
        Some(_) => vec![own],
        None => ["containers", "initContainers"]
            .into_iter()
            .flat_map(|list| spec.items_at(&[list]))
            .map(|container| container.at(&["resources"]))
            .collect(),
    };
    let (mut requests, mut limits) = (BTreeMap::new(), BTreeMap::new());
    let mut guaranteed = true;
    for holder in holders {
        add(&mut requests, holder.at(&["requests"]));
        guaranteed &= add(&mut limits, holder.at(&["limits"])) == COUNTED.len();
    }
    match () {
        () if requests.is_empty() && limits.is_empty() => "BestEffort",
        () if guaranteed && requests == limits => "Guaranteed",
        () => "Burstable",
    }
}

/// Adds the positive amounts of a list; how many there were.
fn add(total: &mut BTreeMap<&'static str, i128>, list: &Value) -> usize {
    let mut found = 0;
    for name in COUNTED {
        let amount = quantity(list.at(&[name])).map_or(0, Quantity::nanos);
        if amount > 0 {
            *total.entry(name).or_default() += amount;
            found += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (containers, want) in [
            (r#"[{}]"#, "BestEffort"),
            (r#"[{"resources": {"requests": {"cpu": "0"}}}]"#, "BestEffort"),
            (r#"[{"resources": {"requests": {"cpu": "1"}}}]"#, "Burstable"),
            (
                r#"[{"resources": {"requests": {"cpu": "1000m", "memory": "1Gi"},
                    "limits": {"cpu": "1", "memory": "1024Mi"}}}]"#,
                "Guaranteed",
            ),
            (r#"[{"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1"}}}]"#, "Burstable"),
            (
                r#"[{"resources": {"requests": {"cpu": "1", "memory": "1Gi"},
                    "limits": {"cpu": "1", "memory": "1Gi"}}}, {}]"#,
                "Burstable",
            ),
        ] {
            let mut pod = Value::object();
            pod.set(&["spec", "containers"], value::parse_lenient(containers.as_bytes()).unwrap());
            assert_eq!(class(&pod), want, "{containers}");
        }
    }
}
