//! Cron expressions as CronJobs write them: five fields, names of months and days, steps, `@daily` and `@every 1h`.
//!
//! A schedule is five sets of bits, so that asking whether a minute belongs to it is five tests. Messages are those of
//! the Go library `robfig/cron`, because the API server answers them to clients.

/// When something is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// At the minutes whose fields are all in these sets.
    At(Fields),
    /// Again and again after that many seconds, at least one.
    Every(i64),
}

/// Sets of numbers: bit `n` is the number `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    pub minutes: u64,
    pub hours: u64,
    pub days: u64,
    pub months: u64,
    /// 0 is Sunday.
    pub weekdays: u64,
    /// False where the day of the month was written `*` or `?`: then the day of the week alone counts, and the other way
    /// round. Where both are true, either is enough.
    pub days_chosen: bool,
    pub weekdays_chosen: bool,
}

struct Bounds {
    low: u32,
    high: u32,
    /// The first one stands for `low`.
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { low: 0, high: 59, names: &[] };
const HOURS: Bounds = Bounds { low: 0, high: 23, names: &[] };
const DAYS: Bounds = Bounds { low: 1, high: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

impl Schedule {
    /// Parses an expression without a time zone in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("empty spec string".into());
        }
        let fields = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            _ if text.starts_with('@') => return every(text),
            fields => fields,
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            let shown = fields.join(" ");
            return Err(format!("expected exactly 5 fields, found {}: [{shown}]", fields.len()));
        };
        let (minutes, _) = set(minutes, &MINUTES)?;
        let (hours, _) = set(hours, &HOURS)?;
        let (days, days_chosen) = set(days, &DAYS)?;
        let (months, _) = set(months, &MONTHS)?;
        let (weekdays, weekdays_chosen) = set(weekdays, &WEEKDAYS)?;
        Ok(Schedule::At(Fields { minutes, hours, days, months, weekdays, days_chosen, weekdays_chosen }))
    }
}

/// `@every 1h30m`
fn every(text: &str) -> Result<Schedule, String> {
    let Some(duration) = text.strip_prefix("@every ") else {
        return Err(format!("unrecognized descriptor: {text}"));
    };
    match duration_seconds(duration) {
        Some(seconds) => Ok(Schedule::Every((seconds as i64).max(1))),
        None => {
            Err(format!("failed to parse duration {text}: time: invalid duration {}", crate::status::quote(duration)))
        }
    }
}

/// A duration as Go writes it: numbers with units, largest first or not.
fn duration_seconds(text: &str) -> Option<f64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0.0);
    }
    let mut total = 0.0;
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit = &rest[digits..];
        let end = unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len());
        total += number
            * match &unit[..end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &unit[end..];
        parts += 1;
    }
    (parts > 0).then_some(sign * total)
}

/// The numbers of a field, and whether it chooses (a star chooses nothing).
fn set(field: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let (mut bits, mut chosen) = (0, true);
    for range in field.split(',').filter(|r| !r.is_empty()) {
        let (more, star) = one_range(range, bounds)?;
        bits |= more;
        chosen &= !star;
    }
    Ok((bits, chosen))
}

/// `3`, `1-5`, `*/15`, `mon-fri/2`.
fn one_range(text: &str, bounds: &Bounds) -> Result<(u64, bool), String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = parts[0].split('-').collect();
    let mut star = false;
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => {
            star = true;
            (bounds.low, bounds.high)
        }
        [one] => {
            let number = number_or_name(one, bounds)?;
            (number, number)
        }
        [from, to] => (number_or_name(from, bounds)?, number_or_name(to, bounds)?),
        _ => return Err(format!("too many hyphens: {text}")),
    };
    let step = match parts.as_slice() {
        [_] => 1,
        [_, step] => {
            let step = number(step)?;
            if ends.len() == 1 {
                end = bounds.high;
            }
            star &= step <= 1;
            step
        }
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < bounds.low {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", bounds.low));
    }
    if end > bounds.high {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", bounds.high));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    let bits = (start..=end).step_by(step as usize).fold(0, |bits, n| bits | 1 << n);
    Ok((bits, star))
}

fn number_or_name(text: &str, bounds: &Bounds) -> Result<u32, String> {
    let lower = text.to_lowercase();
    match bounds.names.iter().position(|name| *name == lower) {
        Some(position) => Ok(bounds.low + position as u32),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    match text.parse::<i64>() {
        Ok(n) if n < 0 => Err(format!("negative number ({n}) not allowed: {text}")),
        Ok(n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
        Err(_) => {
            let quoted = crate::status::quote(text);
            Err(format!("failed to parse int from {text}: strconv.Atoi: parsing {quoted}: invalid syntax"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_schedule() {
        for (text, want) in [
            ("", "empty spec string"),
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("x * * * *", "failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"),
            ("@never", "unrecognized descriptor: @never"),
            ("@every x", "failed to parse duration @every x: time: invalid duration \"x\""),
        ] {
            assert_eq!(Schedule::parse(text), Err(want.into()), "{text}");
        }
    }

    #[test]
    fn fields_are_sets() {
        let Ok(Schedule::At(fields)) = Schedule::parse("*/15 9-17/4 * JAN,mar ?") else { panic!("no schedule") };
        assert_eq!(fields.minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(fields.hours, 1 << 9 | 1 << 13 | 1 << 17);
        assert_eq!(fields.months, 1 << 1 | 1 << 3);
        assert!(!fields.days_chosen && !fields.weekdays_chosen);
        let Ok(Schedule::At(fields)) = Schedule::parse("0 0 13 * fri") else { panic!("no schedule") };
        assert_eq!((fields.days, fields.weekdays), (1 << 13, 1 << 5));
        assert!(fields.days_chosen && fields.weekdays_chosen);
        assert_eq!(Schedule::parse("@every 1h30m"), Ok(Schedule::Every(5400)));
        assert_eq!(Schedule::parse("@daily"), Schedule::parse("0 0 * * *"));
    }
}
