//! exec and attach over SPDY/3.1, for clients older than WebSockets (kubectl before 1.31).
//!
//! The client opens a stream for each direction and one for errors, on which the outcome is written; what each is for
//! stands in its header `streamtype`. Source: `k8s.io/cri-streaming/pkg/streaming/remotecommand`.

use super::{
    spdy::{self, Frame},
    streams::{PIECE, Told, finish, finished, next, signs_of_life, unfinished},
};
use base::Result;
use bytes::Bytes;
use cri::{ExecStreams, StreamOptions, TerminalSize};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use net::Body;
use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
};
use value::Value;

pub(super) const SPDY: &str = "SPDY/3.1";
const VERSION: &str = "x-stream-protocol-version";
const ACCEPTED: &str = "x-accepted-stream-protocol-versions";
const VERSIONS: [&str; 4] = ["v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];

/// How long the client may take to open its streams. Source: upstream's `DefaultStreamCreationTimeout`.
const OPENING: Duration = Duration::from_secs(30);
/// Bytes that may come before the streams are open, a frame counting for some by itself. Clients say nothing by then.
const EARLY: usize = 4 << 20;
/// The longest size of a terminal, in JSON.
const SIZE: usize = 1 << 10;
/// Answers that wait for the client to read. One that reads nothing does not miss what is beyond.
const ANSWERS: usize = 64;

/// True where the request wants to switch to SPDY.
pub(super) fn wanted(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).and_then(|v| v.to_str().ok());
    upgrade.is_some_and(|text| text.eq_ignore_ascii_case(SPDY))
}

/// Switches to SPDY, begins once the streams are open, and carries what is said over them.
pub(super) fn run<B>(
    request: &mut Request<B>,
    options: StreamOptions,
    begin: impl Future<Output = Result<ExecStreams>> + Send + 'static,
) -> Result<Response<Body>> {
    let Some(version) = negotiated(request.headers()) else { return Ok(unknown(request.headers())) };
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let ended = match upgrade.await {
            Ok(upgraded) => session(TokioIo::new(upgraded), version, options, begin).await,
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "stream");
        }
    });
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
    headers.insert(VERSION, HeaderValue::from_static(version));
    Ok(response)
}

fn offered(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(VERSION).into_iter().filter_map(|v| v.to_str().ok());
    values.flat_map(|v| v.split(',')).map(str::trim).filter(|v| !v.is_empty())
}

/// The first version that the client offers and that is spoken here; without an offer the first that there was.
fn negotiated(headers: &HeaderMap) -> Option<&'static str> {
    let mut known = offered(headers).filter_map(|v| VERSIONS.iter().find(|own| **own == v).copied());
    known.next().or_else(|| offered(headers).next().is_none().then_some(VERSIONS[3]))
}

fn unknown(headers: &HeaderMap) -> Response<Body> {
    let offered: Vec<&str> = offered(headers).collect();
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
        offered.join(" "),
        VERSIONS.join(" ")
    );
    let mut response = super::with_type("text/plain; charset=utf-8", Body::from(text));
    *response.status_mut() = StatusCode::FORBIDDEN;
    for version in VERSIONS {
        response.headers_mut().append(ACCEPTED, HeaderValue::from_static(version));
    }
    response
}

/// The client's streams by what they are for; 0 for one that it has not opened.
#[derive(Debug, Default, Clone, Copy)]
struct Streams {
    error: u32,
    stdin: u32,
    stdout: u32,
    stderr: u32,
    resize: u32,
}

impl Streams {
    fn of(&mut self, kind: &str) -> Option<&mut u32> {
        Some(match kind {
            "error" => &mut self.error,
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            "resize" => &mut self.resize,
            _ => return None,
        })
    }
    fn count(&self) -> usize {
        self.all().iter().filter(|id| **id != 0).count()
    }
    /// The outcome's last: with it the client takes everything for said.
    fn all(&self) -> [u32; 5] {
        [self.stdout, self.stderr, self.stdin, self.resize, self.error]
    }
}

/// One client, from the first frame to the last.
async fn session(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    version: &'static str,
    options: StreamOptions,
    begin: impl Future<Output = Result<ExecStreams>>,
) -> io::Result<()> {
    let (mut from, to) = tokio::io::split(stream);
    // Frames are read whole by a task of their own: a reader that is dropped in the middle of one is lost.
    let (hear, heard) = mpsc::channel(1);
    let reading = tokio::spawn(async move {
        let mut reader = spdy::Reader::default();
        while let Ok(Some(frame)) = reader.next(&mut from).await {
            if hear.send(frame).await.is_err() {
                return;
            }
        }
    });
    let client = Client {
        heard,
        to,
        writer: spdy::Writer::new()?,
        streams: Streams::default(),
        early: Vec::new(),
        told: if version == VERSIONS[0] { Told::Status } else { Told::Failures },
    };
    let resizes = options.tty && (version == VERSIONS[0] || version == VERSIONS[1]);
    let ended = client.serve(expected(&options, resizes), begin).await;
    reading.abort();
    ended
}

/// How many streams the client opens.
fn expected(options: &StreamOptions, resizes: bool) -> usize {
    1 + [options.stdin, options.stdout, options.stderr, resizes].into_iter().filter(|wanted| *wanted).count()
}

struct Client<W> {
    heard: mpsc::Receiver<Frame>,
    to: W,
    writer: spdy::Writer,
    streams: Streams,
    /// What came before anybody could take it.
    early: Vec<Frame>,
    told: Told,
}

impl<W: AsyncWrite + Unpin> Client<W> {
    async fn serve(mut self, expected: usize, begin: impl Future<Output = Result<ExecStreams>>) -> io::Result<()> {
        let opened = tokio::time::timeout(OPENING, self.open(expected)).await;
        match opened {
            Ok(Ok(true)) => {}
            Ok(ended) => return ended.map(drop),
            Err(_) => return Err(io::Error::other("timed out waiting for client to create streams")),
        }
        let status = match begin.await {
            Ok(streams) => match self.carry(streams).await? {
                Some(status) => status,
                // The client went.
                None => return Ok(()),
            },
            Err(status) => Value::from(status.to_json()),
        };
        self.conclude(&status).await
    }

    /// Waits for the streams; false where the client went.
    async fn open(&mut self, expected: usize) -> io::Result<bool> {
        let mut room = EARLY;
        while self.streams.count() < expected {
            match self.heard.recv().await {
                Some(Frame::Open { stream, headers, .. }) => {
                    let kind = headers.iter().find(|(k, _)| k == "streamtype").map_or("", |(_, v)| v);
                    if let Some(place) = self.streams.of(kind) {
                        *place = stream;
                    }
                    let reply = self.writer.reply(stream)?;
                    self.send(&reply).await?;
                }
                Some(Frame::Ping { id }) => self.send(&spdy::ping(id)).await?,
                Some(Frame::GoAway) | None => return Ok(false),
                Some(frame) => {
                    let length = 64 + if let Frame::Data { bytes, .. } = &frame { bytes.len() } else { 0 };
                    let left = room.checked_sub(length);
                    room = left.ok_or_else(|| io::Error::other("too much came before the streams were open"))?;
                    self.early.push(frame);
                }
            }
        }
        Ok(true)
    }

    /// Both directions, until the command has ended; its outcome, or `None` where the client went before. As with a
    /// WebSocket neither waits for the other.
    async fn carry(&mut self, streams: ExecStreams) -> io::Result<Option<Value>> {
        let ExecStreams { stdin, stdout, stderr, resize, exit } = streams;
        let held = AtomicBool::new(false);
        let (answers, due) = mpsc::channel(ANSWERS);
        let early = std::mem::take(&mut self.early);
        let input = Input { ids: self.streams, stdin, resize, sizes: Vec::new(), answers, held: &held };
        let output = Output { ids: self.streams, stdout, stderr, exit, due, held: &held };
        tokio::select! {
            () = input.run(early, &mut self.heard) => Ok(None),
            ended = output.run(&mut self.to) => ended.map(Some),
        }
    }

    /// The outcome, the end of every stream, and of the connection.
    async fn conclude(mut self, status: &Value) -> io::Result<()> {
        let words = self.told.words(status).unwrap_or_default();
        let (to, ids) = (&mut self.to, self.streams);
        let telling = async {
            if !words.is_empty() {
                write(to, &spdy::data(ids.error, false, &words)).await?;
            }
            for stream in ids.all().into_iter().filter(|id| *id != 0) {
                write(to, &spdy::data(stream, true, &[])).await?;
            }
            write(to, &spdy::go_away(ids.all().into_iter().max().unwrap_or(0))).await?;
            to.shutdown().await
        };
        // Who closes on unread bytes takes back what was sent.
        let rest = async { while self.heard.recv().await.is_some() {} };
        finish(telling, rest).await.unwrap_or(Ok(()))
    }

    async fn send(&mut self, frame: &[u8]) -> io::Result<()> {
        write(&mut self.to, frame).await
    }
}

async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> io::Result<()> {
    to.write_all(frame).await?;
    to.flush().await
}

/// From the client to the command.
struct Input<'a> {
    ids: Streams,
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<TerminalSize>,
    /// Of the terminal, as far as they came.
    sizes: Vec<u8>,
    answers: mpsc::Sender<Vec<u8>>,
    /// The command does not take its input.
    held: &'a AtomicBool,
}

impl Input<'_> {
    /// Until the client goes.
    async fn run(mut self, early: Vec<Frame>, heard: &mut mpsc::Receiver<Frame>) {
        for frame in early {
            self.take(frame).await;
        }
        while let Some(frame) = heard.recv().await {
            if frame == Frame::GoAway {
                return;
            }
            self.take(frame).await;
        }
    }

    async fn take(&mut self, frame: Frame) {
        self.held.store(true, Ordering::Relaxed);
        match frame {
            Frame::Data { stream, fin, bytes } if stream == self.ids.stdin => {
                for piece in bytes.chunks(PIECE) {
                    let Some(sender) = &self.stdin else { break };
                    if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                        self.stdin = None;
                    }
                }
                if fin {
                    self.stdin = None;
                }
            }
            Frame::Data { stream, bytes, .. } if stream == self.ids.resize => {
                self.sizes.extend(bytes);
                for size in sizes(&mut self.sizes) {
                    let _ = self.resize.send(size).await;
                }
            }
            Frame::Reset { stream } if stream == self.ids.stdin => self.stdin = None,
            // One more than was asked for is nobody's.
            Frame::Open { stream, .. } => drop(self.answers.try_send(spdy::reset(stream))),
            // An even number is this side's own, come back.
            Frame::Ping { id } if id % 2 == 1 => drop(self.answers.try_send(spdy::ping(id))),
            _ => {}
        }
        self.held.store(false, Ordering::Relaxed);
    }
}

/// From the command to the client.
struct Output<'a> {
    ids: Streams,
    stdout: Option<mpsc::Receiver<Bytes>>,
    stderr: Option<mpsc::Receiver<Bytes>>,
    exit: oneshot::Receiver<std::result::Result<i32, cri::Error>>,
    /// Answers to what the client asked.
    due: mpsc::Receiver<Vec<u8>>,
    held: &'a AtomicBool,
}

impl Output<'_> {
    /// Until the command has ended; an error where the client went before.
    async fn run(mut self, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<Value> {
        let (mut sign, mut pings) = (signs_of_life(), 0u32);
        loop {
            let open = self.stdout.is_some() || self.stderr.is_some();
            let frame = tokio::select! {
                bytes = next(&mut self.stdout) => match bytes {
                    Some(bytes) => spdy::data(self.ids.stdout, false, &bytes),
                    None => {
                        self.stdout = None;
                        continue;
                    }
                },
                bytes = next(&mut self.stderr) => match bytes {
                    Some(bytes) => spdy::data(self.ids.stderr, false, &bytes),
                    None => {
                        self.stderr = None;
                        continue;
                    }
                },
                Some(answer) = self.due.recv() => answer,
                _ = sign.tick() => match self.held.load(Ordering::Relaxed) {
                    true => {
                        pings = pings.wrapping_add(2);
                        spdy::ping(pings)
                    }
                    false => continue,
                },
                exit = &mut self.exit, if !open => return Ok(exit.map_or_else(|_| unfinished(), finished)),
            };
            write(to, &frame).await?;
        }
    }
}

/// Takes the whole ones of JSON texts that stand one behind the other. What cannot become one is not kept.
fn sizes(bytes: &mut Vec<u8>) -> Vec<TerminalSize> {
    // They hold numbers only: the first closing brace is the end.
    let whole = bytes.iter().rposition(|b| *b == b'}').map_or(0, |end| end + 1);
    let whole: Vec<u8> = bytes.drain(..whole).collect();
    if bytes.len() > SIZE {
        *bytes = Vec::new();
    }
    let texts = whole.split_inclusive(|b| *b == b'}').filter(|text| text.len() <= SIZE);
    let sizes = texts.filter_map(|text| value::parse_lenient(text.trim_ascii()).ok());
    sizes
        .map(|size| {
            let side = |key: &str| size.at(&[key]).as_i64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
            TerminalSize { width: side("Width"), height: side("Height") }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::spdy::tests::ClientSide, *};
    use base::Status;
    use tokio::{
        io::{AsyncReadExt, DuplexStream},
        sync::oneshot,
    };

    /// The command's ends of a session.
    struct Command {
        stdin: mpsc::Receiver<Bytes>,
        stdout: mpsc::Sender<Bytes>,
        stderr: mpsc::Sender<Bytes>,
        sizes: mpsc::Receiver<TerminalSize>,
        exit: oneshot::Sender<std::result::Result<i32, cri::Error>>,
    }

    fn command() -> (Command, ExecStreams) {
        let ((stdin_to, stdin), (stdout, stdout_from)) = (mpsc::channel(4), mpsc::channel(4));
        let ((stderr, stderr_from), (resize, sizes)) = (mpsc::channel(4), mpsc::channel(4));
        let (exit, exited) = oneshot::channel();
        let streams = ExecStreams {
            stdin: Some(stdin_to),
            stdout: Some(stdout_from),
            stderr: Some(stderr_from),
            resize,
            exit: exited,
        };
        (Command { stdin, stdout, stderr, sizes, exit }, streams)
    }

    fn all(tty: bool) -> StreamOptions {
        StreamOptions { tty, stdin: true, stdout: true, stderr: !tty }
    }

    /// All that a client reads until the end: the bytes of each stream, and how often each ended.
    async fn read(mut from: DuplexStream) -> Vec<(u32, String, usize)> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).await.unwrap();
        let (mut rest, mut out) = (bytes.as_slice(), std::collections::BTreeMap::new());
        while rest.len() >= 8 {
            let first = u32::from_be_bytes(rest[..4].try_into().unwrap());
            let (fin, length) = (rest[4] & 1, u32::from_be_bytes([0, rest[5], rest[6], rest[7]]) as usize);
            if first & 0x8000_0000 == 0 {
                let entry: &mut (String, usize) = out.entry(first).or_default();
                entry.0.push_str(std::str::from_utf8(&rest[8..8 + length]).unwrap());
                entry.1 += usize::from(fin);
            }
            rest = &rest[8 + length..];
        }
        out.into_iter().map(|(id, (text, ends))| (id, text, ends)).collect()
    }

    #[tokio::test]
    async fn a_command_with_all_its_streams() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (mut command, streams) = command();
        let server = tokio::spawn(session(ours, VERSIONS[0], all(false), async { Ok(streams) }));
        let mut client = ClientSide::new();
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "stderr")] {
            theirs.write_all(&client.open(id, false, &[("streamtype", kind)])).await.unwrap();
            // Said before the last one is open.
            if id == 3 {
                theirs.write_all(&spdy::data(3, false, b"in")).await.unwrap();
            }
        }
        theirs.write_all(&spdy::data(3, true, b"put")).await.unwrap();
        assert_eq!(command.stdin.recv().await.unwrap(), "in");
        assert_eq!(command.stdin.recv().await.unwrap(), "put");
        assert_eq!(command.stdin.recv().await, None);
        command.stdout.send("out".into()).await.unwrap();
        command.stderr.send("err".into()).await.unwrap();
        drop((command.stdout, command.stderr));
        command.exit.send(Ok(3)).unwrap();
        let said = read(theirs).await;
        server.await.unwrap().unwrap();
        let status = value::parse_lenient(said[0].1.as_bytes()).unwrap();
        assert_eq!(status.at(&["details", "causes"]).to_string(), r#"[{"message":"3","reason":"ExitCode"}]"#);
        let rest: Vec<(u32, &str, usize)> = said.iter().skip(1).map(|(id, text, n)| (*id, text.as_str(), *n)).collect();
        assert_eq!((said[0].0, said[0].2, rest), (1, 1, vec![(3, "", 1), (5, "out", 1), (7, "err", 1)]));
    }

    #[tokio::test]
    async fn a_terminal_is_resized_and_old_clients_hear_only_of_failures() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let (mut command, streams) = command();
        let server = tokio::spawn(session(ours, VERSIONS[1], all(true), async { Ok(streams) }));
        let mut client = ClientSide::new();
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout"), (7, "resize")] {
            theirs.write_all(&client.open(id, false, &[("streamtype", kind)])).await.unwrap();
        }
        theirs.write_all(&spdy::data(7, false, b"{\"Width\":80,\"Hei")).await.unwrap();
        theirs.write_all(&spdy::data(7, false, b"ght\":24}\n{\"Width\":1,\"Height\":2}\n")).await.unwrap();
        assert_eq!(command.sizes.recv().await, Some(TerminalSize { width: 80, height: 24 }));
        assert_eq!(command.sizes.recv().await, Some(TerminalSize { width: 1, height: 2 }));
        drop((command.stdout, command.stderr));
        command.exit.send(Ok(0)).unwrap();
        assert!(read(theirs).await.iter().all(|(_, text, ends)| text.is_empty() && *ends == 1));
        server.await.unwrap().unwrap();
    }

    #[test]
    fn what_becomes_no_size_is_not_kept() {
        let size = |width, height| TerminalSize { width, height };
        let long = format!("{}{{\"Width\":7}}", " ".repeat(SIZE));
        for (said, found, kept) in [
            ("{\"Width\":1,\"Height\":2}{\"Wid", vec![size(1, 2)], 5),
            ("{\"Width\":1} \n{\"Width\":3}", vec![size(1, 0), size(3, 0)], 0),
            ("}}{\"Width\":1}", vec![size(1, 0)], 0),
            (&" ".repeat(SIZE), vec![], SIZE),
            (&" ".repeat(SIZE + 1), vec![], 0),
            (&long, vec![], 0),
        ] {
            let mut bytes = said.as_bytes().to_vec();
            assert_eq!((sizes(&mut bytes), bytes.len()), (found, kept), "{said}");
        }
    }

    /// A client that speaks on and on, and never opens the last stream.
    #[tokio::test(start_paused = true)]
    async fn what_comes_before_the_streams_is_bounded() {
        for frame in [spdy::data(3, false, &[b'x'; 1 << 15]), spdy::data(3, false, &[]), spdy::reset(9)] {
            let (ours, mut theirs) = tokio::io::duplex(1 << 16);
            let (_command, streams) = command();
            let server = tokio::spawn(session(ours, VERSIONS[0], all(false), async { Ok(streams) }));
            theirs.write_all(&ClientSide::new().open(3, false, &[("streamtype", "stdin")])).await.unwrap();
            for _ in 0..EARLY / 64 + 10_000 {
                if theirs.write_all(&frame).await.is_err() {
                    break;
                }
            }
            let ended = server.await.unwrap().unwrap_err().to_string();
            assert_eq!(ended, "too much came before the streams were open");
        }
    }

    /// What is sent each way; far more than all buffers on the way hold.
    const MUCH: usize = 10_000_000;
    /// The clock stands still and leaps when nothing else can happen: nobody waits for this, and a deadlock ends by it.
    const EVER: Duration = Duration::from_secs(3600);

    /// A command with input and output, and its client after the streams are open.
    async fn begun() -> (Command, DuplexStream) {
        let (ours, mut theirs) = tokio::io::duplex(1 << 14);
        let (command, streams) = command();
        let options = StreamOptions { tty: false, stdin: true, stdout: true, stderr: false };
        tokio::spawn(session(ours, VERSIONS[0], options, async { Ok(ExecStreams { stderr: None, ..streams }) }));
        let mut client = ClientSide::new();
        for (id, kind) in [(1, "error"), (3, "stdin"), (5, "stdout")] {
            theirs.write_all(&client.open(id, false, &[("streamtype", kind)])).await.unwrap();
        }
        (command, theirs)
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_everything_before_it_reads_anything() {
        let (mut command, mut client) = begun().await;
        let part = [b'x'; 1 << 15];
        let all = MUCH / part.len() * part.len();
        let process = tokio::spawn(async move {
            let reading = async {
                let mut read = 0;
                while let Some(bytes) = command.stdin.recv().await {
                    read += bytes.len();
                }
                read
            };
            let stdout = command.stdout;
            let writing = async move {
                for _ in 0..MUCH / part.len() {
                    stdout.send(Bytes::copy_from_slice(&part)).await.unwrap();
                }
            };
            let (read, ()) = tokio::join!(reading, writing);
            command.exit.send(Ok(0)).unwrap();
            read
        });
        let session = async {
            for _ in 0..MUCH / part.len() {
                client.write_all(&spdy::data(3, false, &part)).await.unwrap();
            }
            client.write_all(&spdy::data(3, true, &[])).await.unwrap();
            read(client).await
        };
        let said = tokio::time::timeout(EVER, session).await.expect("no deadlock");
        assert_eq!((said[2].0, said[2].1.len(), process.await.unwrap()), (5, all, all));
        assert!(said[0].1.contains("Success"), "{}", said[0].1);
    }

    #[tokio::test(start_paused = true)]
    async fn input_that_is_not_taken_is_held_back_and_a_client_that_went_is_noticed() {
        let (mut command, mut client) = begun().await;
        let mut sent = 0;
        let writing = async {
            while sent < MUCH {
                client.write_all(&spdy::data(3, false, &[7; 1 << 15])).await.unwrap();
                sent += 1 << 15;
            }
        };
        assert!(tokio::time::timeout(EVER, writing).await.is_err(), "nobody reads, and yet all was taken");
        assert!(sent < 1 << 21, "{sent} bytes are somewhere");
        drop(client);
        tokio::time::timeout(EVER, command.exit.closed()).await.expect("the end of what it ran");
    }

    #[tokio::test]
    async fn what_cannot_begin_is_told() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let options = StreamOptions { tty: false, stdin: false, stdout: true, stderr: false };
        let begin = async { Err(Status::internal("no such program")) };
        let server = tokio::spawn(session(ours, VERSIONS[2], options, begin));
        let mut client = ClientSide::new();
        for (id, kind) in [(1, "error"), (3, "stdout")] {
            theirs.write_all(&client.open(id, false, &[("streamtype", kind)])).await.unwrap();
        }
        let said = read(theirs).await;
        assert_eq!(said[0], (1, "Internal error occurred: no such program".to_string(), 1));
        server.await.unwrap().unwrap();
    }

    #[test]
    fn versions() {
        let headers = |all: &[&'static str]| -> HeaderMap {
            all.iter().map(|v| (http::HeaderName::from_static(VERSION), HeaderValue::from_static(v))).collect()
        };
        assert_eq!(negotiated(&headers(&["v5.channel.k8s.io", "v4.channel.k8s.io"])), Some("v4.channel.k8s.io"));
        assert_eq!(negotiated(&headers(&["v3.channel.k8s.io, v4.channel.k8s.io"])), Some("v3.channel.k8s.io"));
        assert_eq!(negotiated(&headers(&[])), Some("channel.k8s.io"));
        assert_eq!(negotiated(&headers(&["v9"])), None);
        assert_eq!(unknown(&headers(&["v9"])).headers().get_all(ACCEPTED).iter().count(), 4);
    }
}
