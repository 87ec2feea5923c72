//! The verbs: options and body in, the engine's answer out. The same few lines for every kind.

use crate::{body::RequestBody, gzip, params, respond, stack::Exchange};
use auth::{Attributes, forbidden};
use base::{Reason, Result, Status};
use bytes::Bytes;
use http::{Response, header};
use net::Body;
use resource::{Answer, Call, Reply};
use wire::{Accepted, Include, Intake, Offers};

pub async fn get(x: &Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Objects)?;
    let reply = x.server.engine.get(call, x.query.get("resourceVersion")).await?;
    Ok(gzip::packed(&x.parts.headers, respond::reply(x, call, &accepted, include, reply)?))
}

pub async fn list(x: &Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Streams)?;
    let query = params::list(&x.query, params::Reading::List)?;
    let reply = x.server.engine.list(call, &query).await?;
    Ok(gzip::packed(&x.parts.headers, respond::list(x, call, &accepted, include, reply)?))
}

pub async fn create(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Objects)?;
    let mut options = params::write(&x.query, &x.parts.headers, "CreateOptions")?;
    options.notes = x.notes.clone();
    let body = decode(x, call, body).await?;
    let reply = x.server.engine.create(call, body, &options).await?;
    written(x, call, &accepted, include, reply).await
}

pub async fn update(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Objects)?;
    let mut options = params::write(&x.query, &x.parts.headers, "UpdateOptions")?;
    options.notes = x.notes.clone();
    let body = decode(x, call, body).await?;
    let reply = x.server.engine.update_or_create(call, body, &options, &|| may_create(x)).await?;
    written(x, call, &accepted, include, reply).await
}

pub async fn patch(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Objects)?;
    // Before the body is looked at: 415 does not depend on it.
    let form = patch_form(x, call)?;
    let apply = matches!(form, Form::Yaml | Form::Cbor);
    let mut options = params::patch(&x.query, &x.parts.headers, apply)?;
    options.notes = x.notes.clone();
    let bytes = body.read().await?;
    let reply = match form {
        Form::Yaml => {
            let patch = configuration(&bytes)?;
            x.server.engine.apply(call, &patch, &options, &|| may_create(x)).await?
        }
        Form::Cbor => {
            let refused = |why| Status::bad_request(format!("error decoding CBOR: {why}"));
            let body = wire::cbor::decode(&bytes).map_err(refused)?;
            let patch = merge::Patch { kind: merge::PatchKind::Apply, body, duplicates: Vec::new() };
            x.server.engine.apply(call, &patch, &options, &|| may_create(x)).await?
        }
        Form::Patch(content_type) => {
            x.server.engine.patch(call, &merge::parse(content_type, &bytes)?, &options).await?
        }
    };
    written(x, call, &accepted, include, reply).await
}

/// The form of a patch.
enum Form<'a> {
    /// What is applied, in YAML or JSON.
    Yaml,
    Cbor,
    /// Another patch, by its content type.
    Patch(&'a str),
}

/// From the `Content-Type`. 415 in the router's words, which a built-in kind has, or in those of the verb.
fn patch_form<'a>(x: &Exchange<'a>, call: &Call) -> Result<Form<'a>> {
    let custom = call.kind.custom.is_some();
    let cbor = x.server.config.cluster.features.cbor;
    let mut forms = merge::PatchKind::names(!custom);
    forms.extend(cbor.then_some(wire::cbor::APPLY_TYPE));
    let header = content_type(x).unwrap_or_default();
    let routed = || header.split(',').any(|one| forms.contains(&one.split(';').next().unwrap_or("").trim_matches(' ')));
    if !custom && !routed() {
        let status = Status::new(Reason::UnsupportedMediaType, "415: Unsupported Media Type");
        return Err(status.with_empty_details());
    }
    let media_type = header.split(';').next().unwrap_or("");
    if !forms.contains(&media_type) {
        let text = "the body of the request was in an unknown format - accepted media types include";
        return Err(Status::new(Reason::UnsupportedMediaType, format!("{text}: {}", forms.join(", "))));
    }
    Ok(match media_type {
        wire::cbor::APPLY_TYPE => Form::Cbor,
        media_type if merge::PatchKind::of(media_type)? == merge::PatchKind::Apply => Form::Yaml,
        media_type => Form::Patch(media_type),
    })
}

/// Whether the caller may create what a write does not find.
fn may_create(x: &Exchange<'_>) -> Result<()> {
    let attributes = Attributes { verb: "create", ..x.attributes() };
    let decision = x.server.authorizer.authorize(&attributes);
    decision.refusal().map_or(Ok(()), |why| Err(forbidden(&attributes, why)))
}

/// What is applied: YAML, or JSON, which is YAML too and read faster.
fn configuration(bytes: &[u8]) -> Result<merge::Patch> {
    let refused = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let parsed = match value::parse(bytes) {
        Ok(parsed) => parsed,
        Err(_) => {
            let text = std::str::from_utf8(bytes).map_err(|e| refused(e.to_string()))?;
            wire::yaml::parse(text).map_err(|why| refused(format!("error converting YAML to JSON: {why}")))?
        }
    };
    let duplicates = match (parsed.duplicates.is_empty(), std::str::from_utf8(bytes)) {
        (false, Ok(text)) => wire::yaml::repetitions(text),
        _ => Vec::new(),
    };
    Ok(merge::Patch { kind: merge::PatchKind::Apply, body: parsed.value, duplicates })
}

pub async fn delete(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Objects)?;
    let (asked, dry_run) = delete_options(x, body).await?;
    let options = resource::WriteOptions { dry_run, notes: x.notes.clone(), ..Default::default() };
    let reply = x.server.engine.delete(call, asked, &options).await?;
    written(x, call, &accepted, include, reply).await
}

pub async fn delete_collection(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Objects)?;
    let query = params::list(&x.query, params::Reading::List)?;
    let (asked, dry_run) = delete_options(x, body).await?;
    let options = resource::WriteOptions { dry_run, notes: x.notes.clone(), ..Default::default() };
    let reply = x.server.engine.delete_collection(call, &query, asked, &options).await;
    x.server.admission.settled(call, x.server.engine.view());
    let reply = reply?;
    respond::list(x, call, &accepted, include, reply)
}

/// What the routes of a verb produce, for those whom the router refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Produced {
    Objects,
    /// Lists, which may be watched.
    Streams,
    /// Watches.
    Events,
}

/// What the client accepts, and what a Table's rows are to hold.
pub fn accepted(x: &Exchange<'_>, call: &Call, produced: Produced) -> Result<(Accepted, Include)> {
    let accept = respond::accept(&x.parts.headers);
    let cbor = x.server.config.cluster.features.cbor;
    let custom = call.kind.custom.is_some();
    if !custom && accept.is_some() {
        let all = wire::Encoding::all(cbor);
        let mut produces: Vec<&str> = all.iter().map(|e| e.media_type()).collect();
        if produced != Produced::Objects {
            produces.extend(all.iter().filter_map(|e| e.stream_type()));
        }
        wire::routed(accept, &produces)?;
    }
    let offers = if custom { Offers::CUSTOM } else { Offers::OBJECTS }.with_cbor(cbor);
    let mut accepted = match produced {
        Produced::Events => wire::negotiate_stream(accept, offers)?,
        _ => wire::negotiate(accept, offers)?,
    };
    accepted.pretty |= respond::pretty(x.parts);
    let include = match accepted.shape {
        wire::Shape::Table(_) => x.query.get("includeObject").unwrap_or(""),
        _ => "",
    };
    let include = Include::parse(include).ok_or_else(|| {
        let why = format!("includeObject: Invalid value: {include:?}: must be 'Metadata', 'Object', 'None', or empty");
        Status::bad_request(format!("Unable to convert to Table as requested: {why}"))
    })?;
    Ok((accepted, include))
}

/// The answer to a write, once it counts for authorization.
async fn written(
    x: &Exchange<'_>,
    call: &Call,
    accepted: &Accepted,
    include: Include,
    reply: Reply,
) -> Result<Response<Body>> {
    if call.kind.group == "rbac.authorization.k8s.io"
        && let Answer::Stored(object) = &reply.answer
    {
        x.server.authorizer.settled(&call.kind.plural, object.revision).await;
    }
    x.server.admission.settled(call, x.server.engine.view());
    respond::reply(x, call, accepted, include, reply)
}

pub fn content_type<'a>(x: &Exchange<'a>) -> Option<&'a str> {
    x.parts.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok())
}

pub async fn decode(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<resource::Body> {
    let bytes = body.read().await?;
    let intake = Intake { protobuf: call.kind.custom.is_none(), cbor: x.server.config.cluster.features.cbor };
    let decoded = wire::decode_as(&call.kind.kind, intake, content_type(x), &bytes)?;
    Ok(resource::Body { value: decoded.value, duplicates: decoded.duplicates })
}

async fn delete_options(x: &Exchange<'_>, body: RequestBody) -> Result<(Option<value::Value>, bool)> {
    let bytes: Bytes = body.read().await?;
    let body = match bytes.is_empty() {
        true => None,
        false => Some(wire::decode(content_type(x), &bytes, x.server.config.cluster.features.cbor)?.value),
    };
    params::delete(&x.query, body)
}
