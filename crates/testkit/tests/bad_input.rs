//! What is wrong with a request is said as upstream says it, and neither the connection nor the server suffers.

use testkit::{Answer, Caller, Cluster, Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "b"}})
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}], "automountServiceAccountToken": false}})
}

async fn post(admin: &Caller, path: &str, content_type: &str, body: &str) -> Answer {
    admin.send("POST", path, content_type, body.to_string()).await
}

#[tokio::test]
async fn malformed_bodies() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let head = "the object provided is unrecognized (must be of type ConfigMap): ";
    let unrecognized = format!("{head}couldn't get version/kind; ");
    let cases = [
        ("application/json", r#"{"metadata": "#, format!("{unrecognized}json parse error: ")),
        ("application/json", "", format!("{unrecognized}json parse error: ")),
        ("application/json", "{} {}", format!("{unrecognized}json parse error: ")),
        ("application/json", "{'a': 1}", format!("{unrecognized}json parse error: ")),
        ("application/json", "\u{0}\u{1}\u{2}", format!("{unrecognized}json parse error: ")),
        ("application/yaml", "a: [1", format!("{head}yaml: ")),
        ("application/yaml", "a: b: c", format!("{head}yaml: mapping values are not allowed in this context")),
        (
            "application/json",
            "[]",
            format!("{unrecognized}json parse error: json: cannot unmarshal array into Go value"),
        ),
        ("application/json", "7", "json: cannot unmarshal number into Go value".into()),
        ("application/json", "\"text\"", "json: cannot unmarshal string into Go value".into()),
    ];
    for (content_type, body, want) in cases {
        let message = post(&admin, MAPS, content_type, body).await.refused(400, "BadRequest");
        assert!(message.contains(&want), "{body:?}: {message}");
    }
    let answer = admin.send("POST", MAPS, "application/json", &b"{\"metadata\":{\"name\":\"\xff\xfe\"}}"[..]).await;
    assert!((400..500).contains(&answer.code), "bytes that are not UTF-8: {}", answer.text());
    admin.create(MAPS, &config_map("still-alive")).await;
}

#[tokio::test]
async fn depth_and_size() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let middle = if open == "[" { "" } else { "1" };
        let body = format!("{}{middle}{}", open.repeat(200_000), close.repeat(200_000));
        let answer = post(&admin, MAPS, "application/json", &body).await;
        answer.refused(400, "BadRequest");
        let answer = post(&admin, MAPS, "application/yaml", &body).await;
        answer.refused(400, "BadRequest");
    }
    // An alias bomb: small to send, huge to expand.
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let before = format!("*a{},", level - 1).repeat(10);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", before.trim_end_matches(',')));
    }
    post(&admin, MAPS, "application/yaml", &bomb).await.refused(400, "BadRequest");

    let big = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(3 << 20)}}).to_string();
    let message = post(&admin, MAPS, "application/json", &big).await.refused(413, "RequestEntityTooLarge");
    assert_eq!(message, "Request entity too large: limit is 3145728");
    let patch = admin.send("PATCH", &format!("{MAPS}/none"), "application/merge-patch+json", big).await;
    patch.refused(413, "RequestEntityTooLarge");
    let data = json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat((1 << 20) + 1)}});
    let message = admin.post(MAPS, &data).await.refused(422, "Invalid");
    assert_eq!(message, "ConfigMap \"big\" is invalid: []: Too long: may not be more than 1048576 bytes");
    let annotated = json!({"metadata": {"name": "big", "annotations": {"a": "x".repeat(256 << 10)}}});
    let message = admin.post(MAPS, &annotated).await.refused(422, "Invalid");
    assert_eq!(
        message,
        "ConfigMap \"big\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"
    );
    admin.create(MAPS, &config_map("still-alive")).await;
}

#[tokio::test]
async fn fields() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let strict = |path: &str| format!("{path}?fieldValidation=Strict");
    let cases = [
        (
            strict(MAPS),
            r#"{"metadata":{"name":"x","lables":{}},"dta":{}}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dta", unknown field "metadata.lables""#,
        ),
        (
            strict(MAPS),
            r#"{"metadata":{"name":"x"},"data":{"a":"1","a":"2"}}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: duplicate field "data.a""#,
        ),
        (
            strict(PODS),
            r#"{"metadata":{"name":"x"},"spec":{"containers":[{"name":"c","imge":"i"}]}}"#,
            r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.containers[0].imge""#,
        ),
        (
            MAPS.to_string(),
            r#"{"metadata":{"name":"x"},"data":{"a":1}}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data of type string"#,
        ),
        (
            MAPS.to_string(),
            r#"{"metadata":{"name":7}}"#,
            r#"ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string"#,
        ),
        (
            PODS.to_string(),
            r#"{"metadata":{"name":"x"},"spec":{"containers":{}}}"#,
            r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container"#,
        ),
        (
            MAPS.to_string(),
            r#"{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"x"}}"#,
            r#"ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
        ),
        (MAPS.to_string(), r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x"}}"#, "Pod"),
    ];
    for (path, body, want) in cases {
        let message = post(&admin, &path, "application/json", body).await.refused(400, "BadRequest");
        assert!(
            if want.len() < 10 { message.contains(want) } else { message == want },
            "{body}\n is {message}\n not {want}"
        );
    }
}

#[tokio::test]
async fn patches() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("p")).await;
    let path = format!("{MAPS}/p");
    let number = json!({"data": {"a": 1}});
    let message = admin.patch(&path, "strategic-merge", &number).await.refused(422, "Invalid");
    let why = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
    assert_eq!(message, format!(" \"\" is invalid: patch: Invalid value: \"map[data:map[a:1]]\": {why}"));
    let message = admin.patch(&path, "merge", &number).await.refused(422, "Invalid");
    assert!(
        message.starts_with(" \"\" is invalid: patch: Invalid value: \"{\\\"apiVersion\\\":\\\"v1\\\""),
        "{message}"
    );
    assert!(message.ends_with(why), "{message}");
    for (kind, body, want) in [
        ("merge-patch", "{", "error decoding patch: "),
        (
            "merge-patch",
            "[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "json-patch",
            "{}",
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            "strategic-merge-patch",
            "7",
            "error decoding patch: json: cannot unmarshal number into Go value of type map[string]interface {}",
        ),
    ] {
        let answer = admin.send("PATCH", &path, &format!("application/{kind}+json"), body).await;
        let message = answer.refused(400, "BadRequest");
        assert!(message.starts_with(want), "{kind} {body}: {message}");
    }
    let many: Vec<Value> = (0..10_001).map(|_| json!({"op": "test", "path": "/kind", "value": "ConfigMap"})).collect();
    admin.patch(&path, "json", &json!(many)).await.refused(413, "RequestEntityTooLarge");
    let operations = json!([{"op": "replace", "path": "/data/none", "value": "x"}]);
    admin.patch(&path, "json", &operations).await.refused(422, "Invalid");
    assert_eq!(admin.get(&path).await.expect(200)["data"], json!({"a": "b"}));
}

#[tokio::test]
async fn names() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let subdomain = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
    for name in ["Upper", "-dash", "under_score", "a..b", "ü", "a/b", "a b"] {
        let message = admin.post(MAPS, &config_map(name)).await.refused(422, "Invalid");
        assert_eq!(
            message,
            format!("ConfigMap \"{name}\" is invalid: metadata.name: Invalid value: \"{name}\": {subdomain}")
        );
    }
    let long = "a".repeat(254);
    let message = admin.post(MAPS, &config_map(&long)).await.refused(422, "Invalid");
    assert!(message.ends_with("must be no more than 253 characters"), "{message}");
    let message = admin.post(MAPS, &json!({"data": {}})).await.refused(422, "Invalid");
    assert_eq!(message, "ConfigMap \"\" is invalid: metadata.name: Required value: name or generateName is required");
    let message = admin.post("/api/v1/namespaces", &json!({"metadata": {"name": "a.b"}})).await.refused(422, "Invalid");
    assert!(message.ends_with("metadata.name: Invalid value: \"a.b\": must not contain dots"), "{message}");
    let mut labelled = config_map("labels");
    labelled["metadata"]["labels"] = json!({"a b": "c", "ok": "not ok!"});
    let message = admin.post(MAPS, &labelled).await.refused(422, "Invalid");
    assert!(message.contains("metadata.labels: Invalid value: \"a b\": name part must consist of"), "{message}");
    assert!(
        message.contains("metadata.labels: Invalid value: \"not ok!\": a valid label must be an empty string"),
        "{message}"
    );
    let mut broken = pod("p");
    broken["spec"]["containers"] = json!([]);
    let message = admin.post(PODS, &broken).await;
    // The account of the pod is looked up before.
    assert!(message.code == 422 || message.code == 403, "{}", message.text());
}

#[tokio::test]
async fn paths_and_methods() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("here")).await;
    for path in [
        "/api/v1/namespaces/default/nothings",
        "/api/v1/nothings/x",
        "/apis/none.example.com/v1/things",
        "/apis/apps/v9/deployments",
        "/api/v1/namespaces/default/configmaps/here/nothing",
        "/api/v1/namespaces/default/nodes",
        "/apis/apps",
        "/none",
    ] {
        let answer = admin.get(path).await;
        if path == "/none" {
            assert_eq!((answer.code, answer.text().as_str()), (404, "404 page not found\n"), "no matter of the API");
            continue;
        }
        if path == "/apis/apps" {
            answer.expect(200);
            continue;
        }
        let message = answer.refused(404, "NotFound");
        assert_eq!(message, "the server could not find the requested resource", "{path}");
    }
    for (method, path) in [
        ("POST", "/api/v1/configmaps"),
        ("POST", "/api/v1/namespaces/default/configmaps/here"),
        ("PUT", MAPS),
        ("PATCH", MAPS),
        ("DELETE", "/api/v1/configmaps"),
        ("POST", "/api/v1/namespaces/default/pods/p/status"),
        ("GET", "/api/v1/namespaces/default/pods/p/binding"),
        ("OPTIONS", MAPS),
        ("DELETE", "/version"),
        ("HEAD", MAPS),
    ] {
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let answer = admin.send(method, path, kind, "{}").await;
        if method == "HEAD" {
            assert_eq!(answer.code, 405);
            continue;
        }
        let message = answer.refused(405, "MethodNotAllowed");
        assert_eq!(message, "the server does not allow this method on the requested resource", "{method} {path}");
    }
}

#[tokio::test]
async fn identity_and_rights() {
    let cluster = Cluster::start().await;
    let (admin, jane) = (cluster.admin(), cluster.user("jane", &["dev"]));
    for token in ["rubbish", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "abcdef.0123456789abcdef"] {
        let answer = cluster.token(token).get("/api/v1/namespaces").await;
        assert_eq!(answer.refused(401, "Unauthorized"), "Unauthorized", "{token}");
    }
    let cases = [
        (
            "GET",
            MAPS,
            r#"configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace "default""#,
        ),
        (
            "GET",
            "/api/v1/namespaces/default/configmaps?watch=1",
            r#"configmaps is forbidden: User "jane" cannot watch resource "configmaps" in API group "" in the namespace "default""#,
        ),
        (
            "GET",
            "/api/v1/nodes/n",
            r#"nodes "n" is forbidden: User "jane" cannot get resource "nodes" in API group "" at the cluster scope"#,
        ),
        (
            "POST",
            "/apis/apps/v1/namespaces/default/deployments",
            r#"deployments.apps is forbidden: User "jane" cannot create resource "deployments" in API group "apps" in the namespace "default""#,
        ),
        (
            "PATCH",
            "/api/v1/namespaces/default/pods/p/status",
            r#"pods "p" is forbidden: User "jane" cannot patch resource "pods/status" in API group "" in the namespace "default""#,
        ),
        (
            "DELETE",
            MAPS,
            r#"configmaps is forbidden: User "jane" cannot deletecollection resource "configmaps" in API group "" in the namespace "default""#,
        ),
        ("GET", "/metrics", r#"forbidden: User "jane" cannot get path "/metrics""#),
    ];
    for (method, path, want) in cases {
        let message = jane.send(method, path, "", "").await.refused(403, "Forbidden");
        assert_eq!(message, want, "{method} {path}");
    }
    // A right that is missing is said before anything about the body or the object.
    let answer = jane.send("POST", MAPS, "text/plain", "rubbish").await;
    answer.refused(403, "Forbidden");
    admin.get("/readyz").await;
}

#[tokio::test]
async fn media_types() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    admin.create(MAPS, &config_map("m")).await;
    for kind in ["text/plain", "application/xml", "rubbish", "application/jsonx"] {
        let message = admin.send("POST", MAPS, kind, "{}").await.refused(415, "UnsupportedMediaType");
        let want = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        assert_eq!(message, want, "{kind}");
    }
    let message =
        admin.send("PATCH", &format!("{MAPS}/m"), "application/json", "{}").await.refused(415, "UnsupportedMediaType");
    assert_eq!(message, "415: Unsupported Media Type");
    // The router takes a wildcard for a whole type only.
    for kind in ["text/html", "application/xml", "rubbish", "application/*"] {
        let message = admin.with("accept", kind).get(MAPS).await.refused(406, "NotAcceptable");
        let head = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml";
        assert!(message.starts_with(head), "{message}");
    }
    for kind in ["*/*", "text/html, application/json;q=0.1", "application/json;charset=utf-8"] {
        admin.with("accept", kind).get(MAPS).await.expect(200);
    }
}

#[tokio::test]
async fn queries() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let now = admin.get(MAPS).await.expect(200)["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    for (query, code, part) in [
        ("labelSelector=a%20b", 400, "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("labelSelector=a%20in", 400, "unable to parse requirement"),
        ("labelSelector=%21%21", 400, "unable to parse requirement"),
        ("labelSelector=a%3Db%20c", 400, ""),
        ("labelSelector=-a", 400, "name part must consist of alphanumeric characters"),
        ("fieldSelector=spec.nodeName", 400, "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'"),
        ("fieldSelector=data.a%3Db", 400, "\"data.a\" is not a known field selector: only \"metadata.name\""),
        ("limit=many", 400, "strconv.ParseInt: parsing \"many\": invalid syntax"),
        // Upstream checks no limit: one below zero is none.
        ("limit=-1", 200, ""),
        ("continue=rubbish", 400, "continue key is not valid"),
        ("resourceVersion=abc", 400, "resourceVersion: Invalid value: \"abc\""),
        ("resourceVersion=-1", 400, "resourceVersion: Invalid value: \"-1\""),
        ("resourceVersionMatch=Sometimes", 422, "resourceVersionMatch: Unsupported value: \"Sometimes\""),
        ("resourceVersionMatch=Exact", 422, "resourceVersionMatch"),
        ("sendInitialEvents=true", 422, "sendInitialEvents is forbidden for list"),
        (
            "watch=1&sendInitialEvents=true",
            422,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        ("timeoutSeconds=soon", 400, "strconv.ParseInt"),
    ] {
        let answer = admin.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(answer.code, code, "{query}: {}", answer.text());
        let status = answer.json();
        let message = status["message"].as_str().unwrap_or_default();
        assert!(message.contains(part), "{query}: {message}");
    }
    for (query, part) in [
        (
            "dryRun=Maybe",
            "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Maybe\"]: supported values: \"All\"",
        ),
        ("fieldValidation=Perhaps", "fieldValidation: Invalid value: \"Perhaps\""),
    ] {
        let answer = admin.post(&format!("{MAPS}?{query}"), &config_map("q")).await;
        assert_eq!(answer.code, 422, "{query}: {}", answer.text());
        let message = answer.refused(422, "Invalid");
        assert!(
            message.contains(part) || query.starts_with("fieldV") && message.contains("fieldValidation"),
            "{query}: {message}"
        );
    }
    // A revision that is not there yet is waited for, a little.
    let future = format!("{MAPS}?resourceVersion={}", now.parse::<u64>().unwrap() + 1_000_000);
    let answer = admin.get(&future).await;
    assert_eq!(answer.code, 504, "{}", answer.text());
    assert!(answer.text().contains("Too large resource version: "), "{}", answer.text());
    let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Sometimes"});
    admin.delete(&format!("{MAPS}/none"), &options).await.refused(422, "Invalid");
    admin.delete(&format!("{MAPS}/none"), &json!({"kind": "Pod"})).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn stale_and_expired_revisions() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    for name in ["a", "b", "c"] {
        admin.create(MAPS, &config_map(name)).await;
    }
    let first = admin.get(&format!("{MAPS}?limit=1")).await.expect(200);
    let (token, old) =
        (first["metadata"]["continue"].as_str().unwrap(), first["metadata"]["resourceVersion"].as_str().unwrap());
    // More than the history of one kind holds.
    let filler = "x".repeat(1_000_000);
    for n in 0..55 {
        let data = json!({"data": {"filler": filler, "n": n.to_string()}});
        assert_eq!(admin.patch(&format!("{MAPS}/a"), "merge", &data).await.code, 200);
    }
    let message = admin.get(&format!("{MAPS}?limit=1&continue={token}")).await.refused(410, "Expired");
    assert!(
        message.starts_with("The provided continue parameter is too old to display a consistent list result."),
        "{message}"
    );
    let exact = format!("{MAPS}?resourceVersion={old}&resourceVersionMatch=Exact");
    let message = admin.get(&exact).await.refused(410, "Expired");
    assert!(message.starts_with("too old resource version"), "{message}");
    // As upstream: the watch is opened, and its only event is the error.
    let mut watch = admin.watch(&format!("{MAPS}?watch=1&resourceVersion={old}")).await;
    let (kind, status) = watch.next().await;
    assert_eq!(
        (kind.as_str(), &status["code"], &status["reason"]),
        ("ERROR", &json!(410), &json!("Expired")),
        "{status}"
    );
    assert!(watch.ended().await);
}

/// A client that says how much is to come is told before it has sent it.
#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = Cluster::start().await;
    let leaf = cluster.pki.ca.client("admin", Some("system:masters")).unwrap();
    let tls = net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).unwrap();
    let mut stream = net::Dialer::new(tls).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 4000000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"}") && !answer.ends_with(b"}\n") {
            let mut piece = [0; 4096];
            match stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => answer.extend_from_slice(&piece[..n]),
            }
        }
    };
    tokio::time::timeout(testkit::PATIENCE, read).await.expect("no answer");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("Request entity too large: limit is 3145728"), "{answer}");
}

/// More than a window of HTTP/2 and than a body may have, in pieces.
const PIECES: usize = 64;
const PIECE: usize = 1 << 16;

/// What is still on its way is taken, and the connection serves the next request. Some clients (hyper's) end it themselves.
#[tokio::test]
async fn a_body_that_is_too_large_is_answered_and_taken() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let cluster = Cluster::start().await;
    let leaf = cluster.pki.ca.client("admin", Some("system:masters")).unwrap();
    for announced in [true, false] {
        let tls = net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).unwrap();
        let stream = net::Dialer::new(tls).connect("127.0.0.1", cluster.address.port()).await.unwrap();
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (length, before, behind) = match announced {
            true => (format!("content-length: {}", PIECES * PIECE), "", ""),
            false => ("transfer-encoding: chunked".to_string(), "10000\r\n", "\r\n"),
        };
        let head =
            format!("POST {MAPS} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{length}\r\n\r\n");
        let piece = [before.as_bytes(), &vec![b'x'; PIECE], behind.as_bytes()].concat();
        let write = async {
            writer.write_all(head.as_bytes()).await?;
            for _ in 0..PIECES {
                writer.write_all(&piece).await?;
            }
            let end = if announced { "" } else { "0\r\n\r\n" };
            let next = format!("{end}GET {MAPS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
            writer.write_all(next.as_bytes()).await?;
            writer.flush().await
        };
        let mut answers = Vec::new();
        let both = async { tokio::join!(write, reader.read_to_end(&mut answers)) };
        let (written, _) = tokio::time::timeout(testkit::PATIENCE, both).await.expect("no end");
        written.unwrap_or_else(|e| panic!("announced: {announced}: {e}"));
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 413 "), "{answers}");
        assert!(answers.contains("Request entity too large: limit is 3145728"), "{answers}");
        assert!(answers.contains("HTTP/1.1 200 OK"), "the next request is answered, too: {answers}");
    }
}

/// The same over HTTP/2, where a stream that is left would be reset, and some clients (curl) then show that alone.
#[tokio::test]
async fn a_body_that_is_too_large_is_no_broken_stream() {
    use futures::StreamExt;
    use http_body_util::{BodyExt, Empty, StreamBody};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let cluster = Cluster::start().await;
    let leaf = cluster.pki.ca.client("admin", Some("system:masters")).unwrap();
    let tls = net::tls::client(cluster.pki.ca.roots(), Some(&leaf), false).unwrap();
    let stream = net::Dialer::new(tls).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let at = format!("https://localhost{MAPS}");
    for announced in [true, false] {
        // A piece is asked for once there is room for it, and none after a reset.
        let (all, mut sent) = tokio::sync::mpsc::unbounded_channel();
        let pieces = futures::stream::iter(1..=PIECES).map(move |n| {
            let _ = all.send(n);
            Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(bytes::Bytes::from(vec![b'x'; PIECE])))
        });
        let mut request = http::Request::post(&at).header("content-type", "application/json");
        if announced {
            request = request.header("content-length", PIECES * PIECE);
        }
        let request = request.body(StreamBody::new(pieces).boxed_unsync()).unwrap();
        let response = sender.send_request(request).await.unwrap_or_else(|e| panic!("announced: {announced}: {e}"));
        assert_eq!(response.status(), 413, "announced: {announced}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let status: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (&status["reason"], &status["message"]),
            (&json!("RequestEntityTooLarge"), &json!("Request entity too large: limit is 3145728"))
        );
        let taken = async { while sent.recv().await.expect("the stream was reset") < PIECES {} };
        tokio::time::timeout(testkit::PATIENCE, taken).await.expect("not taken");
    }
    let again = http::Request::get(&at).body(Empty::new().boxed_unsync()).unwrap();
    assert_eq!(sender.send_request(again).await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_connection_survives_everything() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::TokioIo;
    let cluster = Cluster::start().await;
    let leaf = cluster.pki.ca.client("admin", Some("system:masters")).unwrap();
    let tls = net::tls::client(cluster.pki.ca.roots(), Some(&leaf), true).unwrap();
    let stream = net::Dialer::new(tls).connect("127.0.0.1", cluster.address.port()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for (method, path, kind, body, want) in [
        ("POST", MAPS, "application/json", "{", 400),
        ("POST", MAPS, "text/plain", "a body that nobody reads", 415),
        ("PUT", "/api/v1/namespaces/default/nothings/x", "application/json", "{}", 404),
        ("PATCH", MAPS, "application/json", "{}", 405),
        ("GET", "/api/v1/namespaces/default/configmaps?limit=x", "", "", 400),
        ("POST", MAPS, "application/json", r#"{"metadata":{"name":"UPPER"}}"#, 422),
        ("POST", MAPS, "application/json", r#"{"metadata":{"name":"fine"}}"#, 201),
    ] {
        let request = http::Request::builder().method(method).uri(path).header("host", "localhost");
        let request = request.header("content-type", kind).body(Full::new(bytes::Bytes::from(body))).unwrap();
        sender.ready().await.unwrap_or_else(|e| panic!("before {method} {path}: {e}"));
        let response = sender.send_request(request).await.unwrap_or_else(|e| panic!("{method} {path}: {e}"));
        assert_eq!(response.status(), want, "{method} {path}");
        response.into_body().collect().await.unwrap();
    }
}

/// A Scale, an Eviction, a Binding and options of a deletion are held to their types, to the path and to the object; nothing
/// happens to an object by a body that says something else.
#[tokio::test]
async fn bodies_beside_objects_are_of_their_kind() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let (pods, sets) = ("/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/replicasets");
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    admin.create(accounts, &json!({"metadata": {"name": "bot"}})).await;
    let spec = json!({"serviceAccountName": "bot", "containers": [{"name": "c", "image": "i"}]});
    admin.create(pods, &json!({"metadata": {"name": "p"}, "spec": spec})).await;
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": spec});
    let set = json!({"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    admin.create(sets, &json!({"metadata": {"name": "r"}, "spec": set})).await;

    let (scale, evict, bind) = (format!("{sets}/r/scale"), format!("{pods}/p/eviction"), format!("{pods}/p/binding"));
    let token = format!("{accounts}/bot/token");
    let elsewhere = "the namespace of the provided object does not match the namespace sent on the request";
    for (method, path, body, code, want) in [
        (
            "PUT",
            &scale,
            json!({}),
            400,
            "the name of the object (r based on URL) was undeterminable: name must be provided",
        ),
        (
            "PUT",
            &scale,
            json!({"metadata": {"name": "x"}}),
            400,
            "the name of the object (x) does not match the name on the URL (r)",
        ),
        ("PUT", &scale, json!({"metadata": {"name": "r", "namespace": "x"}}), 400, elsewhere),
        (
            "PUT",
            &scale,
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"}}),
            400,
            r#"ReplicaSet in version "v1" cannot be handled as a Scale: converting (v1.ReplicaSet) to (autoscaling.Scale): unknown conversion"#,
        ),
        (
            "PUT",
            &scale,
            json!({"metadata": {"name": "r"}, "spec": {"replicas": "x"}}),
            400,
            r#"Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32"#,
        ),
        ("POST", &evict, json!({"metadata": {"name": "p", "namespace": "x"}}), 400, elsewhere),
        (
            "POST",
            &evict,
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
            400,
            r#"Pod in version "v1" cannot be handled as a Eviction: converting (v1.Pod) to (policy.Eviction): unknown conversion"#,
        ),
        ("POST", &bind, json!({"metadata": {"name": "p", "namespace": "x"}, "target": {"name": "n"}}), 400, elsewhere),
        (
            "POST",
            &bind,
            json!({"metadata": {"name": "p"}, "target": {"name": 1}}),
            400,
            r#"Binding in version "v1" cannot be handled as a Binding: json: cannot unmarshal number into Go struct field ObjectReference.target.name of type string"#,
        ),
        ("POST", &token, json!({"metadata": {"namespace": "x"}}), 400, elsewhere),
        (
            "POST",
            &token,
            json!({"metadata": {"name": "x"}}),
            422,
            r#"TokenRequest.authentication.k8s.io "bot" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified"#,
        ),
        (
            "DELETE",
            &format!("{pods}/p"),
            json!({"gracePeriodSeconds": "x"}),
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64",
        ),
    ] {
        let answer = admin.send(method, path, "application/json", body.to_string()).await;
        assert_eq!((answer.code, answer.json()["message"].as_str()), (code, Some(want)), "{method} {path} {body}");
    }
    for path in [format!("{pods}/p/log/x"), format!("{pods}/p/status/x")] {
        assert_eq!(admin.get(&path).await.code, 404, "{path}");
    }
    let begun = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    let said = admin.patch(&format!("{pods}/p"), "merge", &begun).await.refused(422, "Invalid");
    assert!(said.contains("metadata.deletionTimestamp: Invalid value"), "{said}");
    let pod = admin.get(&format!("{pods}/p")).await.expect(200);
    assert_eq!((&pod["metadata"]["deletionTimestamp"], &pod["spec"]["nodeName"]), (&Value::Null, &Value::Null));
}
