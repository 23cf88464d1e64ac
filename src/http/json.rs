//! JSON as Go's `encoding/json` writes it, straight into a buffer: the clients of etcd compare bytes.

use crate::types::UnixNanos;

/// Appends a JSON string, quotes included. Bytes that are no UTF-8 become `\ufffd`, one for each byte;
/// `<`, `>`, `&`, U+2028 and U+2029 are escaped, as Go does by default.
pub fn push_string(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    if std::str::from_utf8(bytes).is_ok() {
        push_escaped(out, bytes); // as nearly always: checking alone is many bytes at a time
    } else {
        for chunk in bytes.utf8_chunks() {
            push_escaped(out, chunk.valid().as_bytes());
            for _ in chunk.invalid() {
                out.extend_from_slice(br"\ufffd");
            }
        }
    }
    out.push(b'"');
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that may not stand for themselves; 0xE2 begins U+2028 and U+2029.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 0x20 {
        table[at] = true;
        at += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    table[0xE2] = true;
    table
};

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let mut plain_from = 0;
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        if !SPECIAL[byte as usize] {
            at += 1;
            continue;
        }
        let (escape, len): (&[u8], usize) = match byte {
            b'"' => (br#"\""#, 1),
            b'\\' => (br"\\", 1),
            b'\n' => (br"\n", 1),
            b'\r' => (br"\r", 1),
            b'\t' => (br"\t", 1),
            0xE2 => match text.get(at + 1..at + 3) {
                Some([0x80, 0xA8]) => (br"\u2028", 3),
                Some([0x80, 0xA9]) => (br"\u2029", 3),
                _ => {
                    at += 3; // another character of three bytes
                    continue;
                }
            },
            _ => (b"", 1),
        };
        out.extend_from_slice(&text[plain_from..at]);
        if escape.is_empty() {
            out.extend_from_slice(br"\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        } else {
            out.extend_from_slice(escape);
        }
        at += len;
        plain_from = at;
    }
    out.extend_from_slice(&text[plain_from..]);
}

/// Appends a decimal number.
pub fn push_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

/// Appends a number in lower-case hex, without leading zeros.
pub fn push_hex(out: &mut Vec<u8>, number: u64) {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1);
    for place in (0..digits).rev() {
        out.push(HEX[(number >> (4 * place) & 15) as usize]);
    }
}

/// Appends a decimal number that may be negative.
pub fn push_i64(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

/// Appends a moment in UTC as Go's `RFC3339Nano` writes it: nanoseconds without trailing zeros.
pub fn push_time(out: &mut Vec<u8>, at: UnixNanos) {
    const NANOS: u64 = 1_000_000_000;
    let (seconds, mut nanos) = (at.0 / NANOS, at.0 % NANOS);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    push_padded(out, year, 4);
    out.push(b'-');
    push_padded(out, month, 2);
    out.push(b'-');
    push_padded(out, day, 2);
    out.push(b'T');
    push_padded(out, of_day / 3600, 2);
    out.push(b':');
    push_padded(out, of_day / 60 % 60, 2);
    out.push(b':');
    push_padded(out, of_day % 60, 2);
    if nanos > 0 {
        let mut width = 9;
        while nanos % 10 == 0 {
            nanos /= 10;
            width -= 1;
        }
        out.push(b'.');
        push_padded(out, nanos, width);
    }
    out.push(b'Z');
}

fn push_padded(out: &mut Vec<u8>, number: u64, width: u32) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10u64.pow(place) % 10) as u8);
    }
}

/// Year, month and day of the day so many days after 1970-01-01: counted in years that begin in March,
/// in eras of 400 years.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

/// Appends a length of time as Go's `time.Duration` prints itself: `1.5s`, `2m0.25s`, `350ms`.
pub fn push_duration(out: &mut Vec<u8>, nanos: u64) {
    let (unit, per, places): (&[u8], u64, u32) = match nanos {
        0 => return out.extend_from_slice(b"0s"),
        1..1_000 => (b"ns", 1, 0),
        1_000..1_000_000 => ("µs".as_bytes(), 1_000, 3),
        1_000_000..1_000_000_000 => (b"ms", 1_000_000, 6),
        _ => (b"s", 1_000_000_000, 9),
    };
    let (mut whole, mut fraction) = (nanos / per, nanos % per);
    if per == 1_000_000_000 && whole >= 60 {
        if whole >= 3600 {
            push_u64(out, whole / 3600);
            out.push(b'h');
        }
        push_u64(out, whole / 60 % 60);
        out.push(b'm');
        whole %= 60;
    }
    push_u64(out, whole);
    if fraction > 0 {
        let mut width = places;
        while fraction % 10 == 0 {
            fraction /= 10;
            width -= 1;
        }
        out.push(b'.');
        push_padded(out, fraction, width);
    }
    out.extend_from_slice(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is text")
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (bytes, expected) in [
            (&b"plain /text"[..], r#""plain /text""#),
            (b"", r#""""#),
            (b"a\x00b\xff<>&", r#""a\u0000b\ufffd\u003c\u003e\u0026""#),
            (b"\"\\\n\r\t\x08\x0c\x1f\x7f", "\"\\\"\\\\\\n\\r\\t\\u0008\\u000c\\u001f\x7f\""),
            ("\u{2028}\u{2029}\u{2027}ä€😀".as_bytes(), "\"\\u2028\\u2029\u{2027}ä€😀\""),
            (b"\xed\xa0\x80", r#""\ufffd\ufffd\ufffd""#),
            (b"\xe2\x80", r#""\ufffd\ufffd""#),
            (b"\xf0\x9f\x98x", r#""\ufffd\ufffd\ufffdx""#),
        ] {
            assert_eq!(written(|out| push_string(out, bytes)), expected, "{bytes:?}");
        }
    }

    #[test]
    fn numbers() {
        for (number, expected) in
            [(0, "0"), (7, "7"), (10, "10"), (u64::MAX, "18446744073709551615")]
        {
            assert_eq!(written(|out| push_u64(out, number)), expected);
        }
        for (number, expected) in [(0, "0"), (0xa0, "a0"), (u64::MAX, "ffffffffffffffff")] {
            assert_eq!(written(|out| push_hex(out, number)), expected);
        }
        assert_eq!(written(|out| push_i64(out, -12)), "-12");
        assert_eq!(written(|out| push_i64(out, i64::MIN)), "-9223372036854775808");
    }

    #[test]
    fn times_as_rfc3339_nano() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_764_033_760_409_523_330, "2025-11-25T01:22:40.40952333Z"),
            (951_782_400_000_000_000, "2000-02-29T00:00:00Z"),
            (1_709_251_199_000_000_001, "2024-02-29T23:59:59.000000001Z"),
            (4_102_444_800_100_000_000, "2100-01-01T00:00:00.1Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(written(|out| push_time(out, UnixNanos(nanos))), expected);
        }
    }

    #[test]
    fn durations_as_go_prints_them() {
        for (nanos, expected) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (1_940_064_487, "1.940064487s"),
            (60_000_000_000, "1m0s"),
            (3_905_001_000_000, "1h5m5.001s"),
        ] {
            assert_eq!(written(|out| push_duration(out, nanos)), expected);
        }
    }
}
