//! The verbs: options and body in, the engine's answer out. The same few lines for every kind.

use crate::{body::RequestBody, gzip, params, respond, stack::Exchange};
use auth::{Attributes, Decision, forbidden};
use base::{Result, Status};
use bytes::Bytes;
use http::{Response, header};
use net::Body;
use resource::{Answer, Call, Reply};
use wire::{Accepted, Include, Offers};

pub async fn get(x: &Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let reply = x.server.engine.get(call, x.query.get("resourceVersion")).await?;
    Ok(gzip::packed(&x.parts.headers, respond::reply(x, call, &accepted, include, reply)))
}

pub async fn list(x: &Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let query = params::list(&x.query, params::Reading::List)?;
    let reply = x.server.engine.list(call, &query).await?;
    Ok(gzip::packed(&x.parts.headers, respond::list(x, call, &accepted, include, reply)))
}

pub async fn create(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let options = params::write(&x.query, &x.parts.headers, "CreateOptions")?;
    let body = decode(x, call, body).await?;
    let reply = x.server.engine.create(call, body, &options).await?;
    Ok(written(x, call, &accepted, include, reply).await)
}

pub async fn update(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let options = params::write(&x.query, &x.parts.headers, "UpdateOptions")?;
    let body = decode(x, call, body).await?;
    let reply = x.server.engine.update_or_create(call, body, &options, &|| may_create(x)).await?;
    Ok(written(x, call, &accepted, include, reply).await)
}

pub async fn patch(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let content_type = content_type(x).unwrap_or_default();
    // Before the body is looked at: 415 does not depend on it.
    let form = merge::PatchKind::of(content_type)?;
    let options = params::patch(&x.query, &x.parts.headers, form == merge::PatchKind::Apply)?;
    let bytes = body.read().await?;
    let reply = match form {
        merge::PatchKind::Apply => {
            let patch = configuration(&bytes)?;
            x.server.engine.apply(call, &patch, &options, &|| may_create(x)).await?
        }
        _ => x.server.engine.patch(call, &merge::parse(content_type, &bytes)?, &options).await?,
    };
    Ok(written(x, call, &accepted, include, reply).await)
}

/// Whether the caller may create what a write does not find.
fn may_create(x: &Exchange<'_>) -> Result<()> {
    let attributes = Attributes { verb: "create", ..x.attributes() };
    match x.server.authorizer.authorize(&attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(why) => Err(forbidden(&attributes, &why)),
    }
}

/// What is applied: YAML, or JSON, which is YAML too and read faster.
fn configuration(bytes: &[u8]) -> Result<merge::Patch> {
    let refused = |why: String| Status::bad_request(format!("error decoding YAML: {why}"));
    let parsed = match value::parse(bytes) {
        Ok(parsed) => parsed,
        Err(_) => {
            let text = std::str::from_utf8(bytes).map_err(|e| refused(e.to_string()))?;
            wire::yaml::parse(text).map_err(refused)?
        }
    };
    let repeated = match (parsed.duplicates.is_empty(), std::str::from_utf8(bytes)) {
        (false, Ok(text)) => wire::yaml::repeated_keys(text),
        _ => Vec::new(),
    };
    let duplicates =
        repeated.iter().map(|(line, key)| format!("line {line}: key {key:?} already set in map")).collect();
    Ok(merge::Patch { kind: merge::PatchKind::Apply, body: parsed.value, duplicates })
}

pub async fn delete(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let (asked, dry_run) = delete_options(x, body).await?;
    let options = resource::WriteOptions { dry_run, ..Default::default() };
    let reply = x.server.engine.delete(call, asked, &options).await?;
    Ok(written(x, call, &accepted, include, reply).await)
}

pub async fn delete_collection(x: &Exchange<'_>, call: &Call, body: RequestBody) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call)?;
    let query = params::list(&x.query, params::Reading::List)?;
    let (asked, dry_run) = delete_options(x, body).await?;
    let options = resource::WriteOptions { dry_run, ..Default::default() };
    let reply = x.server.engine.delete_collection(call, &query, asked, &options).await;
    x.server.admission.settled(call, x.server.engine.view());
    let reply = reply?;
    Ok(respond::list(x, call, &accepted, include, reply))
}

/// What the client accepts, and what a Table's rows are to hold.
pub fn accepted(x: &Exchange<'_>, call: &Call) -> Result<(Accepted, Include)> {
    let accept = x.parts.headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    let offers = if call.kind.custom.is_some() { Offers::CUSTOM } else { Offers::OBJECTS };
    let mut accepted = wire::negotiate(accept, offers)?;
    accepted.pretty |= x.query.flag("pretty").unwrap_or(false);
    let include = x.query.get("includeObject").unwrap_or("");
    let include = Include::parse(include).ok_or_else(|| {
        let why = format!("includeObject: Invalid value: {include:?}: must be 'Metadata', 'Object', 'None', or empty");
        Status::bad_request(format!("Unable to convert to Table as requested: {why}"))
    })?;
    Ok((accepted, include))
}

/// The answer to a write, once it counts for authorization.
async fn written(x: &Exchange<'_>, call: &Call, accepted: &Accepted, include: Include, reply: Reply) -> Response<Body> {
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
    let custom = call.kind.custom.is_some();
    let decoded = wire::decode_as(&call.kind.kind, custom, content_type(x), &bytes)?;
    Ok(resource::Body { value: decoded.value, duplicates: decoded.duplicates })
}

async fn delete_options(x: &Exchange<'_>, body: RequestBody) -> Result<(Option<value::Value>, bool)> {
    let bytes: Bytes = body.read().await?;
    let body = match bytes.is_empty() {
        true => None,
        false => Some(wire::decode(content_type(x), &bytes)?.value),
    };
    params::delete(&x.query, body)
}
