//! One connection of the daemon: buffers in both directions, and what it is used for.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::PollFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::protocol::{self, Frame, Kind, Request};

/// What a connection has become.
#[derive(Debug)]
pub enum Role {
    Control {
        subscribed: bool,
    },
    /// The channel of an exec'd process.
    Exec {
        pid: i32,
        pidfd: OwnedFd,
    },
    /// The channel of an attached client.
    Attach {
        container: String,
        stdin: bool,
    },
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    pub stream: UnixStream,
    pub role: Role,
    /// The other end is gone, or talks nonsense.
    pub closed: bool,
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Connection {
    pub fn new(stream: UnixStream) -> Self {
        let role = Role::Control { subscribed: false };
        Self { stream, role, closed: false, input: Vec::new(), output: Vec::new() }
    }

    /// What to poll for.
    pub fn interest(&self) -> PollFlags {
        if self.output.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT }
    }

    /// Bytes that wait to be sent.
    pub fn backlog(&self) -> usize {
        self.output.len()
    }

    /// Queues a frame and sends what goes at once.
    pub fn send(&mut self, frame: &[u8]) {
        self.output.extend_from_slice(frame);
        self.flush();
    }

    /// Sends a frame with descriptors beside it.
    pub fn send_with(&mut self, frame: &[u8], fds: &[BorrowedFd]) {
        self.flush();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            self.closed = true;
            return;
        }
        let sent = self
            .output
            .is_empty()
            .then(|| rustix::net::sendmsg(&self.stream, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL));
        match sent {
            Some(Ok(n)) => self.output.extend_from_slice(&frame[n..]),
            // A session's connection is new and its buffer empty; a peer that has filled it is not worth waiting for.
            _ => self.closed = true,
        }
    }

    /// Sends what the socket takes.
    pub fn flush(&mut self) {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(n) => drop(self.output.drain(..n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.closed = true;
                    self.output.clear();
                }
            }
        }
    }

    /// Sends all of it, for the last words.
    pub fn flush_blocking(&mut self) {
        let _ = self.stream.set_nonblocking(false);
        let _ = self.stream.set_write_timeout(Some(std::time::Duration::from_secs(1)));
        self.flush();
    }

    /// Reads what is there.
    pub fn fill(&mut self) {
        let mut chunk = [0; 16 << 10];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.closed = true,
                Ok(n) => {
                    self.input.extend_from_slice(&chunk[..n]);
                    continue;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => self.closed = true,
            }
            return;
        }
    }

    /// The next whole request; anything else closes the connection.
    pub fn next_request(&mut self) -> Option<Request> {
        match protocol::decode(&mut self.input) {
            Ok(Some(Frame { kind: Kind::Request, payload })) => match serde_json::from_slice(&payload) {
                Ok(request) => return Some(request),
                Err(e) => eprintln!("shim: bad request: {e}"),
            },
            Ok(None) => return None,
            Ok(Some(frame)) => eprintln!("shim: unexpected frame {:?}", frame.kind),
            Err(e) => eprintln!("shim: {e}"),
        }
        self.closed = true;
        None
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
