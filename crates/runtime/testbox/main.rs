//! Everything that the runtime's tests need in one static file: the shim, a daemon to be killed, the cleaner, and under
//! other names the programs of the tests' image. The product has its own; this one exists so that the crate can be tested alone.

use std::ffi::OsString;
use std::io::{BufRead, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod bench;
mod churn;
mod network;

fn main() {
    let args: Vec<OsString> = std::env::args_os().collect();
    let words: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let name = words[0].rsplit('/').next().unwrap_or_default().to_string();
    let rest = &words[1..];
    match (name.as_str(), rest.first().map(String::as_str)) {
        ("runtime-testbox", Some("shim")) => runtime::shim_main(args.into_iter().skip(2)),
        ("runtime-testbox", Some("clean")) => clean(&rest[1..]),
        ("runtime-testbox", Some("churn")) => churn::run(&rest[1..]),
        ("runtime-testbox", Some("bench")) => bench::run(&rest[1..]),
        ("runtime-testbox", Some("start")) => start(&rest[1..]),
        _ => std::process::exit(program(&name, rest)),
    }
}

/// The runtime of a test: state below `root`, cgroups below `cgroup`.
fn config(root: &str, cgroup: &str) -> runtime::Config {
    let root = PathBuf::from(root);
    let images = images::Store::open(&root.join("images")).expect("image store");
    let mut config = runtime::Config::new(root.join("state"), images, Arc::new(network::Loopback));
    config.cgroup_root = cgroup.into();
    config
}

/// Ends and removes everything that a test left: its panic must not leave processes on the machine.
fn clean(args: &[String]) {
    let tokio = tokio::runtime::Runtime::new().expect("tokio");
    match tokio.block_on(runtime::cleanup(config(&args[0], &args[1]))) {
        Ok(failures) if failures.is_empty() => {}
        other => {
            eprintln!("clean: {other:?}");
            std::process::exit(1);
        }
    }
    if let Err(e) = std::fs::remove_dir_all(&args[0]) {
        eprintln!("clean: {e}");
        std::process::exit(1);
    }
}

/// `start <root> <cgroup> <image> <command…>`: runs one pod, prints both ids, and waits to be killed.
fn start(args: &[String]) {
    use cri::RuntimeService;
    let tokio = tokio::runtime::Runtime::new().expect("tokio");
    tokio.block_on(async {
        let runtime = runtime::Runtime::open(config(&args[0], &args[1])).await.expect("runtime");
        let mut pod = cri::PodSandboxConfig { hostname: "one".into(), ..Default::default() };
        pod.metadata.name = "one".into();
        pod.log_directory = format!("{}/logs/one", args[0]);
        let sandbox = runtime.run_pod_sandbox(&pod).await.expect("sandbox");
        let mut container = cri::ContainerConfig { image: args[2].clone(), ..Default::default() };
        container.metadata.name = "main".into();
        container.command = args[3..].to_vec();
        container.log_path = "main/0.log".into();
        container.linux.security_context.namespace_options.pid = cri::NamespaceMode::Container;
        let id = runtime.create_container(&sandbox, &container).await.expect("container");
        runtime.start_container(&id).await.expect("start");
        println!("{sandbox} {id}");
        std::future::pending::<()>().await;
    });
}

/// A program of the image.
fn program(name: &str, args: &[String]) -> i32 {
    match name {
        "true" => 0,
        "false" => 1,
        "echo" => {
            println!("{}", args.join(" "));
            0
        }
        "env" => {
            std::env::vars().for_each(|(k, v)| println!("{k}={v}"));
            0
        }
        "cat" => cat(args),
        "ls" => {
            let dir = args.first().map_or(".", |s| s);
            let mut names: Vec<_> =
                std::fs::read_dir(dir).map(|d| d.flatten().map(|e| e.file_name()).collect()).unwrap_or_default();
            names.sort();
            names.iter().for_each(|n| println!("{}", n.to_string_lossy()));
            0
        }
        "sleep" => {
            let seconds = args.first().and_then(|s| s.parse().ok()).unwrap_or(1.0);
            std::thread::sleep(Duration::from_secs_f64(seconds));
            0
        }
        "status" => cat(&["/proc/self/status".into()]),
        "stubborn" => stubborn(),
        "polite" => polite(args),
        "hog" => hog(),
        "spam" => spam(args),
        "serve" => serve(args),
        "sh" => shell(args),
        _ => {
            eprintln!("{name}: not a program of this box");
            127
        }
    }
}

fn cat(files: &[String]) -> i32 {
    let mut out = std::io::stdout();
    if files.is_empty() {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = std::io::stdin().read(&mut buffer) {
            let _ = out.write_all(&buffer[..n]).and_then(|()| out.flush());
        }
        return 0;
    }
    for file in files {
        match std::fs::read(file) {
            Ok(bytes) => drop(out.write_all(&bytes).and_then(|()| out.flush())),
            Err(e) => {
                eprintln!("cat: {file}: {e}");
                return 1;
            }
        }
    }
    0
}

/// Ends at nothing but SIGKILL: pid 1 of a namespace is not killed by signals without a handler.
fn stubborn() -> i32 {
    println!("ready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Exits with the given code on SIGTERM.
fn polite(args: &[String]) -> i32 {
    let code = args.first().and_then(|s| s.parse().ok()).unwrap_or(0);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    tokio.block_on(async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signal");
        println!("ready");
        term.recv().await;
        println!("bye");
    });
    code
}

/// Takes memory until somebody stops it.
fn hog() -> i32 {
    let mut all: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = vec![0u8; 1 << 20];
        block.iter_mut().step_by(4096).for_each(|b| *b = 1);
        all.push(block);
        std::hint::black_box(&all);
    }
}

/// So many numbered lines.
fn spam(args: &[String]) -> i32 {
    let lines: u64 = args.first().and_then(|s| s.parse().ok()).unwrap_or(1000);
    let mut out = std::io::stdout().lock();
    for n in 0..lines {
        if writeln!(out, "line {n}").is_err() {
            return 1;
        }
    }
    0
}

/// Answers every line on a loopback port with itself.
fn serve(args: &[String]) -> i32 {
    let port = args.first().and_then(|s| s.parse().ok()).unwrap_or(8080);
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    println!("ready");
    for stream in listener.incoming().flatten() {
        let mut line = String::new();
        let mut reader = std::io::BufReader::new(&stream);
        if reader.read_line(&mut line).is_ok() {
            let _ = (&stream).write_all(line.as_bytes());
        }
    }
    0
}

/// `-c` with commands separated by `;`, words by blanks, `>file` as the last word, `exit N`. As much as the tests use.
fn shell(args: &[String]) -> i32 {
    let Some(script) = args.get(1).filter(|_| args.first().is_some_and(|a| a == "-c")) else {
        return interactive();
    };
    script.split(';').fold(0, |_, command| run(command.trim()))
}

fn interactive() -> i32 {
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|n| n > 0) {
        run(line.trim());
        line.clear();
    }
    0
}

fn run(command: &str) -> i32 {
    let mut words: Vec<String> = command.split_whitespace().map(String::from).collect();
    let target = words.pop_if(|w| w.starts_with('>'));
    let Some(name) = words.first().cloned() else { return 0 };
    if name == "exit" {
        std::process::exit(words.get(1).and_then(|c| c.parse().ok()).unwrap_or(0));
    }
    let mut child = std::process::Command::new(&name);
    child.args(&words[1..]);
    if let Some(file) = target {
        match std::fs::File::create(&file[1..]) {
            Ok(file) => drop(child.stdout(file)),
            Err(e) => {
                eprintln!("sh: {file}: {e}");
                return 1;
            }
        }
    }
    match child.status() {
        Ok(status) => status.code().unwrap_or(255),
        Err(e) => {
            eprintln!("sh: {name}: {e}");
            127
        }
    }
}
