//! What kubectl did before WebSockets, and does without them: exec, attach and port-forward over SPDY.

use super::{Kubectl, text};
use crate::common::eventually;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
};

/// The same kubectl, told to speak SPDY or WebSocket.
fn command(k: &Kubectl, websockets: bool, args: &[&str]) -> Command {
    let mut command = k.command(args);
    for name in ["KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS"] {
        command.env(name, websockets.to_string());
    }
    command
}

/// With the Deployment `web` running.
pub fn streams(k: &Kubectl) {
    exec(k);
    attach(k);
    for websockets in [false, true] {
        port_forward(k, websockets);
    }
}

fn exec(k: &Kubectl) {
    let args = ["-v=8", "exec", "deploy/web", "--", "sh", "-c", "echo out; echo err >&2; exit 7"];
    let out = command(k, false, &args).output().expect("kubectl runs");
    assert_eq!(
        (out.status.code(), String::from_utf8_lossy(&out.stdout).as_ref()),
        (Some(7), "out\n"),
        "{}",
        text(&out)
    );
    let told = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(told.contains("Upgrade: SPDY/3.1") && told.contains("\nerr\n"), "{told}");
    let args = ["exec", "-i", "deploy/web", "--", "cat"];
    let mut child =
        command(k, false, &args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let sent: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
    let mut stdin = child.stdin.take().expect("stdin");
    let writing = std::thread::spawn({
        let sent = sent.clone();
        move || stdin.write_all(&sent)
    });
    let mut heard = Vec::new();
    child.stdout.take().expect("stdout").read_to_end(&mut heard).expect("read");
    writing.join().expect("a thread").expect("written");
    assert!(child.wait().expect("kubectl ends").success());
    assert!(heard == sent, "{} of {} bytes came back", heard.len(), sent.len());
    let none = command(k, false, &["exec", "deploy/web", "--", "/none"]).output().expect("kubectl runs");
    assert!(!none.status.success() && text(&none).contains("/none: no such file or directory"), "{}", text(&none));
    let typed = format!(
        "kubectl --kubeconfig {} exec -it deploy/web -- sh -c 'test -t 0 && echo a terminal'",
        k.kubeconfig.display()
    );
    let mut script = Command::new("script");
    script.args(["-qec", &typed, "/dev/null"]).env("HOME", &k.home).env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
    let out = script.output().expect("script runs");
    assert!(text(&out).contains("a terminal"), "{}", text(&out));
}

fn attach(k: &Kubectl) {
    let loops = "for i in 1 2 3 4 5 6 7 8 9; do echo tick $i; sleep 1; done; echo last";
    let image = "--image=ferry.local/toolbox:latest";
    k.run(&["run", "ticks", image, "--restart=Never", "--command", "--", "sh", "-c", loops]);
    k.run(&["wait", "--for=condition=Ready", "pod/ticks", "--timeout=60s"]);
    let out = command(k, false, &["attach", "ticks"]).output().expect("kubectl runs");
    assert!(out.status.success() && text(&out).contains("last\n"), "{}", text(&out));
    k.run(&["delete", "pod", "ticks"]);
}

fn port_forward(k: &Kubectl, websockets: bool) {
    let args = ["port-forward", "deploy/web", ":8080"];
    let mut child = command(k, websockets, &args).stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let mut line = String::new();
    // Held to the end: kubectl says a line for each connection, and dies where nobody listens.
    let mut told = BufReader::new(child.stdout.take().expect("stdout"));
    told.read_line(&mut line).expect("a line");
    // `Forwarding from 127.0.0.1:41877 -> 8080`
    let address = line.split_whitespace().nth(2).unwrap_or_else(|| panic!("{line}")).to_string();
    for _ in 0..3 {
        let answer = eventually("the pod answers", || {
            let mut stream = TcpStream::connect(&address).ok()?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            Some(answer).filter(|answer| !answer.is_empty())
        });
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    child.kill().expect("a signal");
    child.wait().expect("kubectl ends");
    drop(told);
}
