//! Documents about the API: discovery and OpenAPI, made from the catalog and kept until it changes.
//!
//! Making them is pure (`schema::discovery`, `schema::openapi`); here they get an ETag, so that a client that polls (as
//! kubectl and the CRD tests do) is answered 304 without a byte of the document. Large ones are kept as most clients want
//! them, compressed: with descriptions they are megabytes, and a tenth of it is what an idle server should keep.

use crate::{aggregation, gzip, respond, server::Inner, stack::Exchange};
use base::{Result, Status};
use bytes::Bytes;
use descriptions::Descriptions;
use http::{HeaderValue, Response, header};
use net::Body;
use parking_lot::Mutex;
use schema::{Catalog, discovery, openapi};
use std::collections::HashMap;
use value::{Value, value};
use wire::{Accepted, Encoding, Offers, Shape};

/// The documents of one generation of the catalog and of what other servers say, each made when it is first asked for.
#[derive(Default)]
pub struct Documents {
    made: Mutex<Made>,
    /// Those of version 3 by path; they outlive changes of the catalog that leave them as they are.
    groups: Mutex<HashMap<String, Document>>,
}

#[derive(Default)]
struct Made {
    generation: (u64, u64),
    /// By name; a name holds path and shape.
    documents: HashMap<String, Document>,
}

#[derive(Clone)]
struct Document {
    bytes: Bytes,
    /// Whether `bytes` are compressed.
    packed: bool,
    /// With its quotes.
    etag: HeaderValue,
}

/// Any path that is no health check. 404 in plain text for what is no document.
pub fn answer(x: &Exchange<'_>, path: &str) -> Result<Response<Body>> {
    match found(x, path) {
        Err(status) if status.is(base::Reason::NotFound) && !known(x, path) => Ok(respond::no_page()),
        answer => answer,
    }
}

/// True for paths below those that are served, which an API answers for.
fn known(x: &Exchange<'_>, path: &str) -> bool {
    match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
        ["api", _, ..] => true,
        ["apis", group, _, ..] => discovery::group(&x.server.engine.catalog(), group).is_some(),
        _ => false,
    }
}

fn found(x: &Exchange<'_>, path: &str) -> Result<Response<Body>> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let discovers = matches!(parts.as_slice(), ["api"] | ["apis"]);
    if !matches!(parts.first(), None | Some(&("" | "api" | "apis" | "openapi"))) {
        return Err(Status::no_such_path());
    }
    let accept = respond::accept(&x.parts.headers);
    if parts == ["openapi", "v2"] && accept.is_some_and(wire::swagger::accepted) {
        let swagger = |catalog: &Catalog| Some(wire::swagger::message(&swagger(x, catalog)));
        let document = x.server.documents.get(x.server, "/openapi/v2 protobuf", swagger)?;
        return Ok(answered(x, document, wire::swagger::MEDIA_TYPES[1], None));
    }
    let mut accepted = match parts.first() {
        Some(&("api" | "apis")) => discovery_form(accept, discovers)?,
        _ => wire::negotiate(accept, Offers::NONE)?,
    };
    accepted.pretty |= respond::pretty(x.parts);
    let aggregated = accepted.shape == Shape::Discovery;
    if let Some(merged) = aggregation::merged(x, &parts, aggregated) {
        return Ok(answered(x, Document::of(merged.to_json().into()), accepted.content_type(), Some(&accepted)));
    }
    let address = x.server.config.advertise.to_string();
    match parts.as_slice() {
        [""] | [] => kept(x, &accepted, path, |catalog| Some(index(catalog))),
        ["api"] if aggregated => kept(x, &accepted, "/api aggregated", |c| Some(discovery::aggregated(c, true))),
        ["apis"] if aggregated => kept(x, &accepted, "/apis aggregated", |c| Some(discovery::aggregated(c, false))),
        ["api"] => kept(x, &accepted, path, |_| Some(discovery::api_versions(&address))),
        ["apis"] => kept(x, &accepted, path, |catalog| Some(discovery::group_list(catalog))),
        ["api", version] => kept(x, &accepted, path, |catalog| discovery::resource_list(catalog, "", version)),
        ["apis", group] => kept(x, &accepted, path, |catalog| discovery::group(catalog, group)),
        ["apis", group, version] => {
            kept(x, &accepted, path, |catalog| discovery::resource_list(catalog, group, version))
        }
        ["openapi", "v2"] => kept(x, &accepted, path, |catalog| Some(swagger(x, catalog))),
        ["openapi", "v3"] => kept(x, &accepted, path, |catalog| Some(openapi::index(catalog))),
        ["openapi", "v3", "api", version] => described(x, &accepted, path, "", version),
        ["openapi", "v3", "apis", group, version] => described(x, &accepted, path, group, version),
        _ => Err(Status::no_such_path()),
    }
}

/// Everything that this server and others serve.
fn swagger(x: &Exchange<'_>, catalog: &Catalog) -> Value {
    let texts = Descriptions::unpack();
    x.server.aggregation.specs.with_others(openapi::v2(catalog, &|name, field| texts.get(name, field)))
}

/// The form of a discovery document; of `/api` and `/apis` the aggregated one wherever the client names it.
fn discovery_form(accept: Option<&str>, aggregates: bool) -> Result<Accepted> {
    let produces = wire::Encoding::all(false).iter().map(|e| e.media_type());
    wire::routed(accept, &produces.collect::<Vec<_>>())?;
    let aggregated = aggregates.then(|| wire::negotiate(accept, Offers::DISCOVERY).ok()).flatten();
    aggregated.map_or_else(|| wire::negotiate(accept, Offers::VALUES), Ok)
}

/// `/`: the paths that there are.
fn index(catalog: &Catalog) -> Value {
    let roots = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis", "/apis/"];
    let mut paths: Vec<String> = roots.map(String::from).to_vec();
    for (kind, version) in catalog.served() {
        let (group, version) = kind.group_version(version);
        if !group.is_empty() {
            paths.extend([format!("/apis/{group}"), format!("/apis/{group}/{version}")]);
        }
    }
    paths.extend(
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"]
            .map(String::from),
    );
    paths.sort();
    paths.dedup();
    value!({"paths": paths})
}

/// The document of that name, made if this generation of the catalog has none yet.
fn kept(
    x: &Exchange<'_>,
    accepted: &Accepted,
    name: &str,
    make: impl FnOnce(&Catalog) -> Option<Value>,
) -> Result<Response<Body>> {
    let json = |catalog: &Catalog| make(catalog).map(|value| Bytes::from(value.to_json()));
    let document = x.server.documents.get(x.server, name, json)?;
    let mut response = answered(x, document, accepted.content_type(), Some(accepted));
    if accepted.shape == Shape::Discovery {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    } else if !name.starts_with("/openapi") {
        // There is one shape of it only.
        response.headers_mut().remove(header::VARY);
    }
    Ok(response)
}

/// The document of a group and version. Its ETag is known without making it, and it is kept while that stays: a new
/// definition costs the documents of its own group. Who names the hash, as the index does, may keep the answer for good;
/// who names an old one is sent to the new.
fn described(x: &Exchange<'_>, accepted: &Accepted, path: &str, group: &str, version: &str) -> Result<Response<Body>> {
    let catalog = x.server.engine.catalog();
    let hash = openapi::fingerprint(&catalog, group, version).ok_or_else(Status::no_such_path)?;
    let quoted = |hash: &str| HeaderValue::from_str(&format!("\"{hash}\"")).map_err(Status::internal);
    let etag = quoted(&hash)?;
    let asked = x.parts.uri.query().and_then(|q| q.split('&').find_map(|pair| pair.strip_prefix("hash=")));
    if asked.is_some_and(|asked| asked != hash) {
        let mut response = respond::bytes(301, accepted.content_type(), Body::Empty);
        let location = HeaderValue::from_str(&format!("{path}?hash={hash}")).map_err(Status::internal)?;
        response.headers_mut().insert(header::LOCATION, location);
        response.headers_mut().insert(header::ETAG, etag);
        return Ok(response);
    }
    let told = x.parts.headers.get(header::IF_NONE_MATCH);
    let document = match told == Some(&etag) {
        // It has the document already: none is made.
        true => Document { bytes: Bytes::new(), packed: false, etag },
        false => x.server.documents.of_group(path, etag, || {
            let texts = Descriptions::unpack();
            let prose: openapi::Prose = &|name, field| texts.get(name, field);
            openapi::document(&catalog, group, version, prose).map(|value| value.to_json().into())
        })?,
    };
    let mut response = answered(x, document, accepted.content_type(), Some(accepted));
    if asked.is_some() {
        let now = x.server.config.clock.now();
        let year = now.checked_add(base::time::SignedDuration::from_hours(365 * 24)).unwrap_or(now);
        let expires = HeaderValue::from_str(&year.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        response.headers_mut().insert(header::EXPIRES, expires.map_err(Status::internal)?);
    }
    Ok(response)
}

/// The document, or 304 for a client that has it. `form` is how JSON is wanted, `None` for bytes that are no JSON.
fn answered(
    x: &Exchange<'_>,
    document: Document,
    content_type: &'static str,
    form: Option<&Accepted>,
) -> Response<Body> {
    let told = x.parts.headers.get(header::IF_NONE_MATCH).map(HeaderValue::as_bytes);
    let as_is = form.is_none_or(|form| form.encoding == Encoding::Json && !form.pretty);
    let vary = HeaderValue::from_static("Accept");
    let mut response = if told.is_some_and(|told| told == document.etag.as_bytes()) {
        respond::bytes(304, content_type, Body::Empty)
    } else if document.packed && as_is && gzip::takes(&x.parts.headers) {
        gzip::marked(respond::bytes(200, content_type, document.bytes))
    } else {
        let bytes = if document.packed { gzip::unpack(&document.bytes) } else { document.bytes };
        let bytes =
            form.map_or_else(|| bytes.clone(), |form| wire::reencode(bytes.clone(), form.encoding, form.pretty));
        gzip::packed(&x.parts.headers, respond::bytes(200, content_type, bytes))
    };
    response.headers_mut().insert(header::ETAG, document.etag);
    response.headers_mut().append(header::VARY, vary);
    response
}

impl Documents {
    /// The document of a path with that ETag, made where the one that is kept has another.
    fn of_group(&self, path: &str, etag: HeaderValue, make: impl FnOnce() -> Option<Bytes>) -> Result<Document> {
        let mut groups = self.groups.lock();
        if let Some(kept) = groups.get(path).filter(|kept| kept.etag == etag) {
            return Ok(kept.clone());
        }
        let Some(bytes) = make() else {
            groups.remove(path);
            return Err(Status::no_such_path());
        };
        let document = Document { bytes, packed: false, etag }.kept();
        groups.insert(path.into(), document.clone());
        Ok(document)
    }

    fn get(&self, server: &Inner, name: &str, make: impl FnOnce(&Catalog) -> Option<Bytes>) -> Result<Document> {
        // Read before the catalog: a document may be newer than its number, never older.
        let generation = (server.engine.catalog_generation(), server.aggregation.specs.generation());
        let mut made = self.made.lock();
        if made.generation != generation {
            *made = Made { generation, documents: HashMap::new() };
        }
        if let Some(document) = made.documents.get(name) {
            return Ok(document.clone());
        }
        let bytes = make(&server.engine.catalog()).ok_or_else(Status::no_such_path)?;
        let document = Document::of(bytes).kept();
        made.documents.insert(name.into(), document.clone());
        Ok(document)
    }
}

impl Document {
    fn of(bytes: Bytes) -> Self {
        let hash =
            bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        let etag = HeaderValue::from_str(&format!("\"{hash:016X}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Document { bytes, packed: false, etag }
    }

    /// As it is kept.
    fn kept(mut self) -> Self {
        if self.bytes.len() as u64 > gzip::THRESHOLD {
            self.bytes = gzip::pack(&self.bytes);
            self.packed = true;
        }
        self
    }
}

/// What may be kept for an hour.
pub fn cached(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}

/// `/.well-known/openid-configuration` (OpenID Connect Discovery 1.0), for those who verify our tokens.
pub fn open_id(server: &Inner) -> Response<Body> {
    let jwks = match server.tokens.jwks_uri() {
        Some(uri) => uri.to_string(),
        None => format!("https://{}/openid/v1/jwks", server.config.advertise),
    };
    let document = value!({
        "issuer": server.tokens.issuer(), "jwks_uri": jwks, "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": server.tokens.algorithms(),
    });
    respond::bytes(200, "application/json", document.to_json())
}
