//! A bad road to an etcd, for tests: it passes calls on, loses answers, loses requests, or keeps requests and delivers them
//! later, as whoever holds it decides call by call; and it may end all connections.
//!
//! HTTP/2 is spoken on both sides, so that a call's fate is decided and not guessed from bytes: which call lost what is
//! the same in every run.

use crate::{Endpoint, lab::Lab};
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
};

/// What becomes of a call.
pub enum Fate {
    Pass,
    /// It is made, and its answer does not come back.
    LoseAnswer,
    /// It is not made.
    LoseRequest,
    /// Its caller is told nothing; it is made by [`Meddler::deliver`].
    Late,
    /// It is made when this is sent, or dropped.
    After(oneshot::Receiver<()>),
}

/// Decides by the path of a call and its message.
type Decide = dyn Fn(&str, &[u8]) -> Fate + Send + Sync;
type Body = Either<Full<Bytes>, Incoming>;

pub struct Meddler {
    pub endpoint: Endpoint,
    to: String,
    /// Counts up with each cut; odd: nothing passes.
    cut: watch::Sender<u64>,
    late: Arc<Mutex<Vec<Request<Bytes>>>>,
}

impl Meddler {
    /// A road to the first member, which serves in this runtime. Streams always pass.
    pub async fn to(lab: &Lab, decide: impl Fn(&str, &[u8]) -> Fate + Send + Sync + 'static) -> Meddler {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|e| panic!("a port: {e}"));
        let port = listener.local_addr().map_or(0, |address| address.port());
        let to = lab.url(0).trim_start_matches("http://").to_string();
        let (cut, cuts) = watch::channel(0);
        let (decide, late): (Arc<Decide>, _) = (Arc::new(decide), Arc::new(Mutex::new(Vec::new())));
        let road = Road { to: to.clone(), decide, late: late.clone() };
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let (road, mut cuts) = (road.clone(), cuts.clone());
                let began = *cuts.borrow_and_update();
                if began % 2 == 0 {
                    tokio::spawn(async move {
                        tokio::select! {
                            () = road.serve(from) => {}
                            _ = cuts.wait_for(|now| *now != began) => {}
                        }
                    });
                }
            }
        });
        Meddler { endpoint: Endpoint::Tcp { host: "127.0.0.1".into(), port }, to, cut, late }
    }

    /// Ends all connections; others may come.
    pub fn cut(&self) {
        self.cut.send_modify(|n| *n += 2);
    }
    /// Lets connections come, or ends them all.
    pub fn set(&self, open: bool) {
        self.cut.send_modify(|n| *n = (*n + 2) / 2 * 2 + u64::from(!open));
    }
    /// How many requests are kept.
    pub fn kept(&self) -> usize {
        self.late.lock().len()
    }
    /// Makes the calls that were kept, in order; the messages that answered them (empty: an error).
    pub async fn deliver(&self) -> Vec<Bytes> {
        let late = std::mem::take(&mut *self.late.lock());
        let mut answers = Vec::with_capacity(late.len());
        for request in late {
            let mut sender = connect(&self.to).await.unwrap_or_else(|| panic!("{} does not answer", self.to));
            let answer = sender.send_request(request.map(|body| Either::Left(Full::new(body)))).await;
            let body = answer.unwrap_or_else(|e| panic!("{}: {e}", self.to)).into_body().collect().await;
            let body = body.map(|body| body.to_bytes()).unwrap_or_default();
            // Behind a flag and a length.
            answers.push(if body.len() > 5 { body.slice(5..) } else { Bytes::new() });
        }
        answers
    }
}

#[derive(Clone)]
struct Road {
    to: String,
    decide: Arc<Decide>,
    late: Arc<Mutex<Vec<Request<Bytes>>>>,
}

async fn connect(to: &str) -> Option<hyper::client::conn::http2::SendRequest<Body>> {
    let stream = TcpStream::connect(to).await.ok()?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
    // Ends when nothing holds its sender any more.
    tokio::spawn(connection);
    Some(sender)
}

impl Road {
    /// One connection. What passes on it is made on one of its own.
    async fn serve(self, from: TcpStream) {
        let Some(sender) = connect(&self.to).await else { return };
        let service = service_fn(move |request| self.clone().pass(sender.clone(), request));
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(from), service)
            .await;
    }

    async fn pass(
        self,
        mut sender: hyper::client::conn::http2::SendRequest<Body>,
        request: Request<Incoming>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error + Send + Sync>> {
        if request.uri().path() == "/etcdserverpb.Watch/Watch" {
            return Ok(sender.send_request(request.map(Either::Right)).await?);
        }
        let (head, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let request = Request::from_parts(head, body);
        let fate = (self.decide)(request.uri().path(), request.body().get(5..).unwrap_or_default());
        let lost = matches!(fate, Fate::LoseAnswer);
        match fate {
            Fate::LoseRequest => return Err("lost".into()),
            Fate::Late => {
                self.late.lock().push(request);
                return Err("kept".into());
            }
            Fate::After(told) => drop(told.await),
            Fate::Pass | Fate::LoseAnswer => {}
        }
        let answer = sender.send_request(request.map(|body| Either::Left(Full::new(body)))).await?;
        match lost {
            // It is made: etcd has begun to answer.
            true => Err("the answer is lost".into()),
            false => Ok(answer),
        }
    }
}
