//! How hasty the board's reading is.
//!
//! # Why
//!
//! Asked for each message at once, a broker answers, and the board wakes, up to once for each
//! message. Where few come that is what makes a notice quick; where a thousand come in a second it
//! costs more than all that the board does with them. Whoever waits two milliseconds then finds
//! two, three, or more, and a reader of notices does not notice.

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

    /// The haste to read with, if it is another one. To be asked again and again.
    pub fn wanted(&mut self, now: Millis) -> Option<Haste> {
        if (0..WINDOW).contains(&(now - self.window_began)) {
            return None;
        }
        let messages = std::mem::take(&mut self.messages);
        self.window_began = now;
        self.calm = if messages <= FEW { self.calm + 1 } else { 0 };
        match self.haste {
            Haste::Now if messages >= MANY => Some(Haste::Brisk),
            Haste::Brisk if self.calm >= CALM => Some(Haste::Now),
            _ => None,
        }
    }

    /// It is read with this haste now.
    pub fn shifted(&mut self, haste: Haste) {
        self.haste = haste;
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
            let wanted = gear.wanted(second * WINDOW);
            wanted.into_iter().for_each(|haste| gear.shifted(haste));
            wanted
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
        assert_eq!(gear.wanted(WINDOW - 1), None);
        assert_eq!(gear.wanted(WINDOW), Some(Haste::Brisk));
        // It could not be: it is wanted again.
        gear.read(MANY);
        assert_eq!(gear.wanted(2 * WINDOW), Some(Haste::Brisk));
    }
}
