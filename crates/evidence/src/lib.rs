#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod call;
pub mod capture;
pub mod event;
pub mod exception;
pub mod fact;
pub mod identity;
pub mod notice;
pub mod report;
pub mod session;

#[cfg(test)]
mod tests;
