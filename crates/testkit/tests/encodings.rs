//! Answers in other clothes than plain JSON.

use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, VARY};
use std::io::Read;
use testkit::{Caller, Cluster, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_take_it() {
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let text = "compressible ".repeat(2000);
    for i in 0..6 {
        admin.create(MAPS, &json!({"metadata": {"name": format!("m{i}")}, "data": {"text": text}})).await;
    }
    let plain = admin.get(MAPS).await;
    assert!(plain.body.len() > 128 * 1024 && !plain.headers.contains_key(CONTENT_ENCODING));
    let packed = admin.with("accept-encoding", "gzip").get(MAPS).await;
    assert_eq!((packed.code, packed.headers[CONTENT_ENCODING].to_str().unwrap()), (200, "gzip"));
    assert!(packed.headers.get_all(VARY).iter().any(|v| v == "Accept-Encoding"));
    assert!(packed.body.len() < plain.body.len() / 10);
    let mut whole = Vec::new();
    GzDecoder::new(&packed.body[..]).read_to_end(&mut whole).unwrap();
    assert_eq!(whole, plain.body);
    let small = admin.with("accept-encoding", "gzip").get(&format!("{MAPS}/m1")).await;
    assert!(!small.headers.contains_key(CONTENT_ENCODING));
}

/// The frames that the server has encoded for watches, by encoding.
async fn encoded(admin: &Caller, encoding: &str) -> u64 {
    let text = admin.get("/metrics").await.text();
    let name = format!("ferry_watch_frames_encoded_total{{encoding=\"{encoding}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn an_event_is_encoded_once_for_all_watchers() {
    const WATCHERS: usize = 1000;
    const EVENTS: usize = 10;
    let cluster = Cluster::start().await;
    let admin = cluster.admin();
    let revision = admin.get(MAPS).await.json()["metadata"]["resourceVersion"].as_str().unwrap().to_string();
    let path = format!("{MAPS}?watch=1&resourceVersion={revision}");
    let mut watches = Vec::new();
    for _ in 0..WATCHERS {
        watches.push(admin.watch(&path).await);
    }
    let (json, protobuf) = (encoded(&admin, "json").await, encoded(&admin, "protobuf").await);
    for i in 0..EVENTS {
        admin.create(MAPS, &json!({"metadata": {"name": format!("m{i}")}})).await;
    }
    let expected: Vec<String> = (0..EVENTS).map(|i| format!("ADDED m{i}")).collect();
    for watch in &mut watches {
        assert_eq!(watch.lines(EVENTS).await, expected);
    }
    assert_eq!(encoded(&admin, "json").await - json, EVENTS as u64);
    let binary = admin.with("accept", "application/vnd.kubernetes.protobuf;stream=watch");
    for _ in 0..3 {
        binary.first_frame(&path, |bytes| (!bytes.is_empty()).then_some(())).await;
    }
    assert_eq!(encoded(&admin, "protobuf").await - protobuf, EVENTS as u64);
}
