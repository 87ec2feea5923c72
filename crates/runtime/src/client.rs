//! The daemon's end of a shim's socket: one control connection per pod, and a connection per session (exec, attach).

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::{mpsc, oneshot};

use crate::journal::Record;
use crate::layout::PodDir;
use crate::protocol::{self, Frame, Kind, Reply, Request};

/// A shim answers in milliseconds; one that does not within this time is stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(60);

/// Requests that wait for the shim to read them. A caller beyond that waits with its request.
const QUEUE: usize = 64;

/// The control connection. Requests are answered in order; events are handed over before the reply that follows them.
#[derive(Debug, Clone)]
pub struct Client {
    requests: mpsc::Sender<(Vec<u8>, oneshot::Sender<Reply>)>,
}

type Waiting = Arc<Mutex<VecDeque<oneshot::Sender<Reply>>>>;

impl Client {
    /// Connects. `on_event` is called for each record, in order; `on_close` once, when the shim is gone.
    pub async fn connect(
        dir: &PodDir,
        on_event: impl Fn(Record) + Send + 'static,
        on_close: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let (read, mut write) = open(dir).await?.into_split();
        let (requests, mut queue) = mpsc::channel::<(Vec<u8>, oneshot::Sender<Reply>)>(QUEUE);
        let waiting: Waiting = Arc::default();
        let waiters = waiting.clone();
        tokio::spawn(async move {
            while let Some((frame, reply)) = queue.recv().await {
                waiters.lock().push_back(reply);
                if write.write_all(&frame).await.is_err() {
                    break;
                }
            }
        });
        tokio::spawn(async move {
            if let Err(e) = listen(read, &waiting, on_event).await {
                tracing::warn!("shim: {e}");
            }
            waiting.lock().clear();
            on_close();
        });
        Ok(Self { requests })
    }

    /// Sends a request and waits for the reply. Safe to drop half-way: a request that is in the queue is carried out all
    /// the same, and one that still waits for a place in it never was.
    pub async fn call(&self, request: &Request) -> cri::Result<()> {
        let (reply, answer) = oneshot::channel();
        let frame = protocol::encode_json(Kind::Request, request);
        let asked = async {
            self.requests.send((frame, reply)).await.map_err(|_| gone())?;
            answer.await.map_err(|_| gone())
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(reply) => reply?.into(),
            Err(_) => Err(cri::Error::Unavailable("the pod's shim does not answer".into())),
        }
    }
}

fn gone() -> cri::Error {
    cri::Error::Unavailable("the pod's shim is gone".into())
}

async fn listen(mut read: OwnedReadHalf, waiting: &Waiting, on_event: impl Fn(Record)) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        if read.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        while let Some(frame) = protocol::decode(&mut buffer)? {
            match frame.kind {
                Kind::Event => on_event(serde_json::from_slice(&frame.payload)?),
                Kind::Reply => {
                    let reply = serde_json::from_slice(&frame.payload)?;
                    if let Some(waiter) = waiting.lock().pop_front() {
                        let _ = waiter.send(reply);
                    }
                }
                kind => return Err(io::Error::other(format!("unexpected frame {kind:?}"))),
            }
        }
    }
}

/// A connection that belongs to one exec, attach or socket.
#[derive(Debug)]
pub struct Session {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Session {
    /// Sends the request; returns the session and the descriptors that came with the reply.
    pub async fn open(dir: &PodDir, request: &Request) -> cri::Result<(Self, Vec<OwnedFd>)> {
        let lost = |e: io::Error| cri::Error::Unavailable(format!("the pod's shim is gone: {e}"));
        let mut stream = open(dir).await.map_err(lost)?;
        stream.write_all(&protocol::encode_json(Kind::Request, request)).await.map_err(lost)?;
        let mut session = Self { stream, buffer: Vec::new() };
        let mut fds = Vec::new();
        loop {
            if let Some(frame) = protocol::decode(&mut session.buffer).map_err(lost)? {
                let reply: Reply = serde_json::from_slice(&frame.payload).map_err(|e| lost(e.into()))?;
                cri::Result::<()>::from(reply)?;
                return Ok((session, fds));
            }
            if session.receive(&mut fds).await.map_err(lost)? == 0 {
                return Err(gone());
            }
        }
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = protocol::decode(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Asks for something on the session's way; the reply is one of the frames that come.
    pub async fn send(&mut self, request: &Request) -> io::Result<()> {
        self.stream.write_all(&protocol::encode_json(Kind::Request, request)).await
    }

    async fn receive(&mut self, fds: &mut Vec<OwnedFd>) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let received = loop {
            self.stream.readable().await?;
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut chunk)];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let tried = self.stream.try_io(Interest::READABLE, || {
                Ok(rustix::net::recvmsg(&self.stream, &mut parts, &mut control, flags)?)
            });
            match tried {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                Err(e) => return Err(e),
                Ok(message) => {
                    for part in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(rights) = part {
                            fds.extend(rights);
                        }
                    }
                    break message.bytes;
                }
            }
        };
        self.buffer.extend_from_slice(&chunk[..received]);
        Ok(received)
    }
}

/// Connects by way of a descriptor of the directory: a socket's path may have only 107 bytes.
async fn open(dir: &PodDir) -> io::Result<UnixStream> {
    let directory = std::fs::File::open(&dir.0)?;
    UnixStream::connect(format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd())).await
}

/// Makes the socket that a shim will listen on.
pub fn bind(dir: &PodDir) -> io::Result<std::os::unix::net::UnixListener> {
    let _ = std::fs::remove_file(dir.socket());
    let directory = std::fs::File::open(&dir.0)?;
    std::os::unix::net::UnixListener::bind(format!("/proc/self/fd/{}/shim.sock", directory.as_raw_fd()))
}
