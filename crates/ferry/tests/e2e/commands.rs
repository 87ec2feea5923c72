//! Commands as a person meets them: what was typed, the exit code and every word of the answer, in one snapshot.

use crate::common::{Dir, FERRY, free_port, read, server::Server};
use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, api::PostParams};
use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
};

/// Runs a command to its end. `hide` is what differs from run to run, with a word for it.
fn check(command: &mut Command, hide: &[(&str, &str)], want: Expect) {
    let out = command.output().expect("it runs");
    let mut text = format!("exit code: {}\n", out.status.code().map_or("none".into(), |c| c.to_string()));
    for (name, bytes) in [("stdout", &out.stdout), ("stderr", &out.stderr)] {
        if !bytes.is_empty() {
            text += &format!("----- {name}\n{}", String::from_utf8_lossy(bytes));
        }
    }
    for (what, word) in hide {
        text = text.replace(what, word);
    }
    want.assert_eq(&text);
}

fn ferry(arguments: &[&str]) -> Command {
    let mut command = Command::new(FERRY);
    command.args(arguments).env_remove("FERRY_DATA_DIR").env_remove("FERRY_TOKEN");
    command
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn what_it_is() {
    let version = env!("CARGO_PKG_VERSION");
    check(
        &mut ferry(&["version"]),
        &[(version, "[VERSION]")],
        expect![[r#"
        exit code: 0
        ----- stdout
        ferry [VERSION] (Kubernetes v1.36.2+ferry)
    "#]],
    );
    check(
        &mut ferry(&["--version"]),
        &[(version, "[VERSION]")],
        expect![[r#"
        exit code: 0
        ----- stdout
        ferry [VERSION]
    "#]],
    );
    check(
        &mut ferry(&["--help"]),
        &[],
        expect![[r#"
        exit code: 0
        ----- stdout
        Kubernetes in one binary: a cluster on this machine with one command

        Usage: ferry <COMMAND>

        Commands:
          up           Start a control plane and nodes on this machine, in the foreground
          server       Start a control plane alone
          agent        Make this machine a node of a cluster
          image        Look at the images of this machine's nodes, or bring some in
          down         Stop what an earlier run left, and remove everything it made on this machine
          version      Print the version
          completions  Print a completion script
          help         Print this message or the help of the given subcommand(s)

        Options:
          -h, --help     Print help
          -V, --version  Print version
    "#]],
    );
    check(
        &mut ferry(&["up", "--help"]),
        &[],
        expect![[r#"
        exit code: 0
        ----- stdout
        Start a control plane and nodes on this machine, in the foreground

        Usage: ferry up [OPTIONS]

        Options:
              --data-dir <DIR>     State of the cluster: store, keys, machines, images [env: FERRY_DATA_DIR=] [default: /var/lib/ferry]
              --nodes <N>          How many nodes [default: 1]
              --api-port <PORT>    Port of the API server [default: 6443]
              --kubeconfig <FILE>  Write a kubeconfig here instead of merging the context `ferry` into ~/.kube/config
              --demo               Run the demo: two replicas behind a Service, and print the address that answers
              --store <STORE>      Where objects are kept: disk (the data directory), or etcd=URL,URL… [default: disk]
          -h, --help               Print help
          -V, --version            Print version
    "#]],
    );
}

#[test]
fn words_it_does_not_know() {
    check(
        &mut ferry(&["up", "--bogus"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: unexpected argument '--bogus' found

        Usage: ferry up [OPTIONS]

        For more information, try '--help'.
    "#]],
    );
    check(
        &mut ferry(&["upp"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: unrecognized subcommand 'upp'

          tip: a similar subcommand exists: 'up'

        Usage: ferry <COMMAND>

        For more information, try '--help'.
    "#]],
    );
    check(
        &mut ferry(&["up", "--nodes", "0"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: invalid value '0' for '--nodes <N>': 0 is not in 1..=64

        For more information, try '--help'.
    "#]],
    );
    check(
        &mut ferry(&["up", "--api-port", "70000"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: invalid value '70000' for '--api-port <PORT>': 70000 is not in 0..=65535

        For more information, try '--help'.
    "#]],
    );
    check(
        &mut ferry(&["server", "--store", "mysql"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: invalid value 'mysql' for '--store <STORE>': want disk, or etcd=URL,URL…

        For more information, try '--help'.
    "#]],
    );
}

/// Before anything is made: no directory, no network, no machine.
#[test]
fn a_store_that_cannot_be() {
    for command in ["up", "server"] {
        let nowhere = "/tmp/ferry-e2e-nothing-is-made-here";
        check(
            &mut ferry(&[command, "--data-dir", nowhere, "--store", "etcd=nope"]),
            &[],
            expect![[r#"
            exit code: 1
            ----- stderr
            ferry: --store etcd=nope: endpoint "nope": names no host and port
        "#]],
        );
        assert!(!Path::new(nowhere).exists(), "{command}");
    }
}

#[test]
fn words_that_are_missing() {
    check(
        &mut ferry(&["agent"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: the following required arguments were not provided:
          --server <URL>
          --ca-file <FILE>

        Usage: ferry agent --server <URL> --ca-file <FILE>

        For more information, try '--help'.
    "#]],
    );
    check(
        &mut ferry(&["image", "import"]),
        &[],
        expect![[r#"
        exit code: 2
        ----- stderr
        error: the following required arguments were not provided:
          <FILES>...

        Usage: ferry image import <FILES>...

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn completions_name_every_command() {
    let out = ferry(&["completions", "bash"]).output().expect("it runs");
    let script = String::from_utf8(out.stdout).expect("text");
    assert!(out.status.success() && script.starts_with("_ferry()"), "{script}");
    for word in ["up", "server", "agent", "image", "down", "version", "--kubeconfig", "--purge"] {
        assert!(script.contains(word), "{word}");
    }
    // `ferry completions bash | head -1`: a reader that goes away is no panic.
    let pipe = Command::new("sh").args(["-c", &format!("{FERRY} completions bash | true")]).output().expect("it runs");
    let said = String::from_utf8_lossy(&pipe.stderr).into_owned();
    assert!(!said.contains("panicked"), "{said}");
}

/// The same as a user without rights, from a copy that such a user can reach.
#[test]
fn without_root() {
    let dir = Dir::new();
    let copy = dir.0.join("ferry");
    fs::copy(FERRY, &copy).expect("a copy");
    for path in [&dir.0, &copy] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("readable");
    }
    let data = text(&dir.0.join("data"));
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command.args(arguments).args(["--data-dir", &data]).uid(65534).gid(65534).env("HOME", &dir.0);
        command
    };
    let hide = [(data.as_str(), "[DATA]")];
    check(
        &mut nobody(&["up"]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: `ferry up` needs root: it makes namespaces, cgroups and network links
    "#]],
    );
    check(
        &mut nobody(&["down"]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: `ferry down` needs root: it removes namespaces, cgroups and network links
    "#]],
    );
    check(
        &mut nobody(&["image", "ls"]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: `ferry image` needs root: the images of nodes hold files of any owner, in a directory of root's
    "#]],
    );
    check(
        &mut nobody(&["agent", "--server", "https://127.0.0.1:1", "--ca-file", "/none"]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: `ferry agent` needs root: it makes namespaces, cgroups and network links
    "#]],
    );
    check(
        &mut nobody(&["server", "--api-port", &free_port().to_string()]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]: Permission denied (os error 13)
    "#]],
    );
    assert!(!dir.0.join("data").exists());
}

#[test]
fn a_port_in_use_leaves_nothing_behind() {
    let server = Server::new();
    let _other = TcpListener::bind(("127.0.0.1", server.port)).expect("it was free");
    let port = server.port.to_string();
    let hide = [(port.as_str(), "[PORT]")];
    check(
        &mut server.server(),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: 127.0.0.1:[PORT] is in use by another process; choose another --api-port
    "#]],
    );
    check(
        &mut server.command(&["up", "--api-port", &port]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: 127.0.0.1:[PORT] is in use by another process; choose another --api-port
    "#]],
    );
    assert_eq!(files(&server.dir.0), BTreeMap::new());
}

#[test]
fn a_directory_in_use_says_by_whom() {
    let mut server = Server::new();
    server.start();
    let (pid, data, other) = (server.pid().to_string(), text(&server.data()), free_port().to_string());
    let hide = [(data.as_str(), "[DATA]"), (pid.as_str(), "[PID]")];
    // On the same port as well: the directory says more.
    check(
        &mut server.server(),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA] is in use by process [PID]
    "#]],
    );
    check(
        &mut server.command(&["server", "--api-port", &other]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA] is in use by process [PID]
    "#]],
    );
    check(
        &mut server.command(&["up", "--api-port", &other]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA] is in use by process [PID]
    "#]],
    );
    assert_eq!(server.terminate(), Some(0));
    server.start();
    // `down` ends it wherever it runs.
    check(
        &mut server.command(&["down"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        down
    "#]],
    );
    assert_eq!(crate::common::processes(&server.data(), |_| true), Vec::<u32>::new());
}

async fn write(client: kube::Client, names: impl Iterator<Item = String>) {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    for name in names {
        let mut map = ConfigMap::default();
        map.metadata.name = Some(name);
        maps.create(&PostParams::default(), &map).await.expect("acknowledged");
    }
}

async fn names(client: kube::Client) -> Vec<String> {
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let maps = maps.list(&Default::default()).await.expect("a list");
    maps.items.into_iter().filter_map(|m| m.metadata.name).filter(|n| n.starts_with("kept-")).collect()
}

fn log_file(server: &Server) -> PathBuf {
    let mut logs: Vec<PathBuf> = fs::read_dir(server.data().join("store"))
        .expect("a store")
        .map(|e| e.expect("an entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "log"))
        .collect();
    logs.sort();
    logs.pop().expect("a log")
}

fn written(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_no_reason_not_to_start() {
    let mut server = Server::new();
    server.start();
    let kept = || (0..20).map(|n| format!("kept-{n:02}"));
    write(server.client().await, kept()).await;
    // What comes after is what the crash tears.
    write(server.client().await, ["torn".to_string()].into_iter()).await;
    server.kill();
    let log = log_file(&server);
    let mut bytes = fs::read(&log).expect("readable");
    let end = written(&bytes);
    bytes[end - 20..].fill(0);
    fs::write(&log, bytes).expect("writable");
    server.start();
    assert_eq!(names(server.client().await).await, kept().collect::<Vec<_>>());
    assert!(server.log().contains("removing a write that was never acknowledged"), "{}", server.log());
    write(server.client().await, ["kept-99".to_string()].into_iter()).await;
    server.kill();
    server.start();
    assert_eq!(names(server.client().await).await.len(), 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_is_never_passed_over() {
    let mut server = Server::new();
    server.start();
    write(server.client().await, (0..20).map(|n| format!("kept-{n:02}"))).await;
    assert_eq!(server.terminate(), Some(0));
    let log = log_file(&server);
    let whole = fs::read(&log).expect("readable");
    let mut bytes = whole.clone();
    // Among the last writes, which are small frames; the first ones may be one large group.
    let middle = written(&bytes) - (8 << 10);
    bytes[middle] ^= 0x10;
    fs::write(&log, &bytes).expect("writable");
    let before = files(&server.data().join("store"));
    let out = server.server().output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{said}");
    let at = said.split("at byte ").nth(1).and_then(|t| t.split(':').next()).and_then(|t| t.parse::<usize>().ok());
    assert!(said.starts_with(&format!("ferry: {} is damaged at byte ", log.display())), "{said}");
    // The frame that holds the byte begins before it.
    assert!(at.is_some_and(|at| at <= middle && middle - at < 1 << 16), "{said}");
    assert!(said.ends_with("; nothing was changed\n") && said.lines().count() == 1, "{said}");
    assert_eq!(files(&server.data().join("store")), before);
    fs::write(&log, whole).expect("restored");
    server.start();
    assert_eq!(names(server.client().await).await.len(), 20);
}

#[test]
fn keys_that_are_lost_or_broken_are_not_made_anew() {
    let mut server = Server::new();
    server.start();
    assert_eq!(server.terminate(), Some(0));
    let pki = server.data().join("pki");
    let data = text(&server.data());
    let hide = [(data.as_str(), "[DATA]")];
    let broken = |name: &str, content: Option<&str>, want: Expect| {
        let path = pki.join(name);
        let whole = read(&path);
        match content {
            Some(content) => fs::write(&path, content).expect("writable"),
            None => fs::remove_file(&path).expect("removed"),
        }
        let before = files(&server.data().join("pki"));
        check(&mut server.server(), &hide, want);
        assert_eq!(files(&server.data().join("pki")), before, "{name}");
        fs::write(&path, whole).expect("restored");
    };
    broken(
        "encryption.key",
        Some("0123"),
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]/pki/encryption.key: malformed encryption key: want 64 hex digits
    "#]],
    );
    broken(
        "encryption.key",
        None,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]/pki/encryption.key is missing, and [DATA]/store cannot be used without it: restore it
    "#]],
    );
    broken(
        "sa.key",
        Some("no key\n"),
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]/pki/sa.key: malformed signing key: data does not contain a valid RSA or ECDSA private key
    "#]],
    );
    broken(
        "ca.key",
        Some(""),
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]/pki/ca.key: malformed private key: the file holds none in PEM
    "#]],
    );
    broken(
        "ca.crt",
        Some("-----BEGIN CERTIFICATE-----\n"),
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]/pki/ca.crt: malformed certificate: it is cut off: the line -----END CERTIFICATE----- is missing
    "#]],
    );
    broken(
        "ca.key",
        None,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DATA]/pki/ca.key is missing, and [DATA]/store cannot be used without it: restore it
    "#]],
    );
    server.start();
}

#[test]
fn a_kubeconfig_that_cannot_be_written_or_read() {
    let mut server = Server::new();
    let dir = text(&server.dir.0);
    let asked = |server: &Server, path: &str| {
        let mut command = server.server();
        command.args(["--kubeconfig", path]);
        command
    };
    let quiet = |command: &mut Command, want: Expect| {
        let out = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr).replace(&dir, "[DIR]");
        want.assert_eq(&format!("exit code: {}\n{said}", out.status.code().unwrap_or(-1)));
    };
    quiet(
        &mut asked(&server, "/dev/null/config"),
        expect![[r#"
        exit code: 1
        ferry: client configuration: /dev/null/config: File exists (os error 17)
    "#]],
    );
    quiet(
        &mut asked(&server, &dir),
        expect![[r#"
        exit code: 1
        ferry: client configuration: [DIR]: Is a directory (os error 21)
    "#]],
    );
    fs::create_dir_all(server.dir.0.join(".kube")).expect("a directory");
    fs::write(server.kubeconfig(), "clusters: [").expect("a file");
    quiet(
        &mut server.server(),
        expect![[r#"
        exit code: 1
        ferry: client configuration: [DIR]/.kube/config: not YAML: error: line 1 column 11: unclosed bracket '['
         --> <input>:1:11
          |
        1 | clusters: [
          |           ^ unclosed bracket '['
    "#]],
    );
    assert_eq!(read(&server.kubeconfig()), "clusters: [");
    fs::remove_file(server.kubeconfig()).expect("removed");
    server.start();
}

const OTHER: &str = "apiVersion: v1
kind: Config
preferences:
  colors: true
clusters:
- name: other
  cluster:
    server: https://other.example:6443
users:
- name: other
  user:
    token: secret
contexts:
- name: other
  context:
    cluster: other
    user: other
current-context: other
";

#[tokio::test(flavor = "multi_thread")]
async fn the_context_comes_into_a_kubeconfig_and_goes_out_of_it() {
    let mut server = Server::new();
    fs::create_dir_all(server.dir.0.join(".kube")).expect("a directory");
    fs::write(server.kubeconfig(), OTHER).expect("a file");
    fs::set_permissions(server.kubeconfig(), fs::Permissions::from_mode(0o644)).expect("a mode");
    for _ in 0..2 {
        server.start();
        names(server.client().await).await;
        let merged = kube::config::Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
        assert_eq!(merged.contexts.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["other", "ferry"]);
        assert_eq!(merged.current_context.as_deref(), Some("ferry"));
        assert!(read(&server.kubeconfig()).contains("colors: true"));
        let mode = fs::metadata(server.kubeconfig()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(server.terminate(), Some(0));
    }
    check(
        &mut server.command(&["down", "--purge"]),
        &[],
        expect![[r#"
        exit code: 0
        ----- stdout
        down, and its data removed
    "#]],
    );
    expect![[r#"
        apiVersion: v1
        clusters:
        - cluster:
            server: https://other.example:6443
          name: other
        contexts:
        - context:
            cluster: other
            user: other
          name: other
        current-context: ""
        kind: Config
        preferences:
          colors: true
        users:
        - name: other
          user:
            token: secret
    "#]]
    .assert_eq(&read(&server.kubeconfig()));
    assert!(!server.data().exists());
}

#[test]
fn images() {
    let server = Server::new();
    let dir = text(&server.dir.0);
    let hide = [(dir.as_str(), "[DIR]")];
    let at = |name: &str| text(&server.dir.0.join(name));
    check(
        &mut server.command(&["image", "ls"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        IMAGE  ID  SIZE
    "#]],
    );
    assert!(!server.data().exists(), "looking makes nothing");
    check(
        &mut server.command(&["image", "import", &at("missing.tar")]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: [DIR]/missing.tar: No such file or directory (os error 2)
    "#]],
    );
    fs::write(at("text.tar"), "this is no archive\n").expect("a file");
    check(
        &mut server.command(&["image", "import", &at("text.tar")]),
        &hide,
        expect![[r#"
        exit code: 1
        ----- stderr
        ferry: image archive [DIR]/text.tar: damaged or not a tar archive: failed to read entire block
    "#]],
    );
    crate::common::archive(&server.dir.0.join("toolbox.tar"));
    let whole = fs::read(at("toolbox.tar")).expect("an archive");
    fs::write(at("cut.tar"), &whole[..whole.len() / 2]).expect("a file");
    let out = server.command(&["image", "import", &at("cut.tar")]).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let want = format!("ferry: image archive {}: truncated: layer.tar needs ", at("cut.tar"));
    assert!(out.status.code() == Some(1) && said.starts_with(&want) && said.lines().count() == 1, "{said}");
    check(
        &mut server.command(&["image", "ls"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        IMAGE  ID  SIZE
    "#]],
    );
    let out = server.command(&["image", "import", &at("toolbox.tar")]).output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let id = said.trim().strip_prefix("ferry.local/toolbox:latest  sha256:").unwrap_or_else(|| panic!("{said}"));
    assert_eq!((out.status.code(), id.len()), (Some(0), 64));
    let list = server.command(&["image", "ls"]).output().expect("it runs");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    let size = list.split_whitespace().rev().nth(1).expect("a size").to_string();
    let hidden = list.replace(&id[..13], "[ID_________]").replace(&size, "[SIZE]");
    expect![[r#"
        IMAGE                       ID             SIZE
        ferry.local/toolbox:latest  [ID_________]  [SIZE] MiB
    "#]]
    .assert_eq(&hidden);
}

#[test]
fn down_where_there_is_nothing() {
    let server = Server::new();
    let data = text(&server.data());
    let hide = [(data.as_str(), "[DATA]")];
    check(
        &mut server.command(&["down"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        nothing is at [DATA]
    "#]],
    );
    assert!(!server.data().exists());
    fs::create_dir(server.data()).expect("a directory");
    for _ in 0..2 {
        check(
            &mut server.command(&["down"]),
            &hide,
            expect![[r#"
            exit code: 0
            ----- stdout
            down
        "#]],
        );
    }
    check(
        &mut server.command(&["down", "--purge"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        down, and its data removed
    "#]],
    );
    check(
        &mut server.command(&["down", "--purge"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        nothing is at [DATA]
    "#]],
    );
    // Somebody's own directory, named by mistake.
    fs::create_dir(server.data()).expect("a directory");
    fs::write(server.data().join("thesis.tex"), "years of work").expect("a file");
    check(
        &mut server.command(&["down", "--purge"]),
        &hide,
        expect![[r#"
        exit code: 0
        ----- stdout
        down, and its data removed; [DATA] also holds what is not Ferry's, which stays
    "#]],
    );
    assert_eq!(read(&server.data().join("thesis.tex")), "years of work");
}

/// An agent that cannot join says why and ends.
#[test]
fn agents_that_cannot_join() {
    let mut server = Server::new();
    let join = server.start();
    let value = |flag: &str| join.iter().position(|a| a == flag).map(|at| join[at + 1].clone()).expect("a flag");
    let (url, token, ca) = (value("--server"), value("--token"), value("--ca-file"));
    let other = server.dir.0.join("other.crt");
    fs::write(&other, pki::Authority::new("other").expect("an authority").cert_pem()).expect("a file");
    let other = text(&other);
    // The address is where the node's own port is: every test has one of its own on the loopback.
    let ip = format!("127.{}.{}.1", server.port >> 8 & 127, server.port & 255);
    let agent = |arguments: &[&str]| {
        let mut command = ferry(&["agent", "--node-name", "n", "--node-ip", &ip]);
        command.arg("--data-dir").arg(server.dir.0.join("agent")).args(arguments);
        command
    };
    let (port, dir) = (server.port.to_string(), text(&server.dir.0));
    let closed = free_port();
    let hide = [(dir.as_str(), "[DIR]"), (port.as_str(), "[PORT]"), (FERRY, "[FERRY]")];
    let nowhere = format!("https://127.0.0.1:{closed}");
    let wrong = format!("{}.{}", &token[..6], "0123456789abcdef");
    for (arguments, want) in [
        (["--server", &url, "--token", &wrong, "--ca-file", &ca], expect!["node n: certificate request: Unauthorized"]),
        (
            ["--server", &url, "--token", "rubbish", "--ca-file", &ca],
            expect!["node n: certificate request: Unauthorized"],
        ),
        (
            ["--server", &url, "--token", &token, "--ca-file", &other],
            expect![
                "node n: certificate request: cannot reach the API server: ServiceError: client error (Connect): invalid peer certificate: UnknownIssuer"
            ],
        ),
        (
            ["--server", &url, "--token", &token, "--ca-file", "/none"],
            expect!["/none: No such file or directory (os error 2)"],
        ),
        (
            ["--server", &url, "--token", &token, "--ca-file", FERRY],
            expect!["[FERRY]: stream did not contain valid UTF-8"],
        ),
        (
            ["--server", &url, "--cluster-cidr", "10.0.0.0", "--ca-file", &ca],
            expect!["--cluster-cidr 10.0.0.0: 10.0.0.0: not an address with a prefix length"],
        ),
    ] {
        let out = agent(&arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        // Warnings of the log may stand before it.
        let last = said.lines().last().unwrap_or_default().strip_prefix("ferry: ").unwrap_or(&said).to_string();
        let hidden = hide.iter().fold(last, |text, (what, word)| text.replace(what, word));
        want.assert_eq(&hidden);
        assert_eq!(out.status.code(), Some(1), "{said}");
    }
    // A server that is not there yet is waited for, and the log says so.
    let mut waiting =
        crate::common::Running::spawn(&mut agent(&["--server", &nowhere, "--token", &token, "--ca-file", &ca]));
    for _ in 0..2 {
        let line = waiting.wait_for("cannot be asked for a certificate yet").expect("a word");
        assert!(line.contains("Connection refused"), "{line}");
    }
    assert_eq!(waiting.terminate(), Some(0), "it can be told to stop while it waits");
}

/// Who sees the port open may end the server: it is asked, not killed.
#[test]
fn a_server_can_be_told_to_stop_from_its_first_moment() {
    let mut server = Server::new();
    for _ in 0..5 {
        let running = crate::common::Running::spawn(&mut server.server());
        let port = server.port;
        crate::common::eventually("its port", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        assert_eq!(running.terminate(), Some(0));
    }
    server.start();
}

/// Every file below a directory and what it holds.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(at) = open.pop() {
        for path in fs::read_dir(&at).into_iter().flatten().flatten().map(|e| e.path()) {
            match path.is_dir() {
                true => open.push(path),
                // Who holds the directory: written anew by every attempt.
                false if path.ends_with("LOCK") => {}
                false => drop(found.insert(text(&path), fs::read(&path).expect("readable"))),
            }
        }
    }
    found
}
