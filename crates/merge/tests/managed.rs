//! Who owns what: histories of writes by several managers, and what they leave.
//!
//! A case is a list of steps on one object; what is shown is the object after each apply or what refused it, and in the
//! end every manager with its fields, one per line.

use expect_test::{Expect, expect};
use merge::managed::{self, Known, Managers, Operation, Reach, Refused, Versions, Write};
use schema::{Kind, Schema, crd};
use std::sync::LazyLock;
use value::{Value, parse_lenient, value};

/// One version of one type.
struct One {
    api_version: &'static str,
    schema: Schema,
    custom: bool,
}

impl Versions for One {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        (api_version == self.api_version).then_some(&self.schema)
    }
    fn convert(&self, object: &Value, api_version: &str) -> base::Result<Option<Value>> {
        Ok((api_version == self.api_version).then(|| object.clone()))
    }
    fn custom(&self) -> bool {
        self.custom
    }
}

fn builtin(api_version: &'static str, kind: &str) -> One {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    One { api_version, schema: schema::builtin::of(group, version, kind).unwrap(), custom: false }
}

fn custom(spec: &str) -> One {
    let definition = value!({
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing", "listKind": "ThingList", "singular": "thing"},
            "versions": [{"name": "v1", "served": true, "storage": true}]},
    });
    let mut definition = definition;
    let mut version = value!({"name": "v1", "served": true, "storage": true});
    let spec = parse_lenient(spec.as_bytes()).unwrap();
    version.set(&["schema", "openAPIV3Schema"], value!({"type": "object", "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}));
    version.set(&["schema", "openAPIV3Schema", "properties", "spec"], spec);
    definition.set(&["spec", "versions"], Value::Array(vec![version]));
    let kind: Kind = crd::kind_of(&definition).unwrap();
    One { api_version: "example.com/v1", schema: kind.versions[0].schema.clone(), custom: true }
}

/// One for all tests, so that each may find what is another's.
static KNOWN: LazyLock<Known> = LazyLock::new(Known::default);

/// What is done to the object.
enum Do {
    Create(&'static str, &'static str),
    /// Replaces the whole object.
    Put(&'static str, &'static str),
    Apply(&'static str, &'static str),
    Force(&'static str, &'static str),
    /// Applies to, or replaces, the status.
    ApplyStatus(&'static str, &'static str),
    PutStatus(&'static str, &'static str),
}
use Do::*;

fn check(kind: &One, steps: &[Do], want: Expect) {
    let mut shown = String::new();
    let (mut object, mut list): (Option<Value>, Value) = (None, Value::Null);
    for (i, step) in steps.iter().enumerate() {
        let (manager, text, status) = match step {
            Create(m, t) | Put(m, t) | Apply(m, t) | Force(m, t) => (*m, *t, false),
            ApplyStatus(m, t) | PutStatus(m, t) => (*m, *t, true),
        };
        let reach = match status {
            true => Reach { only: Some(vec![vec!["status".into()]]), never: vec![] },
            false => Reach { only: None, never: vec!["status".into()] },
        };
        let time = format!("2026-01-02T03:04:{:02}Z", i + 1);
        let subresource = if status { "status" } else { "" };
        let write = Write { manager, api_version: kind.api_version, subresource, time: &time, reach: &reach };
        let mut body = parse_lenient(text.as_bytes()).unwrap();
        body.set(&["apiVersion"], kind.api_version);
        match step {
            Create(..) => {
                schema::decode(&kind.schema, &mut body).unwrap();
                let create = |known| managed::track_create(kind, &body, &Value::Null, &write, known).unwrap();
                list = create(None);
                // Once to be seen, once to be kept, once from memory.
                (0..3).for_each(|_| assert_eq!(create(Some(&KNOWN)), list));
                object = Some(body);
            }
            Put(..) | PutStatus(..) => {
                schema::decode(&kind.schema, &mut body).unwrap();
                let old = object.take().unwrap();
                let given = body.remove(&["metadata", "managedFields"]).unwrap_or_default();
                list = managed::track_update(kind, &old, &body, &list, &given, &write).unwrap();
                object = Some(body);
            }
            Apply(..) | Force(..) | ApplyStatus(..) => {
                let live = object.as_ref().map(|object| (object, &list));
                match managed::apply(kind, live, &body, &write, matches!(step, Force(..))) {
                    Ok(applied) => {
                        list = applied.managed;
                        match applied.object {
                            Some(mut new) => {
                                schema::decode(&kind.schema, &mut new).unwrap();
                                let plain: Value = new
                                    .members_at(&[])
                                    .filter(|(k, _)| *k != "apiVersion")
                                    .map(|(k, v)| (k, v.clone()))
                                    .collect::<value::Map>()
                                    .into();
                                shown.push_str(&format!("{manager}: {plain}\n"));
                                object = Some(new);
                            }
                            None => shown.push_str(&format!("{manager}: as it is\n")),
                        }
                    }
                    Err(Refused::Conflicts(conflicts)) => {
                        shown.push_str(&format!("{manager}: {}\n", Refused::conflict_status(&conflicts).message()));
                    }
                    Err(Refused::Misfit(why)) => shown.push_str(&format!("{manager}: {why}\n")),
                    Err(Refused::Status(status)) => shown.push_str(&format!("{manager}: {status}\n")),
                }
            }
        }
    }
    for manager in Managers::read(&list).unwrap().0 {
        let operation = if manager.operation == Operation::Apply { "applies" } else { "updates" };
        let sub = if manager.subresource.is_empty() { String::new() } else { format!(" {}", manager.subresource) };
        let second = manager.time.as_deref().map_or("never", |t| &t[17..19]);
        shown.push_str(&format!("-- {} {operation}{sub} at {second}\n{}\n", manager.name, manager.fields));
    }
    want.assert_eq(&shown);
}

/// What is known of one object is not taken for another whose items have other keys.
#[test]
fn objects_with_other_keys_share_no_set() {
    let (pod, known) = (builtin("v1", "Pod"), managed::Known::default());
    let reach = Reach { only: None, never: vec![] };
    let write = Write { manager: "m", api_version: "v1", subresource: "", time: "2026-01-02T03:04:05Z", reach: &reach };
    let mut lists = Vec::new();
    for ports in [
        r#"{"containerPort":80}"#,
        r#"{"containerPort":80,"protocol":"TCP"}"#,
        r#"{"containerPort":80,"protocol":"UDP"}"#,
        r#"{"containerPort":81}"#,
        r#"{"containerPort":"80"}"#,
        r#"{"containerPort":80.5}"#,
        r#"{"containerPort":"80.5,\"protocol\":\"TCP\""}"#,
        r#"{"containerPort":80},{"containerPort":81}"#,
        r#"{"name":"p"}"#,
        r#"{"name":"p","protocol":"TCP"}"#,
    ] {
        let text = format!(r#"{{"kind":"Pod","spec":{{"containers":[{{"name":"c","ports":[{ports}]}}]}}}}"#);
        let body = parse_lenient(text.as_bytes()).unwrap();
        let create = |known| managed::track_create(&pod, &body, &Value::Null, &write, known).unwrap();
        (0..3).for_each(|_| assert_eq!(create(Some(&known)), create(None), "{ports}"));
        lists.push(create(None).to_string());
    }
    lists.sort();
    lists.dedup();
    assert_eq!(lists.len(), 10, "{lists:#?}");
}

const LISTS: &str = r#"{"type": "object", "properties": {
    "n": {"type": "integer"}, "text": {"type": "string"},
    "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
    "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "v": {"type": "integer"}, "w": {"type": "integer"}}}},
    "atoms": {"type": "array", "items": {"type": "string"}},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
    "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
    "struct": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}},
    "any": {"x-kubernetes-preserve-unknown-fields": true}
}}"#;

#[test]
fn a_creation_owns_what_is_new() {
    check(
        &builtin("v1", "Pod"),
        &[Create(
            "m",
            r#"{"kind":"Pod","metadata":{"name":"a","generateName":"a-","labels":{"x":"y"},"uid":"1"},
                "spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80},{"containerPort":9,"protocol":"UDP"}],"env":[{"name":"E","value":"v"}]}],
                "nodeSelector":{"a":"b"},"tolerations":[{"key":"k"}]},"status":{"phase":"Running"}}"#,
        )],
        expect![[r#"
            -- m updates at 01
            .metadata.generateName
            .metadata.labels
            .metadata.labels.x
            .spec.nodeSelector
            .spec.tolerations
            .spec.containers[name="c"]
            .spec.containers[name="c"].env
            .spec.containers[name="c"].image
            .spec.containers[name="c"].name
            .spec.containers[name="c"].ports
            .spec.containers[name="c"].resources
            .spec.containers[name="c"].env[name="E"]
            .spec.containers[name="c"].env[name="E"].name
            .spec.containers[name="c"].env[name="E"].value
            .spec.containers[name="c"].ports[containerPort=80,protocol="TCP"]
            .spec.containers[name="c"].ports[containerPort=9,protocol="UDP"]
            .spec.containers[name="c"].ports[containerPort=80,protocol="TCP"].containerPort
            .spec.containers[name="c"].ports[containerPort=9,protocol="UDP"].containerPort
            .spec.containers[name="c"].ports[containerPort=9,protocol="UDP"].protocol
        "#]],
    );
    check(
        &custom(LISTS),
        &[Create(
            "m",
            r#"{"kind":"Thing","metadata":{"name":"a"},"spec":{"n":1,"set":["a"],"struct":{"a":1},"labels":{}}}"#,
        )],
        expect![[r#"
            -- m updates at 01
            .spec
            .spec.labels
            .spec.n
            .spec.set
            .spec.struct
            .spec.set[="a"]
            .spec.struct.a
        "#]],
    );
}

#[test]
fn maps_and_leaves() {
    let map = builtin("v1", "ConfigMap");
    // Added, changed, removed.
    check(
        &map,
        &[
            Apply("m", r#"{"kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1","b":"1"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"2","c":"1"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"2","c":"1"}}"#),
        ],
        expect![[r#"
            m: {"data":{"a":"1","b":"1"},"kind":"ConfigMap","metadata":{"name":"a"}}
            m: {"data":{"a":"2","c":"1"},"kind":"ConfigMap","metadata":{"name":"a"}}
            m: as it is
            -- m applies at 02
            .data.a
            .data.c
        "#]],
    );
    // A conflict, and what force takes.
    check(
        &map,
        &[
            Apply("m", r#"{"kind":"ConfigMap","data":{"a":"1","b":"1"}}"#),
            Apply("n", r#"{"kind":"ConfigMap","data":{"a":"2"}}"#),
            Apply("n", r#"{"kind":"ConfigMap","data":{"a":"2","b":"2"}}"#),
            Force("n", r#"{"kind":"ConfigMap","data":{"a":"2"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","data":{"b":"1"}}"#),
        ],
        expect![[r#"
            m: {"data":{"a":"1","b":"1"},"kind":"ConfigMap","metadata":{}}
            n: Apply failed with 1 conflict: conflict with "m": .data.a
            n: Apply failed with 2 conflicts: conflicts with "m":
            - .data.a
            - .data.b
            n: {"data":{"a":"2","b":"1"},"kind":"ConfigMap","metadata":{}}
            m: as it is
            -- m applies at 01
            .data.b
            -- n applies at 04
            .data.a
        "#]],
    );
    // The same value is shared; what one gives up stays with the other, what both give up goes.
    check(
        &map,
        &[
            Apply("m", r#"{"kind":"ConfigMap","data":{"a":"1","b":"1"}}"#),
            Apply("n", r#"{"kind":"ConfigMap","data":{"a":"1"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","data":{"b":"1"}}"#),
            Apply("n", r#"{"kind":"ConfigMap","data":{"c":"1"}}"#),
        ],
        expect![[r#"
            m: {"data":{"a":"1","b":"1"},"kind":"ConfigMap","metadata":{}}
            n: as it is
            m: as it is
            n: {"data":{"b":"1","c":"1"},"kind":"ConfigMap","metadata":{}}
            -- m applies at 01
            .data.b
            -- n applies at 04
            .data.c
        "#]],
    );
    // An update takes what it changes, and a removal leaves it to nobody.
    check(
        &map,
        &[
            Apply("m", r#"{"kind":"ConfigMap","data":{"a":"1","b":"1"}}"#),
            Put("u", r#"{"kind":"ConfigMap","data":{"a":"2","c":"3"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","data":{"a":"1"}}"#),
        ],
        expect![[r#"
            m: {"data":{"a":"1","b":"1"},"kind":"ConfigMap","metadata":{}}
            m: Apply failed with 1 conflict: conflict with "u" using v1: .data.a
            -- u updates at 02
            .data.a
            .data.c
        "#]],
    );
    // Nothing applied any more: everything goes.
    check(
        &map,
        &[
            Apply("m", r#"{"kind":"ConfigMap","metadata":{"labels":{"l":"1"}},"data":{"a":"1"}}"#),
            Apply("m", r#"{"kind":"ConfigMap"}"#),
        ],
        expect![[r#"
            m: {"data":{"a":"1"},"kind":"ConfigMap","metadata":{"labels":{"l":"1"}}}
            m: {"kind":"ConfigMap","metadata":{}}
        "#]],
    );
}

#[test]
fn who_created_it_matters() {
    let map = builtin("v1", "ConfigMap");
    // What was created belongs to its creator; applying the same is sharing.
    check(
        &map,
        &[
            Create("kubectl-create", r#"{"kind":"ConfigMap","data":{"a":"1","b":"1"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","data":{"a":"1"}}"#),
            Apply("m", r#"{"kind":"ConfigMap","data":{"a":"2"}}"#),
            Apply("m", r#"{"kind":"ConfigMap"}"#),
        ],
        expect![[r#"
            m: as it is
            m: Apply failed with 1 conflict: conflict with "kubectl-create" using v1: .data.a
            m: as it is
            -- kubectl-create updates at 01
            .data
            .data.a
            .data.b
        "#]],
    );
    // What kubectl applied on its side is taken over by its first apply on the server's.
    check(
        &map,
        &[
            Create(
                "kubectl-client-side-apply",
                r#"{"kind":"ConfigMap","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"a\":\"1\"}}"}},"data":{"a":"1","b":"1"}}"#,
            ),
            Apply("kubectl", r#"{"kind":"ConfigMap","data":{"a":"2"}}"#),
            Apply("kubectl", r#"{"kind":"ConfigMap","data":{"a":"2","b":"2"}}"#),
        ],
        expect![[r#"
            kubectl: {"data":{"a":"2","b":"1"},"kind":"ConfigMap","metadata":{"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{\"apiVersion\":\"v1\",\"data\":{\"a\":\"2\"},\"kind\":\"ConfigMap\"}\n"}}}
            kubectl: Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using v1: .data.b
            -- kubectl applies at 02
            .data.a
            -- kubectl-client-side-apply updates at 01
            .data
            .data.b
            .metadata.annotations
            .metadata.annotations.kubectl.kubernetes.io/last-applied-configuration
        "#]],
    );
    // Managers may be forgotten; what is there then was there before.
    check(
        &map,
        &[
            Create("m", r#"{"kind":"ConfigMap","data":{"a":"1"}}"#),
            Put("u", r#"{"kind":"ConfigMap","metadata":{"managedFields":[{}]},"data":{"a":"1"}}"#),
            Put("u", r#"{"kind":"ConfigMap","data":{"a":"2"}}"#),
            Apply("n", r#"{"kind":"ConfigMap","data":{"a":"3"}}"#),
            Force("n", r#"{"kind":"ConfigMap","data":{"a":"3"}}"#),
        ],
        expect![[r#"
            n: Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.a
            n: {"data":{"a":"3"},"kind":"ConfigMap","metadata":{}}
            -- n applies at 05
            .data.a
            -- before-first-apply updates at 05
            .data
        "#]],
    );
    // A client may name other managers; what it writes is its own nevertheless.
    check(
        &map,
        &[
            Create("m", r#"{"kind":"ConfigMap","data":{"a":"1","b":"1"}}"#),
            Put(
                "u",
                r#"{"kind":"ConfigMap","metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:a":{},"f:b":{}}}}]},"data":{"a":"1","b":"2"}}"#,
            ),
        ],
        expect![[r#"
            -- x applies at never
            .data.a
            -- u updates at 02
            .data.b
        "#]],
    );
    // What cannot be read is as if it were not given.
    check(
        &map,
        &[
            Create("m", r#"{"kind":"ConfigMap","data":{"a":"1"}}"#),
            Put(
                "u",
                r#"{"kind":"ConfigMap","metadata":{"managedFields":[{"manager":"x","operation":"Guess"}]},"data":{"a":"1"}}"#,
            ),
        ],
        expect![[r#"
            -- m updates at 01
            .data
            .data.a
        "#]],
    );
}

#[test]
fn lists() {
    let thing = custom(LISTS);
    // Sets: items of both managers.
    check(
        &thing,
        &[
            Apply("m", r#"{"kind":"Thing","spec":{"set":["a","b"]}}"#),
            Apply("n", r#"{"kind":"Thing","spec":{"set":["b","c"]}}"#),
            Apply("m", r#"{"kind":"Thing","spec":{"set":["d"]}}"#),
        ],
        expect![[r#"
            m: {"kind":"Thing","spec":{"set":["a","b"]}}
            n: {"kind":"Thing","spec":{"set":["a","b","c"]}}
            m: {"kind":"Thing","spec":{"set":["b","c","d"]}}
            -- n applies at 02
            .spec.set[="b"]
            .spec.set[="c"]
            -- m applies at 03
            .spec.set[="d"]
        "#]],
    );
    // Lists with keys: an item may belong to several, its fields to each their own.
    check(
        &thing,
        &[
            Apply("m", r#"{"kind":"Thing","spec":{"map":[{"name":"a","v":1},{"name":"b","v":1}]}}"#),
            Apply("n", r#"{"kind":"Thing","spec":{"map":[{"name":"c"},{"name":"a","w":2}]}}"#),
            Apply("n", r#"{"kind":"Thing","spec":{"map":[{"name":"a","v":2}]}}"#),
            Apply("m", r#"{"kind":"Thing","spec":{"map":[{"name":"b","v":1}]}}"#),
            Apply("n", r#"{"kind":"Thing"}"#),
        ],
        expect![[r#"
            m: {"kind":"Thing","spec":{"map":[{"name":"a","v":1},{"name":"b","v":1}]}}
            n: {"kind":"Thing","spec":{"map":[{"name":"c"},{"name":"a","v":1,"w":2},{"name":"b","v":1}]}}
            n: Apply failed with 1 conflict: conflict with "m": .spec.map[name="a"].v
            m: {"kind":"Thing","spec":{"map":[{"name":"c"},{"name":"a","w":2},{"name":"b","v":1}]}}
            n: {"kind":"Thing","spec":{"map":[{"name":"b","v":1}]}}
            -- m applies at 04
            .spec.map[name="b"]
            .spec.map[name="b"].name
            .spec.map[name="b"].v
        "#]],
    );
    // Atomic lists, maps and structs go as one.
    check(
        &thing,
        &[
            Apply("m", r#"{"kind":"Thing","spec":{"atoms":["a"],"whole":{"x":"1"}}}"#),
            Apply("n", r#"{"kind":"Thing","spec":{"atoms":["a","b"],"whole":{"y":"1"}}}"#),
            Force("n", r#"{"kind":"Thing","spec":{"whole":{"y":"1"}}}"#),
            Apply("m", r#"{"kind":"Thing","spec":{}}"#),
        ],
        expect![[r#"
            m: {"kind":"Thing","spec":{"atoms":["a"],"whole":{"x":"1"}}}
            n: Apply failed with 2 conflicts: conflicts with "m":
            - .spec.atoms
            - .spec.whole
            n: {"kind":"Thing","spec":{"atoms":["a"],"whole":{"y":"1"}}}
            m: {"kind":"Thing","spec":{"whole":{"y":"1"}}}
            -- n applies at 03
            .spec.whole
            -- m applies at 04
            .spec
        "#]],
    );
}

#[test]
fn lists_without_a_schema_and_with_defaults_in_their_keys() {
    let thing = custom(LISTS);
    // Without a schema: members are owned, lists go as one.
    check(
        &thing,
        &[
            Apply("m", r#"{"kind":"Thing","spec":{"any":{"a":{"b":1},"l":[1]}}}"#),
            Apply("n", r#"{"kind":"Thing","spec":{"any":{"a":{"c":2},"l":[1,2]}}}"#),
            Apply("n", r#"{"kind":"Thing","spec":{"any":{"a":{"c":2}}}}"#),
            Apply("m", r#"{"kind":"Thing","spec":{"any":"text"}}"#),
            Force("m", r#"{"kind":"Thing","spec":{"any":"text"}}"#),
        ],
        expect![[r#"
            m: {"kind":"Thing","spec":{"any":{"a":{"b":1},"l":[1]}}}
            n: Apply failed with 1 conflict: conflict with "m": .spec.any.l
            n: {"kind":"Thing","spec":{"any":{"a":{"b":1,"c":2},"l":[1]}}}
            m: {"kind":"Thing","spec":{"any":"text"}}
            m: as it is
            -- m applies at 04
            .spec.any
        "#]],
    );
    // Ports differ by protocol, which has a default.
    check(
        &builtin("v1", "Service"),
        &[
            Apply(
                "m",
                r#"{"kind":"Service","spec":{"ports":[{"port":53,"name":"tcp"},{"port":53,"name":"udp","protocol":"UDP"}]}}"#,
            ),
            Apply("n", r#"{"kind":"Service","spec":{"ports":[{"port":53,"protocol":"TCP","targetPort":5353}]}}"#),
            Apply("o", r#"{"kind":"Service","spec":{"ports":[{"port":53,"protocol":"UDP","name":"x"}]}}"#),
        ],
        expect![[r#"
            m: {"kind":"Service","metadata":{},"spec":{"ports":[{"name":"tcp","port":53,"targetPort":0},{"name":"udp","port":53,"protocol":"UDP","targetPort":0}]},"status":{"loadBalancer":{}}}
            n: {"kind":"Service","metadata":{},"spec":{"ports":[{"name":"tcp","port":53,"protocol":"TCP","targetPort":5353},{"name":"udp","port":53,"protocol":"UDP","targetPort":0}]},"status":{"loadBalancer":{}}}
            o: Apply failed with 1 conflict: conflict with "m": .spec.ports[port=53,protocol="UDP"].name
            -- m applies at 01
            .spec.ports[port=53,protocol="TCP"]
            .spec.ports[port=53,protocol="UDP"]
            .spec.ports[port=53,protocol="TCP"].name
            .spec.ports[port=53,protocol="TCP"].port
            .spec.ports[port=53,protocol="UDP"].name
            .spec.ports[port=53,protocol="UDP"].port
            .spec.ports[port=53,protocol="UDP"].protocol
            -- n applies at 02
            .spec.ports[port=53,protocol="TCP"]
            .spec.ports[port=53,protocol="TCP"].port
            .spec.ports[port=53,protocol="TCP"].protocol
            .spec.ports[port=53,protocol="TCP"].targetPort
        "#]],
    );
}

#[test]
fn what_does_not_fit_its_type() {
    let (thing, deployment) = (custom(LISTS), builtin("apps/v1", "Deployment"));
    for (kind, text, want) in [
        (&thing, r#"{"kind":"Thing","spec":{"unknown":1}}"#, ".spec.unknown: field not declared in schema"),
        (&thing, r#"{"kind":"Thing","spec":{"set":["a","a"]}}"#, r#".spec.set: duplicate entries for key [="a"]"#),
        (
            &thing,
            r#"{"kind":"Thing","spec":{"map":[{"name":"a"},{"name":"a"}]}}"#,
            r#".spec.map: duplicate entries for key [name="a"]"#,
        ),
        (
            &thing,
            r#"{"kind":"Thing","spec":{"map":[{"v":1}]}}"#,
            r#".spec.map: element 0: associative list with keys has an element that omits all key fields ["name"] (and doesn't have default values for any key fields)"#,
        ),
        (&thing, r#"{"kind":"Thing","spec":{"n":"x"}}"#, ".spec.n: expected numeric (int or float), got string"),
        (&thing, r#"{"kind":"Thing","spec":{"map":{}}}"#, ".spec.map: expected list, got &{map[]}"),
        (&thing, r#"{"kind":"Thing","spec":[1]}"#, ".spec: expected map, got &{[1]}"),
        (
            &thing,
            r#"{"kind":"Thing","spec":{"text":5,"x":1}}"#,
            "errors:\n  .spec.text: expected string, got &value.valueUnstructured{Value:5}\n  .spec.x: field not declared in schema",
        ),
        (
            &deployment,
            r#"{"kind":"Deployment","spec":{"replicas":true}}"#,
            ".spec.replicas: expected numeric (int or float), got bool",
        ),
        (
            &deployment,
            r#"{"kind":"Deployment","spec":{"template":{"spec":{"containers":[{"name":"a","imagePullPolice":"x"}]}}}}"#,
            r#".spec.template.spec.containers[name="a"].imagePullPolice: field not declared in schema"#,
        ),
    ] {
        let reach = Reach::default();
        let write = Write { manager: "m", api_version: kind.api_version, subresource: "", time: "t", reach: &reach };
        let mut body = parse_lenient(text.as_bytes()).unwrap();
        body.set(&["apiVersion"], kind.api_version);
        let refused = managed::apply(kind, None, &body, &write, false).unwrap_err();
        assert_eq!(refused, Refused::Misfit(want.into()), "{text}");
    }
}

#[test]
fn endpoints_write_what_they_reach() {
    let thing = custom(LISTS);
    check(
        &thing,
        &[
            Apply("m", r#"{"kind":"Thing","spec":{"n":1},"status":{"x":1}}"#),
            ApplyStatus("m", r#"{"kind":"Thing","spec":{"n":1},"status":{"ready":true}}"#),
            PutStatus("c", r#"{"kind":"Thing","spec":{"n":1},"status":{"ready":false,"x":1}}"#),
            ApplyStatus("m", r#"{"kind":"Thing","status":{"ready":true}}"#),
            Put("c", r#"{"kind":"Thing","spec":{"n":2},"status":{"ready":false,"x":1}}"#),
        ],
        expect![[r#"
            m: {"kind":"Thing","spec":{"n":1},"status":{"x":1}}
            m: {"kind":"Thing","spec":{"n":1},"status":{"ready":true,"x":1}}
            m: Apply failed with 1 conflict: conflict with "c" with subresource "status" using example.com/v1: .status.ready
            -- c updates status at 03
            .status.ready
            -- c updates at 05
            .spec.n
        "#]],
    );
}

#[test]
fn many_managers_become_ancient() {
    let map = builtin("v1", "ConfigMap");
    let reach = Reach::default();
    let object = |n: usize| -> Value {
        let data: value::Map = (0..=n).map(|i| (format!("k{i}"), i.to_string())).collect();
        let mut object = value!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}});
        object.set(&["data"], data);
        object
    };
    let mut list = Value::Null;
    for i in 0..14 {
        let (name, time) = (format!("m{i:02}"), format!("2026-01-02T03:04:{i:02}Z"));
        let write = Write { manager: &name, api_version: "v1", subresource: "", time: &time, reach: &reach };
        list = match i {
            0 => managed::track_create(&map, &object(0), &Value::Null, &write, None).unwrap(),
            i => managed::track_update(&map, &object(i - 1), &object(i), &list, &Value::Null, &write).unwrap(),
        };
    }
    let managers = Managers::read(&list).unwrap().0;
    let names: Vec<&str> = managers.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["ancient-changes", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12", "m13"]);
    expect![[r#"
        .data
        .data.k0
        .data.k1
        .data.k2
        .data.k3
        .data.k4"#]]
    .assert_eq(&managers[0].fields.to_string());
    assert_eq!(managers[0].time.as_deref(), Some("2026-01-02T03:04:04Z"));
}

/// `spec.n` of `v1` is `spec.count` of `v2`; an old version may be gone.
struct Two {
    old: Option<Schema>,
    new: Schema,
}

impl Versions for Two {
    fn schema(&self, api_version: &str) -> Option<&Schema> {
        match api_version {
            "example.com/v1" => self.old.as_ref(),
            "example.com/v2" => Some(&self.new),
            _ => None,
        }
    }
    fn convert(&self, object: &Value, api_version: &str) -> base::Result<Option<Value>> {
        if self.schema(api_version).is_none() {
            return Ok(None);
        }
        let mut object = object.clone();
        let (from, to) = if api_version.ends_with("v1") { ("count", "n") } else { ("n", "count") };
        if object.str_at(&["apiVersion"]) != api_version {
            if let Some(moved) = object.remove(&["spec", from]) {
                object.set(&["spec", to], moved);
            }
            object.set(&["apiVersion"], api_version);
        }
        Ok(Some(object))
    }
    fn custom(&self) -> bool {
        true
    }
}

#[test]
fn managers_speak_different_versions() {
    let number = |name: &str| {
        custom(&format!(
            r#"{{"type":"object","properties":{{"{name}":{{"type":"integer"}},"x":{{"type":"integer"}}}}}}"#
        ))
        .schema
    };
    let kind = Two { old: Some(number("n")), new: number("count") };
    let reach = Reach::default();
    let write = |manager, api_version| Write { manager, api_version, subresource: "", time: "t", reach: &reach };
    let apply = |kind: &Two, live: Option<(&Value, &Value)>, manager, version, spec: Value, force| {
        let mut config = value!({"apiVersion": version, "kind": "Thing"});
        config.set(&["spec"], spec);
        managed::apply(kind, live, &config, &write(manager, version), force)
    };
    let (v1, v2) = ("example.com/v1", "example.com/v2");
    let made = apply(&kind, None, "m", v1, value!({"n": 1, "x": 1}), false).unwrap();
    // Everybody after speaks v2: the object is shown so, the first manager's set stays in its own words.
    let live = kind.convert(&made.object.unwrap(), v2).unwrap().unwrap();
    let refused = apply(&kind, Some((&live, &made.managed)), "n", v2, value!({"count": 2}), false).unwrap_err();
    let Refused::Conflicts(conflicts) = refused else { panic!("{refused:?}") };
    assert_eq!((conflicts[0].manager.as_str(), conflicts[0].path.as_str()), ("\"m\"", ".spec.n"));
    let forced = apply(&kind, Some((&live, &made.managed)), "n", v2, value!({"count": 2}), true).unwrap();
    let show = |list: &Value| -> Vec<String> {
        let list = Managers::read(list).unwrap().0;
        list.iter().map(|m| format!("{} {} {}", m.name, m.api_version, m.fields.to_json())).collect()
    };
    let shown = show(&forced.managed);
    assert_eq!(shown, [r#"m example.com/v1 {"f:spec":{"f:x":{}}}"#, r#"n example.com/v2 {"f:spec":{"f:count":{}}}"#]);
    // The first manager comes back in the new version: what it applied in the old one and leaves out goes.
    let live = forced.object.unwrap();
    let back = apply(&kind, Some((&live, &forced.managed)), "m", v2, value!({}), false).unwrap();
    assert_eq!(back.object.unwrap().at(&["spec"]), &value!({"count": 2}));
    // What was said in a version that is gone is nobody's.
    let later = Two { old: None, ..kind };
    let mut next = live.clone();
    next.set(&["spec", "x"], 7);
    let list = managed::track_update(&later, &live, &next, &forced.managed, &Value::Null, &write("u", v2)).unwrap();
    assert_eq!(
        show(&list),
        [r#"n example.com/v2 {"f:spec":{"f:count":{}}}"#, r#"u example.com/v2 {"f:spec":{"f:x":{}}}"#]
    );
}

#[test]
fn lists_that_cannot_be_read() {
    let entry = |text: &str| -> Value { Value::Array(vec![parse_lenient(text.as_bytes()).unwrap()]) };
    for (list, want) in [
        (
            r#"{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{".":{},"k:{\"n\":1}":{}}}}"#,
            Ok(()),
        ),
        (r#"{"operation":"Guess"}"#, Err("operation must be `Apply` or `Update`")),
        (r#"{"operation":"Apply"}"#, Err("apiVersion must not be empty")),
        (r#"{"operation":"Apply","apiVersion":"v1"}"#, Err("missing fieldsType in managed fields entry 0")),
        (
            r#"{"operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV2"}"#,
            Err("invalid fieldsType \"FieldsV2\" in managed fields entry 0"),
        ),
        (
            r#"{"operation":"Apply","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{"spec":{}}}}"#,
            Err("missing colon: spec"),
        ),
    ] {
        for got in [Managers::check(&entry(list)), Managers::read(&entry(list)).map(drop)] {
            match want {
                Ok(()) => assert_eq!(got, Ok(())),
                Err(why) => assert!(got.as_ref().is_err_and(|e| e.ends_with(why)), "{got:?}"),
            }
        }
    }
    assert!(managed::is_reset(&entry("{}")) && !managed::is_reset(&Value::Array(vec![])));
}
