//! Values while an expression is evaluated.
//!
//! A value borrows what it was read from: the object under admission is never copied, a list is a slice of its tree and
//! a field is read when it is asked for. Literals and results own their parts behind `Arc`, so that cloning is cheap. One
//! lifetime covers program, declarations and objects. Decided against: a trait object per value (an allocation per step).

mod adapt;
mod compare;
mod list;
mod map;
mod show;

pub use adapt::{adapt, to_tree};
pub use compare::{compare, equal};
pub use list::List;
pub use map::{Map, MapVals};
pub(crate) use show::{duration_text, number_text};

use crate::{
    decl::ObjectType,
    library::{Instant, Opaque},
    types::Type,
};
use std::{borrow::Cow, fmt, sync::Arc};
use value::Str;

#[derive(Debug, Clone)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Text<'a>),
    Bytes(Arc<[u8]>),
    Timestamp(Instant),
    /// Nanoseconds.
    Duration(i64),
    Type(Type),
    List(List<'a>),
    Map(Map<'a>),
    /// An object that is read through its schema.
    Object(&'a value::Map, &'a ObjectType),
    /// An object that an expression made: `Object{…}`, `JSONPatch{…}`.
    Struct(Arc<Struct<'a>>),
    Optional(Option<Arc<Val<'a>>>),
    /// A value of a library.
    Opaque(Arc<Opaque>),
}

#[derive(Debug, Clone)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Arc<str>),
}

/// An object made by an expression.
#[derive(Debug)]
pub struct Struct<'a> {
    pub ty: Type,
    pub fields: Vec<(Str, Val<'a>)>,
}

/// Why an evaluation has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvalError {
    /// The expression failed; `&&`, `||` and the quantifiers may do without it. The text is what clients read.
    Failed(Cow<'static, str>),
    /// The expression costs more than one call may. Ends the evaluation.
    CallCost,
    /// What all expressions together may cost is used up. Ends the evaluation.
    Budget,
}

pub type Fallible<T> = Result<T, EvalError>;

impl EvalError {
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        EvalError::Failed(message.into())
    }
    pub(crate) fn no_overload() -> Self {
        EvalError::Failed(Cow::Borrowed("no such overload"))
    }
    pub(crate) fn no_key(key: &impl fmt::Display) -> Self {
        EvalError::new(format!("no such key: {key}"))
    }
    pub(crate) fn bounds(index: &impl fmt::Display) -> Self {
        EvalError::new(format!("index out of bounds: {index}"))
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EvalError::Failed(text) => text,
            EvalError::CallCost => "operation cancelled: actual cost limit exceeded",
            EvalError::Budget => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
            }
        })
    }
}

impl std::error::Error for EvalError {}

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Val<'static> {
    fn from(text: &str) -> Self {
        Val::String(Text::Shared(text.into()))
    }
}
impl From<String> for Val<'static> {
    fn from(text: String) -> Self {
        Val::String(Text::Shared(text.into()))
    }
}
impl From<bool> for Val<'static> {
    fn from(b: bool) -> Self {
        Val::Bool(b)
    }
}
impl From<i64> for Val<'static> {
    fn from(n: i64) -> Self {
        Val::Int(n)
    }
}
impl From<Opaque> for Val<'static> {
    fn from(opaque: Opaque) -> Self {
        Val::Opaque(Arc::new(opaque))
    }
}

impl<'a> Val<'a> {
    pub fn list(items: Vec<Val<'a>>) -> Self {
        Val::List(List::Vals(Arc::new(items), None))
    }
    pub fn some(inner: Val<'a>) -> Self {
        Val::Optional(Some(Arc::new(inner)))
    }
    pub fn as_bool(&self) -> Option<bool> {
        if let Val::Bool(b) = self { Some(*b) } else { None }
    }
    pub fn as_str(&self) -> Option<&str> {
        if let Val::String(text) = self { Some(text) } else { None }
    }
    /// The type at run time.
    pub fn type_of(&self) -> Type {
        match self {
            Val::Null => Type::Null,
            Val::Bool(_) => Type::Bool,
            Val::Int(_) => Type::Int,
            Val::Uint(_) => Type::Uint,
            Val::Double(_) => Type::Double,
            Val::String(_) => Type::String,
            Val::Bytes(_) => Type::Bytes,
            Val::Timestamp(_) => Type::Timestamp,
            Val::Duration(_) => Type::Duration,
            Val::Type(_) => Type::Meta(None),
            Val::List(_) => Type::list(Type::Dyn),
            Val::Map(_) | Val::Object(..) => Type::map(Type::Dyn, Type::Dyn),
            Val::Struct(object) => object.ty.clone(),
            Val::Optional(_) => Type::optional(Type::Dyn),
            Val::Opaque(opaque) => opaque.type_of(),
        }
    }
    /// Whether the value may stand where a signature has `ty`.
    pub(crate) fn fits(&self, ty: &Type) -> bool {
        match (ty, self) {
            (Type::Dyn | Type::Param(_), _)
            | (Type::Null, Val::Null)
            | (Type::Bool, Val::Bool(_))
            | (Type::Int, Val::Int(_))
            | (Type::Uint, Val::Uint(_))
            | (Type::Double, Val::Double(_))
            | (Type::String, Val::String(_))
            | (Type::Bytes, Val::Bytes(_))
            | (Type::Timestamp, Val::Timestamp(_))
            | (Type::Duration, Val::Duration(_))
            | (Type::Meta(_), Val::Type(_))
            | (Type::List(_), Val::List(_))
            | (Type::Map(..), Val::Map(_) | Val::Object(..))
            | (Type::Optional(_), Val::Optional(_)) => true,
            (Type::Library { name, .. }, Val::Opaque(opaque)) => opaque.type_of().name() == *name,
            (ty, Val::Struct(object)) => *ty == object.ty,
            _ => false,
        }
    }
    /// Characters of a string, elements of a list, entries of a map; 1 for everything else. What costs are counted by.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Val::String(text) => chars(text),
            Val::Bytes(bytes) => bytes.len() as u64,
            Val::List(list) => list.len() as u64,
            Val::Map(map) => map.len() as u64,
            Val::Object(map, _) => map.len() as u64,
            _ => 1,
        }
    }
    /// Zero, empty or absent (`optional.ofNonZeroValue`).
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Val::Null | Val::Optional(None) => true,
            Val::Bool(b) => !b,
            Val::Int(n) | Val::Duration(n) => *n == 0,
            Val::Uint(n) => *n == 0,
            Val::Double(n) => *n == 0.0,
            Val::String(text) => text.is_empty(),
            Val::Bytes(bytes) => bytes.is_empty(),
            Val::List(list) => list.is_empty(),
            Val::Map(map) => map.is_empty(),
            Val::Object(map, _) => map.is_empty(),
            Val::Struct(object) => object.fields.is_empty(),
            Val::Optional(Some(inner)) => inner.is_zero(),
            Val::Timestamp(t) => t.is_zero(),
            Val::Type(_) | Val::Opaque(_) => false,
        }
    }
}

/// Characters of a text, without counting where all are ASCII anyway.
pub(crate) fn chars(text: &str) -> u64 {
    (if text.is_ascii() { text.len() } else { text.chars().count() }) as u64
}

impl Val<'_> {
    /// An apply configuration names the type of each object by its path (`Object.spec.template`); says where it does not.
    pub fn check_type_names(&self) -> Result<(), String> {
        let mut wrong = Vec::new();
        if let Val::Struct(object) = self {
            names(self, object.ty.name(), &mut wrong);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}

fn names(val: &Val<'_>, path: &str, wrong: &mut Vec<String>) {
    match val {
        Val::Struct(object) => {
            let name = object.ty.name();
            if name != path {
                let expected = "which matches field name path from root Object type";
                wrong.push(format!("unexpected type name {name:?}, expected {path:?}, {expected}"));
            }
            for (field, val) in &object.fields {
                names(val, &format!("{path}.{field}"), wrong);
            }
        }
        Val::List(List::Vals(items, _)) => items.iter().for_each(|item| names(item, path, wrong)),
        Val::Map(Map::Vals(entries)) => entries.iter().for_each(|(_, val)| names(val, path, wrong)),
        _ => {}
    }
}
