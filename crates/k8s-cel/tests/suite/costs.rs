//! What expressions cost, estimated and at run time. Constants are folded at run time and cost nothing there; estimates
//! count them as written.

use crate::schemas::declared;
use k8s_cel::{
    Activation, Attributes, Authorizer, Budget, Decision, Env, EvalError, Opaque, Subject, Type, budget, ready,
};
use std::sync::Arc;
use value::{Value, value};

struct Nobody;
impl Authorizer for Nobody {
    fn authorize(&self, _: &Attributes<'_>) -> Decision {
        Decision::default()
    }
}

/// Expression, estimate from and to, cost at run time.
type Case<'c> = (&'c str, u64, u64, u64);

#[track_caller]
fn check(env: &Env, x: &Value, cases: &[Case<'_>]) {
    let mut wrong = Vec::new();
    for (text, min, max, actual) in cases {
        let program = env.compile(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let estimate = program.estimate_cost(None);
        let subject = Subject::new(Arc::new(Nobody));
        let activation =
            Activation::new().bind("x", x).bind("object", x).value("authorizer", Opaque::Authorizer(subject).into());
        let mut budget = Budget::default();
        let result = program.eval(&activation, &mut budget);
        let got = (estimate.min, estimate.max, budget.spent());
        if got != (*min, *max, *actual) || result.is_err() {
            wrong.push(format!("{text}\n    want {:?}\n    got  {got:?} {:?}", (min, max, actual), result.err()));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_language() {
    let x = value!({"a": {"b": 1}, "l": [1, 2, 3], "i": 1, "s": "0123456789", "m": {"k": "v"}});
    let env = Env::new().variable("x", Type::map(Type::String, Type::Dyn));
    const ANY: u64 = u64::MAX;
    check(
        &env,
        &x,
        &[
            ("1", 0, 0, 0),
            ("[1, 2, 3]", 10, 10, 0),
            ("{'a': 1}", 30, 30, 0),
            ("[x]", 11, 11, 11),
            ("{'a': x}", 31, 31, 31),
            ("x", 1, 1, 1),
            ("x.i", 2, 2, 2),
            ("x.a.b", 2, 2, 3),
            ("x['i']", 2, 2, 2),
            ("x.l[0]", 3, 3, 3),
            ("x.l[x.i]", 5, 5, 4),
            ("x.l[x.i - 1]", 6, 6, 6),
            ("has(x.i)", 1, 1, 1),
            ("has(x.a.b)", 2, 2, 2),
            ("1 + 2", 1, 1, 1),
            ("1 == 2", 1, 1, 1),
            ("1 < 2 && 2 < 3", 1, 2, 2),
            ("1 > 2 && 2 < 3", 1, 2, 1),
            ("true ? 1 + 1 : 2", 0, 1, 1),
            ("true ? x.i : 2", 0, 2, 1),
            ("!true", 1, 1, 1),
            ("int('1')", 1, 1, 0),
            ("1 in [1, 2, 3]", 13, 13, 0),
            ("1 in x.l", 2, ANY, 3),
            ("'k' in {'k': 1}", 31, 31, 1),
            ("x.i == 1", 3, 3, 3),
            ("x.s == 'abc'", 3, 3, 3),
            ("'0123456789abc' == '0123456789abcdef'", 1, 2, 2),
            ("'0123456789abc'.startsWith('0123456789a')", 2, 2, 2),
            ("'0123456789abc'.contains('0123456789a')", 4, 4, 4),
            ("'0123456789abc'.matches('[0-9]+[a-c]*')", 6, 6, 6),
            ("'abc' + 'defghijkl'", 2, 2, 2),
            ("size('abc')", 1, 1, 1),
            ("[1, 2].all(i, i > 0)", 17, 21, 11),
            ("[1, 2].exists(i, i > 0)", 19, 23, 10),
            ("[1, 2].map(i, i + 1)", 49, 49, 29),
            ("[1, 2].filter(i, i > 0)", 27, 51, 31),
            ("x.l.map(i, i)", 13, ANY, 3 + 3 * 13),
            ("{'a': 1}.a", 31, 31, 2),
            ("x.?a.?b.orValue(1)", 4, 4, 3),
            ("dyn(1) == 1", 2, 2, 1),
        ],
    );
}

#[test]
fn the_libraries() {
    let env = Env::new().variable("x", Type::Dyn).patch_types();
    check(
        &env,
        &value!({}),
        &[
            ("[1, 2, 3, 4, 5].isSorted()", 15, 15, 5),
            ("[1, 2, 3, 4, 5].sum()", 15, 15, 5),
            ("[1, 2, 3, 4, 5].indexOf(3)", 15, 15, 5),
            ("'ABCDEFGHIJ abcdefghij'.lowerAscii()", 3, 3, 3),
            ("'ABCDEFGHIJ abcdefghij'.lowerAscii() == 'abcdefghij ABCDEFGHIJ'.lowerAscii()", 7, 9, 9),
            ("strings.quote('ABCDEFGHIJ abcdefghij')", 3, 3, 3),
            ("'abc 123 def 123'.replace('123', '456')", 3, 3, 3),
            ("'abc 123 def 123'.split(' ')", 3, 3, 3),
            ("'abc 123 def 123'.substring(5, 8)", 2, 2, 2),
            ("'  abc 123 def 123  '.trim()", 2, 2, 2),
            ("'abc 123 def 123'.findAll('123')", 2, 2, 2),
            ("jsonpatch.escapeKey('abc/def~ abc/def~')", 2, 2, 2),
            ("quantity('200M') == quantity('200M')", 3, 3, 3),
            ("quantity('50k').add(20).sub(quantity('100k')).asInteger() > 0", 6, 6, 6),
            ("isQuantity('20M')", 1, 1, 1),
            ("format.named('dns1123Subdomain').value().validate('my-name')", 34, 34, 17),
            ("format.named('dns1123Label').value().validate('my-name')", 34, 34, 10),
            ("format.named('dns1123Label').value() == format.named('dns1123Label').value()", 5, 11, 5),
            ("sets.contains([1, 2, 3, 4], [2, 3])", 29, 29, 9),
            ("sets.equivalent([1], [1, 1])", 25, 25, 5),
            ("!sets.intersects([], [])", 22, 22, 2),
            ("semver('1234.56789012345.67890123456789')", 4, 4, 4),
            ("semver('1.0.0').compareTo(semver('1.2.3'))", 3, 3, 3),
            ("{'a': 1, 'b': 2}.all(k, v, v > 0)", 37, 41, 11),
            ("{'a': 1, 'b': 2}.exists(k, v, v > 0)", 39, 43, 10),
            ("{'a': 1, 'b': 2}.existsOne(k, v, v > 0)", 38, 40, 10),
            ("{'a': 1, 'b': 2}.transformMap(k, v, v + 1)", 71, 71, 11),
            ("{'a': 1, 'b': 2}.transformMap(k, v, v < 5, v + 1)", 67, 75, 15),
            ("{'a': 1, 'b': 2}.transformMapEntry(k, v, v < 5, {k: v + 1})", 67, 135, 75),
            ("[1, 2].transformList(i, v, v < 5, v + 1)", 27, 53, 33),
            ("ip('192.168.0.1')", 2, 2, 2),
            ("ip('192.168.0.1').family()", 3, 3, 3),
            ("ip('192.168.0.1') == ip('192.168.0.1')", 5, 5, 5),
            ("cidr('192.168.0.0/16').prefixLength()", 3, 3, 3),
            ("lists.range(5)", 16, 16, 16),
            ("[3, 1, 2].sort()", 39, 39, 29),
            ("[1, 2, 3, 4].slice(1, 3)", 23, 23, 13),
        ],
    );
}

#[test]
fn authorization_checks() {
    let env = ready::admission(ready::Admission { authorizer: true, ..Default::default() }).variable("x", Type::Dyn);
    let selector = "spec.nodeName=example-node-name.fully.qualified.domain.name.example.com";
    let selected = format!("authorizer.group('').resource('pods').fieldSelector('{selector}')");
    check(
        &env,
        &value!({}),
        &[
            ("authorizer.path('/healthz')", 2, 2, 2),
            (
                "authorizer.group('apps').resource('deployments').subresource('status').namespace('t').name('b')",
                6,
                6,
                6,
            ),
            (&selected, 1821, 1821, 1821),
            ("authorizer.path('/healthz').check('get').allowed()", 350_003, 350_003, 350_003),
        ],
    );
    // Two checks fit into a call, three do not.
    let check = "authorizer.path('/a').check('get').allowed()";
    let activation = || {
        let subject = Subject::new(Arc::new(Nobody));
        Activation::new().value("authorizer", Opaque::Authorizer(subject).into())
    };
    let two = env.compile(&format!("!{check} && !{check}")).expect("compiles");
    assert_eq!(two.eval(&activation(), &mut Budget::default()).map(|v| v.as_bool()), Ok(Some(true)));
    let three = env.compile(&format!("!{check} && !{check} && !{check}")).expect("compiles");
    assert_eq!(three.eval(&activation(), &mut Budget::default()).err(), Some(EvalError::CallCost));
}

/// The greatest cost of a rule for a schema.
#[track_caller]
fn bound(schema: &Value, rule: &str) -> u64 {
    let decl = declared(schema, false);
    let program = ready::validation_rule(&decl, false).compile(rule).unwrap_or_else(|e| panic!("{rule}: {e}"));
    program.estimate_cost(Some(&decl)).max
}

#[test]
fn schemas_bound_estimates() {
    let numbers = value!({"type": "array", "items": {"type": "integer"}});
    let ten = value!({"type": "array", "maxItems": 10, "items": {"type": "integer"}});
    let texts = value!({"type": "object", "additionalProperties": {"type": "string"}});
    let text = value!({"type": "string", "maxLength": 10});
    for (schema, rule, want) in [
        (&ten, "self.all(x, x > 0)", 1 + 1 + 10 * 5),
        (&ten, "self == oldSelf", 3),
        (&value!({"type": "string"}), "self.matches('a')", 1 + 314_573),
        // As many numbers as fit into 3 MiB: 1,572,863 of them.
        (&numbers, "self.all(x, true)", 4_718_591),
        (&numbers, "self.all(x, self.all(y, true))", u64::MAX),
        (&ten, "self.all(x, self.all(y, true))", 352),
        (&ten, "self.all(x, self.all(y, self.all(z, true)))", 3552),
        (&value!({"type": "array", "items": {"type": "string"}}), "self.all(x, true)", 3_145_727),
        (&value!({"type": "array", "items": {"type": "boolean"}}), "self.all(x, true)", 1_887_437),
        (
            &value!({"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
            "self.all(x, true)",
            3_145_727,
        ),
        (
            &value!({"type": "array", "items": {"type": "object", "required": ["required"],
            "properties": {"required": {"type": "string"}, "optional": {"type": "string"}}}}),
            "self.all(x, true)",
            555_128,
        ),
        (&value!({"type": "object", "additionalProperties": {"type": "number"}}), "self.all(x, true)", 1_348_169),
        (&value!({"type": "object", "additionalProperties": {"type": "boolean"}}), "self.all(x, true)", 943_718),
        (&value!({"type": "string"}), "self.contains('test')", 314_574),
        (&value!({"type": "string"}), "self.endsWith('test')", 2),
        (&value!({"type": "string"}), "size(self + 'hello') > size('hello')", 314_578),
        (&value!({"type": "string", "maxLength": 10}), "self.contains('test')", 5),
        (&value!({"type": "string", "maxLength": 50}), "self.matches('x')", 22),
        (&value!({"type": "string"}), "''.matches('(((((((((())))))))))[0-9]')", 7),
        (&value!({"type": "string"}), "self.matches('')", 1),
        (&value!({"type": "array", "items": {"type": "string"}}), "self[1] == self[1]", 314_577),
        (&numbers, "self.all(x, x == 0)", 6_291_454),
        (&value!({"type": "array", "items": {"type": "number"}}), "self[1] == 0.0", 2),
        (&value!({"type": "array", "items": {"type": "boolean"}}), "self[0] == false", 2),
        (&value!({"type": "array", "items": {"x-kubernetes-int-or-string": true}}), "self[0] == 5", 3),
        (&value!({"type": "array", "items": {"type": "string", "format": "duration"}}), "self.all(x, true)", 2_359_295),
        (&value!({"type": "array", "items": {"type": "string", "format": "duration"}}), "self[0].getHours() == 2", 4),
        (&value!({"type": "array", "items": {"type": "string", "format": "date"}}), "self.all(x, true)", 725_936),
        (&value!({"type": "array", "items": {"type": "string", "format": "date-time"}}), "self.all(x, true)", 428_963),
        (&texts, "self.all(x, x.contains(self[x]))", 2_752_507),
        (&texts, "self['x'] == 'y'", 3),
        (&text, "self.contains('0123456789a')", 1 + 4 * 2),
        (&text, "self == 'abc'", 1 + 1),
        (&texts, "self.all(k, true)", 2 + 3 * 393_215),
        (&value!({"type": "string", "enum": ["a", "bcd"]}), "self == oldSelf", 2 + 1),
        (&value!({"type": "string", "format": "date-time"}), "self > timestamp('2023-01-01T00:00:00Z')", 3),
        (&value!({"type": "boolean"}), "self", 1),
        (&ten, "self.sum() > 0", 1 + 10 + 1),
        (
            &value!({"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 5}}),
            "self.isSorted()",
            1 + 3 * 3,
        ),
    ] {
        let got = bound(schema, rule);
        match want {
            u64::MAX => assert!(got > budget::ESTIMATE_PER_DEFINITION, "{rule}: {got}"),
            want => assert_eq!(got, want, "{rule} {schema}"),
        }
    }
}

#[test]
fn cardinality_is_bounded_by_the_request() {
    let of = |schema: Value| declared(&schema, false).max_cardinality();
    assert_eq!(of(value!({"type": "integer"})), 1_572_864);
    assert_eq!(of(value!({"type": "boolean"})), 629_145);
    assert_eq!(of(value!({"type": "string"})), 1_048_576);
    // {"a":""} is the least that a value takes.
    let object = value!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}});
    assert_eq!(of(object), 3 * 1024 * 1024 / (2 + 1 + 2 + 4 + 1));
}

#[test]
fn budgets_end_evaluations() {
    let env = Env::new().variable("x", Type::Dyn);
    let many: Value = (0..1000_i64).collect();
    let nested = env.compile("x.all(a, x.all(b, x.all(c, a + b + c >= 0)))").expect("compiles");
    let mut budget = Budget::default();
    let result = nested.eval(&Activation::new().bind("x", &many), &mut budget);
    assert_eq!(result.err(), Some(EvalError::CallCost));
    assert!(budget.spent() > budget::PER_CALL && budget.spent() < budget::PER_CALL + 1000, "{}", budget.spent());
    // An error that ends all is not absorbed.
    let absorbed = env.compile("x.all(a, x.all(b, x.all(c, a + b + c >= 0))) || true").expect("compiles");
    assert_eq!(
        absorbed.eval(&Activation::new().bind("x", &many), &mut Budget::default()).err(),
        Some(EvalError::CallCost)
    );
    // What all evaluations together may cost.
    let one = env.compile("x.all(a, a >= 0)").expect("compiles");
    let mut budget = Budget::new(12_000);
    let activation = Activation::new().bind("x", &many);
    assert_eq!(one.eval(&activation, &mut budget).map(|v| v.as_bool()), Ok(Some(true)));
    assert_eq!(one.eval(&activation, &mut budget).map(|v| v.as_bool()), Ok(Some(true)));
    assert_eq!(one.eval(&activation, &mut budget).err(), Some(EvalError::Budget));
    assert_eq!(budget.remaining(), 0);
}

#[test]
fn texts_do_not_grow_without_bound() {
    let env = Env::new().variable("x", Type::Dyn);
    let x = Value::from("ab".repeat(100_000));
    let program = env.compile("x.replace('', x).replace('', x)").expect("compiles");
    let result = program.eval(&Activation::new().bind("x", &x), &mut Budget::default());
    assert_eq!(result.err(), Some(EvalError::CallCost));
}

/// Estimates of upstream's tests of device selectors, at most.
#[test]
fn what_selectors_of_devices_cost() {
    let decl = ready::device_decl();
    let env = ready::device();
    for (text, most) in [
        ("true", 0),
        (r#"device.driver == """#, 2),
        (r#"device.driver == "dra.example.com""#, 4),
        (r#""dra.example.com" in device.attributes"#, 3),
        (r#"device.attributes["dra.example.com"].name"#, 4),
        (r#"device.attributes["dra.example.com"]["name"]"#, 4),
        (r#"device.attributes["dra.example.com"].name > 0"#, 5),
        (r#"device.attributes["dra.example.com"].name == "fish""#, 5),
        (r#"cel.bind(dra, device.attributes["dra.example.com"], dra.name)"#, 15),
        (r#"device.attributes["no-such-domain"].noSuchAttr.isGreaterThan(quantity("0"))"#, 6),
    ] {
        let program = env.compile(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(program.estimate_cost(Some(&decl)).max, most, "{text}");
    }
    assert!(Env::new().compile("cel.bind(x, 1, x == 1)").is_err(), "nobody else has it");
}
