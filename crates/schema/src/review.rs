//! The version of the reviews that a webhook understands: one thing for admission and for conversion, whose groups differ.

use value::Value;

/// `v1`, or the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReviewVersion {
    V1,
    V1Beta1,
}

impl ReviewVersion {
    /// The first known one that a webhook names, in `admissionReviewVersions` or `conversionReviewVersions`.
    pub fn first(names: &[Value]) -> Option<Self> {
        names.iter().find_map(|name| match name.as_str()? {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1Beta1),
            _ => None,
        })
    }
    /// As it stands behind the group in `apiVersion`.
    pub fn name(self) -> &'static str {
        match self {
            ReviewVersion::V1 => "v1",
            ReviewVersion::V1Beta1 => "v1beta1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use value::value;

    #[test]
    fn the_webhook_chooses_among_what_is_known() {
        for (names, want) in [
            (value!(["v1", "v1beta1"]), Some("v1")),
            (value!(["v2", "v1beta1", "v1"]), Some("v1beta1")),
            (value!([7, "v2"]), None),
            (value!([]), None),
        ] {
            assert_eq!(ReviewVersion::first(names.items_at(&[])).map(ReviewVersion::name), want, "{names}");
        }
    }
}
