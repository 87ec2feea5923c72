//! Health is what the store says.

use apiserver::{Config, Server};
use base::Revision;
use http::Request;
use net::Body;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use store::{BoxFuture, CommitError, Item, Memory, OpenError, ReadError, Sink, Store, Txn};

/// A store whose disk fails when it is told to.
struct Failing {
    store: Arc<dyn Store>,
    failed: Arc<AtomicBool>,
}

impl Store for Failing {
    fn commit(&self, txn: Txn) -> BoxFuture<'_, Result<Revision, CommitError>> {
        match self.failed.load(Relaxed) {
            true => Box::pin(async { Err(CommitError::Io(Arc::new(std::io::Error::other("no disk")))) }),
            false => self.store.commit(txn),
        }
    }
    fn subscribe(&self, sink: Arc<dyn Sink>) -> BoxFuture<'_, Result<Revision, OpenError>> {
        self.store.subscribe(sink)
    }
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<(Revision, bytes::Bytes)>, ReadError>> {
        self.store.get(key)
    }
    fn range(&self, prefix: &str, after: Option<&str>, limit: usize) -> BoxFuture<'_, Result<Vec<Item>, ReadError>> {
        self.store.range(prefix, after, limit)
    }
    fn compact(&self, revision: Revision) -> BoxFuture<'_, Result<(), CommitError>> {
        self.store.compact(revision)
    }
    fn head(&self) -> Revision {
        self.store.head()
    }
}

#[tokio::test]
async fn a_store_that_failed_is_not_healthy() {
    let failed = Arc::new(AtomicBool::new(false));
    let code = async |fails: bool, path: &str| {
        let store = Failing { store: Memory::new(), failed: failed.clone() };
        failed.store(false, Relaxed);
        let config = Config {
            cluster: schema::ClusterConfig::default(),
            pki: pki::ClusterPki::ephemeral().unwrap(),
            advertise: ([127, 0, 0, 1], 6443).into(),
            request_headers: None,
            names: Vec::new(),
            access: apiserver::Access::default(),
            clock: Arc::new(base::clock::System),
            keys: apiserver::Keys::default(),
        };
        let server = Server::open(Arc::new(store), kinds::builtin(), config).await.unwrap();
        server.ensure_bootstrap().await.unwrap();
        failed.store(fails, Relaxed);
        server.call(Request::get(path).body(Body::Empty).unwrap()).await.status().as_u16()
    };
    for path in ["/livez", "/readyz", "/healthz"] {
        assert_eq!((code(false, path).await, code(true, path).await), (200, 500), "{path}");
    }
    assert_eq!(code(true, "/livez?exclude=etcd").await, 200);
}
