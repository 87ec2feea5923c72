//! The hooks of kinds that definitions make: rules in CEL, the numbers of a scale, and warnings about finalizers. All
//! else about a custom resource is data.

use super::rules::Rules;
use base::FieldErrors;
use schema::{Context, Hooks, Kind, SubresourceAction};
use value::{Str, Value};

#[derive(Debug)]
pub struct CustomResource {
    /// By name of the version.
    rules: Vec<(Str, Rules)>,
    /// Paths to the replicas of spec and status, by name of the version.
    scale: Vec<(Str, [Vec<Str>; 2])>,
}

impl CustomResource {
    pub fn new(kind: &Kind) -> Self {
        let rules = kind.versions.iter().filter_map(|v| Some((v.name.clone(), Rules::of(&v.schema)?)));
        let scale = kind.versions.iter().enumerate().filter_map(|(i, version)| {
            kind.subresources_of(i).iter().find_map(|s| match &s.action {
                SubresourceAction::Scale { replicas, status_replicas, .. } => {
                    Some((version.name.clone(), [replicas.clone(), status_replicas.clone()]))
                }
                _ => None,
            })
        });
        CustomResource { rules: rules.collect(), scale: scale.collect() }
    }
    fn rules(&self, version: &str) -> Option<&Rules> {
        self.rules.iter().find(|(name, _)| name == version).map(|(_, rules)| rules)
    }
}

impl Hooks for CustomResource {
    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let of_version = self.scale.iter().filter(|(version, _)| version == cx.version);
        for path in of_version.flat_map(|(_, paths)| paths) {
            replicas(obj, path, errors);
        }
        if let Some(rules) = self.rules(cx.version) {
            rules.validate(obj, old, errors);
        }
    }

    fn warnings(&self, cx: &Context, obj: &Value, old: Option<&Value>) -> Vec<String> {
        let mut warnings = finalizers(obj, old);
        if let (Some(old), Some(rules)) = (old, self.rules(cx.version)) {
            warnings.extend(rules.tolerated(obj, old));
        }
        warnings
    }
}

fn replicas(obj: &Value, path: &[Str], errors: &mut FieldErrors) {
    let steps: Vec<&str> = path.iter().map(Str::as_str).collect();
    let Some(n) = obj.at(&steps).as_i64() else { return };
    let place = format!(".{}", steps.join("."));
    if n < 0 {
        errors.invalid_raw(place, n, "should be a non-negative integer");
    } else if n > i64::from(i32::MAX) {
        errors.invalid_raw(place, n, format!("should be less than or equal to {}", i32::MAX));
    }
}

/// New finalizers whose names could be anybody's.
fn finalizers(obj: &Value, old: Option<&Value>) -> Vec<String> {
    let list = |v: &Value| v.items_at(&["metadata", "finalizers"]).to_vec();
    let before = old.map(list).unwrap_or_default();
    let mut names: Vec<Value> = list(obj).into_iter().filter(|name| !before.contains(name)).collect();
    names.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
    let standard = ["orphan", "foregroundDeletion", "kubernetes"];
    let bare = |name: &&str| !name.contains('/') && !standard.contains(name);
    let warn = |name: &str| {
        let path = if name.contains('.') { " including a path (/)" } else { "" };
        format!(
            "metadata.finalizers: {name:?}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts \
             with other finalizer writers"
        )
    };
    names.iter().filter_map(Value::as_str).filter(bare).map(warn).collect()
}
