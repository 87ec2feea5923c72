//! What `up` shows: each step with its time, on one line.

use std::{
    fmt::Display,
    io::Write,
    time::{Duration, Instant},
};

pub struct Steps {
    began: Instant,
    last: Instant,
}

impl Steps {
    pub fn begin() -> Self {
        let now = Instant::now();
        Steps { began: now, last: now }
    }
    /// A step is done.
    pub fn done(&mut self, what: impl Display) {
        let now = Instant::now();
        say(format_args!("{:>8}  {what}", show(now - self.last)));
        self.last = now;
    }
    /// Everything is: the word, and the time since the beginning.
    pub fn finish(&mut self, word: &str) {
        self.last = Instant::now();
        say(format_args!("{:>8}  {word}", show(self.last - self.began)));
    }
}

/// A reader that has gone away, as of `ferry up | head`, ends no cluster.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn show(d: Duration) -> String {
    if d < Duration::from_secs(10) { format!("{} ms", d.as_millis()) } else { format!("{:.1} s", d.as_secs_f64()) }
}
