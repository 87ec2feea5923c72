//! RFC 3339 times as the API writes them: `metav1.Time` in whole seconds, `metav1.MicroTime` with six digits.

pub use jiff::{SignedDuration, Timestamp};

/// `2026-01-02T03:04:05Z`.
pub fn seconds(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T03:04:05.678901Z`.
pub fn micros(t: Timestamp) -> String {
    t.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// Reads either form, with `Z` or a numeric offset.
pub fn parse(s: &str) -> Option<Timestamp> {
    s.parse().ok()
}

/// A time zone by its IANA name, from the database in the binary; the error is Go's text.
pub fn zone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    jiff::tz::TimeZone::get(name).map_err(|_| format!("unknown time zone {name}"))
}

/// An age as kubectl shows it: `5s`, `3m12s`, `7m`, `4h5m`, `23h`, `2d3h`, `12d`, `1y20d`.
/// Source of the thresholds: `k8s.io/apimachinery/pkg/util/duration.HumanDuration`.
pub fn age(d: SignedDuration) -> String {
    let seconds = d.as_secs();
    let with = |n: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{n}{unit}"),
        rest => format!("{n}{unit}{rest}{small}"),
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        i64::MIN..-1 => "<invalid>".into(),
        -1 => "0s".into(),
        0..120 => format!("{seconds}s"),
        120..600 => with(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => with(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => with(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => with(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_round_trip() {
        let t = parse("2026-01-02T03:04:05.678901Z").unwrap();
        assert_eq!(seconds(t), "2026-01-02T03:04:05Z");
        assert_eq!(micros(t), "2026-01-02T03:04:05.678901Z");
        assert_eq!(parse("2026-01-02T04:04:05+01:00"), parse("2026-01-02T03:04:05Z"));
    }

    #[test]
    fn zones() {
        assert!(zone("Europe/Berlin").is_ok() && zone("UTC").is_ok());
        assert_eq!(zone("Mars/Olympus").unwrap_err(), "unknown time zone Mars/Olympus");
    }

    #[test]
    fn ages() {
        for (secs, want) in [
            (5, "5s"),
            (119, "119s"),
            (192, "3m12s"),
            (660, "11m"),
            (14_700, "4h5m"),
            (183_600, "2d3h"),
            (864_000, "10d"),
        ] {
            assert_eq!(age(SignedDuration::from_secs(secs)), want);
        }
    }
}
