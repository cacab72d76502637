//! Times as the senders write them: 100 ns digits, `Z` by Event Grid, an offset by callbacks.

use chrono::{DateTime, Utc};

use super::chance::Chance;

/// `2021-09-22T17:02:38.6905856Z`.
pub(super) fn of_event_grid(at: DateTime<Utc>, chance: &mut Chance) -> String {
    format!("{}Z", with_seven_digits(at, chance))
}

/// `2025-06-16T18:38:11.4159110+00:00`, sometimes with six digits.
pub(super) fn of_callback(at: DateTime<Utc>, chance: &mut Chance) -> String {
    let mut time = with_seven_digits(at, chance);
    if chance.happens(0.1) {
        time.pop();
    }
    format!("{time}+00:00")
}

/// Our clock has microseconds: the last digit is drawn.
fn with_seven_digits(at: DateTime<Utc>, chance: &mut Chance) -> String {
    let micros = at.timestamp_subsec_micros() % 1_000_000;
    format!(
        "{}.{micros:06}{}",
        at.format("%Y-%m-%dT%H:%M:%S"),
        chance.between(0, 9)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::instant::parse_source_time;

    #[test]
    fn what_is_written_is_read_as_the_same_millisecond() {
        let mut chance = Chance::new(5, "times", 0);
        for _ in 0..100 {
            let millis = 1_795_000_000_000 + chance.between(0, 99_999);
            let at = DateTime::from_timestamp_millis(millis).unwrap();
            for text in [of_event_grid(at, &mut chance), of_callback(at, &mut chance)] {
                let read = parse_source_time(&text).map(|time| time.timestamp_millis());
                assert_eq!(read, Some(millis), "{text}");
            }
        }
    }
}
