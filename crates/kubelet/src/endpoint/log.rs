//! `/containerLogs/{namespace}/{pod}/{container}`

use super::{NodeEndpoint, Query, with_type};
use crate::{
    convert::{self, POD_UID},
    logs::{Options, Reader, Selector, attempts},
    pod::ephemeral,
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
    if !ephemeral::all(&pod).iter().any(|(spec, _)| spec.name == container) {
        return Err(Status::bad_request(format!("container {container:?} not found in pod {name:?}")));
    }
    let options = options(query, endpoint)?;
    let uid = object.meta.uid.to_string();
    let dir = Path::new(&convert::log_directory(&endpoint.node.dirs.logs, &pod)).join(container);
    let logs = dir.clone();
    let found = blocking(move || attempts(&dir)).await?;
    let Some(attempt) = (if options.previous { found.iter().rev().nth(1) } else { found.last() }) else {
        if options.previous {
            let text = format!("previous terminated container {container:?} in pod {name:?} not found");
            return Err(Status::bad_request(text));
        }
        return Err(Status::bad_request(no_log(&object.value(), name, container)));
    };
    let path = logs.join(format!("{attempt}.log"));
    let watched = Watched { endpoint: endpoint.clone(), uid, container: container.into(), attempt: *attempt };
    let (opened, tail) = (path.clone(), options.tail);
    let reader = blocking(move || Reader::open(&opened, tail)).await?;
    let reader = reader.map_err(|e| Status::internal(format!("{}: {e}", path.display())))?;
    let (sender, receiver) = mpsc::channel(4);
    let follow = options.follow && !options.previous;
    tokio::spawn(copy(reader, Selector::new(options), follow.then_some(watched), path, sender));
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let bytes: Bytes = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes)), receiver))
    });
    Ok(with_type("text/plain", Body::stream(StreamBody::new(frames))))
}

/// Runs what reads files on a thread that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Status::internal)
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

/// Why a container has no log, in the words of upstream's `validateContainerLogStatus`.
fn no_log(pod: &value::Value, name: &str, container: &str) -> String {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let all = lists.iter().flat_map(|list| pod.items_at(&["status", list]));
    let place = format!("container {container:?} in pod {name:?}");
    let Some(status) = all.into_iter().find(|c| c.str_at(&["name"]) == container) else {
        // A pod that the node has refused has no containers; one that nobody has looked at yet will have them.
        return match matches!(pod.str_at(&["status", "phase"]), "" | "Pending") {
            true => format!("{place} is waiting to start: ContainerCreating"),
            false => format!("{place} is not available"),
        };
    };
    if !status.at(&["state", "terminated"]).is_null() {
        return format!("{place} is terminated");
    }
    match status.str_at(&["state", "waiting", "reason"]) {
        "" => format!("{place} is waiting to start - no logs yet"),
        "ErrImagePull" => format!("{place} is waiting to start: image can't be pulled"),
        "ImagePullBackOff" => format!("{place} is waiting to start: trying and failing to pull image"),
        reason => format!("{place} is waiting to start: {reason}"),
    }
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
        // Reader and selector travel to a thread that may wait for the disk, and back with what they have found.
        let read = blocking(move || {
            let mut out = Vec::new();
            let more = reader.read(&mut selector, &mut out);
            (reader, selector, out, more)
        });
        let (out, more) = match read.await {
            Ok((back, state, out, Ok(more))) => {
                (reader, selector) = (back, state);
                (out, more)
            }
            Ok((.., Err(error))) => return tracing::debug!(path = %path.display(), %error, "log"),
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
