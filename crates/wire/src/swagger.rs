//! `/openapi/v2` as kubectl reads it: the Swagger document in the protobuf of `gnostic`.
//!
//! kubectl asks for nothing else where it checks what a server knows of `List`s and of kinds that no version 3 document
//! has. The document is the same tree as its JSON, so it is written from that, by a table of names and numbers. Source of
//! the numbers: `openapiv2/OpenAPIv2.proto` of github.com/google/gnostic.

use crate::protobuf::Writer;
use bytes::Bytes;
use value::Value;

/// The content type; the first form is what clients up to 1.27 and kubectl ask for.
pub const MEDIA_TYPES: [&str; 2] = [
    "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
];

/// True where a client would rather have that than JSON.
pub fn accepted(accept: &str) -> bool {
    let first = accept.split(',').next().unwrap_or("").split(';').next().unwrap_or("").trim();
    MEDIA_TYPES.contains(&first)
}

/// The message of a Swagger document.
pub fn message(document: &Value) -> Bytes {
    let mut out = Writer::with_capacity(256 * 1024);
    write(&mut out, &DOCUMENT, document);
    out.into_bytes()
}

struct Message {
    fields: &'static [Field],
    /// The number of `vendor_extension`, where members named `x-…` go.
    extensions: u32,
}

/// A member of the JSON: its name, the numbers that lead to it, outermost first, and what it is.
type Field = (&'static str, &'static [u32], Shape);

enum Shape {
    Text,
    Flag,
    Integer,
    Double,
    /// Anything, as YAML (of which JSON is a part).
    Any,
    Texts,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// A map as a list of names and values; the numbers lead from the value to the message.
    Named(&'static Message, &'static [u32]),
    /// `additionalProperties`: a schema or a boolean.
    SchemaOrFlag,
    /// A parameter by its place.
    Parameters,
}
use Shape::{Any, Anys, Double, Flag, Integer, Many, Named, One, Parameters, SchemaOrFlag, Text, Texts};

static DOCUMENT: Message = Message {
    fields: &[
        ("swagger", &[1], Text),
        ("info", &[2], One(&INFO)),
        ("paths", &[8, 2], Named(&PATH_ITEM, &[])),
        ("definitions", &[9, 1], Named(&SCHEMA, &[])),
        ("securityDefinitions", &[13, 1], Named(&API_KEY, &[2])),
    ],
    extensions: 16,
};

static INFO: Message = Message { fields: &[("title", &[1], Text), ("version", &[2], Text)], extensions: 7 };

static API_KEY: Message = Message {
    fields: &[("type", &[1], Text), ("name", &[2], Text), ("in", &[3], Text), ("description", &[4], Text)],
    extensions: 5,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", &[2], One(&OPERATION)),
        ("put", &[3], One(&OPERATION)),
        ("post", &[4], One(&OPERATION)),
        ("delete", &[5], One(&OPERATION)),
        ("options", &[6], One(&OPERATION)),
        ("head", &[7], One(&OPERATION)),
        ("patch", &[8], One(&OPERATION)),
        ("parameters", &[9], Parameters),
    ],
    extensions: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", &[1], Texts),
        ("description", &[3], Text),
        ("operationId", &[5], Text),
        ("produces", &[6], Texts),
        ("consumes", &[7], Texts),
        ("parameters", &[8], Parameters),
        ("responses", &[9, 1], Named(&RESPONSE, &[1])),
        ("schemes", &[10], Texts),
    ],
    extensions: 13,
};

static RESPONSE: Message =
    Message { fields: &[("description", &[1], Text), ("schema", &[2, 1], One(&SCHEMA))], extensions: 5 };

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", &[1], Text),
        ("name", &[2], Text),
        ("in", &[3], Text),
        ("required", &[4], Flag),
        ("schema", &[5], One(&SCHEMA)),
    ],
    extensions: 6,
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", &[1], Flag),
        ("in", &[2], Text),
        ("description", &[3], Text),
        ("name", &[4], Text),
        ("type", &[6], Text),
        ("format", &[7], Text),
        ("uniqueItems", &[20], Flag),
    ],
    extensions: 23,
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", &[1], Flag),
        ("in", &[2], Text),
        ("description", &[3], Text),
        ("name", &[4], Text),
        ("type", &[5], Text),
        ("format", &[6], Text),
        ("uniqueItems", &[19], Flag),
    ],
    extensions: 22,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", &[1], Text),
        ("format", &[2], Text),
        ("title", &[3], Text),
        ("description", &[4], Text),
        ("default", &[5], Any),
        ("multipleOf", &[6], Double),
        ("maximum", &[7], Double),
        ("exclusiveMaximum", &[8], Flag),
        ("minimum", &[9], Double),
        ("exclusiveMinimum", &[10], Flag),
        ("maxLength", &[11], Integer),
        ("minLength", &[12], Integer),
        ("pattern", &[13], Text),
        ("maxItems", &[14], Integer),
        ("minItems", &[15], Integer),
        ("uniqueItems", &[16], Flag),
        ("maxProperties", &[17], Integer),
        ("minProperties", &[18], Integer),
        ("required", &[19], Texts),
        ("enum", &[20], Anys),
        ("additionalProperties", &[21], SchemaOrFlag),
        ("type", &[22, 1], Texts),
        ("items", &[23, 1], One(&SCHEMA)),
        ("allOf", &[24], Many(&SCHEMA)),
        ("properties", &[25, 1], Named(&SCHEMA, &[])),
        ("example", &[30], Any),
    ],
    extensions: 31,
};

fn write(out: &mut Writer, message: &Message, value: &Value) {
    for (name, path, shape) in message.fields {
        match value.get(name) {
            None | Some(Value::Null) => {}
            Some(member) => at(out, path, &|out, number| field(out, number, shape, member)),
        }
    }
    for (name, member) in value.members_at(&[]).filter(|(name, _)| name.starts_with("x-")) {
        out.message(message.extensions, |out| {
            out.text(1, name);
            out.message(2, |out| yaml(out, member));
        });
    }
}

/// Opens the messages of a path; `inner` writes the field with the last number.
fn at(out: &mut Writer, path: &[u32], inner: &dyn Fn(&mut Writer, u32)) {
    match path {
        [] => {}
        [number] => inner(out, *number),
        [number, rest @ ..] => out.message(*number, |out| at(out, rest, inner)),
    }
}

fn field(out: &mut Writer, number: u32, shape: &Shape, value: &Value) {
    match shape {
        Text => out.text(number, value.as_str().unwrap_or("")),
        Flag => out.integer(number, i64::from(value.as_bool().unwrap_or(false))),
        Integer => out.integer(number, value.as_i64().unwrap_or(0)),
        Double => out.double(number, value.as_f64().unwrap_or(0.0)),
        Any => out.message(number, |out| yaml(out, value)),
        Texts => each(value, |item| out.text(number, item.as_str().unwrap_or(""))),
        Anys => each(value, |item| out.message(number, |out| yaml(out, item))),
        One(message) => out.message(number, |out| write(out, message, value)),
        Many(message) => each(value, |item| out.message(number, |out| write(out, message, item))),
        Named(message, path) => {
            for (name, item) in value.members_at(&[]) {
                out.message(number, |out| {
                    out.text(1, name);
                    let path: Vec<u32> = [2].iter().chain(*path).copied().collect();
                    at(out, &path, &|out, number| out.message(number, |out| write(out, message, item)));
                });
            }
        }
        SchemaOrFlag => out.message(number, |out| match value {
            Value::Bool(_) => field(out, 2, &Flag, value),
            schema => field(out, 1, &One(&SCHEMA), schema),
        }),
        Parameters => each(value, |item| {
            let (path, message): (&[u32], _) = match item.str_at(&["in"]) {
                "body" => (&[1, 1], &BODY_PARAMETER),
                "path" => (&[1, 2, 4], &PATH_PARAMETER),
                _ => (&[1, 2, 3], &QUERY_PARAMETER),
            };
            out.message(number, |out| {
                at(out, path, &|out, number| out.message(number, |out| write(out, message, item)));
            });
        }),
    }
}

/// The elements of a list, or the one value that stands in its place.
fn each(value: &Value, mut f: impl FnMut(&Value)) {
    match value {
        Value::Array(items) => items.iter().for_each(f),
        one => f(one),
    }
}

fn yaml(out: &mut Writer, value: &Value) {
    out.bytes(2, &value.to_json());
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[track_caller]
    fn check(of: &Message, value: Value, want: &[u8]) {
        let mut out = Writer::with_capacity(64);
        write(&mut out, of, &value);
        let got = out.into_vec();
        assert_eq!(got, want, "{:?}", String::from_utf8_lossy(&got));
    }

    #[test]
    fn names_become_numbers() {
        check(&DOCUMENT, value!({"swagger": "2.0", "host": null}), b"\x0a\x032.0");
        check(
            &SCHEMA,
            value!({"type": "string", "enum": ["a"]}),
            b"\xa2\x01\x05\x12\x03\"a\"\xb2\x01\x08\x0a\x06string",
        );
        check(&SCHEMA, value!({"additionalProperties": true}), b"\xaa\x01\x02\x10\x01");
        check(&SCHEMA, value!({"additionalProperties": {"$ref": "r"}}), b"\xaa\x01\x05\x0a\x03\x0a\x01r");
        check(&SCHEMA, value!({"items": {"$ref": "r"}}), b"\xba\x01\x05\x0a\x03\x0a\x01r");
        check(
            &SCHEMA,
            value!({"properties": {"p": {"maxLength": 3}}}),
            b"\xca\x01\x09\x0a\x07\x0a\x01p\x12\x02\x58\x03",
        );
        check(&SCHEMA, value!({"x-a": [1]}), b"\xfa\x01\x0c\x0a\x03x-a\x12\x05\x12\x03[1]");
        let query = value!({"parameters": [{"in": "query", "name": "q"}]});
        check(&OPERATION, query, b"\x42\x10\x0a\x0e\x12\x0c\x1a\x0a\x12\x05query\x22\x01q");
        let body = value!({"parameters": [{"in": "body", "name": "b"}]});
        check(&OPERATION, body, b"\x42\x0d\x0a\x0b\x0a\x09\x12\x01b\x1a\x04body");
        let responses = value!({"responses": {"200": {"description": "OK"}}});
        check(&OPERATION, responses, b"\x4a\x0f\x0a\x0d\x0a\x03200\x12\x06\x0a\x04\x0a\x02OK");
        check(&DOCUMENT, value!({"paths": {"/a": {"get": {}}}}), b"\x42\x0a\x12\x08\x0a\x02/a\x12\x02\x12\x00");
    }

    #[test]
    fn is_chosen_by_its_name_alone() {
        assert!(accepted(MEDIA_TYPES[0]) && accepted(MEDIA_TYPES[1]));
        assert!(!accepted("application/json") && !accepted("*/*"));
    }
}
