//! port-forward's connections over SPDY: an error stream and a data stream each, which name the same request.
//!
//! What a client may leave here is bounded: streams, halves of pairs and how long they wait, and bytes that nobody in the
//! pod has taken. Decided against an entry per stream for as long as the client likes: only the client would know when it
//! ends. Source of the wait: `k8s.io/cri-streaming/pkg/streaming/portforward`.
//!
//! All streams come over one connection, and its clients do not wait to be told that there is room: a stream that the pod
//! does not take ends up in front of all others. Each has a share of the bytes for itself before that, and a stream whose
//! share stays too full for its next piece is reset after a while where it holds up others. Several that are not taken can
//! use up the room of the whole connection: then those are reset that hold it and have taken nothing for longest, as many
//! as the next piece needs. Decided against resetting the stream that the piece is for: its pod may well take all it gets.

use super::{
    forward::pump,
    spdy::{self, Frame},
};
use bytes::Bytes;
use cri::ByteStream;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, hash_map::Entry},
    io,
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};

/// Streams that are open at once, two to a connection.
const STREAMS: usize = 1000;
/// Streams whose other half has not come: as many as a client's programs connect at the same moment.
const INCOMPLETE: usize = 256;
/// How long such a half waits. Source: upstream's `DefaultStreamCreationTimeout`.
const WAIT: Duration = Duration::from_secs(30);
/// Bytes from the client that the pods' ends have not taken, over all streams of a connection; more than the longest frame.
pub(super) const QUEUED: usize = 32 << 20;
/// The same of one stream.
pub(super) const SHARE: usize = 2 << 20;
/// What a piece counts for beside its bytes, about what it takes.
const PIECE: usize = 64;
/// How long a piece waits for room before a stream is reset for it, and how long that one has taken nothing at least
/// where the room is not its own share.
const STALL: Duration = Duration::from_secs(30);
/// How long until the next look for such streams, where there was none.
const AGAIN: Duration = Duration::from_secs(1);

/// Bytes on their way into the pod, and the room that they take.
pub(super) struct Piece {
    bytes: Bytes,
    held: Arc<Held>,
    _room: [OwnedSemaphorePermit; 2],
}

impl Piece {
    /// What so many bytes count for.
    fn count(bytes: &Bytes) -> usize {
        bytes.len().saturating_add(PIECE)
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.held.change(|held| held.saturating_sub(Piece::count(&self.bytes)));
    }
}

/// What the pieces of one stream take, and since when none of them has been taken (or the first has waited).
struct Held(Mutex<(usize, Instant)>);

impl Held {
    fn new() -> Self {
        Held(Mutex::new((0, Instant::now())))
    }

    fn get(&self) -> (usize, Instant) {
        *self.0.lock()
    }

    /// A piece behind others that wait is no progress; the first one, and what is taken, begins the time anew.
    fn change(&self, to: impl FnOnce(usize) -> usize) {
        let mut state = self.0.lock();
        let (before, after) = (state.0, to(state.0));
        state.0 = after;
        if before == 0 || after < before {
            state.1 = Instant::now();
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Where a stream's bytes go in: a queue that never refuses what there is room for.
#[derive(Clone)]
pub(super) struct Input {
    sender: mpsc::Sender<Piece>,
    share: Arc<Semaphore>,
    held: Arc<Held>,
}

impl Input {
    pub(super) fn new() -> (Self, mpsc::Receiver<Piece>) {
        let (sender, receiver) = mpsc::channel(SHARE / PIECE + 1);
        (Input { sender, share: Arc::new(Semaphore::new(SHARE)), held: Arc::new(Held::new()) }, receiver)
    }

    /// Waits for room, first of the stream's own and then of all (`room`, [`QUEUED`]).
    pub(super) async fn send(self, bytes: Bytes, room: Arc<Semaphore>) {
        let count = Piece::count(&bytes);
        let of = |most: usize| u32::try_from(count.min(most)).unwrap_or(u32::MAX);
        let Ok(own) = self.share.acquire_many_owned(of(SHARE)).await else { return };
        let Ok(all) = room.acquire_many_owned(of(QUEUED)).await else { return };
        self.held.change(|held| held.saturating_add(count));
        let _ = self.sender.send(Piece { bytes, held: self.held, _room: [own, all] }).await;
    }
}

/// The pod's side of a data stream.
struct Data {
    stream: u32,
    input: mpsc::Receiver<Piece>,
    /// Resolves when the client wants no more of it.
    gone: oneshot::Receiver<()>,
}

/// A stream that the client opened. Kept until its connection has ended: how many there are bounds the connections.
#[derive(Default)]
struct Opened {
    /// Of a data stream; dropped when the client has said all.
    input: Option<Input>,
    /// Of a data stream: what waits, also after the client has said all.
    held: Option<Arc<Held>>,
    /// Of a data stream; dropped when the client wants no more of it.
    _wanted: Option<oneshot::Sender<()>>,
}

/// Error and data stream of a request, until both are there.
struct Pair {
    error: Option<u32>,
    data: Option<Data>,
    port: u16,
    since: Instant,
}

impl Pair {
    fn streams(&self) -> impl Iterator<Item = u32> + use<> {
        self.error.into_iter().chain(self.data.as_ref().map(|data| data.stream))
    }
}

/// A pair that is complete.
struct Connection {
    error: u32,
    data: Data,
    port: u16,
}

/// What becomes of a stream that the client opens.
enum Taken {
    /// It is too much, or there is one already.
    Refused,
    /// Its other half is missing.
    Half,
    Whole(Connection),
}

#[derive(Default)]
struct Table {
    opened: HashMap<u32, Opened>,
    pairs: HashMap<String, Pair>,
}

impl Table {
    fn open(&mut self, stream: u32, headers: &[(String, String)], now: Instant) -> Taken {
        let get = |name: &str| headers.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v.as_str());
        if self.opened.len() >= STREAMS || self.opened.contains_key(&stream) {
            return Taken::Refused;
        }
        let incomplete = self.pairs.len();
        let mut entry = match self.pairs.entry(get("requestid").to_string()) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(_) if incomplete >= INCOMPLETE => return Taken::Refused,
            Entry::Vacant(entry) => entry.insert_entry(Pair { error: None, data: None, port: 0, since: now }),
        };
        let pair = entry.get_mut();
        let opened = match get("streamtype") {
            "data" if pair.data.is_some() => return Taken::Refused,
            "data" => {
                let ((to, input), (wanted, gone)) = (Input::new(), oneshot::channel());
                pair.data = Some(Data { stream, input, gone });
                Opened { held: Some(to.held.clone()), input: Some(to), _wanted: Some(wanted) }
            }
            _ if pair.error.is_some() => return Taken::Refused,
            _ => {
                pair.error = Some(stream);
                Opened::default()
            }
        };
        pair.port = get("port").parse().unwrap_or(0);
        self.opened.insert(stream, opened);
        if pair.error.is_none() || pair.data.is_none() {
            return Taken::Half;
        }
        match entry.remove() {
            Pair { error: Some(error), data: Some(data), port, .. } => Taken::Whole(Connection { error, data, port }),
            _ => Taken::Half,
        }
    }

    fn input(&self, stream: u32) -> Option<Input> {
        self.opened.get(&stream)?.input.clone()
    }

    /// Whether there is a data stream beside this one.
    fn others(&self, stream: u32) -> bool {
        self.opened.iter().any(|(other, opened)| *other != stream && opened.input.is_some())
    }

    /// What to reset for a piece of a stream that has waited for [`STALL`]: the stream itself where its own share is full and
    /// there are others; otherwise those that hold the room, who has taken nothing for longest first, until there is enough.
    ///
    /// Where the room is full, one at least holds an average part of it: it takes, which makes room, or is among these.
    fn in_the_way(&self, stream: u32, count: usize, now: Instant) -> Vec<u32> {
        let held = |opened: &Opened| opened.held.as_ref().map(|held| held.get());
        let own = self.opened.get(&stream).and_then(held).map_or(0, |(bytes, _)| bytes);
        if own.saturating_add(count) > SHARE {
            return if self.others(stream) { vec![stream] } else { Vec::new() };
        }
        let holders = self.opened.iter().filter_map(|(stream, opened)| Some((*stream, held(opened)?)));
        let mut holders: Vec<_> = holders.filter(|(_, (bytes, _))| *bytes > 0).collect();
        holders.sort_unstable_by_key(|(stream, (_, since))| (*since, *stream));
        let all: usize = holders.iter().map(|(_, (bytes, _))| bytes).sum();
        let little = all / holders.len().max(1) / 2;
        let mut missing = all.saturating_add(count).saturating_sub(QUEUED);
        let mut chosen = Vec::new();
        for (stream, (bytes, since)) in holders {
            if missing > 0 && bytes >= little && since + STALL <= now {
                missing = missing.saturating_sub(bytes);
                chosen.push(stream);
            }
        }
        chosen
    }

    /// The client has said all on a stream.
    fn said(&mut self, stream: u32) {
        if let Some(opened) = self.opened.get_mut(&stream) {
            opened.input = None;
        }
    }

    /// The client wants no more of a stream: its connection ends, or does not begin.
    fn reset(&mut self, stream: u32) {
        let request = self.pairs.iter().find(|(_, pair)| pair.streams().any(|s| s == stream)).map(|(k, _)| k.clone());
        match request.and_then(|request| self.pairs.remove(&request)) {
            Some(pair) => self.ended(pair.streams()),
            None => {
                if let Some(opened) = self.opened.get_mut(&stream) {
                    *opened = Opened::default();
                }
            }
        }
    }

    fn ended(&mut self, streams: impl IntoIterator<Item = u32>) {
        for stream in streams {
            self.opened.remove(&stream);
        }
    }

    /// When the first half has waited long enough.
    fn due(&self) -> Option<Instant> {
        self.pairs.values().map(|pair| pair.since + WAIT).min()
    }

    /// Takes out the halves that have waited long enough.
    fn expire(&mut self, now: Instant) -> Vec<Pair> {
        let old = self.pairs.extract_if(|_, pair| pair.since + WAIT <= now);
        let old: Vec<Pair> = old.map(|(_, pair)| pair).collect();
        for pair in &old {
            self.ended(pair.streams());
        }
        old
    }
}

/// Speaks SPDY until the client goes. `dial` connects to a port in the pod; frames for the client go to `sender`.
pub(super) async fn serve<R, D, F>(mut from: R, sender: mpsc::Sender<Vec<u8>>, dial: D) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send + 'static,
    D: Fn(u16) -> F,
    F: Future<Output = cri::Result<Box<dyn ByteStream>>> + Send + 'static,
{
    // Frames are read whole by a task of their own: a reader that is dropped in the middle of one is lost.
    let (hear, mut heard) = mpsc::channel(1);
    let mut reading = JoinSet::new();
    reading.spawn(async move {
        let mut reader = spdy::Reader::default();
        while let Some(next) = reader.next(&mut from).await.transpose() {
            let last = next.is_err();
            if hear.send(next).await.is_err() || last {
                return;
            }
        }
    });
    let room = Arc::new(Semaphore::new(QUEUED));
    let writer = spdy::Writer::new()?;
    let mut client = Client { table: Table::default(), tasks: JoinSet::new(), room, writer, sender, dial };
    loop {
        let due = client.table.due();
        tokio::select! {
            frame = heard.recv() => match frame {
                Some(frame) => if !client.take(frame?).await? { return Ok(()) },
                None => return Ok(()),
            },
            Some(ended) = client.tasks.join_next() => client.table.ended(ended.into_iter().flatten()),
            () = until(due) => client.expire().await,
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

struct Client<D> {
    table: Table,
    /// The connections; each ends with its streams.
    tasks: JoinSet<[u32; 2]>,
    /// What is left of [`QUEUED`].
    room: Arc<Semaphore>,
    writer: spdy::Writer,
    sender: mpsc::Sender<Vec<u8>>,
    dial: D,
}

impl<D, F> Client<D>
where
    D: Fn(u16) -> F,
    F: Future<Output = cri::Result<Box<dyn ByteStream>>> + Send + 'static,
{
    /// False where the client goes.
    async fn take(&mut self, frame: Frame) -> io::Result<bool> {
        let answer = match frame {
            Frame::Open { stream, headers, .. } => match self.table.open(stream, &headers, Instant::now()) {
                Taken::Refused => spdy::reset(stream),
                Taken::Half => self.writer.reply(stream)?,
                Taken::Whole(connection) => {
                    let stream_of = (self.dial)(connection.port);
                    self.tasks.spawn(connection.run(stream_of, self.sender.clone()));
                    self.writer.reply(stream)?
                }
            },
            Frame::Data { stream, fin, bytes } => {
                if let Some(input) = self.table.input(stream).filter(|_| !bytes.is_empty()) {
                    self.deliver(stream, input, bytes.into()).await;
                }
                if fin {
                    self.table.said(stream);
                }
                return Ok(true);
            }
            Frame::Reset { stream } => {
                self.table.reset(stream);
                return Ok(true);
            }
            Frame::Ping { id } => spdy::ping(id),
            Frame::GoAway => return Ok(false),
            Frame::Other => return Ok(true),
        };
        Ok(self.sender.send(answer).await.is_ok())
    }

    /// Waits until there is room; what ends meanwhile makes some, and so does, after a while, what is reset.
    async fn deliver(&mut self, stream: u32, input: Input, bytes: Bytes) {
        let count = Piece::count(&bytes);
        let mut delivery = pin!(input.send(bytes, self.room.clone()));
        let mut patience = pin!(tokio::time::sleep(STALL));
        loop {
            let due = self.table.due();
            tokio::select! {
                () = &mut delivery => return,
                Some(ended) = self.tasks.join_next() => self.table.ended(ended.into_iter().flatten()),
                () = until(due) => self.expire().await,
                () = &mut patience => {
                    let chosen = self.table.in_the_way(stream, count, Instant::now());
                    for other in &chosen {
                        self.table.reset(*other);
                        let _ = self.sender.send(spdy::reset(*other)).await;
                    }
                    if chosen.contains(&stream) {
                        return;
                    }
                    patience.as_mut().reset(Instant::now() + AGAIN);
                }
            }
        }
    }

    async fn expire(&mut self) {
        for pair in self.table.expire(Instant::now()) {
            let answer = match (pair.error, pair.data) {
                (Some(error), _) => spdy::data(error, true, b"timed out waiting for streams"),
                (None, Some(data)) => spdy::reset(data.stream),
                (None, None) => continue,
            };
            let _ = self.sender.send(answer).await;
        }
    }
}

impl Connection {
    /// From the dialling to the end; its streams.
    async fn run(
        self,
        dialled: impl Future<Output = cri::Result<Box<dyn ByteStream>>> + Send,
        sender: mpsc::Sender<Vec<u8>>,
    ) -> [u32; 2] {
        let Connection { error: errors, data: Data { stream: data, input, gone }, port } = self;
        let carried = async {
            match dialled.await {
                Ok(stream) => {
                    pump(stream, input, sender.clone(), move |bytes| spdy::data(data, false, bytes)).await;
                    Vec::new()
                }
                Err(error) => format!("an error occurred forwarding port {port}: {error}").into_bytes(),
            }
        };
        let failure = tokio::select! {
            failure = carried => failure,
            _ = gone => Vec::new(),
        };
        let _ = sender.send(spdy::data(data, true, &[])).await;
        let _ = sender.send(spdy::data(errors, true, &failure)).await;
        [data, errors]
    }
}

#[cfg(test)]
mod tests {
    use super::{super::spdy::tests::ClientSide, *};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    fn headers(kind: &str, request: usize) -> Vec<(String, String)> {
        let request = request.to_string();
        [("streamtype", kind), ("requestid", &request), ("port", "80")].map(|(k, v)| (k.into(), v.into())).to_vec()
    }

    fn word(taken: &Taken) -> &'static str {
        match taken {
            Taken::Refused => "refused",
            Taken::Half => "half",
            Taken::Whole(_) => "whole",
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pairs_become_connections() {
        let mut table = Table::default();
        let now = Instant::now();
        for (stream, kind, request, want) in [
            (1, "error", 1, "half"),
            (1, "data", 1, "refused"),
            (3, "error", 1, "refused"),
            (5, "data", 2, "half"),
            (7, "data", 2, "refused"),
            (9, "data", 1, "whole"),
            (11, "error", 2, "whole"),
            (13, "error", 2, "half"),
        ] {
            assert_eq!(word(&table.open(stream, &headers(kind, request), now)), want, "{stream} {kind} {request}");
        }
        let mut open: Vec<u32> = table.opened.keys().copied().collect();
        open.sort_unstable();
        assert_eq!((open, table.pairs.len()), (vec![1, 5, 9, 11, 13], 1));
        table.reset(13);
        assert!(table.pairs.is_empty() && !table.opened.contains_key(&13));
    }

    #[tokio::test(start_paused = true)]
    async fn streams_and_halves_are_bounded() {
        let mut table = Table::default();
        let now = Instant::now();
        let ids = |at: usize| u32::try_from(at).unwrap() * 4 + 1;
        let mut connections = Vec::new();
        for i in 0..STREAMS / 2 {
            assert_eq!(word(&table.open(ids(i), &headers("error", i), now)), "half");
            match table.open(ids(i) + 2, &headers("data", i), now) {
                Taken::Whole(connection) => connections.push(connection),
                other => panic!("{}", word(&other)),
            }
        }
        assert_eq!(word(&table.open(9001, &headers("error", 9001), now)), "refused");
        // A reset is the client's word; the connection is there until it has ended.
        table.reset(3);
        assert_eq!(word(&table.open(9001, &headers("error", 9001), now)), "refused");
        assert!((&mut connections[0].data.gone).await.is_err(), "the connection hears of it");
        table.ended([1, 3]);
        assert_eq!(word(&table.open(9001, &headers("error", 9001), now)), "half");

        let mut table = Table::default();
        for i in 0..INCOMPLETE {
            assert_eq!(word(&table.open(ids(i), &headers("error", i), now)), "half");
        }
        assert_eq!(word(&table.open(9001, &headers("error", 9001), now)), "refused");
        assert_eq!(word(&table.open(9003, &headers("data", 7), now)), "whole", "the other half of one that waits");
        assert_eq!(table.due(), Some(now + WAIT));
        assert!(table.expire(now + WAIT - Duration::from_millis(1)).is_empty());
        assert_eq!(table.expire(now + WAIT).len(), INCOMPLETE - 1);
        assert_eq!((table.opened.len(), table.pairs.len(), table.due()), (2, 0, None));
    }

    /// A client, what it is told, and the pods' ends of its connections.
    fn begun() -> (DuplexStream, mpsc::Receiver<Vec<u8>>, mpsc::UnboundedReceiver<DuplexStream>) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let (sender, told) = mpsc::channel(16);
        let (pods, dialled) = mpsc::unbounded_channel();
        tokio::spawn(serve(ours, sender, move |_| {
            let (near, far) = tokio::io::duplex(64);
            pods.send(far).unwrap();
            async move { Ok(Box::new(near) as Box<dyn ByteStream>) }
        }));
        (theirs, told, dialled)
    }

    fn open(client: &mut ClientSide, stream: u32, kind: &str, request: &str) -> Vec<u8> {
        client.open(stream, false, &[("streamtype", kind), ("requestid", request), ("port", "80")])
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_is_dropped_after_its_wait() {
        let (mut to, mut told, mut dialled) = begun();
        let mut client = ClientSide::new();
        let start = Instant::now();
        to.write_all(&open(&mut client, 1, "error", "0")).await.unwrap();
        assert_eq!(told.recv().await.unwrap()[..4], [0x80, 3, 0, 2]);
        assert_eq!(told.recv().await.unwrap(), spdy::data(1, true, b"timed out waiting for streams"));
        assert_eq!(start.elapsed().as_secs(), WAIT.as_secs());
        // Nobody takes what is said on a data stream alone: it must not stand in the way for ever.
        let mut frames = open(&mut client, 3, "data", "1");
        frames.extend((0..20).flat_map(|_| spdy::data(3, false, b"much")));
        frames.extend(spdy::ping(7));
        to.write_all(&frames).await.unwrap();
        assert_eq!(told.recv().await.unwrap()[..4], [0x80, 3, 0, 2]);
        assert_eq!(told.recv().await.unwrap(), spdy::ping(7));
        assert_eq!(told.recv().await.unwrap(), spdy::reset(3));
        assert!(dialled.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_carries_bytes_and_ends_with_a_reset() {
        let (mut to, mut told, mut dialled) = begun();
        let mut client = ClientSide::new();
        let opening = [open(&mut client, 1, "error", "0"), open(&mut client, 3, "data", "0")].concat();
        to.write_all(&[opening, spdy::data(3, false, b"ask")].concat()).await.unwrap();
        let mut pod = dialled.recv().await.unwrap();
        let mut asked = [0; 3];
        pod.read_exact(&mut asked).await.unwrap();
        pod.write_all(b"answer").await.unwrap();
        for _ in 0..2 {
            assert_eq!(told.recv().await.unwrap()[..4], [0x80, 3, 0, 2]);
        }
        assert_eq!((&asked, told.recv().await.unwrap()), (b"ask", spdy::data(3, false, b"answer")));
        to.write_all(&spdy::reset(3)).await.unwrap();
        assert_eq!(pod.read(&mut asked).await.unwrap(), 0, "the pod's end is closed");
        assert_eq!(told.recv().await.unwrap(), spdy::data(3, true, b""));
        assert_eq!(told.recv().await.unwrap(), spdy::data(1, true, b""));
    }

    /// Pods that take nothing hold back their client, however many streams it has.
    #[tokio::test(start_paused = true)]
    async fn bytes_that_nobody_takes_are_bounded() {
        let (mut to, mut told, mut dialled) = begun();
        tokio::spawn(async move { while told.recv().await.is_some() {} });
        let (mut client, mut pods, mut sent) = (ClientSide::new(), Vec::new(), 0);
        let ids: Vec<u32> = (0..100).map(|i| i * 4 + 1).collect();
        for id in &ids {
            let request = id.to_string();
            to.write_all(&open(&mut client, *id, "error", &request)).await.unwrap();
            to.write_all(&open(&mut client, *id + 2, "data", &request)).await.unwrap();
            pods.push(dialled.recv().await.unwrap());
        }
        // Less than any stream's own share would hold.
        let frames = ids.iter().flat_map(|id| std::iter::repeat_n(*id + 2, 10));
        let writing = async {
            for stream in frames {
                to.write_all(&spdy::data(stream, false, &[7; 1 << 16])).await.unwrap();
                sent += 1 << 16;
            }
        };
        assert!(tokio::time::timeout(STALL / 2, writing).await.is_err(), "all was taken");
        assert!((QUEUED - (1 << 20)..QUEUED + (1 << 20)).contains(&sent), "{sent}");
    }

    /// A pod's end that takes nothing holds up the others for a while at most; alone it may take as long as it likes.
    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_not_taken_is_reset_where_it_holds_up_others() {
        let (mut to, mut told, mut dialled) = begun();
        let mut client = ClientSide::new();
        let pair = |client: &mut ClientSide, id: u32| {
            let request = id.to_string();
            [open(client, id, "error", &request), open(client, id + 2, "data", &request)].concat()
        };
        to.write_all(&pair(&mut client, 1)).await.unwrap();
        let mut stuck = dialled.recv().await.unwrap();
        // The pod's end holds 64 bytes, a piece is on its way there, and the share is full; the last frame waits.
        let frame = spdy::data(3, false, &[7; 1 << 16]);
        let much: Vec<u8> = std::iter::repeat_n(frame, SHARE / (1 << 16) + 1).flatten().collect();
        let writing = tokio::spawn(async move {
            to.write_all(&much).await.unwrap();
            to
        });
        for _ in 0..2 {
            assert_eq!(told.recv().await.unwrap()[..4], [0x80, 3, 0, 2]);
        }
        assert!(tokio::time::timeout(STALL * 20, told.recv()).await.is_err(), "alone it is waited for");
        let mut some = [0; 1 << 17];
        stuck.read_exact(&mut some).await.unwrap();
        let mut to = writing.await.unwrap();
        to.write_all(&pair(&mut client, 5)).await.unwrap();
        let mut other = dialled.recv().await.unwrap();
        let more = spdy::data(3, false, &[7; 1 << 17]);
        to.write_all(&[more.clone(), more, spdy::data(7, false, b"now")].concat()).await.unwrap();
        let (start, mut word) = (Instant::now(), [0; 3]);
        other.read_exact(&mut word).await.unwrap();
        assert_eq!((&word, start.elapsed()), (b"now", STALL));
        for _ in 0..2 {
            assert_eq!(told.recv().await.unwrap()[..4], [0x80, 3, 0, 2]);
        }
        assert_eq!(told.recv().await.unwrap(), spdy::reset(3));
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_hold_the_room_make_some() {
        let mut table = Table::default();
        let begin = Instant::now();
        // Stream, bytes, seconds at which it last took something.
        let holders = [(1, SHARE, 5), (3, SHARE, 3), (5, 1000, 0), (7, SHARE, 35), (9, SHARE / 2, 1), (11, 0, 0)];
        let rest = (0..15).map(|i| (101 + i * 2, SHARE, 20));
        let mut left = QUEUED;
        for (stream, bytes, at) in holders.into_iter().chain(rest) {
            let (input, _) = Input::new();
            *input.held.0.lock() = (bytes.min(left), begin + Duration::from_secs(at));
            left -= bytes.min(left);
            table.opened.insert(stream, Opened { held: Some(input.held.clone()), input: Some(input), _wanted: None });
        }
        assert_eq!(left, 0);
        // It has said all, and holds what it holds.
        table.said(3);
        for (stream, count, at, want) in [
            (11, 100, 30, vec![]),
            (11, 100, 31, vec![9]),
            (11, SHARE / 2 + 1, 31, vec![9]),
            (11, SHARE / 2 + 1, 33, vec![9, 3]),
            (11, SHARE, 60, vec![9, 3]),
            // Its own share is full.
            (7, 100, 31, vec![7]),
        ] {
            let chosen = table.in_the_way(stream, count, begin + Duration::from_secs(at));
            assert_eq!(chosen, want, "{stream} {count} {at}");
        }
        table.reset(9);
        let later = begin + Duration::from_secs(60);
        assert!(table.in_the_way(11, 100, later).is_empty(), "what was reset is about to make room");
    }

    /// Streams that use up the room of all are reset one after the other as room is needed, and not those that are taken.
    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_taken_gets_its_bytes_where_others_hold_the_room() {
        let (mut to, mut told, mut dialled) = begun();
        let (mut client, mut pods) = (ClientSide::new(), Vec::new());
        let (heard, mut resets) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(frame) = told.recv().await {
                // Other answers are of no interest here.
                if frame[..4] == spdy::reset(0)[..4] {
                    heard.send((frame, Instant::now())).unwrap();
                }
            }
        });
        let stalled = u32::try_from(QUEUED / SHARE).unwrap();
        let data = |i: u32| i * 4 + 3;
        for i in 0..stalled + 2 {
            let (id, request) = (data(i) - 2, i.to_string());
            let pair = [open(&mut client, id, "error", &request), open(&mut client, id + 2, "data", &request)];
            to.write_all(&pair.concat()).await.unwrap();
            pods.push(dialled.recv().await.unwrap());
        }
        let quarter = vec![7; SHARE / 4 - PIECE];
        // The last opened is the first that stalls.
        for i in (0..stalled).rev() {
            for _ in 0..4 {
                to.write_all(&spdy::data(data(i), false, &quarter)).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        // Much more than the room that one of them leaves.
        let (mut start, pieces) = (Instant::now(), 3 * SHARE / quarter.len());
        let mut healthy = pods.remove(usize::try_from(stalled).unwrap());
        let mut fresh = pods.pop().unwrap();
        for (turn, i) in (0..stalled).rev().take(2).enumerate() {
            let taken = tokio::spawn(async move {
                let mut all = vec![0; pieces * (SHARE / 4 - PIECE)];
                healthy.read_exact(&mut all).await.unwrap();
                healthy
            });
            for _ in 0..pieces {
                to.write_all(&spdy::data(data(stalled), false, &quarter)).await.unwrap();
            }
            healthy = taken.await.unwrap();
            let (frame, at) = resets.recv().await.unwrap();
            assert_eq!((frame, (at - start).as_secs()), (spdy::reset(data(i)), STALL.as_secs()), "turn {turn}");
            assert_eq!(start.elapsed().as_secs(), STALL.as_secs(), "turn {turn}: it waits once");
            // Its room is used up by one that stalls anew, and is younger than all.
            if turn == 0 {
                for _ in 0..4 {
                    to.write_all(&spdy::data(data(stalled + 1), false, &quarter)).await.unwrap();
                }
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            start = Instant::now();
        }
        assert!(resets.try_recv().is_err(), "no more than was needed");
        let mut some = [0; 64];
        fresh.read_exact(&mut some).await.unwrap();
    }
}
