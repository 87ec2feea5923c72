//! CSIStorageCapacity: how much a driver could still make, for a class and a part of the cluster.

use crate::{at::At, cells, declare::declare, template::node_labels};
use base::FieldErrors;
use schema::{Column, Context, Hooks, Kind};
use value::Value;

pub fn kind() -> Kind {
    declare("storage.k8s.io", "CSIStorageCapacity")
        .plural("csistoragecapacities")
        .version("v1", "io.k8s.api.storage.v1.CSIStorageCapacity", columns())
        .conditional_update()
        .hooks(CsiStorageCapacity)
        .build()
}

fn columns() -> Vec<Column> {
    vec![Column::object_name(), cells::created_at()]
}

#[derive(Debug)]
struct CsiStorageCapacity;

impl Hooks for CsiStorageCapacity {
    fn validate(&self, _cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let (topology, class, capacity) =
            (root.get("nodeTopology"), root.get("storageClassName"), root.get("capacity"));
        topology.label_selector(errors);
        class.dns_subdomain(errors);
        if capacity.is_set() {
            capacity.quantity(errors);
        }
        if let Some(old) = old {
            topology.immutable(errors, old.at(&["nodeTopology"]));
            class.immutable(errors, old.at(&["storageClassName"]));
        }
    }
    fn warnings(&self, _cx: &Context, obj: &Value, _old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        let topology = root.get("nodeTopology");
        let mut warnings = Vec::new();
        node_labels::warn_of_expressions(topology.get("matchExpressions"), &mut warnings);
        node_labels::warn_of_map(topology.get("matchLabels"), false, &mut warnings);
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, create, update};
    use expect_test::expect;
    use value::value;

    #[test]
    fn validation() {
        let good =
            value!({"storageClassName": "fast", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"zone": "a"}}});
        create(&kind(), good.clone(), expect![]);
        create(
            &kind(),
            value!({"storageClassName": "F", "capacity": "-1", "nodeTopology": {"matchLabels": {"a b": "c"}}}),
            expect![[r#"
                nodeTopology.matchLabels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
                storageClassName: Invalid value: "F": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
                capacity: Invalid value: "-1": must be greater than or equal to 0"#]],
        );
        update(
            &kind(),
            good.clone(),
            value!({"storageClassName": "slow"}),
            expect![[r#"
            nodeTopology: Invalid value: "": field is immutable
            storageClassName: Invalid value: "slow": field is immutable"#]],
        );
        let old =
            value!({"storageClassName": "fast", "nodeTopology": {"matchLabels": {"beta.kubernetes.io/os": "linux"}}});
        testing::warnings(
            &kind(),
            old,
            expect![[
                r#"nodeTopology.matchLabels.beta.kubernetes.io/os: deprecated since v1.14; use "kubernetes.io/os" instead"#
            ]],
        );
    }
}
