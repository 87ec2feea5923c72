//! From a tree to bytes: one way to write each value.

use super::SELF_DESCRIBED;
use bytes::Bytes;
use value::Value;

pub const UNSIGNED: u8 = 0;
pub const NEGATIVE: u8 = 1;
pub const BYTES: u8 = 2;
pub const ARRAY: u8 = 4;
pub const MAP: u8 = 5;

/// One data item behind the tag that marks CBOR. A float that JSON has no word for (there is none in a tree that was
/// read) becomes null, as in JSON.
pub fn encode(value: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.extend_from_slice(&SELF_DESCRIBED);
    item(&mut out, value);
    out.into()
}

fn item(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(false) => out.push(0xf4),
        Value::Bool(true) => out.push(0xf5),
        Value::Int(n) if *n >= 0 => head(out, UNSIGNED, n.unsigned_abs()),
        Value::Int(n) => head(out, NEGATIVE, !n.cast_unsigned()),
        Value::Float(f) => float(out, *f),
        Value::String(text) => string(out, text),
        Value::Array(items) => {
            head(out, ARRAY, items.len() as u64);
            items.iter().for_each(|i| item(out, i));
        }
        Value::Object(map) => {
            head(out, MAP, map.len() as u64);
            let mut members: Vec<(&str, &Value)> = map.iter().collect();
            // Heads are compared, too: a shorter key is the smaller one.
            members.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
            for (key, value) in members {
                string(out, key);
                item(out, value);
            }
        }
    }
}

pub fn string(out: &mut Vec<u8>, text: &str) {
    head(out, BYTES, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A major type and its argument in the fewest bytes.
pub fn head(out: &mut Vec<u8>, major: u8, argument: u64) {
    let major = major << 5;
    match argument {
        0..24 => out.push(major | argument as u8),
        24..0x100 => out.extend_from_slice(&[major | 24, argument as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend_from_slice(&(argument as u16).to_be_bytes());
        }
        0x1_0000..0x1_0000_0000 => {
            out.push(major | 26);
            out.extend_from_slice(&(argument as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&argument.to_be_bytes());
        }
    }
}

/// In the smallest width that holds the same number.
fn float(out: &mut Vec<u8>, f: f64) {
    if !f.is_finite() {
        out.push(0xf6);
        return;
    }
    let single = f as f32;
    if f64::from(single) != f {
        out.push(0xfb);
        out.extend_from_slice(&f.to_be_bytes());
    } else if let Some(half) = half(single) {
        out.push(0xf9);
        out.extend_from_slice(&half.to_be_bytes());
    } else {
        out.push(0xfa);
        out.extend_from_slice(&single.to_be_bytes());
    }
}

/// The bits of a binary16 that is exactly this finite number.
fn half(f: f32) -> Option<u16> {
    let bits = f.to_bits();
    let sign = (bits >> 16) as u16 & 0x8000;
    let (exponent, fraction) = ((bits >> 23 & 0xff) as i32 - 127, bits & 0x7f_ffff);
    match exponent {
        _ if bits << 1 == 0 => Some(sign),
        -14..=15 if fraction & 0x1fff == 0 => Some(sign | ((exponent + 15) as u16) << 10 | (fraction >> 13) as u16),
        // Below the smallest normal number: the leading one becomes a digit.
        -24..-14 => {
            let digits = fraction | 0x80_0000;
            let shift = (-1 - exponent) as u32;
            (digits & ((1 << shift) - 1) == 0).then(|| sign | (digits >> shift) as u16)
        }
        _ => None,
    }
}
