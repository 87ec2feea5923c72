//! What an EncryptionConfiguration must be, in upstream's words
//! (`k8s.io/apiserver/pkg/apis/apiserver/validation`).

use crate::config::{Configuration, Key, Kms, Provider};
use base::FieldErrors;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::collections::HashSet;
use value::value;

/// Lengths of AES keys, in bytes. For CBC too, although upstream's API documentation wants 32 there.
const AES: &[usize] = &[16, 24, 32];
const SECRETBOX: &[usize] = &[32];

/// Everything that is wrong. With `reload` the names of all KMS providers must differ.
pub fn validate(configuration: &Configuration, reload: bool) -> FieldErrors {
    let mut errors = FieldErrors::default();
    if configuration.rules.is_empty() {
        errors.required("resources", "at least one resources is required");
        return errors;
    }
    let mut names = HashSet::new();
    for (i, rule) in configuration.rules.iter().enumerate() {
        let (resources, providers) = (format!("resources[{i}].resources"), format!("resources[{i}].providers"));
        if rule.resources.is_empty() {
            errors.required(&resources, format!("at least one {resources} is required"));
        }
        overlap(&rule.resources, &resources, &mut errors);
        resource_names(&rule.resources, &resources, &mut errors);
        if rule.providers.is_empty() {
            errors.required(&providers, format!("at least one {providers} is required"));
        }
        for (j, provider) in rule.providers.iter().enumerate() {
            let path = format!("{providers}[{j}]");
            provider_errors(provider, &path, &mut names, reload, &mut errors);
        }
    }
    errors
}

/// `resource` or `resource.group`; everything behind the first dot is the group.
pub fn group_resource(text: &str) -> (&str, &str) {
    let (resource, group) = text.split_once('.').unwrap_or((text, ""));
    (group, resource)
}

fn overlap(resources: &[String], path: &str, errors: &mut FieldErrors) {
    let (mut duplicate, mut overlap) = (false, false);
    for (i, one) in resources.iter().enumerate() {
        for (j, other) in resources.iter().enumerate() {
            let (one, other) = (group_resource(one), group_resource(other));
            if i == j {
                continue;
            }
            if one == other {
                duplicate = true;
            } else if one == ("*", "*") || (one.0 == other.0 && (one.1 == "*" || other.1 == "*")) {
                overlap = true;
            }
        }
    }
    let list = value!(resources);
    if duplicate {
        errors.invalid_raw(path, &list, "the same resource cannot be specified multiple times");
    }
    if overlap {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked";
        errors.invalid_raw(path, &list, why);
    }
}

fn resource_names(resources: &[String], path: &str, errors: &mut FieldErrors) {
    for (i, text) in resources.iter().enumerate() {
        let why = match (text.as_str(), group_resource(text)) {
            (text, _) if text.to_lowercase() != *text => "resource name should not contain capital letters",
            ("*", _) => "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
            ("apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations", _) => {
                "resources which do not have REST API/s cannot be encrypted"
            }
            (_, ("events.k8s.io", _)) => {
                "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file"
            }
            (_, ("extensions", _)) => "'extensions' group has been removed and cannot be used for encryption",
            (_, ("*", resource)) if resource != "*" => "encrypting the same resource across groups is not supported",
            _ => continue,
        };
        errors.invalid(format!("{path}[{i}]"), text, why);
    }
}

fn provider_errors(
    provider: &Provider,
    path: &str,
    names: &mut HashSet<String>,
    reload: bool,
    errors: &mut FieldErrors,
) {
    let keys = [
        ("aesgcm", &provider.aesgcm, AES),
        ("aescbc", &provider.aescbc, AES),
        ("secretbox", &provider.secretbox, SECRETBOX),
    ];
    let given = keys.iter().filter(|(_, keys, _)| keys.is_some()).count();
    match given + usize::from(provider.identity) + usize::from(provider.kms.is_some()) {
        0 => {
            let nothing = r#"{"AESGCM":null,"AESCBC":null,"Secretbox":null,"Identity":null,"KMS":null}"#;
            let why =
                "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";
            errors.invalid_raw(path, nothing, why);
        }
        1 => {}
        // Upstream prints the whole element here, with its keys.
        _ => errors.invalid(
            path,
            "REDACTED",
            "more than one provider specified in a single element, should split into different list elements",
        ),
    }
    if let Some(kms) = &provider.kms {
        kms_errors(kms, &format!("{path}.kms"), names, reload, errors);
        names.insert(kms.name.clone());
        return;
    }
    if let Some((name, Some(keys), lengths)) = keys.into_iter().find(|(_, keys, _)| keys.is_some()) {
        keys_errors(keys, &format!("{path}.{name}.keys"), lengths, errors);
    }
}

fn keys_errors(keys: &[Key], path: &str, lengths: &[usize], errors: &mut FieldErrors) {
    if keys.is_empty() {
        errors.required(path, "at least one keys is required");
    }
    for (i, key) in keys.iter().enumerate() {
        if key.name.is_empty() {
            errors.required(format!("{path}[{i}].name"), "name is a mandatory field for a key");
        }
        let path = format!("{path}[{i}].secret");
        if key.secret.is_empty() {
            errors.required(path, "secret is a mandatory field for a key");
            continue;
        }
        match STANDARD.decode(&key.secret) {
            Err(_) => errors.invalid(path, "REDACTED", "secrets must be base64 encoded"),
            Ok(secret) if !lengths.contains(&secret.len()) => {
                let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                let (got, wanted) = (secret.len(), lengths.join(" "));
                let why = format!("secret is not of the expected length, got {got}, expected one of [{wanted}]");
                errors.invalid(path, "REDACTED", why);
            }
            Ok(_) => {}
        }
    }
}

fn kms_errors(kms: &Kms, path: &str, names: &HashSet<String>, reload: bool, errors: &mut FieldErrors) {
    let (name, version) = (kms.name.as_str(), kms.api_version.as_str());
    let at = |field: &str| format!("{path}.{field}");
    if name.is_empty() {
        errors.required(at("name"), "name is a mandatory field for a provider");
    }
    if version != "v1" && name.contains(':') {
        errors.invalid(at("name"), name, format!("invalid KMS provider name {name}, must not contain ':'"));
    }
    if (reload || version != "v1") && names.contains(name) {
        errors.invalid(at("name"), name, format!("duplicate KMS provider name {name}, names must be unique"));
    }
    if kms.timeout.nanos <= 0 {
        errors.invalid(at("timeout"), &kms.timeout.text, "timeout should be a positive value");
    }
    match kms.endpoint.split_once(':') {
        _ if kms.endpoint.is_empty() => {
            errors.invalid(at("endpoint"), "", "endpoint is a mandatory field for a kms");
        }
        Some(("unix", _)) => {}
        Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => {
            let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
            errors.invalid(at("endpoint"), &kms.endpoint, why);
        }
        _ => errors.invalid(
            at("endpoint"),
            &kms.endpoint,
            "unsupported scheme \"\" for KMS provider, only unix is supported",
        ),
    }
    match kms.cache_size {
        Some(size) if version != "v1" => {
            errors.invalid_raw(at("cachesize"), size, "cachesize is not supported in v2");
        }
        Some(0) => {
            errors.invalid_raw(at("cachesize"), 0, "cachesize should be a positive value, or negative to disable");
        }
        _ => {}
    }
    if !matches!(version, "v1" | "v2") {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.invalid(at("apiVersion"), version, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    /// The errors of a file with these rules, one per line.
    fn check(rules: &str, want: Expect) {
        let text =
            format!("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n{rules}");
        let parsed = crate::config::parse(&text).expect("a configuration");
        let lines: Vec<String> = validate(&parsed, true).0.iter().map(ToString::to_string).collect();
        want.assert_eq(&lines.join("\n"));
    }

    /// The same for one list of resources.
    fn resources(list: &str, want: Expect) {
        check(&format!("- resources: {list}\n  providers: [identity: {{}}]\n"), want);
    }

    /// The same for one provider.
    fn provider(text: &str, want: Expect) {
        check(&format!("- resources: [secrets]\n  providers:\n  - {text}\n"), want);
    }

    #[test]
    fn lists_of_resources() {
        resources("[secrets, configmaps, pods.apps]", expect![""]);
        resources("['*.', '*.apps']", expect![""]);
        resources("['*.*']", expect![""]);
        resources(
            "[]",
            expect!["resources[0].resources: Required value: at least one resources[0].resources is required"],
        );
        resources(
            "[secrets, '*.', secrets]",
            expect![[r#"
                resources[0].resources: Invalid value: ["secrets","*.","secrets"]: the same resource cannot be specified multiple times
                resources[0].resources: Invalid value: ["secrets","*.","secrets"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"#]],
        );
        resources(
            "['*.*', secrets]",
            expect![[
                r#"resources[0].resources: Invalid value: ["*.*","secrets"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"#
            ]],
        );
        resources(
            "[Secrets, '*', apiserveripinfo, events.events.k8s.io, deployments.extensions, 'secrets.*']",
            expect![[r#"
                resources[0].resources: Invalid value: ["Secrets","*","apiserveripinfo","events.events.k8s.io","deployments.extensions","secrets.*"]: using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked
                resources[0].resources[0]: Invalid value: "Secrets": resource name should not contain capital letters
                resources[0].resources[1]: Invalid value: "*": use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources
                resources[0].resources[2]: Invalid value: "apiserveripinfo": resources which do not have REST API/s cannot be encrypted
                resources[0].resources[3]: Invalid value: "events.events.k8s.io": '*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the config file
                resources[0].resources[4]: Invalid value: "deployments.extensions": 'extensions' group has been removed and cannot be used for encryption
                resources[0].resources[5]: Invalid value: "secrets.*": encrypting the same resource across groups is not supported"#]],
        );
    }

    #[test]
    fn providers_and_their_keys() {
        check(
            "- resources: [secrets]\n",
            expect!["resources[0].providers: Required value: at least one resources[0].providers is required"],
        );
        provider(
            "{}",
            expect![[
                r#"resources[0].providers[0]: Invalid value: {"AESGCM":null,"AESCBC":null,"Secretbox":null,"Identity":null,"KMS":null}: provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity"#
            ]],
        );
        provider(
            "{identity: {}, aesgcm: {keys: [{name: a, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}}",
            expect![[
                r#"resources[0].providers[0]: Invalid value: "REDACTED": more than one provider specified in a single element, should split into different list elements"#
            ]],
        );
        provider(
            "aescbc: {keys: []}",
            expect!["resources[0].providers[0].aescbc.keys: Required value: at least one keys is required"],
        );
        provider(
            "secretbox: {keys: [{secret: c2VjcmV0IGlzIHNlY3VyZQ==}, {name: b}, {name: c, secret: '!'}]}",
            expect![[r#"
                resources[0].providers[0].secretbox.keys[0].name: Required value: name is a mandatory field for a key
                resources[0].providers[0].secretbox.keys[0].secret: Invalid value: "REDACTED": secret is not of the expected length, got 16, expected one of [32]
                resources[0].providers[0].secretbox.keys[1].secret: Required value: secret is a mandatory field for a key
                resources[0].providers[0].secretbox.keys[2].secret: Invalid value: "REDACTED": secrets must be base64 encoded"#]],
        );
        provider("aesgcm: {keys: [{name: a, secret: c2VjcmV0IGlzIHNlY3VyZQ==}]}", expect![""]);
    }

    #[test]
    fn key_services() {
        provider("kms: {apiVersion: v2, name: a, endpoint: 'unix:///tmp/k.sock'}", expect![""]);
        provider(
            "kms: {apiVersion: v2, name: 'a:b', endpoint: 'tcp://k', timeout: 0s, cachesize: 3}",
            expect![[r#"
                resources[0].providers[0].kms.name: Invalid value: "a:b": invalid KMS provider name a:b, must not contain ':'
                resources[0].providers[0].kms.timeout: Invalid value: "0s": timeout should be a positive value
                resources[0].providers[0].kms.endpoint: Invalid value: "tcp://k": unsupported scheme "tcp" for KMS provider, only unix is supported
                resources[0].providers[0].kms.cachesize: Invalid value: 3: cachesize is not supported in v2"#]],
        );
        provider(
            "kms: {apiVersion: v3}",
            expect![[r#"
                resources[0].providers[0].kms.name: Required value: name is a mandatory field for a provider
                resources[0].providers[0].kms.endpoint: Invalid value: "": endpoint is a mandatory field for a kms
                resources[0].providers[0].kms.apiVersion: Invalid value: "v3": unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported"#]],
        );
        provider(
            "kms: {apiVersion: v2, name: a, endpoint: 'unix:///a'}\n  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///b'}",
            expect![[
                r#"resources[0].providers[1].kms.name: Invalid value: "a": duplicate KMS provider name a, names must be unique"#
            ]],
        );
    }
}
