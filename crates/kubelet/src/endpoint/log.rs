//! `/containerLogs/{namespace}/{pod}/{container}`

use super::{NodeEndpoint, Query, with_type};
use crate::{
    convert::{self, POD_UID},
    logs::{Options, Reader, Selector, attempts},
    pod::decide::containers,
};
use base::{Result, Status, time::SignedDuration};
use bytes::Bytes;
use cri::{ContainerFilter, ContainerState};
use http::Response;
use http_body_util::StreamBody;
use net::Body;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::mpsc;

pub(super) async fn serve(
    endpoint: &NodeEndpoint,
    namespace: &str,
    name: &str,
    container: &str,
    query: &Query,
) -> Result<Response<Body>> {
    let (object, pod) = endpoint.pod(namespace, name)?;
    if !containers(&pod).any(|(spec, _)| spec.name == container) {
        return Err(Status::bad_request(format!("container {container:?} not found in pod {name:?}")));
    }
    let options = options(query, endpoint)?;
    let uid = object.meta.uid.to_string();
    let dir = Path::new(&convert::log_directory(&endpoint.node.dirs.logs, &pod)).join(container);
    let found = attempts(&dir);
    let Some(attempt) = (if options.previous { found.iter().rev().nth(1) } else { found.last() }) else {
        if options.previous {
            let text = format!("previous terminated container {container:?} in pod {name:?} not found");
            return Err(Status::bad_request(text));
        }
        let reason = waiting_reason(&object.value(), container);
        let text = format!("container {container:?} in pod {name:?} is waiting to start: {reason}");
        return Err(Status::bad_request(text));
    };
    let path = dir.join(format!("{attempt}.log"));
    let watched = Watched { endpoint: endpoint.clone(), uid, container: container.into(), attempt: *attempt };
    let reader = Reader::open(&path, options.tail).map_err(|e| Status::internal(format!("{}: {e}", path.display())))?;
    let (sender, receiver) = mpsc::channel(4);
    let follow = options.follow && !options.previous;
    tokio::spawn(copy(reader, Selector::new(options), follow.then_some(watched), path, sender));
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes: Bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes)), receiver))
    });
    Ok(with_type("text/plain", Body::stream(StreamBody::new(frames))))
}

fn options(query: &Query, endpoint: &NodeEndpoint) -> Result<Options> {
    let number = |key: &str| -> Result<Option<i64>> {
        let text = query.get(key);
        let parsed =
            text.map(|text| text.parse().map_err(|_| Status::bad_request(format!("{key}: not a number: {text:?}"))));
        parsed.transpose()
    };
    let since = match (number("sinceSeconds")?, query.get("sinceTime")) {
        (Some(seconds), _) => Some(endpoint.node.now() - SignedDuration::from_secs(seconds)),
        (None, Some(text)) => Some(
            base::time::parse(text).ok_or_else(|| Status::bad_request(format!("sinceTime: not a time: {text:?}")))?,
        ),
        (None, None) => None,
    };
    let size = |n: Option<i64>| n.and_then(|n| usize::try_from(n).ok());
    Ok(Options {
        follow: query.flag("follow"),
        previous: query.flag("previous"),
        since,
        timestamps: query.flag("timestamps"),
        tail: size(number("tailLines")?),
        limit: size(number("limitBytes")?),
        stream: query.get("stream").filter(|s| *s != "All").map(String::from),
    })
}

fn waiting_reason(pod: &value::Value, container: &str) -> String {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let all = lists.iter().flat_map(|list| pod.items_at(&["status", list]));
    let status = all.into_iter().find(|c| c.str_at(&["name"]) == container);
    let reason = status.map(|c| c.str_at(&["state", "waiting", "reason"])).filter(|r| !r.is_empty());
    reason.unwrap_or("ContainerCreating").to_string()
}

/// The container whose log is followed.
struct Watched {
    endpoint: NodeEndpoint,
    uid: String,
    container: String,
    attempt: u32,
}

impl Watched {
    /// True while more lines may come.
    async fn running(&self) -> bool {
        let filter = ContainerFilter {
            label_selector: [(POD_UID.to_string(), self.uid.clone())].into(),
            ..ContainerFilter::default()
        };
        let list = self.endpoint.node.runtime.list_containers(&filter).await.unwrap_or_default();
        list.iter().any(|c| {
            c.metadata.name == self.container
                && c.metadata.attempt == self.attempt
                && c.labels.get(POD_UID) == Some(&self.uid)
                && matches!(c.state, ContainerState::Running | ContainerState::Created)
        })
    }
}

/// Copies until the end, the limit, or the reader's going.
async fn copy(
    mut reader: Reader,
    mut selector: Selector,
    follow: Option<Watched>,
    path: PathBuf,
    sender: mpsc::Sender<Bytes>,
) {
    let changes = follow.as_ref().and_then(|_| Changes::of(&path).ok());
    let mut last_look = false;
    loop {
        let mut out = Vec::new();
        let more = match reader.read(&mut selector, &mut out) {
            Ok(more) => more,
            Err(error) => return tracing::debug!(path = %path.display(), %error, "log"),
        };
        if !out.is_empty() && sender.send(out.into()).await.is_err() {
            return;
        }
        match (more, &follow) {
            (Some(true), _) => continue,
            (Some(false), _) | (None, None) => return,
            (None, Some(_)) if last_look => return,
            (None, Some(watched)) => {
                // The file tells of lines, the runtime of the end; whatever was written before the end is read after it.
                let changed = match &changes {
                    Some(changes) => tokio::select! {
                        changed = tokio::time::timeout(Duration::from_secs(1), changes.next()) => changed.is_ok(),
                        () = sender.closed() => return,
                    },
                    None => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                        false
                    }
                };
                last_look = !changed && !watched.running().await;
            }
        }
    }
}

/// Wakes when something happens in the log's directory.
struct Changes(tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>);

impl Changes {
    // `register` needs an unsafe block, which this crate may not have; with an owned descriptor that stays inside, `new` is
    // as sound.
    #[expect(deprecated, reason = "the replacement is an unsafe function")]
    fn of(path: &Path) -> std::io::Result<Self> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let fd = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        add_watch(
            &fd,
            path.parent().unwrap_or(path),
            WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_FROM,
        )?;
        Ok(Changes(tokio::io::unix::AsyncFd::new(fd)?))
    }
    async fn next(&self) {
        let Ok(mut ready) = self.0.readable().await else { return };
        let mut buffer = [0; 4096];
        while rustix::io::read(self.0.get_ref(), &mut buffer).is_ok_and(|n| n > 0) {}
        ready.clear_ready();
    }
}
