//! How hasty the board's reading is.
//!
//! # Why
//!
//! Asked for each message at once, a broker answers, and the board wakes, up to once for each
//! message. Where few come that is what makes a notice quick; where a thousand come in a second it
//! costs more than all that the board does with them. Two milliseconds are not much to a reader of
//! notices then, and there are several messages in them.

use crate::domain::instant::Millis;
use crate::stream::Haste;

/// Messages are counted over so long, ms.
const WINDOW: Millis = 1_000;
/// So many messages in a window, or more, are many.
const MANY: usize = 800;
/// And so few, or fewer, for so many windows on end, are few again.
const FEW: usize = 400;
const CALM: u32 = 10;

/// The gear that the reading is in.
pub(super) struct Gear {
    haste: Haste,
    /// ms.
    window_began: Millis,
    messages: usize,
    /// Windows on end in which few messages came.
    calm: u32,
}

impl Gear {
    pub fn new(now: Millis) -> Self {
        Self {
            haste: Haste::Now,
            window_began: now,
            messages: 0,
            calm: 0,
        }
    }

    /// So many messages came.
    pub fn read(&mut self, messages: usize) {
        self.messages += messages;
    }

    /// The haste to read with from now on, if it is another one.
    pub fn shift(&mut self, now: Millis) -> Option<Haste> {
        if (0..WINDOW).contains(&(now - self.window_began)) {
            return None;
        }
        let messages = std::mem::take(&mut self.messages);
        self.window_began = now;
        self.calm = if messages <= FEW { self.calm + 1 } else { 0 };
        let haste = match self.haste {
            Haste::Now if messages >= MANY => Haste::Brisk,
            Haste::Brisk if self.calm >= CALM => Haste::Now,
            unchanged => unchanged,
        };
        (std::mem::replace(&mut self.haste, haste) != haste).then_some(haste)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_messages_are_read_together_until_they_have_been_few_for_a_while() {
        let mut gear = Gear::new(0);
        let mut second = 0;
        let mut after = |messages: usize| {
            second += 1;
            gear.read(messages);
            gear.shift(second * WINDOW)
        };
        assert_eq!(after(MANY - 1), None);
        assert_eq!(after(MANY), Some(Haste::Brisk));
        assert_eq!(after(2 * MANY), None);
        for _ in 1..CALM {
            assert_eq!(after(FEW), None);
        }
        assert_eq!(after(FEW + 1), None, "it was not calm for long enough");
        for _ in 1..CALM {
            assert_eq!(after(0), None);
        }
        assert_eq!(after(0), Some(Haste::Now));
    }

    #[test]
    fn a_window_is_counted_to_its_end() {
        let mut gear = Gear::new(0);
        gear.read(MANY);
        assert_eq!(gear.shift(WINDOW - 1), None);
        assert_eq!(gear.shift(WINDOW), Some(Haste::Brisk));
    }
}
