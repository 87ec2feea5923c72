//! Timestamps and durations: reading them, and their parts.
//!
//! A timestamp is within the years 1 to 9999. Its parts are those of UTC unless a zone is given, by name or by offset.
//! Source: `google.protobuf.Timestamp`, Go's `time.ParseDuration`.

use super::Row;
use crate::val::{EvalError, Fallible, Val};
use jiff::{
    Timestamp, Zoned,
    tz::{Offset, TimeZone},
};

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

/// The first and the last second of the years 1 to 9999.
const SECONDS: (i64, i64) = (-62_135_596_800, 253_402_300_799);

/// RFC 3339 with an offset, whatever the number of digits of the fraction.
pub(crate) fn parse_time(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't')
        && bytes[13] == b':'
        && bytes[16] == b':'
        && !text.contains('[');
    shaped.then(|| text.parse::<Timestamp>().ok()).flatten().and_then(|t| shift(t, 0))
}

/// Moved by nanoseconds; `None` outside of the years that count.
pub(super) fn shift(t: Timestamp, nanos: i128) -> Option<Timestamp> {
    let moved = Timestamp::from_nanosecond(t.as_nanosecond().checked_add(nanos)?).ok()?;
    (SECONDS.0..=SECONDS.1).contains(&moved.as_second()).then_some(moved)
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

fn part<'a>(args: &[Val<'a>], of: fn(&Zoned) -> i64) -> Fallible<Val<'a>> {
    let Some(Val::Timestamp(t)) = args.first() else { return Err(EvalError::no_overload()) };
    let zone = match args.get(1) {
        None => TimeZone::UTC,
        Some(Val::String(name)) => zone(name)?,
        Some(_) => return Err(EvalError::no_overload()),
    };
    Ok(Val::Int(of(&t.to_zoned(zone))))
}

fn zone(name: &str) -> Fallible<TimeZone> {
    if name.is_empty() || name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    let Some((hours, minutes)) = name.split_once(':') else {
        return TimeZone::get(name).map_err(|_| EvalError::new(format!("unknown time zone {name}")));
    };
    let negative = hours.starts_with('-');
    let wrong = || EvalError::new(format!("unknown time zone {name}"));
    let hours: i32 = hours.trim_start_matches(['+', '-']).parse().map_err(|_| wrong())?;
    let minutes: i32 = minutes.parse().map_err(|_| wrong())?;
    let seconds = (hours * 3600 + minutes * 60) * if negative { -1 } else { 1 };
    Offset::from_seconds(seconds).map(TimeZone::fixed).map_err(|_| wrong())
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
            ("2023-13-03T23:31:20Z", false),
            ("2023-02-03T23:31:20", false),
            ("", false),
        ] {
            assert_eq!(parse_time(text).is_some(), right, "{text}");
        }
    }
}
