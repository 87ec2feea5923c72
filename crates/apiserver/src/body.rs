//! Request bodies: where they come from, and how much of one is read.

use base::{Reason, Result, Status};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use net::BoxError;
use std::pin::Pin;

/// The most that a request may carry. Source: upstream's `MaxRequestBodyBytes`.
pub const LIMIT: usize = 3 * 1024 * 1024;

/// A request's body, from a socket or from a caller in the process.
pub enum RequestBody {
    Incoming(Incoming),
    Boxed(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Broken> + Send>>),
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
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        RequestBody::Boxed(Box::pin(body.map_err(|e| Broken(e.into().to_string()))))
    }
    /// All of it; 413 beyond the limit, 400 where the client breaks off.
    pub async fn read(self) -> Result<Bytes> {
        match self {
            RequestBody::Incoming(body) => collect(body).await,
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
    B: http_body::Body<Data = Bytes>,
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

fn too_large() -> Status {
    Status::new(Reason::RequestEntityTooLarge, format!("Request entity too large: limit is {LIMIT}"))
}
