//! The client that listens, and shows each change with its latency.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use super::ground::Stage;
use super::screen::Screen;
use crate::clock;
use crate::simulator::{Journal, Latency, Listener, Sound, Told};

/// The stream must be open within this time.
const OPENED_WITHIN: Duration = Duration::from_secs(20);
/// Latencies that are kept.
const KEPT: usize = 1_000_000;

/// Latencies of changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// From the posting of what made the change to hearing it.
    pub of_delivery: Vec<Duration>,
    /// From when a client's off was to be believed.
    pub after_bridge: Vec<Duration>,
    /// How often the stream said that something may have been missed.
    pub gaps: u64,
}

/// A client that listens to everything.
pub(super) struct Hearing {
    latencies: Arc<Mutex<Latencies>>,
    _listens: AbortOnDropHandle<()>,
}

impl Hearing {
    /// Listens, once the stream is open.
    pub async fn begin(stage: &Stage, journal: Journal, screen: Screen) -> anyhow::Result<Self> {
        let listener = Listener::new(&stage.url, stage.app_key.clone())?;
        let latencies = Arc::<Mutex<Latencies>>::default();
        let (sounds, heard) = mpsc::channel(1024);
        let (opens, opened) = oneshot::channel();
        let ear = Ear {
            journal,
            screen,
            latencies: Arc::clone(&latencies),
        };
        let listens = AbortOnDropHandle::new(tokio::spawn(async move {
            tokio::join!(listener.listen(sounds), ear.hear(heard, opens));
        }));
        match tokio::time::timeout(OPENED_WITHIN, opened).await {
            Ok(Ok(())) => Ok(Self {
                latencies,
                _listens: listens,
            }),
            _ => Err(anyhow!("the stream of notices could not be opened")),
        }
    }

    pub fn latencies(&self) -> Latencies {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

struct Ear {
    journal: Journal,
    screen: Screen,
    latencies: Arc<Mutex<Latencies>>,
}

impl Ear {
    async fn hear(self, mut heard: mpsc::Receiver<Sound>, opens: oneshot::Sender<()>) {
        let mut opens = Some(opens);
        while let Some(sound) = heard.recv().await {
            match sound {
                Sound::Opened => {
                    if let Some(opens) = opens.take() {
                        // Whoever waited may have given up.
                        let _ = opens.send(());
                    }
                }
                Sound::BrokeOff(why) => tracing::info!(
                    "the listening client's stream broke off and is taken up again: {why}"
                ),
                Sound::Heard { kind, body, at } => {
                    for told in self.journal.heard(&kind, &body, at) {
                        self.keep(|latencies| match told.latency {
                            Some(Latency::OfDelivery(latency)) => {
                                latencies.of_delivery.push(latency)
                            }
                            Some(Latency::AfterBridge(latency)) => {
                                latencies.after_bridge.push(latency)
                            }
                            None => {}
                        });
                        self.screen.say(&line(
                            &clock::now().format("%H:%M:%S%.3f").to_string(),
                            &told,
                        ));
                    }
                    if kind == "gap" {
                        self.keep(|latencies| latencies.gaps += 1);
                    }
                }
            }
        }
    }

    fn keep(&self, what: impl FnOnce(&mut Latencies)) {
        let mut latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if latencies.of_delivery.len() + latencies.after_bridge.len() < KEPT {
            what(&mut latencies);
        }
    }
}

/// What stands above the lines.
pub(super) fn heading() -> String {
    format!(
        "\n{:<12}  {:<8}  {:<18}  {:>15}  of what, told by whom",
        "time (UTC)", "call", "a client hears", "after"
    )
}

fn line(time: &str, told: &Told) -> String {
    let call = told.public_id.get(..8).unwrap_or(&told.public_id);
    let what = format!("{} {}", told.capture.as_str(), told.state.as_str());
    let after = match told.latency {
        Some(Latency::OfDelivery(latency)) => milliseconds(latency),
        Some(Latency::AfterBridge(latency)) => format!("5 s + {}", milliseconds(latency)),
        None if told.is_over => "(call over)".to_owned(),
        None => String::new(),
    };
    let sources = if told.sources.is_empty() {
        String::new()
    } else {
        format!(": {}", told.sources.join(", "))
    };
    format!(
        "{time:<12}  {call:<8}  {what:<18}  {after:>15}  {}{sources}",
        told.title
    )
}

/// With one digit, in milliseconds.
pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fact::CaptureType;
    use crate::domain::indication::IndicationState;

    #[test]
    fn lines_stand_below_their_heading() {
        let told = Told {
            title: "1:1 call",
            public_id: "3f2a91c0-0000-4000-8000-000000000000".to_owned(),
            capture: CaptureType::Recording,
            state: IndicationState::On,
            announced: true,
            is_over: false,
            latency: Some(Latency::OfDelivery(Duration::from_micros(4_249))),
            sources: vec!["report".to_owned()],
        };
        assert_eq!(
            line("18:00:01.234", &told),
            "18:00:01.234  3f2a91c0  recording on                 4.2 ms  1:1 call: report"
        );
        let off = Told {
            state: IndicationState::Off,
            latency: Some(Latency::AfterBridge(Duration::from_millis(23))),
            sources: Vec::new(),
            ..told
        };
        assert_eq!(
            line("18:00:01.234", &off),
            "18:00:01.234  3f2a91c0  recording off         5 s + 23.0 ms  1:1 call"
        );
        assert_eq!(
            heading().trim().find("of what"),
            line("18:00:01.234", &off).find("1:1")
        );
    }
}
