//! One binary, so that everything links once.

mod at_exit;
mod client;
mod corridor;
mod house;
mod kafka;
mod postgres;
