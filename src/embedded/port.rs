//! A free TCP port on the loopback address.
//!
//! # Why
//!
//! Port 0 would let the kernel choose from its ephemeral range. A server that is stopped and
//! started again on such a port may find it taken by any outgoing connection meanwhile, worst by a
//! client that retries and so connects to itself. Below that range only listeners compete.

use std::net::{Ipv4Addr, TcpListener};

use super::EmbeddedError;

/// The lowest port that is tried.
pub const LOWEST: u16 = 15_000;
/// The highest port that is tried; Linux begins its ephemeral range at 32768.
pub const HIGHEST: u16 = 32_000;

const TRIES: usize = 200;

/// A port of 127.0.0.1 on which nobody listens at this moment. Whoever uses it must be prepared to
/// lose it to another process and try the next.
///
/// # Errors
/// [`EmbeddedError::NoFreePort`] if chance finds none.
pub fn free_port() -> Result<u16, EmbeddedError> {
    (0..TRIES)
        .map(|_| rand::random_range(LOWEST..=HIGHEST))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(EmbeddedError::NoFreePort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_listened_on_and_lies_below_the_ephemeral_range() {
        // More than once, because a fork in another thread may keep the trial's socket for a
        // moment.
        let is_usable = |port| {
            assert!((LOWEST..=HIGHEST).contains(&port));
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        assert!((0..50).any(|_| is_usable(free_port().unwrap())));
    }
}
