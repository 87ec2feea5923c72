//! `format`: printf-like texts, as version 2 of the strings extension has them.
//!
//! The same clauses are read twice: by the checker, which holds literal arguments against them, and at run time.

use super::{Row, strings::quote, text};
use crate::{
    types::Type,
    val::{EvalError, Fallible, List, Val},
};

pub(super) const ROWS: &[Row] = &[("format", "string_format", "string.(list<dyn>) string", format)];

pub enum Piece<'t> {
    Text(&'t str),
    Clause(Clause),
}

/// One `%…` of a format text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clause {
    verb: char,
    precision: Option<usize>,
}

/// The pieces of a format text, up to the first fault.
pub struct Clauses<'t> {
    rest: &'t str,
    broken: bool,
}

impl<'t> Clauses<'t> {
    pub fn new(text: &'t str) -> Self {
        Clauses { rest: text, broken: false }
    }
    fn clause(&mut self) -> Result<Clause, String> {
        let wrong = |why: String| format!("could not parse formatting clause: {why}");
        let mut precision = None;
        if let Some(rest) = self.rest.strip_prefix('.') {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == rest.len() {
                return Err(wrong("error while parsing precision: could not find end of precision specifier".into()));
            }
            precision = Some(rest[..digits].parse().ok().filter(|p: &usize| *p <= 1000).ok_or_else(|| {
                wrong("error while parsing precision: error while converting precision to integer".into())
            })?);
            self.rest = &rest[digits..];
        }
        let verb = self.rest.chars().next().ok_or("unexpected end of string")?;
        self.rest = &self.rest[verb.len_utf8()..];
        if !"sdfebxXo".contains(verb) {
            return Err(wrong(format!("unrecognized formatting clause \"{verb}\"")));
        }
        Ok(Clause { verb, precision })
    }
}

impl<'t> Iterator for Clauses<'t> {
    type Item = Result<Piece<'t>, String>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() || self.broken {
            return None;
        }
        if let Some(rest) = self.rest.strip_prefix("%%") {
            self.rest = rest;
            return Some(Ok(Piece::Text("%")));
        }
        if let Some(rest) = self.rest.strip_prefix('%') {
            self.rest = rest;
            let clause = self.clause();
            self.broken = clause.is_err();
            return Some(clause.map(Piece::Clause));
        }
        let end = self.rest.find('%').unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(Ok(Piece::Text(text)))
    }
}

impl Clause {
    /// What is said where an argument of a type cannot be formatted so.
    pub fn refuses(self, ty: &Type) -> Option<String> {
        let fits = match self.verb {
            's' => !matches!(ty, Type::Object(_) | Type::Open(_) | Type::Library { .. } | Type::Optional(_)),
            'd' | 'o' => matches!(ty, Type::Int | Type::Uint),
            'f' | 'e' => matches!(ty, Type::Double | Type::String),
            'b' => matches!(ty, Type::Int | Type::Uint | Type::Bool),
            _ => matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes),
        };
        (!fits && !ty.is_dyn_or_error()).then(|| self.wrong(ty.name()))
    }

    fn wrong(self, given: &str) -> String {
        let what = match self.verb {
            's' => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, \
                 and timestamps"
            }
            'd' => "decimal clause can only be used on integers",
            'o' => "octal clause can only be used on integers",
            'f' => "fixed-point clause can only be used on doubles",
            'e' => "scientific clause can only be used on doubles",
            'b' => "only integers and bools can be formatted as binary",
            _ => "only integers, byte buffers, and strings can be formatted as hex",
        };
        format!("{what}, was given {given}")
    }

    fn apply(self, val: &Val<'_>) -> Result<String, String> {
        let wrong = || self.wrong(val.type_of().name());
        Ok(match (self.verb, val) {
            ('s', val) => shown(val).map_err(|_| wrong())?,
            ('d', Val::Int(n)) => n.to_string(),
            ('d', Val::Uint(n)) => n.to_string(),
            ('o', Val::Int(n)) => signed(*n, |n| format!("{n:o}")),
            ('o', Val::Uint(n)) => format!("{n:o}"),
            ('b', Val::Int(n)) => signed(*n, |n| format!("{n:b}")),
            ('b', Val::Uint(n)) => format!("{n:b}"),
            ('b', Val::Bool(b)) => if *b { "1" } else { "0" }.into(),
            ('x', Val::Int(n)) => signed(*n, |n| format!("{n:x}")),
            ('x', Val::Uint(n)) => format!("{n:x}"),
            ('X', Val::Int(n)) => signed(*n, |n| format!("{n:X}")),
            ('X', Val::Uint(n)) => format!("{n:X}"),
            ('x' | 'X', Val::String(text)) => hex(text.as_bytes(), self.verb == 'X'),
            ('x' | 'X', Val::Bytes(bytes)) => hex(bytes, self.verb == 'X'),
            ('f' | 'e', Val::Double(n)) => self.double(*n),
            ('f' | 'e', Val::String(text)) => match text.as_str() {
                "NaN" => self.double(f64::NAN),
                "Infinity" => self.double(f64::INFINITY),
                "-Infinity" => self.double(f64::NEG_INFINITY),
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        })
    }

    fn double(self, n: f64) -> String {
        let digits = self.precision.unwrap_or(6);
        if n.is_nan() {
            return "NaN".into();
        }
        if n.is_infinite() {
            return if n > 0.0 { "∞".into() } else { "-∞".into() };
        }
        if self.verb == 'f' {
            return grouped(&format!("{n:.digits$}"));
        }
        // As the reference's number printer writes it in English.
        let text = format!("{n:.digits$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |e| ("⁻", e));
        let raised: String = format!("{exponent:0>2}")
            .chars()
            .filter_map(|c| "⁰¹²³⁴⁵⁶⁷⁸⁹".chars().nth(c.to_digit(10)? as usize))
            .collect();
        format!("{mantissa}×10{sign}{raised}")
    }
}

/// Thousands apart, as English has them.
fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |n| ("-", n));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

fn signed(n: i64, show: fn(u64) -> String) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, show(n.unsigned_abs()))
}

fn hex(bytes: &[u8], upper: bool) -> String {
    bytes.iter().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
}

fn format<'a>(args: &[Val<'a>]) -> Fallible<Val<'a>> {
    let (template, Some(Val::List(list))) = (text(args, 0)?, args.get(1)) else { return Err(EvalError::no_overload()) };
    render(template, list).map(Val::from).map_err(EvalError::new)
}

fn render(template: &str, list: &List<'_>) -> Result<String, String> {
    let (mut out, mut at) = (String::new(), 0);
    for piece in Clauses::new(template) {
        match piece? {
            Piece::Text(text) => out.push_str(text),
            Piece::Clause(clause) => {
                let item =
                    list.get(at).ok_or_else(|| format!("index {at} out of range"))?.map_err(|e| e.to_string())?;
                out.push_str(&clause.apply(&item).map_err(|why| format!("error during formatting: {why}"))?);
                at += 1;
            }
        }
    }
    Ok(out)
}

/// A value as `%s` has it; the error names nothing, its type does.
fn shown(val: &Val<'_>) -> Result<String, ()> {
    Ok(match val {
        Val::List(list) => {
            let mut items = Vec::with_capacity(list.len());
            for item in list.iter() {
                items.push(inner(&item.map_err(|_| ())?)?);
            }
            format!("[{}]", items.join(", "))
        }
        Val::Map(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, value) in map.entries().map_err(|_| ())? {
                entries.push(format!("{}:{}", inner(&key)?, inner(&value)?));
            }
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Val::Object(..) | Val::Struct(_) | Val::Optional(_) | Val::Opaque(_) => return Err(()),
        other => other.to_string(),
    })
}

/// A value inside of a list or map.
fn inner(val: &Val<'_>) -> Result<String, ()> {
    Ok(match val {
        Val::String(text) => quote(text),
        Val::Bytes(_) => format!("b{}", quote(&shown(val)?)),
        Val::Double(n) if n.is_finite() => format!("{n:.6}"),
        Val::Double(_) => quote(&shown(val)?),
        Val::Timestamp(_) => format!("timestamp({})", quote(&shown(val)?)),
        Val::Duration(_) => format!("duration({})", quote(&shown(val)?)),
        other => shown(other)?,
    })
}
