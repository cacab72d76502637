//! Timestamps as the senders write them: 100 ns digits, with `Z` by Event Grid and with an offset
//! by callbacks.

use chrono::{DateTime, Utc};

use crate::rng::SeededRng;

/// `2021-09-22T17:02:38.6905856Z`.
pub(crate) fn event_grid_timestamp(at: DateTime<Utc>, rng: &mut SeededRng) -> String {
    format!("{}Z", with_seven_digits(at, rng))
}

/// `2025-06-16T18:38:11.4159110+00:00`, sometimes with six digits.
pub(crate) fn callback_timestamp(at: DateTime<Utc>, rng: &mut SeededRng) -> String {
    let mut time = with_seven_digits(at, rng);
    if rng.random_bool(0.1) {
        time.pop();
    }
    format!("{time}+00:00")
}

/// The clock has microseconds, so the last digit is random.
fn with_seven_digits(at: DateTime<Utc>, rng: &mut SeededRng) -> String {
    format!("{}{}", at.format("%Y-%m-%dT%H:%M:%S%.6f"), rng.between(0, 9))
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_evidence::event::instant::parse_source_time;

    #[test]
    fn a_timestamp_is_parsed_as_the_same_millisecond() {
        let mut rng = SeededRng::new(5, "timestamps", 0);
        for _ in 0..100 {
            let millis = 1_795_000_000_000 + rng.between(0, 99_999);
            let at = DateTime::from_timestamp_millis(millis).unwrap();
            for text in [event_grid_timestamp(at, &mut rng), callback_timestamp(at, &mut rng)] {
                let read = parse_source_time(&text).map(|time| time.timestamp_millis());
                assert_eq!(read, Some(millis), "{text}");
            }
        }
    }
}
