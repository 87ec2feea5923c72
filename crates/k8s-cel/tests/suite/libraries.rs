//! Kubernetes' libraries and the extensions that its environment has.

use crate::table::{check, constant, outcome};
use k8s_cel::{Activation, Attributes, Authorizer, Budget, Decision, Env, Opaque, Subject, Verdict, ready};
use std::sync::Arc;
use value::{Value, value};

#[test]
fn strings() {
    check(
        &[
            ("'hello'.charAt(4)", "o"),
            ("'hello'.charAt(5)", ""),
            ("'hello'.charAt(6)", "error: index out of range: 6"),
            ("'hello'.charAt(-1)", "error: index out of range: -1"),
            ("'héllo'.charAt(1)", "é"),
            ("'hello mellow'.indexOf('')", "0"),
            ("'hello mellow'.indexOf('ello')", "1"),
            ("'hello mellow'.indexOf('jello')", "-1"),
            ("'hello mellow'.indexOf('', 2)", "2"),
            ("'hello mellow'.indexOf('ello', 2)", "7"),
            ("'hello mellow'.indexOf('ello', 20)", "-1"),
            ("'hello mellow'.indexOf('ello', -1)", "error: index out of range: -1"),
            ("'ta©o©αT'.indexOf('αT')", "5"),
            ("'hello mellow'.lastIndexOf('')", "12"),
            ("'hello mellow'.lastIndexOf('ello')", "7"),
            ("'hello mellow'.lastIndexOf('ello', 6)", "1"),
            ("'hello mellow'.lastIndexOf('ello', 20)", "-1"),
            ("'hello mellow'.lastIndexOf('jello')", "-1"),
            ("''.lastIndexOf('a')", "-1"),
            ("'TacoCÆt'.lowerAscii()", "tacocÆt"),
            ("'TacoCæt'.upperAscii()", "TACOCæT"),
            ("'hello hello'.replace('he', 'we')", "wello wello"),
            ("'hello hello'.replace('he', 'we', 1)", "wello hello"),
            ("'hello hello'.replace('he', 'we', 0)", "hello hello"),
            ("'hello hello'.replace('he', 'we', -1)", "wello wello"),
            ("'abc'.replace('', '_')", "_a_b_c_"),
            ("'abc'.replace('', '_', 2)", "_a_bc"),
            ("'a b c'.split(' ')", "[\"a\",\"b\",\"c\"]"),
            ("'a b c'.split(' ', 0)", "[]"),
            ("'a b c'.split(' ', 1)", "[\"a b c\"]"),
            ("'a b c'.split(' ', 2)", "[\"a\",\"b c\"]"),
            ("'abc'.split('')", "[\"a\",\"b\",\"c\"]"),
            ("'abc'.split('', 2)", "[\"a\",\"bc\"]"),
            ("'tacocat'.substring(4)", "cat"),
            ("'tacocat'.substring(0, 4)", "taco"),
            ("'tacocat'.substring(2, 1)", "error: invalid substring range. start: 2, end: 1"),
            ("'tacocat'.substring(40)", "error: index out of range: 40"),
            ("'  \\ttrim\\n '.trim()", "trim"),
            ("['a', 'b'].join()", "ab"),
            ("['a', 'b'].join('-')", "a-b"),
            ("[].join('-')", ""),
            ("strings.quote('a \"b\"\\n')", "\"a \\\"b\\\"\\n\""),
            ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", "true"),
        ],
        constant,
    );
}

#[test]
fn format_texts() {
    check(
        &[
            ("'a %s and %d'.format(['str', 42])", "a str and 42"),
            ("'100%%'.format([])", "100%"),
            ("'%s'.format([64.2])", "64.2"),
            ("'%s'.format([string])", "string"),
            ("'%s'.format([timestamp('2023-02-03T23:31:20+00:00')])", "2023-02-03T23:31:20Z"),
            ("'%s'.format([duration('1h45m47s')])", "6347s"),
            ("'%f'.format([3.14])", "3.140000"),
            ("'%.2f'.format([3.14159])", "3.14"),
            ("'%.0f'.format([1234567.0])", "1,234,567"),
            ("'%e'.format([2.71828])", "2.718280×10⁰⁰"),
            ("'%b'.format([5])", "101"),
            ("'%b'.format([true])", "1"),
            ("'%x'.format([26])", "1a"),
            ("'%X'.format([26])", "1A"),
            ("'%x'.format(['Hi'])", "4869"),
            ("'%o'.format([30])", "36"),
            ("'%d'.format([-5u])", "compile: 1:14: found no matching overload for '-_' applied to '(uint)'"),
            ("'%s'.format([[1, 2, {'a': 'x'}]])", "[1, 2, {\"a\":\"x\"}]"),
            ("'%s'.format([[1.5, dyn(null), dyn(true)]])", "[1.500000, null, true]"),
            ("'%s'.format([null])", "null"),
            ("'%s %s'.format(['a', 1])", "a 1"),
            (
                "'%d'.format([dyn('a')])",
                "error: error during formatting: decimal clause can only be used on integers, was given string",
            ),
            ("('%' + 's').format(dyn([]))", "error: index 0 out of range"),
        ],
        constant,
    );
}

#[test]
fn lists_and_sets() {
    check(
        &[
            ("[1, 2, 2].isSorted()", "true"),
            ("['b', 'a'].isSorted()", "false"),
            ("[].isSorted()", "true"),
            ("[1, 2, 3].sum()", "6"),
            ("[1.5, 2.5].sum()", "4"),
            ("[1u, 2u].sum()", "3"),
            ("[duration('1s'), duration('2s')].sum() == duration('3s')", "true"),
            ("[].sum()", "0"),
            ("[9223372036854775807, 1].sum()", "error: integer overflow"),
            ("dyn([1.5, 1.5]).sum()", "3"),
            ("[3, 1, 2].min()", "1"),
            ("['a', 'c', 'b'].max()", "c"),
            ("[].min()", "error: min called on empty list"),
            ("[].max()", "error: max called on empty list"),
            ("[1, 2, 1].indexOf(1)", "0"),
            ("[1, 2, 1].lastIndexOf(1)", "2"),
            ("[1].indexOf(5)", "-1"),
            ("[1, 2, 3].slice(1, 3)", "[2,3]"),
            ("[1, 2, 3].slice(0, 0)", "[]"),
            ("[1, 2, 3].slice(1, 4)", "error: cannot slice(1, 4), list is length 3"),
            ("[1, 2, 3].slice(2, 1)", "error: cannot slice(2, 1), start index must be less than or equal to end index"),
            ("[1, 2, 3].slice(-1, 1)", "error: cannot slice(-1, 1), negative indexes not supported"),
            ("[[1, 2], [3]].flatten()", "[1,2,3]"),
            ("x.nested.flatten(2)", "[1,2,3]"),
            ("[[1]].flatten(-1)", "error: level must be non-negative"),
            ("[3, 1, 2].sort()", "[1,2,3]"),
            ("['b', 'a'].sort()", "[\"a\",\"b\"]"),
            ("x.mixed.sort()", "error: list elements must have the same type"),
            ("[1, 2, 1, 3].distinct()", "[1,2,3]"),
            ("[1, 2].reverse()", "[2,1]"),
            ("lists.range(3)", "[0,1,2]"),
            ("lists.range(99999999999)", "error: operation cancelled: actual cost limit exceeded"),
            ("sets.contains([1, 2], [2])", "true"),
            ("sets.contains([1], [1, 2])", "false"),
            ("sets.equivalent([1, 2, 2], [2, 1])", "true"),
            ("sets.intersects([1], [2, 1])", "true"),
            ("sets.intersects([1], [])", "false"),
        ],
        |text| crate::table::dynamic(text, &value!({"nested": [1, [2, [3]]], "mixed": [1, "a"]})),
    );
}

#[test]
fn patterns_and_urls() {
    check(
        &[
            ("'abc 123'.matches('[0-9]+')", "true"),
            ("'abc'.matches('^[0-9]+$')", "false"),
            ("matches('abc', 'b')", "true"),
            ("'abc 123'.find('[0-9]+')", "123"),
            ("'abc'.find('[0-9]+')", ""),
            ("'1 2 3'.findAll('[0-9]')", "[\"1\",\"2\",\"3\"]"),
            ("'1 2 3'.findAll('[0-9]', 2)", "[\"1\",\"2\"]"),
            ("'1 2 3'.findAll('[0-9]', 0)", "[]"),
            ("'a'.find('(')", "program: error parsing regexp: missing closing ): `(`"),
            ("'a'.find('(' + string(x.size()))", "error: Illegal regex: error parsing regexp: missing closing ): `(0`"),
            ("url('https://kubernetes.io:443/docs?a=1&a=2&b').getHost()", "kubernetes.io:443"),
            ("url('https://kubernetes.io:443/docs').getHostname()", "kubernetes.io"),
            ("url('https://kubernetes.io:443/docs').getPort()", "443"),
            ("url('https://[::1]:80/docs').getHostname()", "::1"),
            ("url('HTTPS://kubernetes.io/docs').getScheme()", "https"),
            ("url('https://kubernetes.io/a b').getEscapedPath()", "/a%20b"),
            ("url('https://x/d?a=1&a=2&b').getQuery()", "{\"a\":[\"1\",\"2\"],\"b\":[\"\"]}"),
            ("url('/path').getHost()", ""),
            ("isURL('https://example.com')", "true"),
            ("isURL('../relative')", "false"),
            ("isURL('https://a:b/')", "false"),
            ("isURL('https://a/%zz')", "false"),
            (
                "url('x y')",
                "error: URL parse error during conversion from string: parse \"x y\": invalid URI for request",
            ),
        ],
        |text| crate::table::dynamic(text, &value!([])),
    );
}

#[test]
fn quantities_and_versions() {
    check(
        &[
            ("isQuantity('1.3Gi')", "true"),
            ("isQuantity('1.3GiB')", "false"),
            ("quantity('1Mi') == quantity('1024Ki')", "true"),
            ("quantity('1000k') == quantity('1M')", "true"),
            ("quantity('50k').add(20)", "50020"),
            ("quantity('50k').add(quantity('20'))", "50020"),
            ("quantity('50k').sub(quantity('20k'))", "30k"),
            ("quantity('50k').sub(20000).isLessThan(quantity('40k'))", "true"),
            ("quantity('50M').isInteger()", "true"),
            ("quantity('50.5m').isInteger()", "false"),
            ("quantity('50k').asInteger()", "50000"),
            ("quantity('500m').asInteger()", "error: cannot convert value to integer"),
            ("quantity('500m').asApproximateFloat()", "0.5"),
            ("sign(quantity('-5'))", "-1"),
            ("quantity('1').compareTo(quantity('2'))", "-1"),
            ("quantity('1').isGreaterThan(quantity('500m'))", "true"),
            (
                "quantity('x')",
                "error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            ("type(quantity('1')) == kubernetes.Quantity", "true"),
            ("isSemver('1.2.3')", "true"),
            ("isSemver('v1.2')", "false"),
            ("isSemver('v1.2', true)", "true"),
            ("semver('v01.2', true)", "1.2.0"),
            ("semver('1.2.3-rc.1').isLessThan(semver('1.2.3'))", "true"),
            ("semver('1.2.3+a') == semver('1.2.3+b')", "true"),
            ("semver('1.2.3').compareTo(semver('1.10.0'))", "-1"),
            ("semver('1.2.3').major() + semver('1.2.3').minor() + semver('1.2.3').patch()", "6"),
            ("semver('01.2.3')", "error: Major number must not contain leading zeroes \"01\""),
            ("semver('1.2')", "error: No Major.Minor.Patch elements found"),
        ],
        constant,
    );
}

#[test]
fn addresses() {
    check(
        &[
            ("ip('192.168.0.1').family()", "4"),
            ("ip('::1').family()", "6"),
            ("isIP('256.0.0.1')", "false"),
            ("isIP('::ffff:1.2.3.4')", "false"),
            ("isIP('fe80::1%eth0')", "false"),
            ("ip('::ffff:1.2.3.4')", "error: IPv4-mapped IPv6 address \"::ffff:1.2.3.4\" is not allowed"),
            ("ip.isCanonical('127.0.0.1')", "true"),
            ("ip.isCanonical('2001:DB8::1')", "false"),
            ("ip('0.0.0.0').isUnspecified()", "true"),
            ("ip('127.0.0.1').isLoopback()", "true"),
            ("ip('224.0.0.1').isLinkLocalMulticast()", "true"),
            ("ip('169.254.1.1').isLinkLocalUnicast()", "true"),
            ("ip('fe80::1').isLinkLocalUnicast()", "true"),
            ("ip('8.8.8.8').isGlobalUnicast()", "true"),
            ("ip('255.255.255.255').isGlobalUnicast()", "false"),
            ("ip('10.0.0.1') == ip('10.0.0.1')", "true"),
            ("string(ip('2001:DB8::1'))", "2001:db8::1"),
            ("cidr('10.0.0.0/8').containsIP('10.2.3.4')", "true"),
            ("cidr('10.0.0.0/8').containsIP(ip('11.2.3.4'))", "false"),
            ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", "true"),
            ("cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))", "false"),
            ("cidr('10.1.2.3/8').masked()", "10.0.0.0/8"),
            ("cidr('10.1.2.3/8').ip() == ip('10.1.2.3')", "true"),
            ("cidr('::/0').prefixLength()", "0"),
            ("cidr('::/0').containsIP('1.2.3.4')", "false"),
            ("isCIDR('10.0.0.0/33')", "false"),
            ("isCIDR('10.0.0.0/08')", "false"),
            ("string(cidr('10.0.0.0/8'))", "10.0.0.0/8"),
            ("type(ip('1.2.3.4')) == net.IP", "true"),
            ("type(cidr('1.2.3.4/8')) == net.CIDR", "true"),
        ],
        constant,
    );
}

#[test]
fn formats() {
    check(
        &[
            ("format.dns1123Label().validate('my-label')", "optional.none()"),
            ("format.dns1123Label().validate('My-Label').hasValue()", "true"),
            ("format.dns1123LabelPrefix().validate('my-')", "optional.none()"),
            ("format.dns1123Subdomain().validate('a.b').hasValue()", "false"),
            ("format.dns1035Label().validate('1a').hasValue()", "true"),
            ("format.qualifiedName().validate('a/b')", "optional.none()"),
            ("format.labelValue().validate('-').hasValue()", "true"),
            ("format.uri().validate('http://a')", "optional.none()"),
            ("format.uuid().validate('123e4567-e89b-12d3-a456-426614174000')", "optional.none()"),
            ("format.uuid().validate('x').value()", "[\"does not match the UUID format\"]"),
            ("format.byte().validate('aGVsbG8=')", "optional.none()"),
            ("format.date().validate('2023-13-01').value()", "[\"invalid date\"]"),
            ("format.datetime().validate('2023-01-01T00:00:00Z')", "optional.none()"),
            ("format.named('uuid').hasValue()", "true"),
            ("format.named('nothing')", "optional.none()"),
            ("format.named('dns1123Label').value() == format.dns1123Label()", "true"),
        ],
        constant,
    );
}

#[test]
fn patches() {
    let env = ready::admission(ready::Admission { patch_types: true, ..Default::default() });
    let object = value!({"metadata": {"name": "a"}});
    check(
        &[
            ("jsonpatch.escapeKey('a/b~c')", "a~1b~0c"),
            (
                "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'a': 1}}]",
                r#"[{"op":"add","path":"/metadata/labels","value":{"a":1}}]"#,
            ),
            (
                "Object{metadata: Object.metadata{labels: {'n': object.metadata.name}}}",
                r#"{"metadata":{"labels":{"n":"a"}}}"#,
            ),
            ("Object{spec: Object.spec{?replicas: optional.none(), x: 1}}.spec.x", "1"),
            ("has(Object{spec: 1}.spec)", "true"),
            ("has(Object{spec: 1}.status)", "false"),
            ("JSONPatch{op: 1}", "compile: 1:13: expected type of field 'op' is 'string' but provided type is 'int'"),
            ("JSONPatch{from: 'a', nope: 1}", "compile: 1:26: undefined field 'nope'"),
            ("JSONPatch{op: 'a'} == JSONPatch{op: 'a'}", "true"),
        ],
        |text| outcome(&env, text, &[("object", &object, None)]),
    );
}

#[test]
fn objects_are_named_by_their_path() {
    let env = ready::admission(ready::Admission { patch_types: true, ..Default::default() });
    let names = |text: &str| {
        let program = env.compile(text).expect("compiles");
        let activation = Activation::new();
        program.eval(&activation, &mut Budget::default()).map(|val| val.check_type_names())
    };
    assert_eq!(names("Object{spec: Object.spec{list: [Object.spec.list{a: 1}]}}"), Ok(Ok(())));
    let wrong = "unexpected type name \"Object.spce\", expected \"Object.spec\", which matches field name path from root \
                 Object type";
    assert_eq!(names("Object{spec: Object.spce{}}"), Ok(Err(wrong.into())));
}

/// Says yes to whoever asks for what stands in its list.
struct Listed(&'static [&'static str]);

impl Authorizer for Listed {
    fn authorize(&self, a: &Attributes<'_>) -> Decision {
        let account = a.service_account.map_or(String::new(), |(namespace, name)| format!("{namespace}/{name} "));
        let what = match (a.path, a.resource) {
            (Some(path), _) => path.to_string(),
            (None, Some(r)) => {
                let selectors = format!("{}{}", r.field_selector, r.label_selector);
                format!("{}.{}/{} {}/{}{selectors}", r.group, r.resource, r.subresource, r.namespace, r.name)
            }
            (None, None) => return Decision { error: Some("nothing asked".into()), ..Decision::default() },
        };
        let question = format!("{account}{} {what}", a.verb);
        let verdict = if self.0.contains(&question.as_str()) { Verdict::Allow } else { Verdict::NoOpinion };
        Decision { verdict, reason: question, error: None }
    }
}

#[test]
fn the_authorizer_is_asked() {
    let env = ready::admission(ready::Admission { authorizer: true, ..Default::default() });
    let host: Arc<dyn Authorizer> =
        Arc::new(Listed(&["get /healthz", "list apps.deployments/status a/b", "get .pods/ a/p"]));
    let run = |text: &str| {
        let program = match env.compile(text) {
            Ok(program) => program,
            Err(error) => return error.to_string(),
        };
        let subject = Subject::new(host.clone());
        let mut resource = subject.clone().resource("", "pods");
        (resource.namespace, resource.name) = ("a".into(), "p".into());
        let activation = Activation::new()
            .value("authorizer", Opaque::Authorizer(subject).into())
            .value("authorizer.requestResource", Opaque::ResourceCheck(resource).into());
        match program.eval(&activation, &mut Budget::default()) {
            Ok(val) => val.to_string(),
            Err(error) => format!("error: {error}"),
        }
    };
    check(
        &[
            ("authorizer.path('/healthz').check('get').allowed()", "true"),
            ("authorizer.path('/metrics').check('get').allowed()", "false"),
            ("authorizer.path(' ').check('get').allowed()", "error: path must not be empty"),
            (
                "authorizer.group('apps').resource('deployments').subresource('status').namespace('a').name('b').check('list').allowed()",
                "true",
            ),
            ("authorizer.group('apps').resource('deployments').check('list').reason()", "list apps.deployments/ /"),
            ("authorizer.requestResource.check('get').allowed()", "true"),
            (
                "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('get').reason()",
                "ns/sa get .pods/ /",
            ),
            (
                "authorizer.serviceAccount('ns', 'S').path('/a').check('get').allowed()",
                "error: Invalid service account name",
            ),
            ("authorizer.group('').resource('pods').fieldSelector('a=b').check('list').reason()", "list .pods/ /a=b"),
            ("authorizer.path('/healthz').check('get').errored()", "false"),
            ("authorizer.path('/healthz').check('get').error()", ""),
        ],
        run,
    );
}

#[test]
fn libraries_do_not_hide_variables() {
    let env = Env::new().variable("format", k8s_cel::Type::Dyn);
    let x: Value = value!({"uri": "a"});
    assert_eq!(outcome(&env, "format.uri", &[("format", &x, None)]), "a");
}
