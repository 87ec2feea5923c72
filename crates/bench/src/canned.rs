//! The ceiling's server: hyper and TLS, no logic. A process of its own, as the API server is.
//!
//! `POST` reads the body and answers 4.5 KB, `GET /object` answers 4.5 KB, `GET /list` 20 MB from one buffer,
//! `GET /watch?N` streams N frames of 1.5 KB as fast as they are taken.

use crate::objects;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pki::Authority;
use rustls::ServerConfig;
use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Bytes of the list.
pub const LIST: usize = 20_000_000;

/// What is sent again and again.
struct Canned {
    object: Bytes,
    list: Bytes,
    frames: Bytes,
}

/// Frames of a watch are sent together up to this size, as the API server does.
const TOGETHER: usize = 20;

/// Prints its port and serves until its standard input ends.
pub async fn serve() -> Result<(), String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| e.to_string())?;
    println!("{}", listener.local_addr().map_err(|e| e.to_string())?.port());
    let acceptor = TlsAcceptor::from(tls()?);
    let frame: Vec<u8> = [objects::config_map("canned", 1499), b"\n".to_vec()].concat();
    let canned = Arc::new(Canned {
        object: objects::pod("canned", 4500).into(),
        list: vec![b'x'; LIST].into(),
        frames: frame.repeat(TOGETHER).into(),
    });
    // Whoever started this holds the other end of the input.
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    loop {
        let (stream, _) = listener.accept().await.map_err(|e| e.to_string())?;
        let _ = stream.set_nodelay(true);
        let (acceptor, canned) = (acceptor.clone(), canned.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| answer(canned.clone(), request));
            let io = TokioIo::new(stream);
            // A client that goes away is the usual end.
            let _ = if two {
                let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                builder.max_concurrent_streams(1000).max_send_buf_size(1 << 20).initial_stream_window_size(1 << 20);
                builder.serve_connection(io, service).await
            } else {
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
            };
        });
    }
}

fn tls() -> Result<Arc<ServerConfig>, String> {
    let authority = Authority::new("bench").map_err(|e| e.to_string())?;
    let leaf = authority.server("bench", &["127.0.0.1".into()]).map_err(|e| e.to_string())?;
    let (chain, key) = (leaf.chain().map_err(|e| e.to_string())?, leaf.key().map_err(|e| e.to_string())?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|e| e.to_string())?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

type Answer = Response<Either<Full<Bytes>, Frames>>;

async fn answer(canned: Arc<Canned>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let full = |bytes: &Bytes| Either::Left(Full::new(bytes.clone()));
    let (code, body) = match (request.method(), request.uri().path()) {
        (&Method::POST, _) => {
            let _ = request.into_body().collect().await;
            (StatusCode::CREATED, full(&canned.object))
        }
        (_, "/list") => (StatusCode::OK, full(&canned.list)),
        (_, "/watch") => {
            let left = request.uri().query().and_then(|q| q.parse().ok()).unwrap_or(0);
            (StatusCode::OK, Either::Right(Frames { together: canned.frames.clone(), left }))
        }
        _ => (StatusCode::OK, full(&canned.object)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// A watch of canned events.
struct Frames {
    together: Bytes,
    left: usize,
}

impl http_body::Body for Frames {
    type Data = Bytes;
    type Error = Infallible;
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let n = self.left.min(TOGETHER);
        self.left -= n;
        let bytes = self.together.slice(..self.together.len() / TOGETHER * n);
        Poll::Ready((n > 0).then(|| Ok(Frame::data(bytes))))
    }
}
