//! Which addresses an attempt may call (the guard against server-side request forgery).
//!
//! * [`address_class`]: what kind of address is not public.
//! * [`destination_rules`]: whether an address or URL may be called, by the settings.
//! * [`guarded_client`]: the HTTP client, whose resolver applies the rules to each address that it connects to.

pub(crate) mod address_class;
pub(crate) mod destination_rules;
pub(crate) mod guarded_client;
