//! UDP and TCP around the look-up.
//!
//! Questions about the cluster are answered where they are read, from the latest zone and without a task; what is forwarded gets a
//! task, and of those only so many that a dead upstream cannot eat the node.

use crate::forward::Upstreams;
use crate::lookup::Answer;
use crate::zone::Zone;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::DNSClass;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// Questions that wait for upstream at one time.
const MAX_FORWARDED: usize = 512;
const MAX_CONNECTIONS: usize = 128;
const IDLE: Duration = Duration::from_secs(10);
/// The largest datagram that passes everywhere without being torn (DNS flag day 2020).
const MAX_DATAGRAM: u16 = 1232;
/// Aliases followed for one question.
const MAX_ALIASES: usize = 8;

/// Bound sockets, not yet serving.
#[derive(Debug)]
pub struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    upstreams: Upstreams,
}

struct Context {
    zone: watch::Receiver<Arc<Zone>>,
    upstreams: Upstreams,
    forwarded: Semaphore,
    connections: Arc<Semaphore>,
    turn: AtomicUsize,
}

impl Server {
    /// Binds UDP and TCP to one address; with port 0, to one free port.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        Ok(Server { udp, tcp, upstreams: Upstreams::default() })
    }

    /// Where to forward what is not of the cluster; without, it is refused. Addresses of this server itself are left out.
    pub fn with_upstreams(mut self, upstreams: &Upstreams) -> io::Result<Self> {
        self.upstreams = upstreams.without(&[self.address()?]);
        Ok(self)
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Serves until dropped, always from the latest zone.
    pub async fn run(self, zone: watch::Receiver<Arc<Zone>>) {
        let context = Arc::new(Context {
            zone,
            upstreams: self.upstreams,
            forwarded: Semaphore::new(MAX_FORWARDED),
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            turn: AtomicUsize::new(0),
        });
        let (udp, tcp) = (Arc::new(self.udp), self.tcp);
        tokio::join!(datagrams(udp, context.clone()), connections(tcp, context));
    }
}

async fn datagrams(socket: Arc<UdpSocket>, context: Arc<Context>) {
    let mut buffer = vec![0; 4096];
    loop {
        let (n, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // A client that went away shows as an error of the next receive.
            Err(error) => {
                tracing::debug!(%error, "receive");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let query = match read(&buffer[..n]) {
            Ok(query) => query,
            Err(refusal) => {
                if let Some(refusal) = refusal {
                    let _ = socket.send_to(&refusal, client).await;
                }
                continue;
            }
        };
        let limit = query.edns.as_ref().map_or(512, Edns::max_payload).clamp(512, MAX_DATAGRAM);
        match context.local(&query) {
            Some(response) => drop(socket.send_to(&fit(response, limit), client).await),
            None => {
                let (socket, context) = (socket.clone(), context.clone());
                tokio::spawn(async move {
                    let response = context.forwarded(&query).await;
                    let _ = socket.send_to(&fit(response, limit), client).await;
                });
            }
        }
    }
}

async fn connections(listener: TcpListener, context: Arc<Context>) {
    loop {
        let Ok(permit) = context.connections.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let context = context.clone();
                tokio::spawn(async move {
                    // Clients hang up as they like.
                    let _ = connection(stream, &context).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Questions of one connection, in order.
async fn connection(mut stream: TcpStream, context: &Context) -> io::Result<()> {
    loop {
        let bytes = timeout(IDLE, async {
            let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
            stream.read_exact(&mut bytes).await?;
            Ok::<_, io::Error>(bytes)
        })
        .await??;
        let response = match read(&bytes) {
            Ok(query) => {
                let response = match context.local(&query) {
                    Some(response) => response,
                    None => context.forwarded(&query).await,
                };
                fit(response, u16::MAX)
            }
            Err(Some(refusal)) => refusal,
            Err(None) => return Ok(()),
        };
        let length = u16::try_from(response.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &response].concat()).await?;
    }
}

/// A query with exactly one question. The error is what to reply, if anything.
fn read(bytes: &[u8]) -> Result<Message, Option<Vec<u8>>> {
    let Some(id) = bytes.get(..2).map(|id| u16::from_be_bytes([id[0], id[1]])) else { return Err(None) };
    let refuse = |code| Err(Message::error_msg(id, OpCode::Query, code).to_vec().ok());
    // A response that is answered would be answered again.
    if bytes.get(2).is_none_or(|flags| flags & 0x80 != 0) {
        return Err(None);
    }
    match Message::from_vec(bytes) {
        Err(_) => refuse(ResponseCode::FormErr),
        Ok(query) if query.metadata.op_code != OpCode::Query => refuse(ResponseCode::NotImp),
        Ok(query) if query.queries.len() != 1 => refuse(ResponseCode::FormErr),
        Ok(query) => Ok(query),
    }
}

impl Context {
    /// The response, if the zone alone can give it.
    fn local(&self, query: &Message) -> Option<Message> {
        let zone = self.zone.borrow().clone();
        let mut response = start(query);
        let question = query.queries.first()?;
        if question.query_class() != DNSClass::IN {
            response.metadata.response_code = ResponseCode::Refused;
            return Some(response);
        }
        let mut name = question.name().clone();
        for _ in 0..MAX_ALIASES {
            match zone.answer(&name, question.query_type()) {
                Answer::NotOurs => return None,
                Answer::Alias(alias) => {
                    let (record, target) = *alias;
                    response.answers.push(record);
                    name = target;
                    continue;
                }
                Answer::Records(mut records, additional) => {
                    // Clients take the first address; each gets another one.
                    if records.len() > 1 {
                        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % records.len();
                        records.rotate_left(turn);
                    }
                    response.answers.extend(records);
                    response.additionals = additional;
                }
                negative => {
                    // With an alias in front of it, the alias itself exists.
                    if negative == Answer::NxDomain {
                        response.metadata.response_code = ResponseCode::NXDomain;
                    }
                    response.authorities.push(zone.soa());
                }
            }
            return Some(response);
        }
        response.metadata.response_code = ResponseCode::ServFail;
        Some(response)
    }

    /// The response with the help of upstream: for a name that is not ours, or an alias to one.
    async fn forwarded(&self, query: &Message) -> Message {
        let mut response = start(query);
        response.metadata.authoritative = false;
        let Ok(_permit) = self.forwarded.try_acquire() else {
            response.metadata.response_code = ResponseCode::ServFail;
            return response;
        };
        if self.upstreams.is_own(query) {
            tracing::warn!("a resolver that we forward to asks us in turn: check the node's resolv.conf");
            response.metadata.response_code = ResponseCode::ServFail;
            return response;
        }
        let zone = self.zone.borrow().clone();
        let mut outgoing = query.clone();
        let mut aliases = Vec::new();
        if let Some(question) = outgoing.queries.first_mut() {
            while let (Answer::Alias(alias), true) =
                (zone.answer(question.name(), question.query_type()), aliases.len() < MAX_ALIASES)
            {
                let (record, target) = *alias;
                aliases.push(record);
                question.set_name(target);
            }
        }
        match self.upstreams.ask(&outgoing).await {
            Ok(mut answer) => {
                answer.queries = query.queries.clone();
                answer.answers.splice(..0, aliases);
                answer
            }
            Err(error) => {
                let code = if error.kind() == io::ErrorKind::NotFound {
                    ResponseCode::Refused
                } else {
                    ResponseCode::ServFail
                };
                tracing::debug!(%error, "forward");
                // The alias is a fact even if its target cannot be resolved now.
                response.answers = aliases;
                response.metadata.response_code = code;
                response
            }
        }
    }
}

/// An empty authoritative response.
fn start(query: &Message) -> Message {
    let mut response = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    response.metadata.recursion_desired = query.metadata.recursion_desired;
    response.metadata.recursion_available = true;
    response.metadata.authoritative = true;
    response.queries = query.queries.clone();
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_DATAGRAM);
        response.set_edns(edns);
    }
    response
}

/// Encodes within `limit` bytes: additional records go first, then answers, and then the client is told to come by TCP.
fn fit(mut response: Message, limit: u16) -> Vec<u8> {
    loop {
        let Ok(bytes) = response.to_vec() else {
            let code = ResponseCode::ServFail;
            return Message::error_msg(response.metadata.id, OpCode::Query, code).to_vec().unwrap_or_default();
        };
        if bytes.len() <= usize::from(limit) {
            return bytes;
        }
        if !response.additionals.is_empty() {
            response.additionals.clear();
        } else if !response.answers.is_empty() {
            response.metadata.truncation = true;
            // Halving keeps a list of thousands from being encoded thousands of times.
            let keep = response.answers.len() / 2;
            response.answers.truncate(keep);
        } else {
            return response.truncate().to_vec().unwrap_or_default();
        }
    }
}
