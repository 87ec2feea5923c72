//! A worker's inbox: a queue whose length is bounded by what it holds, not by how fast it is emptied.
//!
//! A channel with a limit would have to wait or to drop, and neither is possible: caches tell their news under a lock, and a
//! lost exit is a pod that never ends. So what may come any number of times while nobody looks is held once: of the object
//! the latest version, one note that something it refers to has changed, of each probe the latest report and before it the
//! latest one with a verdict. Everything else answers what the worker itself began, or is one of the few things that a
//! container can do in its life.

use crate::pod::worker::Message;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    mem::discriminant,
    sync::{Arc, Weak},
};
use tokio::sync::Notify;

/// Where a worker's messages go.
#[derive(Debug, Clone)]
pub struct Inbox(Weak<Shared>);

/// The worker's side; when it is dropped nobody listens any more.
#[derive(Debug)]
pub struct Messages(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<VecDeque<Message>>,
    news: Notify,
}

/// The worker is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed;

/// Both ends of a new inbox.
pub fn inbox() -> (Inbox, Messages) {
    let shared = Arc::new(Shared::default());
    (Inbox(Arc::downgrade(&shared)), Messages(shared))
}

impl Inbox {
    /// Never waits.
    pub fn send(&self, message: Message) -> Result<(), Closed> {
        let shared = self.0.upgrade().ok_or(Closed)?;
        {
            let mut queue = shared.queue.lock();
            if let Some(place) = queue.iter().rposition(|held| replaces(&message, held)) {
                queue.remove(place);
            }
            queue.push_back(message);
        }
        shared.news.notify_one();
        Ok(())
    }
}

impl Messages {
    /// The next message.
    pub async fn recv(&mut self) -> Message {
        loop {
            if let Some(message) = self.try_recv() {
                return message;
            }
            self.0.news.notified().await;
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.0.queue.lock().pop_front()
    }
}

/// True where the newer message says all that the older one said.
fn replaces(newer: &Message, older: &Message) -> bool {
    match (newer, older) {
        (Message::Object(_), Message::Object(_)) | (Message::Changed, Message::Changed) => true,
        (Message::Probe(new), Message::Probe(old)) => {
            let same = (&new.container, &new.id, new.kind) == (&old.container, &old.id, old.kind);
            // A failure that changes nothing yet must not hide a verdict.
            same && (new.verdict.is_some() || old.verdict.is_none())
        }
        (Message::Gone, Message::Gone) | (Message::Shutdown, Message::Shutdown) => {
            discriminant(newer) == discriminant(older)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::{Kind, Report};

    fn probe(kind: Kind, verdict: Option<bool>) -> Message {
        let message = verdict.is_none().then(String::new);
        Message::Probe(Report { container: "a".into(), id: "1".into(), kind, verdict, message })
    }

    #[tokio::test]
    async fn what_repeats_is_held_once() {
        let (inbox, mut messages) = inbox();
        for _ in 0..1000 {
            inbox.send(Message::Changed).unwrap();
            inbox.send(probe(Kind::Readiness, None)).unwrap();
        }
        inbox.send(probe(Kind::Liveness, Some(false))).unwrap();
        inbox.send(probe(Kind::Liveness, None)).unwrap();
        inbox.send(Message::Unmounted(Ok(()))).unwrap();
        inbox.send(Message::Unmounted(Ok(()))).unwrap();
        let mut words = Vec::new();
        while let Some(message) = messages.try_recv() {
            words.push(match message {
                Message::Changed => "changed".to_string(),
                Message::Probe(report) => format!("{:?} {:?}", report.kind, report.verdict),
                Message::Unmounted(_) => "unmounted".into(),
                other => panic!("{other:?}"),
            });
        }
        let want = ["changed", "Readiness None", "Liveness Some(false)", "Liveness None", "unmounted", "unmounted"];
        assert_eq!(words, want);
        inbox.send(Message::Gone).unwrap();
        assert!(matches!(messages.recv().await, Message::Gone));
        drop(messages);
        assert_eq!(inbox.send(Message::Gone), Err(Closed));
    }
}
