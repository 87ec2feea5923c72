//! The transport inside the server's process: its own service object, and shared objects instead of bytes.

use crate::{
    Client, Error, ObjectList, Result, Transport,
    transport::{Body, BoxError, BoxFuture},
    watch::{SharedEvents, WatchEvent, WatchStream},
};
use base::User;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use std::{fmt::Display, sync::Arc};
use tower::ServiceExt;
use value::{
    Object,
    shared::{EventSource, InProcess, SharedEvent, SharedEventKind, SharedList, SharedObject, SharedWatch},
};

impl Client {
    /// Over the API server's service object in this process, as `user`. The same authorization, admission and audit apply
    /// as to anybody else.
    pub fn in_process<S, B>(service: S, user: User) -> Self
    where
        S: tower::Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Display + Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Client::new(Arc::new(Local { service, user: Arc::new(user) }))
    }
}

struct Local<S> {
    service: S,
    user: Arc<User>,
}

impl<S, B> Transport for Local<S>
where
    S: tower::Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Display + Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    fn call(&self, mut request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>>> {
        let shared = request.extensions_mut().remove::<WantShared>().is_some();
        request.extensions_mut().insert(InProcess { user: self.user.clone(), shared });
        let service = self.service.clone();
        Box::pin(async move {
            let response = service.oneshot(request.map(Full::new)).await;
            let response = response.map_err(|e| Error::Transport(e.to_string()))?;
            Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
        })
    }
}

/// Marks a request whose caller can take shared objects; only the in-process transport looks.
#[derive(Clone)]
struct WantShared;

pub(crate) fn want_shared(request: &mut Request<Bytes>) {
    request.extensions_mut().insert(WantShared);
}

pub(crate) fn shared_object(response: &mut Response<Body>) -> Option<Arc<Object>> {
    response.extensions_mut().remove::<SharedObject>().map(|shared| shared.0)
}

pub(crate) fn shared_list(response: &mut Response<Body>) -> Option<ObjectList> {
    let list = response.extensions_mut().remove::<SharedList>()?;
    Some(ObjectList {
        items: list.items.to_vec(),
        revision: list.revision.to_string(),
        continue_token: list.continue_token.unwrap_or_default(),
    })
}

pub(crate) fn shared_watch(response: &mut Response<Body>) -> Option<WatchStream> {
    let source = response.extensions_mut().remove::<SharedWatch>()?.take()?;
    Some(WatchStream::shared(Box::new(Events { source, batch: Vec::new() })))
}

struct Events {
    source: Box<dyn EventSource>,
    batch: Vec<SharedEvent>,
}

impl SharedEvents for Events {
    fn next<'a>(&'a mut self, out: &'a mut Vec<WatchEvent>) -> BoxFuture<'a, Result<bool>> {
        Box::pin(async move {
            let more = self.source.next(&mut self.batch).await?;
            out.extend(self.batch.drain(..).map(|event| match event.kind {
                SharedEventKind::Added => WatchEvent::Added(event.object),
                SharedEventKind::Modified => WatchEvent::Modified(event.object),
                SharedEventKind::Deleted => WatchEvent::Deleted(event.object),
                SharedEventKind::Bookmark | SharedEventKind::InitialEventsEnd => {
                    WatchEvent::Bookmark(event.object.revision.to_string())
                }
            }));
            Ok(more)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    #[tokio::test]
    async fn the_identity_travels_and_objects_are_shared() {
        let object = Object::from_json(Bytes::from_static(br#"{"metadata":{"name":"a"}}"#)).unwrap();
        let kept = object.clone();
        let service = tower::service_fn(move |request: Request<Full<Bytes>>| {
            let who = request.extensions().get::<InProcess>().cloned();
            let mut response = Response::new(Full::new(Bytes::from_static(b"ignored")));
            if who.is_some_and(|who| who.user.name == "system:kube-scheduler" && who.shared) {
                response.extensions_mut().insert(SharedObject(object.clone()));
            }
            async move { Ok::<_, Infallible>(response) }
        });
        let client = Client::in_process(service, User::component("system:kube-scheduler"));
        let got = client.api(&crate::kinds::NODES).get("a").await.unwrap();
        assert!(Arc::ptr_eq(&got, &kept));
    }
}
