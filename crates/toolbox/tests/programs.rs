//! Programs from outside: arguments in, text and status out; and the network ones against each other.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

fn run(line: &[&str], input: &str) -> (String, String, i32) {
    let mut child = command(line).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("start");
    child.stdin.take().expect("stdin").write_all(input.as_bytes()).expect("write");
    let output = child.wait_with_output().expect("wait");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr), toolbox::sh::run::code(output.status))
}

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_toolbox"));
    command.args(line).env_clear().env("POD_NAME", "web-0").env("NODE_NAME", "node-1").stdout(Stdio::piped());
    command
}

#[test]
fn text_programs() {
    for (line, input, expected, status) in [
        (&["cat", "-n"][..], "a\nb\n", "     1\ta\n     2\tb\n", 0),
        (&["head", "-2"], "1\n2\n3\n", "1\n2\n", 0),
        (&["head", "-c", "3"], "abcdef", "abc", 0),
        (&["tail", "-n", "1"], "1\n2\n3", "3", 0),
        (&["tail", "-n", "+2"], "1\n2\n3\n", "2\n3\n", 0),
        (&["wc"], "a b\nc\n", "2 3 6\n", 0),
        (&["grep", "b.*d$"], "abd\nabdx\nacd\n", "abd\n", 0),
        (&["grep", "-F", "a.c"], "abc\na.c\n", "a.c\n", 0),
        (&["grep", "-vc", "a"], "a\nb\nc\n", "2\n", 0),
        (&["grep", "-in", "X[0-9]*y"], "ax12Y\nxz\n", "1:ax12Y\n", 0),
        (&["grep", "-o", "[[:digit:]][[:digit:]]*"], "ab 42 c", "42\n", 0),
        (&["grep", "-E", "ab+c?$"], "abb\nac\n", "abb\n", 0),
        (&["grep", "-q", "nope"], "x\n", "", 1),
        (&["grep", "a\\(b\\)"], "x\n", "", 2),
        (&["seq", "3", "-1", "1"], "", "3\n2\n1\n", 0),
        (&["tee", "/dev/null"], "through", "through", 0),
        (&["env", "-i", "A=1", "B=2"], "", "A=1\nB=2\n", 0),
        (&["env", "-u", "NODE_NAME"], "", "POD_NAME=web-0\n", 0),
        (&["id", "-u"], "", "0\n", 0),
        (&["cat", "/nonexistent"], "", "", 1),
        (&["ls", "-Z"], "", "", 1),
        (&["sleep", "x"], "", "", 1),
    ] {
        let (out, err, code) = run(line, input);
        assert_eq!((out.as_str(), code), (expected, status), "{line:?} {err}");
    }
    assert_eq!(
        run(&["cat", "/nonexistent", "/"], "").1,
        "cat: /nonexistent: No such file or directory\ncat: /: Is a directory\n"
    );
    assert_eq!(run(&["ls", "-Z"], "").1, "ls: unrecognized option: -Z\n");
    assert!(run(&["date", "+%Y-%m-%dT%H:%M:%SZ"], "").0.trim().parse::<jiff::Timestamp>().is_ok());
    assert!(
        run(&["ls", "-la", "/proc/self/"], "")
            .0
            .lines()
            .any(|line| line.starts_with("lrwxrwxrwx") && line.contains(" exe -> "))
    );
    let me = format!("{:>7} ", std::process::id());
    assert!(run(&["ps"], "").0.lines().any(|line| line.starts_with(&me)));
}

struct Served(Child, u16);

impl Served {
    fn start() -> Self {
        Served::with(&[])
    }

    fn with(more: &[&str]) -> Self {
        let mut child = command(&["httpd", "-p", "127.0.0.1:0"]).args(more).spawn().expect("httpd");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("stdout"));
        out.read_line(&mut line).expect("first line");
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("port");
        // Keeps the pipe open and empty.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        Served(child, port)
    }

    fn get(&self, path: &str) -> (String, String, i32) {
        run(&["wget", "-q", "-O-", &format!("http://127.0.0.1:{}{path}", self.1)], "")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn httpd_and_wget() {
    let mut server = Served::start();
    let (page, _, status) = server.get("/");
    assert!(page.starts_with("pod: web-0\nnode: node-1\n") && status == 0, "{page}");
    assert_eq!(server.get("/healthz").0, "ok\n");
    assert_eq!(server.get("/env").0, "NODE_NAME=node-1\nPOD_NAME=web-0\n");
    assert_eq!(server.get("/delay?ms=1").0, "waited 1 ms\n");
    assert!(server.get("/hostname").0.len() > 1);
    assert_eq!(server.get("/none"), (String::new(), "wget: server returned error: HTTP/1.1 404 Not Found\n".into(), 1));
    assert_eq!(server.get("/exit?code=x").2, 1);
    let url = format!("http://127.0.0.1:{}/echo", server.1);
    let (echo, _, _) = run(&["wget", "-qO-", "--header=X-Y: z", "--post-data=hello", &url], "");
    assert!(echo.starts_with("POST /echo\n") && echo.contains("\nX-Y: z\n") && echo.ends_with("\n\nhello"), "{echo}");
    let (html, _, _) = run(&["wget", "-qO-", "--header=Accept: text/html", &url.replace("echo", "")], "");
    assert!(html.contains("<td>web-0</td>"), "{html}");
    // One connection, several requests.
    let requests = "GET /healthz HTTP/1.1\r\n\r\nGET /hostname HTTP/1.0\r\n\r\n";
    let (both, _, _) = run(&["nc", "127.0.0.1", &server.1.to_string()], requests);
    assert_eq!(both.matches("HTTP/1.1 200 OK").count(), 2, "{both}");
    assert_eq!(run(&["nc", "-z", "127.0.0.1", &server.1.to_string()], "").2, 0);
    assert_eq!(server.get("/exit?code=9").0, "exiting with 9\n");
    assert_eq!(server.0.wait().expect("wait").code(), Some(9));
    assert!(server.get("/").1.contains("can't connect to remote host"));
}

#[test]
fn httpd_answers_datagrams() {
    let free =
        std::net::UdpSocket::bind("127.0.0.1:0").and_then(|s| s.local_addr()).expect("a port").port().to_string();
    let _server = Served::with(&["-u", &free]);
    let ask = |text: &str| run(&["nc", "-u", "-w", "0.5", "127.0.0.1", &free], text).0;
    assert_eq!(ask("clientip\n"), "127.0.0.1\n");
    assert_eq!(ask("hostname\n"), run(&["hostname"], "").0);
    assert_eq!(ask("something else\n"), "something else\n");
    assert_eq!(
        run(&["nc", "-u", "-l", "-p", &free], "").1,
        "nc: -l does not listen for datagrams; `httpd -u port` does\n"
    );
}

#[test]
fn httpd_finishes_what_it_began() {
    let mut server = Served::start();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", server.1)).expect("connect");
    stream.write_all(b"GET /delay?ms=300 HTTP/1.1\r\n\r\n").expect("send");
    let other = server.get("/healthz");
    assert_eq!(other.2, 0);
    assert_eq!(run(&["kill", &server.0.id().to_string()], "").2, 0);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    assert!(answer.ends_with("waited 300 ms\n"), "{answer}");
    assert_eq!(server.0.wait().expect("wait").code(), Some(0));
}

#[test]
fn nslookup_asks_the_server() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let address = socket.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((n, client)) = socket.recv_from(&mut packet) {
            let mut answer = packet[..n].to_vec();
            let kind = answer[n - 3];
            (answer[2], answer[3]) = (0x81, 0x80);
            match kind {
                1 => answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 96, 0, 1]),
                33 => answer.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 5, 0, 8, 0, 0, 0, 100, 0, 80, 0xc0, 12]),
                _ => answer[3] = 0x83,
            }
            answer[7] = u8::from(answer[3] == 0x80);
            let _ = socket.send_to(&answer, client);
        }
    });
    let (out, _, status) = run(&["nslookup", "web.default.", &address], "");
    assert!(out.ends_with("\n\nName:\tweb.default\nAddress: 10.96.0.1\n") && status == 0, "{out}");
    let (out, _, _) = run(&["nslookup", "-type=srv", "web.", &address], "");
    assert!(out.ends_with("web\tservice = 0 100 80 web.\n"), "{out}");
    let (out, _, status) = run(&["nslookup", "-type=AAAA", "web.", &address], "");
    assert!(out.ends_with("** server can't find web: NXDOMAIN\n") && status == 1, "{out}");
}
