//! How long a request may take: what `?timeout=` asks for, at most the server's own limit.
//!
//! The text is a Go duration, and what is wrong with one is told in Go's words: clients match on them.

use crate::query::Query;
use base::{Result, Status, status::quote};
use std::time::Duration;

/// A request that is not long-running is answered by then. Source: upstream's `--request-timeout`.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The deadline of a request that is not long-running. Nothing, zero and what is longer than the server waits count as the
/// server's own; 400 for what is no duration.
pub fn of(query: &Query<'_>) -> Result<Duration> {
    let asked = query.get("timeout").filter(|text| !text.is_empty());
    let wrong = |why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}"));
    let asked = asked.map(go_duration).transpose().map_err(wrong)?.flatten();
    Ok(asked.filter(|asked| !asked.is_zero()).map_or(DEADLINE, |asked| asked.min(DEADLINE)))
}

/// `None` is a negative one.
fn go_duration(text: &str) -> Result<Option<Duration>, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(Some(Duration::ZERO));
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(end);
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "" => return Err(format!("time: missing unit in duration {}", quote(text))),
                unit => return Err(format!("time: unknown unit {} in duration {}", quote(unit), quote(text))),
            };
        rest = behind;
    }
    if negative {
        return Ok(None);
    }
    Duration::try_from_secs_f64(seconds).map(Some).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_a_go_duration() {
        let seconds = |query: &str| of(&Query::parse(Some(query))).map(|d| d.as_secs_f64());
        for (query, want) in [
            ("", 60.0),
            ("timeout=", 60.0),
            ("timeout=0s", 60.0),
            ("timeout=0", 60.0),
            ("timeout=-1s", 60.0),
            ("timeout=3m", 60.0),
            ("timeout=1m0s", 60.0),
            ("timeout=34s", 34.0),
            ("timeout=1.5s", 1.5),
            ("timeout=1s500ms", 1.5),
        ] {
            assert_eq!(seconds(query).expect(query), want, "{query}");
        }
        for (query, why) in [
            ("timeout=invalid", r#"time: invalid duration "invalid""#),
            ("timeout=30", r#"time: missing unit in duration "30""#),
            ("timeout=1h2", r#"time: missing unit in duration "1h2""#),
            ("timeout=1d", r#"time: unknown unit "d" in duration "1d""#),
            ("timeout=-", r#"time: invalid duration "-""#),
            ("timeout=1e99h", r#"time: unknown unit "e" in duration "1e99h""#),
        ] {
            let status = seconds(query).expect_err(query);
            assert_eq!(status.code(), 400, "{query}");
            assert_eq!(status.message(), format!("invalid timeout specified in the request URL - {why}"));
        }
    }
}
