//! Policy rules, as Role and ClusterRole hold them.

use crate::at::At;
use base::FieldErrors;

/// `rules`; a namespaced role cannot speak of URLs.
pub fn validate(rules: At, namespaced: bool, errors: &mut FieldErrors) {
    for rule in rules.items() {
        let (urls, groups, resources) = (rule.get("nonResourceURLs"), rule.get("apiGroups"), rule.get("resources"));
        if rule.get("verbs").is_empty() {
            rule.get("verbs").required(errors, "verbs must contain at least one value");
        }
        if !urls.is_empty() {
            if namespaced {
                urls.invalid(errors, "namespaced rules cannot apply to non-resource URLs");
            }
            if !groups.is_empty() || !resources.is_empty() || !rule.get("resourceNames").is_empty() {
                urls.invalid(errors, "rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if groups.is_empty() {
            groups.required(errors, "resource rules must supply at least one api group");
        }
        if resources.is_empty() {
            resources.required(errors, "resource rules must supply at least one resource");
        }
    }
}
