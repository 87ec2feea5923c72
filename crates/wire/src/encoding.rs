//! How bytes are written, and the names of that in headers.

use crate::{cbor, protobuf};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    #[default]
    Json,
    Yaml,
    Protobuf,
    /// Behind the feature gate `CBORServingAndStorage`.
    Cbor,
}

impl Encoding {
    /// The `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Json => "application/json",
            Encoding::Yaml => "application/yaml",
            Encoding::Protobuf => protobuf::MEDIA_TYPE,
            Encoding::Cbor => cbor::MEDIA_TYPE,
        }
    }
    /// The name of a stream of events, which YAML has none for. JSON's is not what its answers say they are.
    pub fn stream_type(self) -> Option<&'static str> {
        match self {
            Encoding::Json => Some("application/json;stream=watch"),
            Encoding::Yaml => None,
            Encoding::Protobuf => Some(protobuf::STREAM_TYPE),
            Encoding::Cbor => Some(cbor::STREAM_TYPE),
        }
    }
    /// In the order in which messages list them; a wildcard means the first.
    const ALL: [Encoding; 4] = [Encoding::Json, Encoding::Yaml, Encoding::Protobuf, Encoding::Cbor];
    /// Those of a server that has CBOR or not.
    pub fn all(cbor: bool) -> &'static [Encoding] {
        if cbor { &Self::ALL } else { &Self::ALL[..3] }
    }
    /// Their names, as messages list them.
    pub fn names(cbor: bool) -> String {
        Self::all(cbor).iter().map(|e| e.media_type()).collect::<Vec<_>>().join(", ")
    }
    /// The names of their streams.
    pub fn stream_names(cbor: bool) -> String {
        Self::all(cbor).iter().filter_map(|e| e.stream_type()).collect::<Vec<_>>().join(", ")
    }
}
