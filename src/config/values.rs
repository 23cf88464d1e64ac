//! How single values are spelled: Go's booleans, numbers and durations, since etcd reads them with
//! Go's library and unit files are full of its spellings. Depends on nothing.

use std::time::Duration;

/// Go's `strconv.ParseBool`.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Go's `strconv.ParseUint` with base 0: `0x`, `0o` and `0b` are understood, as is `_` between digits
/// and the old octal form `017`.
pub(super) fn parse_u64(text: &str) -> Option<u64> {
    let (radix, digits) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &text[2..]),
        [b'0', b'o' | b'O', ..] => (8, &text[2..]),
        [b'0', b'b' | b'B', ..] => (2, &text[2..]),
        [b'0', _, ..] => (8, &text[1..]),
        _ => (10, text),
    };
    let digits = digits.replace('_', "");
    // `from_str_radix` would take a sign, which Go's unsigned parser does not.
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u64::from_str_radix(&digits, radix).ok()
}

/// The same with a sign before it.
pub(super) fn parse_i64(text: &str) -> Option<i64> {
    if let Some(rest) = text.strip_prefix('-') {
        return 0i64.checked_sub_unsigned(parse_u64(rest)?);
    }
    i64::try_from(parse_u64(text.strip_prefix('+').unwrap_or(text))?).ok()
}

const NANOS_OF_UNIT: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5
    ("μs", 1_000), // U+03BC
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Go's `time.ParseDuration` without negative ones, which no setting takes: `5s`, `1h30m`, `1.5h`, `0`.
/// `None` as well for what Go cannot hold (about 292 years).
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let scale = NANOS_OF_UNIT.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        nanos = nanos.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            nanos = nanos.checked_add(u64::from(digit - b'0') * place)?;
        }
        rest = after;
    }
    i64::try_from(nanos).ok()?;
    Some(Duration::from_nanos(nanos))
}

/// A duration in the shortest of these spellings that is exact: `2h`, `10m`, `5s`, `100ms`, `17ns`.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, scale) in [
        ("h", 3_600_000_000_000u128),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
    ] {
        if nanos != 0 && nanos.is_multiple_of(scale) {
            return format!("{}{unit}", nanos / scale);
        }
    }
    if nanos == 0 { "0s".to_owned() } else { format!("{nanos}ns") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("5s", 5_000_000_000),
            ("100ms", 100_000_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("10µs", 10_000),
            ("10μs", 10_000),
            ("7ns", 7),
            ("+1m", 60_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_nanos(nanos)), "{text}");
        }
        for text in ["", "5", "s", ".s", "1..5s", "-5s", "5 s", "5d", "1h30", "9999999999h", "1s "]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn a_formatted_duration_reads_back() {
        for text in ["0s", "2h", "10m", "5s", "100ms", "20us", "17ns", "90s"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }
        assert_eq!(format_duration(Duration::from_secs(600)), "10m");
    }

    #[test]
    fn numbers_are_go_s() {
        for (text, value) in
            [("0", 0), ("10", 10), ("1_000", 1000), ("0x10", 16), ("0b11", 3), ("017", 15)]
        {
            assert_eq!(parse_u64(text), Some(value), "{text}");
        }
        for text in ["", "-1", "+1", "1.5", "abc", "0x", "08", "18446744073709551616", " 1", "0x-1"]
        {
            assert_eq!(parse_u64(text), None, "{text}");
        }
        assert_eq!(parse_i64("-1"), Some(-1));
        assert_eq!(parse_i64("+5"), Some(5));
        assert_eq!(parse_i64("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64("9223372036854775808"), None);
        assert_eq!(parse_i64("--1"), None);
    }
}
