//! A netlink socket: send a request, read the acknowledgement or the dump.
//!
//! The kernel works a request off inside `sendmsg`, so when that returns every answer lies in the receive queue. That makes
//! reading simple: never block, stop when the queue is empty.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::message::{Message, Received, attrs, messages, text, u32_at};
use crate::{Error, Result};

const BUFFER: usize = 1 << 16;
const NLM_F_DUMP_INTR: u16 = 0x10;

pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

/// What the kernel said about one request.
#[derive(Debug, Clone)]
pub(crate) struct Ack {
    pub(crate) sequence: u32,
    /// 0 for success.
    pub(crate) errno: i32,
    pub(crate) detail: Option<String>,
    /// Where in the request the offending attribute starts.
    pub(crate) offset: Option<usize>,
}

impl Socket {
    /// A socket of the calling thread's network namespace.
    pub(crate) fn open(protocol: i32) -> Result<Socket> {
        let name = "netlink socket";
        // SAFETY: plain system calls; the descriptor is owned at once.
        let fd = unsafe {
            let fd = libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol);
            if fd < 0 {
                return Err(Error::last("open", name));
            }
            OwnedFd::from_raw_fd(fd)
        };
        let socket = Socket { fd, sequence: 0 };
        socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        socket.option(libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, 1);
        // SAFETY: an all-zero sockaddr_nl is valid; the kernel chooses the port.
        let bound = unsafe {
            let mut address: libc::sockaddr_nl = std::mem::zeroed();
            address.nl_family = libc::AF_NETLINK as u16;
            libc::bind(
                socket.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if bound < 0 {
            return Err(Error::last("bind", name));
        }
        Ok(socket)
    }

    /// Room for a batch of `bytes` in one send, and for the answers.
    pub(crate) fn reserve(&self, bytes: usize) {
        let want = i32::try_from(bytes.saturating_mul(2).saturating_add(1 << 16)).unwrap_or(i32::MAX / 2);
        self.option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, want);
        self.option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, want.min(8 << 20));
    }

    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Sends one request that asks for an acknowledgement, and waits for it.
    pub(crate) fn request(&mut self, mut message: Message, operation: &'static str, object: &str) -> Result<()> {
        let sequence = self.next_sequence();
        message.finish(sequence);
        self.send(&message.bytes, object)?;
        let acks = self.acks(object)?;
        let ack = acks
            .into_iter()
            .find(|ack| ack.sequence == sequence)
            .ok_or_else(|| Error::Protocol { object: object.to_string(), reason: "no acknowledgement" })?;
        match ack.errno {
            0 => Ok(()),
            errno => Err(Error::Kernel { operation, object: object.to_string(), errno, detail: ack.detail }),
        }
    }

    /// Sends a request with one or many answers and hands each to `each`. A dump that the kernel reports as interrupted by a
    /// concurrent change is an error with `EINTR`, for the caller to repeat.
    pub(crate) fn dump(
        &mut self,
        mut message: Message,
        object: &str,
        mut each: impl FnMut(Received<'_>) -> Result<()>,
    ) -> Result<()> {
        let failed = |errno, detail| Error::Kernel { operation: "read", object: object.to_string(), errno, detail };
        let sequence = self.next_sequence();
        message.finish(sequence);
        self.send(&message.bytes, object)?;
        let mut interrupted = false;
        let mut buffer = vec![0; BUFFER];
        loop {
            let Some(length) = self.receive(&mut buffer, object)? else {
                return match interrupted {
                    true => Err(failed(libc::EINTR, None)),
                    false => Ok(()),
                };
            };
            for message in messages(&buffer[..length]).filter(|m| m.sequence == sequence) {
                interrupted |= message.flags & NLM_F_DUMP_INTR != 0;
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => {
                        let status = u32_at(message.body, 0).unwrap_or(0) as i32;
                        match (status, interrupted) {
                            (status, _) if status < 0 => return Err(failed(-status, None)),
                            (_, true) => return Err(failed(libc::EINTR, None)),
                            _ => return Ok(()),
                        }
                    }
                    libc::NLMSG_ERROR => match ack(&message) {
                        Some(ack) if ack.errno != 0 => return Err(failed(ack.errno, ack.detail)),
                        _ => {}
                    },
                    _ => each(message)?,
                }
            }
        }
    }

    pub(crate) fn send(&self, bytes: &[u8], object: &str) -> Result<()> {
        // SAFETY: the pointer and length describe `bytes`; an unconnected netlink socket sends to the kernel.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        match sent {
            n if n == bytes.len() as isize => Ok(()),
            n if n < 0 => Err(Error::last("send request for", object)),
            _ => Err(Error::Protocol { object: object.to_string(), reason: "a request was sent in part" }),
        }
    }

    /// Every acknowledgement in the receive queue.
    pub(crate) fn acks(&self, object: &str) -> Result<Vec<Ack>> {
        let mut found = Vec::new();
        let mut buffer = vec![0; BUFFER];
        while let Some(length) = self.receive(&mut buffer, object)? {
            found.extend(
                messages(&buffer[..length]).filter(|m| i32::from(m.kind) == libc::NLMSG_ERROR).filter_map(|m| ack(&m)),
            );
        }
        Ok(found)
    }

    /// One datagram, or `None` when the queue is empty.
    fn receive(&self, buffer: &mut [u8], object: &str) -> Result<Option<usize>> {
        loop {
            // SAFETY: the pointer and length describe `buffer`.
            let received = unsafe {
                libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_DONTWAIT)
            };
            if received >= 0 {
                return Ok(Some(received as usize));
            }
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => return Ok(None),
                io::ErrorKind::Interrupted => {}
                _ => return Err(Error::System { operation: "read answer for", object: object.into(), source: error }),
            }
        }
    }

    /// Options here only improve messages or buffers: a kernel that lacks one still works.
    fn option(&self, level: i32, name: i32, value: i32) {
        // SAFETY: the pointer and length describe `value`.
        unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                size_of::<i32>() as libc::socklen_t,
            );
        }
    }
}

fn ack(message: &Received<'_>) -> Option<Ack> {
    const NLM_F_ACK_TLVS: u16 = 0x200;
    const NLMSGERR_ATTR_MSG: u16 = 1;
    const NLMSGERR_ATTR_OFFS: u16 = 2;
    let errno = -(u32_at(message.body, 0)? as i32);
    let mut ack = Ack { sequence: message.sequence, errno, detail: None, offset: None };
    if message.flags & NLM_F_ACK_TLVS != 0 {
        // NETLINK_CAP_ACK: the error is followed by the request's header alone.
        for (kind, value) in attrs(message.body.get(20..)?) {
            match kind {
                NLMSGERR_ATTR_MSG => ack.detail = Some(text(value)),
                NLMSGERR_ATTR_OFFS => ack.offset = u32_at(value, 0).map(|o| o as usize),
                _ => {}
            }
        }
    }
    Some(ack)
}
