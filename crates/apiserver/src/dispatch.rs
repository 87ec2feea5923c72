//! Where an authorized request goes: to another server, to a document, or to a verb on a kind.

use crate::{
    aggregation, body::RequestBody, connect, documents, flow, health, nodes, proxy, respond, socket, stack::Exchange,
    verbs, version, virtual_kinds,
};
use base::{Result, Status};
use http::{Method, Response};
use net::Body;
use resource::Call;
use schema::{Connector, Listener, Lookup, SubresourceAction, Verb};

pub async fn answer(x: &mut Exchange<'_>, body: RequestBody) -> Result<Response<Body>> {
    if let Some(remote) = x.server.aggregation.serves(&x.info) {
        return aggregation::pass(x, &remote, body).await;
    }
    if x.info.is_resource { resource(x, body).await } else { document(x).await }
}

/// Paths that name no resource. Health is asked by any method, what describes the API by GET; metrics, the index and the
/// dumps do not look at it.
async fn document(x: &Exchange<'_>) -> Result<Response<Body>> {
    let server = x.server;
    let path = x.info.path.trim_end_matches('/');
    let found = health::answer(&server.health, &server.engine, &server.encryption, path, &x.query).await;
    if let Some(mut response) = found {
        if path.matches('/').count() == 1 {
            respond::nosniff(&mut response);
        }
        return Ok(response);
    }
    if !matches!(x.parts.method, Method::GET) && routed(path) {
        return Err(Status::method_not_allowed());
    }
    let accept = respond::accept(&x.parts.headers);
    Ok(match path {
        "/version" => {
            wire::routed(accept, &["application/json"])?;
            respond::bytes(200, "application/json", version::document())
        }
        "/metrics" => respond::bytes(200, "text/plain; version=0.0.4; charset=utf-8", server.registry.print()),
        "/openid/v1/jwks" => {
            wire::routed(accept, &["application/jwk-set+json"])?;
            documents::cached(respond::bytes(200, "application/jwk-set+json", server.tokens.jwks()))
        }
        "/.well-known/openid-configuration" => {
            wire::routed(accept, &["application/json"])?;
            documents::cached(documents::open_id(server))
        }
        path if path.starts_with("/debug/") => {
            let dump = flow::dump::answer(&server.flow, path, &x.query, server.config.clock.now());
            match dump {
                Some(dump) => respond::bytes(200, "text/plain; charset=utf-8", dump),
                None => respond::no_page(),
            }
        }
        _ => documents::answer(x, path)?,
    })
}

/// True for paths that have routes, which are by method.
fn routed(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or("");
    matches!(first, "api" | "apis" | "version" | "openid" | ".well-known")
}

/// Any verb on any kind.
async fn resource(x: &mut Exchange<'_>, body: RequestBody) -> Result<Response<Body>> {
    let info = &x.info;
    let found = x.server.engine.catalog().resolve(info.group, info.version, info.resource);
    let lookup = found.ok_or_else(Status::no_such_path)?;
    x.known = true;
    let call = call_of(x, lookup)?;
    x.deprecated.clone_from(&call.kind.versions[call.version].deprecated);
    let connector = match call.kind.subresource_of(call.version, x.info.subresource).map(|s| &s.action) {
        Some(SubresourceAction::Server(connector)) => Some(*connector),
        _ => None,
    };
    if let Some(Connector::Proxy(listener)) = connector {
        return proxied(x, &call, listener, body).await;
    }
    // Only what is behind a proxy has paths of its own.
    if !x.info.subresource.is_empty() && !x.info.rest.is_empty() {
        return Err(Status::no_such_path());
    }
    // Which is a GET to whoever authorizes, and none to the routes.
    if x.parts.method == Method::HEAD {
        return Err(Status::method_not_allowed());
    }
    let verb = verb_of(x.info.verb).ok_or_else(Status::method_not_allowed)?;
    let allowed = match &call.subresource {
        None => &call.kind.verbs,
        Some(name) => {
            let subresource = call.kind.subresource_of(call.version, name).ok_or_else(Status::no_such_path)?;
            match connector {
                Some(Connector::Token) => return virtual_kinds::token(x, &call, body).await,
                Some(Connector::Log) => return nodes::log(x, &call).await,
                Some(Connector::Stream) => return nodes::stream(x, &call).await,
                Some(Connector::Proxy(_)) | None => {}
            }
            &subresource.verbs
        }
    };
    if !allowed.contains(&verb) {
        return Err(Status::method_not_allowed());
    }
    if virtual_kinds::is_virtual(&call.kind) {
        return virtual_kinds::answer(x, &call, body).await;
    }
    match verb {
        Verb::Get => verbs::get(x, &call).await,
        Verb::List => verbs::list(x, &call).await,
        Verb::Watch => {
            let response = crate::watch::watch(x, &call).await?;
            if socket::wanted(x) { socket::events(x, response) } else { Ok(response) }
        }
        Verb::Create => verbs::create(x, &call, body).await,
        Verb::Update => verbs::update(x, &call, body).await,
        Verb::Patch => verbs::patch(x, &call, body).await,
        Verb::Delete => verbs::delete(x, &call, body).await,
        Verb::DeleteCollection => verbs::delete_collection(x, &call, body).await,
    }
}

/// Every method that upstream connects, also those that are no verb of the API.
async fn proxied(x: &mut Exchange<'_>, call: &Call, listener: Listener, body: RequestBody) -> Result<Response<Body>> {
    use Method as M;
    if !matches!(x.parts.method, M::GET | M::POST | M::PUT | M::PATCH | M::DELETE | M::HEAD | M::OPTIONS) {
        return Err(Status::method_not_allowed());
    }
    connect::admit(x, call).await?;
    match listener {
        Listener::Itself => proxy::pod(x, call, body).await,
        Listener::Endpoint => proxy::service(x, call, body).await,
        Listener::Kubelet => proxy::node(x, call, body).await,
    }
}

/// The call that a path makes; 404 where the path does not fit the kind's scope.
fn call_of(x: &Exchange<'_>, Lookup { kind, version }: Lookup) -> Result<Call> {
    let info = &x.info;
    let namespace = if kind.namespaced() { info.namespace } else { "" };
    let own = info.resource == "namespaces" && info.group.is_empty();
    if !kind.namespaced() && !info.namespace.is_empty() && !own {
        return Err(Status::no_such_path());
    }
    // The name of a list comes from its selector, which does the selecting.
    let collection = matches!(info.verb, "list" | "deletecollection") || (info.verb == "watch" && !info.watch_by_path);
    let name = if collection { "" } else { &info.name };
    let one = !name.is_empty() && !info.watch_by_path;
    if kind.namespaced() && namespace.is_empty() {
        if one {
            return Err(Status::no_such_path());
        }
        if matches!(info.verb, "create" | "deletecollection") {
            return Err(Status::method_not_allowed());
        }
    }
    // POST goes to a collection or a subresource; PUT and PATCH to an object.
    let misplaced = match info.verb {
        "create" => one && info.subresource.is_empty(),
        "update" | "patch" => !one,
        _ => false,
    };
    if misplaced {
        return Err(Status::method_not_allowed());
    }
    Ok(Call {
        user: x.user.clone(),
        kind,
        version,
        namespace: namespace.into(),
        name: name.into(),
        subresource: Some(info.subresource.into()).filter(|s: &value::Str| !s.is_empty()),
    })
}

fn verb_of(verb: &str) -> Option<Verb> {
    Some(match verb {
        "get" => Verb::Get,
        "list" => Verb::List,
        "watch" => Verb::Watch,
        "create" => Verb::Create,
        "update" => Verb::Update,
        "patch" => Verb::Patch,
        "delete" => Verb::Delete,
        "deletecollection" => Verb::DeleteCollection,
        _ => return None,
    })
}
