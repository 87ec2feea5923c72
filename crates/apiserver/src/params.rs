//! Options in the query string: `ListOptions`, `CreateOptions`, `DeleteOptions` … with upstream's errors.
//! Source: `k8s.io/apimachinery/pkg/apis/meta/v1/validation`.

use crate::query::Query;
use base::{FieldErrors, Reason, Result, Status};
use http::HeaderMap;
use resource::{FieldValidation, ListQuery, Notes, VersionMatch, WriteOptions};
use std::time::Duration;
use value::{Str, Value};

/// Which rules hold for `ListOptions`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Lists and deletecollection.
    List,
    Watch,
}

/// Options of list, watch and deletecollection. A negative limit is none, as upstream has it.
pub fn list(query: &Query<'_>, reading: Reading) -> Result<ListQuery> {
    let mut errors = FieldErrors::default();
    match reading {
        Reading::List => check_list(query, &mut errors),
        Reading::Watch => check_watch(query, &mut errors),
    }
    let version_match = match query.get("resourceVersionMatch") {
        Some("Exact") => Some(VersionMatch::Exact),
        Some("NotOlderThan") => Some(VersionMatch::NotOlderThan),
        _ => None,
    };
    let limit = integer(query, "limit")?;
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors));
    }
    Ok(ListQuery {
        labels: selector(query.get("labelSelector"), select::LabelSelector::parse)?,
        fields: selector(query.get("fieldSelector"), select::FieldSelector::parse)?,
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0),
        continue_token: query.get("continue").filter(|t| !t.is_empty()).map(String::from),
        resource_version: query.get("resourceVersion").map(String::from),
        version_match,
        allow_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
        send_initial_events: query.flag("sendInitialEvents"),
        timeout: integer(query, "timeoutSeconds")?
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
    })
}

fn check_list(query: &Query<'_>, errors: &mut FieldErrors) {
    let given = |key| query.get(key).filter(|text| !text.is_empty());
    if let Some(asked) = given("resourceVersionMatch") {
        let at = "resourceVersionMatch";
        if given("resourceVersion").is_none() {
            errors.forbidden(at, "resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if given("continue").is_some() {
            errors.forbidden(at, "resourceVersionMatch is forbidden when continue is provided");
        }
        if !matches!(asked, "Exact" | "NotOlderThan") {
            errors.not_supported(at, asked, &["Exact", "NotOlderThan", ""]);
        }
        if asked == "Exact" && given("resourceVersion") == Some("0") {
            errors.forbidden(at, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
    }
    if query.flag("sendInitialEvents").is_some() {
        errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
}

fn check_watch(query: &Query<'_>, errors: &mut FieldErrors) {
    let given = |key| query.get(key).filter(|text| !text.is_empty());
    let (at, asked) = ("resourceVersionMatch", given("resourceVersionMatch"));
    let initial = query.flag("sendInitialEvents").is_some();
    if initial && asked != Some("NotOlderThan") {
        errors.forbidden(at, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    if given("continue").is_some() {
        errors.forbidden(at, "resourceVersionMatch is forbidden when continue is provided");
    }
    let Some(asked) = asked else { return };
    if !initial {
        errors.forbidden(at, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
    }
    if asked != "NotOlderThan" {
        errors.not_supported(at, asked, &["NotOlderThan"]);
    }
}

/// Options of a patch: those of a write, and `force` and a manager as the form of the patch demands.
pub fn patch(query: &Query<'_>, headers: &HeaderMap, apply: bool) -> Result<WriteOptions> {
    let mut errors = FieldErrors::default();
    if apply && query.get("fieldManager").is_none_or(str::is_empty) {
        errors.required("fieldManager", "is required for apply patch");
    }
    if !apply && query.flag("force").is_some() {
        errors.forbidden("force", "may not be specified for non-apply patch");
    }
    checked_write(query, headers, "PatchOptions", errors)
}

/// Options of a write. `options` is the name of the type, for messages; the manager falls back to the client's name.
pub fn write(query: &Query<'_>, headers: &HeaderMap, options: &'static str) -> Result<WriteOptions> {
    checked_write(query, headers, options, FieldErrors::default())
}

fn checked_write(
    query: &Query<'_>,
    headers: &HeaderMap,
    options: &'static str,
    mut errors: FieldErrors,
) -> Result<WriteOptions> {
    let manager = query.get("fieldManager").unwrap_or("");
    if manager.len() > 128 {
        errors.too_long("fieldManager", 128);
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let shown: String = manager
            .chars()
            .map(|c| match c {
                '\n' => "\\n".into(),
                '\t' => "\\t".into(),
                '\r' => "\\r".into(),
                c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
                c => c.to_string(),
            })
            .collect();
        let shown = format!("\"{shown}\"");
        errors.invalid_raw(
            "fieldManager",
            shown,
            format!("invalid character U+{:04X} (at position {at})", u32::from(c)),
        );
    }
    let dry_run = dry_run(query.all("dryRun"), &mut errors);
    let field_validation = match query.get("fieldValidation") {
        None | Some("" | "Warn") => FieldValidation::Warn,
        Some("Ignore") => FieldValidation::Ignore,
        Some("Strict") => FieldValidation::Strict,
        Some(other) => {
            errors.not_supported("fieldValidation", other, &["", "Ignore", "Strict", "Warn"]);
            FieldValidation::Warn
        }
    };
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", options, "", &errors));
    }
    let field_manager = match manager {
        "" => agent(headers),
        name => name.into(),
    };
    let force = query.flag("force").unwrap_or(false);
    let (kind, deletion, notes) = (options, Value::Null, Notes::default());
    Ok(WriteOptions { dry_run, field_validation, field_manager, force, kind, deletion, notes })
}

/// DeleteOptions from the body, or from the query where there is none, and whether it is a dry run.
pub fn delete(query: &Query<'_>, body: Option<Value>) -> Result<(Option<Value>, bool)> {
    let mut errors = FieldErrors::default();
    let (options, dry) = match body {
        Some(mut body) => {
            typed(&mut body)?;
            let kind = body.str_at(&["kind"]);
            if !kind.is_empty() && kind != "DeleteOptions" {
                let version = body.str_at(&["apiVersion"]);
                let scheme = "pkg/apis/meta/internalversion/scheme/register.go:27";
                let text = format!("no kind \"{kind}\" is registered for version \"{version}\" in scheme \"{scheme}\"");
                return Err(Status::bad_request(text));
            }
            let dry = dry_run(body.items_at(&["dryRun"]).iter().filter_map(Value::as_str), &mut errors);
            (body, dry)
        }
        None => (from_query(query)?, dry_run(query.all("dryRun"), &mut errors)),
    };
    let policy = options.str_at(&["propagationPolicy"]);
    if !matches!(policy, "" | "Foreground" | "Background" | "Orphan") {
        errors.not_supported("propagationPolicy", policy, &["Foreground", "Background", "Orphan", "nil"]);
    }
    if !policy.is_empty() && !options.at(&["orphanDependents"]).is_null() {
        errors.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set");
    }
    if !errors.is_empty() {
        return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
    }
    let empty = options.as_object().is_none_or(value::Map::is_empty);
    Ok(((!empty).then_some(options), dry))
}

/// DeleteOptions are an object whose fields have types.
fn typed(body: &mut Value) -> Result<()> {
    if body.as_object().is_none() {
        let text = "couldn't get version/kind; json parse error: json: cannot unmarshal";
        let into = r#"Go value of type struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        return Err(Status::bad_request(format!("{text} {} into {into}", body.type_name())));
    }
    match schema::builtin::schema("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions") {
        Some(schema) => schema::decode(&schema, body).map(drop).map_err(|why| Status::bad_request(why.to_string())),
        None => Ok(()),
    }
}

fn from_query(query: &Query<'_>) -> Result<Value> {
    let mut options = Value::object();
    if let Some(seconds) = integer(query, "gracePeriodSeconds")? {
        options.set(&["gracePeriodSeconds"], seconds);
    }
    if let Some(policy) = query.get("propagationPolicy").filter(|p| !p.is_empty()) {
        options.set(&["propagationPolicy"], policy);
    }
    if let Some(orphan) = query.flag("orphanDependents") {
        options.set(&["orphanDependents"], orphan);
    }
    Ok(options)
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut FieldErrors) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|v| *v != "All") {
        let shown: Vec<String> = values.iter().map(|v| base::status::quote(v)).collect();
        let shown = Some(format!("[{}]", shown.join(",")));
        errors.add(base::status::Problem::NotSupported, "dryRun", shown, "supported values: \"All\"");
    }
    !values.is_empty()
}

fn selector<T: Default>(text: Option<&str>, parse: fn(&str) -> Result<T>) -> Result<T> {
    match text {
        None | Some("") => Ok(T::default()),
        Some(text) => parse(text),
    }
}

fn integer(query: &Query<'_>, key: &str) -> Result<Option<i64>> {
    match query.get(key) {
        None => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| {
            let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
            let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            let why = if number { "value out of range" } else { "invalid syntax" };
            Status::new(Reason::BadRequest, format!("strconv.ParseInt: parsing {text:?}: {why}"))
        }),
    }
}

/// The first word of the user agent: `kubectl` of `kubectl/v1.36.2 (linux/amd64)`.
fn agent(headers: &HeaderMap) -> Str {
    let agent = headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("unknown");
    let name = agent.split('/').next().unwrap_or(agent);
    name.chars().take(128).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T>(result: Result<T>) -> String {
        result.map(|_| ()).map_err(|e| format!("{} {}", e.code(), e.message())).unwrap_err()
    }

    #[test]
    fn list_options() {
        let read = |text: &'static str| list(&Query::parse(Some(text)), Reading::List);
        let all = read("limit=5&labelSelector=a%3Db&resourceVersion=0&timeoutSeconds=30").unwrap();
        assert_eq!((all.limit, all.timeout), (Some(5), Some(Duration::from_secs(30))));
        assert_eq!(all.resource_version.as_deref(), Some("0"));
        assert_eq!(read("limit=-1").unwrap().limit, None);
        assert_eq!(refused(read("limit=")), r#"400 strconv.ParseInt: parsing "": invalid syntax"#);
        assert!(refused(read("limit=9223372036854775808")).ends_with("value out of range"));
        assert_eq!(refused(read("limit=x")), r#"400 strconv.ParseInt: parsing "x": invalid syntax"#);
        for (query, reading, why) in [
            (
                "resourceVersionMatch=Foo&resourceVersion=1",
                Reading::List,
                "resourceVersionMatch: Unsupported value: \"Foo\": supported values: \"Exact\", \"NotOlderThan\", \"\"",
            ),
            (
                "resourceVersionMatch=Exact",
                Reading::List,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
            (
                "resourceVersionMatch=Exact&resourceVersion=0",
                Reading::List,
                "resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
            (
                "sendInitialEvents=true",
                Reading::List,
                "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
            ),
            (
                "sendInitialEvents=true",
                Reading::Watch,
                "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
            (
                "resourceVersionMatch=NotOlderThan",
                Reading::Watch,
                "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ),
        ] {
            let said = refused(list(&Query::parse(Some(query)), reading));
            assert_eq!(said, format!("422 ListOptions.meta.k8s.io \"\" is invalid: {why}"));
        }
        let watch = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
        assert_eq!(list(&Query::parse(Some(watch)), Reading::Watch).unwrap().send_initial_events, Some(true));
        assert!(refused(read("labelSelector=a%3D%3D%3D")).starts_with("400 "));
    }

    #[test]
    fn write_options() {
        let mut headers = HeaderMap::new();
        headers.insert("user-agent", "kubectl/v1.36.2 (linux)".parse().unwrap());
        let read = |text: &'static str| write(&Query::parse(Some(text)), &headers, "CreateOptions");
        assert_eq!(read("").unwrap().field_manager, "kubectl");
        assert!(read("dryRun=All").unwrap().dry_run);
        assert_eq!(
            refused(read("dryRun=Some")),
            r#"422 CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Some"]: supported values: "All""#
        );
        assert_eq!(
            refused(read("fieldManager=%01")),
            r#"422 CreateOptions.meta.k8s.io "" is invalid: fieldManager: Invalid value: "\x01": invalid character U+0001 (at position 0)"#
        );
        let patched = |text: &'static str, apply| patch(&Query::parse(Some(text)), &headers, apply);
        assert!(refused(patched("", true)).ends_with("fieldManager: Required value: is required for apply patch"));
        assert!(
            refused(patched("force=true", false))
                .ends_with("force: Forbidden: may not be specified for non-apply patch")
        );
        assert!(patched("fieldManager=m&force=true", true).unwrap().force);
        assert!(refused(read("fieldValidation=Maybe")).contains("fieldValidation: Unsupported value"));
    }

    #[test]
    fn delete_options() {
        let (options, dry) = delete(&Query::parse(Some("gracePeriodSeconds=0&dryRun=All")), None).unwrap();
        assert_eq!((options.unwrap().to_string().as_str(), dry), (r#"{"gracePeriodSeconds":0}"#, true));
        assert_eq!(delete(&Query::default(), None).unwrap(), (None, false));
        let body = value::value!({"propagationPolicy": "Sometimes"});
        assert!(refused(delete(&Query::default(), Some(body))).contains("propagationPolicy: Unsupported value"));
        let number =
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64";
        let body = value::value!({"gracePeriodSeconds": "x"});
        assert_eq!(refused(delete(&Query::default(), Some(body))), format!("400 {number}"));
        assert!(refused(delete(&Query::default(), Some(value::value!([])))).contains("cannot unmarshal array"));
        assert!(refused(delete(&Query::parse(Some("dryRun=")), None)).contains("Unsupported value: [\"\"]"));
        let body = value::value!({"kind": "Pod"});
        assert!(refused(delete(&Query::default(), Some(body))).starts_with("400"));
    }
}
