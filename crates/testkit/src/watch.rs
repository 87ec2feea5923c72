//! A watch, event by event.

use crate::{Caller, PATIENCE};
use bytes::Bytes;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::Value;
use std::{collections::VecDeque, time::Duration};

/// The frames of one watch.
pub struct Watch {
    body: Body,
    /// Bytes behind the last whole line.
    rest: Vec<u8>,
    events: VecDeque<(String, Value)>,
}

impl Watch {
    pub(crate) async fn open(caller: &Caller, path: &str) -> Self {
        let response = caller.open("GET", path, "", Bytes::new()).await.unwrap_or_else(|e| panic!("{path}: {e}"));
        let (parts, body) = response.into_parts();
        if parts.status != 200 {
            let text = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            panic!("{path}: {} {}", parts.status, String::from_utf8_lossy(&text));
        }
        Watch { body, rest: Vec::new(), events: VecDeque::new() }
    }
    /// Type and object of the next event; panics where none comes.
    pub async fn next(&mut self) -> (String, Value) {
        self.next_within(PATIENCE).await.expect("no event came")
    }
    /// Type and object of the next event; `None` where the watch ends or is silent for that long.
    pub async fn next_within(&mut self, time: Duration) -> Option<(String, Value)> {
        tokio::time::timeout(time, self.read()).await.ok().flatten()
    }
    /// `ADDED name`, `MODIFIED name` … of the next events.
    pub async fn lines(&mut self, count: usize) -> Vec<String> {
        let mut lines = Vec::with_capacity(count);
        for _ in 0..count {
            let (kind, object) = self.next().await;
            lines.push(format!("{kind} {}", object["metadata"]["name"].as_str().unwrap_or("-")));
        }
        lines
    }
    /// True once the server has ended the watch in good order.
    pub async fn ended(&mut self) -> bool {
        tokio::time::timeout(PATIENCE, self.read()).await.is_ok_and(|event| event.is_none())
    }

    async fn read(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            self.rest.extend_from_slice(frame.data_ref()?);
            while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).expect("a frame is JSON");
                let kind = event["type"].as_str().unwrap_or_default().to_string();
                self.events.push_back((kind, event["object"].take()));
            }
        }
    }
}
