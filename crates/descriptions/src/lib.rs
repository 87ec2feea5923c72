//! What the built-in types and their fields are for, in Kubernetes' own words: what `kubectl explain` prints.
//!
//! The table is made while this crate is built (`build.rs`), from the schemas of the `k8s-openapi` crate. Packed it is an
//! eighth of its text, and it is unpacked for as long as a document is made: it is wanted a few times in a server's life,
//! and no server keeps 600 KB for that. Invariants: no text stands in this tree; nothing here is kept after its use.

use flate2::read::DeflateDecoder;
use std::{collections::HashMap, io::Read, ops::Range};

static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/table.deflate"));

/// The table, unpacked: about a megabyte with its index.
#[derive(Debug)]
pub struct Descriptions {
    text: String,
    /// By the name of a type, or of a type and a field: `io.k8s.api.core.v1.Pod spec`.
    places: HashMap<String, Range<usize>>,
}

impl Descriptions {
    /// Takes a few milliseconds.
    pub fn unpack() -> Self {
        let mut text = String::new();
        DeflateDecoder::new(TABLE).read_to_string(&mut text).expect("the build script packed text");
        let (texts, lines) = text.split_once('\u{1d}').expect("the build script wrote two parts");
        let mut ranges = Vec::new();
        let mut start = 0;
        for text in texts.split('\u{1e}') {
            ranges.push(start..start + text.len());
            start += text.len() + 1;
        }
        let mut places = HashMap::new();
        let mut of = "";
        for line in lines.lines() {
            let (name, number) = line.rsplit_once(' ').unwrap_or((line, "-"));
            let key = match name.strip_prefix(' ') {
                Some(field) => format!("{of} {field}"),
                None => {
                    of = name;
                    name.to_string()
                }
            };
            if let Some(range) = number.parse::<usize>().ok().and_then(|number| ranges.get(number)) {
                places.insert(key, range.clone());
            }
        }
        Descriptions { text, places }
    }

    /// What a type is for, by its full name (`io.k8s.api.core.v1.Pod`), or a field of it; an empty field is the type itself.
    pub fn get(&self, name: &str, field: &str) -> Option<&str> {
        let range = match field {
            "" => self.places.get(name)?,
            _ => self.places.get(&format!("{name} {field}"))?,
        };
        self.text.get(range.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_fields_are_described() {
        let all = Descriptions::unpack();
        let starts = |name, field, text: &str| {
            let found = all.get(name, field).unwrap_or_default();
            assert!(found.starts_with(text), "{name} {field}: {found}");
        };
        starts("io.k8s.api.core.v1.Pod", "", "Pod is a collection of containers");
        starts("io.k8s.api.core.v1.PodSpec", "nodeName", "NodeName");
        // One that is a reference, one whose name is Rust's, one that many types share.
        starts("io.k8s.api.apps.v1.Deployment", "spec", "Specification of the desired behavior");
        starts("io.k8s.api.networking.v1.IPBlock", "except", "except is a slice of CIDRs");
        starts("io.k8s.api.core.v1.ServicePort", "protocol", "The IP protocol");
        let kinds = ["Pod", "Service"].map(|kind| all.get(&format!("io.k8s.api.core.v1.{kind}"), "apiVersion"));
        assert!(kinds[0].is_some() && kinds[0] == kinds[1], "{kinds:?}");
        assert_eq!(all.get("io.k8s.api.core.v1.Pod", "nothing"), None);
        assert_eq!(all.get("io.k8s.api.core.v1.Nothing", ""), None);
    }

    /// A text of the one part that began with a mark of the other would shift all that follow.
    #[test]
    fn the_parts_are_whole() {
        let all = Descriptions::unpack();
        assert!(all.places.len() > 2_500, "{}", all.places.len());
        assert!(all.places.values().all(|range| all.text.get(range.clone()).is_some_and(|text| !text.is_empty())));
    }
}
