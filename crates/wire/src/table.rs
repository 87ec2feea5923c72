//! `meta.k8s.io/v1 Table`: what `kubectl get` prints, made from a kind's columns.
//!
//! One pass: each object's tree is read, its cells are written, and it is dropped again; the row's object is the bytes
//! that exist.

use crate::{JsonPath, ListMeta, Source, list::write_partial};
use base::time::{self, Timestamp};
use bytes::Bytes;
use schema::{Column, ColumnSource, ColumnType};
use value::{Str, Value};

/// `includeObject` of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// From the query; `None` for an unknown word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Include::Metadata),
            "Object" => Some(Include::Object),
            "None" => Some(Include::None),
            _ => None,
        }
    }
}

/// How a Table is made.
#[derive(Debug, Clone, Copy)]
pub struct TableOptions<'a> {
    /// `meta.k8s.io/v1`
    pub api_version: &'a str,
    pub columns: &'a [Column],
    pub include: Include,
    pub now: Timestamp,
    /// False for all but the first event of a watch.
    pub headers: bool,
}

/// Writes the Table of these objects.
pub fn table<S: Source>(options: &TableOptions, meta: &ListMeta, objects: &[S]) -> Bytes {
    let mut out = Vec::with_capacity(1024 + objects.len() * 512);
    let head = format!("{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":{}", options.api_version, meta.json());
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(b",\"columnDefinitions\":");
    if options.headers {
        options.columns.iter().map(definition).collect::<Value>().write_json(&mut out);
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"rows\":[");
    let cells: Vec<Cell> = options.columns.iter().map(Cell::new).collect();
    for (i, object) in objects.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        out.extend_from_slice(comma.as_bytes());
        row(&mut out, options, &cells, object);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn row(out: &mut Vec<u8>, options: &TableOptions, cells: &[Cell], object: &impl Source) {
    out.extend_from_slice(b"{\"cells\":[");
    let tree = object.tree();
    for (i, cell) in cells.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        cell.value(&tree, options.now).write_json(out);
    }
    out.push(b']');
    match options.include {
        Include::None => out.extend_from_slice(b",\"object\":null"),
        Include::Object => {
            out.extend_from_slice(b",\"object\":");
            out.extend_from_slice(&object.json());
        }
        Include::Metadata => {
            out.extend_from_slice(b",\"object\":");
            write_partial(out, options.api_version, &object.json());
        }
    }
    out.push(b'}');
}

fn definition(column: &Column) -> Value {
    let ty = match column.kind {
        ColumnType::String => "string",
        ColumnType::Integer => "integer",
        ColumnType::Number => "number",
        ColumnType::Boolean => "boolean",
        ColumnType::Date => "date",
    };
    value::value!({
        "name": column.name.as_str(),
        "type": ty,
        "format": column.format.as_str(),
        "description": column.description.as_str(),
        "priority": column.priority,
    })
}

/// A column ready to run: JSON paths are parsed once per Table.
struct Cell<'a> {
    column: &'a Column,
    path: Option<JsonPath>,
}

impl<'a> Cell<'a> {
    fn new(column: &'a Column) -> Self {
        let path = match &column.source {
            ColumnSource::JsonPath(text) => JsonPath::parse(text).ok(),
            _ => None,
        };
        Cell { column, path }
    }
    fn value(&self, object: &Value, now: Timestamp) -> Value {
        let kind = self.column.kind;
        match &self.column.source {
            ColumnSource::Fn(cell) => cell(object, now),
            ColumnSource::Age(path) => match at(object, path).as_str() {
                Some(text) => age(text, now).into(),
                None => "<unknown>".into(),
            },
            ColumnSource::Path(path) => typed(kind, at(object, path), now),
            ColumnSource::JsonPath(_) => match self.path.as_ref().and_then(|path| path.first(object)) {
                Some(value) => typed(kind, value, now),
                None => Value::Null,
            },
        }
    }
}

fn at<'v>(object: &'v Value, path: &[Str]) -> &'v Value {
    path.iter().try_fold(object, |v, key| v.get(key)).unwrap_or(&Value::Null)
}

/// A value as a cell of a column's type; null where it is of another.
fn typed(kind: ColumnType, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        (ColumnType::String, Value::String(_)) => value.clone(),
        (ColumnType::String, other) => other.to_string().into(),
        (ColumnType::Integer, Value::Int(_)) => value.clone(),
        (ColumnType::Integer, Value::Float(f)) => Value::Int(*f as i64),
        (ColumnType::Number, Value::Int(_) | Value::Float(_)) => value.clone(),
        (ColumnType::Boolean, Value::Bool(_)) => value.clone(),
        (ColumnType::Date, Value::String(text)) => age(text, now).into(),
        _ => Value::Null,
    }
}

fn age(text: &str, now: Timestamp) -> String {
    match time::parse(text) {
        Some(then) => time::age(now.duration_since(then)),
        None => "<invalid>".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Revision;
    use value::value;

    fn json_path(name: &str, kind: ColumnType, path: &str) -> Column {
        let mut column = Column::path(name, kind, "");
        column.source = ColumnSource::JsonPath(path.into());
        column
    }

    #[test]
    fn rows_and_cells() {
        let now = time::parse("2026-01-01T00:10:00Z").unwrap();
        let columns = [
            Column::object_name(),
            json_path("Ready", ColumnType::String, r#".status.conditions[?(@.type=="Ready")].status"#),
            json_path("Replicas", ColumnType::Integer, ".spec.replicas"),
            json_path("Since", ColumnType::Date, ".spec.since"),
            json_path("Labels", ColumnType::String, ".metadata.labels"),
            Column::number("Keys", |object, _| object.members_at(&["data"]).count().into()).wide(),
            Column::age(),
        ];
        let object = value!({
            "metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"x": "y"}},
            "spec": {"replicas": 3, "since": "2026-01-01T00:09:50Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            "data": {"k": "v"}
        });
        let empty = value!({"metadata": {"name": "b"}});
        let options = TableOptions {
            api_version: "meta.k8s.io/v1",
            columns: &columns,
            include: Include::Metadata,
            now,
            headers: true,
        };
        let text = table(&options, &ListMeta::at(Revision(9)), &[object, empty.clone()]);
        let table_value = value::parse_lenient(&text).unwrap();
        let rows = table_value.items_at(&["rows"]);
        assert_eq!(rows[0].at(&["cells"]).to_string(), r#"["a","True",3,"10s","{\"x\":\"y\"}",1,"10m"]"#);
        assert_eq!(rows[1].at(&["cells"]).to_string(), r#"["b",null,null,null,null,0,"<unknown>"]"#);
        assert_eq!(rows[1].str_at(&["object", "kind"]), "PartialObjectMetadata");
        let definitions = table_value.items_at(&["columnDefinitions"]);
        assert_eq!((definitions.len(), definitions[0].str_at(&["format"])), (7, "name"));
        assert_eq!(definitions[5].at(&["priority"]).as_i64(), Some(1));
        let options = TableOptions { include: Include::None, headers: false, ..options };
        let text = table(&options, &ListMeta::at(Revision(9)), &[empty]);
        let table_value = value::parse_lenient(&text).unwrap();
        assert!(table_value.at(&["columnDefinitions"]).is_null());
        assert_eq!(table_value.items_at(&["rows"])[0].get("object"), Some(&Value::Null));
    }
}
