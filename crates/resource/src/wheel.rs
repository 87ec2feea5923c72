//! The timers of all watchers of an engine: when to send a bookmark, when to end.
//!
//! A watcher sleeps for its next event and, nearly always in vain, for its timer. With a runtime's timer each it would
//! enter and leave the runtime's timer queue at every event; here it has an alarm that stands where it is until it rings,
//! and one task wakes those that are due together. There is no task while there are no alarms. Alarms ring up to a second
//! late, near ones a tenth of a second: nobody counts on either.

use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// What an instant is rounded up to, and what a near one is.
const COARSE: Duration = Duration::from_secs(1);
const FINE: Duration = Duration::from_millis(100);
/// That is near.
const NEAR: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct Wheel {
    slots: Mutex<Slots>,
    /// The first slot has changed.
    earlier: Notify,
}

#[derive(Default)]
struct Slots {
    /// What slots are counted from; set by the first alarm.
    origin: Option<Instant>,
    due: BTreeMap<Duration, Vec<Weak<Notify>>>,
    turning: bool,
}

/// Rings once, at or a little after its time; not at all once it is dropped.
pub struct Alarm {
    bell: Arc<Notify>,
}

impl Alarm {
    /// Waits until it rings; may be given up and waited for again.
    pub async fn rings(&self) {
        self.bell.notified().await;
    }
}

impl Wheel {
    /// An alarm at an instant. Must be called within a runtime.
    pub fn alarm(self: &Arc<Self>, at: Instant) -> Alarm {
        let bell = Arc::new(Notify::new());
        let now = Instant::now();
        let mut slots = self.slots.lock();
        let origin = *slots.origin.get_or_insert(now);
        let unit = if at.saturating_duration_since(now) < NEAR { FINE } else { COARSE };
        let slot = round_up(at.saturating_duration_since(origin), unit);
        let is_first = slots.due.first_key_value().is_none_or(|(first, _)| slot < *first);
        let bells = slots.due.entry(slot).or_default();
        // Watchers that have gone leave their bells behind.
        if bells.len() >= 64 && bells.len().is_power_of_two() {
            bells.retain(|bell| bell.strong_count() > 0);
        }
        bells.push(Arc::downgrade(&bell));
        let start = !std::mem::replace(&mut slots.turning, true);
        drop(slots);
        if start {
            tokio::spawn(turn(Turning(Arc::downgrade(self)), origin));
        } else if is_first {
            self.earlier.notify_one();
        }
        Alarm { bell }
    }

    /// Rings what is due; the next slot.
    fn ring(&self, now: Duration) -> Option<Duration> {
        let mut slots = self.slots.lock();
        while let Some(entry) = slots.due.first_entry().filter(|entry| *entry.key() <= now) {
            entry.remove().iter().filter_map(Weak::upgrade).for_each(|bell| bell.notify_one());
        }
        // Slots whose watchers have all gone are not waited for.
        while let Some(entry) = slots.due.first_entry() {
            if entry.get().iter().any(|bell| bell.strong_count() > 0) {
                return Some(*entry.key());
            }
            entry.remove();
        }
        slots.turning = false;
        None
    }
}

/// Marks the wheel as standing also where its runtime ends.
struct Turning(Weak<Wheel>);
impl Drop for Turning {
    fn drop(&mut self) {
        if let Some(wheel) = self.0.upgrade() {
            wheel.slots.lock().turning = false;
        }
    }
}

async fn turn(mut wheel: Turning, origin: Instant) {
    while let Some(strong) = wheel.0.upgrade() {
        let Some(next) = strong.ring(Instant::now() - origin) else {
            // It stands, and the next alarm starts another task.
            wheel.0 = Weak::new();
            return;
        };
        tokio::select! {
            () = tokio::time::sleep_until(origin + next) => {}
            () = strong.earlier.notified() => {}
        }
    }
}

fn round_up(time: Duration, unit: Duration) -> Duration {
    let n = time.as_nanos().div_ceil(unit.as_nanos());
    unit * u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    fn rang(alarm: &Alarm) -> bool {
        matches!(pin!(alarm.rings()).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()))
    }

    #[tokio::test]
    async fn alarms_ring_once_in_their_order_and_the_wheel_comes_to_rest() {
        let wheel = Arc::<Wheel>::default();
        let begun = Instant::now();
        let seconds = Duration::from_secs;
        let alarm = |after| wheel.alarm(begun + after);
        let (late, early, dropped) = (alarm(seconds(3600)), alarm(seconds(60)), alarm(seconds(20)));
        let near = alarm(Duration::from_millis(20));
        drop(dropped);
        let ring = |at| wheel.ring(at).map(|next| next.as_secs());
        assert_eq!(ring(Duration::from_millis(10)), Some(0));
        assert!(!rang(&near));
        assert_eq!(ring(Duration::from_millis(200)), Some(60));
        assert!(rang(&near) && !rang(&near) && !rang(&early));
        // Who was not waiting misses nothing.
        assert_eq!(ring(seconds(70)), Some(3600));
        assert!(rang(&early) && !rang(&late));
        assert_eq!(ring(seconds(3601)), None);
        assert!(rang(&late) && !wheel.slots.lock().turning);
        let again = alarm(Duration::ZERO);
        again.rings().await;
    }

    #[tokio::test]
    async fn bells_of_watchers_that_went_are_thrown_away() {
        let wheel = Arc::<Wheel>::default();
        let at = Instant::now() + Duration::from_secs(1000);
        for _ in 0..10_000 {
            drop(wheel.alarm(at));
        }
        assert!(wheel.slots.lock().due.values().map(Vec::len).sum::<usize>() <= 64);
    }
}
