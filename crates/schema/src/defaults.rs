//! Defaults from a schema, for built-in types and custom resources alike.
//!
//! One walk over the object; subtrees whose schema has no default anywhere are not entered.

use crate::{Arena, Empty, Field, Node, NodeId, Schema, structural::InOrder};
use value::Value;

/// Fills what is absent (or null, or a zero value that the type cannot tell from absent) with the schema's defaults.
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    apply_defaults_beside(schema, value, &Value::Null);
}

/// The same for a `value` that was made from `known`, which has its defaults: what both share is passed over, and stays
/// shared.
pub fn apply_defaults_beside(schema: &Schema, value: &mut Value, known: &Value) {
    let (arena, id) = schema.parts();
    walk(arena, id, value, known);
}

fn walk(arena: &Arena, id: NodeId, value: &mut Value, known: &Value) {
    let node = &arena[id];
    if !node.has_defaults || value.is_shared_with(known) {
        return;
    }
    match value {
        Value::Object(map) => {
            if let Some(compute) = node.computed {
                compute(map);
            }
            for field in node.fields.iter().filter(|f| f.default.is_some()) {
                let Some(default) = &field.default else { continue };
                match map.get_mut(&field.name) {
                    None => {
                        map.insert(field.name.clone(), default.clone());
                    }
                    Some(old) if counts_as_absent(&arena[field.node], field, old) => *old = default.clone(),
                    Some(_) => {}
                }
            }
            let mut fields_of = InOrder::new(node);
            for (key, member) in map.iter_mut() {
                match (fields_of.field(key), node.additional) {
                    (Some(field), _) => walk(arena, field.node, member, known.at(&[key])),
                    (None, Some(additional)) => walk(arena, additional, member, known.at(&[key])),
                    (None, None) => {}
                }
            }
        }
        Value::Array(items) => {
            if let Some(node) = node.items {
                for (i, item) in items.iter_mut().enumerate() {
                    let known = known.beside(i, item);
                    walk(arena, node, item, known);
                }
            }
        }
        _ => {}
    }
}

fn counts_as_absent(node: &Node, field: &Field, old: &Value) -> bool {
    match old {
        Value::Null => !node.nullable,
        _ if field.empty == Empty::Keep => false,
        Value::String(s) => s.is_empty(),
        Value::Int(i) => *i == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::builtin;
    use value::value;

    #[test]
    fn a_pod_gets_upstreams_defaults() {
        let mut pod = value!({"spec": {
            "containers": [
                {"name": "a", "image": "web", "ports": [{"containerPort": 80}], "livenessProbe": {"httpGet": {"port": 80}}},
                {"name": "b", "image": "host:5000/web:1", "imagePullPolicy": "Never"},
                {"name": "c", "image": "web:1", "terminationMessagePath": "/x"}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}]}});
        super::apply_defaults(&builtin::of("", "v1", "Pod").unwrap(), &mut pod);
        let spec = pod.at(&["spec"]);
        assert_eq!(spec.str_at(&["restartPolicy"]), "Always");
        assert_eq!(spec.at(&["terminationGracePeriodSeconds"]).as_i64(), Some(30));
        let containers = spec.items_at(&["containers"]);
        assert_eq!(containers[0].str_at(&["imagePullPolicy"]), "Always");
        assert_eq!(containers[0].at(&["ports"]).to_string(), r#"[{"containerPort":80,"protocol":"TCP"}]"#);
        assert_eq!(
            containers[0].at(&["livenessProbe"]).to_string(),
            r#"{"failureThreshold":3,"httpGet":{"path":"/","port":80,"scheme":"HTTP"},"periodSeconds":10,"successThreshold":1,"timeoutSeconds":1}"#
        );
        assert_eq!(containers[1].str_at(&["imagePullPolicy"]), "Never");
        assert_eq!(containers[2].str_at(&["imagePullPolicy"]), "IfNotPresent");
        assert_eq!(containers[2].str_at(&["terminationMessagePath"]), "/x");
        assert_eq!(
            spec.at(&["volumes"]).to_string(),
            r#"[{"emptyDir":{},"name":"v"},{"name":"s","secret":{"defaultMode":420,"secretName":"x"}}]"#
        );
    }

    #[test]
    fn nested_defaults_of_a_deployment() {
        let mut deployment =
            value!({"spec": {"strategy": {}, "template": {"spec": {"containers": [{"name": "a", "image": "b:1"}]}}}});
        super::apply_defaults(&builtin::of("apps", "v1", "Deployment").unwrap(), &mut deployment);
        assert_eq!(
            deployment.at(&["spec", "strategy"]).to_string(),
            r#"{"rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"},"type":"RollingUpdate"}"#
        );
        assert_eq!(deployment.at(&["spec", "replicas"]).as_i64(), Some(1));
        let mut zero = value!({"spec": {"replicas": 0}});
        super::apply_defaults(&builtin::of("apps", "v1", "Deployment").unwrap(), &mut zero);
        assert_eq!(zero.at(&["spec", "replicas"]).as_i64(), Some(0));
    }
}
