//! One binary, so that everything links once.

#![cfg(test)]

mod at_exit;
mod azure;
mod client;
mod corridor;
mod door;
mod evidence;
mod house;
mod kafka;
mod outage;
mod postgres;
mod samples;
mod secrets;
mod streams;
