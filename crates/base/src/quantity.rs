//! Resource quantities (`100m`, `1.5Gi`, `2e3`).
//!
//! A quantity is a count of billionths and the family of suffix it was written in, so it is `Copy` and compares as an
//! integer. Decided against arbitrary precision: upstream caps binary quantities at 2^63-1 and rounds everything up to
//! billionths, which 128 bits hold with room for sums over a cluster.
//! Source: `k8s.io/apimachinery/pkg/api/resource`.

use std::{cmp::Ordering, fmt, str::FromStr};

/// The family of suffixes a quantity prints with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `Ki`, `Mi`, `Gi` …
    Binary,
    /// `n`, `u`, `m`, none, `k`, `M` …
    #[default]
    Decimal,
    /// `e3`, `e6` …
    Exponent,
}

/// An amount of a resource. Equality and order are those of the amount; the format does not count.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

const NANO: i128 = 1_000_000_000;
/// Upstream's regular expression, which its message quotes.
const WRONG_FORMAT: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const WRONG_NUMBER: &str = "unable to parse numeric part of quantity";
const WRONG_SUFFIX: &str = "unable to parse quantity's suffix";

impl Quantity {
    /// Zero, in decimal form.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::Decimal };

    /// Parses any form that upstream takes; the error is upstream's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text).map(|(quantity, _)| quantity)
    }
    /// Whole units, decimal.
    pub fn from_units(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * NANO, format: Format::Decimal }
    }
    /// Thousandths (millicores).
    pub fn from_milli(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * (NANO / 1000), format: Format::Decimal }
    }
    /// Bytes, which print with binary suffixes.
    pub fn from_bytes(n: i64) -> Self {
        Quantity { nanos: i128::from(n) * NANO, format: Format::Binary }
    }
    /// Whole units, rounded up.
    pub fn units(self) -> i128 {
        div_up(self.nanos, NANO)
    }
    /// Thousandths, rounded up.
    pub fn milli(self) -> i128 {
        div_up(self.nanos, NANO / 1000)
    }
    /// Whole units as an `i64`, saturating: bytes, pods, devices.
    pub fn bytes(self) -> i64 {
        clamp(self.units())
    }
    /// Thousandths as an `i64`, saturating.
    pub fn milli_i64(self) -> i64 {
        clamp(self.milli())
    }
    /// Billionths, exactly.
    pub fn nanos(self) -> i128 {
        self.nanos
    }
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }
    /// True where the amount has no fraction.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
    pub fn format(self) -> Format {
        self.format
    }
}

/// The text that upstream answers for a quantity that came in as `text`: canonical, but for forms that it takes for
/// canonical already (`+5`, `1.500`) and keeps.
pub fn canonical(text: &str) -> Result<String, String> {
    let (quantity, keep) = parse(text)?;
    Ok(if keep { text.to_string() } else { quantity.to_string() })
}

fn clamp(n: i128) -> i64 {
    n.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

/// Division that rounds away from zero for positive amounts (up), towards zero for negative ones.
fn div_up(n: i128, by: i128) -> i128 {
    n.div_euclid(by) + i128::from(n.rem_euclid(by) != 0)
}

/// The base, the exponent and the family of a suffix.
fn suffix(text: &str) -> Option<(u32, i32, Format)> {
    Some(match text {
        "" => (10, 0, Format::Decimal),
        "n" => (10, -9, Format::Decimal),
        "u" => (10, -6, Format::Decimal),
        "m" => (10, -3, Format::Decimal),
        "k" => (10, 3, Format::Decimal),
        "M" => (10, 6, Format::Decimal),
        "G" => (10, 9, Format::Decimal),
        "T" => (10, 12, Format::Decimal),
        "P" => (10, 15, Format::Decimal),
        "E" => (10, 18, Format::Decimal),
        "Ki" => (2, 10, Format::Binary),
        "Mi" => (2, 20, Format::Binary),
        "Gi" => (2, 30, Format::Binary),
        "Ti" => (2, 40, Format::Binary),
        "Pi" => (2, 50, Format::Binary),
        "Ei" => (2, 60, Format::Binary),
        exponent => (10, exponent.strip_prefix(['e', 'E'])?.parse().ok()?, Format::Exponent),
    })
}

/// The quantity, and whether upstream keeps the text as it stands.
fn parse(text: &str) -> Result<(Quantity, bool), String> {
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, tail) = unsigned.split_at(end);
    let well_formed = |tail: &str| {
        let letters = tail.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
        let digits = letters.strip_prefix(['+', '-']).unwrap_or(letters);
        digits.bytes().all(|b| b.is_ascii_digit())
    };
    if number.is_empty() || number.matches('.').count() > 1 || !well_formed(tail) {
        return Err(WRONG_FORMAT.into());
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(WRONG_NUMBER.into());
    }
    let (base, exponent, format) = suffix(tail).ok_or(WRONG_SUFFIX)?;
    let whole = whole.trim_start_matches('0');
    let digits = format!("{whole}{fraction}");
    let trimmed = digits.trim_start_matches('0');
    if trimmed.len() > 36 {
        return Err(WRONG_NUMBER.into());
    }
    let mantissa: i128 = if trimmed.is_empty() { 0 } else { trimmed.parse().map_err(|_| WRONG_NUMBER)? };
    let places = i32::try_from(fraction.len()).map_err(|_| WRONG_NUMBER)?;
    let mut nanos = match base {
        2 => scale_ten(mantissa.checked_mul(1 << exponent).ok_or(WRONG_NUMBER)?, 9 - places),
        _ => scale_ten(mantissa, exponent.saturating_add(9 - places)),
    }
    .ok_or(WRONG_NUMBER)?;
    if format == Format::Binary {
        nanos = nanos.min(i128::from(i64::MAX) * NANO);
    }
    let format = if format == Format::Binary && nanos > 0 && nanos < NANO { Format::Decimal } else { format };
    let keep = match format {
        Format::Binary => false,
        _ => {
            let scale = exponent.saturating_sub(places);
            let written = number.replace('.', "");
            scale >= -9 && scale % 3 == 0 && !written.ends_with("000") && !written.starts_with('0')
        }
    };
    Ok((Quantity { nanos: if negative { -nanos } else { nanos }, format }, keep || text == "0"))
}

/// `n * 10^exponent`, rounded away from zero where digits fall off; `None` where it does not fit.
fn scale_ten(n: i128, exponent: i32) -> Option<i128> {
    if n == 0 {
        return Some(0);
    }
    if exponent >= 0 {
        return 10_i128.checked_pow(exponent.unsigned_abs())?.checked_mul(n);
    }
    match 10_i128.checked_pow(exponent.unsigned_abs()) {
        Some(by) => Some(div_up(n, by)),
        None => Some(1), // anything, however small, counts as the smallest amount
    }
}

impl fmt::Display for Quantity {
    /// The canonical form: no fraction, the largest suffix that keeps it exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = self.format == Format::Binary && self.is_whole() && self.nanos.abs() >= 1024 * NANO;
        if binary {
            let (mut n, mut step) = (self.nanos / NANO, 0);
            while n % 1024 == 0 && step < 6 {
                n /= 1024;
                step += 1;
            }
            return write!(f, "{n}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step]);
        }
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let (mut n, mut exponent) = (self.nanos, -9);
        // A decimal suffix goes no further than E; exponents go on.
        while n % 1000 == 0 && (exponent < 18 || self.format == Format::Exponent) {
            n /= 1000;
            exponent += 3;
        }
        match self.format {
            Format::Exponent if exponent == 0 => write!(f, "{n}"),
            Format::Exponent => write!(f, "{n}e{exponent}"),
            _ => write!(f, "{n}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((exponent + 9) / 3) as usize]),
        }
    }
}

impl FromStr for Quantity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Quantity::parse(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}
impl std::ops::Add for Quantity {
    type Output = Quantity;
    /// The sum prints as its first operand does, unless that is zero.
    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Quantity { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}
impl std::ops::Sub for Quantity {
    type Output = Quantity;
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}
impl std::ops::Neg for Quantity {
    type Output = Quantity;
    fn neg(self) -> Self {
        Quantity { nanos: -self.nanos, ..self }
    }
}
impl std::ops::AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}
impl std::ops::SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}
impl std::iter::Sum for Quantity {
    fn sum<I: Iterator<Item = Quantity>>(iter: I) -> Self {
        iter.fold(Quantity::ZERO, |a, b| a + b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_forms() {
        for (text, want) in [
            ("0", "0"),
            ("0Mi", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024Mi", "1Gi"),
            ("1000Mi", "1000Mi"),
            ("1023", "1023"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1000k", "1M"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("12E", "12E"),
            ("2E3", "2E3"),
            ("20E3", "20E3"),
            ("0.1n", "1n"),
            ("-100m", "-100m"),
            ("+5", "+5"),
            ("1.500", "1.500"),
            ("0.01Ki", "10240m"),
            ("10Ei", "9223372036854775807"),
            (".5", "500m"),
            ("5.", "5."),
        ] {
            assert_eq!(canonical(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn refused_with_upstream_words() {
        for (text, want) in [
            ("", WRONG_FORMAT),
            ("x", WRONG_FORMAT),
            ("1.2.3", WRONG_FORMAT),
            ("1 Gi", WRONG_FORMAT),
            ("1ki", WRONG_SUFFIX),
            ("1KiB", WRONG_FORMAT),
            ("1mm", WRONG_SUFFIX),
            (".", WRONG_NUMBER),
        ] {
            assert_eq!(canonical(text), Err(want.into()), "{text:?}");
        }
    }

    #[test]
    fn arithmetic_and_order() {
        let q = |s: &str| Quantity::parse(s).unwrap();
        assert_eq!(q("1"), q("1000m"));
        assert!(q("1Gi") > q("1G"));
        assert_eq!((q("1Gi") + q("512Mi")).to_string(), "1536Mi");
        assert_eq!((q("2") - q("500m")).to_string(), "1500m");
        assert_eq!(q("1500m").units(), 2);
        assert_eq!(q("1u").milli(), 1);
        assert_eq!(q("64Mi").bytes(), 67_108_864);
        assert_eq!(Quantity::from_bytes(1 << 30).to_string(), "1Gi");
        assert_eq!(Quantity::from_milli(250).to_string(), "250m");
        assert_eq!([q("1"), q("2")].into_iter().sum::<Quantity>().to_string(), "3");
    }
}
