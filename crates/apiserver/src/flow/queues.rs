//! The queues of one priority level, as values: who runs, who waits, who is told to come back.
//!
//! Each flow (a user, a namespace) is dealt a hand of queues by its hash and waits in the shortest of them, so one that
//! sends much fills its own hand and hardly ever all of another's. Queues take turns by virtual time: the one whose next
//! request would end first, if all of them were served evenly, is next. A request takes as many seats as it is wide.
//! Source: KEP-1040; the algorithm is fair queuing for servers (Demers, Keshav, Shenker; here with known widths).
//!
//! Time is seconds since whenever, given with each event; nothing here waits or reads a clock.

use super::limits::Demand;
use std::collections::VecDeque;

/// What a request is thought to take, in seconds, until it is known. Source: upstream's.
pub const ESTIMATE: f64 = 0.003;

/// Seconds.
pub type Time = f64;

/// What to do with requests that find no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    Reject,
    Queue { queues: u32, hand: u32, length: u32 },
}

/// Why a request is told to come back; metrics use the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
    Cancelled,
}

impl Refusal {
    pub const ALL: [Refusal; 4] = [Refusal::ConcurrencyLimit, Refusal::QueueFull, Refusal::TimeOut, Refusal::Cancelled];
    pub fn word(self) -> &'static str {
        match self {
            Refusal::ConcurrencyLimit => "concurrency-limit",
            Refusal::QueueFull => "queue-full",
            Refusal::TimeOut => "time-out",
            Refusal::Cancelled => "cancelled",
        }
    }
}

/// What becomes of a request that arrives.
#[derive(Debug, PartialEq)]
pub enum Arrival {
    Run(Running),
    /// In this queue; [`Queues::wait`] is to be told.
    Wait(usize),
    Refuse(Refusal),
}

/// A request that holds seats, to be given back to [`Queues::finish`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    queue: usize,
    seats: u32,
    since: Time,
}

/// A request that waits. `who` is whatever the executor needs to start it.
#[derive(Debug)]
pub struct Waiting<W> {
    pub ticket: u64,
    pub seats: u32,
    pub since: Time,
    pub who: W,
}

/// One queue.
#[derive(Debug)]
pub struct Queue<W> {
    pub waiting: VecDeque<Waiting<W>>,
    pub executing: u32,
    pub seats: u32,
    /// Virtual time at which its next request would begin.
    pub next: f64,
}

impl<W> Queue<W> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.executing == 0
    }
    /// Seats that are waited for.
    pub fn wanted(&self) -> u32 {
        self.waiting.iter().map(|waiting| waiting.seats).sum()
    }
}

/// The queues of a level.
#[derive(Debug)]
pub struct Queues<W> {
    limit: Limit,
    seats: u32,
    /// At least as many as are dealt; more while those that were taken away run empty.
    queues: Vec<Queue<W>>,
    last: usize,
    virtual_now: f64,
    now: Time,
    in_use: u32,
    executing: u32,
    waiting: u32,
    wanted: u32,
    active: u32,
    tickets: u64,
    demand: Integral,
}

/// Requests that begin now.
pub type Started<W> = Vec<(W, Running)>;

impl<W> Queues<W> {
    pub fn new(limit: Limit, seats: u32) -> Self {
        let mut queues = Queues {
            limit,
            seats,
            queues: Vec::new(),
            last: 0,
            virtual_now: 0.0,
            now: 0.0,
            in_use: 0,
            executing: 0,
            waiting: 0,
            wanted: 0,
            active: 0,
            tickets: 0,
            demand: Integral::default(),
        };
        queues.resize();
        queues
    }
    /// Another limit: whoever fits now begins. Nobody who runs or waits is turned away.
    pub fn set(&mut self, now: Time, limit: Limit, seats: u32) -> Started<W> {
        self.advance(now);
        (self.limit, self.seats) = (limit, seats);
        self.resize();
        self.dispatch()
    }
    /// A request of the flow with this hash.
    pub fn arrive(&mut self, now: Time, hash: u64, seats: u32) -> Arrival {
        self.advance(now);
        let (queue, length) = match self.limit {
            Limit::Reject => (0, 0),
            Limit::Queue { queues, hand, length } => (self.shortest(hash, queues, hand), length),
        };
        if self.waiting == 0 && self.fits(seats) {
            self.enter(queue);
            let running = self.run(queue, seats);
            self.note();
            return Arrival::Run(running);
        }
        if self.limit == Limit::Reject {
            return Arrival::Refuse(Refusal::ConcurrencyLimit);
        }
        if self.queues[queue].waiting.len() >= length as usize {
            return Arrival::Refuse(Refusal::QueueFull);
        }
        Arrival::Wait(queue)
    }
    /// Lets a request wait where [`Arrival::Wait`] said; it may begin at once, where those before it are wider. Answers
    /// with its ticket too.
    pub fn wait(&mut self, queue: usize, seats: u32, who: W) -> (u64, Started<W>) {
        self.enter(queue);
        self.tickets += 1;
        let (ticket, since) = (self.tickets, self.now);
        let own = &mut self.queues[queue];
        if own.waiting.is_empty() {
            // A queue saves up no credit while nobody waits in it.
            own.next = own.next.max(self.virtual_now);
        }
        own.waiting.push_back(Waiting { ticket, seats, since, who });
        self.waiting += 1;
        self.wanted += seats;
        (ticket, self.dispatch())
    }
    /// Takes out who waits no longer; `None` where it has begun already.
    pub fn give_up(&mut self, now: Time, queue: usize, ticket: u64) -> Option<Started<W>> {
        self.advance(now);
        let own = &mut self.queues[queue];
        let at = own.waiting.iter().position(|waiting| waiting.ticket == ticket)?;
        let gone = own.waiting.remove(at)?;
        self.waiting -= 1;
        self.wanted -= gone.seats;
        self.leave(queue);
        // It may have been the wide one that everybody waited behind.
        Some(self.dispatch())
    }
    /// A request is done: its seats go to whoever is next.
    pub fn finish(&mut self, now: Time, running: Running) -> Started<W> {
        self.advance(now);
        let own = &mut self.queues[running.queue];
        own.executing -= 1;
        own.seats -= running.seats;
        // What it really took, instead of what was thought.
        own.next -= f64::from(running.seats) * (ESTIMATE - (now - running.since));
        self.executing -= 1;
        self.in_use -= running.seats;
        self.leave(running.queue);
        if self.waiting == 0 {
            self.note();
            return Vec::new();
        }
        self.dispatch()
    }
    /// What was asked for since this was last called.
    pub fn demand(&mut self, now: Time) -> Demand {
        self.advance(now);
        self.demand.take(now)
    }

    pub fn seats(&self) -> u32 {
        self.seats
    }
    #[cfg(test)]
    pub fn in_use(&self) -> u32 {
        self.in_use
    }
    pub fn executing(&self) -> u32 {
        self.executing
    }
    pub fn waiting(&self) -> u32 {
        self.waiting
    }
    pub fn queues(&self) -> &[Queue<W>] {
        match self.limit {
            Limit::Reject => &[],
            Limit::Queue { .. } => &self.queues,
        }
    }

    /// A request that is wider than the limit runs alone.
    fn fits(&self, seats: u32) -> bool {
        self.in_use + seats <= self.seats || (seats > self.seats && self.executing == 0)
    }
    /// Virtual time goes as fast as each active queue is served.
    fn advance(&mut self, now: Time) {
        let passed = (now - self.now).max(0.0);
        self.now = self.now.max(now);
        if self.active > 0 {
            let served = (self.in_use + self.wanted).min(self.seats);
            self.virtual_now += passed * f64::from(served) / f64::from(self.active);
        }
    }
    fn dispatch(&mut self) -> Started<W> {
        let mut started = Vec::new();
        while self.waiting > 0
            && let Some(queue) = self.next()
        {
            let fits = self.queues[queue].waiting.front().is_some_and(|first| self.fits(first.seats));
            let first = if fits { self.queues[queue].waiting.pop_front() } else { None };
            // Who is next and wide is waited for: narrow ones would keep it out for ever.
            let Some(first) = first else { break };
            self.last = queue;
            self.waiting -= 1;
            self.wanted -= first.seats;
            let running = self.run(queue, first.seats);
            started.push((first.who, running));
        }
        self.note();
        started
    }
    /// The queue whose first request would end first; among equals the next in the round.
    fn next(&self) -> Option<usize> {
        let count = self.queues.len();
        let round = (1..=count).map(|step| (self.last + step) % count);
        let end = |queue: usize| {
            let own = &self.queues[queue];
            own.waiting.front().map(|first| (own.next + ESTIMATE * f64::from(first.seats), queue))
        };
        round.filter_map(end).min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, queue)| queue)
    }
    fn run(&mut self, queue: usize, seats: u32) -> Running {
        let own = &mut self.queues[queue];
        own.executing += 1;
        own.seats += seats;
        own.next += ESTIMATE * f64::from(seats);
        self.executing += 1;
        self.in_use += seats;
        Running { queue, seats, since: self.now }
    }
    fn enter(&mut self, queue: usize) {
        let own = &mut self.queues[queue];
        if own.is_idle() {
            own.next = self.virtual_now;
            self.active += 1;
        }
    }
    fn leave(&mut self, queue: usize) {
        if self.queues[queue].is_idle() {
            self.active -= 1;
        }
    }
    /// The queue of the flow's hand in which least is asked for.
    fn shortest(&self, hash: u64, queues: u32, hand: u32) -> usize {
        let mut best = (u32::MAX, 0);
        deal(hash, queues, hand, |card| {
            let own = &self.queues[card];
            let asked = own.seats + own.wanted();
            if asked < best.0 {
                best = (asked, card);
            }
        });
        best.1
    }
    fn resize(&mut self) {
        let wanted = match self.limit {
            Limit::Reject => 1,
            Limit::Queue { queues, .. } => queues.max(1) as usize,
        };
        while self.queues.len() > wanted && self.queues.last().is_some_and(Queue::is_idle) {
            self.queues.pop();
        }
        while self.queues.len() < wanted {
            self.queues.push(Queue { waiting: VecDeque::new(), executing: 0, seats: 0, next: 0.0 });
        }
        self.last = self.last.min(self.queues.len() - 1);
    }
    fn note(&mut self) {
        self.demand.set(self.now, self.in_use + self.wanted);
    }
}

/// Deals different cards of a deck by a hash, without making the deck.
fn deal(mut hash: u64, deck: u32, hand: u32, mut card: impl FnMut(usize)) {
    /// Source: upstream's validation allows no more.
    const MOST: usize = 16;
    let mut dealt = [0u32; MOST];
    let deck = deck.max(1);
    for i in 0..hand.clamp(1, deck.min(16)) {
        let left = u64::from(deck - i);
        let mut drawn = u32::try_from(hash % left).unwrap_or(0);
        hash /= left;
        // The n-th of those that are still in the deck: each lower one that has gone moves it up.
        let place = dealt[..i as usize].iter().position(|gone| {
            let stays = drawn < *gone;
            drawn += u32::from(!stays);
            stays
        });
        let place = place.unwrap_or(i as usize);
        dealt.copy_within(place..i as usize, place + 1);
        dealt[place] = drawn;
        card(drawn as usize);
    }
}

/// A quantity over time: its average, deviation and height.
#[derive(Debug, Default)]
struct Integral {
    value: u32,
    high: u32,
    since: Time,
    began: Time,
    sum: f64,
    squares: f64,
}

impl Integral {
    fn set(&mut self, now: Time, value: u32) {
        let (passed, before) = ((now - self.since).max(0.0), f64::from(self.value));
        self.sum += before * passed;
        self.squares += before * before * passed;
        self.since = now;
        self.value = value;
        self.high = self.high.max(value);
    }
    fn take(&mut self, now: Time) -> Demand {
        self.set(now, self.value);
        let length = now - self.began;
        let (average, squares) = match length > 0.0 {
            true => (self.sum / length, self.squares / length),
            false => (f64::from(self.value), f64::from(self.value) * f64::from(self.value)),
        };
        let demand = Demand { average, deviation: (squares - average * average).max(0.0).sqrt(), high: self.high };
        *self = Integral { value: self.value, high: self.value, since: now, began: now, ..Integral::default() };
        demand
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: Limit = Limit::Queue { queues: 8, hand: 2, length: 3 };

    /// A level, and everything that runs in it.
    struct Run {
        queues: Queues<&'static str>,
        running: Vec<(&'static str, Running)>,
        now: Time,
    }

    impl Run {
        fn new(limit: Limit, seats: u32) -> Self {
            Run { queues: Queues::new(limit, seats), running: Vec::new(), now: 0.0 }
        }
        fn arrive(&mut self, who: &'static str, hash: u64, seats: u32) -> String {
            match self.queues.arrive(self.now, hash, seats) {
                Arrival::Run(running) => self.running.push((who, running)),
                Arrival::Refuse(why) => return why.word().into(),
                Arrival::Wait(queue) => {
                    let (_, started) = self.queues.wait(queue, seats, who);
                    self.running.extend(started);
                }
            }
            if self.running.iter().any(|(name, _)| *name == who) { "runs".into() } else { "waits".into() }
        }
        /// The first of that name is done after a second; who begins then.
        fn finish(&mut self, who: &str) -> Vec<&'static str> {
            self.now += 1.0;
            let at = self.running.iter().position(|(name, _)| *name == who).expect("it runs");
            let (_, running) = self.running.remove(at);
            let started = self.queues.finish(self.now, running);
            let names = started.iter().map(|(name, _)| *name).collect();
            self.running.extend(started);
            names
        }
    }

    /// Hashes whose hands of 2 from 8 have nothing in common.
    fn apart() -> (u64, u64) {
        let hand = |hash| {
            let mut cards = Vec::new();
            deal(hash, 8, 2, |card| cards.push(card));
            cards
        };
        let first = hand(0);
        let other = (1..).find(|hash| hand(*hash).iter().all(|card| !first.contains(card)));
        (0, other.expect("there are 28 hands"))
    }

    #[test]
    fn without_a_queue_one_is_told_to_come_back() {
        let mut level = Run::new(Limit::Reject, 2);
        assert_eq!(level.arrive("a", 0, 1), "runs");
        assert_eq!(level.arrive("b", 0, 2), "concurrency-limit");
        assert_eq!(level.arrive("c", 0, 1), "runs");
        assert_eq!(level.arrive("d", 0, 1), "concurrency-limit");
        level.finish("a");
        assert_eq!(level.arrive("e", 0, 1), "runs");
    }

    #[test]
    fn who_sends_much_waits_in_its_own_hand() {
        let (loud, quiet) = apart();
        let mut level = Run::new(QUEUES, 2);
        assert_eq!((level.arrive("l", loud, 1), level.arrive("l", loud, 1)), ("runs".into(), "runs".into()));
        // Two queues of three, and no more.
        let mut waiting = 0;
        while level.arrive("w", loud, 1) == "waits" {
            waiting += 1;
        }
        assert_eq!(waiting, 6);
        assert_eq!(level.arrive("w", loud, 1), "queue-full");
        // Somebody else still gets in, and is next, although all of the others came before.
        assert_eq!(level.arrive("q", quiet, 1), "waits");
        assert_eq!(level.finish("l"), ["q"]);
        assert_eq!(level.finish("l"), ["w"]);
    }

    #[test]
    fn two_who_send_much_take_turns() {
        let (one, two) = apart();
        let mut level = Run::new(Limit::Queue { queues: 8, hand: 1, length: 50 }, 1);
        assert_eq!(level.arrive("first", one, 1), "runs");
        for _ in 0..10 {
            level.arrive("one", one, 1);
        }
        for _ in 0..10 {
            level.arrive("two", two, 1);
        }
        let mut order = vec![level.finish("first")[0]];
        for _ in 0..9 {
            let running = level.running[0].0;
            order.push(level.finish(running)[0]);
        }
        assert_eq!(order.iter().filter(|who| **who == "two").count(), 5, "{order:?}");
    }

    #[test]
    fn wide_requests_take_their_seats_and_count_for_as_much() {
        let (wide, narrow) = apart();
        let mut level = Run::new(QUEUES, 4);
        assert_eq!(level.arrive("a", narrow, 1), "runs");
        assert_eq!(level.arrive("wide", wide, 4), "waits");
        assert_eq!(level.queues.in_use(), 1);
        assert_eq!(level.finish("a"), ["wide"]);
        assert_eq!(level.queues.in_use(), 4);
        // What it takes is counted four times: both narrow ones go before the next wide one.
        assert_eq!(level.arrive("wide2", wide, 4), "waits");
        assert_eq!(level.arrive("n1", narrow, 1), "waits");
        assert_eq!(level.arrive("n2", narrow, 1), "waits");
        let mut started = level.finish("wide");
        started.sort_unstable();
        assert_eq!(started, ["n1", "n2"]);
        // Wider than the level: alone.
        let mut level = Run::new(QUEUES, 2);
        assert_eq!(level.arrive("huge", 0, 5), "runs");
        assert_eq!(level.arrive("b", 0, 1), "waits");
        assert_eq!(level.finish("huge"), ["b"]);
        assert_eq!(level.arrive("huge", 0, 5), "waits");
    }

    #[test]
    fn who_goes_away_is_forgotten() {
        let mut level = Run::new(QUEUES, 1);
        level.arrive("a", 0, 1);
        let Arrival::Wait(queue) = level.queues.arrive(0.0, 0, 1) else { panic!("there is no seat") };
        let (ticket, started) = level.queues.wait(queue, 1, "b");
        assert!(started.is_empty());
        assert!(level.queues.give_up(0.0, queue, ticket).is_some());
        assert!(level.queues.give_up(0.0, queue, ticket).is_none());
        assert!(level.finish("a").is_empty());
        assert_eq!((level.queues.waiting(), level.queues.in_use(), level.queues.active), (0, 0, 0));
        assert_eq!(level.arrive("c", 0, 1), "runs");
    }

    #[test]
    fn a_limit_may_change_at_any_time() {
        let mut level = Run::new(QUEUES, 1);
        for who in ["a", "b", "c"] {
            level.arrive(who, 0, 1);
        }
        let started = level.queues.set(0.0, QUEUES, 2);
        assert_eq!(started.iter().map(|(who, _)| *who).collect::<Vec<_>>(), ["b"]);
        level.running.extend(started);
        // Fewer queues: those that are in use stay until they are empty.
        assert!(level.queues.set(0.0, Limit::Queue { queues: 1, hand: 1, length: 1 }, 1).is_empty());
        assert!(level.finish("a").is_empty());
        assert_eq!(level.finish("b"), ["c"]);
        level.finish("c");
        level.queues.set(2.0, Limit::Reject, 1);
        assert_eq!(level.queues.queues.len(), 1);
    }

    #[test]
    fn hands_hold_different_cards() {
        for hash in [0, 1, 63, 64, 12345, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let mut cards = Vec::new();
            deal(hash, 64, 8, |card| cards.push(card));
            assert!(cards.iter().all(|card| *card < 64), "{cards:?}");
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 8, "{hash}");
        }
        let mut all = Vec::new();
        deal(7, 4, 4, |card| all.push(card));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3]);
    }

    #[test]
    fn demand_is_what_runs_and_what_waits() {
        let mut level = Run::new(QUEUES, 1);
        level.arrive("a", 0, 1);
        level.arrive("b", 0, 2);
        let demand = level.queues.demand(2.0);
        assert_eq!((demand.average, demand.deviation, demand.high), (3.0, 0.0, 3));
        assert_eq!(level.queues.demand(2.0).high, 3);
    }
}
