//! The simulator: realistic calls for `demo` and `simulate`, sent as Azure and client apps send
//! them, and a client that observes the notices.
//!
//! Input: a seed and a configuration of the calls. Output: HTTP requests to the public endpoints of
//! a server, and a check of the observed notices against the scripts of the calls. The simulator
//! knows the vocabulary of the evidence rules and the HTTP contract only, never the service's own
//! modules, because it has to test them from outside.
//!
//! # Layout
//!
//! * `rng`: the seeded random numbers; `http`: the HTTP client; [`sse`]: the parser of
//!   server-sent events.
//! * `call`: what one call consists of: participants, ids, a faulty client, an
//!   intruder, the script; and a call that a user controls.
//! * `formats`: the payloads of Event Grid, Call Automation and client apps.
//! * `scenario`: the configuration of a run, the timeline of a call, and the builder of its script.
//! * `senders`: posting over HTTP, with Event Grid's retries if wanted.
//! * `observe`: the stream of notices, the query API, and the comparison with the script.
//! * `playback`: plays one script in real time; `interactive_playback`: plays a call that a user
//!   controls; `run`: plays the calls of a run.

mod call;
mod formats;
mod http;
mod interactive_playback;
mod observe;
mod playback;
mod rng;
mod run;
mod scenario;
mod senders;
pub mod sse;

pub use call::interactive_call::{
    InteractiveCall, InteractiveCallInfo, InteractiveParticipant, SdkState,
};
pub use call::participants::SimulatedResource;
pub use call::script::{
    ACKNOWLEDGEMENT, BodyFormat, CallScript, ChangeTrigger, DeliveryNumber, DeliveryTarget,
    ExpectedChange, SimulatedDelivery, SimulatedEvent, SimulatedEventId, SimulatedRequest,
};
pub use formats::event_grid::EventGridGeneration;
pub use http::ServerAddressError;
pub use interactive_playback::{
    InteractiveChange, InteractiveChangeError, InteractiveControl, PostedAnswer, play_interactive,
};
pub use observe::api_reader::{ApiReadError, ApiReader, ListedEvent, ListedQuarantine};
pub use observe::call_observation::{ChangeLatency, ObservationCheck, ObservedChange};
pub use observe::observation_log::ObservationLog;
pub use observe::stream_listener::{StreamEvent, StreamListener};
pub use playback::{Playback, play_script};
pub use rng::SeededRng;
pub use run::SimulationRun;
pub use scenario::scenario_config::{EnabledTargets, ScenarioConfig};
pub use senders::event_grid_sender::{EventGridCounts, EventGridSender, TimeScale};
pub use senders::http_sender::{AnswerCounts, HttpSender, NotAccepted, ServerAccess, SourceAccess};
pub use senders::retry_table::{EventGridOutcome, RESPONSE_TIMEOUT};
