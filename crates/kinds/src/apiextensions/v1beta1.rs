//! CustomResourceDefinitions as upstream's API server stores them: in `v1beta1`, which nobody serves any more (1.22), to
//! this day. There what all versions share stands once, beside the list of versions.
//!
//! Source: the types of `apiextensions/v1beta1` and their conversion.

use value::{Value, value};

/// Makes a stored definition of `v1beta1` one of `v1`; any other is left alone.
pub fn to_v1(definition: &mut Value) {
    if definition.str_at(&["apiVersion"]) != "apiextensions.k8s.io/v1beta1" {
        return;
    }
    definition.set(&["apiVersion"], "apiextensions.k8s.io/v1");
    let only = definition.remove(&["spec", "version"]);
    let shared: Vec<(&str, Value)> = [
        ("validation", "schema"),
        ("subresources", "subresources"),
        ("additionalPrinterColumns", "additionalPrinterColumns"),
        ("selectableFields", "selectableFields"),
    ]
    .into_iter()
    .filter_map(|(from, to)| Some((to, definition.remove(&["spec", from])?)))
    .collect();
    if definition.items_at(&["spec", "versions"]).is_empty()
        && let Some(name) = only
    {
        definition.set(&["spec", "versions"], value!([{"name": name, "served": true, "storage": true}]));
    }
    for version in definition.array_at_mut(&["spec", "versions"]).into_iter().flatten() {
        for (key, value) in &shared {
            version.set_default(&[key], value.clone());
        }
        for column in version.array_at_mut(&["additionalPrinterColumns"]).into_iter().flatten() {
            if let Some(path) = column.remove(&["JSONPath"]) {
                column.set(&["jsonPath"], path);
            }
        }
    }
    if definition.at(&["spec", "preserveUnknownFields"]).as_bool() == Some(false) {
        definition.remove(&["spec", "preserveUnknownFields"]);
    }
    let reviews = definition.remove(&["spec", "conversion", "conversionReviewVersions"]);
    if let Some(config) = definition.remove(&["spec", "conversion", "webhookClientConfig"]) {
        definition.set(&["spec", "conversion", "webhook", "clientConfig"], config);
        if let Some(reviews) = reviews {
            definition.set(&["spec", "conversion", "webhook", "conversionReviewVersions"], reviews);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &Value, expected: &Value) {
        let mut definition = value!({"apiVersion": "apiextensions.k8s.io/v1beta1", "spec": spec.clone()});
        to_v1(&mut definition);
        assert_eq!(definition, value!({"apiVersion": "apiextensions.k8s.io/v1", "spec": expected.clone()}));
        let once = definition.clone();
        to_v1(&mut definition);
        assert_eq!(definition, once, "what is of v1 is left alone");
    }

    #[test]
    fn what_is_shared_goes_to_each_version() {
        let schema = || value!({"openAPIV3Schema": {"type": "object"}});
        check(
            &value!({"group": "g", "version": "v1", "validation": schema(), "preserveUnknownFields": false,
                     "subresources": {"status": {}}, "selectableFields": [{"jsonPath": ".a"}],
                     "additionalPrinterColumns": [{"name": "A", "JSONPath": ".a"}],
                     "versions": [{"name": "v1", "storage": true}, {"name": "v2", "storage": false}]}),
            &value!({"group": "g", "versions": [
                {"name": "v1", "storage": true, "schema": schema(), "subresources": {"status": {}},
                 "selectableFields": [{"jsonPath": ".a"}], "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]},
                {"name": "v2", "storage": false, "schema": schema(), "subresources": {"status": {}},
                 "selectableFields": [{"jsonPath": ".a"}], "additionalPrinterColumns": [{"name": "A", "jsonPath": ".a"}]}]}),
        );
    }

    #[test]
    fn what_versions_have_of_their_own_stays() {
        check(
            &value!({"preserveUnknownFields": true, "versions": [
                {"name": "v1", "schema": {"a": 1}, "additionalPrinterColumns": [{"JSONPath": ".a"}]}, {"name": "v2"}]}),
            &value!({"preserveUnknownFields": true, "versions": [
                {"name": "v1", "schema": {"a": 1}, "additionalPrinterColumns": [{"jsonPath": ".a"}]}, {"name": "v2"}]}),
        );
        check(&value!({"version": "v3"}), &value!({"versions": [{"name": "v3", "served": true, "storage": true}]}));
    }

    #[test]
    fn a_webhook_gets_its_place() {
        check(
            &value!({"conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "u"},
                                    "conversionReviewVersions": ["v1"]}, "versions": []}),
            &value!({"conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"url": "u"},
                                    "conversionReviewVersions": ["v1"]}}, "versions": []}),
        );
        let none = value!({"conversion": {"strategy": "None"}, "versions": []});
        check(&none, &none);
    }
}
