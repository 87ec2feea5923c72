//! Calls by path, without generated clients.

use crate::Channel;
use futures::Stream;
use http::uri::PathAndQuery;
use prost::Message;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::{Request, Status, Streaming, client::Grpc, metadata::MetadataValue};
use tonic_prost::ProstCodec;

/// What a server may answer with at most: above etcd's largest page and any KMS message. Ours alone; the server has its own.
const MAX_ANSWER: usize = 256 << 20;

fn client(channel: &Channel) -> Grpc<Channel> {
    Grpc::with_origin(channel.clone(), channel.endpoint().origin())
        .max_decoding_message_size(MAX_ANSWER)
        .max_encoding_message_size(MAX_ANSWER)
}

/// One request, one answer. `path` is `/package.Service/Method`. Ends with `DeadlineExceeded` after `timeout`.
pub async fn unary<M, R>(channel: &Channel, path: &'static str, message: M, timeout: Duration) -> Result<R, Status>
where
    M: Message + Send + Sync + 'static,
    R: Message + Default + Send + Sync + 'static,
{
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    let mut client = client(channel);
    let codec = ProstCodec::<M, R>::default();
    let calling = async { client.unary(request, PathAndQuery::from_static(path), codec).await };
    match tokio::time::timeout(timeout, calling).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded(format!("{} {path}: no answer in {timeout:?}", channel.endpoint()))),
    }
}

/// A call on which both sides send as they like. `metadata` goes with it.
pub async fn duplex<M, R>(
    channel: &Channel,
    path: &'static str,
    requests: mpsc::Receiver<M>,
    metadata: &[(&'static str, &'static str)],
) -> Result<Answers<R>, Status>
where
    M: Message + Send + Sync + 'static,
    R: Message + Default + Send + Sync + 'static,
{
    let codec = ProstCodec::<M, R>::default();
    let mut request = Request::new(Requests(requests));
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, MetadataValue::from_static(value));
    }
    let answer = client(channel).streaming(request, PathAndQuery::from_static(path), codec).await?;
    Ok(Answers(answer.into_inner()))
}

/// What the server says, in order.
pub struct Answers<R>(Streaming<R>);

impl<R> Answers<R> {
    /// The next one; `None` when the server has ended the call well.
    pub async fn next(&mut self) -> Result<Option<R>, Status> {
        self.0.message().await
    }
}

/// A channel's receiver as the stream that tonic takes.
struct Requests<M>(mpsc::Receiver<M>);

impl<M> Stream for Requests<M> {
    type Item = M;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<M>> {
        self.0.poll_recv(context)
    }
}
