//! Labels of nodes that have a newer name.

use crate::at::At;
use value::Value;

const DEPRECATED: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

/// The names that a volume's affinity may move to.
const RENAMED: [(&str, &str); 5] = [
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

/// What is said about a label that has another name by now.
pub fn deprecated(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(old, _)| *old == label).map(|(_, text)| *text)
}

/// Warns where a map names an old label; `whole` for messages that name the map only.
pub fn warn_of_map(labels: At, whole: bool, warnings: &mut Vec<String>) {
    for (label, _) in labels.entries() {
        match deprecated(label) {
            Some(text) if whole => warnings.push(format!("{}: {text}", labels.path)),
            Some(text) => warnings.push(format!("{}: {text}", labels.path.key(label))),
            None => {}
        }
    }
}

/// Warns where the `key` of an expression is an old label.
pub fn warn_of_expressions(expressions: At, warnings: &mut Vec<String>) {
    for expression in expressions.items() {
        let key = expression.get("key");
        if let Some(text) = deprecated(key.str()) {
            warnings.push(format!("{}: {} is {text}", key.path, key.str()));
        }
    }
}

/// The same in the words of a StorageClass, which names the label nowhere.
pub fn warn_of_keys(expressions: At, warnings: &mut Vec<String>) {
    for expression in expressions.items() {
        let key = expression.get("key");
        if let Some(text) = deprecated(key.str()) {
            warnings.push(format!("{}: {text}", key.path));
        }
    }
}

/// A node selector with today's names in it.
pub fn renamed(selector: &Value) -> Value {
    match selector {
        Value::Object(map) => {
            let mut out = selector.clone();
            for (name, member) in map.iter() {
                let new = RENAMED.iter().find(|(old, _)| name == "key" && *member == *old);
                out.set(&[name], new.map_or_else(|| renamed(member), |(_, new)| Value::from(*new)));
            }
            out
        }
        Value::Array(items) => items.iter().map(renamed).collect(),
        other => other.clone(),
    }
}
