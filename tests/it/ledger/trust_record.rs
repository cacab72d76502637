//! What the record shows of the word of each client: whose claim was refused, who is an outsider, and
//! what proves each notice. Attacks and honest participants, in every order in which the events of the
//! platform and of the clients arrive.

use std::process::Command;

use chrono::{DateTime, TimeDelta, Utc};
use onrecord::kafka::{EventMessage, Provenance};
use onrecord_evidence::event::calling_event::{CallingEvent, Statement};
use onrecord_evidence::event::ids::{self, Digest, Ids, Tenant};
use rdkafka::producer::FutureProducer;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::end_to_end::urlencoded;
use crate::live::acknowledgements::{acknowledges, displayed};
use crate::live::notices::{bulk_producer, put};
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, BOB, Call};

const MALLORY: &str = "8:acs:11111111-1111-4111-8111-111111111111_0000000m-mallory";

/// A call, with the instant before which all its events happened.
struct PastCall {
    call: Call,
    made_at: DateTime<Utc>,
}

impl PastCall {
    fn new() -> Self {
        Self { call: Call::new(), made_at: Utc::now() }
    }

    /// The instant so many seconds before.
    fn ago(&self, seconds: f64) -> DateTime<Utc> {
        self.made_at - TimeDelta::milliseconds((seconds * 1e3) as i64)
    }

    fn path(&self, resource: &str) -> String {
        format!("/v1/calls/{}{resource}", urlencoded(&self.call.server_call_id))
    }
}

/// An Event Grid event of a participant, of some seconds ago.
fn participant(call: &PastCall, name: &str, raw_id: &str, id: &str, seconds: f64) -> Value {
    let mut event = call.call.joined(raw_id, id);
    event[0]["eventType"] = json!(format!("Microsoft.Communication.{name}"));
    event[0]["eventTime"] = json!(call.ago(seconds).to_rfc3339());
    event
}

fn joined(call: &PastCall, raw_id: &str, id: &str, seconds: f64) -> Value {
    participant(call, "CallParticipantAdded", raw_id, id, seconds)
}

/// Several deliveries in one.
fn together(batches: &[Value]) -> Value {
    batches.iter().flat_map(|batch| batch.as_array().cloned().unwrap_or_default()).collect()
}

/// A client of a participant: what it reports has arrived some seconds ago.
struct Client<'c> {
    call: &'c PastCall,
    raw_id: &'c str,
    attachment: Uuid,
}

impl<'c> Client<'c> {
    fn new(call: &'c PastCall, raw_id: &'c str) -> Self {
        Self { call, raw_id, attachment: Uuid::new_v4() }
    }

    fn report(
        &self,
        sequence: i64,
        seconds: f64,
        named: Option<&str>,
        more: &Value,
    ) -> EventMessage {
        let is_teams = self.raw_id == BOB;
        let mut report = json!({
            "participant": {
                "raw_id": self.raw_id, "cloud": "public",
                "kind": if is_teams { "microsoftTeamsUser" } else { "communicationUser" },
                "identity": if is_teams { "teams_custom" } else { "acs" },
            },
            "sequence": sequence,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            report[name] = value.clone();
        }
        let event = CallingEvent {
            statement: Statement::Report(serde_json::from_value(report.clone()).unwrap()),
            ids: Ids {
                server_call_id: ids::server_call_id(&self.call.call.server_call_id),
                participant_id: named.map(str::to_owned),
                attachment: Some(self.attachment.to_string()),
                ..Ids::default()
            },
            source_type: "report".to_owned(),
            generation: None,
            redacted: Vec::new(),
            flagged: Vec::new(),
        };
        EventMessage {
            credential: None,
            tenant: Tenant::parse("contoso").unwrap(),
            provenance: Provenance::Client,
            source: "client".to_owned(),
            ce_source: format!("onrecord/attachments/{}", self.attachment),
            ce_id: Uuid::new_v4().to_string(),
            ce_time: None,
            received: self.call.ago(seconds),
            sha256: Digest::of(report.to_string().as_bytes()),
            content_coding: None,
            charset: None,
            content: Digest::of(report.to_string().as_bytes()),
            original: report.to_string(),
            event,
        }
    }
}

/// A service whose log also has reports that arrived earlier than now.
struct Record {
    app: TestApp,
    producer: FutureProducer,
}

impl Record {
    async fn open() -> Self {
        let app = TestApp::open().await;
        let producer = bulk_producer(&app.stores.brokers);
        Self { app, producer }
    }

    async fn reports(&mut self, call: &PastCall, reports: &[EventMessage]) {
        let topic = format!("{}calling-events.v1", self.app.stores.prefix);
        put(&self.producer, &topic, 0, reports, Utc::now().timestamp_millis()).await;
        // The next events arrive after these are recorded.
        let path = call.path("/timeline?limit=1000");
        let ids: Vec<Value> = reports.iter().map(|report| json!(report.ce_id)).collect();
        self.app
            .sees(&path, |seen| {
                let events = seen["events"].as_array().unwrap();
                ids.iter().all(|id| events.iter().any(|event| event["ce_id"] == *id))
            })
            .await;
    }

    async fn call(&mut self, call: &PastCall, wanted: impl Fn(&Value) -> bool) -> Value {
        self.app.sees(&call.path(""), wanted).await
    }

    async fn evidence(&mut self, call: &PastCall, wanted: impl Fn(&Value) -> bool) -> Value {
        let seen = self.app.sees(&call.path("/evidence"), wanted).await;
        assert_eq!(seen["recomputed"], "equal", "{seen:#}");
        seen
    }

    async fn open_exceptions(&mut self, call: &PastCall) -> Vec<String> {
        let path =
            format!("/v1/exceptions?state=open&call={}", urlencoded(&call.call.server_call_id));
        let seen = self.app.reads(&path).await;
        let exceptions = seen["exceptions"].as_array().unwrap().iter();
        exceptions.map(|one| one["sentence"].as_str().unwrap().to_owned()).collect()
    }

    /// Recomputes every stored version, and compares the table of obligations with the evidence.
    async fn recomputes_equally(self, calls: &[Value]) {
        let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(["evidence", "recompute", "--tenant", "contoso", "--all"])
            .env("ONRECORD_DATABASE_URL", &self.app.stores.database_url)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{text}");
        let database = self.app.stores.database().await;
        for evidence in calls {
            let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
                "select session, type, proof from obligation where call = $1 order by type, due_at, session",
            )
            .bind(evidence["call"].as_str())
            .fetch_all(&database)
            .await
            .unwrap();
            let of_text = |value: &Value| value.as_str().unwrap().to_owned();
            let why = evidence["why"].as_array().unwrap().iter();
            let shown: Vec<_> = why
                .map(|it| {
                    (
                        of_text(&it["session"]),
                        of_text(&it["type"]),
                        it["proof"].as_str().map(str::to_owned),
                    )
                })
                .collect();
            assert_eq!(rows, shown);
        }
        self.app.stop().await;
    }
}

/// The participant of a session.
fn session<'v>(call: &'v Value, session: &str) -> &'v Value {
    let mut participants = call["participants"].as_array().unwrap().iter();
    participants
        .find(|one| one["session"] == session)
        .unwrap_or_else(|| panic!("{session}: {call:#}"))
}

/// Session, type, status and proof of each obligation.
fn obligations(evidence: &Value) -> Vec<String> {
    let obligations = evidence["report"]["obligations"].as_array().unwrap();
    let why = evidence["why"].as_array().unwrap();
    let rows = obligations.iter().zip(why).map(|(one, why)| {
        assert_eq!((&one["session"], &one["due_at"]), (&why["session"], &why["due_at"]));
        let row = [&one["session"], &one["type"], &one["status"], &why["proof"]];
        row.map(|text| text.as_str().unwrap_or("none")).join(" ")
    });
    rows.collect()
}

const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

#[tokio::test(flavor = "multi_thread")]
async fn a_participant_that_claims_the_session_of_another_is_recorded_for_itself_alone() {
    let mut record = Record::open().await;
    let token = record.app.token(MALLORY).await;
    let mut all = Vec::new();
    for order in ORDERS {
        let call = PastCall::new();
        let (alice, mallory) = (Client::new(&call, ALICE), Client::new(&call, MALLORY));
        for step in order {
            match step {
                0 => {
                    let named =
                        [joined(&call, ALICE, "p1", 120.0), joined(&call, MALLORY, "p9", 120.0)];
                    record.app.event_grid_posts(&together(&named)).await;
                    record
                        .app
                        .call_automation_posts(&call.call.recording("active", call.ago(100.0)))
                        .await;
                }
                // Her client has to ask for consent, and shows nothing. It alone states the transcription.
                1 => {
                    let stated = json!({ "recording": "on", "transcription": "on", "consent_required": ["recording"] });
                    let reports = [(1, 99.8), (2, 60.0), (3, 1.0)]
                        .map(|(sequence, at)| alice.report(sequence, at, Some("p1"), &stated));
                    record.reports(&call, &reports).await;
                }
                // The client of another participant shows, consents and leaves in her name.
                _ => {
                    let shown = json!([{ "type": "recording", "state": "on", "elapsed_ms": 0 }]);
                    let off = json!({ "recording": "off", "transcription": "off", "shown": shown });
                    let leaving =
                        json!({ "recording": "off", "transcription": "off", "leaving": true });
                    let reports = [
                        mallory.report(1, 99.5, Some("p1"), &off),
                        mallory.report(2, 99.0, Some("p1"), &leaving),
                    ];
                    record.reports(&call, &reports).await;
                    let consented = json!({ "kind": "consented", "state": null });
                    let items = [&mallory, &alice].map(|of| displayed(&of.attachment, &consented));
                    // That for an attachment of hers is rejected, or belongs to no session.
                    let (status, answers) = acknowledges(&record.app, &token, &items).await;
                    assert!(status.is_success() && answers[0]["status"] == "accepted", "{answers}");
                }
            }
        }
        let seen = record
            .call(&call, |it| {
                it["indication"]["transcription"]["state"] == "on"
                    && it["participants"].as_array().is_some_and(|it| it.len() == 2)
                    && it["participants"][0]["proof"] == "platform"
                    && it["participants"][1]["flags"] == json!(["CLAIM_REFUSED"])
            })
            .await;
        let (hers, other) = (session(&seen, "p:p1"), session(&seen, "p:p9"));
        assert_eq!((&hers["flags"], &hers["proof"]), (&json!([]), &json!("platform")), "{order:?}");
        assert!(hers["left_at"].is_null() && other["left_at"].is_string(), "{seen:#}");
        let client = |of: &Client<'_>| json!([{ "attachment": of.attachment, "raw_id": of.raw_id, "trust": "platform" }]);
        assert_eq!(hers["attachments"], client(&alice));
        assert_eq!(other["attachments"], client(&mallory));
        for capture in ["recording", "transcription"] {
            let level = json!({ "state": "on", "stale": false });
            assert_eq!(seen["indication"][capture], level, "{order:?}");
        }
        let evidence = record
            .evidence(&call, |it| {
                it["report"]["obligations"][0]["consent"] == "REQUIRED"
                    && it["verdict"] == "EXCEPTIONS"
            })
            .await;
        let found = obligations(&evidence);
        for row in [
            "p:p1 recording NOT_SENT platform",
            "p:p1 transcription NOT_SENT platform",
            "p:p9 recording MET platform",
        ] {
            assert!(found.contains(&row.to_owned()), "{row}: {found:?}");
        }
        let hers = &evidence["report"]["obligations"][0];
        assert_eq!((&hers["session"], &hers["ends_at"]), (&json!("p:p1"), &Value::Null));
        all.push(evidence);
    }
    record.recomputes_equally(&all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_is_flagged_and_changes_nothing_in_the_record_of_others() {
    let mut record = Record::open().await;
    let mut all = Vec::new();
    for order in ORDERS {
        let (call, elsewhere) = (PastCall::new(), PastCall::new());
        let (alice, mallory) = (Client::new(&call, ALICE), Client::new(&call, MALLORY));
        let again = Client { call: &elsewhere, ..Client::new(&call, MALLORY) };
        let again = Client { attachment: mallory.attachment, ..again };
        for step in order {
            match step {
                0 => {
                    let named =
                        [joined(&call, ALICE, "p1", 200.0), joined(&elsewhere, ALICE, "p2", 200.0)];
                    record.app.event_grid_posts(&together(&named)).await;
                }
                // Her client falls silent after it has shown the notice: the "on" is stale.
                1 => {
                    let shown = json!([{ "type": "recording", "state": "on", "elapsed_ms": 0 }]);
                    let on = json!({ "recording": "on", "shown": shown });
                    record.reports(&call, &[alice.report(1, 190.0, Some("p1"), &on)]).await;
                }
                // A stranger claims her session, says off and on, leaves, contradicts itself under one
                // id, and uses its attachment in another call.
                _ => {
                    let alarm = json!({ "recording": "off", "transcription": "on", "consent_required": ["recording"] });
                    let off = json!({ "recording": "off", "leaving": true });
                    let mut contradiction = mallory.report(3, 90.0, Some("p1"), &alarm);
                    let last = mallory.report(4, 80.0, Some("p1"), &off);
                    contradiction.ce_id.clone_from(&last.ce_id);
                    let reports = [
                        mallory.report(1, 189.0, Some("p1"), &alarm),
                        mallory.report(2, 100.0, Some("p1"), &off),
                        contradiction,
                        last,
                    ];
                    record.reports(&call, &reports).await;
                    record.reports(&elsewhere, &[again.report(1, 95.0, None, &alarm)]).await;
                }
            }
        }
        let stranger = format!("t:{}", mallory.attachment);
        let seen = record
            .call(&call, |it| {
                let participants = it["participants"].as_array().unwrap();
                participants.len() == 2
                    && it["indication"]["recording"]["state"] == "on"
                    && participants.iter().any(|one| one["proof"] == "outsider")
            })
            .await;
        let (hers, other) = (session(&seen, "p:p1"), session(&seen, &stranger));
        assert_eq!((&hers["flags"], &hers["proof"]), (&json!([]), &json!("platform")), "{order:?}");
        assert_eq!(other["flags"], json!(["CLAIM_REFUSED", "OUTSIDER"]), "{order:?}");
        assert_eq!((&other["identity"], &other["ours"]), (&json!("outsider"), &json!(false)));
        assert_eq!(other["attachments"][0]["trust"], "outsider");
        assert!(hers["left_at"].is_null(), "{seen:#}");
        let indication = json!({
            "recording": { "state": "on", "stale": true }, "transcription": { "state": "unknown", "stale": false },
        });
        assert_eq!(seen["indication"], indication, "{order:?}");
        assert!(seen["ended_at"].is_null());
        // The attachment joins neither call to the other.
        let there =
            record.call(&elsewhere, |it| it["participants"].as_array().unwrap().len() == 2).await;
        assert_ne!(seen["call"], there["call"]);
        assert_eq!(session(&there, &stranger)["flags"], json!(["OUTSIDER"]));

        let evidence = record
            .evidence(&call, |it| it["report"]["flags"].to_string().contains("OUTSIDER:"))
            .await;
        assert_eq!(evidence["verdict"], "PENDING", "{evidence:#}");
        assert_eq!(evidence["consent"], "NOT_REQUIRED");
        let mut found = obligations(&evidence);
        found.sort_unstable();
        assert_eq!(found[0], "p:p1 recording MET platform");
        let not_ours =
            |row: &String| row.starts_with(&stranger) && row.ends_with(" NOT_OURS outsider");
        assert!(found[1..].iter().all(not_ours), "{found:?}");
        for call in [&call, &elsewhere] {
            assert_eq!(record.open_exceptions(call).await, [] as [String; 0], "{order:?}");
        }
        all.push(evidence);
    }
    record.recomputes_equally(&all).await;
}

/// An honest participant: what the platform and its clients state, and what the record shows in the end.
struct Honest {
    name: &'static str,
    platform: fn(&PastCall) -> Vec<Value>,
    rosters: fn(&PastCall) -> Vec<Value>,
    clients: fn(&PastCall) -> Vec<EventMessage>,
    /// By session: the proof of each obligation of the recording, all of which are met.
    proofs: &'static [(&'static str, &'static str)],
}

/// What a client reports that shows the notice, stays and leaves.
fn notified(
    client: &Client<'_>,
    named: Option<&str>,
    from: f64,
    until: f64,
    others: &[&str],
) -> Vec<EventMessage> {
    let shown = json!([{ "type": "recording", "state": "on", "elapsed_ms": 0 }]);
    let on = json!({ "recording": "on", "transcription": "off", "shown": shown, "other_raw_ids": others });
    let leaving = json!({ "recording": "on", "transcription": "off", "leaving": true, "other_raw_ids": others });
    vec![client.report(1, from, named, &on), client.report(2, until, named, &leaving)]
}

fn started_and_ended(call: &PastCall) -> Vec<Value> {
    vec![
        call.call.event("CallStarted", call.ago(60.0), &json!({})),
        call.call.event("CallEnded", call.ago(10.0), &json!({})),
    ]
}

fn no_event(_: &PastCall) -> Vec<Value> {
    Vec::new()
}

const HONEST: [Honest; 5] = [
    Honest {
        name: "rejoin",
        platform: |call| {
            vec![
                joined(call, ALICE, "p1", 60.0),
                participant(call, "CallParticipantRemoved", ALICE, "p1", 40.0),
                joined(call, ALICE, "p2", 35.0),
            ]
        },
        rosters: no_event,
        clients: |call| {
            let (first, second) = (Client::new(call, ALICE), Client::new(call, ALICE));
            let mut reports = notified(&first, Some("p1"), 59.5, 40.5, &[]);
            reports.extend(notified(&second, Some("p2"), 34.5, 11.0, &[]));
            reports
        },
        proofs: &[("p:p1", "platform"), ("p:p2", "platform")],
    },
    Honest {
        name: "two devices",
        platform: |call| vec![joined(call, ALICE, "p1", 60.0), joined(call, ALICE, "p2", 50.0)],
        rosters: no_event,
        clients: |call| {
            let (one, two) = (Client::new(call, ALICE), Client::new(call, ALICE));
            let mut reports = notified(&one, Some("p1"), 59.5, 11.0, &[]);
            reports.extend(notified(&two, Some("p2"), 49.5, 11.0, &[]));
            reports
        },
        proofs: &[("p:p1", "platform"), ("p:p2", "platform")],
    },
    Honest {
        name: "a Teams identity in our own client",
        platform: |call| vec![joined(call, BOB, "p1", 60.0)],
        rosters: no_event,
        clients: |call| notified(&Client::new(call, ALICE), Some("p1"), 59.5, 11.0, &[BOB]),
        proofs: &[("p:p1", "platform")],
    },
    Honest {
        name: "roster only",
        platform: no_event,
        rosters: |call| {
            let mut roster = call.call.roster(1, &[ALICE]);
            roster[0]["time"] = json!(call.ago(60.0).to_rfc3339());
            vec![roster]
        },
        clients: |call| notified(&Client::new(call, ALICE), Some("p1"), 59.5, 11.0, &[]),
        proofs: &[("t:", "platform")],
    },
    Honest {
        name: "no facts of the platform about participants",
        platform: no_event,
        rosters: no_event,
        clients: |call| notified(&Client::new(call, ALICE), Some("p1"), 59.5, 11.0, &[]),
        proofs: &[("t:", "asserted")],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn honest_participants_are_met_and_unflagged_whenever_the_platform_names_them() {
    let mut record = Record::open().await;
    let mut all = Vec::new();
    for Honest { name, platform, rosters, clients, proofs } in HONEST {
        for order in ORDERS {
            let call = PastCall::new();
            for step in order {
                match step {
                    0 => {
                        let events = [platform(&call), started_and_ended(&call)].concat();
                        record.app.event_grid_posts(&together(&events)).await;
                    }
                    1 => {
                        for roster in rosters(&call) {
                            record.app.call_automation_posts(&roster).await;
                        }
                    }
                    _ => record.reports(&call, &clients(&call)).await,
                }
            }
            let is_right = |it: &Value| {
                let found = obligations(it);
                found.len() == proofs.len()
                    && found.iter().zip(proofs).all(|(row, (session, proof))| {
                        row.starts_with(session)
                            && row.ends_with(&format!(" recording MET {proof}"))
                    })
            };
            let evidence = record
                .evidence(&call, |it| is_right(it) && !it["report"]["call"]["ended_at"].is_null())
                .await;
            assert_eq!(evidence["verdict"], "COMPLIANT", "{name} {order:?}: {evidence:#}");
            let seen = record.call(&call, |it| it["ended_at"].is_string()).await;
            let participants = seen["participants"].as_array().unwrap();
            assert_eq!(participants.len(), proofs.len(), "{name} {order:?}: {seen:#}");
            for (one, (_, proof)) in participants.iter().zip(proofs) {
                assert_eq!((&one["flags"], &one["proof"]), (&json!([]), &json!(proof)), "{name}");
                assert_eq!(one["attachments"][0]["trust"], *proof, "{name}");
            }
            assert_eq!(record.open_exceptions(&call).await, [] as [String; 0], "{name} {order:?}");
            all.push(evidence);
        }
    }
    record.recomputes_equally(&all).await;
}
