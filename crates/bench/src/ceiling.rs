//! What the client itself can do: the same loops against canned bytes.

use crate::{
    connection::{Call, Connection},
    figures::Figures,
    load::{self, Bounds, Outcome},
    objects,
    options::Options,
    process::Cpu,
    target::Target,
    watchers,
};
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

/// How often a list is read; the median counts.
pub const LISTS: usize = 15;

/// Ends the child when the phase ends, however it ends.
struct Server(Child);
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub async fn measure(options: &Options, figures: &mut Figures) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|e| format!("this program: {e}"))?;
    let mut child = Command::new(program)
        .arg("canned")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("the canned server: {e}"))?;
    let out = child.stdout.take().ok_or("the canned server has no output")?;
    let server = Server(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).map_err(|e| e.to_string())?;
    let port = line.trim().parse().map_err(|_| format!("the canned server said {line:?}"))?;
    let target = Target::local(port, options.http1);
    let pid = Some(server.0.id());
    let bounds = Bounds { requests: options.requests, time: options.time() };

    let body = bytes::Bytes::from(objects::pod("canned", 4500));
    let post = move |_, _| Call::post("/", body.clone());
    let outcome = load::run(load::handles(&target, options).await?, bounds, pid, post).await?;
    figures.add_load("ceiling-post", "/s", outcome);
    let outcome = load::run(load::handles(&target, options).await?, bounds, pid, |_, _| Call::get("/object")).await?;
    figures.add_load("ceiling-get", "/s", outcome);
    figures.add("ceiling-list", lists(&target, &Call::get("/list"), pid).await?.p50, "ms");
    let outcome = fan_out(&target, options, pid).await?;
    figures.add_load("ceiling-watch", "events/s", outcome);
    Ok(())
}

/// Reads a list several times, one after the other.
pub async fn lists(target: &Target, call: &Call, pid: Option<u32>) -> Result<Outcome, String> {
    let mut connection = Connection::open(target).await?;
    let cpu = Cpu::start(pid);
    let (began, mut took, mut bytes) = (Instant::now(), Vec::new(), 0);
    for _ in 0..LISTS {
        let sent = Instant::now();
        bytes += connection.exchange(call).await?.1;
        took.push(sent.elapsed().as_micros() as u32);
    }
    Ok(load::outcome(took, began.elapsed().as_secs_f64(), bytes, cpu))
}

async fn fan_out(target: &Target, options: &Options, pid: Option<u32>) -> Result<Outcome, String> {
    let call = Call::get(format!("/watch?{}", options.events));
    let cpu = Cpu::start(pid);
    let began = Instant::now();
    let watchers = watchers::start(target, options, &call, options.events).await?;
    let want = options.events * options.watchers as u64;
    let all = crate::process::wait_until(Duration::from_secs(60), || watchers.delivered.load(Relaxed) >= want).await;
    let seconds = began.elapsed().as_secs_f64();
    if !all {
        return Err(format!("only {} of {want} canned events came", watchers.delivered.load(Relaxed)));
    }
    let (client_cpu, server_cpu) = cpu.spent();
    Ok(Outcome { count: want, seconds, client_cpu, server_cpu, bytes: want * 1500, ..Outcome::default() })
}
