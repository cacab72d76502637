use IndicationState::{Off, On, Paused, Unknown};

use super::*;
use crate::call::parameters::Parameters;
use crate::call::snapshot::call_snapshot;
use crate::fact::kinds::{
    Fact, FactKind, Identity, Level, ProviderState, ProviderStatement, ReportFact, Witness,
};

const STATES: [IndicationState; 4] = [On, Paused, Off, Unknown];

fn levels(recording: IndicationState, transcription: IndicationState) -> Indications {
    Indications { recording: recording.into(), transcription: transcription.into() }
}

/// Every state that a recording and a transcription can be in together, in the order of the table.
fn all_levels() -> impl Iterator<Item = Indications> {
    let pairs = STATES.map(|recording| STATES.map(|transcription| (recording, transcription)));
    pairs.into_iter().flatten().map(|(recording, transcription)| levels(recording, transcription))
}

fn name(levels: &Indications) -> String {
    let Indications { recording, transcription } = *levels;
    format!("{}/{}", level_text(recording), level_text(transcription))
}

/// R recording, T transcription, B both; + on, - off, = paused.
fn banner(code: &str) -> Variant {
    match code {
        "--" => Variant::None,
        "R+" => Variant::RecordingOn,
        "T+" => Variant::TranscriptionOn,
        "B+" => Variant::BothOn,
        "R-" => Variant::RecordingOff,
        "T-" => Variant::TranscriptionOff,
        "B-" => Variant::BothOff,
        "R-T+" => Variant::RecordingOffTranscriptionOn,
        "T-R+" => Variant::TranscriptionOffRecordingOn,
        "R=" => Variant::RecordingPaused,
        "??" => Variant::Unknown,
        other => panic!("no banner is written {other}"),
    }
}

/// Recording/transcription: a line for the levels stated last, a column for the levels to state now,
/// in the order on, paused, off, unknown of the recording and within it of the transcription.
const BANNERS: &str = "\
                   on/.                 paused/.            off/.               unknown/.
                   on   pa   of   un    on   pa   of   un   on   pa   of   un   on   pa   of   un
snapshot           B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??
on/on              B+   T-R+ T-R+ R+    T+   R=   R=   R=   R-T+ B-   B-   R-   T+   T-   T-   ??
on/paused          B+   R+   R+   R+    T+   R=   R=   R=   R-T+ R-   R-   R-   T+   ??   ??   ??
on/off             B+   R+   R+   R+    T+   R=   R=   R=   R-T+ R-   R-   R-   T+   ??   ??   ??
on/unknown         B+   R+   R+   R+    T+   R=   R=   R=   R-T+ R-   R-   R-   T+   ??   ??   ??
paused/on          B+   T-R+ T-R+ R+    T+   R=   R=   R=   R-T+ B-   B-   R-   T+   T-   T-   ??
paused/paused      B+   R+   R+   R+    T+   R=   R=   R=   R-T+ R-   R-   R-   T+   ??   ??   ??
paused/off         B+   R+   R+   R+    T+   R=   R=   R=   R-T+ R-   R-   R-   T+   ??   ??   ??
paused/unknown     B+   R+   R+   R+    T+   R=   R=   R=   R-T+ R-   R-   R-   T+   ??   ??   ??
off/on             B+   T-R+ T-R+ R+    T+   R=   R=   R=   T+   T-   T-   ??   T+   T-   T-   ??
off/paused         B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??
off/off            B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??
off/unknown        B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??
unknown/on         B+   T-R+ T-R+ R+    T+   R=   R=   R=   T+   T-   T-   ??   T+   T-   T-   ??
unknown/paused     B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??
unknown/off        B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??
unknown/unknown    B+   R+   R+   R+    T+   R=   R=   R=   T+   --   --   --   T+   --   --   ??";

#[test]
fn every_change_has_its_banner() {
    let mut previous_levels = std::iter::once(None).chain(all_levels().map(Some));
    for line in BANNERS.lines().skip(2) {
        let previous = previous_levels.next().unwrap();
        let mut words = line.split_whitespace();
        let label = words.next().unwrap();
        assert_eq!(previous.as_ref().map_or("snapshot".into(), name), label);
        let banners: Vec<Variant> = words.map(banner).collect();
        assert_eq!(banners.len(), 16, "{label}");
        for (current, expected) in all_levels().zip(banners) {
            let found = variant(previous.as_ref(), &current);
            assert_eq!(found, expected, "{label} to {}", name(&current));
        }
    }
    assert_eq!(previous_levels.next(), None);
}

#[test]
fn a_banner_never_hides_what_goes_on() {
    for (previous, current) in
        all_levels().flat_map(|previous| all_levels().map(move |current| (previous, current)))
    {
        let written = serde_json::to_string(&variant(Some(&previous), &current)).unwrap();
        let says = |word: &str| written.contains(word) || written.contains("both_on");
        assert_eq!(current.recording.state == On, says("recording_on"));
        assert_eq!(current.transcription.state == On, says("transcription_on"));
    }
}

#[test]
fn variants_have_their_names_in_json() {
    for (variant, text) in [
        (Variant::None, "none"),
        (Variant::RecordingOn, "recording_on"),
        (Variant::TranscriptionOn, "transcription_on"),
        (Variant::BothOn, "both_on"),
        (Variant::RecordingOff, "recording_off"),
        (Variant::TranscriptionOff, "transcription_off"),
        (Variant::BothOff, "both_off"),
        (Variant::RecordingOffTranscriptionOn, "recording_off_transcription_on"),
        (Variant::TranscriptionOffRecordingOn, "transcription_off_recording_on"),
        (Variant::RecordingPaused, "recording_paused"),
        (Variant::Unknown, "unknown"),
    ] {
        assert_eq!(serde_json::to_value(variant).unwrap(), text);
    }
}

#[test]
fn staleness_changes_the_level_but_not_the_banner() {
    let on = levels(On, Off);
    let mut stale = on;
    stale.recording.stale = true;
    assert_ne!(on, stale);
    assert_eq!(variant(Some(&on), &stale), Variant::RecordingOn);
    assert_eq!(variant(Some(&stale), &on), Variant::RecordingOn);
}

#[test]
fn a_stale_event_is_not_announced() {
    let now = 1_000_000;
    for (call_open, deciding_fact_at, announced) in [
        (true, now, true),
        (true, now - STALE_EVENT_AGE + 1, true),
        (true, now - STALE_EVENT_AGE, false),
        (false, now, false),
        (true, Millis::MIN, false),
    ] {
        assert_eq!(announces(now, call_open, deciding_fact_at), announced);
    }
}

#[test]
fn the_same_statement_has_the_same_id_and_any_other_another() {
    let tenant = Tenant::parse("contoso").unwrap();
    let call = Anchor::correlation("c0000000-0000-4000-8000-000000000001");
    let fact = NoticeCause::Event(Digest::of(b"fact"));
    let id = notice_id(&tenant, &call, &levels(On, Off), fact);
    assert_eq!(id.len(), 32);
    assert_eq!(id, notice_id(&tenant, &call, &levels(On, Off), fact));
    let mut stale = levels(On, Off);
    stale.recording.stale = true;
    for other in [
        notice_id(&Tenant::parse("fabrikam").unwrap(), &call, &levels(On, Off), fact),
        notice_id(&tenant, &Anchor::server("s"), &levels(On, Off), fact),
        notice_id(&tenant, &call, &levels(Off, On), fact),
        notice_id(&tenant, &call, &stale, fact),
        notice_id(&tenant, &call, &levels(On, Off), NoticeCause::Time(1)),
    ] {
        assert_ne!(id, other);
    }
}

/// A call since 1970-01-01T00:00:10Z in which a client of ours reports a recording that Teams started,
/// and no transcription.
fn recorded_call() -> Vec<Fact> {
    let joined =
        FactKind::SessionJoined { session: "p:1".to_owned(), identity: Some(Identity::Acs) };
    let active = FactKind::ProviderState(ProviderStatement {
        capture_type: CaptureType::Recording,
        recording: "rec".to_owned(),
        capture_kind: Some("teams".to_owned()),
        state: ProviderState::Active,
        started_at: Some(12_000),
    });
    let report = FactKind::Report(ReportFact {
        session: "p:1".to_owned(),
        reporter: "a1".to_owned(),
        sequence: 1,
        recording: Some(Level::On),
        transcription: Some(Level::Off),
        consent_required: Vec::new(),
        shown: Vec::new(),
        leaving: false,
        witness: Witness::default(),
        unbroken: false,
    });
    vec![
        Fact::new("0", 10_000, FactKind::CallStarted),
        Fact::new("1", 10_500, joined),
        Fact::new("2", 12_345, active),
        Fact::new("3", 13_000, report),
    ]
}

#[test]
fn a_view_has_start_kinds_and_sources_of_what_is_on() {
    let snapshot = call_snapshot(&recorded_call(), 14_000, &Parameters::default());
    assert_eq!(
        serde_json::to_value(IndicationView::of(&snapshot)).unwrap(),
        serde_json::json!({
            "recording": {
                "state": "on",
                "stale": false,
                "since": "1970-01-01T00:00:12.000Z",
                "kinds": ["teams"],
                "sources": ["provider", "report"],
                "confirmed": true,
            },
            "transcription": {
                "state": "off",
                "stale": false,
                "since": null,
                "kinds": [],
                "sources": [],
                "confirmed": true,
            },
        })
    );
}

#[test]
fn nothing_is_on_after_the_end_of_the_call() {
    let mut facts = recorded_call();
    let ended = FactKind::CallEnded { presumed: false };
    facts.push(Fact::new("4", 13_500, ended));
    let snapshot = call_snapshot(&facts, 14_000, &Parameters::default());
    let view = IndicationView::of(&snapshot);
    assert_eq!(view.recording.state, Off);
    assert_eq!(view.recording.open, None);
}

#[test]
fn the_view_of_an_unknown_call_is_the_default() {
    let snapshot = call_snapshot(&[], 14_000, &Parameters::default());
    assert_eq!(IndicationView::of(&snapshot), IndicationView::default());
}
