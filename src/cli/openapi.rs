//! `onrecord openapi`: prints the description of the HTTP interface.

use std::process::ExitCode;

use super::serve::api_description;

/// Prints the OpenAPI document, as `/openapi.json` answers it.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    println!("{:#}", api_description::document()?);
    Ok(ExitCode::SUCCESS)
}
