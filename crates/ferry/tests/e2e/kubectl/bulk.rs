//! Much input and much output of a command at once, and clients that die: kubectl's own streams over WebSocket and SPDY,
//! because the library that the other scenarios use cannot write before it reads.

use crate::{
    common::Cluster,
    scenes::{self, Scene, always, scenarios, sh, wait},
};
use std::{cell::Cell, process::Stdio, rc::Rc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
};

scenarios! {
    "exec -i carries ten megabytes there and back over WebSocket and SPDY" => both_ways,
    "exec -i serves a client that writes everything before it reads anything" => one_after_the_other,
    "the process of exec ends with its client" => gone_with_its_client,
}

#[tokio::test(flavor = "multi_thread")]
async fn much_at_once() {
    let cluster = Cluster::up(&["--nodes", "1"]);
    scenes::play(&cluster, table(), scenes::All::AtOnce).await;
}

/// Far more than all buffers on the way hold.
const MUCH: usize = 10_000_000;

const WEBSOCKET: &str = "true";
const SPDY: &str = "false";

/// `kubectl exec -i` in the pod `p`.
fn exec(scene: &Scene, protocol: &str, command: &[&str]) -> (Child, ChildStdin, ChildStdout) {
    let mut kubectl = scene.kubectl(&["exec", "-i", "p", "--"]);
    kubectl.args(command).env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", protocol);
    let mut child = kubectl.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("kubectl runs");
    let (stdin, stdout) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
    (child, stdin, stdout)
}

fn bytes() -> Vec<u8> {
    (0..MUCH).map(|n| (n % 251) as u8).collect()
}

async fn both_ways(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let sent = bytes();
    for protocol in [WEBSOCKET, SPDY] {
        let (mut child, mut stdin, mut stdout) = exec(&scene, protocol, &["cat"]);
        let sent = &sent;
        let writing = async move {
            stdin.write_all(sent).await.expect("written");
            drop(stdin);
        };
        let mut heard = Vec::new();
        let ((), read) = tokio::join!(writing, stdout.read_to_end(&mut heard));
        read.expect("read");
        assert!(child.wait().await.expect("an end").success(), "websockets {protocol}");
        assert!(heard == *sent, "{} of {} bytes came back, websockets {protocol}", heard.len(), sent.len());
    }
}

async fn one_after_the_other(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let script = format!("head -c {MUCH} /dev/zero & cat > /dev/null; wait");
    for protocol in [WEBSOCKET, SPDY] {
        let (mut child, mut stdin, mut stdout) = exec(&scene, protocol, &["sh", "-c", &script]);
        stdin.write_all(&bytes()).await.expect("written");
        drop(stdin);
        let mut heard = Vec::new();
        stdout.read_to_end(&mut heard).await.expect("read");
        assert!(child.wait().await.expect("an end").success(), "websockets {protocol}");
        assert_eq!(heard.len(), MUCH, "websockets {protocol}");
    }
}

async fn gone_with_its_client(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    // What reads its input, and what does not: the end of the connection is behind bytes that nobody takes.
    for (protocol, program) in [(WEBSOCKET, "cat"), (SPDY, "cat"), (WEBSOCKET, "sleep 1000"), (SPDY, "sleep 1000")] {
        let script = format!("echo $$; exec {program}");
        let (mut child, mut stdin, stdout) = exec(&scene, protocol, &["sh", "-c", &script]);
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).await.expect("a line");
        let process = format!("test -d /proc/{}", line.trim());
        assert_eq!(scene.exec("p", "c", &process).await.code, 0, "{program} over websockets {protocol}: {line:?}");
        let sent = Rc::new(Cell::new(0));
        let count = sent.clone();
        let mut writing = tokio::task::spawn_local(async move {
            let part = vec![7; 1 << 16];
            while stdin.write_all(&part).await.is_ok() {
                count.set(count.get() + part.len());
            }
        });
        if program == "cat" {
            // Some has come back, and nobody takes the rest.
            stdout.read_exact(&mut [0; 1000]).await.expect("read");
        }
        // Until nothing goes any more: every buffer on the way is full, and none grows without end.
        let stuck = tokio::time::timeout(Duration::from_secs(2), &mut writing).await;
        assert!(stuck.is_err() && sent.get() < 100_000_000, "{} bytes, websockets {protocol}", sent.get());
        child.kill().await.expect("killed");
        drop(writing.await);
        wait(&format!("the end of {program}, websockets {protocol}"), async || {
            (scene.exec("p", "c", &process).await.code != 0).then_some(())
        })
        .await;
    }
}
