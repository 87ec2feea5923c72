//! What daemon and shim say to each other over the pod's socket.
//!
//! A frame is a length (of kind and payload), a kind and the payload. A connection begins with a [`Request`]. Most are
//! answered and the connection stays open for the next one; `Exec` and `Attach` turn it into the channel of that
//! session, which ends with an `Exit` frame. After `Subscribe` the connection also carries `Event` frames, always ahead
//! of the reply to the request that caused them. Descriptors (ends of pipes, terminals, sockets) travel beside the reply:
//! so an exec's bytes never pass through the shim.

use std::io;

use serde::{Deserialize, Serialize};

use crate::journal::Record;

/// No frame is longer.
pub const MAX_FRAME: usize = 4 << 20;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Request = 0,
    Reply = 1,
    Event = 2,
    Stdout = 3,
    Stderr = 4,
    Exit = 5,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    pub payload: Vec<u8>,
}

/// What the daemon asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Answered when the sandbox is there (or with why it is not).
    Hello,
    /// Events with a sequence above `after`, from now on.
    Subscribe {
        after: u64,
    },
    Create {
        id: String,
        spec: Box<sandbox::ContainerSpec>,
        log: LogTarget,
        stdin_once: bool,
    },
    Start {
        id: String,
    },
    /// To the first process, or to every process of the container.
    Kill {
        id: String,
        signal: i32,
        all: bool,
    },
    Remove {
        id: String,
    },
    ReopenLog {
        id: String,
    },
    /// Runs a process in a container; descriptors: stdin if wanted, stdout, stderr, or the terminal alone.
    Exec {
        id: String,
        process: Box<sandbox::Process>,
    },
    /// Output frames of the first process; descriptors: its stdin or terminal if wanted and there.
    Attach {
        id: String,
        stdin: bool,
    },
    /// On the connection of an attached client: its input has come to its end. A container made with `stdin_once` sees
    /// that as the end of its own; any other waits for the next client.
    CloseStdin,
    /// A new TCP socket in the pod's network namespace.
    Socket {
        v6: bool,
    },
    /// Kills what is left and ends the shim.
    Shutdown,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTarget {
    /// Empty: nowhere.
    pub path: std::path::PathBuf,
    pub max_size: u64,
    pub max_files: usize,
}

/// What the shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    Failed { kind: Failure, message: String },
}

/// Which error of the seam a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    NotFound,
    Precondition,
    Invalid,
    Start,
    Internal,
}

/// What the shim is started with, as `shim.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShimConfig {
    pub own_network: bool,
    pub own_ipc: bool,
    /// Containers share one pid namespace.
    pub shared_pid: bool,
    pub hostname: String,
    pub sysctls: Vec<(String, String)>,
    /// The pod's cgroup and its limits.
    pub cgroup: String,
    pub resources: sandbox::Resources,
    pub hierarchies: sandbox::cgroup::Hierarchies,
    /// The cgroup of shims.
    pub shim_cgroup: String,
}

impl Kind {
    fn from_byte(b: u8) -> Option<Self> {
        [Kind::Request, Kind::Reply, Kind::Event, Kind::Stdout, Kind::Stderr, Kind::Exit].get(b as usize).copied()
    }
}

/// The bytes of a frame.
pub fn encode(kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 5);
    out.extend_from_slice(&(payload.len() as u32 + 1).to_le_bytes());
    out.push(kind as u8);
    out.extend_from_slice(payload);
    out
}

/// The bytes of a frame with a JSON payload.
pub fn encode_json<T: Serialize>(kind: Kind, value: &T) -> Vec<u8> {
    encode(kind, &serde_json::to_vec(value).unwrap_or_default())
}

/// Takes the first frame off the buffer; `None` while it is not whole.
pub fn decode(buffer: &mut Vec<u8>) -> io::Result<Option<Frame>> {
    let Some(header) = buffer.get(..4).and_then(|h| <[u8; 4]>::try_from(h).ok()) else { return Ok(None) };
    let length = u32::from_le_bytes(header) as usize;
    if length == 0 || length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("frame of {length} bytes")));
    }
    let Some(body) = buffer.get(4..4 + length) else { return Ok(None) };
    let kind = Kind::from_byte(body[0])
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("frame of kind {}", body[0])))?;
    let frame = Frame { kind, payload: body[1..].to_vec() };
    buffer.drain(..4 + length);
    Ok(Some(frame))
}

/// The payload of an event frame.
pub fn event(record: &Record) -> Vec<u8> {
    encode_json(Kind::Event, record)
}

impl From<Reply> for cri::Result<()> {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Done => Ok(()),
            Reply::Failed { kind, message } => Err(match kind {
                Failure::NotFound => cri::Error::NotFound(message),
                Failure::Precondition => cri::Error::FailedPrecondition(message),
                Failure::Invalid => cri::Error::InvalidArgument(message),
                Failure::Start => cri::Error::Start(message),
                Failure::Internal => cri::Error::Internal(message),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut bytes = encode_json(Kind::Request, &Request::Start { id: "a".into() });
        bytes.extend(encode(Kind::Stdout, b"x"));
        let mut buffer = Vec::new();
        let mut frames = Vec::new();
        for b in bytes {
            buffer.push(b);
            frames.extend(decode(&mut buffer).unwrap());
        }
        assert_eq!(frames.len(), 2);
        assert_eq!(serde_json::from_slice::<Request>(&frames[0].payload).unwrap(), Request::Start { id: "a".into() });
        assert_eq!(frames[1], Frame { kind: Kind::Stdout, payload: b"x".to_vec() });
    }

    #[test]
    fn nonsense_is_refused() {
        for bytes in [[0u8, 0, 0, 0, 0], [255, 255, 255, 255, 0], [1, 0, 0, 0, 99]] {
            assert!(decode(&mut bytes.to_vec()).is_err(), "{bytes:?}");
        }
    }
}
