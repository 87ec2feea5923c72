//! CertificateSigningRequest: who asked is written by the server and never changes; approval and certificate come
//! through subresources of their own.

use crate::{at::At, cells, declare::declare, rules::same};
use base::{
    FieldErrors,
    time::{self, SignedDuration},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use schema::{Column, ColumnType, Context, Hooks, Kind};
use std::collections::BTreeSet;
use value::Value;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const DECISIONS: [&str; 2] = ["Approved", "Denied"];

pub fn kind() -> Kind {
    declare("certificates.k8s.io", "CertificateSigningRequest")
        .short(["csr"])
        .cluster()
        .version("v1", "io.k8s.api.certificates.v1.CertificateSigningRequest", columns())
        .status()
        .fields("approval", [&["status", "conditions"]])
        .selectable(["spec.signerName"])
        .hooks(CertificateSigningRequest)
        .build()
}

fn columns() -> Vec<Column> {
    vec![
        Column::object_name(),
        Column::age(),
        Column::text("SignerName", |csr, _| cells::or_none(csr.str_at(&["spec", "signerName"])).into()),
        Column::path("Requestor", ColumnType::String, "spec.username"),
        Column::text("RequestedDuration", |csr, _| match csr.at(&["spec", "expirationSeconds"]).as_i64() {
            Some(seconds) => time::age(SignedDuration::from_secs(seconds)).into(),
            None => "<none>".into(),
        }),
        Column::text("Condition", |csr, _| condition(csr).into()),
    ]
}

fn condition(csr: &Value) -> String {
    let has = |ty| cells::condition(csr, ty).is_some();
    let mut text = match () {
        () if has("Denied") => "Denied",
        () if has("Approved") => "Approved",
        () => "Pending",
    }
    .to_string();
    if has("Failed") {
        text += ",Failed";
    }
    if !csr.str_at(&["status", "certificate"]).is_empty() {
        text += ",Issued";
    }
    text
}

#[derive(Debug)]
struct CertificateSigningRequest;

impl Hooks for CertificateSigningRequest {
    fn prepare_create(&self, cx: &Context, obj: &mut Value) {
        for field in ["username", "uid", "groups", "extra"] {
            obj.remove(&["spec", field]);
        }
        let user = cx.user;
        obj.set(&["spec", "username"], &user.name);
        if !user.uid.is_empty() {
            obj.set(&["spec", "uid"], &user.uid);
        }
        if !user.groups.is_empty() {
            obj.set(&["spec", "groups"], user.groups.iter().collect::<Value>());
        }
        for (key, values) in &user.extra {
            obj.set(&["spec", "extra", key], values.iter().collect::<Value>());
        }
        obj.set(&["status"], Value::object());
    }

    fn prepare_update(&self, cx: &Context, obj: &mut Value, old: &Value) {
        obj.set(&["spec"], old.at(&["spec"]));
        if cx.subresource == Some("status") {
            keep_decisions(obj, old);
        }
        if cx.subresource.is_some() {
            stamp(cx, obj, old);
        }
    }

    fn validate(&self, cx: &Context, obj: &Value, old: Option<&Value>, errors: &mut FieldErrors) {
        let root = At::root(obj);
        let spec = root.get("spec");
        request(spec.get("request"), errors);
        usages(spec.get("usages"), errors);
        signer(spec.get("signerName"), errors);
        if old.is_none() && spec.get("signerName").str() == "kubernetes.io/legacy-unknown" {
            spec.get("signerName").invalid(errors, "the legacy signerName is not allowed via this API version");
        }
        let expiration = spec.get("expirationSeconds");
        if expiration.is_set() && expiration.int() < 600 {
            expiration.invalid_int(errors, "may not specify a duration less than 600 seconds (10 minutes)");
        }
        let status = root.get("status");
        conditions(status.get("conditions"), errors);
        if let Some(old) = old {
            changes(cx, status, old, errors);
        }
    }
}

fn conditions_of<'a>(obj: &'a Value, ty: &'a str) -> impl Iterator<Item = &'a Value> {
    of_type(obj.items_at(&["status", "conditions"]), ty)
}

fn of_type<'a>(conditions: &'a [Value], ty: &'a str) -> impl Iterator<Item = &'a Value> {
    conditions.iter().filter(move |c| c.str_at(&["type"]) == ty)
}

/// A status update carries decisions along; it does not make them.
fn keep_decisions(obj: &mut Value, old: &Value) {
    for ty in DECISIONS {
        let before: Vec<Value> = conditions_of(old, ty).cloned().collect();
        if before.len() != conditions_of(obj, ty).count() {
            continue;
        }
        let mut before = before.into_iter();
        for condition in obj.array_at_mut(&["status", "conditions"]).into_iter().flatten() {
            if condition.str_at(&["type"]) == ty
                && let Some(kept) = before.next()
            {
                *condition = kept;
            }
        }
    }
}

/// Times that the client left out.
fn stamp(cx: &Context, obj: &mut Value, old: &Value) {
    let now = time::seconds(cx.now);
    for condition in obj.array_at_mut(&["status", "conditions"]).into_iter().flatten() {
        condition.set_default(&["lastUpdateTime"], &now);
        if condition.at(&["lastTransitionTime"]).is_null() {
            let status = condition.str_at(&["status"]);
            let same_state = conditions_of(old, condition.str_at(&["type"])).find(|c| c.str_at(&["status"]) == status);
            let since = same_state.map_or("", |c| c.str_at(&["lastTransitionTime"]));
            let since = if since.is_empty() { now.clone() } else { since.to_string() };
            condition.set(&["lastTransitionTime"], since);
        }
    }
}

/// PEM of type `CERTIFICATE REQUEST`; what is inside is the signer's to judge.
fn request(request: At, errors: &mut FieldErrors) {
    let pem = STANDARD.decode(request.str()).unwrap_or_default();
    let pem = String::from_utf8_lossy(&pem);
    if !pem.trim_start().starts_with("-----BEGIN CERTIFICATE REQUEST-----") {
        request.invalid(errors, "PEM block type must be CERTIFICATE REQUEST");
    }
}

fn usages(usages: At, errors: &mut FieldErrors) {
    usages.need(errors);
    let mut seen = BTreeSet::new();
    for usage in usages.items() {
        usage.one_of_if_set(errors, &USAGES);
    }
    for usage in usages.items() {
        if !seen.insert(usage.str().to_string()) {
            usage.duplicate(errors);
        }
    }
}

/// `example.com/signer`
fn signer(signer: At, errors: &mut FieldErrors) {
    if !signer.need(errors) {
        return;
    }
    let name = signer.str();
    match name.split_once('/') {
        Some((domain, path)) if !path.contains('/') => {
            segments(signer, domain, base::names::label, errors);
            if !domain.contains('.') {
                signer.invalid_as(errors, domain, "should be a domain with at least two segments separated by dots");
            }
            segments(signer, path, base::names::subdomain, errors);
        }
        _ => signer.invalid(errors, "must be a fully qualified domain and path of the form 'example.com/signer-name'"),
    }
}

/// Parts between dots; only the first wrong one is reported.
fn segments(place: At, text: &str, check: fn(&str) -> base::names::Check, errors: &mut FieldErrors) {
    let wrong = text.split('.').find_map(|part| check(part).err().map(|why| (part, why)));
    if let Some((part, why)) = wrong {
        place.invalid_as(errors, text, format!("validating label {}: {why}", base::status::quote(part)));
    }
}

fn conditions(list: At, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for condition in list.items() {
        let (ty, status) = (condition.get("type"), condition.get("status"));
        ty.need(errors);
        let only_true = ["Approved", "Denied", "Failed"].contains(&ty.str());
        status.one_of(errors, if only_true { &["True"] } else { &["False", "True", "Unknown"] });
        if DECISIONS.contains(&ty.str()) && DECISIONS.iter().any(|d| *d != ty.str() && seen.contains(*d)) {
            list.invalid_as(errors, ty.str(), "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(ty.str().to_string()) {
            ty.duplicate(errors);
        }
    }
}

fn changes(cx: &Context, status: At, old: &Value, errors: &mut FieldErrors) {
    let list = status.get("conditions");
    let new = list.value.as_array().map_or(&[] as &[_], Vec::as_slice);
    for ty in ["Approved", "Denied", "Failed"] {
        let (before, now): (Vec<_>, Vec<_>) = (conditions_of(old, ty).collect(), of_type(new, ty).collect());
        let quoted = base::status::quote(ty);
        if now.len() < before.len() {
            list.forbidden(errors, format!("updates may not remove a condition of type {quoted}"));
        } else if cx.subresource == Some("approval") || ty == "Failed" {
            // The approval decides.
        } else if now.len() > before.len() {
            list.forbidden(errors, format!("updates may not add a condition of type {quoted}"));
        } else if before != now {
            list.forbidden(errors, format!("updates may not modify a condition of type {quoted}"));
        }
    }
    let (certificate, before) = (status.get("certificate"), old.at(&["status", "certificate"]));
    if !same(certificate.value, before) {
        if cx.subresource != Some("status") {
            certificate.forbidden(errors, "updates may not set certificate content");
        } else if !same(before, &Value::Null) {
            certificate.forbidden(errors, "updates may not modify existing certificate content");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{cells, create, created, update_of};
    use expect_test::expect;
    use value::value;

    fn csr() -> Value {
        let request = STANDARD.encode("-----BEGIN CERTIFICATE REQUEST-----\n");
        value!({"spec": {"request": request, "usages": ["client auth"], "signerName": "example.com/own", "username": "mallory"}})
    }

    fn with(path: &[&str], value: impl Into<Value>) -> Value {
        let mut obj = csr();
        obj.set(path, value);
        obj
    }

    #[test]
    fn the_server_says_who_asked() {
        let spec = created(&kind(), csr()).at(&["spec"]).clone();
        assert_eq!(spec.str_at(&["username"]), "alice");
        assert_eq!(spec.at(&["groups"]), &value!(["system:authenticated"]));
    }

    #[test]
    fn validation() {
        create(&kind(), csr(), expect![""]);
        let mut obj = with(&["spec", "usages"], value!(["client auth", "client auth", "fun"]));
        obj.set(&["spec", "request"], "QQ==");
        obj.set(&["spec", "signerName"], "x");
        obj.set(&["spec", "expirationSeconds"], 5);
        create(
            &kind(),
            obj,
            expect![[r#"
            spec.request: Invalid value: "QQ==": PEM block type must be CERTIFICATE REQUEST
            spec.usages[2]: Unsupported value: "fun": supported values: "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment", "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel", "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime", "server auth", "signing", "timestamping"
            spec.usages[1]: Duplicate value: "client auth"
            spec.signerName: Invalid value: "x": must be a fully qualified domain and path of the form 'example.com/signer-name'
            spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 600 seconds (10 minutes)"#]],
        );
    }

    #[test]
    fn decisions_come_through_approval_only() {
        let approved = value!([{"type": "Approved", "status": "True"}]);
        let new = with(&["status", "conditions"], approved);
        update_of(&kind(), Some("approval"), csr(), new.clone(), expect![""]);
        update_of(
            &kind(),
            Some("status"),
            csr(),
            new.clone(),
            expect![[r#"status.conditions: Forbidden: updates may not add a condition of type "Approved""#]],
        );
        let both = value!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "False"}]);
        update_of(
            &kind(),
            Some("approval"),
            new.clone(),
            with(&["status", "conditions"], both),
            expect![[r#"
            status.conditions[1].status: Unsupported value: "False": supported values: "True"
            status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive"#]],
        );
        update_of(
            &kind(),
            Some("approval"),
            new,
            csr(),
            expect![[r#"status.conditions: Forbidden: updates may not remove a condition of type "Approved""#]],
        );
    }

    #[test]
    fn columns() {
        let mut obj = with(&["status"], value!({"conditions": [{"type": "Approved"}], "certificate": "QQ=="}));
        obj.set(&["spec", "expirationSeconds"], 3600);
        cells(&kind(), obj, expect!["obj | 5m | example.com/own | mallory | 60m | Approved,Issued"]);
    }
}
