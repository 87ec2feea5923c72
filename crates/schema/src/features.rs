//! Feature gates: what a server can do beyond what is on by default, by Kubernetes' names.
//!
//! A gate exists here when there is something to switch. Decided against: taking upstream's whole list, most of which
//! would be words without an effect.

use std::{fmt, str::FromStr};

/// The gates of one cluster. `Default` is upstream's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// `CBORServingAndStorage`: bodies and answers in CBOR (KEP-4222). Nothing is stored in it.
    pub cbor: bool,
}

/// Why a list of gates is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateError {
    /// Not `NAME=BOOL`.
    Form(String),
    /// A name that this server does not know.
    Unknown(String),
    /// Neither `true` nor `false`.
    Value { gate: String, value: String },
}

const CBOR: &str = "CBORServingAndStorage";

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateError::Form(text) => {
                write!(f, "missing bool value for feature gate {text:?} (NAME=true or NAME=false)")
            }
            GateError::Unknown(name) => write!(f, "unrecognized feature gate: {name}; there is {CBOR}"),
            GateError::Value { gate, value } => {
                write!(f, "invalid value of feature gate {gate}: {value:?} (true or false)")
            }
        }
    }
}
impl std::error::Error for GateError {}

/// `NAME=BOOL`, with commas between; of a name that stands twice the last one counts.
impl FromStr for Features {
    type Err = GateError;

    fn from_str(text: &str) -> Result<Self, GateError> {
        let mut features = Features::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or_else(|| GateError::Form(pair.into()))?;
            let gate = match name.trim() {
                CBOR => &mut features.cbor,
                other => return Err(GateError::Unknown(other.into())),
            };
            *gate = match value.trim() {
                "true" | "True" | "TRUE" | "t" | "T" | "1" => true,
                "false" | "False" | "FALSE" | "f" | "F" | "0" => false,
                other => return Err(GateError::Value { gate: name.trim().into(), value: other.into() }),
            };
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists_of_gates() {
        let on = Features { cbor: true };
        for (text, want) in [
            ("", Ok(Features::default())),
            ("CBORServingAndStorage=true", Ok(on)),
            (" CBORServingAndStorage = 1 ,", Ok(on)),
            ("CBORServingAndStorage=true,CBORServingAndStorage=false", Ok(Features::default())),
            (
                "CBORServingAndStorage",
                Err("missing bool value for feature gate \"CBORServingAndStorage\" (NAME=true or NAME=false)"),
            ),
            ("Nope=true", Err("unrecognized feature gate: Nope; there is CBORServingAndStorage")),
            (
                "CBORServingAndStorage=on",
                Err("invalid value of feature gate CBORServingAndStorage: \"on\" (true or false)"),
            ),
        ] {
            let read: Result<Features, GateError> = text.parse();
            assert_eq!(read.map_err(|e| e.to_string()), want.map_err(String::from), "{text}");
        }
    }
}
