//! Whatever is thrown at it, the crate answers.
//!
//! A small deterministic generator (a linear congruence, no clock) makes texts from tokens, from bytes and by damaging
//! expressions that are right. Each is parsed, checked, estimated and evaluated within a budget.

use k8s_cel::{Activation, Budget, Env, Type};
use value::{Value, value};

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

const TOKENS: &[&str] = &[
    "x",
    "y",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ".",
    ",",
    ":",
    "?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "!",
    "&&",
    "||",
    "==",
    "!=",
    "<",
    ">=",
    "in",
    "true",
    "false",
    "null",
    "1",
    "2u",
    "3.5",
    "'a'",
    "b'c'",
    "r'\\d'",
    "\"\\u00e9\"",
    "0x1f",
    "all",
    "exists",
    "map",
    "filter",
    "has",
    "i",
    "size",
    "int",
    "string",
    "type",
    "optional.of",
    ".?",
    "[?",
    "matches",
    "format",
    "sum",
    "split",
    "replace",
    "sort",
    "transformMap",
    "quantity",
    "ip",
    "cidr",
    "semver",
    "url",
    "duration",
    "timestamp",
    "é",
    "`",
    "'",
    "\n",
    "//",
    "9223372036854775807",
    "lists.range",
    "slice",
    "flatten",
    "1e308",
];

const RIGHT: &[&str] = &[
    "x.spec.replicas <= 5 && has(x.metadata.labels)",
    "x.list.all(i, i > 0) || x.list.exists(j, j == 1)",
    "[1, 2, 3].map(i, i > 1, i * 2).sum() == 10",
    "{'a': [1], 'b': [2]}.transformMap(k, v, v)",
    "'%s is %d and %f'.format(['a', 1, 2.5])",
    "x.?spec.?replicas.orValue(1) == 1 ? 'a' : 'b'",
    "quantity('1Gi').isGreaterThan(quantity('1M'))",
    "timestamp('2023-01-01T00:00:00Z') + duration('1h') > timestamp('2022-01-01T00:00:00Z')",
    "cidr('10.0.0.0/8').containsIP(ip('10.1.2.3')) && semver('1.2.3').major() == 1",
    "url('https://a.b:80/c?d=e').getQuery()",
    "'a,b,c'.split(',').join('-').replace('-', '').substring(1)",
    "format.dns1123Label().validate('a').hasValue()",
    "sets.contains([1, 2], [1]) && 'abc'.findAll('[a-c]').size() == 3",
];

fn feed(env: &Env, text: &str, x: &Value) {
    let Ok(program) = env.compile(text) else { return };
    let _ = program.estimate_cost(None);
    let mut budget = Budget::new(20_000).per_call(20_000);
    let _ = program.eval(&Activation::new().bind("x", x), &mut budget).map(|val| val.to_string());
}

fn env() -> (Env, Value) {
    let x = value!({"spec": {"replicas": 1}, "metadata": {"labels": {"a": "b"}}, "list": [1, 2.5, "a", null, true]});
    (Env::new().variable("x", Type::Dyn), x)
}

#[test]
fn tokens_in_any_order() {
    let ((env, x), mut random) = (env(), Random(1));
    for _ in 0..20_000 {
        let length = 1 + random.below(14);
        let words: Vec<&str> = (0..length).map(|_| TOKENS[random.below(TOKENS.len())]).collect();
        let glue = if random.below(2) == 0 { "" } else { " " };
        feed(&env, &words.join(glue), &x);
    }
}

#[test]
fn damaged_expressions() {
    let ((env, x), mut random) = (env(), Random(2));
    for _ in 0..20_000 {
        let mut text: Vec<char> = RIGHT[random.below(RIGHT.len())].chars().collect();
        for _ in 0..1 + random.below(4) {
            let at = random.below(text.len());
            match random.below(4) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, char::from(32 + random.below(95) as u8)),
                2 => text[at] = char::from_u32(random.below(0x3000) as u32).unwrap_or('x'),
                _ => {
                    let other: Vec<char> = RIGHT[random.below(RIGHT.len())].chars().collect();
                    let from = random.below(other.len());
                    text.splice(at..at, other[from..].iter().copied());
                }
            }
            if text.is_empty() {
                break;
            }
        }
        feed(&env, &text.iter().collect::<String>(), &x);
    }
}

#[test]
fn right_expressions_stay_right() {
    let (env, _) = env();
    for text in RIGHT {
        assert!(env.compile(text).is_ok(), "{text}");
    }
}

#[test]
fn deep_texts_do_not_use_up_the_stack() {
    let (env, x) = env();
    for (open, close) in
        [("(", ")"), ("[", "]"), ("{1:", "}"), ("!", ""), ("-", ""), ("x[", "]"), ("f(", ")"), ("true?1:", "")]
    {
        for depth in [10, 200, 249, 250, 251, 5000] {
            feed(&env, &format!("{}1{}", open.repeat(depth), close.repeat(depth)), &x);
        }
    }
    for chain in [".a", "[0]", "+1", " in x", ".map(i, i)", ".a()", "||x", " ? x : x"] {
        for length in [200, 249, 250, 251, 3000] {
            feed(&env, &format!("x{}", chain.repeat(length)), &x);
        }
    }
}
