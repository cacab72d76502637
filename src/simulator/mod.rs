//! The simulator: realistic calls for `demo` and `simulate`, a sender as Azure and client apps are,
//! and a client that listens.
//!
//! What comes in: a seed and what the calls are to be like. What goes out: HTTP requests to a
//! server's public doors, as those who know nothing but the contract send them; and whether what
//! was heard is what the scripts call for. It imports the words only, and never the rooms that it
//! puts to the proof.
//!
//! # Layout
//!
//! * [`chance`]: all that is drawn; [`cast`]: who is in a call, and its ids.
//! * [`course`]: what happens; [`lapse`]: which app fails to tell; [`production`]: what the calls of
//!   a run are like.
//! * [`event_grid`], [`call_automation`], [`client_leg`], [`times`]: the dialects.
//! * [`author`]: writes the [`script`] of a call with a [`pen`].
//! * [`retry_table`], [`event_grid_sender`]: how Event Grid tries again.
//! * [`run`]: begins the calls; [`performance`]: plays one through the [`client`].
//! * [`listener`]: hears; [`reader`]: reads the record.
//! * [`journal`]: what was posted and heard; [`record`]: what had to be heard of a call.

mod author;
mod call_automation;
mod cast;
mod chance;
mod client;
mod client_leg;
mod course;
mod event_grid;
mod event_grid_sender;
mod journal;
mod lapse;
mod listener;
mod pen;
mod performance;
mod production;
mod reader;
mod record;
mod retry_table;
mod run;
mod script;
mod times;

pub use cast::World;
pub use chance::Chance;
pub use client::{Access, AddressError, NotTaken, Sender, SourceAccess, Tally};
pub use event_grid::Generation;
pub use event_grid_sender::{EventGridSender, Fate, Fates, TimeScale};
pub use journal::Journal;
pub use listener::{Listener, Sound};
pub use performance::{Performance, perform};
pub use production::{Channels, Production};
pub use reader::{Line, Quarantined, ReadError, Reader};
pub use record::{Latency, Told, Verdict};
pub use retry_table::{Answer, PATIENCE};
pub use run::Run;
pub use script::{
    ACKNOWLEDGEMENT, Cause, Change, Delivery, DeliveryId, Door, EventName, Request, Script,
    SimulatedEvent, Wrap,
};
