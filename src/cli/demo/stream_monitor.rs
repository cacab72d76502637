//! The client that receives the stream of notices, and prints each change with its latency.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::environment::DemoServer;
use super::terminal::Terminal;
use crate::clock;
use crate::lifecycle::detached::spawn_detached;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_simulator::{
    ChangeLatency, ObservationLog, ObservedChange, StreamEvent, StreamListener,
};

/// Timeout of the opening of the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of latencies that are kept.
const MAX_LATENCIES: usize = 1_000_000;

/// The latencies of the observed changes.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeLatencies {
    /// From the posting of the delivery that caused the change to its notice.
    pub of_delivery: Vec<Duration>,
    /// From the end of the bridge after a client's off to its notice.
    pub after_bridge: Vec<Duration>,
    /// How often the stream stated that messages may have been missed.
    pub gaps: u64,
}

/// A client that receives every notice.
pub(super) struct StreamMonitor {
    latencies: Arc<Mutex<ChangeLatencies>>,
    _task: AbortOnDropHandle<()>,
}

impl StreamMonitor {
    /// Starts the client, and waits until its stream is open.
    pub(super) async fn start(
        server: &DemoServer,
        observations: ObservationLog,
        terminal: Terminal,
    ) -> anyhow::Result<Self> {
        let listener = StreamListener::new(&server.url, server.app_key.clone())?;
        let latencies = Arc::<Mutex<ChangeLatencies>>::default();
        let (sender, mut received) = mpsc::channel(1024);
        let (open, opened) = oneshot::channel();
        let added = Arc::clone(&latencies);
        let receive = async move {
            let mut open = Some(open);
            while let Some(event) = received.recv().await {
                match event {
                    StreamEvent::Opened => {
                        if let Some(open) = open.take() {
                            // The receiver is gone after its timeout.
                            let _ = open.send(());
                        }
                    }
                    StreamEvent::Disconnected(reason) => tracing::info!(
                        "the stream of notices was disconnected and is resumed: {reason}"
                    ),
                    StreamEvent::Message { kind, body, at } => {
                        let changes = observations.record_message(&kind, &body, at);
                        add_message(&added, &terminal, &changes, kind == "gap");
                    }
                }
            }
        };
        let running = AbortOnDropHandle::new(spawn_detached(async move {
            tokio::join!(listener.listen(sender), receive);
        }));
        match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
            Ok(Ok(())) => Ok(Self { latencies, _task: running }),
            _ => Err(anyhow!("the stream of notices could not be opened")),
        }
    }

    pub(super) fn latencies(&self) -> ChangeLatencies {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Prints every change that a message states, and adds its latency.
fn add_message(
    latencies: &Mutex<ChangeLatencies>,
    terminal: &Terminal,
    changes: &[ObservedChange],
    is_gap: bool,
) {
    let mut latencies = latencies.lock().unwrap_or_else(PoisonError::into_inner);
    for change in changes {
        let has_room = latencies.of_delivery.len() + latencies.after_bridge.len() < MAX_LATENCIES;
        match change.latency.filter(|_| has_room) {
            Some(ChangeLatency::OfDelivery(latency)) => latencies.of_delivery.push(latency),
            Some(ChangeLatency::AfterBridge(latency)) => latencies.after_bridge.push(latency),
            None => {}
        }
        terminal.print(&line(&clock::now().format("%H:%M:%S%.3f").to_string(), change));
    }
    latencies.gaps += u64::from(is_gap);
}

/// The heading of the lines.
pub(super) fn heading() -> String {
    format!(
        "\n{:<12}  {:<8}  {:<18}  {:>15}  call type: sources",
        "time (UTC)", "call", "notice", "latency"
    )
}

fn line(time: &str, change: &ObservedChange) -> String {
    let call = change.public_id.get(..8).unwrap_or(&change.public_id);
    let what = format!("{} {}", change.capture_type.as_str(), change.state.as_str());
    let after = match change.latency {
        Some(ChangeLatency::OfDelivery(latency)) => milliseconds(latency),
        Some(ChangeLatency::AfterBridge(latency)) => format!("5 s + {}", milliseconds(latency)),
        None if change.is_call_end => "(call ended)".to_owned(),
        None => String::new(),
    };
    let sources = if change.sources.is_empty() {
        String::new()
    } else {
        format!(": {}", change.sources.join(", "))
    };
    format!("{time:<12}  {call:<8}  {what:<18}  {after:>15}  {}{sources}", change.title)
}

/// A duration in milliseconds, with one decimal place.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onrecord_evidence::fact::kinds::CaptureType;
    use onrecord_evidence::notice::indication::IndicationState;

    #[test]
    fn lines_are_aligned_with_their_heading() {
        let change = ObservedChange {
            title: "1:1 call",
            public_id: "3f2a91c0-0000-4000-8000-000000000000".to_owned(),
            capture_type: CaptureType::Recording,
            state: IndicationState::On,
            announced: true,
            is_call_end: false,
            latency: Some(ChangeLatency::OfDelivery(Duration::from_micros(4_249))),
            sources: vec!["report".to_owned()],
        };
        assert_eq!(
            line("18:00:01.234", &change),
            "18:00:01.234  3f2a91c0  recording on                 4.2 ms  1:1 call: report"
        );
        let off = ObservedChange {
            state: IndicationState::Off,
            latency: Some(ChangeLatency::AfterBridge(Duration::from_millis(23))),
            sources: Vec::new(),
            ..change
        };
        assert_eq!(
            line("18:00:01.234", &off),
            "18:00:01.234  3f2a91c0  recording off         5 s + 23.0 ms  1:1 call"
        );
        assert_eq!(heading().trim().find("call type"), line("18:00:01.234", &off).find("1:1"));
    }
}
