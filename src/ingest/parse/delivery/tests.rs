//! What a delivery becomes: its samples, the laws `NOTHING_LOST` and `NO_SECRETS`, binary mode.

mod binary_mode;
mod no_secrets;
mod nothing_lost;
mod samples;
mod side_members;
