//! A sign-in that a browser began and the provider has not answered yet.
//!
//! # Why
//!
//! State, nonce and PKCE verifier follow from a random cookie that only this browser has and no script reads.
//! So the way back counts in that browser only, and an address that was made for another browser signs this one in to nothing. What
//! the state says itself (when it was begun, where it continues) is covered by its last part.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};

use crate::console::session::token::{is_same_token, random_token};
use onrecord_evidence::event::ids::Digest;

/// Maximum time between the way to the provider and the way back.
pub(super) const MAX_AGE: TimeDelta = TimeDelta::minutes(10);
/// Maximum difference between the clocks of two nodes.
const CLOCK_SKEW: TimeDelta = TimeDelta::minutes(1);
/// Maximum length of the path to continue with, which is a part of the address of the provider.
const MAX_PATH: usize = 800;

/// A sign-in in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingSignIn {
    pub state: String,
    pub nonce: String,
    /// The verifier of PKCE.
    pub verifier: String,
    /// Path of the page to continue with.
    pub then: String,
}

impl PendingSignIn {
    /// Begins a sign-in in the browser with this cookie.
    pub(super) fn begin(cookie: &str, then: &str, now: DateTime<Utc>) -> Self {
        let then = if then.len() > MAX_PATH { "/console/" } else { then };
        let head =
            format!("{}.{}.{}", now.timestamp(), URL_SAFE_NO_PAD.encode(then), random_token());
        Self::of(cookie, &head, then)
    }

    /// The sign-in that came back to the browser with this cookie. `None`: another browser began it, or it is too
    /// old.
    pub(super) fn returned(cookie: &str, state: &str, now: DateTime<Utc>) -> Option<Self> {
        let (head, _) = state.rsplit_once('.')?;
        let mut parts = head.splitn(3, '.');
        // A state that this service did not write belongs to no sign-in.
        let begun_at = DateTime::from_timestamp(parts.next()?.parse().ok()?, 0)?;
        let then = String::from_utf8(URL_SAFE_NO_PAD.decode(parts.next()?).ok()?).ok()?;
        let expected = Self::of(cookie, head, &then);
        let age = now - begun_at;
        let is_it = is_same_token(&expected.state, state) && age <= MAX_AGE && age >= -CLOCK_SKEW;
        is_it.then_some(expected)
    }

    fn of(cookie: &str, head: &str, then: &str) -> Self {
        let derived =
            |what: &str| URL_SAFE_NO_PAD.encode(Digest::of_parts(&[what, cookie, head]).as_bytes());
        Self {
            state: format!("{head}.{}", derived("state of a sign-in")),
            nonce: derived("nonce of a sign-in"),
            verifier: derived("verifier of a sign-in"),
            then: then.to_owned(),
        }
    }

    /// The digest under which the state is noted when it is used.
    pub(super) fn state_hash(&self) -> Digest {
        Digest::of(self.state.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_sign_in_comes_back_to_its_browser_within_ten_minutes_and_as_it_was_begun() {
        let now = clock::now();
        let begun = PendingSignIn::begin("cookie", "/console/calls?state=open", now);
        assert!((43..=128).contains(&begun.verifier.len()));
        let back = |cookie: &str, state: &str, after: i64| {
            PendingSignIn::returned(cookie, state, now + TimeDelta::seconds(after))
        };
        assert_eq!(back("cookie", &begun.state, 599), Some(begun.clone()));
        assert_eq!(back("cookie", &begun.state, -30), Some(begun.clone()));
        assert_eq!(back("cookie", &begun.state, 602), None);
        assert_eq!(back("cookie", &begun.state, -90), None);
        assert_eq!(back("another", &begun.state, 0), None);
        // None of its parts can be changed.
        let parts: Vec<&str> = begun.state.split('.').collect();
        let later = (now + TimeDelta::minutes(9)).timestamp().to_string();
        let elsewhere = URL_SAFE_NO_PAD.encode("/console/settings");
        for (at, part) in [(0, later.as_str()), (1, &elsewhere), (2, "x"), (3, "x"), (3, "")] {
            let mut changed = parts.clone();
            changed[at] = part;
            assert_eq!(back("cookie", &changed.join("."), 0), None, "{at}");
        }
        for other in ["", ".", "...", "x.y.z.w", "9223372036854775807.AA.x.y"] {
            assert_eq!(back("cookie", other, 0), None, "{other}");
        }
    }

    #[test]
    fn two_sign_ins_of_a_browser_have_nothing_in_common() {
        let now = clock::now();
        let (one, other) = (
            PendingSignIn::begin("cookie", "/console/", now),
            PendingSignIn::begin("cookie", "/console/", now),
        );
        assert!(
            one.state != other.state && one.nonce != other.nonce && one.verifier != other.verifier
        );
        let long = PendingSignIn::begin("cookie", &format!("/console/{}", "a".repeat(2000)), now);
        assert_eq!(long.then, "/console/");
    }
}
