//! exec and attach over WebSocket: `v5.channel.k8s.io`, `v4.channel.k8s.io` and older.
//!
//! Every message begins with a byte that names its channel: 0 input, 1 output, 2 errors, 3 the final Status, 4 the terminal's
//! size, and in v5 255 with the channel that the client closes.

use super::{NodeEndpoint, command, query};
use base::{Result, Status};
use bytes::Bytes;
use cri::{ExecStreams, StreamOptions, TerminalSize};
use futures::{SinkExt, Stream, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use net::{
    Body,
    websocket::{self, CloseCode, CloseFrame, Message, WebSocketError, WebSocketStream},
};
use std::{
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    time::{Instant, Interval, MissedTickBehavior},
};
use value::{Value, value};

/// How long the client may take to close, once it has been told everything.
const CLOSING: Duration = Duration::from_secs(1);

/// The longest piece in which input goes on. A message may be as long as [`websocket::LONGEST`], and queues count pieces.
pub(super) const PIECE: usize = 32 << 10;

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

pub(super) async fn exec(
    endpoint: &NodeEndpoint,
    namespace: &str,
    name: &str,
    container: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>> {
    let (object, _) = endpoint.pod(namespace, name)?;
    let command = query(&request).all("command");
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let options = options(&request)?;
    let id = endpoint.running(&object.meta.uid, container).await?;
    let runtime = endpoint.node.runtime.clone();
    run(&mut request, options, async move {
        runtime.exec(&id, &command, options).await.map_err(|e| failure("error executing command in container", &e))
    })
}

pub(super) async fn attach(
    endpoint: &NodeEndpoint,
    namespace: &str,
    name: &str,
    container: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>> {
    let (object, _) = endpoint.pod(namespace, name)?;
    let options = options(&request)?;
    let id = endpoint.running(&object.meta.uid, container).await?;
    let runtime = endpoint.node.runtime.clone();
    run(&mut request, options, async move {
        runtime.attach(&id, options).await.map_err(|e| failure("error attaching to container", &e))
    })
}

/// What upstream's streaming server writes when the runtime refuses.
fn failure(what: &str, error: &cri::Error) -> Status {
    Status::internal(format!("{what}: {error}"))
}

fn options<B>(request: &Request<B>) -> Result<StreamOptions> {
    let query = query(request);
    let flag = |short: &str, long: &str| query.flag(short) || query.flag(long);
    let tty = query.flag("tty");
    let options = StreamOptions {
        tty,
        stdin: flag("input", "stdin"),
        stdout: flag("output", "stdout"),
        // A terminal has one output.
        stderr: flag("error", "stderr") && !tty,
    };
    match options.stdin || options.stdout || options.stderr {
        true => Ok(options),
        false => Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr")),
    }
}

/// Switches to a WebSocket (or to SPDY: [`command`]), begins, and carries the streams over it. What goes wrong from here on is told on the status
/// channel, where a client looks for the end of its command.
fn run<B>(
    request: &mut Request<B>,
    options: StreamOptions,
    begin: impl Future<Output = Result<ExecStreams>> + Send + 'static,
) -> Result<Response<Body>> {
    if command::wanted(request.headers()) {
        return command::run(request, options, begin);
    }
    let protocols =
        ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"];
    let (response, pending) = websocket::accept(request, &protocols).map_err(|e| Status::bad_request(e.to_string()))?;
    let chosen = response.headers().get(http::header::SEC_WEBSOCKET_PROTOCOL).and_then(|p| p.to_str().ok());
    let told = match chosen {
        Some("v5.channel.k8s.io" | "v4.channel.k8s.io") => Told::Status,
        _ => Told::Failures,
    };
    tokio::spawn(async move {
        match pending.ready().await {
            Ok(socket) => carry(socket, begin, told).await,
            Err(error) => tracing::debug!(%error, "stream"),
        }
    });
    Ok(response)
}

/// What a client hears of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// From version 4 on: the Status, as JSON.
    Status,
    /// Before: the message of a failure, and of success nothing.
    Failures,
}

impl Told {
    /// `None` for nothing.
    pub(super) fn words(self, status: &Value) -> Option<Vec<u8>> {
        match self {
            Told::Status => Some(status.to_json()),
            Told::Failures => (status.str_at(&["status"]) != "Success").then(|| status.str_at(&["message"]).into()),
        }
    }
}

/// Both directions, each waiting for itself alone: a client that writes all before it reads must not stop the output,
/// and one that reads nothing must not stop the input. What is not taken is held back to its sender, never heaped up.
async fn carry<S>(socket: WebSocketStream<S>, begin: impl Future<Output = Result<ExecStreams>>, told: Told)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut source) = socket.split();
    let status = match begin.await {
        Ok(streams) => {
            // An empty message says that the connection stands, before anything is written.
            if sink.send(frame(STDOUT, &[])).await.is_err() {
                return;
            }
            let ExecStreams { stdin, stdout, stderr, resize, exit } = streams;
            let held = AtomicBool::new(false);
            let ended = tokio::select! {
                () = inward(&mut source, stdin, &resize, &held) => None,
                status = outward(&mut sink, stdout, stderr, exit, &held) => status,
            };
            match ended {
                Some(status) => status,
                // The client went; what it ran goes with the streams.
                None => return,
            }
        }
        Err(status) => value::Value::from(status.to_json()),
    };
    // Who closes on unread bytes takes back what was sent.
    let rest = async { while let Some(Ok(_)) = source.next().await {} };
    if said(conclude(&mut sink, &status, told), pin!(rest)).await.is_some()
        && let Ok(socket) = sink.reunite(source)
    {
        part(socket).await;
    }
}

/// Ends this side of the connection, and waits for the client to end its own. A client that looks whether there is something
/// to read at its socket, and not at what TLS has read already, learns of the last messages by this end (the Python client).
async fn part<S: AsyncRead + AsyncWrite + Unpin>(mut socket: WebSocketStream<S>) {
    let parted = async {
        socket.get_mut().shutdown().await?;
        while let Some(Ok(_)) = socket.next().await {}
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(CLOSING, parted).await;
}

/// From the client to the command, until the client goes. `held` is true while the command does not take its input.
async fn inward(
    source: &mut (impl Stream<Item = std::result::Result<Message, WebSocketError>> + Unpin),
    mut stdin: Option<mpsc::Sender<Bytes>>,
    resize: &mpsc::Sender<TerminalSize>,
    held: &AtomicBool,
) {
    while let Some(Ok(message)) = source.next().await {
        held.store(true, Ordering::Relaxed);
        match message {
            Message::Binary(bytes) => input(&bytes, &mut stdin, resize).await,
            Message::Text(text) => input(text.as_bytes(), &mut stdin, resize).await,
            Message::Close(_) => return,
            _ => {}
        }
        held.store(false, Ordering::Relaxed);
    }
}

/// From the command to the client, until the command has ended; `None` where the client went before.
async fn outward(
    sink: &mut (impl SinkExt<Message> + Unpin),
    mut stdout: Option<mpsc::Receiver<Bytes>>,
    mut stderr: Option<mpsc::Receiver<Bytes>>,
    mut exit: oneshot::Receiver<std::result::Result<i32, cri::Error>>,
    held: &AtomicBool,
) -> Option<Value> {
    let mut sign = signs_of_life();
    loop {
        let open = stdout.is_some() || stderr.is_some();
        let message = tokio::select! {
            bytes = next(&mut stdout) => match bytes {
                Some(bytes) => frame(STDOUT, &bytes),
                None => {
                    stdout = None;
                    continue;
                }
            },
            bytes = next(&mut stderr) => match bytes {
                Some(bytes) => frame(STDERR, &bytes),
                None => {
                    stderr = None;
                    continue;
                }
            },
            _ = sign.tick() => match held.load(Ordering::Relaxed) {
                true => Message::Ping(Bytes::new()),
                false => continue,
            },
            // Output comes before the exit: the runtime resolves it last, and what is buffered here is sent first.
            exit = &mut exit, if !open => return Some(exit.map_or_else(|_| unfinished(), finished)),
        };
        sink.send(message).await.ok()?;
    }
}

/// When to write to a client whose input is held: its end is not read then, and only a write that fails tells of it. One of
/// the first few does: each hop learns from a write of its own.
pub(super) fn signs_of_life() -> Interval {
    const PERIOD: Duration = Duration::from_secs(1);
    let mut interval = tokio::time::interval_at(Instant::now() + PERIOD, PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Says the last words while the client may still be speaking, and then gives it time to close.
pub(super) async fn finish<T>(words: impl Future<Output = T>, rest: impl Future<Output = ()>) -> Option<T> {
    let mut rest = pin!(rest);
    let said = said(words, rest.as_mut()).await?;
    let _ = tokio::time::timeout(CLOSING, rest).await;
    Some(said)
}

/// Says the last words while the client may still be speaking; `None` where it went before.
async fn said<T>(words: impl Future<Output = T>, rest: Pin<&mut impl Future<Output = ()>>) -> Option<T> {
    tokio::select! {
        biased;
        said = words => Some(said),
        () = rest => None,
    }
}

/// The final Status, and the end of the connection.
async fn conclude(sink: &mut (impl SinkExt<Message> + Unpin), status: &Value, told: Told) {
    if let Some(words) = told.words(status) {
        let _ = sink.send(frame(STATUS, &words)).await;
    }
    let close = CloseFrame { code: CloseCode::Normal, reason: "".into() };
    let _ = sink.send(Message::Close(Some(close))).await;
    let _ = sink.close().await;
}

pub(super) async fn next(stream: &mut Option<mpsc::Receiver<Bytes>>) -> Option<Bytes> {
    match stream {
        Some(stream) => stream.recv().await,
        None => std::future::pending().await,
    }
}

async fn input(message: &[u8], stdin: &mut Option<mpsc::Sender<Bytes>>, resize: &mpsc::Sender<TerminalSize>) {
    match message.split_first() {
        Some((0, data)) => {
            for piece in data.chunks(PIECE) {
                let Some(sender) = stdin else { return };
                if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                    *stdin = None;
                }
            }
        }
        Some((&RESIZE, data)) => {
            if let Ok(size) = value::parse_lenient(data) {
                let side = |key: &str| size.at(&[key]).as_i64().and_then(|n| u16::try_from(n).ok()).unwrap_or(0);
                let _ = resize.send(TerminalSize { width: side("Width"), height: side("Height") }).await;
            }
        }
        Some((&CLOSE, [0])) => *stdin = None,
        _ => {}
    }
}

pub(super) fn frame(channel: u8, data: &[u8]) -> Message {
    let mut bytes = Vec::with_capacity(data.len() + 1);
    bytes.push(channel);
    bytes.extend_from_slice(data);
    Message::Binary(bytes.into())
}

/// The Status of a command that the runtime speaks of.
pub(super) fn finished(exit: std::result::Result<i32, cri::Error>) -> Value {
    match exit {
        Ok(code) => outcome(code),
        Err(error) => Value::from(Status::internal(error).to_json()),
    }
}

/// The same where it says nothing.
pub(super) fn unfinished() -> Value {
    Value::from(Status::internal("the runtime gave the stream up").to_json())
}

/// The Status that ends an exec: success, or the exit code as a cause.
fn outcome(code: i32) -> Value {
    if code == 0 {
        return value!({"metadata": {}, "status": "Success"});
    }
    value!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit code {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::future::join;
    use net::websocket::Role;
    use tokio::io::{AsyncReadExt, DuplexStream};

    /// What is sent each way; far more than all buffers on the way hold.
    const MUCH: usize = 10_000_000;
    /// The clock stands still and leaps when nothing else can happen: nobody waits for this, and a deadlock ends by it.
    const EVER: Duration = Duration::from_secs(3600);

    /// The command's ends.
    struct Command {
        stdin: mpsc::Receiver<Bytes>,
        stdout: mpsc::Sender<Bytes>,
        exit: oneshot::Sender<std::result::Result<i32, cri::Error>>,
    }

    async fn begun() -> (Command, WebSocketStream<DuplexStream>) {
        let ((stdin_to, stdin), (stdout, stdout_from)) = (mpsc::channel(4), mpsc::channel(4));
        let (exit, exited) = oneshot::channel();
        let streams = ExecStreams {
            stdin: Some(stdin_to),
            stdout: Some(stdout_from),
            stderr: None,
            resize: mpsc::channel(1).0,
            exit: exited,
        };
        let (ours, theirs) = tokio::io::duplex(1 << 14);
        let server = WebSocketStream::from_raw_socket(ours, Role::Server, None).await;
        tokio::spawn(carry(server, async { Ok(streams) }, Told::Status));
        (Command { stdin, stdout, exit }, WebSocketStream::from_raw_socket(theirs, Role::Client, None).await)
    }

    #[tokio::test(start_paused = true)]
    async fn who_writes_everything_before_it_reads_anything() {
        let (mut command, mut client) = begun().await;
        let part = Bytes::from(vec![7; 1 << 15]);
        let said = part.clone();
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
                for _ in 0..MUCH / said.len() {
                    stdout.send(said.clone()).await.unwrap();
                }
            };
            let (read, ()) = join(reading, writing).await;
            command.exit.send(Ok(0)).unwrap();
            read
        });
        let session = async {
            for _ in 0..MUCH / part.len() {
                client.send(frame(0, &part)).await.unwrap();
            }
            client.send(frame(CLOSE, &[0])).await.unwrap();
            let (mut heard, mut status) = (0, Vec::new());
            while let Some(Ok(message)) = client.next().await {
                match message {
                    Message::Binary(bytes) if bytes[0] == STDOUT => heard += bytes.len() - 1,
                    Message::Binary(bytes) if bytes[0] == STATUS => status = bytes[1..].to_vec(),
                    _ => {}
                }
            }
            (heard, status)
        };
        let (heard, status) = tokio::time::timeout(EVER, session).await.expect("no deadlock");
        let all = MUCH / part.len() * part.len();
        assert_eq!((heard, process.await.unwrap()), (all, all));
        assert_eq!(status, outcome(0).to_json());
    }

    #[tokio::test(start_paused = true)]
    async fn input_that_is_not_taken_is_held_back_and_a_client_that_went_is_noticed() {
        let (mut command, mut client) = begun().await;
        let mut sent = 0;
        let writing = async {
            while sent < MUCH {
                client.send(frame(0, &[7; 1 << 15])).await.unwrap();
                sent += 1 << 15;
            }
        };
        assert!(tokio::time::timeout(EVER, writing).await.is_err(), "nobody reads, and yet all was taken");
        assert!(sent < 1 << 20, "{sent} bytes are somewhere");
        drop(client);
        tokio::time::timeout(EVER, command.exit.closed()).await.expect("the end of what it ran");
    }

    /// A command that ends is told of, although its client is still speaking.
    #[tokio::test(start_paused = true)]
    async fn the_end_reaches_a_client_that_still_writes() {
        let (command, mut client) = begun().await;
        drop((command.stdin, command.stdout));
        command.exit.send(Ok(3)).unwrap();
        let session = async {
            for _ in 0..MUCH >> 15 {
                client.send(frame(0, &[7; 1 << 15])).await.unwrap();
            }
            let mut status = Vec::new();
            while let Some(Ok(message)) = client.next().await {
                if let Message::Binary(bytes) = message
                    && bytes[0] == STATUS
                {
                    status = bytes[1..].to_vec();
                }
            }
            status
        };
        let status = tokio::time::timeout(EVER, session).await.expect("an end");
        assert_eq!(status, outcome(3).to_json());
    }

    /// The end of the connection comes with the last message, not when the client has closed.
    #[tokio::test(start_paused = true)]
    async fn this_side_ends_at_once() {
        let (command, client) = begun().await;
        drop((command.stdin, command.stdout));
        command.exit.send(Ok(0)).unwrap();
        let (start, mut raw) = (Instant::now(), Vec::new());
        let mut inner = client.into_inner();
        inner.read_to_end(&mut raw).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(raw[raw.len() - 4..], [0x88, 2, 3, 232], "the Close frame is the last");
    }

    /// What waits of a long message is the message and some pieces.
    #[tokio::test]
    async fn input_goes_on_in_pieces() {
        let ((to, mut stdin), resize) = (mpsc::channel(64), mpsc::channel(1).0);
        let message = [vec![0], vec![7; PIECE * 3 + 5]].concat();
        input(&message, &mut Some(to), &resize).await;
        let mut lengths = Vec::new();
        while let Some(piece) = stdin.recv().await {
            lengths.push(piece.len());
        }
        assert_eq!(lengths, [PIECE, PIECE, PIECE, 5]);
    }

    #[test]
    fn outcomes() {
        assert_eq!(outcome(0).to_string(), r#"{"metadata":{},"status":"Success"}"#);
        assert_eq!(outcome(3).at(&["details", "causes"]).to_string(), r#"[{"message":"3","reason":"ExitCode"}]"#);
    }

    #[tokio::test]
    async fn channels() {
        let (stdin, mut received) = mpsc::channel(4);
        let (resize, mut sizes) = mpsc::channel(4);
        let mut stdin = Some(stdin);
        input(b"\0hello", &mut stdin, &resize).await;
        input(b"\x04{\"Width\":80,\"Height\":24}", &mut stdin, &resize).await;
        assert_eq!(received.recv().await.unwrap(), "hello");
        assert_eq!(sizes.recv().await, Some(TerminalSize { width: 80, height: 24 }));
        input(&[255, 0], &mut stdin, &resize).await;
        assert!(stdin.is_none() && received.recv().await.is_none());
    }
}
