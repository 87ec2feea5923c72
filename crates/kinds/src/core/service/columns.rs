//! What `kubectl get services` shows.

use crate::cells::{labels, or_none};
use schema::{Column, ColumnType};
use value::Value;

pub fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::path("Type", ColumnType::String, "spec.type"),
        Column::text("Cluster-IP", |obj, _| {
            let ips = obj.items_at(&["spec", "clusterIPs"]);
            or_none(ips.first().and_then(Value::as_str).unwrap_or("")).into()
        }),
        Column::text("External-IP", |obj, _| external(obj).into()),
        Column::text("Port(s)", |obj, _| ports(obj).into()),
        Column::age(),
        Column::text("Selector", |obj, _| labels(obj.at(&["spec", "selector"])).into()).wide(),
    ]
}

fn external(obj: &Value) -> String {
    let own = obj.items_at(&["spec", "externalIPs"]).iter().filter_map(Value::as_str);
    match obj.str_at(&["spec", "type"]) {
        "ClusterIP" | "NodePort" => or_none(&own.collect::<Vec<_>>().join(",")).into(),
        "LoadBalancer" => {
            let ingress = obj.items_at(&["status", "loadBalancer", "ingress"]).iter();
            let balancers = ingress.map(|i| [i.str_at(&["ip"]), i.str_at(&["hostname"])]);
            let balancers = balancers.filter_map(|names| names.into_iter().find(|n| !n.is_empty()));
            match balancers.chain(own).collect::<Vec<_>>().join(",") {
                none if none.is_empty() => "<pending>".into(),
                all => all,
            }
        }
        "ExternalName" => obj.str_at(&["spec", "externalName"]).into(),
        _ => "<unknown>".into(),
    }
}

/// `80/TCP,443:30443/TCP`
fn ports(obj: &Value) -> String {
    let port = |p: &Value| {
        let (port, protocol) = (p.at(&["port"]), p.str_at(&["protocol"]));
        match p.at(&["nodePort"]).as_i64() {
            Some(node) if node > 0 => format!("{port}:{node}/{protocol}"),
            _ => format!("{port}/{protocol}"),
        }
    };
    or_none(&obj.items_at(&["spec", "ports"]).iter().map(port).collect::<Vec<_>>().join(",")).into()
}
