//! Printer columns: what `kubectl get` shows of a kind.

use base::time::Timestamp;
use value::{Str, Value};

/// One column of a Table.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: Str,
    pub kind: ColumnType,
    /// `""`, `name`, `date` …
    pub format: Str,
    pub description: Str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: i32,
    pub source: ColumnSource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    String,
    Integer,
    Number,
    Boolean,
    Date,
}

/// Where a cell comes from.
#[derive(Debug, Clone)]
pub enum ColumnSource {
    /// Object members from the root, printed as they are.
    Path(Vec<Str>),
    /// A JSON path as a CRD writes it: `.spec.containers[*].image`, `.status.conditions[?(@.type=="Ready")].status`.
    JsonPath(Str),
    /// The time since the timestamp at that path, as an age (`metadata.creationTimestamp`).
    Age(Vec<Str>),
    /// Computed: the object and now.
    Fn(fn(&Value, Timestamp) -> Value),
}

impl Column {
    /// A column of text at a path of members separated by dots.
    pub fn path(name: &str, kind: ColumnType, path: &str) -> Self {
        let path = path.split('.').filter(|s| !s.is_empty()).map(Str::from).collect();
        Column::new(name, kind, ColumnSource::Path(path))
    }
    /// A computed column of text.
    pub fn text(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Column::new(name, ColumnType::String, ColumnSource::Fn(cell))
    }
    /// A computed column of a number.
    pub fn number(name: &str, cell: fn(&Value, Timestamp) -> Value) -> Self {
        Column::new(name, ColumnType::Integer, ColumnSource::Fn(cell))
    }
    /// `Name`, the first column of every kind.
    pub fn object_name() -> Self {
        let mut column = Column::path("Name", ColumnType::String, "metadata.name");
        column.format = "name".into();
        column
    }
    /// `Age`.
    pub fn age() -> Self {
        let path = vec!["metadata".into(), "creationTimestamp".into()];
        Column::new("Age", ColumnType::String, ColumnSource::Age(path))
    }
    /// Shown only with `-o wide`.
    pub fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
    fn new(name: &str, kind: ColumnType, source: ColumnSource) -> Self {
        Column { name: name.into(), kind, format: "".into(), description: "".into(), priority: 0, source }
    }
}
