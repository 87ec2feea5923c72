//! port-forward: SPDY streams (plain, or inside a WebSocket, as kubectl has it), and WebSocket channels of its own.
//!
//! With SPDY the client opens an error stream and a data stream per connection, both naming port and request. With
//! `v4.channel.k8s.io` there are two channels per port, data and errors, whose first message holds the port (two bytes,
//! little-endian).

use super::{
    NodeEndpoint,
    multiplex::{self, Input, QUEUED},
    query,
    streams::{PIECE, frame},
};
use base::{Result, Status};
use bytes::Bytes;
use cri::ByteStream;
use futures::{SinkExt, Stream, StreamExt};
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use net::{
    Body,
    websocket::{self, Message, ServerSocket, WebSocketError},
};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
};

const SPDY: &str = "SPDY/3.1";
/// SPDY inside a WebSocket (KEP-4006).
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const PROTOCOL: &str = "portforward.k8s.io";
/// The longest message of a WebSocket. kubectl sends pieces of 32 KiB, the Python client 1 MiB and a channel's byte.
const LONGEST: usize = 2 << 20;

/// Answers in the protocol that the client offers.
pub(super) async fn serve(
    endpoint: &NodeEndpoint,
    namespace: &str,
    name: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>> {
    let (object, _) = endpoint.pod(namespace, name)?;
    let sandbox = endpoint.sandbox(&object.meta.uid).await?;
    let session = Session { endpoint: endpoint.clone(), sandbox };
    let upgrade = request.headers().get(header::UPGRADE).and_then(|u| u.to_str().ok()).unwrap_or_default();
    if upgrade.eq_ignore_ascii_case(SPDY) {
        return Ok(session.spdy(&mut request));
    }
    let protocols = [TUNNEL, "v4.channel.k8s.io", "channel.k8s.io"];
    let ports = ports(&request)?;
    let accepted = websocket::accept(&mut request, &protocols);
    let (response, pending) = accepted.map_err(|e| Status::bad_request(e.to_string()))?;
    let tunnel = pending.protocol == TUNNEL;
    if !tunnel && ports.is_empty() {
        return Err(Status::bad_request("query parameter \"port\" is required"));
    }
    tokio::spawn(async move {
        match pending.at_most(LONGEST).ready().await {
            Ok(socket) if tunnel => session.tunnel(socket).await,
            Ok(socket) => session.channels(socket, ports).await,
            Err(error) => tracing::debug!(%error, "port-forward"),
        }
    });
    Ok(response)
}

/// `ports=80&ports=81`, or one list with commas.
fn ports<B>(request: &Request<B>) -> Result<Vec<u16>> {
    let lists = [query(request).all("ports"), query(request).all("port")].concat();
    let numbers = lists.iter().flat_map(|list| list.split(',')).filter(|p| !p.is_empty()).map(str::parse);
    let numbers: std::result::Result<Vec<u16>, _> = numbers.collect();
    numbers.map_err(|_| Status::bad_request("ports: want numbers from 1 to 65535"))
}

/// One client's forwarding into one sandbox.
#[derive(Clone)]
struct Session {
    endpoint: NodeEndpoint,
    sandbox: String,
}

impl Session {
    fn spdy<B>(self, request: &mut Request<B>) -> Response<Body> {
        let upgrade = hyper::upgrade::on(request);
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => self.streams(TokioIo::new(upgraded)).await,
                Err(error) => tracing::debug!(%error, "port-forward"),
            }
        });
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
        headers.insert("x-stream-protocol-version", HeaderValue::from_static(PROTOCOL));
        response
    }

    /// Carries the bytes of SPDY in the messages of a WebSocket.
    async fn tunnel(self, socket: ServerSocket) {
        let (mut sink, mut source) = socket.split();
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let (mut from, mut to) = tokio::io::split(ours);
        let session = tokio::spawn(self.streams(theirs));
        let up = async {
            while let Some(Ok(message)) = source.next().await {
                match message {
                    Message::Binary(bytes) => match to.write_all(&bytes).await {
                        Ok(()) => {}
                        Err(_) => return,
                    },
                    Message::Close(_) => return,
                    _ => {}
                }
            }
        };
        let down = async {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(n @ 1..) = from.read(&mut buffer).await {
                if sink.send(Message::Binary(Bytes::copy_from_slice(&buffer[..n]))).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
        session.abort();
    }

    /// Speaks SPDY until the client goes.
    async fn streams(self, stream: impl AsyncRead + AsyncWrite + Send + 'static) {
        let (from, mut to) = tokio::io::split(stream);
        let (sender, mut outgoing) = mpsc::channel::<Vec<u8>>(16);
        let writing = tokio::spawn(async move {
            while let Some(frame) = outgoing.recv().await {
                if to.write_all(&frame).await.is_err() || to.flush().await.is_err() {
                    return;
                }
            }
        });
        let dial = move |port| {
            let session = self.clone();
            async move { session.endpoint.node.runtime.port_forward(&session.sandbox, port).await }
        };
        if let Err(error) = multiplex::serve(from, sender, dial).await {
            tracing::debug!(%error, "port-forward");
        }
        writing.abort();
    }

    /// Two channels per port. Each direction waits for itself alone: what a port does not take holds up what the client
    /// says to the others, and nothing that is said to the client.
    async fn channels(self, socket: ServerSocket, ports: Vec<u16>) {
        let (mut sink, mut source) = socket.split();
        let (sender, mut outgoing) = mpsc::channel::<Message>(16);
        let mut inputs: HashMap<u8, Input> = HashMap::new();
        let mut tasks = tokio::task::JoinSet::new();
        for (i, port) in ports.into_iter().enumerate().take(120) {
            let data = u8::try_from(2 * i).unwrap_or(254);
            for channel in [data, data + 1] {
                let _ = sink.send(frame(channel, &port.to_le_bytes())).await;
            }
            let (input, receiver) = Input::new();
            inputs.insert(data, input);
            let (session, sender) = (self.clone(), sender.clone());
            tasks.spawn(async move {
                match session.endpoint.node.runtime.port_forward(&session.sandbox, port).await {
                    Ok(stream) => pump(stream, receiver, sender, move |bytes| frame(data, bytes)).await,
                    Err(error) => {
                        let text = format!("an error occurred forwarding port {port}: {error}");
                        let _ = sender.send(frame(data + 1, text.as_bytes())).await;
                    }
                }
            });
        }
        drop(sender);
        let up = inward(&mut source, &inputs);
        let down = async {
            while let Some(message) = outgoing.recv().await {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            let _ = sink.close().await;
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }
}

/// From the client to the ports, until the client goes. A message is taken in pieces, so that what waits is counted in bytes.
async fn inward(
    source: &mut (impl Stream<Item = std::result::Result<Message, WebSocketError>> + Unpin),
    inputs: &HashMap<u8, Input>,
) {
    let room = Arc::new(Semaphore::new(QUEUED));
    while let Some(Ok(message)) = source.next().await {
        match message {
            Message::Binary(bytes) => {
                let Some((channel, data)) = bytes.split_first() else { continue };
                let Some(input) = inputs.get(channel) else { continue };
                for piece in data.chunks(PIECE) {
                    input.clone().send(Bytes::copy_from_slice(piece), room.clone()).await;
                }
            }
            Message::Close(_) => return,
            _ => {}
        }
    }
}

/// Copies both ways until the pod's end closes, or nobody takes its bytes any more.
pub(super) async fn pump<M: Send>(
    stream: Box<dyn ByteStream>,
    mut input: mpsc::Receiver<impl AsRef<[u8]> + Send>,
    output: mpsc::Sender<M>,
    make: impl Fn(&[u8]) -> M + Send,
) {
    let (mut read, mut write) = tokio::io::split(stream);
    let up = async {
        while let Some(bytes) = input.recv().await {
            if write.write_all(bytes.as_ref()).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
        // The other direction decides when the connection is over.
        std::future::pending::<()>().await;
    };
    let down = async {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(n @ 1..) = read.read(&mut buffer).await {
            if output.send(make(&buffer[..n])).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
