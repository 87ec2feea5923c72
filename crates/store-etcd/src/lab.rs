//! etcd processes for tests, here and above: each test has members and ports of its own.
//!
//! Only with the feature `etcd`: what needs a program that a machine may not have is asked for by name
//! (`cargo xtask test --etcd`), and fails where the program is missing. It is looked for in the path; `FERRY_ETCD` names another.

use crate::{Endpoint, Etcd, Options};
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::{net, sync::watch};

/// Members of one etcd. Dropping it ends them and removes their data.
pub struct Lab {
    dir: PathBuf,
    members: Vec<Member>,
    tls: Option<[PathBuf; 3]>,
}

struct Member {
    name: String,
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Lab {
    /// One member.
    pub fn one(test: &str) -> Lab {
        Lab::start(test, 1, None)
    }
    /// Three, of which one may be missing.
    pub fn three(test: &str) -> Lab {
        Lab::start(test, 3, None)
    }
    /// One that speaks TLS and wants certificates: its authority, certificate and key as PEM files.
    pub fn with_tls(test: &str, files: [PathBuf; 3]) -> Lab {
        Lab::start(test, 1, Some(files))
    }

    fn start(test: &str, count: usize, tls: Option<[PathBuf; 3]>) -> Lab {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("ferry-etcd-{}-{n}-{test}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        // All held at once, so that no two are the same.
        let held: Vec<TcpListener> = (0..2 * count)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("a port: {e}")))
            .collect();
        let port = |i: usize| held[i].local_addr().map_or(0, |address| address.port());
        let member = |i| Member { name: format!("m{i}"), client: port(2 * i), peer: port(2 * i + 1), process: None };
        let members = (0..count).map(member).collect();
        drop(held);
        let mut lab = Lab { dir, members, tls };
        (0..count).for_each(|i| lab.start_member(i));
        lab
    }

    /// The client URL of a member.
    pub fn url(&self, member: usize) -> String {
        format!("{}://127.0.0.1:{}", if self.tls.is_some() { "https" } else { "http" }, self.members[member].client)
    }
    /// Where it can be reached without TLS.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let parse = |i| Endpoint::parse(&self.url(i), None).unwrap_or_else(|e| panic!("{e}"));
        (0..self.members.len()).map(parse).collect()
    }
    /// A store on it that keeps all history, of keys that begin with `prefix`.
    pub async fn store(&self, prefix: &str) -> Arc<Etcd> {
        let options = Options { prefix: prefix.into(), compact_every: None, ..Options::new(self.endpoints()) };
        Etcd::open(options).await.unwrap_or_else(|e| panic!("{e}"))
    }

    /// Ends a member as a power failure would.
    pub fn kill(&mut self, member: usize) {
        if let Some(mut process) = self.members[member].process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
    /// Starts it again, with its data and ports.
    pub fn restart(&mut self, member: usize) {
        self.kill(member);
        self.start_member(member);
    }

    fn start_member(&mut self, i: usize) {
        let program = std::env::var_os("FERRY_ETCD").unwrap_or_else(|| "etcd".into());
        let peers: Vec<String> =
            self.members.iter().map(|m| format!("{}=http://127.0.0.1:{}", m.name, m.peer)).collect();
        let (client, member) = (self.url(i), &mut self.members[i]);
        let peer = format!("http://127.0.0.1:{}", member.peer);
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.join(format!("{}.log", member.name)));
        let mut command = Command::new(&program);
        command.arg("--data-dir").arg(self.dir.join(&member.name));
        for (flag, value) in [
            ("--name", member.name.as_str()),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &peers.join(",")),
            // A transaction of the contract's largest size.
            ("--max-request-bytes", "16777216"),
        ] {
            command.arg(flag).arg(value);
        }
        if let Some([ca, cert, key]) = &self.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(ca);
            command.arg("--cert-file").arg(cert).arg("--key-file").arg(key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.map_or_else(|_| Stdio::null(), Stdio::from));
        let started = command.spawn();
        member.process = Some(started.unwrap_or_else(|e| {
            panic!(
                "{}: {e}: these tests need an etcd (Debian: etcd-server) in the path or at FERRY_ETCD",
                program.display()
            )
        }));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        (0..self.members.len()).for_each(|i| self.kill(i));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A port that leads to the first member of an etcd while it is open.
pub struct Door {
    pub endpoint: Endpoint,
    open: watch::Sender<bool>,
}

impl Door {
    /// An open one, which serves in this runtime.
    pub async fn to(lab: &Lab) -> Door {
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap_or_else(|e| panic!("a port: {e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("{e}"));
        let to = format!("127.0.0.1:{}", lab.members[0].client);
        let (sender, open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let (to, mut open) = (to.clone(), open.clone());
                tokio::spawn(async move {
                    if !*open.borrow() {
                        return;
                    }
                    let Ok(mut stream) = net::TcpStream::connect(to).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut from, &mut stream) => {}
                        _ = open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Door { endpoint: Endpoint::Tcp { host: "127.0.0.1".into(), port: address.port() }, open: sender }
    }
    /// Lets through, or ends what passes and lets nothing through.
    pub fn set(&self, open: bool) {
        self.open.send_replace(open);
    }
}
