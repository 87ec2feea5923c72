use super::*;
use value::value;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Appendix A of RFC 8949, and the rules of the API.
#[test]
fn reads() {
    for (hex, want) in [
        ("00", "0"),
        ("17", "23"),
        ("18 18", "24"),
        ("19 03e8", "1000"),
        ("1a 000f4240", "1000000"),
        ("1b 000000e8d4a51000", "1000000000000"),
        ("1b 7fffffffffffffff", "9223372036854775807"),
        ("20", "-1"),
        ("39 03e7", "-1000"),
        ("3b 7fffffffffffffff", "-9223372036854775808"),
        ("f9 0000", "0.0"),
        ("f9 3e00", "1.5"),
        ("f9 7bff", "65504.0"),
        ("f9 0001", "5.960464477539063e-8"),
        ("f9 c400", "-4.0"),
        ("fa 47c35000", "100000.0"),
        ("fb 3ff199999999999a", "1.1"),
        ("f4", "false"),
        ("f5", "true"),
        ("f6", "null"),
        ("40", r#""""#),
        ("61 61", r#""a""#),
        ("41 61", r#""a""#),
        ("62 c3bc", r#""ü""#),
        ("80", "[]"),
        ("82 01 82 02 03", "[1,[2,3]]"),
        ("a0", "{}"),
        // Keys of either kind; a tag that means nothing here.
        ("a2 61 61 01 41 62 82 02 03", r#"{"a":1,"b":[2,3]}"#),
        ("d9 d9f7 a0", "{}"),
        ("d8 20 61 61", r#""a""#),
        // Indefinite lengths.
        ("9f 01 9f 02 ff ff", "[1,[2]]"),
        ("bf 61 61 01 ff", r#"{"a":1}"#),
        ("7f 61 61 61 62 ff", r#""ab""#),
        ("5f 41 61 42 62 63 ff", r#""abc""#),
        // Bytes that become text.
        ("d6 44 01020304", r#""AQIDBA==""#),
        ("d5 42 fbff", r#""-_8""#),
        ("d7 42 fbff", r#""fbff""#),
        ("d6 82 41 01 d7 41 02", r#"["AQ==","02"]"#),
        // Times.
        ("c0 74 323031332d30332d32315432303a30343a30305a", r#""2013-03-21T20:04:00Z""#),
        ("c1 1a 514b67b0", r#""2013-03-21T20:04:00Z""#),
        ("c1 fb 41d452d9ec200000", r#""2013-03-21T20:04:00.5Z""#),
    ] {
        let read = decode(&bytes(hex)).unwrap_or_else(|e| panic!("{hex}: {e}"));
        assert_eq!(read.to_string(), want, "{hex}");
    }
}

#[test]
fn refuses() {
    let accepted = "is not accepted by protocol";
    for (hex, want) in [
        ("", "EOF".to_string()),
        ("18", "unexpected EOF".into()),
        ("42 61", "unexpected EOF".into()),
        ("5b ffffffffffffffff", "unexpected EOF".into()),
        ("9b ffffffffffffffff", "unexpected EOF".into()),
        ("bb ffffffffffffffff 40", "unexpected EOF".into()),
        ("9f 01", "unexpected EOF".into()),
        ("c1", "unexpected EOF".into()),
        ("00 00", "cbor: 1 bytes of extraneous data starting at index 1".into()),
        ("1c", "cbor: invalid additional information 28 for type positive integer".into()),
        ("1f", "cbor: invalid additional information 31 for type positive integer".into()),
        ("ff", "cbor: unexpected \"break\" code".into()),
        ("81 ff", "cbor: unexpected \"break\" code".into()),
        ("bf 41 61 ff", "cbor: unexpected \"break\" code".into()),
        ("f8 14", "cbor: invalid simple value 20 for type primitives".into()),
        ("f7", format!("cbor: data item of cbor type primitives {accepted}: simple value 23 is not recognized")),
        ("f8 ff", format!("cbor: data item of cbor type primitives {accepted}: simple value 255 is not recognized")),
        ("f9 7e00", format!("cbor: data item of cbor type primitives {accepted}: floating-point NaN")),
        ("fa 7f800000", format!("cbor: data item of cbor type primitives {accepted}: floating-point infinity")),
        ("fb fff0000000000000", format!("cbor: data item of cbor type primitives {accepted}: floating-point infinity")),
        ("c2 41 01", format!("cbor: data item of cbor type tag {accepted}: bignum")),
        (
            "1b 8000000000000000",
            "cbor: cannot unmarshal positive integer into Go value of type int64 (9223372036854775808 overflows Go's int64)"
                .into(),
        ),
        (
            "3b ffffffffffffffff",
            "cbor: cannot unmarshal negative integer into Go value of type int64 (-18446744073709551616 overflows Go's int64)"
                .into(),
        ),
        ("a2 41 61 01 41 61 02", "cbor: found duplicate map key \"a\" at map element index 1".into()),
        ("a2 41 61 01 61 61 02", "cbor: found duplicate map key \"a\" at map element index 1".into()),
        ("a1 01 02", "cbor: cannot unmarshal integer into Go value of type string".into()),
        ("61 ff", "cbor: invalid UTF-8 string".into()),
        ("7f 61 c3 61 bc ff", "cbor: invalid UTF-8 string".into()),
        ("41 ff", "cbor: a byte string without a tag for its encoding is not UTF-8".into()),
        ("5f 61 61 ff", "cbor: wrong element type UTF-8 text string for indefinite-length byte string".into()),
        ("5f 5f 41 61 ff ff", "cbor: indefinite-length byte string chunk is not definite-length".into()),
        ("5f f6 ff", "cbor: wrong element type primitives for indefinite-length byte string".into()),
        ("c0 41 61", "cbor: tag 0 is not followed by a time".into()),
        ("c1 fb 7fefffffffffffff", "cbor: tag 1 is not followed by a time".into()),
    ] {
        assert_eq!(decode(&bytes(hex)).map_err(|e| e.0), Err(want), "{hex}");
    }
    for opening in [&[0x81_u8][..], &[0xa1, 0x40], &[0xd8, 0x20]] {
        let deep = [opening.repeat(DEEPEST), vec![0xf6]].concat();
        decode(&deep).unwrap();
        let deeper = [opening.repeat(100_000), vec![0xf6]].concat();
        assert_eq!(decode(&deeper).unwrap_err().0, "cbor: exceeded max nested level 128");
    }
}

#[test]
fn a_claimed_length_makes_little_room() {
    for (claimed, possible, want) in [
        (None, 1 << 20, 0),
        (Some(3), 1 << 20, 3),
        (Some(3), 2, 2),
        (Some(u64::MAX), 10, 10),
        (Some(u64::MAX), 3 << 20, 4096),
        (Some(1 << 20), 3 << 20, 4096),
    ] {
        assert_eq!(super::read::room(claimed, possible), want, "{claimed:?} of {possible}");
    }
    // What is there is read, however much.
    let many = [vec![0x9a, 0, 0, 0x20, 0], vec![0xf6; 0x2000]].concat();
    assert_eq!(decode(&many).unwrap().as_array().map(Vec::len), Some(0x2000));
}

#[test]
fn writes_one_form() {
    for (value, want) in [
        (value!(null), "f6"),
        (value!(true), "f5"),
        (value!(0), "00"),
        (value!(23), "17"),
        (value!(24), "1818"),
        (value!(256), "190100"),
        (value!(65536), "1a00010000"),
        (value!(i64::MAX), "1b7fffffffffffffff"),
        (value!(-1), "20"),
        (value!(-25), "3818"),
        (value!(i64::MIN), "3b7fffffffffffffff"),
        (value!(1.5), "f93e00"),
        (value!(0.0), "f90000"),
        (value!(-0.0), "f98000"),
        (value!(65504.0), "f97bff"),
        (value!(5.960464477539063e-8), "f90001"),
        (value!(0.00006103515625), "f90400"),
        (value!(0.00006097555160522461), "f903ff"),
        (value!(65505.0), "fa477fe100"),
        (value!(100000.0), "fa47c35000"),
        (value!(1.1), "fb3ff199999999999a"),
        (value!("ü"), "42c3bc"),
        (value!(["a", []]), "82416180"),
        // By length, then by byte.
        (value!({"bb": 1, "c": 2, "a": 3}), "a3416103416302426262 01"),
    ] {
        let want = [SELF_DESCRIBED.to_vec(), bytes(want)].concat();
        assert_eq!(&encode(&value)[..], want, "{value}");
        assert_eq!(decode(&want).unwrap(), value, "{value}");
    }
}

#[test]
fn every_half_is_read_and_written() {
    for bits in 0..=u16::MAX {
        let encoded = [0xf9, (bits >> 8) as u8, bits as u8];
        match decode(&encoded) {
            Ok(value) => assert_eq!(&encode(&value)[3..], encoded, "{bits:04x} {value}"),
            Err(_) => assert_eq!(bits & 0x7c00, 0x7c00, "{bits:04x}"),
        }
    }
}

#[test]
fn sequences() {
    let object = encode(&value!({"kind": "ConfigMap"}));
    let stream = [event_frame("ADDED", &object), event_frame("DELETED", &object)].concat();
    assert!(is_self_described(&stream));
    let (first, rest) = decode_first(&stream).unwrap();
    assert_eq!(first.to_string(), r#"{"object":{"kind":"ConfigMap"},"type":"ADDED"}"#);
    let (second, rest) = decode_first(rest).unwrap();
    assert_eq!((second.str_at(&["type"]), rest.len()), ("DELETED", 0));
}
