//! Answers in other clothes than plain JSON.

use flate2::read::GzDecoder;
use http::header::{CONTENT_ENCODING, VARY};
use std::io::Read;
use testkit::{Cluster, json};

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
