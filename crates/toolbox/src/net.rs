//! `wget` and `nc`: the two clients that people reach for inside a container. Plain http and TCP or UDP only.

use crate::common::{Failure, Outcome, Parsed, options};
use crate::sh::jobs;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::time::Duration;

const MAX_REDIRECTS: usize = 5;

/// `wget [-q] [-O file] [-T seconds] [-S] [--spider] [--header=…] [--post-data=…] url`
pub fn wget(args: &[String]) -> Outcome {
    let (mut headers, mut body, mut spider, mut plain) = (Vec::new(), None, false, Vec::new());
    for arg in args {
        match arg.split_once('=').unwrap_or((arg, "")) {
            ("--header", value) => headers.push(value.to_string()),
            ("--post-data", value) => body = Some(value.to_string()),
            ("--timeout", value) => plain.extend(["-T".to_string(), value.to_string()]),
            ("--output-document", value) => plain.extend(["-O".to_string(), value.to_string()]),
            ("--spider", _) => spider = true,
            ("--quiet", _) => plain.push("-q".to_string()),
            ("--server-response", _) => plain.push("-S".to_string()),
            ("--tries" | "--no-verbose", _) => {}
            _ => plain.push(arg.clone()),
        }
    }
    let parsed = options(&plain, "qSO:T:t:")?;
    let [url] = parsed.operands.as_slice() else { return Err("usage: wget [-q] [-O file] [-T seconds] url".into()) };
    let mut url = url.clone();
    for _ in 0..MAX_REDIRECTS {
        let request = Request { url: &url, headers: &headers, body: body.as_deref() };
        match request.run(&parsed, spider)? {
            None => return Ok(0),
            Some(location) => url = location,
        }
    }
    Err("too many redirects".into())
}

struct Request<'a> {
    url: &'a str,
    headers: &'a [String],
    body: Option<&'a str>,
}

impl Request<'_> {
    /// Fetches; returns where to go instead, if the server says so.
    fn run(&self, parsed: &Parsed, spider: bool) -> Result<Option<String>, Failure> {
        let rest = self.url.strip_prefix("http://").unwrap_or(self.url);
        if rest.contains("://") {
            return Err(format!("{}: only http is supported", self.url).into());
        }
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let authority = authority.rsplit('@').next().unwrap_or(authority);
        let has_port = authority.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok())
            && (authority.contains("]:") || authority.matches(':').count() == 1);
        let address = if has_port { authority.to_string() } else { format!("{authority}:80") };
        let timeout = Duration::try_from_secs_f64(parsed.number('T', 900.0)?).unwrap_or(Duration::MAX);
        let mut stream = connect(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        let method = if self.body.is_some() {
            "POST"
        } else if spider {
            "HEAD"
        } else {
            "GET"
        };
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: Wget\r\nConnection: close\r\n");
        self.headers.iter().for_each(|header| head += &format!("{header}\r\n"));
        if let Some(body) = self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
            if !self.headers.iter().any(|header| header.to_lowercase().starts_with("content-type:")) {
                head += "Content-Type: application/x-www-form-urlencoded\r\n";
            }
        }
        stream.write_all(format!("{head}\r\n{}", self.body.unwrap_or("")).as_bytes())?;
        let mut reader = BufReader::new(stream);
        let head = read_head(&mut reader)?;
        if parsed.has('S') {
            head.iter().for_each(|line| eprintln!("  {line}"));
        }
        let field = |name: &str| {
            head[1..].iter().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
            })
        };
        let status = head[0].split_once(' ').map_or("", |(_, status)| status).to_string();
        if let (true, Some(location)) = (status.starts_with('3'), field("location")) {
            let absolute = location.contains("://");
            return Ok(Some(if absolute { location } else { format!("http://{authority}{location}") }));
        }
        if !status.starts_with('2') {
            return Err(format!("server returned error: HTTP/1.1 {status}").into());
        }
        if spider {
            return Ok(None);
        }
        let name = path.split('?').next().unwrap_or("").rsplit('/').next().unwrap_or("");
        let name = parsed.value('O').unwrap_or(if name.is_empty() { "index.html" } else { name });
        let mut out: Box<dyn Write> = if name == "-" { Box::new(io::stdout()) } else { Box::new(File::create(name)?) };
        if field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            chunks(&mut reader, &mut out)?;
        } else if let Some(length) = field("content-length").and_then(|length| length.parse::<u64>().ok()) {
            if io::copy(&mut reader.take(length), &mut out)? < length {
                return Err("connection closed prematurely".into());
            }
        } else {
            io::copy(&mut reader, &mut out)?;
        }
        out.flush()?;
        if !parsed.has('q') && name != "-" {
            eprintln!("'{name}' saved");
        }
        Ok(None)
    }
}

fn connect(address: &str, timeout: Duration) -> Result<TcpStream, Failure> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let addresses = address.to_socket_addrs().map_err(|_| Failure::Message(format!("bad address '{host}'")))?;
    let mut last = Failure::Message(format!("bad address '{host}'"));
    for address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let why = crate::sh::run::reason(&error);
                last = Failure::Message(format!("can't connect to remote host ({address}): {why}"));
            }
        }
    }
    Err(last)
}

/// The status line and the header lines.
fn read_head(reader: &mut impl BufRead) -> Result<Vec<String>, Failure> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(64 * 1024).read_until(b'\n', &mut line)?;
        let line = String::from_utf8_lossy(&line).trim_end().to_string();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    if !lines.first().is_some_and(|line| line.starts_with("HTTP/")) {
        return Err("no HTTP answer from the server".into());
    }
    Ok(lines)
}

fn chunks(reader: &mut impl BufRead, out: &mut impl Write) -> Result<(), Failure> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let size = line.trim().split(';').next().unwrap_or("");
        let size = u64::from_str_radix(size, 16).map_err(|_| Failure::from("malformed chunk"))?;
        if io::copy(&mut reader.by_ref().take(size), out)? < size {
            return Err("connection closed prematurely".into());
        }
        line.clear();
        reader.read_line(&mut line)?;
        if size == 0 {
            return Ok(());
        }
    }
}

/// `nc [-u] [-z] [-w seconds] host port` or `nc -l -p port`
pub fn nc(args: &[String]) -> Outcome {
    let parsed = options(args, "lp:uzvw:n")?;
    if parsed.has('l') && parsed.has('u') {
        return Err("-l does not listen for datagrams; `httpd -u port` does".into());
    }
    let timeout = parsed.value('w').map(|_| parsed.number('w', 1.0)).transpose()?.map(Duration::from_secs_f64);
    if parsed.has('l') {
        let port = parsed.value('p').or(parsed.operands.last().map(String::as_str)).ok_or("-l needs a port")?;
        jobs::die_on_termination();
        let listener =
            TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}")))?;
        return join(listener.accept()?.0, timeout);
    }
    let [host, port] = parsed.operands.as_slice() else { return Err("usage: nc [-uz] [-w seconds] host port".into()) };
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    if parsed.has('u') {
        return datagrams(&address, timeout.unwrap_or(Duration::from_secs(1)));
    }
    let stream = connect(&address, timeout.unwrap_or(Duration::from_secs(30)))?;
    if parsed.has('v') {
        eprintln!("{host} ({}) open", stream.peer_addr()?);
    }
    if parsed.has('z') { Ok(0) } else { join(stream, timeout) }
}

/// Standard input to the peer and the peer to standard output, until the peer is done.
fn join(stream: TcpStream, timeout: Option<Duration>) -> Outcome {
    let mut outgoing = stream.try_clone()?;
    std::thread::spawn(move || {
        let mut buffer = [0; 16 * 1024];
        while let Ok(n @ 1..) = io::stdin().read(&mut buffer) {
            if outgoing.write_all(&buffer[..n]).is_err() {
                return;
            }
        }
        let _ = outgoing.shutdown(Shutdown::Write);
    });
    stream.set_read_timeout(timeout)?;
    let mut stream = stream;
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(0),
            Ok(n) => io::stdout().write_all(&buffer[..n]).and_then(|()| io::stdout().flush())?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(1),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends standard input as one datagram per line and prints answers until none comes.
fn datagrams(address: &str, timeout: Duration) -> Outcome {
    let target = address.to_socket_addrs()?.next().ok_or("bad address")?;
    let socket = UdpSocket::bind(if target.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" })?;
    socket.connect(target)?;
    socket.set_read_timeout(Some(timeout))?;
    for line in io::stdin().lock().split(b'\n') {
        socket.send(&[line?, b"\n".to_vec()].concat())?;
    }
    let mut buffer = [0; 64 * 1024];
    while let Ok(n) = socket.recv(&mut buffer) {
        io::stdout().write_all(&buffer[..n])?;
        io::stdout().flush()?;
    }
    Ok(0)
}
