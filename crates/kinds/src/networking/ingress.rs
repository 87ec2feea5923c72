//! Ingress: which HTTP hosts and paths lead to which Service.

use super::GROUP;
use crate::{at::At, declare::declare, ip};
use base::{FieldErrors, names, status::Problem};
use schema::{Column, Context, Hooks, Kind};
use std::{collections::BTreeSet, net::IpAddr};
use value::{Path, Value};

const CLASS: &str = "kubernetes.io/ingress.class";
const NOT_AN_IP: &str = "must be a DNS name, not an IP address";
const ABSOLUTE: &str = "must be an absolute path";
/// Columns of this width are cut, except with `-o wide`.
const ADDRESS_WIDTH: usize = 16;

pub fn kind() -> Kind {
    declare(GROUP, "Ingress")
        .plural("ingresses")
        .short(["ing"])
        .version("v1", "io.k8s.api.networking.v1.Ingress", columns())
        .stored_under("ingress")
        .stored_formerly("ingresses")
        .status()
        .generation()
        .hooks(Ingress)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Class", |obj, _| obj.at(&["spec", "ingressClassName"]).as_str().unwrap_or("<none>").into()),
        Column::text("Hosts", |obj, _| hosts(obj.items_at(&["spec", "rules"])).into()),
        Column::text("Address", |obj, _| address(obj).into()),
        Column::text("Ports", |obj, _| if obj.items_at(&["spec", "tls"]).is_empty() { "80" } else { "80, 443" }.into()),
        Column::age(),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let named: Vec<&str> = rules.iter().map(|r| r.str_at(&["host"])).filter(|h| !h.is_empty()).collect();
    // Upstream counts rules, also those without a host, once three hosts are shown.
    let third = rules.iter().enumerate().filter(|(_, r)| !r.str_at(&["host"]).is_empty()).nth(2);
    match third {
        _ if named.is_empty() => "*".into(),
        Some((i, _)) if i + 1 < rules.len() => format!("{} + {} more...", named[..3].join(","), rules.len() - 3),
        _ => named.join(","),
    }
}

fn address(obj: &Value) -> String {
    let points = obj.items_at(&["status", "loadBalancer", "ingress"]).iter();
    let address = |point: &Value| match point.str_at(&["ip"]) {
        "" => point.str_at(&["hostname"]).to_string(),
        ip => ip.to_string(),
    };
    let addresses: BTreeSet<String> = points.map(address).filter(|a| !a.is_empty()).collect();
    let text = addresses.into_iter().collect::<Vec<_>>().join(",");
    match text.get(..ADDRESS_WIDTH - 3) {
        Some(start) if text.len() > ADDRESS_WIDTH => format!("{start}..."),
        _ => text,
    }
}

#[derive(Debug)]
struct Ingress;

impl Hooks for Ingress {
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let status = root.get("status");
            return load_balancer(status.get("loadBalancer"), old.unwrap_or(&Value::Null), errors);
        }
        spec(root.get("spec"), old, errors);
        if old.is_none() {
            let (annotation, class) =
                (obj.at(&["metadata", "annotations", CLASS]), obj.at(&["spec", "ingressClassName"]));
            if !annotation.is_null() && !class.is_null() && annotation != class {
                let root = Path::root();
                let path = root.key("annotations");
                let detail = "must match `ingressClassName` when both are specified";
                errors.invalid(path.key(CLASS), annotation.as_str().unwrap_or(""), detail);
            }
        }
    }

    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            let (status, mut warnings) = (root.get("status"), Vec::new());
            for point in status.get("loadBalancer").get("ingress").items() {
                // Upstream names the entry, not its address.
                warnings.extend(ip::ip_warning(point.path, point.get("ip").str()));
            }
            return warnings;
        }
        let annotated = !obj.at(&["metadata", "annotations", CLASS]).is_null();
        if old.is_none() && annotated && obj.at(&["spec", "ingressClassName"]).is_null() {
            let text = format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead");
            return vec![text];
        }
        Vec::new()
    }
}

fn spec(spec: At, old: Option<&Value>, errors: &mut FieldErrors) {
    let (rules, backend) = (spec.get("rules"), spec.get("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        let printed = if rules.is_set() { rules.value.to_string() } else { "null".into() };
        let detail = "either `defaultBackend` or `rules` must be specified";
        errors.add(Problem::Invalid, spec.path, Some(printed), detail);
    }
    if backend.is_set() {
        self::backend(backend, errors);
    }
    // Objects stored before these rules existed may keep what they had.
    let before = |pick: fn(&Value) -> bool| old.is_some_and(pick);
    let lax_hosts = before(|old| {
        let wild = |rule: &&Value| rule.str_at(&["host"]).contains('*');
        old.items_at(&["spec", "rules"]).iter().filter(wild).any(|rule| {
            let mut found = FieldErrors::default();
            paths(At::root(rule), &mut found);
            !found.is_empty()
        })
    });
    let lax_secrets = before(|old| {
        let secrets = old.items_at(&["spec", "tls"]).iter().map(|tls| tls.str_at(&["secretName"]));
        secrets.filter(|name| !name.is_empty()).any(|name| names::subdomain(name).is_err())
    });
    for rule in rules.items() {
        let host = rule.get("host");
        if !host.is_empty() {
            self::host(host, true, errors);
        }
        if !(host.str().contains('*') && lax_hosts) {
            paths(rule, errors);
        }
    }
    for tls in spec.get("tls").items() {
        tls.get("hosts").items().for_each(|host| self::host(host, false, errors));
        let secret = tls.get("secretName");
        if !secret.is_empty() && !lax_secrets {
            secret.dns_subdomain(errors);
        }
    }
    if spec.get("ingressClassName").is_set() {
        spec.get("ingressClassName").dns_subdomain(errors);
    }
}

fn host(host: At, no_address: bool, errors: &mut FieldErrors) {
    if no_address && ip::parse(host.str()).is_some() {
        host.invalid(errors, NOT_AN_IP);
    }
    let wild = host.str().contains('*');
    host.shape(errors, if wild { names::wildcard_subdomain(host.str()) } else { names::subdomain(host.str()) });
}

fn paths(rule: At, errors: &mut FieldErrors) {
    let http = rule.get("http");
    if !http.is_set() {
        return;
    }
    http.get("paths").need(errors);
    for path in http.get("paths").items() {
        let (ty, text) = (path.get("pathType"), path.get("path"));
        if !ty.is_set() {
            ty.required(errors, "pathType must be specified");
            continue;
        }
        match ty.str() {
            "Exact" | "Prefix" => {
                if !text.str().starts_with('/') {
                    text.invalid(errors, ABSOLUTE);
                }
                for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.str().contains(part)) {
                    text.invalid(errors, format!("must not contain '{part}'"));
                }
                for end in ["/..", "/."].into_iter().filter(|end| text.str().ends_with(end)) {
                    text.invalid(errors, format!("cannot end with '{end}'"));
                }
            }
            "ImplementationSpecific" if !text.is_empty() && !text.str().starts_with('/') => {
                text.invalid(errors, ABSOLUTE);
            }
            "ImplementationSpecific" => {}
            _ => ty.unsupported(errors, &["Exact", "ImplementationSpecific", "Prefix"]),
        }
        backend(path.get("backend"), errors);
    }
}

fn backend(backend: At, errors: &mut FieldErrors) {
    let (resource, service) = (backend.get("resource"), backend.get("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => backend.invalid_as(errors, "", "cannot set both resource and service backends"),
        (true, false) => resource.object_reference(errors),
        (false, false) => backend.invalid_as(errors, "", "resource or service backend is required"),
        (false, true) => {
            if service.get("name").need(errors) {
                service.get("name").dns_label(errors);
            }
            let port = service.get("port");
            let (name, number) = (port.get("name"), port.get("number"));
            match (!name.is_empty(), number.int() != 0) {
                (true, true) => backend.invalid_as(errors, "", "cannot set both port name & port number"),
                (true, false) => name.port_name(errors),
                (false, true) => number.port(errors),
                (false, false) => backend.required(errors, "port name or number is required"),
            }
        }
    }
}

fn load_balancer(status: At, old: &Value, errors: &mut FieldErrors) {
    let before: Vec<&str> =
        old.items_at(&["status", "loadBalancer", "ingress"]).iter().map(|point| point.str_at(&["ip"])).collect();
    for point in status.get("ingress").items() {
        let (ip, hostname) = (point.get("ip"), point.get("hostname"));
        if !ip.is_empty() {
            ip.any_ip(errors, &before);
        }
        if !hostname.is_empty() {
            hostname.dns_subdomain(errors);
            if hostname.str().parse::<IpAddr>().is_ok() {
                hostname.invalid(errors, NOT_AN_IP);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, update_of};
    use expect_test::expect;
    use value::value;

    fn service() -> Value {
        value!({"service": {"name": "s", "port": {"number": 80}}})
    }

    #[test]
    fn validation() {
        for (spec, want) in [
            (value!({"defaultBackend": service()}), expect![""]),
            (value!({}), expect!["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]),
            (
                value!({"defaultBackend": {}, "ingressClassName": "A"}),
                expect![[r#"
                    spec.defaultBackend: Invalid value: "": resource or service backend is required
                    spec.ingressClassName: Invalid value: "A": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"#]],
            ),
            (
                value!({"rules": [{"host": "1.2.3.4", "http": {"paths": [
                    {"backend": service()},
                    {"path": "x//y/..", "pathType": "Prefix", "backend": {"service": {"name": "", "port": {"name": "a", "number": 1}}}},
                    {"path": "x", "pathType": "ImplementationSpecific", "backend": {"resource": {"kind": "K", "name": "n"}}},
                    {"path": "/", "pathType": "Other", "backend": {"service": {"name": "s"}}},
                ]}}]}),
                expect![[r#"
                    spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address
                    spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified
                    spec.rules[0].http.paths[1].path: Invalid value: "x//y/..": must be an absolute path
                    spec.rules[0].http.paths[1].path: Invalid value: "x//y/..": must not contain '//'
                    spec.rules[0].http.paths[1].path: Invalid value: "x//y/..": cannot end with '/..'
                    spec.rules[0].http.paths[1].backend.service.name: Required value
                    spec.rules[0].http.paths[1].backend: Invalid value: "": cannot set both port name & port number
                    spec.rules[0].http.paths[2].path: Invalid value: "x": must be an absolute path
                    spec.rules[0].http.paths[3].pathType: Unsupported value: "Other": supported values: "Exact", "ImplementationSpecific", "Prefix"
                    spec.rules[0].http.paths[3].backend: Required value: port name or number is required"#]],
            ),
        ] {
            create(&kind(), value!({"spec": spec}), want);
        }
        create(
            &kind(),
            value!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}},
                "spec": {"ingressClassName": "b", "defaultBackend": service()}}),
            expect![[
                r#"annotations.kubernetes.io/ingress.class: Invalid value: "a": must match `ingressClassName` when both are specified"#
            ]],
        );
    }

    #[test]
    fn status() {
        let with = |ip: &str| value!({"spec": {"defaultBackend": service()}, "status": {"loadBalancer": {"ingress": [{"ip": ip}, {"hostname": "1.2.3.4"}]}}});
        update_of(
            &kind(),
            Some("status"),
            with("x"),
            with("010.0.0.1"),
            expect![[r#"
                status.loadBalancer.ingress[0].ip: Invalid value: "010.0.0.1": must not have leading 0s
                status.loadBalancer.ingress[1].hostname: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#]],
        );
    }

    #[test]
    fn columns() {
        let hosts = ["a.b", "", "c.d", "e.f"].map(|host| value!({"host": host})).to_vec();
        cells(
            &kind(),
            value!({"spec": {"rules": (hosts.clone()), "tls": [{}]}, "status": {"loadBalancer": {"ingress": [{"ip": "10.100.100.100"}, {"hostname": "z.example.com"}]}}}),
            expect!["obj | <none> | a.b,c.d,e.f | 10.100.100.10... | 80, 443 | 5m"],
        );
        let mut more = hosts;
        more.push(value!({}));
        cells(
            &kind(),
            value!({"spec": {"rules": more, "ingressClassName": "x"}}),
            expect!["obj | x | a.b,c.d,e.f + 2 more... |  | 80 | 5m"],
        );
        cells(&kind(), value!({"spec": {"rules": [{}]}}), expect!["obj | <none> | * |  | 80 | 5m"]);
    }
}
