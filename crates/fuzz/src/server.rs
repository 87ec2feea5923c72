//! Requests, to a whole API server in memory: paths, queries, headers and bodies of any kind.
//!
//! An input is one request or several (`METHOD path`, header lines, an empty line, the body). The server is a new one after
//! some thousand requests, so an input meets what others left; a failure that needs that shows in the log of requests that
//! a panic prints. What would make the server call somebody (proxies, webhooks, aggregation) is left out.

use crate::parts;
use apiserver::{Access, Config, Keys, Server};
use base::{User, clock::System};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use pki::ClusterPki;
use schema::ClusterConfig;
use std::{
    cell::RefCell,
    net::SocketAddr,
    sync::{Arc, LazyLock},
};
use tokio::runtime::{Builder, Runtime};
use value::shared::InProcess;

/// Requests to one server.
const LIFE: usize = 5000;

/// One request for something to read.
pub fn request(data: &[u8]) {
    if let Some(asked) = Asked::read(data).filter(|asked| [Method::GET, Method::HEAD].contains(&asked.method)) {
        ask(asked);
    }
}

/// Several requests of any kind.
pub fn writes(data: &[u8]) {
    for asked in parts(data).into_iter().take(8).filter_map(Asked::read) {
        ask(asked);
    }
}

struct Asked {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl Asked {
    fn read(data: &[u8]) -> Option<Self> {
        let end = data.windows(2).position(|w| w == b"\n\n").unwrap_or(data.len());
        let head = std::str::from_utf8(&data[..end]).ok()?;
        let body = Bytes::copy_from_slice(data.get(end + 2..).unwrap_or_default());
        let mut lines = head.lines();
        let (method, path) = lines.next()?.split_once(' ')?;
        let headers = lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.into(), v.into())).collect();
        let asked = Asked { method: method.parse().ok()?, path: path.into(), headers, body };
        (!asked.leads_out()).then_some(asked)
    }
    /// To somebody else's server, or to a node.
    fn leads_out(&self) -> bool {
        let path = base::escape::decode(&self.path, true).to_lowercase();
        let named = ["proxy", "webhook", "apiservices", "exec", "attach", "portforward", "/log"];
        let body = self.body.to_ascii_lowercase();
        let spoken = |word: &[u8]| body.windows(word.len()).any(|w| w == word);
        named.iter().any(|word| path.contains(word))
            || [&b"ebhook"[..], b"clientconfig", b"\\u"].iter().any(|word| spoken(word))
    }
}

struct World {
    server: Server,
    asked: usize,
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
}

/// Keys are made once: they cost more than a server.
static PKI: LazyLock<ClusterPki> = LazyLock::new(|| ClusterPki::ephemeral().expect("keys"));

async fn opened() -> Server {
    let config = Config {
        cluster: ClusterConfig::default(),
        pki: PKI.clone(),
        advertise: SocketAddr::from(([192, 0, 2, 1], 6443)),
        request_headers: None,
        names: Vec::new(),
        access: Access::default(),
        clock: Arc::new(System),
        keys: Keys::default(),
    };
    let server = Server::open(store::Memory::new(), kinds::builtin(), config).await.unwrap_or_else(|e| panic!("{e}"));
    server.ensure_bootstrap().await.unwrap_or_else(|e| panic!("{e}"));
    server
}

fn ask(asked: Asked) {
    let mut request = Request::builder().method(asked.method.clone()).uri(asked.path.as_str());
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    let Ok(mut request) = request.body(Full::new(asked.body.clone())) else { return };
    let user = User { name: "fuzz".into(), groups: vec!["system:masters".into()], ..User::default() };
    request.extensions_mut().insert(InProcess { user: Arc::new(user), shared: false });
    // A watch answers as long as it is let.
    let endless = asked.path.contains("watch") || asked.path.contains("follow");
    WORLD.with_borrow_mut(|world| {
        RUNTIME.with(|runtime| {
            runtime.block_on(async {
                if world.as_ref().is_none_or(|world| world.asked > LIFE) {
                    *world = Some(World { server: opened().await, asked: 0 });
                }
                let Some(world) = world else { return };
                world.asked += 1;
                let response = world.server.call(request).await;
                let status = response.status().as_u16();
                if endless && response.status().is_success() {
                    return;
                }
                let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let (method, path) = (&asked.method, &asked.path);
                let text = String::from_utf8_lossy(&body);
                // Some refusals are 500 upstream, too; those have no reason.
                assert!(status != 500 || !text.contains("InternalError"), "{method} {path}: {text}");
            });
        });
    });
}
