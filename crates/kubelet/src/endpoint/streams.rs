//! exec and attach over WebSocket: `v5.channel.k8s.io`, `v4.channel.k8s.io` and older.
//!
//! Every message begins with a byte that names its channel: 0 input, 1 output, 2 errors, 3 the final Status, 4 the terminal's
//! size, and in v5 255 with the channel that the client closes.

use super::{NodeEndpoint, command, query};
use base::{Result, Status};
use bytes::Bytes;
use cri::{ExecStreams, StreamOptions, TerminalSize};
use futures::{SinkExt, StreamExt};
use http::{Request, Response};
use hyper::body::Incoming;
use net::{
    Body,
    websocket::{self, CloseCode, CloseFrame, Message, ServerSocket},
};
use tokio::sync::mpsc;
use value::{Value, value};

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

async fn carry(socket: ServerSocket, begin: impl Future<Output = Result<ExecStreams>>, told: Told) {
    let (mut sink, mut source) = socket.split();
    let mut streams = match begin.await {
        Ok(streams) => streams,
        Err(status) => return conclude(&mut sink, &value::Value::from(status.to_json()), told).await,
    };
    let mut stdin = streams.stdin.take();
    let (mut stdout, mut stderr) = (streams.stdout.take(), streams.stderr.take());
    // An empty message says that the connection stands, before anything is written.
    if sink.send(frame(STDOUT, &[])).await.is_err() {
        return;
    }
    let exit = loop {
        let open = stdout.is_some() || stderr.is_some();
        tokio::select! {
            message = source.next() => match message {
                Some(Ok(Message::Binary(bytes))) => input(&bytes, &mut stdin, &streams.resize).await,
                Some(Ok(Message::Text(text))) => input(text.as_bytes(), &mut stdin, &streams.resize).await,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            bytes = next(&mut stdout) => match bytes {
                Some(bytes) => if sink.send(frame(STDOUT, &bytes)).await.is_err() { return },
                None => stdout = None,
            },
            bytes = next(&mut stderr) => match bytes {
                Some(bytes) => if sink.send(frame(STDERR, &bytes)).await.is_err() { return },
                None => stderr = None,
            },
            // Output comes before the exit: the runtime resolves it last, and what is buffered here is sent first.
            exit = &mut streams.exit, if !open => break exit,
        }
    };
    let status = match exit {
        Ok(exit) => finished(exit),
        Err(_) => unfinished(),
    };
    conclude(&mut sink, &status, told).await;
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
            let gone = match stdin {
                Some(sender) if !data.is_empty() => sender.send(Bytes::copy_from_slice(data)).await.is_err(),
                _ => false,
            };
            if gone {
                *stdin = None;
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
