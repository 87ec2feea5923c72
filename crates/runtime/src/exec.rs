//! `ExecSync` and `Exec`: the shim starts the process and hands the ends of its pipes over; the bytes pass here directly.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::Bytes;
use cri::{ContainerState, Error, ExecStreams, ExecSyncResponse, Result, StreamOptions};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::client::Session;
use crate::pipe;
use crate::pod::Runtime;
use crate::protocol::{Kind, Request};

/// Chunks that wait in a channel before the process is held back.
const CHANNEL: usize = 16;

/// The cap of each output of `exec_sync` (CVE-2022-1708).
const SYNC_LIMIT: usize = 16 << 20;

impl Runtime {
    pub(crate) async fn run_exec(&self, id: &str, cmd: &[String], options: StreamOptions) -> Result<ExecStreams> {
        let pod = self.pod_of(id)?;
        let process = {
            let state = pod.state.lock();
            let c = state.containers.get(id).ok_or_else(|| Error::NotFound(format!("container {id:?} not found")))?;
            if c.state != ContainerState::Running {
                return Err(Error::FailedPrecondition(format!("container {id:?} is not running")));
            }
            let mut process = c.saved.process.clone();
            process.args = cmd.to_vec();
            process.tty = options.tty;
            process.stdin = options.stdin;
            if options.tty && !process.env.iter().any(|e| e.starts_with("TERM=")) {
                process.env.push("TERM=xterm".into());
            }
            process
        };
        let request = Request::Exec { id: id.into(), process: Box::new(process) };
        let (session, fds) = Session::open(&pod.dir, &request).await?;
        streams(session, fds, options).map_err(|e| Error::internal("exec", e))
    }

    pub(crate) async fn run_exec_sync(&self, id: &str, cmd: &[String], timeout: Duration) -> Result<ExecSyncResponse> {
        let options = StreamOptions { stdout: true, stderr: true, ..StreamOptions::default() };
        let running = async {
            let mut streams = self.run_exec(id, cmd, options).await?;
            let (stdout, stderr) = tokio::join!(collect(streams.stdout.take()), collect(streams.stderr.take()));
            let exit_code = streams.exit.await.map_err(|_| lost())??;
            Ok(ExecSyncResponse { stdout, stderr, exit_code })
        };
        if timeout.is_zero() {
            return running.await;
        }
        // Giving up drops the streams, and with them the process.
        let late = || Error::DeadlineExceeded(format!("command {:?} timed out", cmd.join(" ")));
        tokio::time::timeout(timeout, running).await.map_err(|_| late())?
    }
}

pub(crate) fn lost() -> Error {
    Error::Unavailable("the pod's shim is gone".into())
}

/// The channels of an exec'd process. Descriptors come as the shim sends them: the terminal alone, or stdin (if wanted),
/// stdout and stderr.
fn streams(session: Session, fds: Vec<OwnedFd>, options: StreamOptions) -> io::Result<ExecStreams> {
    let mut fds = fds.into_iter();
    let mut next = || fds.next().ok_or_else(|| io::Error::other("the shim sent too few descriptors"));
    let (over, _) = watch::channel(false);
    let (resize, resizes) = mpsc::channel(1);
    let mut pumps = Vec::new();
    let (stdin, stdout, stderr) = if options.tty {
        let terminal = next()?;
        tokio::spawn(pipe::resize_from(terminal.try_clone()?, resizes));
        let stdin = if options.stdin { Some(feed(terminal.try_clone()?)?.0) } else { None };
        (stdin, Some(pump(terminal, &over, &mut pumps)?), None)
    } else {
        let stdin = if options.stdin { Some(feed(next()?)?.0) } else { None };
        let stdout = pump(next()?, &over, &mut pumps)?;
        (stdin, Some(stdout), Some(pump(next()?, &over, &mut pumps)?))
    };
    let (exit_sender, exit) = oneshot::channel();
    tokio::spawn(conclude(session, over, pumps, exit_sender));
    Ok(ExecStreams {
        stdin,
        stdout: stdout.filter(|_| options.stdout),
        stderr: stderr.filter(|_| options.stderr),
        resize,
        exit,
    })
}

/// Waits for the exit, then for the last output, then tells. If nobody wants to know any more, the connection closes, by
/// which the shim kills the process.
async fn conclude(
    mut session: Session,
    over: watch::Sender<bool>,
    pumps: Vec<JoinHandle<()>>,
    mut exit: oneshot::Sender<Result<i32>>,
) {
    let outcome = tokio::select! {
        frame = session.next() => frame,
        () = exit.closed() => return,
    };
    over.send_replace(true);
    for pump in pumps {
        let _ = pump.await;
    }
    let code = match outcome {
        Ok(Some(frame)) if frame.kind == Kind::Exit => {
            serde_json::from_slice(&frame.payload).map_err(|e| Error::internal("exit", e))
        }
        _ => Err(lost()),
    };
    let _ = exit.send(code);
}

/// Standard input as a channel, and the task that is over when all of it is in the pipe.
pub(crate) fn feed(fd: OwnedFd) -> io::Result<(mpsc::Sender<Bytes>, JoinHandle<()>)> {
    let (sender, receiver) = mpsc::channel(CHANNEL);
    let task = tokio::spawn(pipe::write_from(pipe::writer(fd)?, receiver));
    Ok((sender, task))
}

fn pump(fd: OwnedFd, over: &watch::Sender<bool>, pumps: &mut Vec<JoinHandle<()>>) -> io::Result<mpsc::Receiver<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHANNEL);
    pumps.push(tokio::spawn(pipe::read_into(pipe::reader(fd)?, sender, over.subscribe())));
    Ok(receiver)
}

async fn collect(from: Option<mpsc::Receiver<Bytes>>) -> Vec<u8> {
    let mut all = Vec::new();
    if let Some(mut from) = from {
        while let Some(bytes) = from.recv().await {
            let room = SYNC_LIMIT - all.len();
            all.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
    all
}
