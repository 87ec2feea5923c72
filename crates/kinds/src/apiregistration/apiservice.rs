//! APIService: a group and version, and the server behind it; none stands for this one.

use crate::{at::At, declare::declare};
use base::{FieldErrors, names, time};
use schema::{Column, Context, Hooks, Kind, NameRule};
use value::{Value, value};

pub fn kind() -> Kind {
    declare("apiregistration.k8s.io", "APIService")
        .cluster()
        .categories(["api-extensions"])
        .version("v1", "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService", columns())
        .status()
        .names(NameRule::PathSegment)
        .stored_under("apiregistration.k8s.io/apiservices")
        .conditional_update()
        .hooks(APIService)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::text("Service", |obj, _| match obj.at(&["spec", "service"]) {
            Value::Null => "Local".into(),
            service => format!("{}/{}", service.str_at(&["namespace"]), service.str_at(&["name"])).into(),
        }),
        Column::text("Available", |obj, _| available(obj).into()),
        Column::age(),
    ]
}

fn available(obj: &Value) -> String {
    match crate::cells::condition(obj, "Available") {
        None => "Unknown".into(),
        Some(condition) => match (condition.str_at(&["status"]), condition.str_at(&["reason"])) {
            ("True", _) => "True".into(),
            (status, "") => status.into(),
            (status, reason) => format!("{status} ({reason})"),
        },
    }
}

#[derive(Debug)]
struct APIService;

impl Hooks for APIService {
    fn prepare_create(&self, cx: &Context, obj: &mut Value) {
        obj.set(&["status"], Value::object());
        if obj.at(&["spec", "service"]).is_null() {
            let condition = value!({
                "type": "Available", "status": "True", "reason": "Local", "lastTransitionTime": (time::seconds(cx.now)),
                "message": "Local APIServices are always available",
            });
            obj.set(&["status", "conditions"], value!([condition]));
        }
    }

    fn validate(&self, cx: &Context, obj: &Value, _old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        if cx.subresource == Some("status") {
            for condition in root.get("status").get("conditions").items() {
                let status = condition.get("status");
                if !["True", "False", "Unknown"].contains(&status.str()) {
                    status.unsupported(errors, &["True", "False", "Unknown"]);
                }
            }
            return;
        }
        let spec = root.get("spec");
        let (group, version) = (spec.get("group"), spec.get("version"));
        let wanted = format!("{}.{}", version.str(), group.str());
        if obj.name() != wanted {
            let detail = format!("must be `spec.version+\".\"+spec.group`: {}", base::status::quote(&wanted));
            root.get("metadata").get("name").invalid(errors, detail);
        }
        if !group.is_empty() {
            group.dns_subdomain(errors);
        } else if version.str() != "v1" {
            group.required(errors, "only v1 may have an empty group and it better be legacy kube");
        }
        version.shape(errors, names::label1035(version.str()));
        for (field, max) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
            let field = spec.get(field);
            if !(1..=max).contains(&field.int()) {
                field.invalid_int(errors, format!("must be positive and less than {max}"));
            }
        }
        server(spec, errors);
    }
}

fn server(spec: At, errors: &mut FieldErrors) {
    let (service, bundle, insecure) = (spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    if !service.is_set() {
        if !bundle.is_empty() {
            let detail = "local APIServices may not have a caBundle";
            bundle.invalid_as(errors, &format!("{} bytes", bytes(bundle.str())), detail);
        }
        if insecure.flag() {
            insecure.invalid(errors, "local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    }
    for field in ["namespace", "name"] {
        service.get(field).need(errors);
    }
    let port = service.get("port");
    if let Err(why) = names::port_number(port.int()) {
        port.invalid_int(errors, format!("port is not valid: {why}"));
    }
    if insecure.flag() && !bundle.is_empty() {
        insecure.invalid(errors, "may not be true if caBundle is present");
    }
}

/// How many bytes the base64 text stands for.
fn bytes(base64: &str) -> usize {
    base64.trim_end_matches('=').len() * 3 / 4
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, created};
    use expect_test::expect;

    fn service(name: &str, spec: Value) -> Value {
        let mut obj = value!({"metadata": {"name": name}, "spec": spec});
        obj.set_default(&["spec", "groupPriorityMinimum"], 100);
        obj.set_default(&["spec", "versionPriority"], 100);
        obj
    }

    #[test]
    fn validation() {
        for (name, spec, want) in [
            ("v1.", value!({"version": "v1"}), expect![""]),
            (
                "v1.a.b",
                value!({"version": "v1", "group": "a.b", "service": {"namespace": "n", "name": "s"}}),
                expect![""],
            ),
            (
                "x",
                value!({"version": "V", "groupPriorityMinimum": 0, "versionPriority": 1001, "caBundle": "QUJD", "insecureSkipTLSVerify": true}),
                expect![[r#"
                metadata.name: Invalid value: "x": must be `spec.version+"."+spec.group`: "V."
                spec.group: Required value: only v1 may have an empty group and it better be legacy kube
                spec.version: Invalid value: "V": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
                spec.groupPriorityMinimum: Invalid value: 0: must be positive and less than 20000
                spec.versionPriority: Invalid value: 1001: must be positive and less than 1000
                spec.caBundle: Invalid value: "3 bytes": local APIServices may not have a caBundle
                spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify"#]],
            ),
            (
                "v1.a.b",
                value!({"version": "v1", "group": "a.b", "caBundle": "QUJD", "insecureSkipTLSVerify": true, "service": {"port": 70000}}),
                expect![[r#"
                spec.service.namespace: Required value
                spec.service.name: Required value
                spec.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive
                spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present"#]],
            ),
        ] {
            create(&kind(), service(name, spec), want);
        }
    }

    #[test]
    fn local_ones_are_available() {
        let obj = created(&kind(), service("v1.", value!({"version": "v1"})));
        cells(&kind(), obj, expect!["v1. | Local | True | 5m"]);
        let remote =
            service("v1.a.b", value!({"version": "v1", "group": "a.b", "service": {"namespace": "n", "name": "s"}}));
        cells(&kind(), created(&kind(), remote.clone()), expect!["v1.a.b | n/s | Unknown | 5m"]);
        let mut remote = remote;
        remote.set(&["status"], value!({"conditions": [{"type": "Available", "status": "False", "reason": "Gone"}]}));
        cells(&kind(), remote, expect!["v1.a.b | n/s | False (Gone) | 5m"]);
    }
}
