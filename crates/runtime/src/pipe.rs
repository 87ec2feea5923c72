//! Ends of pipes and terminals that a shim handed over, as channels.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bytes::Bytes;
use cri::TerminalSize;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{mpsc, watch};

/// Bytes in one chunk.
const CHUNK: usize = 32 << 10;

/// The reading side of a pipe or terminal.
pub fn reader(fd: OwnedFd) -> io::Result<Receiver> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    // Unchecked: a terminal is no pipe, but is read in the same way.
    Receiver::from_owned_fd_unchecked(fd)
}

/// The writing side.
pub fn writer(fd: OwnedFd) -> io::Result<Sender> {
    rustix::io::ioctl_fionbio(&fd, true)?;
    Sender::from_owned_fd_unchecked(fd)
}

/// Carries output into a channel until it ends, or until `over` is true and nothing is left. Output that nobody takes is
/// dropped, so that the process does not block.
pub async fn read_into(from: Receiver, out: mpsc::Sender<Bytes>, mut over: watch::Receiver<bool>) {
    let mut buffer = vec![0; CHUNK];
    let mut last = false;
    loop {
        // After the end everything is in the kernel already: what cannot be read at once does not exist.
        let read = if last {
            rustix::io::read(&from, &mut buffer).map_err(io::Error::from)
        } else {
            tokio::select! {
                biased;
                ready = from.readable() => match ready {
                    Ok(()) => from.try_read(&mut buffer),
                    Err(e) => Err(e),
                },
                _ = over.wait_for(|o| *o) => { last = true; continue }
            }
        };
        match read {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && !last => {}
            // EIO is how a terminal ends.
            Ok(0) | Err(_) => return,
            Ok(n) => {
                let _ = out.send(Bytes::copy_from_slice(&buffer[..n])).await;
            }
        }
    }
}

/// Carries a channel into standard input; the end of the channel closes it.
pub async fn write_from(mut to: Sender, mut from: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// Sets a terminal's size as often as asked.
pub async fn resize_from(terminal: OwnedFd, mut from: mpsc::Receiver<TerminalSize>) {
    while let Some(size) = from.recv().await {
        let _ = sandbox::process::resize(terminal.as_fd(), size.width, size.height);
    }
}
