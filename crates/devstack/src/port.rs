//! A free TCP port on the loopback address.
//!
//! # Why
//!
//! Port 0 would let the kernel choose from its ephemeral range. A server that is stopped and
//! started again on such a port may find it taken by any outgoing connection meanwhile, worst by a
//! client that retries and so connects to itself. Below that range only listeners compete.

use std::net::{Ipv4Addr, TcpListener};

use super::error::DevstackError;

/// Minimum port.
const MIN_PORT: u16 = 15_000;
/// Maximum port. Linux begins its ephemeral range at 32768.
const MAX_PORT: u16 = 32_000;

/// Maximum number of ports that are tried.
const MAX_TRIES: usize = 200;

/// A port of 127.0.0.1 that is free at this moment. Another process may take it before the caller
/// does, who then tries the next one.
///
/// # Errors
/// [`DevstackError::NoFreePort`] if none of the tried ports is free.
pub fn free_port() -> Result<u16, DevstackError> {
    (0..MAX_TRIES)
        .map(|_| rand::random_range(MIN_PORT..=MAX_PORT))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or(DevstackError::NoFreePort(MIN_PORT, MAX_PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_listened_on_and_lies_below_the_ephemeral_range() {
        // More than once, because a fork in another thread may keep the trial's socket for a
        // moment.
        let is_usable = |port| {
            assert!((MIN_PORT..=MAX_PORT).contains(&port));
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        };
        assert!((0..50).any(|_| is_usable(free_port().unwrap())));
    }
}
