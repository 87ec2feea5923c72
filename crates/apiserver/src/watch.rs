//! `watch`: a response that goes on, a frame per event.

use crate::{
    params, respond, socket,
    stack::Exchange,
    verbs::{Produced, accepted},
};
use base::{Result, Status};
use bytes::Bytes;
use http::Response;
use http_body::Frame;
use net::{Body, BoxError};
use resource::{Call, Delivery, EventKind, Watcher};
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use telemetry::{Counter, Gauge};
use value::shared::{BoxFuture, EventSource, SharedEvent, SharedEventKind, SharedWatch};
use wire::{Accepted, Encoding, Include, ListMeta, Shape, TableOptions};

/// A watch without a timeout of its own ends after a random time from this to twice this. Source: upstream's
/// `min-request-timeout`.
const SHORTEST: u64 = 1800;
/// Frames are joined up to this size, so that a burst of small events is few writes.
const JOIN: usize = 32 * 1024;

pub async fn watch(x: &Exchange<'_>, call: &Call) -> Result<Response<Body>> {
    let (accepted, include) = accepted(x, call, Produced::Events)?;
    let mut query = params::list(&x.query, params::Reading::Watch)?;
    query.timeout = query.timeout.or_else(|| Some(random_timeout()));
    let watcher = x.server.engine.watch(call, &query).await?;
    let running = Running::new(&x.server.requests.long_running);
    if x.shared && accepted.shape == Shape::Object {
        let mut response = respond::bytes(200, "application/json", Body::Empty);
        response.extensions_mut().insert(SharedWatch::new(Box::new(Shared {
            watcher,
            batch: Vec::new(),
            _running: running,
        })));
        return Ok(response);
    }
    let encoded = x.server.requests.frame_encodings(accepted.encoding);
    let clock = x.server.config.clock.clone();
    let shaper = Shaper { call: call.clone(), accepted, include, clock, encoded, first: true };
    let stream = WatchBody {
        state: State::Idle(Some(Box::new((watcher, Vec::new())))),
        shaper,
        ready: VecDeque::new(),
        joins: !socket::wanted(x),
        _running: running,
    };
    let mut response = respond::bytes(200, accepted.stream_type(), Body::Stream(Box::pin(stream)));
    respond::deprecation(x, &mut response, call);
    Ok(response)
}

fn random_timeout() -> Duration {
    let random = u16::from_le_bytes(base::ids::random());
    Duration::from_secs(SHORTEST + u64::from(random) * SHORTEST / u64::from(u16::MAX))
}

/// Counts a watch while it lives.
struct Running(Arc<Gauge>);
impl Running {
    fn new(gauge: &Arc<Gauge>) -> Self {
        gauge.add(1);
        Running(gauge.clone())
    }
}
impl Drop for Running {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

type Batch = Box<(Watcher, Vec<Delivery>)>;
type Waiting = Pin<Box<dyn Future<Output = (Batch, Result<bool>)> + Send>>;

enum State {
    Idle(Option<Batch>),
    Waiting(Waiting),
    Ended,
}

/// The body: waits for a batch of events, and sends their frames.
struct WatchBody {
    state: State,
    shaper: Shaper,
    ready: VecDeque<Bytes>,
    /// Several frames may go out as one.
    joins: bool,
    _running: Running,
}

impl http_body::Body for WatchBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        loop {
            let bytes = if this.joins { join(&mut this.ready) } else { this.ready.pop_front() };
            if let Some(bytes) = bytes {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Idle(batch) => match batch.take() {
                    Some(batch) => this.state = State::Waiting(Box::pin(next(batch))),
                    None => this.state = State::Ended,
                },
                State::Waiting(waiting) => {
                    let (mut batch, more) = ready!(waiting.as_mut().poll(cx));
                    this.ready.extend(batch.1.drain(..).map(|delivery| this.shaper.frame(&delivery)));
                    this.state = match more {
                        Ok(true) => State::Idle(Some(batch)),
                        Ok(false) => State::Ended,
                        Err(status) => {
                            this.ready.push_back(this.shaper.object("ERROR", wire::status_bytes(&status)));
                            State::Ended
                        }
                    };
                }
            }
        }
    }
    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Ended) && self.ready.is_empty()
    }
}

async fn next(mut batch: Batch) -> (Batch, Result<bool>) {
    let (watcher, out) = &mut *batch;
    let more = watcher.next(out).await;
    (batch, more)
}

/// The next bytes to send: one large frame as it is, or small ones joined.
fn join(ready: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = ready.pop_front()?;
    if first.len() >= JOIN || ready.is_empty() {
        return Some(first);
    }
    let mut joined = Vec::with_capacity(JOIN + first.len());
    joined.extend_from_slice(&first);
    while let Some(next) = ready.front()
        && joined.len() + next.len() <= JOIN
    {
        joined.extend_from_slice(next);
        ready.pop_front();
    }
    Some(joined.into())
}

/// Makes frames in the shape that the client asked for.
struct Shaper {
    call: Call,
    accepted: Accepted,
    include: Include,
    clock: Arc<dyn base::clock::Clock>,
    /// Frames that were made for all watchers of an encoding.
    encoded: Arc<Counter>,
    first: bool,
}

impl Shaper {
    fn frame(&mut self, delivery: &Delivery) -> Bytes {
        match self.accepted.shape {
            Shape::Metadata(version) | Shape::MetadataList(version) if self.accepted.encoding == Encoding::Protobuf => {
                let partial = wire::protobuf::partial(delivery.object.value().at(&["metadata"]));
                let object = wire::protobuf::envelope(version, "PartialObjectMetadata", &partial);
                wire::protobuf::event_frame(delivery.kind.word(), &object)
            }
            Shape::Object if self.accepted.encoding == Encoding::Protobuf => delivery.protobuf_frame(|kind, object| {
                self.encoded.inc();
                wire::protobuf::event_frame(kind.word(), &respond::enveloped(&self.call, object))
            }),
            Shape::Object if self.accepted.encoding == Encoding::Cbor => {
                wire::cbor::event_frame(delivery.kind.word(), &wire::cbor::encode(&delivery.object.value()))
            }
            Shape::Object | Shape::Discovery => delivery.json_frame(|kind, object| {
                self.encoded.inc();
                resource::json_frame(kind, object.json())
            }),
            Shape::Metadata(version) | Shape::MetadataList(version) => {
                let object = wire::partial_metadata(version, &*delivery.object);
                self.object(delivery.kind.word(), object)
            }
            Shape::Table(api_version) => {
                // A bookmark is a row, too; the mark that ends the initial events stands in the row's object.
                let include = if delivery.ends_initial_list() && self.include == Include::None {
                    Include::Metadata
                } else {
                    self.include
                };
                let options = TableOptions {
                    api_version,
                    columns: &self.call.kind.versions[self.call.version].columns,
                    include,
                    now: self.clock.now(),
                    headers: std::mem::take(&mut self.first),
                };
                let meta = ListMeta::at(delivery.object.revision);
                let table = wire::table(&options, &meta, std::slice::from_ref(&delivery.object));
                wire::event_frame(delivery.kind.word(), &table)
            }
        }
    }
}

impl Shaper {
    /// The frame of an object made for this watch, from its JSON.
    fn object(&self, event: &str, json: Bytes) -> Bytes {
        match self.accepted.encoding {
            Encoding::Protobuf => {
                wire::protobuf::event_frame(event, &wire::reencode(json, self.accepted.encoding, false))
            }
            Encoding::Cbor => wire::cbor::event_frame(event, &wire::cbor::from_json(&json)),
            _ => wire::event_frame(event, &json),
        }
    }
}

/// The watch of a caller in the process.
struct Shared {
    watcher: Watcher,
    batch: Vec<Delivery>,
    _running: Running,
}

impl EventSource for Shared {
    fn next<'a>(&'a mut self, out: &'a mut Vec<SharedEvent>) -> BoxFuture<'a, Result<bool, Status>> {
        Box::pin(async move {
            let more = self.watcher.next(&mut self.batch).await;
            out.extend(self.batch.drain(..).map(|delivery| {
                let kind = match delivery.kind {
                    EventKind::Added => SharedEventKind::Added,
                    EventKind::Modified => SharedEventKind::Modified,
                    EventKind::Deleted => SharedEventKind::Deleted,
                    _ if delivery.ends_initial_list() => SharedEventKind::InitialEventsEnd,
                    _ => SharedEventKind::Bookmark,
                };
                SharedEvent { kind, object: delivery.object }
            }));
            more
        })
    }
}
