//! How many seats each priority level has: its part of the server's, and what levels lend each other.
//!
//! A level's nominal limit follows from its shares. It may lend a part of that and borrow from others; every ten seconds
//! the limits are set anew from what was asked for meanwhile, so that nobody sits idle on seats that others need, and
//! everybody gets its own back within that time. Source: KEP-1040, `computeConcurrencyAllocation`.

/// Seats of the whole server. Source: upstream's 400 reading and 200 writing requests.
pub const SERVER: u32 = 600;

/// What a level's spec says of its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    pub shares: u32,
    pub lendable_percent: u32,
    /// `None`: as much as others lend.
    pub borrowing_percent: Option<u32>,
    pub exempt: bool,
}

/// Seats: what a level is entitled to, what it keeps at least, what it may have at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    pub nominal: u32,
    pub min: u32,
    pub max: u32,
}

/// What a level was asked for in one period.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Demand {
    pub average: f64,
    pub deviation: f64,
    /// The highest.
    pub high: u32,
}

/// A demand that rises at once and falls slowly.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Smoothed(pub f64);

impl Smoothed {
    pub fn update(&mut self, demand: Demand) {
        const COEFFICIENT: f64 = 0.977;
        let envelope = demand.average + demand.deviation;
        self.0 = envelope.max(COEFFICIENT * self.0 + (1.0 - COEFFICIENT) * envelope);
    }
}

/// The bounds of levels that share a server.
pub fn bounds(server: u32, levels: &[Share]) -> Vec<Bounds> {
    let sum: u64 = levels.iter().map(|level| u64::from(level.shares)).sum::<u64>().max(1);
    let of = |level: &Share| {
        let nominal = narrow((u64::from(server) * u64::from(level.shares)).div_ceil(sum));
        let lendable = percent(nominal, level.lendable_percent.min(100));
        let borrowing = level.borrowing_percent.map_or(server, |percents| percent(nominal, percents));
        Bounds { nominal, min: nominal - lendable, max: nominal.saturating_add(borrowing) }
    };
    levels.iter().map(of).collect()
}

/// How many seats a request of a level may be estimated at; at most `ceiling`.
pub fn max_width(nominal: u32, hand: u32, ceiling: u32) -> u32 {
    (nominal * 15).div_ceil(100).min(nominal / hand.max(1)).max(1).min(ceiling)
}

/// A level as the adjustment sees it.
#[derive(Debug, Clone, Copy)]
pub struct Level {
    pub bounds: Bounds,
    pub exempt: bool,
    /// The highest demand of the period.
    pub high: u32,
    pub smoothed: f64,
    pub current: u32,
}

impl Level {
    /// What it keeps in any case: what it has just needed, as far as that is its own.
    fn floor(&self) -> u32 {
        match self.exempt {
            true => self.bounds.min.max(self.high),
            false => self.bounds.min.max(self.bounds.nominal.min(self.high)),
        }
    }
}

/// The limits of the next period.
pub fn adjust(levels: &[Level]) -> Vec<u32> {
    let limited = || levels.iter().filter(|level| !level.exempt);
    let total = sum(levels.iter().map(|level| level.bounds.nominal));
    let exempt = sum(levels.iter().filter(|level| level.exempt).map(Level::floor));
    let (least, floor) = (sum(limited().map(|level| level.bounds.min)), sum(limited().map(Level::floor)));
    let remaining = (total - exempt).max(0.0);
    let proportion = (remaining > floor).then(|| proportion(total, limited())).flatten();
    levels
        .iter()
        .map(|level| {
            let (own, min) = (level.floor(), level.bounds.min);
            if level.exempt {
                own
            } else if remaining <= least {
                min
            } else if remaining <= floor {
                let part = (remaining - least) / (floor - least);
                min + whole((part * f64::from(own - min)).round())
            } else {
                proportion.map_or(level.current, |proportion| whole(portion(level, proportion).round()))
            }
        })
        .collect()
}

/// What a level gets at a proportion of its target.
fn portion(level: &Level, proportion: f64) -> f64 {
    let (low, high) = (f64::from(level.floor()), f64::from(level.bounds.max));
    (target(level) * proportion).clamp(low, high.max(low))
}

/// Never zero, so that a level without demand still takes part.
fn target(level: &Level) -> f64 {
    f64::from(level.floor()).max(level.smoothed).max(0.001)
}

/// The proportion of everybody's target at which all seats are given out. Found by halving: what is given out grows
/// with it. `None` where the bounds leave none.
fn proportion<'a>(total: f64, levels: impl Iterator<Item = &'a Level> + Clone) -> Option<f64> {
    let given = |proportion: f64| levels.clone().map(|level| portion(level, proportion)).sum::<f64>();
    let (mut low, mut high) = (0.0, f64::from(SERVER) * 1e6);
    if given(low) > total || given(high) < total {
        return None;
    }
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if given(middle) < total { low = middle } else { high = middle }
    }
    Some(high)
}

fn sum(values: impl Iterator<Item = u32>) -> f64 {
    values.map(f64::from).sum()
}

fn percent(of: u32, percents: u32) -> u32 {
    narrow((u64::from(of) * u64::from(percents) + 50) / 100)
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A number of seats: not negative, and small.
fn whole(value: f64) -> u32 {
    // The cast saturates.
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn share(shares: u32, lendable_percent: u32) -> Share {
        Share { shares, lendable_percent, borrowing_percent: None, exempt: false }
    }

    #[test]
    fn the_suggested_levels_share_the_server() {
        // exempt, catch-all, system, node-high, leader-election, workload-high, workload-low, global-default
        let levels = [(0, 0), (5, 0), (30, 33), (40, 25), (10, 0), (40, 50), (100, 90), (20, 50)];
        let got = bounds(SERVER, &levels.map(|(shares, lendable)| share(shares, lendable)));
        let nominal: Vec<u32> = got.iter().map(|b| b.nominal).collect();
        // Upstream's documentation has these numbers.
        assert_eq!(nominal, [0, 13, 74, 98, 25, 98, 245, 49]);
        let min: Vec<u32> = got.iter().map(|b| b.min).collect();
        assert_eq!(min, [0, 13, 50, 73, 25, 49, 24, 24]);
        let limited = Share { borrowing_percent: Some(10), ..share(1, 0) };
        assert_eq!(bounds(100, &[limited])[0], Bounds { nominal: 100, min: 100, max: 110 });
    }

    #[test]
    fn seats_go_where_they_are_asked_for() {
        let level = |nominal, min, max, high: u32, exempt| Level {
            bounds: Bounds { nominal, min, max },
            exempt,
            high,
            smoothed: f64::from(high),
            current: nominal,
        };
        let check = |levels: &[Level], want: &[u32]| assert_eq!(adjust(levels), want, "{levels:?}");
        // Nobody asks: in proportion of what each keeps.
        check(&[level(100, 50, 400, 0, false), level(100, 50, 400, 0, false)], &[100, 100]);
        // One asks for much: it gets what the other lends, and not more.
        check(&[level(100, 50, 400, 1000, false), level(100, 50, 400, 0, false)], &[150, 50]);
        check(&[level(100, 50, 120, 1000, false), level(100, 50, 400, 0, false)], &[120, 80]);
        // Who lent has its own back as soon as it asks.
        check(&[level(100, 50, 400, 1000, false), level(100, 50, 400, 100, false)], &[100, 100]);
        // What exempt requests take is missing to the others, down to what they keep.
        check(
            &[level(0, 0, 0, 100, true), level(100, 50, 400, 80, false), level(100, 50, 400, 80, false)],
            &[100, 50, 50],
        );
        check(
            &[level(0, 0, 0, 500, true), level(100, 50, 400, 80, false), level(100, 50, 400, 80, false)],
            &[500, 50, 50],
        );
        // Bounds that leave nothing to find keep what is.
        check(&[level(100, 50, 100, 0, false)], &[100]);
    }

    #[test]
    fn a_demand_falls_slowly() {
        let mut smoothed = Smoothed::default();
        smoothed.update(Demand { average: 10.0, deviation: 2.0, high: 20 });
        assert_eq!(smoothed.0, 12.0);
        smoothed.update(Demand::default());
        assert!((11.7..11.8).contains(&smoothed.0), "{smoothed:?}");
    }

    #[test]
    fn a_wide_request_leaves_room() {
        for (nominal, hand, want) in [(245, 6, 10), (49, 6, 8), (13, 1, 2), (1, 6, 1), (0, 6, 1)] {
            assert_eq!(max_width(nominal, hand, 10), want, "{nominal}");
        }
    }
}
