//! What an expression may say about an object: a structural schema, read for CEL.
//!
//! A [`Decl`] is a type with what cost estimates need (how many elements a value has at most in a request of 3 MiB) and
//! what reading a value needs (formats, list types). It is made once per schema. Rules of the reference: fields whose
//! schema says nothing are not visible, nor are lists and maps of such; at the root of a resource and in an embedded one
//! only `apiVersion`, `kind`, `metadata.name` and `metadata.generateName` are visible beside what the schema declares.

use crate::{
    names::{RESERVED, escape},
    types::Type,
};
use schema::{ListType, NodeId, Schema};
use std::sync::Arc;
use value::{Str, Value};

/// Bytes of the largest request.
const REQUEST: i64 = 3 * 1024 * 1024;

/// A declared type.
#[derive(Debug)]
pub struct Decl {
    pub ty: Type,
    /// Elements of a list, entries of a map, characters of a string at most; negative where nothing is known.
    pub max_elements: i64,
    /// The least number of bytes that a value takes in JSON.
    pub min_size: i64,
    pub shape: Shape,
    pub nullable: bool,
}

/// How a value of a declared type is read.
#[derive(Debug)]
pub enum Shape {
    /// As it is: a value without a schema.
    Plain,
    IntOrString,
    Bool,
    Int,
    Double,
    String,
    /// base64
    Bytes,
    Duration,
    Date,
    DateTime,
    List {
        element: Arc<Decl>,
        list_type: ListType,
        keys: Vec<Str>,
    },
    Map {
        element: Arc<Decl>,
    },
    Object(Arc<ObjectType>),
}

/// An object with declared fields.
#[derive(Debug)]
pub struct ObjectType {
    pub name: String,
    /// Sorted by identifier.
    fields: Vec<FieldDecl>,
}

/// One declared field.
#[derive(Debug)]
pub struct FieldDecl {
    /// As expressions say it, escaped.
    pub ident: String,
    /// As it stands in the object.
    pub name: Str,
    pub decl: Arc<Decl>,
}

impl Decl {
    /// A type without a schema: built-in values bound by name.
    pub fn of_type(ty: Type) -> Arc<Decl> {
        let (max_elements, min_size) = match &ty {
            Type::Bool => (0, 4),
            Type::String => (0, 2),
            _ => (0, 1),
        };
        Arc::new(Decl { ty, max_elements, min_size, shape: Shape::Plain, nullable: true })
    }

    /// The declaration of a structural schema; `None` where the schema says nothing that expressions could use.
    /// `resource`: the root of a resource, whose metadata is visible in part. `name` is the type's name in messages.
    pub fn of_schema(schema: &Schema, resource: bool, name: &str) -> Option<Arc<Decl>> {
        Reader { schema, above: Vec::new() }.decl(schema.parts().1, resource, name.to_string())
    }

    /// A list; `max` elements, negative for any number.
    pub fn list(element: Arc<Decl>, max: i64) -> Arc<Decl> {
        let shape = Shape::List { element: element.clone(), list_type: ListType::Atomic, keys: Vec::new() };
        decl(Type::list(element.ty.clone()), max, 2, shape)
    }
    /// A type without a schema whose values have at most so many characters or elements.
    pub fn bounded(ty: Type, max: i64) -> Arc<Decl> {
        Arc::new(Decl { ty, max_elements: max, min_size: 2, shape: Shape::Plain, nullable: false })
    }
    /// A map with string keys.
    pub fn map(element: Arc<Decl>, max: i64) -> Arc<Decl> {
        let ty = Type::map(Type::String, element.ty.clone());
        decl(ty, max, 2, Shape::Map { element })
    }
    /// An object of fields that are no schema's.
    pub fn object(name: &str, fields: &[(&str, Arc<Decl>)]) -> Arc<Decl> {
        let fields = fields.iter().filter_map(|(name, decl)| FieldDecl::new(name, decl.clone())).collect();
        let object = ObjectType::new(name.to_string(), fields);
        decl(Type::Object(object.clone()), 0, 2, Shape::Object(object))
    }

    /// The declaration at a step of a path: `@items`, `@values`, `@keys` or a field.
    pub(crate) fn step<'a>(&'a self, name: &str, key: &'a Decl) -> Option<&'a Decl> {
        match (&self.shape, name) {
            (Shape::List { element, .. } | Shape::Map { element }, "@items" | "@values") => Some(element),
            (Shape::Map { .. }, "@keys") => Some(key),
            // Of bounded values that are anything, whatever their keys.
            (Shape::Map { element }, _) if element.is_open() => Some(element),
            (Shape::Object(object), name) => object.field(name).map(|field| &*field.decl),
            _ => None,
        }
    }

    /// Anything, of a size that is known: no schema has that.
    fn is_open(&self) -> bool {
        matches!((&self.ty, &self.shape), (Type::Dyn, Shape::Plain)) && self.max_elements > 0
    }

    /// How often a value of this type stands in one request at most: the bound for rules below unbounded lists.
    pub fn max_cardinality(&self) -> u64 {
        (REQUEST / (self.min_size + 1)) as u64
    }
}

impl FieldDecl {
    fn new(name: &str, decl: Arc<Decl>) -> Option<FieldDecl> {
        Some(FieldDecl { ident: escape(name)?, name: name.into(), decl })
    }
}

impl ObjectType {
    fn new(name: String, mut fields: Vec<FieldDecl>) -> Arc<ObjectType> {
        fields.sort_by(|a, b| a.ident.cmp(&b.ident));
        Arc::new(ObjectType { name, fields })
    }
    /// A field as expressions say it. Reserved words that the grammar takes as fields (`namespace`) are found too.
    pub fn field(&self, ident: &str) -> Option<&FieldDecl> {
        let find = |ident: &str| self.fields.binary_search_by(|f| f.ident.as_str().cmp(ident)).ok();
        let found = find(ident).or_else(|| RESERVED.contains(&ident).then(|| find(&format!("__{ident}__"))).flatten());
        found.map(|i| &self.fields[i])
    }
    pub fn fields(&self) -> &[FieldDecl] {
        &self.fields
    }
}

fn decl(ty: Type, max_elements: i64, min_size: i64, shape: Shape) -> Arc<Decl> {
    Arc::new(Decl { ty, max_elements, min_size, shape, nullable: false })
}

struct Reader<'a> {
    schema: &'a Schema,
    /// Built-in types that are being read: one that holds itself is dynamic inside.
    above: Vec<NodeId>,
}

impl Reader<'_> {
    fn decl(&mut self, id: NodeId, resource: bool, name: String) -> Option<Arc<Decl>> {
        if self.above.contains(&id) {
            return Some(Decl::of_type(Type::Dyn));
        }
        self.above.push(id);
        let out = self.read(id, resource, name);
        self.above.pop();
        let nullable = self.schema.parts().0[id].nullable;
        out.map(|mut decl| {
            decl.nullable = nullable;
            Arc::new(decl)
        })
    }

    fn read(&mut self, id: NodeId, resource: bool, name: String) -> Option<Decl> {
        let node = &self.schema.parts().0[id];
        let checks = node.checks.as_deref();
        let count = |n: Option<u64>| n.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let max_length = checks.and_then(|c| count(c.max_length));
        let plain = |ty: Type, max_elements: i64, min_size: i64, shape: Shape| {
            Some(Decl { ty, max_elements, min_size, shape, nullable: false })
        };
        let ty = if resource && node.ty == schema::Type::Any { schema::Type::Object } else { node.ty };
        match ty {
            schema::Type::IntOrString => {
                let max = max_length.map_or(REQUEST - 2, |n| n.saturating_mul(4));
                plain(Type::Dyn, max, 1, Shape::IntOrString)
            }
            schema::Type::Array => {
                let element = self.below(node.items?, format!("{name}.@idx"))?;
                let max = checks.and_then(|c| count(c.max_items));
                let max = max.unwrap_or_else(|| (REQUEST - 2) / (element.min_size + 1));
                let ty = Type::list(element.ty.clone());
                let shape = Shape::List { element, list_type: node.list_type, keys: node.list_keys.clone() };
                plain(ty, max, 2, shape)
            }
            schema::Type::Object => match node.additional.filter(|_| !resource) {
                Some(more) => {
                    let element = self.below(more, format!("{name}.@elem"))?;
                    let max = checks.and_then(|c| count(c.max_properties));
                    let max = max.unwrap_or_else(|| (REQUEST - 2) / (element.min_size + 6));
                    let ty = Type::map(Type::String, element.ty.clone());
                    plain(ty, max, 2, Shape::Map { element })
                }
                None => {
                    let (object, min_size) = self.object(id, resource, &name);
                    plain(Type::Object(object.clone()), 0, min_size, Shape::Object(object))
                }
            },
            schema::Type::String => {
                let request = REQUEST - 2;
                match node.format.as_str() {
                    "byte" => plain(Type::Bytes, max_length.unwrap_or(request), 2, Shape::Bytes),
                    "duration" => plain(Type::Duration, 32, 3, Shape::Duration),
                    "date" => plain(Type::Timestamp, 12, 12, Shape::Date),
                    "date-time" => plain(Type::Timestamp, 32, 21, Shape::DateTime),
                    _ => {
                        let longest = checks
                            .and_then(|c| c.enumeration.iter().map(|v| v.as_str().map_or(0, str::len) as i64).max());
                        let max = max_length.map(|n| n.saturating_mul(4)).or(longest).unwrap_or(request);
                        plain(Type::String, max, 2, Shape::String)
                    }
                }
            }
            schema::Type::Boolean => plain(Type::Bool, 0, 4, Shape::Bool),
            schema::Type::Number => plain(Type::Double, 0, 1, Shape::Double),
            schema::Type::Integer => plain(Type::Int, 0, 1, Shape::Int),
            schema::Type::Any => None,
        }
    }

    fn below(&mut self, id: NodeId, name: String) -> Option<Arc<Decl>> {
        let embedded = self.schema.parts().0[id].embedded;
        self.decl(id, embedded, name)
    }

    fn object(&mut self, id: NodeId, resource: bool, name: &str) -> (Arc<ObjectType>, i64) {
        let node = &self.schema.parts().0[id];
        let mut fields = Vec::with_capacity(node.fields.len());
        let mut min_size = 2;
        for field in &node.fields {
            let special = resource && matches!(field.name.as_str(), "apiVersion" | "kind" | "metadata");
            let below = match field.name.as_str() {
                "metadata" if special => Some(metadata(format!("{name}.metadata"))),
                _ if special => Some(text()),
                ident => self.below(field.node, format!("{name}.{}", escape(ident).unwrap_or_default())),
            };
            let Some(below) = below else { continue };
            if field.required && field.default.as_ref().is_none_or(Value::is_null) {
                min_size += field.name.len() as i64 + below.min_size + 4;
            }
            fields.extend(FieldDecl::new(&field.name, below));
        }
        if resource {
            for missing in ["apiVersion", "kind", "metadata"] {
                if node.field(missing).is_none() {
                    let below = if missing == "metadata" { metadata(format!("{name}.metadata")) } else { text() };
                    fields.extend(FieldDecl::new(missing, below));
                }
            }
        }
        (ObjectType::new(name.to_string(), fields), min_size)
    }
}

fn text() -> Arc<Decl> {
    decl(Type::String, REQUEST - 2, 2, Shape::String)
}

/// What rules see of a resource's metadata.
fn metadata(name: String) -> Arc<Decl> {
    let fields = ["name", "generateName"].into_iter().filter_map(|field| FieldDecl::new(field, text())).collect();
    let object = ObjectType::new(name, fields);
    decl(Type::Object(object.clone()), 0, 2, Shape::Object(object))
}
