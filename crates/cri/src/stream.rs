//! Streams of exec, attach and port forward, and of events: channels, because kubelet and runtime share a process.

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use crate::{ContainerEvent, Result};

/// The size of a terminal in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// The ends of a running exec or attach. Dropping `exit` ends it: an exec's process is killed, an attach lets go.
#[derive(Debug)]
pub struct ExecStreams {
    /// Present when asked for; dropping it closes the process's standard input.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// Present when asked for; ends with the process's output.
    pub stdout: Option<mpsc::Receiver<Bytes>>,
    /// Present when asked for and there is no terminal.
    pub stderr: Option<mpsc::Receiver<Bytes>>,
    /// Takes effect only with a terminal.
    pub resize: mpsc::Sender<TerminalSize>,
    /// The exit code of the exec'd process (128 + signal), or of the container for an attach. Resolves after the outputs
    /// have been handed over.
    pub exit: oneshot::Receiver<Result<i32>>,
}

/// A connection to a port inside a sandbox.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + ?Sized> ByteStream for T {}

/// Events: first all that are not acknowledged, then new ones as they happen. Ends when the runtime shuts down.
pub type EventStream = mpsc::UnboundedReceiver<ContainerEvent>;
