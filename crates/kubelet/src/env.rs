//! The environment of a container, from everywhere that a spec can take it, and `$(NAME)` in it.
//!
//! Pure: ConfigMaps, Secrets and Services were fetched before. Order of precedence: `env` over `envFrom`, later over
//! earlier, and both over the variables of Services.

use k8s_openapi::api::core::v1::{Container, EnvVar, Pod};
use std::collections::{BTreeMap, BTreeSet};
use volumes::{Data, Facts, Objects};

/// A port of a Service that has a cluster address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    pub name: String,
    pub port: i64,
    pub protocol: String,
}

/// A Service as pods see it in their environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    pub cluster_ip: String,
    pub ports: Vec<ServicePort>,
}

impl control::Projection for Service {
    /// `None` for headless and external ones.
    fn project(object: &value::Object) -> Option<Self> {
        let tree = object.value();
        let cluster_ip = tree.str_at(&["spec", "clusterIP"]);
        if cluster_ip.is_empty() || cluster_ip == "None" {
            return None;
        }
        let ports = tree.items_at(&["spec", "ports"]).iter().map(|port| ServicePort {
            name: port.str_at(&["name"]).into(),
            port: port.at(&["port"]).as_i64().unwrap_or(0),
            protocol: Some(port.str_at(&["protocol"])).filter(|p| !p.is_empty()).unwrap_or("TCP").into(),
        });
        let (namespace, name) = (object.namespace().into(), object.name().into());
        Some(Service { namespace, name, cluster_ip: cluster_ip.into(), ports: ports.collect() })
    }
}

/// The ConfigMaps and Secrets that a container's environment names.
pub fn needs(container: &Container) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut config_maps, mut secrets) = (BTreeSet::new(), BTreeSet::new());
    for source in container.env_from.iter().flatten() {
        config_maps.extend(source.config_map_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_ref.iter().map(|r| r.name.clone()));
    }
    for source in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        config_maps.extend(source.config_map_key_ref.iter().map(|r| r.name.clone()));
        secrets.extend(source.secret_key_ref.iter().map(|r| r.name.clone()));
    }
    (config_maps, secrets)
}

/// The variables in order, or the message of `CreateContainerConfigError`.
pub fn make(
    pod: &Pod,
    container: &Container,
    facts: &Facts,
    objects: &dyn Objects,
    services: &[(String, String)],
) -> Result<Vec<(String, String)>, String> {
    let mut env = Ordered::default();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (data, optional, missing) = if let Some(r) = &source.config_map_ref {
            (objects.config_map(&r.name), r.optional, format!("configmap {:?} not found", r.name))
        } else if let Some(r) = &source.secret_ref {
            (objects.secret(&r.name), r.optional, format!("secret {:?} not found", r.name))
        } else {
            continue;
        };
        match data {
            Some(data) => {
                for (key, bytes) in data {
                    // What cannot be a variable's name is left out, as upstream leaves it out.
                    if !key.contains('=') {
                        env.set(format!("{prefix}{key}"), text(&bytes)?);
                    }
                }
            }
            None if optional == Some(true) => {}
            None => return Err(missing),
        }
    }
    let service: BTreeMap<&str, &str> = services.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) if !value.is_empty() => {
                Some(expand(value, |name| env.get(name).or_else(|| service.get(name).copied()).map(String::from)))
            }
            (_, Some(_)) => from(pod, container, var, facts, objects)?,
            _ => Some(String::new()),
        };
        if let Some(value) = value {
            env.set(var.name.clone(), value);
        }
    }
    for (name, value) in services {
        if env.get(name).is_none() {
            env.set(name.clone(), value.clone());
        }
    }
    Ok(env.0)
}

fn from(
    pod: &Pod,
    container: &Container,
    var: &EnvVar,
    facts: &Facts,
    objects: &dyn Objects,
) -> Result<Option<String>, String> {
    let Some(source) = &var.value_from else { return Ok(None) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    if let Some(field) = &source.field_ref {
        return volumes::field(pod, facts, &field.field_path).map(Some).map_err(|e| e.to_string());
    }
    if let Some(selector) = &source.resource_field_ref {
        let named = selector.container_name.as_deref().filter(|name| !name.is_empty());
        let other = named.and_then(|name| crate::pod::decide::containers(pod).map(|(c, _)| c).find(|c| c.name == name));
        let target = other.unwrap_or(container);
        return volumes::resource(target, facts, selector).map(Some).map_err(|e| e.to_string());
    }
    if let Some(key) = &source.config_map_key_ref {
        let (kind, missing) = ("ConfigMap", format!("configmap {:?} not found", key.name));
        return pick(objects.config_map(&key.name), &key.key, key.optional, missing, kind, namespace, &key.name);
    }
    if let Some(key) = &source.secret_key_ref {
        let (kind, missing) = ("Secret", format!("secret {:?} not found", key.name));
        return pick(objects.secret(&key.name), &key.key, key.optional, missing, kind, namespace, &key.name);
    }
    Err(format!("environment variable {}: its source is not supported on this node", var.name))
}

fn pick(
    data: Option<Data>,
    key: &str,
    optional: Option<bool>,
    missing: String,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, String> {
    let optional = optional == Some(true);
    match data {
        None if optional => Ok(None),
        None => Err(missing),
        Some(data) => match data.get(key) {
            Some(bytes) => text(bytes).map(Some),
            None if optional => Ok(None),
            None => Err(format!("couldn't find key {key} in {kind} {namespace}/{name}")),
        },
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    match bytes.contains(&0) {
        true => Err("a variable's value must not hold a NUL byte".into()),
        false => Ok(String::from_utf8_lossy(bytes).into_owned()),
    }
}

/// Variables in the order in which they were first set.
#[derive(Default)]
struct Ordered(Vec<(String, String)>);

impl Ordered {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(place) => place.1 = value,
            None => self.0.push((name, value)),
        }
    }
}

/// Replaces `$(NAME)`; what is not defined stays as it stands, and `$$` is one `$`.
pub fn expand(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('$') {
            out.push('$');
            rest = next;
        } else if let Some((name, next)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = next;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// The variables of the Services that a pod sees: those of its namespace if it wants them, and `kubernetes` always.
pub fn of_services<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    namespace: &str,
    links: bool,
) -> Vec<(String, String)> {
    let mut seen: BTreeMap<&str, &Service> = BTreeMap::new();
    for service in services {
        let master = service.namespace == "default" && service.name == "kubernetes";
        // A Service of the pod's own namespace hides the master's of the same name.
        if links && service.namespace == namespace {
            seen.insert(&service.name, service);
        } else if master {
            seen.entry(&service.name).or_insert(service);
        }
    }
    seen.into_values().flat_map(of_service).collect()
}

fn of_service(service: &Service) -> Vec<(String, String)> {
    let Some(first) = service.ports.first() else { return Vec::new() };
    let prefix = service.name.to_ascii_uppercase().replace('-', "_");
    let ip = &service.cluster_ip;
    let at = |port: i64| if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    let mut env = vec![
        (format!("{prefix}_SERVICE_HOST"), ip.clone()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in service.ports.iter().filter(|p| !p.name.is_empty()) {
        let name = port.name.to_ascii_uppercase().replace('-', "_");
        env.push((format!("{prefix}_SERVICE_PORT_{name}"), port.port.to_string()));
    }
    let url = |port: &ServicePort| format!("{}://{}", port.protocol.to_ascii_lowercase(), at(port.port));
    env.push((format!("{prefix}_PORT"), url(first)));
    for port in &service.ports {
        let name = format!("{prefix}_PORT_{}_{}", port.port, port.protocol.to_ascii_uppercase());
        env.push((name.clone(), url(port)));
        env.push((format!("{name}_PROTO"), port.protocol.to_ascii_lowercase()));
        env.push((format!("{name}_PORT"), port.port.to_string()));
        env.push((format!("{name}_ADDR"), ip.clone()));
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    struct Fixed;
    impl Objects for Fixed {
        fn config_map(&self, name: &str) -> Option<Data> {
            (name == "c").then(|| [("K".to_string(), b"v".to_vec()), ("L".into(), b"w".to_vec())].into())
        }
        fn secret(&self, name: &str) -> Option<Data> {
            (name == "s").then(|| [("P".to_string(), b"pw".to_vec())].into())
        }
        fn token(&self, _: &str, _: i64) -> Option<String> {
            None
        }
    }

    #[track_caller]
    fn check(container: serde_json::Value, want: Result<&str, &str>) {
        let mut container = container;
        container["name"] = "c".into();
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n"}, "spec": {"containers": [container]}
        }))
        .unwrap();
        let facts = Facts { node_name: "n1".into(), pod_ips: vec!["10.0.0.9".into()], ..Facts::default() };
        let services = [("SVC_SERVICE_HOST".to_string(), "10.96.0.1".to_string())];
        let made = make(&pod, &pod.spec.as_ref().unwrap().containers[0], &facts, &Fixed, &services);
        let made = made.map(|env| {
            let own = env.iter().filter(|(k, v)| !(k == "SVC_SERVICE_HOST" && v == "10.96.0.1"));
            own.map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" ")
        });
        assert_eq!(made.as_deref().map_err(String::as_str), want);
    }

    #[test]
    fn every_source() {
        check(
            json!({"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "$(A)-$(NONE)-$$(A)"}]}),
            Ok("A=1 B=1-$(NONE)-$(A)"),
        );
        check(json!({"env": [{"name": "A", "value": "x$(SVC_SERVICE_HOST)"}]}), Ok("A=x10.96.0.1"));
        check(json!({"env": [{"name": "SVC_SERVICE_HOST", "value": "mine"}]}), Ok("SVC_SERVICE_HOST=mine"));
        check(
            json!({"envFrom": [{"configMapRef": {"name": "c"}, "prefix": "X_"}], "env": [{"name": "X_L", "value": "own"}]}),
            Ok("X_K=v X_L=own"),
        );
        check(json!({"envFrom": [{"secretRef": {"name": "s"}}]}), Ok("P=pw"));
        check(json!({"envFrom": [{"secretRef": {"name": "none"}}]}), Err("secret \"none\" not found"));
        check(json!({"envFrom": [{"secretRef": {"name": "none", "optional": true}}]}), Ok(""));
        let from = |source: serde_json::Value| json!({"env": [{"name": "A", "valueFrom": source}]});
        check(from(json!({"configMapKeyRef": {"name": "c", "key": "K"}})), Ok("A=v"));
        check(from(json!({"configMapKeyRef": {"name": "c", "key": "Z"}})), Err("couldn't find key Z in ConfigMap n/c"));
        check(from(json!({"configMapKeyRef": {"name": "c", "key": "Z", "optional": true}})), Ok(""));
        check(from(json!({"secretKeyRef": {"name": "s", "key": "P"}})), Ok("A=pw"));
        check(from(json!({"fieldRef": {"fieldPath": "status.podIP"}})), Ok("A=10.0.0.9"));
        check(from(json!({"resourceFieldRef": {"resource": "requests.cpu"}})), Ok("A=0"));
    }

    #[test]
    fn expansion() {
        for (text, want) in [
            ("a$(X)b", "a1b"),
            ("$$(X)", "$(X)"),
            ("$$$(X)", "$1"),
            ("$(Y)", "$(Y)"),
            ("$(X", "$(X"),
            ("$X $", "$X $"),
            ("", ""),
        ] {
            assert_eq!(expand(text, |name| (name == "X").then(|| "1".into())), want);
        }
    }

    #[test]
    fn services() {
        let service = |namespace: &str, name: &str| Service {
            namespace: namespace.into(),
            name: name.into(),
            cluster_ip: "10.96.0.7".into(),
            ports: vec![ServicePort { name: "http-x".into(), port: 80, protocol: "TCP".into() }],
        };
        let all = [service("default", "kubernetes"), service("n", "my-web"), service("m", "other")];
        let env = of_services(&all, "n", true);
        let text: Vec<String> = env.iter().skip(8).map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text,
            [
                "MY_WEB_SERVICE_HOST=10.96.0.7",
                "MY_WEB_SERVICE_PORT=80",
                "MY_WEB_SERVICE_PORT_HTTP_X=80",
                "MY_WEB_PORT=tcp://10.96.0.7:80",
                "MY_WEB_PORT_80_TCP=tcp://10.96.0.7:80",
                "MY_WEB_PORT_80_TCP_PROTO=tcp",
                "MY_WEB_PORT_80_TCP_PORT=80",
                "MY_WEB_PORT_80_TCP_ADDR=10.96.0.7",
            ]
        );
        assert_eq!(of_services(&all, "n", false).len(), 8);
    }
}
