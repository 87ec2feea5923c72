//! Kinds of which nothing is stored: reviews, token requests, the old form of binding.

use crate::{
    body::RequestBody,
    params, respond,
    stack::Exchange,
    verbs::{content_type, decode},
};
use base::{Result, Status};
use http::Response;
use net::Body;
use resource::{Call, FieldValidation};
use schema::{Kind, Schema, Verb};
use value::Value;
use wire::{Accepted, Include, Intake, Offers};

/// True for kinds that are only created, and answered at once.
pub fn is_virtual(kind: &Kind) -> bool {
    kind.verbs == [Verb::Create]
}

pub async fn answer(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    if call.kind.group.is_empty() && call.kind.plural == "bindings" {
        return binding(x, call, body).await;
    }
    let accepted = plain(x)?;
    let options = params::write(&x.query, &x.parts.headers, "CreateOptions")?;
    let body = decode(x, call, body).await?;
    let (value, warnings) = typed(call, body, options.field_validation)?;
    let server = x.server;
    let answered = auth::review::evaluate(
        &call.kind.plural,
        &call.namespace,
        &x.user,
        &value,
        &server.authorizer,
        &server.authenticator,
    )
    .await;
    let value = answered.ok_or_else(Status::no_such_path)??;
    x.objects.response(&x.audit, || Some(value.clone()));
    let mut response = respond::made(201, &accepted, &value);
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// Checks a body against the kind's schema as the engine would; returns it with its warnings.
fn typed(call: &Call, body: resource::Body, validation: FieldValidation) -> Result<(Value, Vec<String>)> {
    let version = &call.kind.versions[call.version];
    let (mut value, problems) = checked(&version.schema, (&call.kind.kind, &version.name), body, validation)?;
    value.set(&["apiVersion"], call.api_version());
    value.set(&["kind"], call.kind.kind.as_str());
    Ok((value, problems))
}

fn checked(
    schema: &Schema,
    (kind, version): (&str, &str),
    body: resource::Body,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>)> {
    let mut value = body.value;
    let unknown = schema::decode(schema, &mut value).map_err(|e| e.status(kind, version))?;
    let mut problems = unknown;
    problems.extend(body.duplicates);
    match validation {
        FieldValidation::Strict if !problems.is_empty() => {
            return Err(schema::strict_status(kind, version, &problems));
        }
        FieldValidation::Ignore => problems.clear(),
        _ => {}
    }
    Ok((value, problems))
}

/// `POST .../serviceaccounts/<name>/token`
pub async fn token(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    if x.info.verb != "create" {
        return Err(Status::method_not_allowed());
    }
    let accepted = plain(x)?;
    // A dry run issues a token as well, as upstream's does: nothing is stored either way.
    let options = params::write(&x.query, &x.parts.headers, "CreateOptions")?;
    let (request, mut warnings) = token_request(x, body, options.field_validation).await?;
    let (namespace, name) = (call.namespace.as_str(), call.name.as_str());
    let view = x.server.engine.view();
    admission::node_restriction::check_token(&x.user, namespace, name, &request, view, &x.server.authorizer)?;
    let (issued, told) = auth::token_request::issue(&x.server.tokens, view, namespace, name, &request)?;
    warnings.extend(told);
    x.objects.response(&x.audit, || Some(issued.clone()));
    let mut response = respond::made(201, &accepted, &issued);
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// The body of a token request, which may be empty; 400 for another kind.
async fn token_request(
    x: &Exchange<'_>,
    body: RequestBody,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>)> {
    const KIND: &str = "TokenRequest";
    const API_VERSION: &str = "authentication.k8s.io/v1";
    let bytes = body.read().await?;
    let mut body = match bytes.is_empty() {
        true => Value::object().into(),
        false => {
            let intake = Intake { protobuf: true, cbor: x.server.config.cluster.features.cbor };
            let read = wire::decode_as(KIND, intake, content_type(x), &bytes)?;
            resource::Body { value: read.value, duplicates: read.duplicates }
        }
    };
    for (key, want) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let given = body.value.str_at(&[key]);
        if !given.is_empty() && given != want {
            return Err(Status::bad_request(foreign(&body.value, KIND)));
        }
        body.value.set(&[key], want);
    }
    at_path(x, &body.value)?;
    let schema = schema::builtin::of("authentication.k8s.io", "v1", KIND);
    let schema = schema.ok_or_else(|| Status::internal("no schema of TokenRequest"))?;
    checked(&schema, (KIND, "v1"), body, validation)
}

/// Upstream's words for a body of another kind.
fn foreign(body: &Value, wanted: &str) -> String {
    let (api_version, kind) = (body.str_at(&["apiVersion"]), body.str_at(&["kind"]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let head = format!("{kind} in version {} cannot be handled as a {wanted}", base::status::quote(version));
    match schema::builtin::of(group, version, kind) {
        Some(_) => {
            format!("{head}: converting ({version}.{kind}) to (authentication.{wanted}): unknown conversion")
        }
        None => {
            let scheme = "pkg/api/legacyscheme/scheme.go:30";
            format!("{head}: no kind \"{kind}\" is registered for version \"{api_version}\" in scheme \"{scheme}\"")
        }
    }
}

/// Whether a token request names whom the path names, or nobody.
fn at_path(x: &Exchange<'_>, body: &Value) -> Result<()> {
    let (name, namespace) = (body.name(), body.namespace());
    if !name.is_empty() && name != &*x.info.name {
        let mut errors = base::FieldErrors::default();
        errors.invalid("metadata.name", name, "must match the service account name if specified");
        return Err(Status::invalid("authentication.k8s.io", "TokenRequest", &x.info.name, &errors));
    }
    if !namespace.is_empty() && namespace != x.info.namespace {
        let text = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(text));
    }
    Ok(())
}

/// `POST .../bindings`: the same as `pods/<name>/binding`.
async fn binding(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let accepted = plain(x)?;
    let mut options = params::write(&x.query, &x.parts.headers, "CreateOptions")?;
    options.notes = x.notes.clone();
    let body = decode(x, call, body).await?;
    let name = body.value.name().into();
    let pods = x.server.engine.catalog().get("", "pods").cloned().ok_or_else(Status::no_such_path)?;
    let version = pods.storage;
    let call = Call { kind: pods, version, name, subresource: Some("binding".into()), ..call.clone() };
    let reply = x.server.engine.create(&call, body, &options).await?;
    respond::reply(x, &call, &accepted, Include::default(), reply)
}

/// Reviews have no Table: a client that accepts nothing else is refused.
fn plain(x: &Exchange<'_>) -> Result<Accepted> {
    let accept = respond::accept(&x.parts.headers);
    let cbor = x.server.config.cluster.features.cbor;
    if accept.is_some() {
        let produces: Vec<&str> = wire::Encoding::all(cbor).iter().map(|e| e.media_type()).collect();
        wire::routed(accept, &produces)?;
    }
    let mut accepted = wire::negotiate(accept, Offers::REVIEWS.with_cbor(cbor))?;
    accepted.pretty |= respond::pretty(x.parts);
    Ok(accepted)
}
