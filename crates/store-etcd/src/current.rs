//! The present revision for many readers at once: whoever asks while a question is under way shares the next one, which
//! is sent after all of them asked. So a thousand reads cost etcd one in each round trip.

use crate::Shared;
use grpc::Status;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::oneshot;

type Waiting = Vec<oneshot::Sender<Result<i64, Status>>>;

#[derive(Default)]
pub struct Current(Mutex<State>);

#[derive(Default)]
struct State {
    asking: bool,
    waiting: Waiting,
}

impl Current {
    pub async fn ask(&self, shared: &Arc<Shared>) -> Result<i64, Status> {
        let (tell, told) = oneshot::channel();
        let first = {
            let mut state = self.0.lock();
            state.waiting.push(tell);
            !std::mem::replace(&mut state.asking, true)
        };
        if first {
            shared.runtime.spawn(answer(shared.clone()));
        }
        told.await.unwrap_or_else(|_| Err(Status::unavailable("the store is closed")))
    }

    /// Those who wait, or the end of asking.
    fn take(&self) -> Option<Waiting> {
        let mut state = self.0.lock();
        let waiting = std::mem::take(&mut state.waiting);
        state.asking = !waiting.is_empty();
        state.asking.then_some(waiting)
    }
}

async fn answer(shared: Arc<Shared>) {
    while let Some(waiting) = shared.current.take() {
        let answer = shared.members.revision().await;
        for one in waiting {
            let _ = one.send(answer.clone());
        }
    }
}
