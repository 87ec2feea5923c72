//! Expressions over objects with a schema: what is visible, how values are read, what fits.

use crate::table::{check, outcome};
use k8s_cel::{Decl, Env, ready};
use std::sync::Arc;
use value::{Value, value};

/// The declaration of `self` for an openAPIV3Schema.
pub fn declared(schema: &Value, resource: bool) -> Arc<Decl> {
    let crd = value!({"spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"},
        "versions": [{"name": "v1", "served": true, "storage": true,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": schema}}}}]}});
    let kind = schema::crd::kind_of(&crd).unwrap_or_else(|e| panic!("{e:?}"));
    let root = &kind.versions[0].schema;
    if resource {
        return Decl::of_schema(root, true, "selfType").expect("an object");
    }
    let spec = root.goto(root.node().field("spec").expect("declared").node);
    Decl::of_schema(&spec, false, "selfType").expect("visible")
}

fn run(schema: &Value, object: &Value, old: &Value, cases: &[(&str, &str)]) {
    let decl = declared(schema, false);
    let env = ready::validation_rule(&decl, false);
    check(cases, |text| outcome(&env, text, &[("self", object, Some(&decl)), ("oldSelf", old, Some(&decl))]));
}

#[test]
fn fields_of_all_types() {
    let schema = value!({"type": "object", "properties": {
        "int": {"type": "integer"}, "num": {"type": "number"}, "str": {"type": "string"}, "flag": {"type": "boolean"},
        "bytes": {"type": "string", "format": "byte"}, "dur": {"type": "string", "format": "duration"},
        "date": {"type": "string", "format": "date"}, "time": {"type": "string", "format": "date-time"},
        "ios": {"x-kubernetes-int-or-string": true}, "nul": {"type": "string", "nullable": true},
        "list": {"type": "array", "items": {"type": "integer"}},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "objs": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"k": {"type": "string"}}},
        "any": {"x-kubernetes-preserve-unknown-fields": true},
        "anys": {"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": true}},
        "dash-ed": {"type": "integer"}, "dot.ted": {"type": "integer"}, "sl/ash": {"type": "integer"},
        "namespace": {"type": "string"}, "true": {"type": "string"}, "under__score": {"type": "string"}, "$ref": {"type": "string"}
    }});
    let object = value!({"int": 5, "num": 2, "str": "a", "flag": true, "bytes": "aGk=", "dur": "1h", "date": "2023-01-02",
        "time": "2023-01-02T03:04:05Z", "ios": "50%", "nul": null, "list": [1, 2], "map": {"k": "v"}, "objs": [{"a": 1}, {}],
        "free": {"k": "v", "other": 1}, "dash-ed": 1, "dot.ted": 2, "sl/ash": 3, "namespace": "ns", "true": "t",
        "under__score": "u"});
    run(
        &schema,
        &object,
        &object,
        &[
            ("self.int + 1", "6"),
            ("self.num", "2"),
            ("self.num / 4.0", "0.5"),
            ("self.str + 'b'", "ab"),
            ("!self.flag", "false"),
            ("self.bytes == b'hi'", "true"),
            ("self.dur == duration('60m')", "true"),
            ("self.date.getDate()", "2"),
            ("self.time.getHours()", "3"),
            ("type(self.ios) == string && self.ios == '50%'", "true"),
            ("type(self.ios) == int ? self.ios > 5 : self.ios.matches('[0-9]+%')", "true"),
            ("has(self.nul)", "false"),
            ("self.nul == 'a'", "error: no such key: nul"),
            ("self.list.sum()", "3"),
            ("self.map.k + self.map['k']", "vv"),
            ("self.map.all(k, k.startsWith('k'))", "true"),
            ("self.objs.filter(o, has(o.a)).size()", "1"),
            ("self.objs[1].a", "error: no such key: a"),
            ("self.free.k", "v"),
            ("self.free.other", "compile: 1:10: undefined field 'other'"),
            ("self.any", "compile: 1:5: undefined field 'any'"),
            ("self.anys", "compile: 1:5: undefined field 'anys'"),
            ("self.nothing", "compile: 1:5: undefined field 'nothing'"),
            ("self.dash__dash__ed + self.dot__dot__ted + self.sl__slash__ash", "6"),
            ("self.__namespace__ + self.namespace", "nsns"),
            ("self.__true__", "t"),
            ("self.under__underscores__score", "u"),
            ("self.under__score", "compile: 1:5: undefined field 'under__score'"),
            ("has(self.int) && !has(self.objs[1].a)", "true"),
            ("self.int == 'a'", "compile: 1:10: found no matching overload for '_==_' applied to '(int, string)'"),
            (
                "self.objs[0] == 1",
                "compile: 1:14: found no matching overload for '_==_' applied to '(selfType.objs.@idx, int)'",
            ),
            ("self.objs.all(o, o.b)", "compile: 1:19: undefined field 'b'"),
            ("self == oldSelf", "true"),
            ("self.objs == oldSelf.objs && self.map == oldSelf.map", "true"),
            ("self.?int.orValue(0) + self.?objs[0].?a.orValue(0)", "6"),
            ("self.int in self.list", "false"),
            ("'k' in self.map", "true"),
            ("self.map.transformMap(k, v, v + '!')", "{\"k\":\"v!\"}"),
            ("self.str.size() + self.map.size() + self.list.size()", "4"),
            ("type(self.objs[0])", "map"),
        ],
    );
}

#[test]
fn the_root_shows_some_metadata() {
    let decl = declared(&value!({"type": "object", "properties": {"n": {"type": "integer"}}}), true);
    let env = ready::validation_rule(&decl, false);
    let object = value!({"apiVersion": "x.io/v1", "kind": "A", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"n": 1}});
    check(
        &[
            ("self.metadata.name + self.kind + self.apiVersion", "aAx.io/v1"),
            ("has(self.metadata.generateName)", "false"),
            ("self.metadata.labels", "compile: 1:14: undefined field 'labels'"),
            ("self.spec.n", "1"),
            ("self.status", "compile: 1:5: undefined field 'status'"),
        ],
        |text| outcome(&env, text, &[("self", &object, Some(&decl))]),
    );
    let embedded = declared(
        &value!({"type": "object", "properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true}}}),
        false,
    );
    let env = ready::validation_rule(&embedded, false);
    let object = value!({"e": {"apiVersion": "v1", "kind": "B", "metadata": {"name": "b", "namespace": "n"}}});
    check(
        &[
            ("self.e.metadata.name + self.e.kind", "bB"),
            ("self.e.metadata.namespace", "compile: 1:16: undefined field 'namespace'"),
        ],
        |text| outcome(&env, text, &[("self", &object, Some(&embedded))]),
    );
}

#[test]
fn lists_are_equal_by_their_type() {
    let schema = value!({"type": "object", "properties": {
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "plain": {"type": "array", "items": {"type": "string"}},
        "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}}}
    }});
    let new = value!({"set": ["a", "b"], "plain": ["a", "b"], "map": [{"k": "x", "v": 1}, {"k": "y", "v": 2}]});
    let old = value!({"set": ["b", "a"], "plain": ["b", "a"], "map": [{"k": "y", "v": 2}, {"k": "x", "v": 1}]});
    run(
        &schema,
        &new,
        &old,
        &[
            ("self.set == oldSelf.set", "true"),
            ("self.set == ['b', 'a']", "true"),
            ("self.plain == oldSelf.plain", "false"),
            ("self.map == oldSelf.map", "true"),
            ("self == oldSelf", "false"),
            ("self.set + ['b', 'c']", "[\"a\",\"b\",\"c\"]"),
            ("self.plain + ['b']", "[\"a\",\"b\",\"b\"]"),
            ("(self.map + oldSelf.map).size()", "2"),
            ("self.set + self.set == self.set", "true"),
            ("self.set.map(s, s + s)", "[\"aa\",\"bb\"]"),
            ("self.map.exists(m, m.k == 'y' && m.v == 2)", "true"),
        ],
    );
}

#[test]
fn unknown_fields_take_part_in_equality() {
    let free = value!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"a": {"type": "integer"}}});
    let schema = value!({"type": "object", "properties": {"l": {"type": "array", "items": free}}});
    let object = value!({"l": [{"a": 1, "u": [1]}, {"a": 1, "u": [2]}, {"a": 1, "u": [1]}]});
    let cases =
        [("self.l[0] == self.l[1]", "false"), ("self.l[0] == self.l[2]", "true"), ("self.l[0] != self.l[1]", "true")];
    run(&schema, &object, &object, &cases);
}

#[test]
fn values_that_do_not_fit_are_errors() {
    let schema = value!({"type": "object", "properties": {"i": {"type": "integer"}, "t": {"type": "string", "format": "date-time"},
        "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}}}});
    let object = value!({"i": "x", "t": "never", "s": null, "l": {}});
    run(
        &schema,
        &object,
        &object,
        &[
            ("self.i > 1", "error: invalid data, expected int, got string"),
            ("self.t.getDate()", "error: Invalid date-time formatted string never: unable to parse to a date-time"),
            ("self.s == 'a'", "error: no such key: s"),
            ("self.l.size()", "error: invalid data, expected an array for the provided schema with type=array"),
            ("self.i > 1 || true", "true"),
        ],
    );
}

#[test]
fn transition_rules_are_known_as_such() {
    let decl = declared(&value!({"type": "object", "properties": {"n": {"type": "integer"}}}), false);
    let env = ready::validation_rule(&decl, false);
    let uses = |env: &Env, text: &str| env.compile(text).map(|p| p.uses("oldSelf")).unwrap_or_default();
    assert!(uses(&env, "self.n >= oldSelf.n"));
    assert!(!uses(&env, "self.n >= 0"));
    let optional = ready::validation_rule(&decl, true);
    assert!(uses(&optional, "oldSelf.hasValue() ? self.n >= oldSelf.value().n : true"));
    let object = value!({"n": 1});
    let program = optional.compile("oldSelf.hasValue() ? self.n >= oldSelf.value().n : self.n == 1").expect("compiles");
    for (old, want) in [(None, true), (Some(value!({"n": 2})), false)] {
        let activation =
            k8s_cel::Activation::new().typed("self", &object, &decl).optional("oldSelf", old.as_ref(), &decl);
        let got = program.eval(&activation, &mut k8s_cel::Budget::default()).map(|val| val.as_bool());
        assert_eq!(got, Ok(Some(want)), "{old:?}");
    }
}

#[test]
fn admission_variables() {
    let env = ready::admission(ready::Admission { params: true, ..Default::default() });
    let object = value!({"metadata": {"labels": {"env": "prod"}}, "spec": {"replicas": 3}});
    let request = value!({"kind": {"group": "apps", "version": "v1", "kind": "Deployment"}, "operation": "CREATE",
        "namespace": "ns", "name": "a", "dryRun": false, "userInfo": {"username": "alice", "groups": ["g"], "extra": {}}});
    let (params, namespace) = (value!({"max": 5}), value!({"metadata": {"name": "ns", "labels": {"team": "x"}}}));
    let variables: &[(&str, &Value, Option<&Decl>)] = &[
        ("object", &object, None),
        ("oldObject", &Value::Null, None),
        ("request", &request, None),
        ("params", &params, None),
        ("namespaceObject", &namespace, None),
    ];
    check(
        &[
            ("object.spec.replicas <= params.max", "true"),
            ("oldObject == null", "true"),
            ("oldObject.spec == 1", "error: no such key: spec"),
            ("request.kind.kind == 'Deployment' && request.operation == 'CREATE'", "true"),
            ("request.namespace", "ns"),
            ("request.userInfo.username in ['alice'] && 'g' in request.userInfo.groups", "true"),
            ("request.dryRun", "false"),
            ("has(request.subResource)", "false"),
            ("request.uid", "compile: 1:8: undefined field 'uid'"),
            ("namespaceObject.metadata.labels.team", "x"),
            ("namespaceObject.metadata.managedFields", "compile: 1:25: undefined field 'managedFields'"),
            ("authorizer.group('')", "compile: 1:1: undeclared reference to 'authorizer' (in container '')"),
            ("variables.x", "compile: 1:1: undeclared reference to 'variables' (in container '')"),
        ],
        |text| outcome(&env, text, variables),
    );
}

#[test]
fn variables_of_a_policy_are_computed_once() {
    let base = ready::admission(ready::Admission::default());
    let first = base.compile("object.list.map(i, i * 2)").expect("compiles");
    let with_first = ready::with_variables(&base, &[("doubled", first.output_type().clone())]);
    let second = with_first.compile("variables.doubled.size()").expect("compiles");
    let types = [("doubled", first.output_type().clone()), ("count", second.output_type().clone())];
    let env = ready::with_variables(&base, &types);
    let rule = env
        .compile("variables.count == 3 && variables.doubled.exists(d, d == 6) && has(variables.count)")
        .expect("compiles");
    let object = value!({"list": [1, 2, 3]});
    let activation =
        k8s_cel::Activation::new().bind("object", &object).variable("doubled", &first).variable("count", &second);
    let mut budget = k8s_cel::Budget::default();
    assert_eq!(rule.eval(&activation, &mut budget).map(|v| v.as_bool()), Ok(Some(true)));
    let once = budget.spent();
    assert_eq!(rule.eval(&activation, &mut budget).map(|v| v.as_bool()), Ok(Some(true)));
    assert!(budget.spent() - once < once, "the second time costs less: {once}, {}", budget.spent());
    assert!(env.compile("variables.other").is_err());
    let failing = base.compile("object.list[114514]").expect("compiles");
    let env = ready::with_variables(&base, &[("count", failing.output_type().clone())]);
    let rule = env.compile("variables.count == 1").expect("compiles");
    let activation = k8s_cel::Activation::new().bind("object", &object).variable("count", &failing);
    let error = rule.eval(&activation, &mut budget).expect_err("fails").to_string();
    assert_eq!(error, "composited variable \"count\" fails to evaluate: index out of bounds: 114514");
}
