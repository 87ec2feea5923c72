use super::*;
use expect_test::{Expect, expect};
use schema::Kind;
use value::{Path, value};

fn kind(schema: &Value) -> Kind {
    let crd = value!({"spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}]}});
    schema::crd::kind_of(&crd).unwrap_or_else(|e| panic!("{e:?}"))
}

fn texts(errors: &FieldErrors) -> String {
    errors.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// What is wrong with rules at the root of a schema with these properties.
#[track_caller]
fn defined(properties: Value, rules: Value, want: Expect) {
    let schema = value!({"type": "object", "properties": properties, "x-kubernetes-validations": rules});
    defined_schema(&schema, want);
}

#[track_caller]
fn defined_schema(schema: &Value, want: Expect) {
    let mut errors = FieldErrors::default();
    check(&kind(schema).versions[0].schema, schema, &Path::root().key("schema"), &mut errors);
    want.assert_eq(&texts(&errors));
}

fn spec() -> Value {
    value!({"spec": {"type": "object", "properties": {
        "n": {"type": "integer"}, "max": {"type": "integer"},
        "s": {"type": "string", "maxLength": 20},
        "list": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 10}},
        "m": {"type": "object", "additionalProperties": {"type": "integer"}},
    }}})
}

#[test]
fn a_sound_rule() {
    defined(
        spec(),
        value!([{"rule": "self.spec.n <= self.spec.max", "message": "too many", "reason": "FieldValueForbidden",
            "fieldPath": ".spec.n"}, {"rule": "self.spec.n >= oldSelf.spec.n"}]),
        expect![""],
    );
}

#[test]
fn form() {
    defined(
        spec(),
        value!([
            {"rule": " "}, {"rule": "true", "message": "  "}, {"rule": "true", "message": "a\nb"}, {"rule": "true &&\n true"},
            {"rule": "true", "messageExpression": " "}, {"rule": "true", "reason": "Odd"},
            {"rule": "true", "fieldPath": ".spec.none"},
        ]),
        expect![[r#"
            schema.x-kubernetes-validations[0].rule: Required value: rule is not specified
            schema.x-kubernetes-validations[1].message: Invalid value: "  ": must be non-empty if specified
            schema.x-kubernetes-validations[2].message: Invalid value: "a\nb": must not contain line breaks
            schema.x-kubernetes-validations[3].message: Required value: message must be specified if rule contains line breaks
            schema.x-kubernetes-validations[4].messageExpression: Required value: messageExpression must be non-empty if specified
            schema.x-kubernetes-validations[5].reason: Unsupported value: "Odd": supported values: "FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"
            schema.x-kubernetes-validations[6].fieldPath: Invalid value: ".spec.none": must be a valid path"#]],
    );
}

#[test]
fn compilation() {
    defined(
        spec(),
        value!([
            {"rule": "self.spec.none > 1"}, {"rule": "self.spec.n"},
            {"rule": "true", "messageExpression": "self.spec.n"},
            {"rule": "self.spec.n > 1", "optionalOldSelf": true},
        ]),
        expect![[r#"
            schema.x-kubernetes-validations[0].rule: Invalid value: {"Rule":"self.spec.none \u003e 1","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: compilation failed: ERROR: <input>:1:10: undefined field 'none'
             | self.spec.none > 1
             | .........^
            schema.x-kubernetes-validations[1].rule: Invalid value: {"Rule":"self.spec.n","Message":"","MessageExpression":"","Reason":null,"FieldPath":"","OptionalOldSelf":null}: cel expression must evaluate to a bool
            schema.x-kubernetes-validations[2].messageExpression: Invalid value: {"Rule":"true","Message":"","MessageExpression":"self.spec.n","Reason":null,"FieldPath":"","OptionalOldSelf":null}: messageExpression must evaluate to a string
            schema.x-kubernetes-validations[3].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"#]],
    );
}

#[test]
fn cost() {
    let list = |inner: Value| value!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "array", "items": inner}}}});
    let rule = value!([{"rule": "self.contains('x')"}]);
    defined_schema(
        &list(value!({"type": "string", "x-kubernetes-validations": rule})),
        expect![[r#"
            schema.properties[a].items.items.x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)
            schema.properties[a].items.items.x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema
            schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"#]],
    );
}

#[test]
fn old_selves_need_correlation() {
    let rules = value!([{"rule": "self == oldSelf"}]);
    defined_schema(
        &value!({"type": "object", "properties": {
            "a": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 5, "x-kubernetes-validations": rules}}}}),
        expect![[
            r#"schema.properties[a].items.x-kubernetes-validations[0].rule: Invalid value: "self == oldSelf": oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[a]"#
        ]],
    );
}

/// What is wrong with an object, and what is tolerated in an update.
#[track_caller]
fn run(schema: &Value, object: Value, old: Option<Value>, want: Expect) {
    let kind = kind(schema);
    let rules = Rules::of(&kind.versions[0].schema).expect("rules");
    let mut errors = FieldErrors::default();
    rules.validate(&object, old.as_ref(), &mut errors);
    let mut text = texts(&errors);
    for warning in old.map(|old| rules.tolerated(&object, &old)).unwrap_or_default() {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    want.assert_eq(text.trim());
}

fn ruled(rules: Value) -> Value {
    let mut schema = value!({"type": "object", "properties": spec()});
    schema.set(&["properties", "spec", "x-kubernetes-validations"], rules);
    schema
}

#[test]
fn messages() {
    let schema = ruled(value!([
        {"rule": "self.n < 10"}, {"rule": "self.n < 10", "message": "too large "},
        {"rule": "self.n < 10", "messageExpression": "'n is ' + string(self.n)"},
        {"rule": "self.n < 10", "message": "fallback", "messageExpression": "self.s + 'x'"},
        {"rule": "self.n < 10", "message": "m", "reason": "FieldValueForbidden", "fieldPath": ".n"},
        {"rule": "self.n < 10", "message": "m", "reason": "FieldValueRequired"},
        {"rule": "self.n < 10", "message": "m", "reason": "FieldValueDuplicate"},
        {"rule": "self.s == 'a'", "message": "needs s"},
    ]));
    run(&schema, value!({"spec": {"n": 5, "s": "a"}}), None, expect![""]);
    run(
        &schema,
        value!({"spec": {"n": 10}}),
        None,
        expect![[r#"
            spec: Invalid value: failed rule: self.n < 10
            spec: Invalid value: too large
            spec: Invalid value: n is 10
            spec: Invalid value: fallback
            spec.n: Forbidden: m
            spec: Required value: m
            spec: Duplicate value
            spec: Invalid value: "object": no such key: s evaluating rule: needs s"#]],
    );
}

#[test]
fn scalars_maps_and_the_root() {
    let schema = value!({"type": "object", "x-kubernetes-validations": [{"rule": "self.metadata.name != 'bad'"}],
        "properties": {"s": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'x'"}]},
            "m": {"type": "object", "additionalProperties": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}},
            "a": {"type": "array", "items": {"type": "integer", "x-kubernetes-validations": [{"rule": "self > 0"}]}}}});
    run(
        &schema,
        value!({"metadata": {"name": "bad"}, "s": "x", "m": {"k": 0, "l": 1}, "a": [1, 0]}),
        None,
        expect![[r#"
            <nil>: Invalid value: failed rule: self.metadata.name != 'bad'
            a[1]: Invalid value: 0: failed rule: self > 0
            m[k]: Invalid value: 0: failed rule: self > 0
            s: Invalid value: "x": failed rule: self != 'x'"#]],
    );
}

#[test]
fn transitions() {
    let keyed = value!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"], "items": {"type": "object", "required": ["k"], "properties": {
            "k": {"type": "string"}, "n": {"type": "integer", "x-kubernetes-validations": [
                {"rule": "self >= oldSelf", "message": "shrinks"},
                {"rule": "oldSelf.hasValue() || self == 0", "optionalOldSelf": true, "message": "starts at 0"}]}}}}}});
    let old = value!({"a": [{"k": "x", "n": 5}, {"k": "y", "n": 6}]});
    run(&keyed, value!({"a": [{"k": "y", "n": 6}, {"k": "x", "n": 6}]}), Some(old.clone()), expect![""]);
    run(
        &keyed,
        value!({"a": [{"k": "y", "n": 5}, {"k": "z", "n": 1}]}),
        Some(old),
        expect![[r#"
            a[0].n: Invalid value: 5: shrinks
            a[1].n: Invalid value: 1: starts at 0"#]],
    );
    run(&keyed, value!({"a": [{"k": "z", "n": 1}]}), None, expect![[r#"a[0].n: Invalid value: 1: starts at 0"#]]);
}

#[test]
fn what_stays_wrong_is_tolerated() {
    let schema = value!({"type": "object", "properties": {
        "s": {"type": "string", "x-kubernetes-validations": [{"rule": "self != 'x'", "message": "no x"}]},
        "o": {"type": "object", "properties": {"n": {"type": "integer"}, "b": {"type": "boolean"}},
            "x-kubernetes-validations": [{"rule": "self.n > 0", "message": "positive"}]}}});
    let old = value!({"s": "x", "o": {"n": 0}});
    run(
        &schema,
        value!({"s": "x", "o": {"n": 0}, "metadata": {}}),
        Some(old.clone()),
        expect![[r#"
            warning: o: Invalid value: positive
            warning: s: Invalid value: "x": no x"#]],
    );
    run(
        &schema,
        value!({"s": "x", "o": {"n": 0, "b": true}}),
        Some(old),
        expect![[r#"
            o: Invalid value: positive
            warning: s: Invalid value: "x": no x"#]],
    );
}

#[test]
fn the_budget_is_one_for_all() {
    let schema = value!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"},
        "x-kubernetes-validations": [{"rule": "self.all(x, self.all(y, x + y > 0))", "message": "pairs"}, {"rule": "false"}]}}});
    let many: Vec<Value> = (0..2000).map(|_| Value::from(1)).collect();
    let mut object = Value::object();
    object.set(&["a"], many);
    run(
        &schema,
        object,
        None,
        expect![[
            r#"a: Invalid value: "array": 'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: pairs"#
        ]],
    );
}

#[test]
fn other_faults_come_first() {
    let kind = kind(&ruled(value!([{"rule": "self.n < 10"}])));
    let rules = Rules::of(&kind.versions[0].schema).expect("rules");
    let mut errors = FieldErrors::default();
    errors.required("spec.s", "");
    rules.validate(&value!({"spec": {"n": 10}}), None, &mut errors);
    expect![[r#"
        spec.s: Required value
        <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"#]]
    .assert_eq(&texts(&errors));
}
