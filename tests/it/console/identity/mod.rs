//! Who signs in to the console: by an API key, or by a provider of OpenID Connect; users and their tenants.

mod accounts;
mod oidc;
mod oidc_refusals;
mod sign_in;
