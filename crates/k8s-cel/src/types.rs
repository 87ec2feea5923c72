//! The types of expressions.
//!
//! Cheap to clone; object types point at the declaration that holds their fields. Kubernetes' own values (quantities,
//! URLs, the authorizer) are names without fields. The texts are those of the reference, since they stand in messages.

use crate::decl::ObjectType;
use std::{fmt, sync::Arc};

#[derive(Debug, Clone)]
pub enum Type {
    /// Anything; checked when it is evaluated.
    Dyn,
    /// The type of what does not check.
    Error,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    /// The type of types.
    Meta(Option<Arc<Type>>),
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// An object with declared fields.
    Object(Arc<ObjectType>),
    /// An object whose fields are all dynamic: `Object.spec` in a mutating policy.
    Open(Arc<str>),
    /// A value of a library. `opaque` ones count as abstract in the reference, the others as messages; the two differ
    /// in what is said when a field is asked of them.
    Library {
        name: &'static str,
        opaque: bool,
    },
    /// A type variable; `A`, `B` … in signatures, numbered ones while checking.
    Param(u32),
}

/// The names of the libraries' types.
pub mod library {
    use super::Type;
    macro_rules! types {
        ($($name:ident = $text:literal $(, $opaque:ident)?;)+) => {
            $(pub const $name: Type = Type::Library { name: $text, opaque: types!(@ $($opaque)?) };)+
        };
        (@ opaque) => { true };
        (@) => { false };
    }
    types! {
        QUANTITY = "kubernetes.Quantity";
        URL = "kubernetes.URL";
        SEMVER = "kubernetes.Semver";
        FORMAT = "kubernetes.NamedFormat";
        IP = "net.IP", opaque;
        CIDR = "net.CIDR", opaque;
        AUTHORIZER = "kubernetes.authorization.Authorizer";
        PATH_CHECK = "kubernetes.authorization.PathCheck";
        GROUP_CHECK = "kubernetes.authorization.GroupCheck";
        RESOURCE_CHECK = "kubernetes.authorization.ResourceCheck";
        DECISION = "kubernetes.authorization.Decision";
        JSON_PATCH = "JSONPatch";
    }
}

impl Type {
    pub fn list(element: Type) -> Type {
        Type::List(Arc::new(element))
    }
    pub fn map(key: Type, value: Type) -> Type {
        Type::Map(Arc::new(key), Arc::new(value))
    }
    pub fn optional(inner: Type) -> Type {
        Type::Optional(Arc::new(inner))
    }
    pub fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn)
    }
    pub(crate) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Type::Dyn | Type::Error)
    }
    /// Bool, numbers, times: size 1 in cost estimates.
    pub(crate) fn is_scalar(&self) -> bool {
        match self {
            Type::Bool | Type::Int | Type::Uint | Type::Double | Type::Timestamp | Type::Duration => true,
            Type::Optional(inner) => inner.is_scalar(),
            _ => false,
        }
    }
    /// Null may stand for it although it is not declared so.
    pub(crate) fn is_nullable(&self) -> bool {
        matches!(
            self,
            Type::Optional(_)
                | Type::Object(_)
                | Type::Open(_)
                | Type::Library { .. }
                | Type::Timestamp
                | Type::Duration
                | Type::Null
        )
    }
    /// The types that it is made of.
    pub(crate) fn parameters(&self) -> Vec<&Type> {
        match self {
            Type::List(inner) | Type::Optional(inner) | Type::Meta(Some(inner)) => vec![inner],
            Type::Map(key, value) => vec![key, value],
            _ => Vec::new(),
        }
    }
    /// The same type with its parameters mapped.
    pub(crate) fn map_parameters(&self, f: &mut dyn FnMut(&Type) -> Type) -> Type {
        match self {
            Type::List(inner) => Type::list(f(inner)),
            Type::Optional(inner) => Type::optional(f(inner)),
            Type::Meta(Some(inner)) => Type::Meta(Some(Arc::new(f(inner)))),
            Type::Map(key, value) => Type::map(f(key), f(value)),
            other => other.clone(),
        }
    }
    /// The bare name, as the `type()` of a value shows it.
    pub fn name(&self) -> &str {
        match self {
            Type::Dyn => "dyn",
            Type::Error => "!error!",
            Type::Null => "null_type",
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Uint => "uint",
            Type::Double => "double",
            Type::String => "string",
            Type::Bytes => "bytes",
            Type::Timestamp => "google.protobuf.Timestamp",
            Type::Duration => "google.protobuf.Duration",
            Type::Meta(_) => "type",
            Type::List(_) => "list",
            Type::Map(..) => "map",
            Type::Optional(_) => "optional_type",
            Type::Object(object) => &object.name,
            Type::Open(name) => name,
            Type::Library { name, .. } => name,
            Type::Param(_) => "param",
        }
    }
}

impl PartialEq for Type {
    /// The same type, parameters included; objects are the same by name.
    fn eq(&self, other: &Type) -> bool {
        match (self, other) {
            (Type::Object(a), Type::Object(b)) => Arc::ptr_eq(a, b) || a.name == b.name,
            (Type::Open(a), Type::Open(b)) => a == b,
            (Type::Library { name: a, .. }, Type::Library { name: b, .. }) => a == b,
            (Type::Param(a), Type::Param(b)) => a == b,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => a == b,
            (Type::Map(a, b), Type::Map(c, d)) => a == c && b == d,
            (Type::Meta(a), Type::Meta(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other) && self.parameters().is_empty(),
        }
    }
}

impl fmt::Display for Type {
    /// As checker messages show it: `list(int)`, `map(string, dyn)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Null => f.write_str("null"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::Param(n) => match char::from_u32(u32::from(b'A') + n).filter(|_| *n < 26) {
                Some(letter) => write!(f, "{letter}"),
                None => write!(f, "_var{}", n - 26),
            },
            other => {
                f.write_str(other.name())?;
                let parameters = other.parameters();
                for (i, parameter) in parameters.iter().enumerate() {
                    write!(f, "{}{parameter}", if i == 0 { "(" } else { ", " })?;
                }
                if parameters.is_empty() { Ok(()) } else { f.write_str(")") }
            }
        }
    }
}

/// Reads a type of a signature: `list<A>`, `map<string,dyn>`, `optional<V>`, `Quantity`. Only for the libraries' tables.
pub(crate) fn parse(text: &str) -> Type {
    let text = text.trim();
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(element) = inner("list<") {
        return Type::list(parse(element));
    }
    if let Some(value) = inner("optional<") {
        return Type::optional(parse(value));
    }
    if let Some(pair) = inner("map<") {
        let (key, value) = pair.split_once(',').unwrap_or((pair, "dyn"));
        return Type::map(parse(key), parse(value));
    }
    match text {
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Meta(None),
        "Quantity" => library::QUANTITY,
        "URL" => library::URL,
        "Semver" => library::SEMVER,
        "Format" => library::FORMAT,
        "IP" => library::IP,
        "CIDR" => library::CIDR,
        "Authorizer" => library::AUTHORIZER,
        "PathCheck" => library::PATH_CHECK,
        "GroupCheck" => library::GROUP_CHECK,
        "ResourceCheck" => library::RESOURCE_CHECK,
        "Decision" => library::DECISION,
        letter if letter.len() == 1 && letter.as_bytes()[0].is_ascii_uppercase() => {
            Type::Param(u32::from(letter.as_bytes()[0] - b'A'))
        }
        _ => Type::Dyn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_read_and_show() {
        for (text, want) in [
            ("list<map<string,dyn>>", "list(map(string, dyn))"),
            ("optional<IP>", "optional_type(net.IP)"),
            ("map<A,B>", "map(A, B)"),
            ("timestamp", "timestamp"),
            ("Quantity", "kubernetes.Quantity"),
        ] {
            assert_eq!(parse(text).to_string(), want);
        }
        assert_eq!(parse("list<int>"), Type::list(Type::Int));
        assert_ne!(parse("list<int>"), Type::list(Type::Dyn));
        assert_ne!(Type::Int, Type::Uint);
    }
}
