//! The members of an etcd as one server: calls go to one of them, and to the next when it does not answer.
//!
//! Only reads are repeated in here. What a failed write has done is its caller's question.

use crate::proto::{
    RangeRequest, RangeResponse, StatusRequest, StatusResponse, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
};
use grpc::{Answers, Channel, Code, Endpoint, Status, duplex, unary};
use prost::Message;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// etcd gives up on a proposal after seven seconds by itself.
const CALL: Duration = Duration::from_secs(10);
/// A linearizable read takes a round of heartbeats; a member that needs longer has no quorum.
const READ: Duration = Duration::from_secs(5);
/// How long a read goes from member to member. Elections take a few seconds.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

/// Whose last revision a servers' compaction is coordinated by; read to learn the present revision.
pub const COMPACT_KEY: &[u8] = b"compact_rev_key";

pub struct Members {
    channels: Vec<Channel>,
    /// The one in use; counts on for ever.
    turn: AtomicUsize,
}

impl Members {
    pub fn new(endpoints: &[Endpoint]) -> Self {
        Members { channels: endpoints.iter().cloned().map(Channel::new).collect(), turn: AtomicUsize::new(0) }
    }

    /// The member in use, and whose turn it is, for [`Members::leave`].
    pub fn now(&self) -> (usize, &Channel) {
        let turn = self.turn.load(Ordering::Relaxed);
        (turn, &self.channels[turn % self.channels.len()])
    }

    /// Goes on to the next member, unless somebody else has already.
    pub fn leave(&self, turn: usize) {
        let _ = self.turn.compare_exchange(turn, turn + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A call that may be made twice: at member after member until one answers.
    pub async fn read<M, R>(&self, path: &'static str, message: M) -> Result<R, Status>
    where
        M: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (turn, channel) = self.now();
            match unary(channel, path, message.clone(), READ).await {
                Err(e) if is_transient(&e) && Instant::now() < deadline => {
                    tracing::debug!(member = %channel.endpoint(), "etcd: {}", e.message());
                    self.leave(turn);
                    sleep(PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Linearizable unless the request says otherwise.
    pub async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.read("/etcdserverpb.KV/Range", request).await
    }

    /// The revision that etcd has now: of an empty linearizable read.
    pub async fn revision(&self) -> Result<i64, Status> {
        let key = prost::bytes::Bytes::from_static(COMPACT_KEY);
        let answer = self.range(RangeRequest { key, count_only: true, ..Default::default() }).await?;
        Ok(answer.header.map_or(0, |header| header.revision))
    }

    /// One attempt at a transaction, at the member in use. One that does not answer is left.
    pub async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        let (turn, channel) = self.now();
        let answer = unary(channel, "/etcdserverpb.KV/Txn", request, CALL).await;
        if let Err(e) = &answer
            && is_transient(e)
        {
            tracing::debug!(member = %channel.endpoint(), "etcd: {}", e.message());
            self.leave(turn);
        }
        answer
    }

    /// Opens a stream of watches at a member. It ends when the member has lost its cluster.
    pub async fn watch(
        &self,
        channel: &Channel,
        requests: mpsc::Receiver<WatchRequest>,
    ) -> Result<Answers<WatchResponse>, Status> {
        duplex(channel, "/etcdserverpb.Watch/Watch", requests, &[("hasleader", "true")]).await
    }

    /// Says which etcd this is; nothing depends on it.
    pub async fn greet(&self) {
        let (_, channel) = self.now();
        match unary::<_, StatusResponse>(channel, "/etcdserverpb.Maintenance/Status", StatusRequest {}, READ).await {
            Ok(status) => {
                tracing::info!(member = %channel.endpoint(), version = %status.version, bytes = status.size, "etcd");
                for error in status.errors {
                    tracing::warn!(member = %channel.endpoint(), "etcd: {error}");
                }
            }
            Err(e) => tracing::info!(member = %channel.endpoint(), "etcd tells no status: {}", e.message()),
        }
    }
}

/// Whether another member, or the same a little later, may answer.
pub fn is_transient(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted | Code::Internal => true,
        // etcd has answers of its own without a code.
        Code::Unknown => {
            ["server stopped", "leader", "timed out", "too many requests"].iter().any(|w| status.message().contains(w))
        }
        _ => false,
    }
}

/// Whether a revision was asked for that is forgotten.
pub fn is_compacted(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("compacted")
}

/// A status for people.
pub fn say(status: &Status) -> String {
    let message = status.message().trim_start_matches("etcdserver: ");
    match is_refusal(status) {
        true => format!(
            "etcd: {message}: it wants a user whose role reads and writes all keys (a client certificate's common name)"
        ),
        false => format!("etcd: {message}"),
    }
}

/// Whether etcd does not let us. Who shows no certificate to one that knows users is told that a name is empty.
pub fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated)
        || status.message().contains("user name is empty")
        || status.message().contains("permission denied")
}
