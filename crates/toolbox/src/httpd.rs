//! The demo's web server: a page that says which pod and node answered, and paths that tests poke.
//!
//! A thread per connection, at most [`MAX_CONNECTIONS`]; more wait in the kernel's backlog. On TERM it stops listening, lets
//! requests in flight finish, and exits 0, so that a rolling update loses none of them.

use crate::common::{Outcome, options};
use signal_hook::iterator::Signals;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const MAX_CONNECTIONS: usize = 128;
const MAX_BODY: u64 = 1 << 20;
const STACK: usize = 128 * 1024;
/// The longest that TERM waits for requests in flight.
const DRAIN: Duration = Duration::from_secs(10);

/// `httpd [-p [address:]port] [-u port] [-f]`; port 8080 by default, in the foreground always. With `-u` it answers datagrams too.
pub fn main(args: &[String]) -> Outcome {
    let parsed = options(args, "p:u:fv")?;
    let port = parsed.value('p').unwrap_or("8080");
    let listener = match port.contains(':') {
        true => TcpListener::bind(port),
        // Both families where there are both.
        false => TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))),
    };
    let listener = listener.map_err(|error| format!("cannot listen on {port}: {}", crate::sh::run::reason(&error)))?;
    if let Some(port) = parsed.value('u') {
        let socket = UdpSocket::bind(format!("[::]:{port}")).or_else(|_| UdpSocket::bind(format!("0.0.0.0:{port}")));
        let socket =
            socket.map_err(|error| format!("cannot listen on {port}/udp: {}", crate::sh::run::reason(&error)))?;
        std::thread::spawn(move || datagrams(&socket));
    }
    println!("listening on {}", listener.local_addr()?);
    let server = Arc::new(Server { verbose: parsed.has('v'), ..Server::default() });
    let draining = server.clone();
    let mut signals = Signals::new([2, 15])?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            println!("signal {signal}: draining");
            draining.drain();
            std::process::exit(0);
        }
    });
    for stream in listener.incoming() {
        match stream {
            Ok(stream) => server.clone().accept(stream),
            // Out of descriptors or a connection that died in the backlog: the next one may do better.
            Err(error) => {
                eprintln!("accept: {error}");
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(0)
}

/// `hostname` and `clientip` are answered, anything else comes back as it is.
fn datagrams(socket: &UdpSocket) {
    let mut buffer = [0; 64 * 1024];
    loop {
        // An error here is about an earlier answer: its client is gone.
        let Ok((n, peer)) = socket.recv_from(&mut buffer) else { continue };
        let answer = match buffer[..n].trim_ascii() {
            b"hostname" => format!("{}\n", hostname()).into_bytes(),
            b"clientip" => format!("{}\n", peer.ip().to_canonical()).into_bytes(),
            _ => buffer[..n].to_vec(),
        };
        let _ = socket.send_to(&answer, peer);
    }
}

#[derive(Default)]
struct Server {
    verbose: bool,
    stopping: AtomicBool,
    /// Connections, and requests being answered.
    counts: Mutex<(usize, usize)>,
    changed: Condvar,
}

impl Server {
    fn accept(self: Arc<Self>, stream: TcpStream) {
        if self.stopping.load(Ordering::Relaxed) {
            return;
        }
        let counts = self.lock();
        let full = |counts: &mut (usize, usize)| counts.0 >= MAX_CONNECTIONS;
        let mut counts = self.changed.wait_while(counts, full).unwrap_or_else(|poisoned| poisoned.into_inner());
        counts.0 += 1;
        drop(counts);
        let server = self.clone();
        let spawned = std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // A client that breaks off is its own affair.
            let _ = server.serve(stream);
            server.change(|counts| counts.0 -= 1);
        });
        if spawned.is_err() {
            self.change(|counts| counts.0 -= 1);
        }
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let peer = stream.peer_addr()?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        while let Some(request) = Request::read(&mut reader)? {
            self.change(|counts| counts.1 += 1);
            let keep = request.keep_alive && !self.stopping.load(Ordering::Relaxed);
            let response = request.answer(&peer.ip().to_canonical().to_string());
            if self.verbose {
                println!("{peer} {} {} {}", request.method, request.target, response.status);
            }
            let written = response.write(&mut writer, keep, request.method == "HEAD");
            self.change(|counts| counts.1 -= 1);
            written?;
            if let Some(code) = response.exit {
                std::process::exit(code);
            }
            if !keep {
                break;
            }
        }
        Ok(())
    }

    fn drain(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let busy = |counts: &mut (usize, usize)| counts.1 > 0;
        drop(self.changed.wait_timeout_while(self.lock(), DRAIN, busy));
    }

    fn change(&self, edit: impl FnOnce(&mut (usize, usize))) {
        edit(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (usize, usize)> {
        self.counts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

struct Request {
    method: String,
    target: String,
    headers: Vec<String>,
    body: Vec<u8>,
    keep_alive: bool,
}

struct Response {
    status: &'static str,
    media_type: &'static str,
    body: Vec<u8>,
    /// End the process with this code after answering.
    exit: Option<i32>,
}

impl Request {
    /// `None` when the client is done. A request that cannot be understood ends the connection.
    fn read(reader: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = Vec::new();
            if reader.by_ref().take(16 * 1024).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_string();
            match (line.is_empty(), lines.is_empty()) {
                (true, true) => {}
                (true, false) => break,
                _ if lines.len() > 100 => return Err(io::ErrorKind::InvalidData.into()),
                _ => lines.push(line),
            }
        }
        let mut words = lines[0].split(' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let (method, target, version) = (method.to_string(), target.to_string(), version.to_string());
        let mut request = Request {
            method,
            target,
            keep_alive: version == "HTTP/1.1",
            headers: lines.split_off(1),
            body: Vec::new(),
        };
        if let Some(connection) = request.header("connection") {
            request.keep_alive = connection.eq_ignore_ascii_case("keep-alive");
        }
        let length: u64 = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        if length > MAX_BODY || request.header("transfer-encoding").is_some() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        reader.by_ref().take(length).read_to_end(&mut request.body)?;
        Ok(Some(request))
    }

    fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
        })
    }

    fn answer(&self, client: &str) -> Response {
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let parameter = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value)
        };
        match path {
            "/" if self.header("accept").is_some_and(|accept| accept.contains("text/html")) => Response {
                status: "200 OK",
                media_type: "text/html; charset=utf-8",
                body: page(client).into_bytes(),
                exit: None,
            },
            "/" => text("200 OK", facts(client).iter().map(|(name, value)| format!("{name}: {value}\n")).collect()),
            "/hostname" => text("200 OK", format!("{}\n", hostname())),
            "/healthz" | "/readyz" | "/livez" => text("200 OK", "ok\n".to_string()),
            "/clientip" => text("200 OK", format!("{client}\n")),
            "/echo" => {
                let head = format!("{} {}\n{}\n\n", self.method, self.target, self.headers.join("\n"));
                let body = [head.as_bytes(), &self.body].concat();
                Response { status: "200 OK", media_type: "text/plain; charset=utf-8", body, exit: None }
            }
            "/env" => {
                let variables: BTreeMap<_, _> = std::env::vars_os().collect();
                let line = |(name, value): (&std::ffi::OsString, &std::ffi::OsString)| {
                    format!("{}={}\n", name.to_string_lossy(), value.to_string_lossy())
                };
                text("200 OK", variables.iter().map(line).collect())
            }
            "/exit" => match parameter("code").unwrap_or("0").parse() {
                Ok(code) => Response { exit: Some(code), ..text("200 OK", format!("exiting with {code}\n")) },
                Err(_) => text("400 Bad Request", "code must be a number\n".to_string()),
            },
            "/delay" => match parameter("ms").unwrap_or("1000").parse::<u64>() {
                Ok(ms @ 0..=600_000) => {
                    std::thread::sleep(Duration::from_millis(ms));
                    text("200 OK", format!("waited {ms} ms\n"))
                }
                _ => text("400 Bad Request", "ms must be a number up to 600000\n".to_string()),
            },
            _ => text("404 Not Found", format!("{path}: not found\n")),
        }
    }
}

impl Response {
    fn write(&self, out: &mut impl Write, keep: bool, head_only: bool) -> io::Result<()> {
        let connection = if keep { "keep-alive" } else { "close" };
        let mut bytes = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n",
            self.status,
            self.media_type,
            self.body.len()
        )
        .into_bytes();
        if !head_only {
            bytes.extend(&self.body);
        }
        out.write_all(&bytes)
    }
}

fn text(status: &'static str, body: String) -> Response {
    Response { status, media_type: "text/plain; charset=utf-8", body: body.into_bytes(), exit: None }
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What the downward API says about this pod.
fn facts(client: &str) -> Vec<(&'static str, String)> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut facts = vec![("pod", variable("POD_NAME").unwrap_or_else(hostname))];
    for (label, name) in [("namespace", "POD_NAMESPACE"), ("node", "NODE_NAME"), ("address", "POD_IP")] {
        facts.extend(variable(name).map(|value| (label, value)));
    }
    facts.push(("client", client.to_string()));
    facts
}

fn page(client: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let rows: String = facts(client)
        .iter()
        .map(|(name, value)| format!("<tr><th>{name}</th><td>{}</td></tr>\n", escape(value)))
        .collect();
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Ferry</title>\n<style>body{{font:16px/1.5 \
         system-ui,sans-serif;max-width:32rem;margin:4rem auto}}th{{text-align:left;padding-right:2rem}}</style></head>\n\
         <body><h1>Ferry</h1>\n<p>This page was served by</p>\n<table>\n{rows}</table></body></html>\n"
    )
}
