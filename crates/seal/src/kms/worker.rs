//! A thread on which plugins are asked.
//!
//! The engine opens values where it may not await: in the store's sink. A thread of its own, with its own small runtime,
//! can be waited for from anywhere without holding up the runtime that everything else is on.

use std::{future::Future, time::Duration};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

/// The thread; it ends when this is dropped.
pub struct Worker {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl Worker {
    pub fn start() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::Builder::new().name("kms".into()).spawn(move || {
            // Ends with an error when the sender is dropped, which is what is waited for.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Worker { handle, _stop: stop })
    }

    /// Runs it there.
    pub fn spawn<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.handle.spawn(future)
    }

    /// Runs it there and waits without awaiting; `None` where it does not end in time.
    pub fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        patience: Duration,
    ) -> Option<T> {
        let (sender, answer) = std::sync::mpsc::sync_channel(1);
        self.handle.spawn(async move {
            let _ = sender.send(future.await);
        });
        answer.recv_timeout(patience).ok()
    }
}
