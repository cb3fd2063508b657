//! Spans of time as flags: `30s`, `500ms`, `2m`, `1h`.

use std::time::Duration;

/// Reads a span of time: a whole number and its unit.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let ms_per_unit = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" | "min" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let ms = number.parse::<u64>().ok().zip(ms_per_unit).and_then(|(number, unit)| number.checked_mul(unit));
    ms.map(Duration::from_millis)
        .ok_or_else(|| "expected a number with its unit, like 30s, 500ms or 2m".to_owned())
}

/// Reads a moment: as a span since the start, and with a decimal point, as sentences tell it: `12.55s`. In nanoseconds.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    let wrong = || "expected a time since the start with its unit, like 12.55s, 12550ms or 2m".to_owned();
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let ns_per_unit: u64 = match unit.trim_start() {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" | "min" => 60_000_000_000,
        _ => return Err(wrong()),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // Nine digits behind the point are a nanosecond of a second; what is finer is no time.
    if part.len() > 9 || part.contains('.') {
        return Err(wrong());
    }
    let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(ns_per_unit));
    let mut part_ns = 0;
    let mut digit_ns = ns_per_unit;
    for digit in part.bytes() {
        digit_ns /= 10;
        part_ns += u64::from(digit - b'0') * digit_ns;
    }
    whole.and_then(|whole| whole.checked_add(part_ns)).ok_or_else(wrong)
}

/// As milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_a_point() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(moment(text).ok(), expected, "{text}");
        check("12.55s", Some(12_550_000_000));
        check("12.550 s", Some(12_550_000_000));
        check("3s", Some(3_000_000_000));
        check("1.5ms", Some(1_500_000));
        check("0.5m", Some(30_000_000_000));
        for wrong in ["", "s", ".s", "1", "1.2.3s", "-1s", "1h", "1.0000000001s", "99999999999999999999s"] {
            check(wrong, None);
        }
    }

    #[test]
    fn times_have_units() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(parse(text).ok().map(ms), expected, "{text}");
        check("30s", Some(30_000));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("1h", Some(3_600_000));
        for wrong in
            ["", "s", "30", "-1s", "1.5s", "30 s", "1d", "99999999999999999999s", "9999999999999999999h"]
        {
            check(wrong, None);
        }
    }
}
