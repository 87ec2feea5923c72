//! ServiceCIDR: a network that addresses of Services come from. Every cluster has one, `kubernetes`.

use super::GROUP;
use crate::{at::At, declare::declare, rules::IMMUTABLE};
use base::FieldErrors;
use schema::{ClusterConfig, Column, Context, Hooks, Initial, Keep, Kind};
use value::{Value, value};

pub fn kind() -> Kind {
    declare(GROUP, "ServiceCIDR")
        .cluster()
        .version("v1", "io.k8s.api.networking.v1.ServiceCIDR", columns())
        .status()
        .without_metadata()
        .hooks(ServiceCIDR)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("CIDRs", |obj, _| {
            let cidrs = obj.items_at(&["spec", "cidrs"]).iter().filter_map(Value::as_str);
            cidrs.collect::<Vec<_>>().join(",").into()
        }),
        Column::age(),
    ]
}

#[derive(Debug)]
struct ServiceCIDR;

impl Hooks for ServiceCIDR {
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        if cx.subresource == Some("status") {
            return;
        }
        let root = At::root(obj);
        let spec = root.get("spec");
        let cidrs = spec.get("cidrs");
        let Some(old) = old else { return networks(spec, errors) };
        let before = old.items_at(&["spec", "cidrs"]);
        let changed = |cidr: &At, i: usize| before.get(i).is_some_and(|b| b != cidr.value);
        match (before.len(), cidrs.len()) {
            (b, n) if b == n => {
                cidrs
                    .items()
                    .enumerate()
                    .filter(|(i, c)| changed(c, *i))
                    .for_each(|(_, c)| c.invalid(errors, IMMUTABLE));
            }
            // From one family to both.
            (1, 2) => {
                cidrs
                    .items()
                    .enumerate()
                    .filter(|(i, c)| changed(c, *i))
                    .for_each(|(_, c)| c.invalid(errors, IMMUTABLE));
                networks(spec, errors);
            }
            (_, 0) => errors.invalid_raw(cidrs.path, "null", IMMUTABLE),
            _ => cidrs.invalid(errors, IMMUTABLE),
        }
    }

    fn initial(&self, cluster: &ClusterConfig) -> Vec<Initial> {
        let (network, length) = cluster.service_cidr;
        let object = value!({"metadata": {"name": "kubernetes"}, "spec": {"cidrs": [(format!("{network}/{length}"))]}});
        vec![Initial { object, keep: Keep::Once }]
    }
}

fn networks(spec: At, errors: &mut FieldErrors) {
    let cidrs = spec.get("cidrs");
    match cidrs.len() {
        0 => return cidrs.required(errors, "at least one CIDR required"),
        1 | 2 => {}
        _ => {
            let printed = spec.value.to_string();
            return errors.invalid_raw(cidrs.path, printed, "may only hold up to 2 values");
        }
    }
    let families: Vec<bool> =
        cidrs.items().filter_map(|cidr| cidr.canonical_cidr(errors)).map(|(ip, _)| ip.is_ipv4()).collect();
    if families.len() == 2 && families[0] == families[1] {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        cidrs.invalid(errors, detail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update};
    use expect_test::expect;

    #[test]
    fn validation() {
        for (cidrs, want) in [
            (value!(["10.96.0.0/16"]), expect![""]),
            (value!(["10.96.0.0/16", "fd00::/108"]), expect![""]),
            (value!([]), expect!["spec.cidrs: Required value: at least one CIDR required"]),
            (
                value!(["10.96.0.0/16", "10.97.0.0/16"]),
                expect![[
                    r#"spec.cidrs: Invalid value: ["10.96.0.0/16","10.97.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"#
                ]],
            ),
            (
                value!(["10.96.0.1/16", "FD00::/108"]),
                expect![[r#"
                    spec.cidrs[0]: Invalid value: "10.96.0.1/16": must not have bits set beyond the prefix length
                    spec.cidrs[1]: Invalid value: "FD00::/108": must be in canonical form ("fd00::/108")"#]],
            ),
        ] {
            create(&kind(), value!({"spec": {"cidrs": cidrs}}), want);
        }
        let of = |cidrs: Value| value!({"spec": {"cidrs": cidrs}});
        for (old, new, want) in [
            (
                value!(["10.96.0.0/16"]),
                value!(["10.97.0.0/16"]),
                expect![[r#"spec.cidrs[0]: Invalid value: "10.97.0.0/16": field is immutable"#]],
            ),
            (value!(["10.96.0.0/16"]), value!(["10.96.0.0/16", "fd00::/108"]), expect![""]),
            (value!(["10.96.0.0/16"]), value!([]), expect![[r#"spec.cidrs: Invalid value: null: field is immutable"#]]),
        ] {
            update(&kind(), of(old), of(new), want);
        }
    }

    #[test]
    fn columns() {
        cells(
            &kind(),
            value!({"spec": {"cidrs": ["10.96.0.0/16", "fd00::/108"]}}),
            expect!["obj | 10.96.0.0/16,fd00::/108 | 5m"],
        );
    }
}
