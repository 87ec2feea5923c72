//! The language itself: literals, operators, equality, conversions, loops, optional values, errors.

mod table;
use table::{check, constant, dynamic};
use value::value;

#[test]
fn literals_and_operators() {
    check(
        &[
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3", "9"),
            ("7 / 2", "3"),
            ("-7 / 2", "-3"),
            ("7 % 3", "1"),
            ("-7 % 3", "-1"),
            ("7.0 / 2.0", "3.5"),
            ("2u * 3u", "6"),
            ("0xff", "255"),
            ("-0x10", "-16"),
            ("1e3", "1000"),
            ("-1", "-1"),
            ("--1", "1"),
            ("!!true", "true"),
            ("!true", "false"),
            ("'a' + \"b\"", "ab"),
            ("r'\\d' + 'x'", "\\dx"),
            ("'''a\nb'''", "a\nb"),
            ("b'abc' + b'd'", "abcd"),
            ("'\\u00e9'", "é"),
            ("[1, 2] + [3]", "[1,2,3]"),
            ("[1, 2,]", "[1,2]"),
            ("{'a': 1, 'b': 2,}", "{\"a\":1,\"b\":2}"),
            ("{'a': 1}['a']", "1"),
            ("{'a': 1}.a", "1"),
            ("[1, 2][1]", "2"),
            ("[1, 2][1.0]", "compile: 1:7: found no matching overload for '_[_]' applied to '(list(int), double)'"),
            ("[1, 2][dyn(1.0)]", "2"),
            ("true ? 1 : 2", "1"),
            ("false ? 1 : true ? 2 : 3", "2"),
            ("1 in [1, 2]", "true"),
            ("3 in [1, 2]", "false"),
            ("'a' in {'a': 1}", "true"),
            ("// a comment\n1", "1"),
            ("1 // a comment", "1"),
            ("null", "null"),
            ("true && false || true", "true"),
            ("1 < 2 && 2 < 3", "true"),
            ("'a' < 'b'", "true"),
            ("b'a' < b'b'", "true"),
            ("false < true", "true"),
            ("duration('1s') < duration('1m')", "true"),
            ("timestamp('2023-01-01T00:00:00Z') > timestamp('2022-01-01T00:00:00Z')", "true"),
            (".5 + 1.0", "1.5"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551615u", "18446744073709551615"),
            ("[].size()", "0"),
            ("size('é')", "1"),
            ("size(b'é')", "2"),
            ("{'a': 1}.size() + size([1, 2])", "3"),
        ],
        constant,
    );
}

#[test]
fn equality_across_types() {
    check(
        &[
            ("1 == 1", "true"),
            ("dyn(1) == 1u", "true"),
            ("dyn(1) == 1.0", "true"),
            ("dyn(1) == '1'", "false"),
            ("dyn(1) != '1'", "true"),
            ("dyn(null) == 1", "false"),
            ("null == null", "true"),
            ("dyn([1, 2]) == [1.0, 2.0]", "true"),
            ("[1, 2] == [2, 1]", "false"),
            ("{'a': 1, 'b': 2} == {'b': 2, 'a': 1}", "true"),
            ("{1: 'a'} == {1: 'a'}", "true"),
            ("dyn({1: 'a'}) == {1u: 'a'}", "true"),
            ("1 < 2.5", "true"),
            ("2u > 1", "true"),
            ("1.0 >= 1", "true"),
            ("9223372036854775807 < 9223372036854775808.0", "true"),
            ("1 == 1.0", "compile: 1:3: found no matching overload for '_==_' applied to '(int, double)'"),
            ("'a' == 1", "compile: 1:5: found no matching overload for '_==_' applied to '(string, int)'"),
            ("'a' == null", "compile: 1:5: found no matching overload for '_==_' applied to '(string, null)'"),
            ("type(1) == int", "true"),
            ("type('a') == string", "true"),
            ("type([]) == list", "true"),
            ("type({}) == map", "true"),
            ("type(type(1)) == type", "true"),
            ("type(null) == null_type", "true"),
            ("type(1.0)", "double"),
            ("type(timestamp('2023-01-01T00:00:00Z')) == google.protobuf.Timestamp", "true"),
            ("double('NaN') == double('NaN')", "false"),
            ("double('NaN') < 1.0", "error: NaN values cannot be ordered"),
            ("1 in dyn([1.0])", "true"),
            ("dyn('x') < 1", "error: no such overload"),
            ("[[1], [2]] == [[1], [2]]", "true"),
            ("optional.of(1) == optional.of(1)", "true"),
            ("optional.none() == optional.of(1)", "false"),
        ],
        constant,
    );
}

#[test]
fn errors_of_arithmetic_and_access() {
    check(
        &[
            ("1 / 0", "error: division by zero"),
            ("1 % 0", "error: modulus by zero"),
            ("1u / 0u", "error: division by zero"),
            ("1.0 / 0.0", "+Inf"),
            ("9223372036854775807 + 1", "error: integer overflow"),
            ("-9223372036854775808 - 1", "error: integer overflow"),
            ("9223372036854775807 * 2", "error: integer overflow"),
            ("-(-9223372036854775807 - 1)", "error: integer overflow"),
            ("0u - 1u", "error: unsigned integer overflow"),
            ("18446744073709551615u + 1u", "error: unsigned integer overflow"),
            ("[1][1]", "error: index out of bounds: 1"),
            ("[1][-1]", "error: index out of bounds: -1"),
            ("{'a': 1}['b']", "error: no such key: b"),
            ("{'a': 1}.b", "error: no such key: b"),
            ("{1: 1}[2]", "error: no such key: 2"),
            ("dyn(1).a", "error: no such key: a"),
            ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "error: timestamp overflow"),
            ("dyn('a') + 1", "error: no such overload"),
            ("dyn(1) && true", "error: no such overload"),
            ("dyn('a').charAt(true)", "compile: 1:16: found no matching overload for 'charAt' applied to 'dyn.(bool)'"),
            ("dyn(1).charAt(1)", "error: no such overload: charAt(int, int)"),
            ("1 + int(x.n)", "error: no such key: n"),
            ("x.a.b", "error: no such key: a"),
            ("has(x.a)", "false"),
            ("has(x.a.b)", "error: no such key: a"),
        ],
        constant,
    );
}

#[test]
fn logic_absorbs_errors() {
    check(
        &[
            ("true || 1 / 0 == 1", "true"),
            ("1 / 0 == 1 || true", "true"),
            ("1 / 0 == 1 || false", "error: division by zero"),
            ("false && 1 / 0 == 1", "false"),
            ("1 / 0 == 1 && false", "false"),
            ("1 / 0 == 1 && true", "error: division by zero"),
            ("x.missing || true", "true"),
            ("true ? 1 : 1 / 0", "1"),
            ("[1, 0].exists(i, 1 / i == 1)", "true"),
            ("[0, 1].exists(i, 1 / i == 1)", "true"),
            ("[0].exists(i, 1 / i == 1)", "error: division by zero"),
            ("[0, 1].all(i, 1 / i == 2)", "false"),
            ("[0, 1].all(i, 1 / i == 1)", "error: division by zero"),
            ("[0, 1].map(i, 1 / i)", "error: division by zero"),
            ("[0, 1].exists_one(i, 1 / i == 1)", "error: division by zero"),
        ],
        constant,
    );
}

#[test]
fn loops() {
    check(
        &[
            ("[1, 2, 3].all(i, i > 0)", "true"),
            ("[1, 2, 3].all(i, i > 1)", "false"),
            ("[].all(i, i > 1)", "true"),
            ("[1, 2, 3].exists(i, i == 3)", "true"),
            ("[].exists(i, true)", "false"),
            ("[1, 2, 3].exists_one(i, i > 2)", "true"),
            ("[1, 2, 3].exists_one(i, i > 1)", "false"),
            ("[1, 2, 3].existsOne(i, i > 2)", "true"),
            ("[1, 2, 3].map(i, i * 2)", "[2,4,6]"),
            ("[1, 2, 3].map(i, i > 1, i * 2)", "[4,6]"),
            ("[1, 2, 3].filter(i, i != 2)", "[1,3]"),
            ("{'a': 1, 'b': 2}.map(k, k)", "[\"a\",\"b\"]"),
            ("{'a': 1, 'b': 2}.all(k, k in ['a', 'b'])", "true"),
            ("[[1, 2], [3]].map(l, l.map(i, i + 1))", "[[2,3],[4]]"),
            ("[1, 2].map(i, [10, 20].map(j, i * j))", "[[10,20],[20,40]]"),
            ("[1, 2].map(i, [3].map(i, i))", "[[3],[3]]"),
            ("[1, 2].all(i, v, i < v)", "true"),
            ("[5, 6].exists(i, v, i == 1 && v == 6)", "true"),
            ("[5, 6].existsOne(i, v, v > 5)", "true"),
            ("{'a': 1}.all(k, v, k == 'a' && v == 1)", "true"),
            ("[5, 6].transformList(i, v, i * v)", "[0,6]"),
            ("[5, 6].transformList(i, v, i > 0, v)", "[6]"),
            ("{'a': 1, 'b': 2}.transformMap(k, v, v + 1)", "{\"a\":2,\"b\":3}"),
            ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v + 1)", "{\"b\":3}"),
            ("['x', 'y'].transformMapEntry(i, v, {v: i})", "{\"x\":0,\"y\":1}"),
            ("['x', 'x'].transformMapEntry(i, v, {v: i})", "error: insert failed: key x already exists"),
            ("[1, 2].all(i, i, true)", "compile: 1:15: duplicate variable name: i"),
            ("[1].all(1, true)", "compile: 1:9: argument must be a simple name"),
            ("[1].map(1, true)", "compile: 1:9: argument is not an identifier"),
            ("[1].all(__result__, true)", "compile: 1:9: iteration variable overwrites accumulator variable"),
            (
                "1.all(i, true)",
                "compile: 1:1: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)",
            ),
            ("dyn(1).all(i, true)", "error: got 'int', expected iterable type"),
            ("[3, 1, 2].sortBy(i, -i)", "[3,2,1]"),
            ("['bb', 'a'].sortBy(s, size(s))", "[\"a\",\"bb\"]"),
        ],
        constant,
    );
}

#[test]
fn optional_values() {
    let x = value!({"a": {"b": 1}, "l": [1, 2], "n": null});
    check(
        &[
            ("x.?a.?b", "optional(1)"),
            ("x.?a.b", "optional(1)"),
            ("x.?z.b", "optional.none()"),
            ("x.?z.?b.orValue(5)", "5"),
            ("x.?a.?b.orValue(5)", "1"),
            ("x[?'a'].hasValue()", "true"),
            ("x.l[?0]", "optional(1)"),
            ("x.l[?5].hasValue()", "false"),
            ("x.?l[1]", "optional(2)"),
            ("optional.of(1).value()", "1"),
            ("optional.none().value()", "error: optional.none() dereference"),
            ("optional.ofNonZeroValue(0).hasValue()", "false"),
            ("optional.ofNonZeroValue('a').hasValue()", "true"),
            ("optional.none().or(optional.of(2))", "optional(2)"),
            ("optional.of(1).or(optional.of(2)).value()", "1"),
            ("x.?a.?b.optMap(v, v + 1)", "optional(2)"),
            ("x.?z.optMap(v, v + 1)", "optional.none()"),
            ("x.?a.optFlatMap(v, v.?b)", "optional(1)"),
            ("[?x.?z, ?x.?a.?b, dyn(3)]", "[1,3]"),
            ("{?'p': x.?z, 'q': dyn(1)}", "{\"q\":1}"),
            ("has(x.?a.b)", "true"),
            ("has(x.?z.b)", "false"),
            ("[1, 2].first()", "optional(1)"),
            ("[1, 2].last().value()", "2"),
            ("[].first().hasValue()", "false"),
            ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
            ("[optional.of(1), optional.none()].unwrapOpt()", "[1]"),
            ("x.n == null", "true"),
            ("has(x.n)", "true"),
            ("[?1]", "compile: 1:3: expected type 'optional_type(int)' but found 'int'"),
        ],
        |text| dynamic(text, &x),
    );
}

#[test]
fn conversions() {
    check(
        &[
            ("int('42')", "42"),
            ("int(4.9)", "4"),
            ("int(-4.9)", "-4"),
            ("int(3u)", "3"),
            ("int(timestamp('1970-01-01T00:01:00Z'))", "60"),
            ("uint(3)", "3"),
            ("uint('7')", "7"),
            ("double(3)", "3"),
            ("double('1.5')", "1.5"),
            ("string(1)", "1"),
            ("string(1.5)", "1.5"),
            ("string(1e25)", "1e+25"),
            ("string(true)", "true"),
            ("string(b'abc')", "abc"),
            ("string(duration('1h30m'))", "5400s"),
            ("string(duration('1500ms'))", "1.5s"),
            ("string(timestamp('2023-02-03T23:31:20+00:00'))", "2023-02-03T23:31:20Z"),
            ("bytes('é') == b'\\303\\251'", "true"),
            ("bool('true')", "true"),
            ("bool('1')", "true"),
            ("bool('yes')", "program: type conversion error from 'string' to 'bool'"),
            ("int('x')", "program: strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("int(1e30)", "program: integer overflow"),
            ("uint(-1)", "program: unsigned integer overflow"),
            ("int(string(x.n))", "error: no such key: n"),
            ("duration('1x')", "compile: 1:10: invalid duration argument"),
            ("timestamp('nope')", "compile: 1:11: invalid timestamp argument"),
            ("timestamp(0)", "1970-01-01T00:00:00Z"),
            ("duration(string('5') + 'm')", "300s"),
            ("type(dyn(1))", "int"),
        ],
        constant,
    );
}

#[test]
fn times() {
    check(
        &[
            ("timestamp('2023-02-03T23:31:20.5Z').getFullYear()", "2023"),
            ("timestamp('2023-02-03T23:31:20.5Z').getMonth()", "1"),
            ("timestamp('2023-02-03T23:31:20.5Z').getDate()", "3"),
            ("timestamp('2023-02-03T23:31:20.5Z').getDayOfMonth()", "2"),
            ("timestamp('2023-02-03T23:31:20.5Z').getDayOfYear()", "33"),
            ("timestamp('2023-02-03T23:31:20.5Z').getDayOfWeek()", "5"),
            ("timestamp('2023-02-03T23:31:20.5Z').getHours()", "23"),
            ("timestamp('2023-02-03T23:31:20.5Z').getHours('+01:00')", "0"),
            ("timestamp('2023-02-03T23:31:20.5Z').getMinutes()", "31"),
            ("timestamp('2023-02-03T23:31:20.5Z').getSeconds()", "20"),
            ("timestamp('2023-02-03T23:31:20.5Z').getMilliseconds()", "500"),
            ("timestamp('2023-02-03T23:31:20Z').getHours('Nowhere/Here')", "error: unknown time zone Nowhere/Here"),
            ("duration('90m').getHours()", "1"),
            ("duration('90m').getMinutes()", "90"),
            ("duration('90s').getSeconds()", "90"),
            ("duration('1.5s').getMilliseconds()", "1500"),
            ("timestamp('2023-01-02T00:00:00Z') - timestamp('2023-01-01T00:00:00Z') == duration('24h')", "true"),
            ("timestamp('2023-01-01T00:00:00Z') + duration('1h') == timestamp('2023-01-01T01:00:00Z')", "true"),
            ("duration('1h') - duration('30m') == duration('30m')", "true"),
        ],
        constant,
    );
}
