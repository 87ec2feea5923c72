//! Definitions of kinds, and objects of them: structural validation, pruning, defaults, validation.

use crate::{parts, tree};
use base::FieldErrors;
use schema::crd;

/// A definition, an object of its kind, and another to which that is changed.
pub fn definition(data: &[u8]) {
    let parts = parts(data);
    let Some(definition) = parts.first().and_then(|part| tree(part)) else { return };
    let mut errors = FieldErrors::default();
    crd::validate(&definition, &mut errors);
    let _ = errors.0.iter().map(ToString::to_string).collect::<Vec<_>>();
    let Ok(kind) = crd::kind_of(&definition) else { return };
    let objects: Vec<_> = parts[1..].iter().filter_map(|part| tree(part)).collect();
    for version in &kind.versions {
        let mut before = None;
        for object in &objects {
            let mut object = object.clone();
            if schema::decode(&version.schema, &mut object).is_err() {
                continue;
            }
            schema::prune(&version.schema, &mut object);
            schema::apply_defaults(&version.schema, &mut object);
            // Once is enough for both.
            let mut again = object.clone();
            assert!(schema::prune(&version.schema, &mut again).is_empty(), "{object}");
            schema::apply_defaults(&version.schema, &mut again);
            assert_eq!(again, object);
            let mut errors = FieldErrors::default();
            schema::validate(&version.schema, &object, &mut errors);
            if let Some(before) = before.replace(object.clone()) {
                schema::validate_update(&version.schema, &object, &before, &mut errors);
            }
        }
    }
}
