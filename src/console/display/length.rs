//! Lengths of time in words.

/// A length for reading: `640 ms`, `12.3 s`, `4 min 05 s`, `3 h 12 min`, `2 d 4 h`.
pub(in crate::console) fn length(ms: i64) -> String {
    let ms = ms.max(0);
    let (seconds, minutes, hours) = (ms / 1_000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..10_000 => format!("{} ms", grouped(ms)),
        10_000..60_000 => format!("{seconds}.{} s", ms % 1_000 / 100),
        60_000..3_600_000 => format!("{minutes} min {:02} s", seconds % 60),
        3_600_000..172_800_000 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

/// A number of milliseconds exactly: `12 345 ms`.
pub(in crate::console) fn exact_ms(ms: i64) -> String {
    format!("{} ms", grouped(ms))
}

/// A number with a narrow space between groups of three digits.
pub(in crate::console) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    if number < 0 { format!("−{text}") } else { text }
}

/// A number that is counted up to `max` only: one that is larger is `max` and a plus sign.
pub(in crate::console) fn counted(number: i64, max: i64) -> String {
    if number > max { format!("{}+", grouped(max)) } else { grouped(number) }
}

/// A number with no more digits than it needs, at most three after the point.
pub(in crate::console) fn plain_number(value: f64) -> String {
    let rounded = (value * 1_000.0).round() / 1_000.0;
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 {
        return grouped(rounded as i64);
    }
    rounded.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_the_counted_ones_has_a_plus_sign() {
        assert_eq!(counted(1_000, 1_000), "1\u{202f}000");
        assert_eq!(counted(1_001, 1_000), "1\u{202f}000+");
    }

    #[test]
    fn a_number_has_no_more_digits_than_it_needs() {
        for (value, text) in [(0.5, "0.5"), (2_000.0, "2\u{202f}000"), (0.1 + 0.2, "0.3")] {
            assert_eq!(plain_number(value), text);
        }
    }

    #[test]
    fn a_length_has_two_units_at_most() {
        for (ms, text) in [
            (0, "0 ms"),
            (640, "640 ms"),
            (9_999, "9\u{202f}999 ms"),
            (12_345, "12.3 s"),
            (245_000, "4 min 05 s"),
            (11_520_000, "3 h 12 min"),
            (187_200_000, "2 d 4 h"),
            (-5, "0 ms"),
        ] {
            assert_eq!(length(ms), text);
        }
        assert_eq!(grouped(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(grouped(-1_000), "−1\u{202f}000");
        assert_eq!(exact_ms(86_400_000), "86\u{202f}400\u{202f}000 ms");
    }
}
