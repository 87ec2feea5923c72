//! What a request means: its verb and the thing that its path names.
//! Source: `k8s.io/apiserver/pkg/endpoints/request.RequestInfo`.

use crate::query::Query;
use http::Method;
use std::borrow::Cow;

/// Borrowed from the (decoded) path of the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    /// False for `/healthz`, `/apis/apps/v1` and everything else that names no resource.
    pub is_resource: bool,
    pub path: &'a str,
    /// The API's verb; for a request without a resource the method in lower case.
    pub verb: &'static str,
    /// Empty for the legacy group.
    pub group: &'a str,
    pub version: &'a str,
    pub namespace: &'a str,
    pub resource: &'a str,
    /// From the path, or from a selector that asks for one name.
    pub name: Cow<'a, str>,
    pub subresource: &'a str,
    /// What follows the subresource (`/proxy/a/b`), with its slash; empty where nothing does.
    pub rest: &'a str,
    /// `/api/v1/watch/...`
    pub watch_by_path: bool,
}

impl<'a> RequestInfo<'a> {
    /// Reads method, path and query. Never fails: what cannot be understood is no resource, or has no verb.
    pub fn parse(method: &Method, path: &'a str, query: &Query<'_>) -> Self {
        let mut info = RequestInfo { path, verb: lower(method), ..RequestInfo::default() };
        let mut parts = path.trim_matches('/').split('/');
        let groupless = match parts.next() {
            Some("api") => true,
            Some("apis") => false,
            _ => return info,
        };
        let group = if groupless { Some("") } else { parts.next() };
        let (Some(group), Some(version), Some(mut first)) = (group, parts.next(), parts.next()) else { return info };
        (info.group, info.version, info.is_resource) = (group, version, true);
        info.verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD => "get",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE => "delete",
            _ => "",
        };
        if first == "watch" {
            info.watch_by_path = true;
            info.verb = "watch";
            first = parts.next().unwrap_or_default();
        }
        let mut second = parts.next().unwrap_or_default();
        let mut third = parts.next().unwrap_or_default();
        if first == "namespaces" && !second.is_empty() {
            info.namespace = second;
            if !third.is_empty() && third != "status" && third != "finalize" {
                first = third;
                second = parts.next().unwrap_or_default();
                third = parts.next().unwrap_or_default();
            }
        }
        (info.resource, info.name, info.subresource) = (first, Cow::Borrowed(second), third);
        if !third.is_empty() {
            // Both slices are of `path`, so the end of one says where the rest begins.
            let end = third.as_ptr() as usize - path.as_ptr() as usize + third.len();
            info.rest = &path[end..];
        }
        if info.name.is_empty() && info.verb == "get" {
            info.verb = if query.flag("watch") == Some(true) { "watch" } else { "list" };
        }
        if info.name.is_empty() && info.verb == "delete" {
            info.verb = "deletecollection";
        }
        if info.name.is_empty() && matches!(info.verb, "list" | "watch") {
            let exact = query.get("fieldSelector").and_then(|text| select::FieldSelector::parse(text).ok());
            if let Some(name) = exact.as_ref().and_then(|s| s.exact("metadata.name")) {
                info.name = Cow::Owned(name.to_string());
            }
        }
        info
    }
    /// Requests that last: they hold no seat, and are not timed.
    pub fn is_long_running(&self) -> bool {
        self.is_resource
            && (self.verb == "watch" || matches!(self.subresource, "attach" | "exec" | "proxy" | "log" | "portforward"))
    }
    pub fn is_mutating(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "head" | "options")
    }
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::POST => "post",
        Method::PUT => "put",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// verb group/version namespace resource name subresource rest
    #[track_caller]
    fn check(method: Method, target: &str, want: &str) {
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let i = RequestInfo::parse(&method, path, &Query::parse(query));
        let got = match i.is_resource {
            true => format!(
                "{} {}/{} ns={} {} {} {} {}",
                i.verb, i.group, i.version, i.namespace, i.resource, i.name, i.subresource, i.rest
            ),
            false => format!("{} {}", i.verb, i.path),
        };
        assert_eq!(got.trim_end(), want, "{method} {target}");
    }

    #[test]
    fn paths_of_resources() {
        use Method as M;
        check(M::GET, "/api/v1/namespaces", "list /v1 ns= namespaces");
        check(M::GET, "/api/v1/namespaces/other", "get /v1 ns=other namespaces other");
        check(M::PUT, "/api/v1/namespaces/other/finalize", "update /v1 ns=other namespaces other finalize");
        check(M::PUT, "/api/v1/namespaces/other/status", "update /v1 ns=other namespaces other status");
        check(M::GET, "/api/v1/namespaces/other/pods", "list /v1 ns=other pods");
        check(M::GET, "/api/v1/namespaces/other/pods/foo", "get /v1 ns=other pods foo");
        check(M::HEAD, "/api/v1/namespaces/other/pods/foo", "get /v1 ns=other pods foo");
        check(M::GET, "/api/v1/pods", "list /v1 ns= pods");
        check(M::POST, "/api/v1/pods", "create /v1 ns= pods");
        check(M::GET, "/api/v1/pods?watch=true", "watch /v1 ns= pods");
        check(M::GET, "/api/v1/pods?watch=1", "watch /v1 ns= pods");
        check(M::GET, "/api/v1/pods?watch=false", "list /v1 ns= pods");
        check(M::GET, "/api/v1/watch/pods", "watch /v1 ns= pods");
        check(M::GET, "/api/v1/watch/namespaces/other/pods", "watch /v1 ns=other pods");
        check(M::GET, "/api/v1/watch/namespaces/other/pods/foo", "watch /v1 ns=other pods foo");
        check(M::GET, "/api/v1/namespaces/other/pods/foo/log", "get /v1 ns=other pods foo log");
        check(M::POST, "/api/v1/namespaces/other/pods/foo/exec", "create /v1 ns=other pods foo exec");
        check(M::GET, "/api/v1/nodes/n/proxy/a/b", "get /v1 ns= nodes n proxy /a/b");
        check(M::GET, "/api/v1/nodes/n/proxy/", "get /v1 ns= nodes n proxy /");
        check(M::DELETE, "/api/v1/namespaces/other/pods", "deletecollection /v1 ns=other pods");
        check(M::DELETE, "/api/v1/namespaces/other/pods/foo", "delete /v1 ns=other pods foo");
        check(M::PATCH, "/apis/apps/v1/namespaces/d/deployments/x/scale", "patch apps/v1 ns=d deployments x scale");
        check(
            M::GET,
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            "get rbac.authorization.k8s.io/v1 ns= clusterroles system:node",
        );
        check(M::GET, "/api/v1/pods?fieldSelector=metadata.name%3Dfoo", "list /v1 ns= pods foo");
        check(M::GET, "/api/v1/pods?watch=1&fieldSelector=metadata.name=foo", "watch /v1 ns= pods foo");
    }

    #[test]
    fn paths_without_a_resource() {
        use Method as M;
        for path in
            ["/", "", "/api", "/api/", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/foo/v1/pods/x"]
        {
            check(M::GET, path, format!("get {path}").trim_end());
        }
        check(M::POST, "/apis/apps", "post /apis/apps");
        check(M::HEAD, "/healthz", "head /healthz");
    }

    #[test]
    fn long_running_requests() {
        for (method, target, want) in [
            (Method::GET, "/api/v1/pods?watch=1", true),
            (Method::GET, "/api/v1/namespaces/d/pods/p/log", true),
            (Method::POST, "/api/v1/namespaces/d/pods/p/exec", true),
            (Method::GET, "/api/v1/pods", false),
            (Method::GET, "/healthz", false),
        ] {
            let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
            assert_eq!(RequestInfo::parse(&method, path, &Query::parse(query)).is_long_running(), want, "{target}");
        }
    }
}
