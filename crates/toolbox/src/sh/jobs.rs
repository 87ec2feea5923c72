//! Background jobs and signals: what `wait` waits for.
//!
//! Jobs end and signals arrive on threads of their own; both end up in one state behind one condition variable, so that a
//! `wait` wakes for whichever comes first.

use signal_hook::iterator::{Handle, Signals};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

pub const SIGNALS: [(&str, i32); 9] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("KILL", 9),
    ("USR1", 10),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
];

/// A signal by name (`TERM`, `SIGTERM`) or number.
pub fn signal(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse() {
        return (0..=64).contains(&number).then_some(number);
    }
    let name = name.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    match name {
        "CHLD" => Some(17),
        "CONT" => Some(18),
        "STOP" => Some(19),
        "WINCH" => Some(28),
        name => SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number),
    }
}

#[derive(Default)]
struct State {
    /// `None` while it runs.
    jobs: BTreeMap<u32, Option<i32>>,
    signals: VecDeque<i32>,
}

/// Shared by a shell and the threads that report to it.
#[derive(Default, Clone)]
pub struct Events(Arc<(Mutex<State>, Condvar)>);

/// Why a wait ended.
pub enum Woken {
    Finished(i32),
    Signal(i32),
    /// There is no such job.
    Unknown,
}

impl Events {
    pub fn started(&self, job: u32) {
        self.state().jobs.insert(job, None);
    }

    pub fn finished(&self, job: u32, status: i32) {
        self.state().jobs.insert(job, Some(status));
        self.0.1.notify_all();
    }

    pub fn signalled(&self, signal: i32) {
        self.state().signals.push_back(signal);
        self.0.1.notify_all();
    }

    pub fn next_signal(&self) -> Option<i32> {
        self.state().signals.pop_front()
    }

    /// Waits for one job and forgets it.
    pub fn wait(&self, job: u32) -> Woken {
        let mut state = self.state();
        loop {
            if let Some(signal) = state.signals.pop_front() {
                return Woken::Signal(signal);
            }
            match state.jobs.get(&job) {
                None => return Woken::Unknown,
                Some(Some(status)) => {
                    let status = *status;
                    state.jobs.remove(&job);
                    return Woken::Finished(status);
                }
                Some(None) => state = self.0.1.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner()),
            }
        }
    }

    /// Waits for all jobs.
    pub fn wait_all(&self) -> Woken {
        let mut state = self.state();
        loop {
            if let Some(signal) = state.signals.pop_front() {
                return Woken::Signal(signal);
            }
            if state.jobs.values().all(Option::is_some) {
                state.jobs.clear();
                return Woken::Finished(0);
            }
            state = self.0.1.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Delivers signals that have a trap to `events`.
#[derive(Default)]
pub struct Watch {
    handle: Option<Handle>,
}

impl Watch {
    pub fn add(&mut self, number: i32, events: &Events) -> Result<(), String> {
        if let Some(handle) = &self.handle {
            return handle.add_signal(number).map_err(|error| error.to_string());
        }
        let mut signals = Signals::new([number]).map_err(|error| error.to_string())?;
        self.handle = Some(signals.handle());
        let events = events.clone();
        std::thread::spawn(move || signals.forever().for_each(|signal| events.signalled(signal)));
        Ok(())
    }
}

/// Makes TERM and INT end this process. A container's first process gets no default action from the kernel, so a
/// program that merely sleeps would sit out its whole grace period.
pub fn die_on_termination() {
    if std::process::id() != 1 {
        return;
    }
    if let Ok(mut signals) = Signals::new([2, 15]) {
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                std::process::exit(128 + signal);
            }
        });
    }
}
