//! One binary, so that everything links once.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    reason = "tests make events of now, and read which stores they are given"
)]

mod accounts;
mod acknowledgements;
mod at_exit;
mod azure;
mod browsers;
mod client;
mod corridor;
mod demo;
mod doctor;
mod door;
mod evidence;
mod exceptions;
mod faults;
mod fuzz;
mod house;
mod house_rules;
mod jwt;
mod kafka;
mod nodes;
mod notices;
mod outage;
mod outages;
mod postgres;
mod process;
mod proof;
mod readers;
mod reading;
mod samples;
mod secrets;
mod socket;
mod spool;
mod streams;
mod surroundings;
mod tenants;
mod told;
mod websocket;
