//! The page of the sign-in.

use askama::Template;

use crate::console::frame::PageFrame;

#[derive(Template)]
#[template(path = "sign_in.html")]
pub(super) struct SignInPage {
    pub f: PageFrame,
    /// Path of the page to show afterwards.
    pub then: String,
    pub form_token: String,
    /// What was wrong with the last attempt.
    pub refusal: Option<&'static str>,
}
