//! Request bodies: where they come from, and how much of one is read.
//!
//! Who sends too much is answered at once, and what is still on its way is then taken and thrown away, up to a bound. Decided
//! against leaving it: HTTP/2 then resets the stream, and clients that are still writing (curl 7.88) show the reset and not
//! the answer, although RFC 9113, 8.1 lets a server do so; HTTP/1.1 closes the connection, and the answer may be lost with it.

use base::{Reason, Result, Status};
use bytes::Bytes;
use http_body::Body;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use net::BoxError;
use std::{pin::Pin, time::Duration};

/// The most that a request may carry. Source: upstream's `MaxRequestBodyBytes`.
pub const LIMIT: usize = 3 * 1024 * 1024;
/// The most that is taken of a refused body, and for how long.
const DRAINED: usize = 4 * LIMIT;
const DRAINING: Duration = Duration::from_secs(10);

/// A request's body, from a socket or from a caller in the process.
pub enum RequestBody {
    Incoming(Incoming),
    Boxed(Pin<Box<dyn Body<Data = Bytes, Error = Broken> + Send>>),
    /// Read already.
    Whole(Bytes),
}

/// Why a body of a caller in the process broke off.
#[derive(Debug)]
pub struct Broken(String);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Broken {}

impl RequestBody {
    /// The body of a caller in the process.
    pub fn boxed<B>(body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        RequestBody::Boxed(Box::pin(body.map_err(|e| Broken(e.into().to_string()))))
    }
    /// All of it; 413 beyond the limit, 400 where the client breaks off.
    pub async fn read(self) -> Result<Bytes> {
        match self {
            RequestBody::Incoming(mut body) => {
                let read = collect(&mut body).await;
                if read.as_ref().is_err_and(|e| e.is(Reason::RequestEntityTooLarge)) {
                    drain(body);
                }
                read
            }
            RequestBody::Boxed(body) => collect(body).await,
            RequestBody::Whole(bytes) => Ok(bytes),
        }
    }
    /// As it comes, for what is passed on.
    pub fn into_stream(self) -> net::Body {
        match self {
            RequestBody::Incoming(body) => net::Body::stream(body),
            RequestBody::Boxed(body) => net::Body::stream(body),
            RequestBody::Whole(bytes) => bytes.into(),
        }
    }
}

async fn collect<B>(body: B) -> Result<Bytes>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    // A body that says beforehand that it is too large is not read at all.
    if body.size_hint().lower() > LIMIT as u64 {
        return Err(too_large());
    }
    match Limited::new(body, LIMIT).collect().await {
        Ok(read) => Ok(read.to_bytes()),
        Err(e) if e.is::<http_body_util::LengthLimitError>() => Err(too_large()),
        Err(e) => Err(Status::bad_request(format!("the request body could not be read: {e}"))),
    }
}

/// Takes the rest of a body without holding up its answer.
fn drain(mut body: Incoming) {
    if body.size_hint().lower() > DRAINED as u64 {
        return;
    }
    let taking = async move {
        let mut taken = 0;
        while let (true, Some(Ok(frame))) = (taken <= DRAINED, body.frame().await) {
            taken += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    tokio::spawn(tokio::time::timeout(DRAINING, taking));
}

fn too_large() -> Status {
    Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {LIMIT}"))
}
