//! `Attach`: output comes as frames, because the shim needs it for the log too; input goes straight into the pipe.

use bytes::Bytes;
use cri::{Error, ExecStreams, Result, StreamOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::client::Session;
use crate::exec::{feed, lost};
use crate::pipe;
use crate::pod::Runtime;
use crate::protocol::{Kind, Request};

impl Runtime {
    pub(crate) async fn run_attach(&self, id: &str, options: StreamOptions) -> Result<ExecStreams> {
        let pod = self.pod_of(id)?;
        let (session, fds) = Session::open(&pod.dir, &Request::Attach { id: id.into(), stdin: options.stdin }).await?;
        let fail = |e: std::io::Error| Error::internal("attach", e);
        let input = fds.into_iter().next();
        let (resize, resizes) = mpsc::channel(1);
        if let Some(fd) = input.as_ref().filter(|_| options.tty) {
            tokio::spawn(pipe::resize_from(fd.try_clone().map_err(fail)?, resizes));
        }
        let (stdin, fed) = input.filter(|_| options.stdin).map(feed).transpose().map_err(fail)?.unzip();
        let closes = pod.state.lock().containers.get(id).is_some_and(|c| c.saved.config.stdin_once);
        let (out_sender, stdout) = mpsc::channel(16);
        let (err_sender, stderr) = mpsc::channel(16);
        let (exit_sender, exit) = oneshot::channel();
        tokio::spawn(distribute(session, (fed, closes), out_sender, err_sender, exit_sender));
        Ok(ExecStreams {
            stdin,
            stdout: options.stdout.then_some(stdout),
            stderr: (options.stderr && !options.tty).then_some(stderr),
            resize,
            exit,
        })
    }
}

/// `fed` is over with the client's input. That is the end of the container's where it `closes`, and otherwise the end of
/// the client: `kubectl run --stdin --leave-stdin-open` goes and leaves the container to the next one, as it does with
/// containerd.
async fn distribute(
    mut session: Session,
    (mut fed, closes): (Option<JoinHandle<()>>, bool),
    stdout: mpsc::Sender<Bytes>,
    stderr: mpsc::Sender<Bytes>,
    mut exit: oneshot::Sender<Result<i32>>,
) {
    loop {
        let frame = tokio::select! {
            frame = session.next() => frame,
            () = over(&mut fed) => {
                fed = None;
                if !closes {
                    drop((stdout, stderr));
                    let _ = exit.send(Ok(0));
                    return;
                }
                // A shim that is gone says so by the end of its frames.
                let _ = session.send(&Request::CloseStdin).await;
                continue;
            }
            () = exit.closed() => return,
        };
        match frame {
            Ok(Some(frame)) => match frame.kind {
                Kind::Stdout => drop(stdout.send(frame.payload.into()).await),
                Kind::Stderr => drop(stderr.send(frame.payload.into()).await),
                Kind::Exit => {
                    drop((stdout, stderr));
                    let code = serde_json::from_slice(&frame.payload).map_err(|e| Error::internal("exit", e));
                    let _ = exit.send(code);
                    return;
                }
                _ => {}
            },
            _ => {
                drop((stdout, stderr));
                let _ = exit.send(Err(lost()));
                return;
            }
        }
    }
}

async fn over(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => std::future::pending().await,
    }
}
