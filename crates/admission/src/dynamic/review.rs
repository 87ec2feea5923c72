//! AdmissionReview: what a webhook is asked and what it answers, as pure functions. Source: `k8s.io/api/admission/v1`
//! and `apiserver/pkg/admission/plugin/webhook/request`.

use super::{matching::Facts, notes, versions::kind_of};
use base::Status;
use base64::{Engine, engine::general_purpose::STANDARD};
use resource::WriteOptions;
use schema::{Operation, ReviewVersion};
use value::{Value, value};

/// An answer in which nothing is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub allowed: bool,
    /// `status` of a refusal, as the webhook wrote it.
    pub result: Value,
    /// The JSON patch, if any.
    pub patch: Option<Vec<u8>>,
    pub warnings: Vec<String>,
    /// `auditAnnotations`
    pub annotations: Vec<(String, String)>,
}

/// `request` of a review without the objects: what expressions see.
pub fn request(facts: &Facts<'_>, version: usize, options: &WriteOptions) -> Value {
    let call = facts.call;
    let gvk = |version| {
        let (group, version, kind) = kind_of(call, version);
        value!({"group": group, "version": version, "kind": kind})
    };
    let gvr = |version| {
        let (group, version) = call.kind.group_version(version);
        value!({"group": group, "version": version, "resource": (call.kind.plural.as_str())})
    };
    let mut request = value!({
        "kind": (gvk(version)), "resource": (gvr(version)),
        "requestKind": (gvk(call.version)), "requestResource": (gvr(call.version)),
        "operation": (facts.operation()), "userInfo": (user(&call.user)), "dryRun": (options.dry_run),
        "options": (options_of(facts.operation, options)),
    });
    let subresource = facts.subresource();
    for (field, text) in [
        ("subResource", subresource),
        ("requestSubResource", subresource),
        ("name", facts.name),
        ("namespace", facts.namespace),
    ] {
        if !text.is_empty() {
            request.set(&[field], text);
        }
    }
    request
}

/// The whole review that is sent.
pub fn review(api: ReviewVersion, uid: &str, mut request: Value, object: Value, old: Value) -> Value {
    request.set(&["uid"], uid);
    request.set(&["object"], object);
    request.set(&["oldObject"], old);
    value!({"kind": "AdmissionReview", "apiVersion": (format!("admission.k8s.io/{}", api.name())), "request": request})
}

fn user(user: &base::User) -> Value {
    let mut info = Value::object();
    if !user.name.is_empty() {
        info.set(&["username"], &user.name);
    }
    if !user.uid.is_empty() {
        info.set(&["uid"], &user.uid);
    }
    if !user.groups.is_empty() {
        info.set(&["groups"], user.groups.iter().collect::<Value>());
    }
    for (key, values) in &user.extra {
        info.set(&["extra", key], values.iter().collect::<Value>());
    }
    info
}

fn options_of(operation: Operation, options: &WriteOptions) -> Value {
    let kind = match operation {
        Operation::Connect => return Value::Null,
        Operation::Delete => "DeleteOptions",
        _ if !options.kind.is_empty() => options.kind,
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
    };
    let mut out = match operation {
        Operation::Delete if options.deletion.as_object().is_some() => options.deletion.clone(),
        _ => Value::object(),
    };
    out.set(&["kind"], kind);
    out.set(&["apiVersion"], "meta.k8s.io/v1");
    if options.dry_run {
        out.set(&["dryRun"], value!(["All"]));
    }
    if operation != Operation::Delete && !options.field_manager.is_empty() {
        out.set(&["fieldManager"], &options.field_manager);
    }
    if kind == "PatchOptions" && options.force {
        out.set(&["force"], true);
    }
    out
}

/// Reads an answer; the error says what is wrong with it.
pub fn response(api: ReviewVersion, uid: &str, mutating: bool, review: &Value) -> Result<Response, String> {
    let answer = review.at(&["response"]);
    if answer.is_null() {
        return Err("webhook response was absent".into());
    }
    let (patch, patch_type) = (answer.str_at(&["patch"]), answer.at(&["patchType"]));
    if api == ReviewVersion::V1 {
        let given = answer.str_at(&["uid"]);
        if given != uid {
            return Err(format!("expected response.uid={uid:?}, got {given:?}"));
        }
        let (api_version, kind) = (review.str_at(&["apiVersion"]), review.str_at(&["kind"]));
        if (api_version, kind) != ("admission.k8s.io/v1", "AdmissionReview") {
            let slash = if api_version.contains('/') { "" } else { "/" };
            return Err(format!(
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {slash}{api_version}, Kind={kind}"
            ));
        }
        match (mutating, patch.is_empty(), patch_type.as_str()) {
            (true, false, None) => {
                return Err("webhook returned response.patch but not response.patchType".into());
            }
            (true, true, Some(_)) => {
                return Err("webhook returned response.patchType but not response.patch".into());
            }
            (true, false, Some("")) => {
                return Err("webhook returned invalid response.patchType of \"\"".into());
            }
            (true, false, Some(other)) if other != "JSONPatch" => {
                return Err(format!("unsupported patch type {other:?}"));
            }
            (false, false, _) => return Err("validating webhook may not return response.patch".into()),
            (false, _, Some(_)) => return Err("validating webhook may not return response.patchType".into()),
            _ => {}
        }
    }
    let patch = match patch {
        "" => None,
        _ if !mutating => None,
        text => {
            Some(STANDARD.decode(text).map_err(|e| format!("received undecodable patch in webhook response: {e}"))?)
        }
    };
    Ok(Response {
        allowed: answer.at(&["allowed"]).as_bool().unwrap_or(false),
        result: answer.at(&["status"]).clone(),
        patch,
        warnings: answer.items_at(&["warnings"]).iter().filter_map(Value::as_str).map(String::from).collect(),
        annotations: notes::annotations(answer),
    })
}

/// The refusal of a webhook as its client reads it.
pub fn refusal(hook: &str, result: &Value) -> Status {
    let denied = format!("admission webhook {hook:?} denied the request");
    let (message, reason) = (result.str_at(&["message"]), result.str_at(&["reason"]));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let mut status = if result.is_null() { Value::object() } else { result.clone() };
    status.set(&["kind"], "Status");
    status.set(&["message"], message.as_str());
    let code = result.at(&["code"]).as_i64().filter(|code| (400..600).contains(code)).unwrap_or(400);
    status.set(&["code"], code);
    Status::from_json(&(&status).into()).unwrap_or_else(|| Status::bad_request(message))
}

/// What the client says of an answer that is none: a Status, or a code with a text. Source: `NewGenericServerResponse`.
pub fn unexpected(code: u16, body: &[u8]) -> String {
    let parsed = value::parse_lenient(body).ok().filter(|v| v.str_at(&["kind"]) == "Status");
    if let Some(message) = parsed.as_ref().map(|v| v.str_at(&["message"])).filter(|message| !message.is_empty()) {
        return message.to_string();
    }
    let text = String::from_utf8_lossy(body);
    match code {
        400 => "the server rejected our request for an unknown reason".into(),
        401 => "the server has asked for the client to provide credentials".into(),
        403 if !text.is_empty() => text.trim().into(),
        403 => "the server does not allow access to the requested resource".into(),
        404 => "the server could not find the requested resource".into(),
        405 => "the server does not allow this method on the requested resource".into(),
        409 => "the server reported a conflict".into(),
        415 => format!("the media type provided is not supported: {}", text.trim()),
        422 => "the server rejected our request due to an error in our request".into(),
        429 => "the server has received too many requests and has asked us to try again later".into(),
        503 => "the server is currently unable to handle the request".into(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .into()
        }
        500.. => format!("an error on the server ({:?}) has prevented the request from succeeding", text.trim()),
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::call;

    #[test]
    fn what_is_sent() {
        let call = call("apps", "deployments", &["v1"], "ns", "web", "");
        let facts = Facts::of(&call, Operation::Update, "web");
        let options = WriteOptions { dry_run: true, field_manager: "kubectl".into(), ..WriteOptions::default() };
        let sent = review(ReviewVersion::V1, "u-1", request(&facts, 0, &options), value!({"a": 1}), Value::Null);
        let gvr = value!({"group": "apps", "version": "v1", "resource": "deployments"});
        let gvk = value!({"group": "apps", "version": "v1", "kind": "Kind"});
        assert_eq!(
            sent,
            value!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
                "uid": "u-1", "kind": (gvk.clone()), "requestKind": gvk, "resource": (gvr.clone()), "requestResource": gvr,
                "name": "web", "namespace": "ns", "operation": "UPDATE", "dryRun": true,
                "userInfo": {"username": "somebody"}, "object": {"a": 1}, "oldObject": null,
                "options": {"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"], "fieldManager": "kubectl"},
            }})
        );
    }

    #[test]
    fn what_is_wrong_with_an_answer() {
        let v1 = |response: Value| value!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        let patch = STANDARD.encode("[]");
        for (mutating, review, want) in [
            (true, value!({}), "webhook response was absent"),
            (true, v1(value!({"uid": "b"})), "expected response.uid=\"a\", got \"b\""),
            (
                true,
                value!({"apiVersion": "v1", "kind": "Pod", "response": {"uid": "a"}}),
                "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /v1, Kind=Pod",
            ),
            (
                true,
                v1(value!({"uid": "a", "patch": (patch.as_str())})),
                "webhook returned response.patch but not response.patchType",
            ),
            (
                true,
                v1(value!({"uid": "a", "patchType": "JSONPatch"})),
                "webhook returned response.patchType but not response.patch",
            ),
            (
                true,
                v1(value!({"uid": "a", "patchType": "Merge", "patch": (patch.as_str())})),
                "unsupported patch type \"Merge\"",
            ),
            (
                false,
                v1(value!({"uid": "a", "patchType": "JSONPatch", "patch": (patch.as_str())})),
                "validating webhook may not return response.patch",
            ),
        ] {
            assert_eq!(response(ReviewVersion::V1, "a", mutating, &review).unwrap_err(), want);
        }
        let good = v1(
            value!({"uid": "a", "allowed": true, "patchType": "JSONPatch", "patch": (patch.as_str()), "warnings": ["w"]}),
        );
        let read = response(ReviewVersion::V1, "a", true, &good).unwrap();
        assert_eq!(
            (read.allowed, read.patch.as_deref(), read.warnings),
            (true, Some(&b"[]"[..]), vec!["w".to_string()])
        );
        // The old version is trusted with its uid and its type.
        let old = value!({"response": {"allowed": true, "patch": (patch.as_str())}});
        assert!(response(ReviewVersion::V1Beta1, "a", true, &old).unwrap().patch.is_some());
    }

    #[test]
    fn refusals() {
        for (result, want) in [
            (Value::Null, "400  admission webhook \"h\" denied the request without explanation"),
            (value!({"message": "no", "code": 200}), "400  admission webhook \"h\" denied the request: no"),
            (value!({"reason": "Because"}), "400 Because admission webhook \"h\" denied the request: Because"),
            (
                value!({"message": "no", "code": 403, "reason": "Forbidden"}),
                "403 Forbidden admission webhook \"h\" denied the request: no",
            ),
        ] {
            let status = refusal("h", &result);
            assert_eq!(format!("{} {} {}", status.code(), status.reason(), status.message()), want);
        }
        assert_eq!(
            unexpected(500, b"boom\n"),
            "an error on the server (\"boom\") has prevented the request from succeeding"
        );
        assert_eq!(unexpected(500, br#"{"kind": "Status", "message": "m"}"#), "m");
        assert_eq!(
            unexpected(302, b""),
            "the server responded with the status code 302 but did not return more information"
        );
    }
}
