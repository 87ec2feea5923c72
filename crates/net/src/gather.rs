//! Writes of one HTTP/2 connection, gathered: what all its streams have to say at one wake leaves in one write.
//!
//! h2 writes and flushes frame by frame, and each flush would be a TLS record and a system call of its own; with a
//! hundred watches on a connection that is most of what an event costs. Here a flush only notes the bytes, and whoever
//! drives the connection sends them when the connection has nothing more to say ([`drive`]). Decided against doing the
//! same for HTTP/1.1: it has one response at a time, and an upgraded connection is driven by somebody else.

use parking_lot::Mutex;
use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// So many bytes are gathered before they are sent in any case: four TLS records.
const FULL: usize = 64 * 1024;

/// The half that the connection reads and writes.
pub struct Gathered<S>(Arc<Mutex<Out<S>>>);

/// The half that the driver sends with.
pub struct Sender<S>(Arc<Mutex<Out<S>>>);

struct Out<S> {
    stream: S,
    waiting: Vec<u8>,
    /// So many of them are sent.
    sent: usize,
    /// Sending failed outside of the connection's own writes; they are told.
    failed: Option<io::ErrorKind>,
}

/// Splits a stream into what the connection uses and what its driver sends with.
pub fn gather<S>(stream: S) -> (Gathered<S>, Sender<S>) {
    let shared = Arc::new(Mutex::new(Out { stream, waiting: Vec::new(), sent: 0, failed: None }));
    (Gathered(shared.clone()), Sender(shared))
}

/// Polls a connection to its end, and sends what it wrote whenever it has nothing more to do for the moment.
pub async fn drive<C: Future, S: AsyncWrite + Unpin>(connection: C, sender: &Sender<S>) -> C::Output {
    let mut connection = std::pin::pin!(connection);
    let ended = std::future::poll_fn(|cx| {
        let polled = connection.as_mut().poll(cx);
        if polled.is_pending() {
            sender.0.lock().send_now(cx);
        }
        polled
    })
    .await;
    // A connection that ends well has shut the stream down, and nothing waits; one that ends badly may have a last word.
    std::future::poll_fn(|cx| {
        sender.0.lock().send_now(cx);
        Poll::Ready(())
    })
    .await;
    ended
}

impl<S: AsyncWrite + Unpin> Out<S> {
    /// Sends all that waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        while self.sent < self.waiting.len() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        // Connections are many and mostly idle: they keep no buffer.
        (self.waiting, self.sent) = (Vec::new(), 0);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn send_now(&mut self, cx: &mut Context<'_>) {
        if self.waiting.is_empty() || self.failed.is_some() {
            return;
        }
        if let Poll::Ready(Err(e)) = self.poll_send(cx) {
            self.failed = Some(e.kind());
            cx.waker().wake_by_ref();
        }
    }

    /// Takes as much of the slices as there is room for.
    fn poll_take(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if let Some(kind) = self.failed {
            return Poll::Ready(Err(kind.into()));
        }
        if self.waiting.len() >= FULL {
            ready!(self.poll_send(cx))?;
        }
        let mut taken = 0;
        for slice in slices {
            let room = FULL - self.waiting.len();
            let part = &slice[..slice.len().min(room)];
            self.waiting.extend_from_slice(part);
            taken += part.len();
        }
        Poll::Ready(Ok(taken))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, &[IoSlice::new(buf)])
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_take(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    /// Left to the driver.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.lock().failed {
            Some(kind) => Poll::Ready(Err(kind.into())),
            None => Poll::Ready(Ok(())),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut out = self.0.lock();
        ready!(out.poll_send(cx))?;
        Pin::new(&mut out.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Counts the writes that reach it, and takes a few bytes at each.
    struct Slow<S>(S, Arc<Mutex<usize>>, usize);

    impl<S: AsyncWrite + Unpin> AsyncWrite for Slow<S> {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            *self.1.lock() += 1;
            let most = buf.len().min(self.2);
            Pin::new(&mut self.0).poll_write(cx, &buf[..most])
        }
        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }
        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    #[tokio::test]
    async fn what_is_written_between_two_waits_leaves_at_once() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let writes = Arc::new(Mutex::new(0));
        let (mut io, sender) = gather(Slow(near, writes.clone(), usize::MAX));
        let (told, wait) = tokio::sync::oneshot::channel::<()>();
        let connection = async move {
            for i in 0..100 {
                io.write_all(format!("frame {i:03} ").as_bytes()).await.unwrap();
                io.flush().await.unwrap();
            }
            let _ = wait.await;
            io.write_all(b"end").await.unwrap();
            io.shutdown().await.unwrap();
        };
        let reader = async {
            let mut first = [0; 1000];
            far.read_exact(&mut first).await.unwrap();
            assert_eq!(*writes.lock(), 1);
            told.send(()).unwrap();
            let mut rest = String::new();
            far.read_to_string(&mut rest).await.unwrap();
            (first[..10].to_vec(), rest)
        };
        let ((), (first, rest)) = tokio::join!(drive(connection, &sender), reader);
        assert_eq!((first, rest.as_str()), (b"frame 000 ".to_vec(), "end"));
    }

    #[tokio::test]
    async fn more_than_fits_arrives_whole_and_in_order() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut io, sender) = gather(Slow(near, Arc::default(), 700));
        let sent: Vec<u8> = (0..500_000_u32).map(|i| (i % 251) as u8).collect();
        let data = sent.clone();
        let connection = async move {
            io.write_all(&data).await.unwrap();
            io.flush().await.unwrap();
            io.shutdown().await.unwrap();
        };
        let reader = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all
        };
        let ((), got) = tokio::join!(drive(connection, &sender), reader);
        assert!(got == sent);
    }

    #[tokio::test]
    async fn a_broken_stream_is_told_to_the_connection() {
        let (near, far) = tokio::io::duplex(1000);
        drop(far);
        let (mut io, sender) = gather(near);
        let connection = async move {
            io.write_all(b"lost").await.unwrap();
            loop {
                if let Err(e) = io.flush().await {
                    return e.kind();
                }
                let mut once = false;
                std::future::poll_fn(
                    |_| if std::mem::replace(&mut once, true) { Poll::Ready(()) } else { Poll::Pending },
                )
                .await;
            }
        };
        assert_eq!(drive(connection, &sender).await, io::ErrorKind::BrokenPipe);
    }
}
