//! placeholder
#[tokio::test]
async fn starts() {
    let start = std::time::Instant::now();
    let cluster = testkit::Cluster::start().await;
    println!("{:?}", start.elapsed());
    cluster.admin().get("/api/v1/namespaces").await.expect(200);
    println!("{:?}", start.elapsed());
}
