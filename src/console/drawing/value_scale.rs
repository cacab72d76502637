//! A scale of numbers from 0 on, with ticks at round numbers.

/// Maximum number of ticks, besides that of 0.
const MAX_TICKS: f64 = 5.0;

/// The ticks of a scale that shows `max`; the last one is not below it.
pub(in crate::console) fn ticks(max: f64) -> Vec<f64> {
    if !(max.is_finite() && max > 0.0) {
        return vec![0.0, 1.0];
    }
    let rough = max / MAX_TICKS;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(10.0 * power);
    let count = (max / step).ceil();
    let mut ticks = vec![0.0];
    while (ticks.len() as f64) <= count {
        ticks.push(step * ticks.len() as f64);
    }
    ticks
}

/// A place with one digit after the point.
pub(super) fn place(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_the_last_one_shows_the_largest_value() {
        for (max, expected) in [
            (10.0, vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]),
            (3.0, vec![0.0, 1.0, 2.0, 3.0]),
            (101.0, vec![0.0, 50.0, 100.0, 150.0]),
            (0.0, vec![0.0, 1.0]),
            (f64::INFINITY, vec![0.0, 1.0]),
        ] {
            assert_eq!(ticks(max), expected, "{max}");
        }
        for max in [0.013, 7.0, 99.9, 54_124.0, 3_465_273.0] {
            let ticks = ticks(max);
            assert!(*ticks.last().unwrap() >= max && ticks.len() <= 7, "{max}: {ticks:?}");
        }
    }
}
