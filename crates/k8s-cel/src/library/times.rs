//! Timestamps and durations: reading them, and their parts.
//!
//! A timestamp is within the years 1 to 9999. Its parts are those of UTC unless a zone is given, by name or by offset.
//! Source: `google.protobuf.Timestamp`, Go's `time.ParseDuration`.

use super::Row;
use crate::val::{EvalError, Fallible, Val};
use jiff::{
    SignedDuration, Timestamp,
    civil::{DateTime, date},
    tz::TimeZone,
};
use std::{cmp::Ordering, fmt};

pub(super) const ROWS: &[Row] = &[
    ("getFullYear", "timestamp_to_year", "timestamp.() int", |a| part(a, |t| t.year().into())),
    ("getFullYear", "timestamp_to_year_with_tz", "timestamp.(string) int", |a| part(a, |t| t.year().into())),
    ("getMonth", "timestamp_to_month", "timestamp.() int", |a| part(a, |t| i64::from(t.month()) - 1)),
    ("getMonth", "timestamp_to_month_with_tz", "timestamp.(string) int", |a| part(a, |t| i64::from(t.month()) - 1)),
    ("getDayOfYear", "timestamp_to_day_of_year", "timestamp.() int", |a| part(a, |t| i64::from(t.day_of_year()) - 1)),
    ("getDayOfYear", "timestamp_to_day_of_year_with_tz", "timestamp.(string) int", |a| {
        part(a, |t| i64::from(t.day_of_year()) - 1)
    }),
    ("getDayOfMonth", "timestamp_to_day_of_month", "timestamp.() int", |a| part(a, |t| i64::from(t.day()) - 1)),
    ("getDayOfMonth", "timestamp_to_day_of_month_with_tz", "timestamp.(string) int", |a| {
        part(a, |t| i64::from(t.day()) - 1)
    }),
    ("getDate", "timestamp_to_day_of_month_1_based", "timestamp.() int", |a| part(a, |t| t.day().into())),
    ("getDate", "timestamp_to_day_of_month_1_based_with_tz", "timestamp.(string) int", |a| part(a, |t| t.day().into())),
    ("getDayOfWeek", "timestamp_to_day_of_week", "timestamp.() int", |a| {
        part(a, |t| t.weekday().to_sunday_zero_offset().into())
    }),
    ("getDayOfWeek", "timestamp_to_day_of_week_with_tz", "timestamp.(string) int", |a| {
        part(a, |t| t.weekday().to_sunday_zero_offset().into())
    }),
    ("getHours", "timestamp_to_hours", "timestamp.() int", |a| part(a, |t| t.hour().into())),
    ("getHours", "timestamp_to_hours_with_tz", "timestamp.(string) int", |a| part(a, |t| t.hour().into())),
    ("getHours", "duration_to_hours", "duration.() int", |a| span(a, 3_600_000_000_000)),
    ("getMinutes", "timestamp_to_minutes", "timestamp.() int", |a| part(a, |t| t.minute().into())),
    ("getMinutes", "timestamp_to_minutes_with_tz", "timestamp.(string) int", |a| part(a, |t| t.minute().into())),
    ("getMinutes", "duration_to_minutes", "duration.() int", |a| span(a, 60_000_000_000)),
    ("getSeconds", "timestamp_to_seconds", "timestamp.() int", |a| part(a, |t| t.second().into())),
    ("getSeconds", "timestamp_to_seconds_tz", "timestamp.(string) int", |a| part(a, |t| t.second().into())),
    ("getSeconds", "duration_to_seconds", "duration.() int", |a| span(a, 1_000_000_000)),
    ("getMilliseconds", "timestamp_to_milliseconds", "timestamp.() int", |a| part(a, |t| t.millisecond().into())),
    ("getMilliseconds", "timestamp_to_milliseconds_with_tz", "timestamp.(string) int", |a| {
        part(a, |t| t.millisecond().into())
    }),
    ("getMilliseconds", "duration_to_milliseconds", "duration.() int", |a| span(a, 1_000_000)),
];

/// A point in time within the years 1 to 9999. (jiff's own timestamp ends a day early, so that any zone's civil time fits.)
/// It remembers the offset that it was written with, for its text only.
#[derive(Debug, Clone, Copy)]
pub struct Instant {
    seconds: i64,
    nanos: u32,
    /// Minutes off UTC.
    offset: i16,
}

/// The first and the last second.
const SECONDS: (i64, i64) = (-62_135_596_800, 253_402_300_799);
const NANOS: i128 = 1_000_000_000;

impl Instant {
    /// `None` outside of the years that count.
    pub fn from_nanos(nanos: i128) -> Option<Instant> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        let within = (SECONDS.0..=SECONDS.1).contains(&seconds);
        within.then_some(Instant { seconds, nanos: nanos.rem_euclid(NANOS) as u32, offset: 0 })
    }
    pub fn from_seconds(seconds: i64) -> Option<Instant> {
        Instant::from_nanos(i128::from(seconds) * NANOS)
    }
    /// The first moment of the year 1, which Go takes for no time at all.
    pub fn is_zero(self) -> bool {
        self.seconds == SECONDS.0 && self.nanos == 0
    }
    pub fn as_seconds(self) -> i64 {
        self.seconds
    }
    pub fn as_nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }
    /// What a clock shows that is some seconds off UTC.
    fn civil(self, offset: i64) -> Option<DateTime> {
        let since = SignedDuration::new(self.seconds + offset, self.nanos as i32);
        date(1970, 1, 1).at(0, 0, 0, 0).checked_add(since).ok()
    }
}

impl fmt::Display for Instant {
    /// `2026-01-02T03:04:05.5Z`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(civil) = self.civil(i64::from(self.offset) * 60) else { return f.write_str("?") };
        match self.offset {
            0 => write!(f, "{civil}Z"),
            offset => {
                let sign = if offset < 0 { '-' } else { '+' };
                write!(f, "{civil}{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
            }
        }
    }
}

impl PartialEq for Instant {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Instant {}
impl PartialOrd for Instant {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Instant {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.seconds, self.nanos).cmp(&(other.seconds, other.nanos))
    }
}

/// RFC 3339 with an offset, whatever the number of digits of the fraction.
pub(crate) fn parse_time(text: &str) -> Option<Instant> {
    let (civil, offset) = match text.strip_suffix(['Z', 'z']) {
        Some(civil) => (civil, 0),
        None => {
            let (civil, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
            (civil, parse_offset(offset)?)
        }
    };
    let bytes = civil.as_bytes();
    let punctuation = [(4, "-"), (7, "-"), (10, "Tt"), (13, ":"), (16, ":")];
    let shaped = bytes.len() >= 19
        && punctuation.iter().all(|(at, any)| any.as_bytes().contains(&bytes[*at]))
        && bytes[..19].iter().filter(|b| b.is_ascii_digit()).count() == 14
        && (bytes.len() == 19 || bytes[19] == b'.' && bytes.len() > 20 && bytes[20..].iter().all(u8::is_ascii_digit))
        && &bytes[17..19] != b"60";
    let civil: DateTime = shaped.then(|| civil[..civil.len().min(29)].parse().ok()).flatten()?;
    let since = civil.duration_since(date(1970, 1, 1).at(0, 0, 0, 0));
    let instant = Instant::from_nanos(since.as_nanos() - i128::from(offset) * NANOS)?;
    Some(Instant { offset: (offset / 60) as i16, ..instant })
}

/// `+05:30` in seconds.
fn parse_offset(text: &str) -> Option<i64> {
    let negative = match text.as_bytes().first()? {
        b'-' => true,
        b'+' => false,
        _ => return None,
    };
    let (hours, minutes) = text[1..].split_once(':')?;
    let two = |digits: &str| -> Option<i64> {
        (digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok()).flatten()
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    let seconds = hours * 3600 + minutes * 60;
    (hours < 24 && minutes < 60).then_some(if negative { -seconds } else { seconds })
}

/// Moved by nanoseconds; `None` outside of the years that count.
pub(super) fn shift(t: Instant, nanos: i128) -> Option<Instant> {
    let moved = Instant::from_nanos(t.as_nanos().checked_add(nanos)?)?;
    Some(Instant { offset: t.offset, ..moved })
}

/// `1h30m`, `-1.5s`, `100ms`, `0`: nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(end);
        let length = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit: i128 = match &tail[..length] {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        rest = &tail[length..];
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || whole.len() > 20 || fraction.contains('.') {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(unit)?)?;
        let digits = &fraction[..fraction.len().min(15)];
        if !digits.is_empty() {
            total += digits.parse::<i128>().ok()? * unit / 10_i128.pow(digits.len() as u32);
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn part<'a>(args: &[Val<'a>], of: fn(&DateTime) -> i64) -> Fallible<Val<'a>> {
    let Some(Val::Timestamp(t)) = args.first() else { return Err(EvalError::no_overload()) };
    let offset = match args.get(1) {
        None => 0,
        Some(Val::String(zone)) => {
            offset(*t, zone).ok_or_else(|| EvalError::new(format!("unknown time zone {}", zone.as_str())))?
        }
        Some(_) => return Err(EvalError::no_overload()),
    };
    let civil = t.civil(offset).ok_or_else(|| EvalError::new("timestamp overflow"))?;
    Ok(Val::Int(of(&civil)))
}

/// How many seconds a zone is off UTC at a time: `+05:30`, `02:00`, `America/New_York`.
fn offset(t: Instant, zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "UTC" {
        return Some(0);
    }
    if zone.contains(':') {
        return parse_offset(zone).or_else(|| parse_offset(&format!("+{zone}")));
    }
    let at = Timestamp::from_second(t.as_seconds()).unwrap_or(Timestamp::MAX);
    Some(TimeZone::get(zone).ok()?.to_offset(at).seconds().into())
}

fn span<'a>(args: &[Val<'a>], unit: i64) -> Fallible<Val<'a>> {
    match args.first() {
        Some(Val::Duration(nanos)) => Ok(Val::Int(nanos / unit)),
        _ => Err(EvalError::no_overload()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, want) in [
            ("0", Some(0)),
            ("1h30m", Some(5_400_000_000_000)),
            ("-1.5s", Some(-1_500_000_000)),
            ("100ms", Some(100_000_000)),
            ("1us2ns", Some(1002)),
            ("+5m", Some(300_000_000_000)),
            (".5s", Some(500_000_000)),
            ("", None),
            ("5", None),
            ("1d", None),
            ("s", None),
            ("1.2.3s", None),
            ("9999999999h", None),
            ("-", None),
        ] {
            assert_eq!(parse_duration(text), want, "{text}");
        }
    }

    #[test]
    fn timestamps_are_within_their_years() {
        for (text, right) in [
            ("2023-02-03T23:31:20Z", true),
            ("2023-02-03T23:31:20.123456789+05:30", true),
            ("0001-01-01T00:00:00Z", true),
            ("9999-12-31T23:59:59.999999999Z", true),
            ("0000-12-31T23:59:59Z", false),
            ("2023-02-03", false),
            ("2023-02-03 23:31:20Z", false),
            ("9999-12-31T23:59:59-01:00", false),
            ("2023-13-03T23:31:20Z", false),
            ("2023-02-29T00:00:00Z", false),
            ("2023-02-03T24:00:00Z", false),
            ("2023-02-03T23:59:60Z", false),
            ("2023-02-03T23:31:20.Z", false),
            ("2023-02-03T23:31:20+0530", false),
            ("2023-02-03T23:31:20", false),
            ("", false),
        ] {
            assert_eq!(parse_time(text).is_some(), right, "{text}");
        }
    }
}
