//! Logs, exec and attach.

use crate::scenes::{Scene, always, container, once, scenarios, sh, wait, with};
use futures::{AsyncBufReadExt, TryStreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, LogParams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

scenarios! {
    "[sig-node] Kubelet when scheduling a busybox command in a pod should print the output to logs [NodeConformance] [Conformance]"
        => printed,
    "[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]" => filtered,
    "logs can be followed while they are written" => followed,
    "logs of the container before the restart" => previous,
    "logs that cannot be had say why" => refused,
    "[sig-node] Pods should support remote command execution over websockets [NodeConformance] [Conformance]" => exec,
    "exec carries standard input and five megabytes each way" => large,
    "exec with a terminal" => terminal,
    "exec in what is not there says so" => exec_refused,
    "attach speaks to the container's own process" => attach,
}

fn params() -> LogParams {
    LogParams::default()
}

async fn printed(scene: Scene) {
    assert_eq!(scene.output("p", once(sh("echo out; echo err >&2; printf end"))).await, "out\nerr\nend");
    // Long lines stay whole, and bytes are not touched.
    let script = "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11; do x=$x$x; done; echo $x; echo ümlaut";
    let said = scene.output("long", once(sh(script))).await;
    assert_eq!(said, format!("{}\nümlaut\n", "0123456789abcdef".repeat(2048)));
}

async fn filtered(scene: Scene) {
    let spec =
        json!({"restartPolicy": "Never", "containers": [sh("seq 1 20"), crate::scenes::named("two", "echo second")]});
    scene.run("p", spec).await;
    let c = || LogParams { container: Some("c".into()), ..params() };
    let tail = scene.log("p", LogParams { tail_lines: Some(2), ..c() }).await;
    assert_eq!(tail, "19\n20\n");
    assert_eq!(scene.log("p", LogParams { tail_lines: Some(0), ..c() }).await, "");
    assert_eq!(scene.log("p", LogParams { limit_bytes: Some(3), ..c() }).await, "1\n2");
    let both = LogParams { tail_lines: Some(3), limit_bytes: Some(4), ..c() };
    assert_eq!(scene.log("p", both).await, "18\n1");
    let stamped = scene.log("p", LogParams { timestamps: true, tail_lines: Some(1), ..c() }).await;
    let (time, text) = stamped.split_once(' ').expect("a time");
    assert_eq!(text, "20\n");
    let time: base::time::Timestamp = time.parse().expect("RFC 3339");
    let hour = LogParams { since_seconds: Some(3600), ..c() };
    assert_eq!(scene.log("p", hour).await.lines().count(), 20);
    let later = k8s_openapi::jiff::Timestamp::from_second(time.as_second() + 3600).expect("a time");
    assert_eq!(scene.log("p", LogParams { since_time: Some(later), ..c() }).await, "");
    let two = LogParams { container: Some("two".into()), ..params() };
    assert_eq!(scene.log("p", two).await, "second\n");
}

async fn followed(scene: Scene) {
    let script = "echo one; while [ ! -f /tmp/go ]; do sleep 0.1; done; echo two; exit 0";
    scene.ready("p", once(sh(script))).await;
    let follow = LogParams { follow: true, ..params() };
    let stream = scene.api::<Pod>().log_stream("p", &follow).await.expect("a log");
    let mut lines = stream.lines();
    assert_eq!(lines.try_next().await.expect("a line").as_deref(), Some("one"));
    // The first line came while the second was not written.
    assert_eq!(scene.exec("p", "c", "touch /tmp/go").await.code, 0);
    assert_eq!(lines.try_next().await.expect("a line").as_deref(), Some("two"));
    assert_eq!(lines.try_next().await.expect("the end"), None);
}

async fn previous(scene: Scene) {
    let script = "if [ -f /v/again ]; then echo second; sleep 1000; fi; touch /v/again; echo first; exit 1";
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let spec = with(always(with(sh(script), mount)), json!({"volumes": [{"name": "v", "emptyDir": {}}]}));
    scene.pod("p", spec).await;
    wait("the second run", async || {
        scene.until("p", "a restart", |pod| (container(pod, "c")["restartCount"] == 1).then_some(())).await;
        (scene.logs("p").await == "second\n").then_some(())
    })
    .await;
    assert_eq!(scene.log("p", LogParams { previous: true, ..params() }).await, "first\n");
}

/// The message of a failed call.
fn message(error: kube::Error) -> (u16, String) {
    match error {
        kube::Error::Api(status) => (status.code, status.message),
        other => panic!("{other}"),
    }
}

async fn refused(scene: Scene) {
    let pods = scene.api::<Pod>();
    let (code, text) = message(pods.logs("none", &params()).await.expect_err("no pod"));
    assert_eq!((code, text.as_str()), (404, "pods \"none\" not found"));
    scene.ready("p", json!({"containers": [sh("sleep 1000"), crate::scenes::named("two", "sleep 1000")]})).await;
    let (code, text) = message(pods.logs("p", &params()).await.expect_err("two containers"));
    assert_eq!((code, text.as_str()), (400, "a container name must be specified for pod p, choose one of: [c two]"));
    let bad = LogParams { container: Some("none".into()), ..params() };
    let (code, text) = message(pods.logs("p", &bad).await.expect_err("no such container"));
    assert_eq!((code, text.as_str()), (400, "container none is not valid for pod p"));
    let before = LogParams { container: Some("c".into()), previous: true, ..params() };
    let (code, text) = message(pods.logs("p", &before).await.expect_err("no earlier container"));
    assert_eq!((code, text.as_str()), (400, "previous terminated container \"c\" in pod \"p\" not found"));
    scene
        .pod("waits", always(with(sh("true"), json!({"image": "none.local/none:1", "imagePullPolicy": "Never"}))))
        .await;
    scene
        .until("waits", "the error", |pod| {
            (container(pod, "c")["state"]["waiting"]["reason"] == "ErrImageNeverPull").then_some(())
        })
        .await;
    let (code, text) = message(pods.logs("waits", &params()).await.expect_err("no container"));
    let want = "container \"c\" in pod \"waits\" is waiting to start: ErrImageNeverPull";
    assert_eq!((code, text.as_str()), (400, want));
}

async fn exec(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let ran = scene.exec("p", "c", "echo out; echo err >&2; exit 7").await;
    assert_eq!((ran.out.as_str(), ran.err.as_str(), ran.code), ("out\n", "err\n", 7));
    assert_eq!(scene.exec("p", "c", "true").await.code, 0);
    // A signal is 128 and its number.
    assert_eq!(scene.exec("p", "c", "kill -9 $$").await.code, 137);
    let env = scene.exec("p", "c", "echo $HOSTNAME; tty; pwd").await;
    assert_eq!(env.out, "p\nnot a tty\n/\n");
}

async fn large(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let line = "0123456789abcde\n";
    let text = line.repeat((5 << 20) / line.len());
    let params = || AttachParams::default().stdin(true);
    let ran = scene.exec_with("p", &["cat"], params(), text.as_bytes()).await;
    assert_eq!((ran.out.len(), ran.out == text, ran.code), (text.len(), true, 0), "{}", ran.err);
    // The end of input is the end for the process.
    let ran = scene.exec_with("p", &["wc", "-c"], params(), &text.as_bytes()[..100_000]).await;
    assert_eq!(ran.out.trim(), "100000");
}

async fn terminal(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let params = AttachParams::interactive_tty();
    let mut process = scene.api::<Pod>().exec("p", ["sh"], &params).await.expect("a shell");
    let mut size = process.terminal_size().expect("a size");
    let (mut stdin, mut out) = (process.stdin().expect("stdin"), process.stdout().expect("stdout"));
    let status = process.take_status().expect("a status");
    use futures::SinkExt;
    size.send(kube::api::TerminalSize { width: 111, height: 44 }).await.expect("a size");
    stdin.write_all(b"tty; echo $((20 + 3))x; exit 5\n").await.expect("input");
    let mut said = String::new();
    out.read_to_string(&mut said).await.expect("output");
    // The terminal turns line ends into CR LF, and echoes.
    assert!(said.contains("/dev/pts/") && said.contains("\r\n23x\r\n"), "{said:?}");
    let status = serde_json::to_value(status.await.expect("a status")).expect("JSON");
    assert_eq!(status["details"]["causes"][0]["message"], "5", "{status}");
}

async fn exec_refused(scene: Scene) {
    scene.ready("p", always(sh("sleep 1000"))).await;
    let params = AttachParams::default();
    let no_pod = scene.api::<Pod>().exec("none", ["true"], &params).await.err().expect("no pod").to_string();
    assert!(no_pod.contains("404") || no_pod.contains("not found"), "{no_pod}");
    let other = params.container("none");
    let no_container = scene.api::<Pod>().exec("p", ["true"], &other).await.err().expect("no container").to_string();
    assert!(no_container.contains("400") || no_container.contains("not valid"), "{no_container}");
    // The connection stands by then: a missing command is told where a client looks for the end of one.
    let mut process = scene.api::<Pod>().exec("p", ["/no/such"], &AttachParams::default()).await.expect("a stream");
    let status = process.take_status().expect("a status").await.expect("a status");
    assert_eq!((status.code, status.reason.as_deref()), (Some(500), Some("InternalError")), "{status:?}");
    let why = "unable to start container process: exec: \"/no/such\": stat /no/such: no such file or directory";
    let said = status.message.unwrap_or_default();
    assert!(said.contains(why) && said.contains("error executing command in container"), "{said}");
}

async fn attach(scene: Scene) {
    let script = "echo up; while read -r line; do echo \"got $line\"; done; echo over";
    let spec = once(with(sh(script), json!({"stdin": true, "stdinOnce": true})));
    scene.ready("p", spec).await;
    let params = AttachParams::default().stdin(true).stderr(false);
    let mut process = scene.api::<Pod>().attach("p", &params).await.expect("a stream");
    let (mut stdin, mut out) = (process.stdin().expect("stdin"), process.stdout().expect("stdout"));
    stdin.write_all(b"one\ntwo\n").await.expect("input");
    stdin.flush().await.expect("input");
    let mut said = Vec::new();
    while !said.ends_with(b"got two\n") {
        let mut part = [0; 100];
        let n = out.read(&mut part).await.expect("output");
        assert!(n > 0, "{}", String::from_utf8_lossy(&said));
        said.extend(&part[..n]);
    }
    // With stdinOnce the end of the client's input is the container's; what it says then still arrives.
    stdin.shutdown().await.expect("the end of standard input");
    let mut rest = String::new();
    out.read_to_string(&mut rest).await.expect("output");
    assert_eq!(rest, "over\n");
    drop((out, process));
    let pod = scene.until("p", "its end", |pod| crate::scenes::over(pod).then(|| pod.clone())).await;
    assert_eq!(pod["status"]["phase"], "Succeeded");
    assert_eq!(scene.logs("p").await, "up\ngot one\ngot two\nover\n");
}
