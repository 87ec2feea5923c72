//! Asking the node's own resolvers.
//!
//! A query goes out with an id of our own and from a port of its own, and only an answer with that id to that question counts. The
//! ids in flight are remembered: a query that comes in with one of them and its question is our own come back, through a resolver that
//! asks us, and is refused instead of going round for ever.

use hickory_proto::op::{Message, Query};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long one resolver may take, and how often all are asked.
const PATIENCE: Duration = Duration::from_secs(2);
const ROUNDS: usize = 2;

/// The resolvers to forward to.
#[derive(Debug, Clone, Default)]
pub struct Upstreams(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    servers: Vec<SocketAddr>,
    /// The one that answered last; it is asked first.
    preferred: AtomicUsize,
    in_flight: Mutex<HashSet<(u16, Query)>>,
}

impl Upstreams {
    /// At most three, as libc reads resolv.conf.
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let servers = servers.into_iter().take(3).collect();
        Upstreams(Arc::new(Inner { servers, ..Inner::default() }))
    }

    /// Without those that are ourselves.
    pub(crate) fn without(&self, own: &[SocketAddr]) -> Self {
        let is_own = |server: &SocketAddr| {
            own.iter().any(|own| {
                let everywhere = own.ip().is_unspecified() && server.ip().is_loopback();
                own.port() == server.port() && (own.ip() == server.ip() || everywhere)
            })
        };
        Upstreams::new(self.0.servers.iter().filter(|server| !is_own(server)).copied())
    }

    /// Whether a query that came in is one of ours that came back.
    pub(crate) fn is_own(&self, query: &Message) -> bool {
        let in_flight = self.0.in_flight.lock();
        query.queries.first().is_some_and(|question| in_flight.contains(&(query.metadata.id, question.clone())))
    }

    /// Asks; the answer carries the id of `query`.
    pub(crate) async fn ask(&self, query: &Message) -> io::Result<Message> {
        let question = query.queries.first().cloned().ok_or(io::ErrorKind::InvalidInput)?;
        let mut outgoing = query.clone();
        outgoing.metadata.id = random();
        let flight = Flight { upstreams: self, key: (outgoing.metadata.id, question) };
        self.0.in_flight.lock().insert(flight.key.clone());
        let bytes = outgoing.to_vec().map_err(io::Error::other)?;
        let count = self.0.servers.len();
        let first = self.0.preferred.load(Ordering::Relaxed);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no upstream resolver");
        for n in 0..count * ROUNDS {
            let at = (first + n) % count;
            match exchange(self.0.servers[at], &bytes, &flight.key).await {
                Ok(mut answer) => {
                    self.0.preferred.store(at, Ordering::Relaxed);
                    answer.metadata.id = query.metadata.id;
                    return Ok(answer);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// Takes the query out of flight however the wait ends.
struct Flight<'a> {
    upstreams: &'a Upstreams,
    key: (u16, Query),
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.upstreams.0.in_flight.lock().remove(&self.key);
    }
}

async fn exchange(server: SocketAddr, query: &[u8], key: &(u16, Query)) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let answer = timeout(PATIENCE, async {
        let mut buffer = vec![0; 4096];
        loop {
            let n = socket.recv(&mut buffer).await?;
            // Anything else is stray or forged; the right answer may still come.
            if let Some(answer) = accept(&buffer[..n], key) {
                return Ok::<_, io::Error>(answer);
            }
        }
    })
    .await??;
    if !answer.metadata.truncation {
        return Ok(answer);
    }
    // A server without TCP leaves us with what came by UDP.
    Ok(timeout(PATIENCE, by_tcp(server, query, key)).await.ok().and_then(Result::ok).unwrap_or(answer))
}

async fn by_tcp(server: SocketAddr, query: &[u8], key: &(u16, Query)) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat()).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    accept(&answer, key).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn accept(bytes: &[u8], (id, question): &(u16, Query)) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let ours = answer.metadata.id == *id && answer.queries.first().is_none_or(|query| query == question);
    ours.then_some(answer)
}

fn random() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness an id can be guessed, but names still resolve.
    let _ = getrandom::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// The name servers of a resolv.conf.
pub fn resolv_conf(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A link-local address may carry its interface; without it there is no reaching the server.
        address.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
    };
    text.lines().filter_map(address).collect()
}
