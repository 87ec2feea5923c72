//! The proxy subresources, against a real server on an address such as pods have.
//!
//! The whole cluster runs on a thread in a network namespace of its own, where that address is the test's: no address of
//! the host is used, and none is one that the rules about addresses exempt.

mod namespace;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use namespace::{POD_ADDRESS, beside_a_pod};
use std::{convert::Infallible, net::SocketAddr};
use testkit::{Answer, Caller, Cluster, Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const PODS: &str = "/api/v1/namespaces/default/pods";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const ENDPOINTS: &str = "/api/v1/namespaces/default/endpoints";

/// A server that says what it was asked.
async fn backend(tls: Option<pki::Leaf>) -> SocketAddr {
    let listener = TcpListener::bind((POD_ADDRESS, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    if let Some(leaf) = tls {
        let slot = net::CertificateSlot::new(&leaf).expect("a certificate");
        let roots = net::tls::roots(&leaf.cert_pem).expect("roots");
        let config = net::tls::server(slot, roots).expect("TLS");
        let (stop, stopping) = tokio::sync::watch::channel(false);
        tokio::spawn(async move {
            let _stop = stop;
            net::serve(listener, config, Echo, stopping, std::time::Duration::ZERO).await;
        });
        return address;
    }
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service_fn(|request| async { Ok::<_, Infallible>(answer(request).await) });
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(serving);
        }
    });
    address
}

#[derive(Clone)]
struct Echo;
impl net::Handler for Echo {
    type Connection = ();
    fn connected(&self, _: net::Peer) {}
    async fn handle(&self, (): &(), request: Request<Incoming>) -> Response<net::Body> {
        let (parts, body) = answer(request).await.into_parts();
        Response::from_parts(parts, net::Body::stream(body))
    }
}

async fn answer(mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let page = |kind: &'static str, text: &'static str| {
        let body = Response::builder().header(header::CONTENT_TYPE, kind).header("access-control-allow-origin", "*");
        body.body(Full::from(text)).expect("a response")
    };
    match request.uri().path() {
        "/page" => return page("text/html; charset=utf-8", "<a href=\"/next?a=1\">x</a><a href=\"near\">y</a>"),
        "/text" => return page("text/plain", "<a href=\"/next\">x</a>"),
        "/moved" => {
            let response = Response::builder().status(302).header(header::LOCATION, "/target/?q=1");
            return response.body(Full::default()).expect("a response");
        }
        "/teapot" => return Response::builder().status(418).body(Full::from("short")).expect("a response"),
        "/loud" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut stream = TokioIo::new(upgrade.await.expect("an upgrade"));
                let mut word = [0; 5];
                stream.read_exact(&mut word).await.expect("a word");
                stream.write_all(&word.to_ascii_uppercase()).await.expect("to answer");
            });
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            let response = response.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "loud");
            return response.body(Full::default()).expect("a response");
        }
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let headers: serde_json::Map<String, Value> = parts
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    let seen = json!({
        "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(Full::from(seen.to_string())).expect("a response")
}

/// A pod that runs at an address, with a declared port.
async fn pod(admin: &Caller, name: &str, address: &str, port: u16) {
    let containers = json!([{"name": "c", "image": "i", "ports": [{"containerPort": port, "name": "web"}]}]);
    let pod = json!({"metadata": {"name": name}, "spec": {"nodeName": "n", "containers": containers}});
    admin.create(PODS, &pod).await;
    let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}});
    admin.patch(&format!("{PODS}/{name}/status"), "merge", &status).await.expect(200);
}

fn location(answer: &Answer) -> String {
    String::from_utf8_lossy(answer.headers[header::LOCATION].as_bytes()).into_owned()
}

async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    let account = json!({"metadata": {"name": "default"}});
    let answer = cluster.admin().post("/api/v1/namespaces/default/serviceaccounts", &account).await;
    assert!(matches!(answer.code, 201 | 409), "{}", answer.text());
    cluster
}

#[test]
fn a_request_reaches_a_pod_as_it_was_made() {
    beside_a_pod(|| async {
        let cluster = cluster().await;
        let admin = cluster.admin();
        let backend = backend(None).await;
        pod(&admin, "p", POD_ADDRESS, backend.port()).await;
        let proxy = format!("{PODS}/p/proxy");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            let body = if method == "GET" { "" } else { "said" };
            let caller = admin.with("X-Own", "1").with("Cookie", "c=d").with("X-Remote-User", "root");
            let answer = caller.send(method, &format!("{proxy}/a%2Fb/c%20d/?x=1&x=%2F"), "text/own", body).await;
            let seen = answer.expect(200);
            assert_eq!((&seen["method"], &seen["uri"]), (&method.into(), &"/a%2Fb/c%20d/?x=1&x=%2F".into()), "{seen}");
            assert_eq!(seen["body"], body);
            let headers = &seen["headers"];
            assert_eq!(headers["x-own"], "1");
            assert_eq!(headers["cookie"], "c=d");
            assert_eq!(headers["content-type"], "text/own");
            assert_eq!(headers["x-forwarded-uri"], format!("{proxy}/a%2Fb/c%20d/"));
            assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
            assert_eq!(headers["host"], cluster.address.to_string());
            for absent in ["authorization", "x-remote-user"] {
                assert!(headers[absent].is_null(), "{headers}");
            }
        }
        assert_eq!(admin.send("HEAD", &format!("{proxy}/x"), "", "").await.text(), "");
        let teapot = admin.get(&format!("{proxy}/teapot")).await;
        assert_eq!((teapot.code, teapot.text()), (418, "short".into()));
        cluster.stop().await;
    });
}

#[test]
fn names_and_ports() {
    beside_a_pod(|| async {
        let cluster = cluster().await;
        let admin = cluster.admin();
        let plain = backend(None).await;
        let leaf = cluster.pki.ca.server("not-this-name", &[]).expect("a certificate");
        let tls = backend(Some(leaf)).await;
        pod(&admin, "p", POD_ADDRESS, plain.port()).await;
        for id in [
            "p".into(),
            format!("p:{}", plain.port()),
            format!("http:p:{}", plain.port()),
            format!("https:p:{}", tls.port()),
        ] {
            let seen = admin.get(&format!("{PODS}/{id}/proxy/a")).await.expect(200);
            assert_eq!(seen["uri"], "/a", "{id}");
        }
        let ports = json!([{"name": "web", "port": 80}, {"name": "tls", "port": 443}]);
        admin.create(SERVICES, &json!({"metadata": {"name": "s"}, "spec": {"ports": ports}})).await;
        let said = admin.get(&format!("{SERVICES}/s:web/proxy/")).await.refused(404, "NotFound");
        assert_eq!(said, "endpoints \"s\" not found");
        let target = json!({"kind": "Pod", "namespace": "default", "name": "p"});
        let subsets = json!([{
            "addresses": [{"ip": POD_ADDRESS, "targetRef": target}],
            "ports": [{"name": "web", "port": plain.port()}, {"name": "tls", "port": tls.port()}],
        }]);
        admin.create(ENDPOINTS, &json!({"metadata": {"name": "s"}, "subsets": subsets})).await;
        for id in ["s:web", "s:80", "http:s:web", "https:s:tls", "https:s:443"] {
            let seen = admin.get(&format!("{SERVICES}/{id}/proxy/a?b")).await.expect(200);
            assert_eq!(seen["uri"], "/a?b", "{id}");
        }
        for (path, want) in [
            (format!("{SERVICES}/s/proxy/"), "no endpoints available for service \"s\""),
            (format!("{SERVICES}/s:81/proxy/"), "no service port 81 found for service \"s\""),
        ] {
            assert_eq!(admin.get(&path).await.refused(503, "ServiceUnavailable"), want);
        }
        let said = admin.get(&format!("{PODS}/ftp:p:1/proxy/")).await.refused(400, "BadRequest");
        assert_eq!(said, "invalid pod request \"ftp:p:1\"");
        let said = admin.get(&format!("{PODS}/https:p:{}/proxy/", plain.port())).await;
        let said = said.refused(503, "ServiceUnavailable");
        assert_eq!(said, "error trying to reach service: http: server gave HTTP response to HTTPS client");
        let said = admin.get(&format!("{PODS}/p:1/proxy/")).await.refused(503, "ServiceUnavailable");
        assert_eq!(
            said,
            format!("error trying to reach service: dial tcp {POD_ADDRESS}:1: connect: connection refused")
        );
        cluster.stop().await;
    });
}

#[test]
fn links_lead_back() {
    beside_a_pod(|| async {
        let cluster = cluster().await;
        let admin = cluster.admin();
        let backend = backend(None).await;
        pod(&admin, "p", POD_ADDRESS, backend.port()).await;
        let proxy = format!("{PODS}/p/proxy");
        let page = admin.get(&format!("{proxy}/page")).await;
        assert_eq!(page.text(), format!("<a href=\"{proxy}/next?a=1\">x</a><a href=\"near\">y</a>"));
        assert!(!page.headers.contains_key("access-control-allow-origin"));
        assert_eq!(admin.get(&format!("{proxy}/text")).await.text(), "<a href=\"/next\">x</a>");
        let moved = admin.get(&format!("{proxy}/moved")).await;
        assert_eq!((moved.code, location(&moved)), (302, format!("{proxy}/target/?q=1")));
        let slash = admin.get(&format!("{proxy}?q=1")).await;
        assert_eq!((slash.code, location(&slash)), (301, format!("{proxy}/?q=1")));
        // Only reading is led elsewhere.
        assert_eq!(admin.send("POST", &proxy, "", "").await.expect(200)["uri"], "/");
        cluster.stop().await;
    });
}

#[test]
fn who_may_and_where_to() {
    beside_a_pod(|| async {
        let cluster = cluster().await;
        let admin = cluster.admin();
        let backend = backend(None).await;
        for (name, address) in [("own", "192.0.2.1"), ("near", "127.0.0.1"), ("meta", "169.254.169.254")] {
            pod(&admin, name, address, 6443).await;
            let said = admin.get(&format!("{PODS}/{name}/proxy/")).await.refused(400, "BadRequest");
            assert_eq!(said, "address not allowed", "{name}");
        }
        pod(&admin, "p", POD_ADDRESS, backend.port()).await;
        // An address without a pod, and one of another pod's.
        let foreign = json!([{"ip": POD_ADDRESS}, {"ip": "10.211.0.8", "targetRef": {"kind": "Pod", "namespace": "default", "name": "p"}}]);
        let subsets = json!([{"addresses": foreign, "ports": [{"port": backend.port()}]}]);
        admin.create(ENDPOINTS, &json!({"metadata": {"name": "s"}, "subsets": subsets})).await;
        admin.get(&format!("{SERVICES}/s/proxy/")).await.refused(404, "NotFound");
        let ports = json!([{"port": 80}]);
        admin.create(SERVICES, &json!({"metadata": {"name": "s"}, "spec": {"ports": ports}})).await;
        admin.get(&format!("{SERVICES}/s/proxy/")).await.refused(503, "ServiceUnavailable");

        let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
        let rules = json!([{"apiGroups": [""], "resources": ["pods/proxy"], "verbs": ["get"]}, {"apiGroups": [""], "resources": ["pods"], "verbs": ["*"]}]);
        admin.create(&format!("{rbac}/roles"), &json!({"metadata": {"name": "r"}, "rules": rules})).await;
        let subjects = json!([{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "reader"}]);
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"});
        let binding = json!({"metadata": {"name": "r"}, "subjects": subjects, "roleRef": role});
        admin.create(&format!("{rbac}/rolebindings"), &binding).await;
        let reader = cluster.user("reader", &[]);
        reader.get(&format!("{PODS}/p/proxy/a")).await.expect(200);
        for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
            reader.send(method, &format!("{PODS}/p/proxy/a"), "", "").await.refused(403, "Forbidden");
        }
        reader.get(&format!("{SERVICES}/s/proxy/")).await.refused(403, "Forbidden");
        cluster.stop().await;
    });
}

#[test]
fn connections_are_joined() {
    beside_a_pod(|| async {
        let cluster = cluster().await;
        let backend = backend(None).await;
        pod(&cluster.admin(), "p", POD_ADDRESS, backend.port()).await;
        let leaf = cluster.pki.ca.client("admin", Some("system:masters")).expect("a certificate");
        let config = net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).expect("TLS");
        let dialer = net::Dialer::new(config);
        let ask = |path: &str| {
            let request = Request::builder().uri(format!("{PODS}/p/proxy{path}")).header(header::HOST, "localhost");
            let request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "loud");
            request.body(net::Body::Empty).expect("a request")
        };
        let mut response = dialer.request("127.0.0.1", cluster.address.port(), ask("/loud")).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(response.headers()[header::UPGRADE], "loud");
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.expect("an upgrade"));
        stream.write_all(b"hello").await.expect("to write");
        let mut word = [0; 5];
        stream.read_exact(&mut word).await.expect("to read");
        assert_eq!(&word, b"HELLO");
        // A refusal is passed on, and no answer to an upgrade is none.
        let refused = dialer.request("127.0.0.1", cluster.address.port(), ask("/teapot")).await.expect("an answer");
        assert_eq!(refused.status(), 418);
        let ignored = dialer.request("127.0.0.1", cluster.address.port(), ask("/a")).await.expect("an answer");
        assert_eq!(ignored.status(), 500);
        cluster.stop().await;
    });
}
