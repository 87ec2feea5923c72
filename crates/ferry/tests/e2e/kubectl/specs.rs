//! What upstream's suite asks of kubectl, against a server alone: the specs of `[sig-cli]` under their names, and what those of
//! `CustomResourcePublishOpenAPI` do with it. The others are scenarios of testkit (`tests/suite`), whose list this is.

use super::{Kubectl, machinery::refused};
use crate::common::{Running, http_get, server::Server};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
};

const SPECS: &str = include_str!("../../../../testkit/tests/suite/specs.txt");

type Story = fn(&Kubectl);

const TABLE: [(&str, Story); 5] = [
    (
        "[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]",
        api_versions,
    ),
    (
        "[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info [Conformance]",
        cluster_info,
    ),
    ("[sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]", versions),
    ("[sig-cli] Kubectl client Proxy server should support --unix-socket=/path [Conformance]", proxy_on_a_socket),
    ("[sig-cli] Kubectl client Proxy server should support proxy with --port 0 [Conformance]", proxy_on_any_port),
];

#[test]
fn upstreams_specs() {
    let wanted: BTreeSet<&str> = SPECS.lines().filter(|name| name.starts_with("[sig-cli]")).collect();
    assert_eq!(TABLE.iter().map(|(name, _)| *name).collect::<BTreeSet<_>>(), wanted);
    let mut server = Server::new();
    server.start();
    let k = Kubectl::of(&server);
    for (name, story) in TABLE {
        println!("{name}");
        story(&k);
    }
    for kind in custom_kinds() {
        println!("a custom kind: {}", kind.name);
        kind.play(&k);
    }
    server.terminate();
}

fn api_versions(k: &Kubectl) {
    let out = k.run(&["api-versions"]);
    assert!(out.lines().any(|line| line == "v1"), "{out}");
}

fn cluster_info(k: &Kubectl) {
    let out = k.run(&["cluster-info"]);
    in_order(&out, &["Kubernetes control plane", "is running at", &format!("https://127.0.0.1:{}", k.port)]);
}

fn versions(k: &Kubectl) {
    let out = k.run(&["version"]);
    for label in ["Client Version: ", "Server Version: "] {
        let version = out.lines().find_map(|line| line.strip_prefix(label)).unwrap_or_else(|| panic!("{label}: {out}"));
        let parts: Vec<&str> = version.strip_prefix('v').unwrap_or_default().splitn(3, '.').collect();
        let number = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        assert!(parts.len() == 3 && parts[..2].iter().all(number) && !parts[2].is_empty(), "{version}");
    }
    assert!(out.contains("Server Version: v1.36."), "{out}");
}

/// `kubectl proxy`, which serves, and where.
fn proxy(k: &Kubectl, args: &[&str]) -> (Running, String) {
    let mut proxy = Running::spawn(&mut k.command(&[&["proxy"], args].concat()));
    let line = proxy.wait_for("Starting to serve on ").expect("it serves");
    let place = line.rsplit(' ').next().unwrap_or_default().to_string();
    (proxy, place)
}

#[track_caller]
fn core_versions(body: &str) {
    let versions: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {body}"));
    assert_eq!((&versions["kind"], &versions["versions"]), (&json!("APIVersions"), &json!(["v1"])));
}

fn proxy_on_any_port(k: &Kubectl) {
    let (proxy, address) = proxy(k, &["-p", "0", "--disable-filter"]);
    let (code, body) = http_get(&address, "/api/").expect("an answer");
    assert_eq!(code, 200, "{body}");
    core_versions(&body);
    proxy.kill();
}

fn proxy_on_a_socket(k: &Kubectl) {
    let path = k.home.join("proxy.sock");
    let (proxy, place) = proxy(k, &[&format!("--unix-socket={}", path.display())]);
    assert_eq!(place, path.to_string_lossy());
    let mut stream = UnixStream::connect(&path).expect("a connection");
    stream.write_all(b"GET /api HTTP/1.0\r\nHost: localhost\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("read");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.lines().next().is_some_and(|line| line.contains(" 200 ")), "{head}");
    core_versions(body);
    proxy.kill();
}

/// A kind, objects of it that are accepted and refused, and what is explained.
struct Custom {
    name: &'static str,
    schema: Value,
    accepted: Value,
    /// What an object has beside its metadata, and what kubectl says then.
    refused: Vec<(Value, &'static str)>,
    /// Behind the resource's name, and what stands there in this order.
    explained: Vec<(&'static str, &'static [&'static str])>,
}

fn custom_kinds() -> [Custom; 4] {
    let anything = json!({"a": {"b": [{"c": "d"}]}});
    let open = |mut schema: Value| {
        schema["x-kubernetes-preserve-unknown-fields"] = true.into();
        schema
    };
    let spec = json!({"type": "object", "description": "Specification of Waldo",
        "properties": {"dummy": {"type": "object", "description": "Dummy property."}}});
    let described = |what: &str, spec: &Value| {
        json!({"type": "object", "description": format!("preserve-unknown-properties {what} for Testing"),
            "properties": {"spec": spec}})
    };
    [
        foo(),
        Custom {
            name: "Empty",
            schema: open(json!({"type": "object"})),
            accepted: anything.clone(),
            refused: Vec::new(),
            explained: vec![("", &["DESCRIPTION:", "<empty>"])],
        },
        Custom {
            name: "Root",
            schema: open(described("at root", &spec)),
            accepted: anything,
            refused: Vec::new(),
            explained: vec![("", &["KIND:", "Root"])],
        },
        Custom {
            name: "Nested",
            schema: described("in nested field", &open(spec)),
            accepted: json!({"spec": {"a": null, "b": [{"c": "d"}]}}),
            refused: Vec::new(),
            explained: vec![("", &["DESCRIPTION:", "preserve-unknown-properties in nested field for Testing"])],
        },
    ]
}

fn foo() -> Custom {
    let text = |says: &str| json!({"type": "string", "description": says});
    let bar = json!({"type": "object", "required": ["name"], "properties": {
        "name": text("Name of Bar."), "age": text("Age of Bar."),
        "feeling": {"type": "string", "description": "Whether Bar is feeling great.", "enum": ["Great", "Down"]},
        "bazs": {"type": "array", "description": "List of Bazs.", "items": {"type": "string"}}}});
    let schema = json!({"type": "object", "description": "Foo CRD for Testing", "properties": {
        "spec": {"type": "object", "description": "Specification of Foo", "properties": {
            "bars": {"type": "array", "description": "List of Bars and their specs.", "items": bar}}}}});
    Custom {
        name: "Foo",
        schema,
        accepted: json!({"spec": {"bars": [{"name": "test-bar"}]}}),
        refused: vec![
            (
                json!({"spec": {"bars": [{"name": "test-bar", "feeling": "NonExistentValue"}]}}),
                "Unsupported value: \"NonExistentValue\"",
            ),
            (json!({"spec": {"foo": true}}), "unknown field \"spec.foo\""),
            (json!({"spec": {"bars": [{"age": "10"}]}}), "spec.bars[0].name: Required value"),
        ],
        explained: vec![
            (
                "",
                &[
                    "DESCRIPTION:",
                    "Foo CRD for Testing",
                    "FIELDS:",
                    "apiVersion",
                    "<string>",
                    "APIVersion defines",
                    "spec",
                    "<Object>",
                    "Specification of Foo",
                ],
            ),
            (".metadata", &["DESCRIPTION:", "Standard object's metadata", "FIELDS:", "creationTimestamp", "<string>"]),
            (
                ".spec",
                &[
                    "DESCRIPTION:",
                    "Specification of Foo",
                    "FIELDS:",
                    "bars",
                    "<[]Object>",
                    "List of Bars and their specs",
                ],
            ),
            (
                ".spec.bars",
                &[
                    "FIELD:",
                    "bars",
                    "<[]Object>",
                    "DESCRIPTION:",
                    "List of Bars and their specs",
                    "FIELDS:",
                    "bazs",
                    "<[]string>",
                    "List of Bazs",
                    "name",
                    "<string>",
                    "Name of Bar",
                ],
            ),
        ],
    }
}

impl Custom {
    fn play(&self, k: &Kubectl) {
        let plural = format!("{}s", self.name.to_lowercase());
        let definition = format!("{plural}.specs.example.com");
        k.feed(&["create", "-f", "-"], &self.definition(&plural).to_string());
        k.run(&["wait", "--for=condition=Established", &format!("crd/{definition}"), "--timeout=60s"]);
        for verb in ["create", "apply"] {
            k.feed(&[verb, "-f", "-"], &self.object(&self.accepted));
            k.run(&["delete", &plural, "test"]);
            for (fields, says) in &self.refused {
                let said = refused(k, &[verb, "-f", "-"], &self.object(fields));
                assert!(said.contains(says), "{verb}: {said}");
            }
        }
        for (path, words) in &self.explained {
            in_order(&k.run(&["explain", &format!("{plural}{path}")]), words);
        }
        if !self.refused.is_empty() {
            let said = k.fail(&["explain", &format!("{plural}.spec.bars2")]);
            assert!(said.contains("field \"bars2\" does not exist"), "{said}");
        }
        k.run(&["delete", "crd", &definition]);
    }
    fn definition(&self, plural: &str) -> Value {
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.specs.example.com")},
            "spec": {
                "group": "specs.example.com", "scope": "Namespaced", "names": {"plural": plural, "kind": self.name},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": self.schema}}],
            },
        })
    }
    fn object(&self, fields: &Value) -> String {
        let mut object = json!({"apiVersion": "specs.example.com/v1", "kind": self.name, "metadata": {"name": "test"}});
        for (field, value) in fields.as_object().expect("fields") {
            object[field] = value.clone();
        }
        object.to_string()
    }
}

/// These stand in the text, one behind the other.
#[track_caller]
fn in_order(text: &str, words: &[&str]) {
    let mut rest = text;
    for word in words {
        let at = rest.find(word).unwrap_or_else(|| panic!("{word}, of {words:?}, in\n{text}"));
        rest = &rest[at + word.len()..];
    }
}
