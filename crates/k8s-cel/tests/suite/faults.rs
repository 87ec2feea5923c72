//! What does not compile, and how it is said.

use crate::table::{check, constant, dynamic};
use k8s_cel::{Env, Type};
use value::value;

#[test]
fn syntax_errors() {
    check(
        &[
            (
                "",
                "compile: 1:1: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            ),
            (
                "1 +",
                "compile: 1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}",
            ),
            ("x in [1, 2", "compile: 1:11: Syntax error: missing ']' at '<EOF>'"),
            ("'asdf'.contains('x'", "compile: 1:20: Syntax error: missing ')' at '<EOF>'"),
            ("1 2", "compile: 1:3: Syntax error: extraneous input '2' expecting <EOF>"),
            ("x.k! == '1'", "compile: 1:4: Syntax error: mismatched input '!' expecting <EOF>"),
            ("x.user = 'test'", "compile: 1:8: Syntax error: token recognition error at: '= '"),
            ("1 & 2", "compile: 1:3: Syntax error: token recognition error at: '& '"),
            ("'abc", "compile: 1:1: Syntax error: token recognition error at: ''abc'"),
            ("#", "compile: 1:1: Syntax error: token recognition error at: '#'"),
            ("x.true == 1", "compile: 1:3: Syntax error: mismatched input 'true' expecting IDENTIFIER"),
            ("x.", "compile: 1:3: Syntax error: mismatched input '<EOF>' expecting IDENTIFIER"),
            ("a.`b`", "compile: 1:3: unsupported syntax: '`'"),
            ("while", "compile: 1:1: reserved identifier: while"),
            ("namespace(1)", "compile: 1:1: reserved identifier: namespace"),
            ("9223372036854775808", "compile: 1:1: invalid int literal"),
            ("-1u", "compile: 1:1: found no matching overload for '-_' applied to '(uint)'"),
            ("99999999999999999999u", "compile: 1:1: invalid uint literal"),
            ("1e999", "compile: 1:1: invalid double literal"),
            ("'\\q'", "compile: 1:1: unable to unescape string"),
            ("has(x)", "compile: 1:5: invalid argument to has() macro"),
            ("has(x['a'])", "compile: 1:6: invalid argument to has() macro"),
        ],
        constant,
    );
}

#[test]
fn too_deep_and_too_long() {
    let nested = format!("{}1{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(constant(&nested), "compile: -1:0: expression recursion limit exceeded: 250");
    let chain = format!("1{}", " + 1".repeat(300));
    assert_eq!(constant(&chain), "compile: -1:0: expression recursion limit exceeded: 250");
    let path = format!("x{}", ".a".repeat(300));
    assert_eq!(constant(&path), "compile: -1:0: expression recursion limit exceeded: 250");
    let terms = vec!["true"; 2000].join(" && ");
    assert_eq!(constant(&terms), "true");
    let long = format!("'{}'", "a".repeat(100_001));
    assert_eq!(constant(&long), "compile: -1:0: expression code point size exceeds limit: size: 100003, limit 100000");
}

#[test]
fn type_errors() {
    let x = value!({});
    check(
        &[
            ("1 == y", "compile: 1:6: undeclared reference to 'y' (in container '')"),
            ("foo(1)", "compile: 1:4: undeclared reference to 'foo' (in container '')"),
            ("x.foo()", "compile: 1:6: undeclared reference to 'foo' (in container '')"),
            ("'a'.foo()", "compile: 1:8: undeclared reference to 'foo' (in container '')"),
            ("cel.bind(a, 1, a)", "compile: 1:1: undeclared reference to 'cel' (in container '')"),
            ("math.greatest(1, 2)", "compile: 1:1: undeclared reference to 'math' (in container '')"),
            ("'a'.reverse()", "compile: 1:12: found no matching overload for 'reverse' applied to 'string.()'"),
            ("jsonpatch.escapeKey('a')", "compile: 1:1: undeclared reference to 'jsonpatch' (in container '')"),
            ("Object{}", "compile: 1:7: undeclared reference to 'Object' (in container '')"),
            ("1 + 'a'", "compile: 1:3: found no matching overload for '_+_' applied to '(int, string)'"),
            ("1 && true", "compile: 1:1: expected type 'bool' but found 'int'"),
            ("1 ? 2 : 3", "compile: 1:3: found no matching overload for '_?_:_' applied to '(int, int, int)'"),
            ("true ? 1 : 'a'", "compile: 1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'"),
            ("!1", "compile: 1:1: found no matching overload for '!_' applied to '(int)'"),
            ("'a'.size(1)", "compile: 1:9: found no matching overload for 'size' applied to 'string.(int)'"),
            ("size(1)", "compile: 1:5: found no matching overload for 'size' applied to '(int)'"),
            ("1.a", "compile: 1:2: type 'int' does not support field selection"),
            ("'a'.b", "compile: 1:4: type 'string' does not support field selection"),
            ("ip('1.2.3.4').x", "compile: 1:14: type 'net.IP' does not support field selection"),
            ("quantity('1').x", "compile: 1:14: undefined field 'x'"),
            ("[1, 'a', false].filter(x, string(x) == 'a')", "compile: 1:5: expected type 'int' but found 'string'"),
            ("{'a': 1, 'b': 'c'}", "compile: 1:15: expected type 'int' but found 'string'"),
            ("{'a': 1, 2: 2}", "compile: 1:10: expected type 'string' but found 'int'"),
            ("[1, dyn('a')]", "compile: 1:8: expected type 'int' but found 'dyn'"),
            ("'a' in [1]", "compile: 1:5: found no matching overload for '@in' applied to '(string, list(int))'"),
            ("'a'.matches('x++')", "compile: 1:13: invalid matches argument"),
            ("'a'.matches('(')", "compile: 1:13: invalid matches argument"),
            ("[1, 2].all(i, i)", "compile: 1:15: expected type 'bool' but found 'int'"),
            (
                "'%d'.format(['a'])",
                "compile: 1:14: error during formatting: decimal clause can only be used on integers, was given string",
            ),
            ("'%s'.format([])", "compile: 1:12: index 0 out of range"),
            (
                "'%s'.format(['a', 1])",
                "compile: 1:12: too many arguments supplied to string.format (expected 1, got 2)",
            ),
            (
                "'%y'.format(['a'])",
                "compile: 1:12: could not parse formatting clause: unrecognized formatting clause \"y\"",
            ),
            ("'a'.charAt('b')", "compile: 1:11: found no matching overload for 'charAt' applied to 'string.(string)'"),
            ("int", "int"),
            ("int{}", "compile: 1:4: 'int' is not a message type"),
            ("x{}", "compile: 1:2: 'dyn' is not a type"),
        ],
        |text| dynamic(text, &x),
    );
}

#[test]
fn all_faults_are_reported_in_order() {
    let error = Env::new().variable("x", Type::Int).compile("a +\n b == x.c").unwrap_err();
    assert_eq!(
        error.to_string(),
        "compilation failed: ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a +\n | ^\n\
         ERROR: <input>:2:2: undeclared reference to 'b' (in container '')\n |  b == x.c\n | .^\n\
         ERROR: <input>:2:8: type 'int' does not support field selection\n |  b == x.c\n | .......^"
    );
}
