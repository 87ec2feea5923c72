//! Objects made from a schema: deterministic, and with the values at which encodings differ.

use schema::{Arena, Node, NodeId, Schema, Type};
use value::{Map, Str, Value, value};

/// How much of a type is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Every field, with something that is not its zero value.
    All,
    /// Every field, with what is empty: no element, no text, zero.
    Empty,
    /// Some fields, with anything.
    Some,
}

/// The source of chance (SplitMix64): the same seed makes the same object everywhere.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }
}

/// What YAML, JSON and quoting could get wrong.
const TEXTS: &[&str] = &[
    "a",
    "true",
    "null",
    "~",
    "1",
    "0x10",
    "1e3",
    "0b1",
    "1_000",
    ".5",
    "no",
    "- a",
    "a: b",
    "# c",
    " a",
    "a ",
    "\"",
    "'",
    "\\",
    "multi\nline\n",
    "\n",
    "a\n\nb",
    "tab\there",
    "{}",
    "[x]",
    "&a",
    "*a",
    "!t",
    "%",
    "@",
    "|",
    ">",
    "---",
    "...",
    "zaß水𝄞",
    "\u{2028}",
    "\u{feff}x",
    "\u{7f}",
    "\u{1}",
    "2026-01-02",
    "2026-01-02T03:04:05Z",
    "=",
    "<<",
    "?",
    "? a",
    "key:",
    "a\r\nb",
    "\u{85}",
];
const TIMES: &[&str] = &[
    "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z",
    "2026-11-20T17:04:05Z",
    "9999-12-30T22:00:00Z",
    "0001-01-02T00:00:00Z",
];
const FINE_TIMES: &[&str] = &[
    "1970-01-01T00:00:00.000000Z",
    "1969-12-31T23:59:59.000001Z",
    "2026-11-20T17:04:05.999999Z",
    "2026-11-20T17:04:05.100000Z",
];
const QUANTITIES: &[&str] = &["1", "100m", "1Gi", "1500m", "-5", "12e6", "9223372036854775807", "3n", "1Ei"];
const BASE64: &[&str] = &["AA==", "AAECAwQ=", "////", "+/+/", "aGVsbG8K"];

pub struct Generator<'a> {
    arena: &'a Arena,
    fill: Fill,
    pub dice: Dice,
    /// Named types on the way here.
    path: Vec<Str>,
}

/// An object of a type, without `apiVersion` and `kind`.
pub fn object(schema: &Schema, fill: Fill, seed: u64) -> Value {
    let (arena, id) = schema.parts();
    Generator { arena, fill, dice: Dice(seed), path: Vec::new() }.node(id, id)
}

impl Generator<'_> {
    /// A value of a node; `owner` is the nearest type with a name, to which few refer.
    fn node(&mut self, id: NodeId, owner: NodeId) -> Value {
        let node = &self.arena[id];
        match node.ty {
            Type::Object if !node.name.is_empty() => self.members(id),
            Type::Object => self.map(node, owner),
            Type::Array => {
                let Some(item) = node.items else { return Value::Array(Vec::new()) };
                (0..self.size()).map(|_| self.node(item, owner)).collect()
            }
            Type::Boolean => (self.fill == Fill::All || self.fill == Fill::Some && self.dice.below(2) == 0).into(),
            Type::Integer if node.format == "int32" => {
                self.scalar(&[7, 1, -1, i32::MAX.into(), i32::MIN.into()]).into()
            }
            Type::Integer => self.scalar(&[7, 1 << 53, -1, i64::MAX, i64::MIN]).into(),
            Type::Number if self.fill == Fill::Empty => 0.into(),
            Type::Number => self.dice.pick(&[value!(0.5), value!(-2.25), value!(1e300), value!(5e-324), value!(3)]),
            Type::IntOrString => match self.fill {
                Fill::Empty => self.dice.pick(&[value!(0), value!("")]),
                _ => self.dice.pick(&[value!(80), value!(i32::MIN), value!("http"), value!("25%"), value!("80")]),
            },
            Type::String => self.text(node),
            Type::Any => self.any(node, owner),
        }
    }

    fn scalar(&mut self, of: &[i64]) -> i64 {
        match self.fill {
            Fill::Empty => 0,
            Fill::All => of[self.dice.below(2)],
            Fill::Some => self.dice.pick(of),
        }
    }

    fn size(&mut self) -> usize {
        match self.fill {
            Fill::All => 1,
            Fill::Empty => 0,
            Fill::Some => self.dice.below(3),
        }
    }

    fn text(&mut self, node: &Node) -> Value {
        let last = node.name.rsplit('.').next().unwrap_or("");
        let of = match (last, node.format.as_str()) {
            ("MicroTime", _) => FINE_TIMES,
            ("Time", _) => TIMES,
            (_, "quantity") if self.fill == Fill::Empty => &["0"],
            (_, "quantity") => QUANTITIES,
            _ if self.fill == Fill::Empty => &[""],
            (_, "byte") => BASE64,
            _ if self.fill == Fill::Some && self.dice.below(8) == 0 => &[""],
            _ => TEXTS,
        };
        self.dice.pick(of).into()
    }

    fn members(&mut self, id: NodeId) -> Value {
        let node = &self.arena[id];
        // Types that hold themselves end at the second of their kind.
        let recursive = self.path.iter().filter(|name| **name == node.name).count() > 1;
        self.path.push(node.name.clone());
        let mut entries = Vec::new();
        for field in &node.fields {
            let own = matches!(self.arena[field.node].ty, Type::Object | Type::Array | Type::Any);
            let skipped = (recursive && own) || (self.fill == Fill::Some && self.dice.below(3) == 0);
            if !skipped && !matches!(&*field.name, "apiVersion" | "kind" if field.number == 0) {
                entries.push((field.name.clone(), self.node(field.node, id)));
            }
        }
        self.path.pop();
        Value::Object(Map::from_entries(entries).0)
    }

    fn map(&mut self, node: &Node, owner: NodeId) -> Value {
        let Some(id) = node.additional else { return Value::object() };
        let mut map = Map::new();
        for _ in 0..self.size() {
            let key = self.dice.pick(&["a", "a/b.c", "zaß水", "true", "1", "~", "a b"]);
            let value = self.node(id, owner);
            map.insert(key, value);
        }
        Value::Object(map)
    }

    /// What holds any JSON, or a schema or something else.
    fn any(&mut self, node: &Node, owner: NodeId) -> Value {
        match node.name.rsplit('.').next().unwrap_or("") {
            "JSONSchemaPropsOrBool" => match self.dice.below(3) {
                0 => true.into(),
                1 => false.into(),
                _ => self.members(owner),
            },
            "JSONSchemaPropsOrArray" => match self.dice.below(2) {
                0 => self.members(owner),
                _ => (0..2).map(|_| self.members(owner)).collect(),
            },
            "JSONSchemaPropsOrStringArray" => match self.dice.below(2) {
                0 => self.members(owner),
                _ => value!(["a", "b"]),
            },
            "FieldsV1" => value!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "k:{\"name\":\"x\"}": {}}),
            "JSON" => self.dice.pick(&[value!(1), value!("x"), value!(false), value!([1, null, {"a": 0.5}]), value!({})]),
            _ => self.dice.pick(&[
                value!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"k": "v"}}),
                value!({"apiVersion": "example.com/v1", "kind": "Odd", "spec": {"n": 9007199254740993_i64, "x": [null, 1.5]}}),
                value!({}),
            ]),
        }
    }
}
