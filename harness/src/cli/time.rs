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

/// As milliseconds.
pub(super) fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
