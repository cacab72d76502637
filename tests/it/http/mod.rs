//! The HTTP server and what all resources share: credentials, bodies, limits.

mod credentials_first;
