//! `onrecord evidence`, against the published vectors and a stored call.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::live::acknowledgements::{are_accepted, displayed};
use crate::support::app::TestApp;
use crate::support::azure::{ALICE, Call, report};

/// Runs `onrecord evidence` with an input: exit code, output, errors.
fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .arg("evidence")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // A command that has found an error stops reading.
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn scenarios() -> Vec<Value> {
    let mut vectors: Value = serde_json::from_str(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/crates/evidence/vectors/evidence.json"
    )))
    .unwrap();
    match vectors["scenarios"].take() {
        Value::Array(scenarios) => scenarios,
        other => panic!("scenarios are {other}"),
    }
}

/// Sends all inputs at once, and compares answer by answer.
fn every_answer_is_as_expected(command: &str, asked: &[(String, Value, &Value)]) {
    let questions: Vec<String> =
        asked.iter().map(|(_, question, _)| question.to_string()).collect();
    let (code, out, _) = run(&[command], &questions.join("\n"));
    assert_eq!(code, Some(0));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), asked.len());
    for (line, (name, _, answer)) in lines.iter().zip(asked) {
        assert_eq!(&&serde_json::from_str::<Value>(line).unwrap(), answer, "{name}");
    }
}

#[test]
fn the_command_answers_every_vector_exactly() {
    let scenarios = scenarios();
    let mut asked = Vec::new();
    for scenario in &scenarios {
        for indication in scenario["indications"].as_array().unwrap() {
            let now = &indication["now"];
            asked.push((
                format!("{} at {now}", scenario["name"]),
                json!({"facts": scenario["facts"], "now": now}),
                &indication["answer"],
            ));
        }
    }
    every_answer_is_as_expected("indications", &asked);
}

#[test]
fn the_command_reports_every_vector_exactly() {
    let scenarios = scenarios();
    assert_eq!(scenarios.len(), 206);
    let asked: Vec<(String, Value, &Value)> = scenarios
        .iter()
        .map(|scenario| {
            (
                scenario["name"].to_string(),
                json!({"facts": scenario["facts"], "now": scenario["now"]}),
                &scenario["report"],
            )
        })
        .collect();
    every_answer_is_as_expected("report", &asked);
}

#[test]
fn the_worked_example_of_the_rules_gives_the_report_of_the_document() {
    let rules = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/evidence-rules.md"));
    let mut examples = rules.split("```json\n").skip(1).map(|rest| {
        let (example, _) = rest.split_once("```").unwrap();
        serde_json::from_str::<Value>(example).unwrap()
    });
    let (question, report) = (examples.next().unwrap(), examples.next().unwrap());
    every_answer_is_as_expected("report", &[("example".to_owned(), question, &report)]);
}

#[test]
fn an_empty_set_has_unknown_indications_and_a_wrong_line_is_named() {
    let (code, out, _) = run(&["indications"], "{\"facts\":[],\"now\":0}\n");
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["recording"]["state"], "unknown");
    let wrong = "{\"facts\":[],\"now\":0}\n{\"facts\":[{\"id\":1}],\"now\":0}\n";
    let (code, _, error) = run(&["indications"], wrong);
    assert_eq!(code, Some(1));
    assert!(error.contains("line 2"), "{error}");
}

#[test]
fn an_empty_set_has_no_report_and_its_line_is_named() {
    let started = json!([{"id": "f1", "kind": "call.started", "at": 5}]);
    let questions = format!(
        "{}\n{}\n",
        json!({"facts": started, "now": 5}),
        json!({"facts": started, "now": 4}),
    );
    let (code, out, error) = run(&["report"], &questions);
    assert_eq!(code, Some(1));
    assert_eq!(out.lines().count(), 1);
    assert!(error.contains("line 2: no fact counts"), "{error}");
}

/// A scenario as an export with its stored report.
fn exported(name: &str) -> Value {
    let scenarios = scenarios();
    let scenario = scenarios.iter().find(|scenario| scenario["name"] == name).unwrap();
    json!({
        "call": "c1", "tenant": "contoso", "rules": "2", "facts": scenario["facts"],
        "now": scenario["now"], "report": scenario["report"],
    })
}

#[test]
fn every_stored_report_is_recomputed_from_its_facts() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["happy_path", "closed_tab", "file_never_noticed", "random_108"] {
        let file = folder.path().join(name);
        std::fs::write(&file, exported(name).to_string()).unwrap();
        let (code, out, _) = run(&["recompute", file.to_str().unwrap()], "");
        assert_eq!(code, Some(0), "{out}");
        assert!(out.contains("call c1 of tenant contoso"), "{out}");
        assert!(out.contains("equal"), "{out}");
    }
}

#[test]
fn a_report_that_does_not_follow_from_its_facts_is_reported_difference_by_difference() {
    let mut altered = exported("happy_path");
    altered["report"]["obligations"][0]["status"] = json!("LATE");
    altered["report"]["verdict"] = json!("EXCEPTIONS");
    let (code, out, _) = run(&["recompute", "-"], &altered.to_string());
    assert_eq!(code, Some(1));
    for line in [
        "verdict was \"EXCEPTIONS\", is \"COMPLIANT\"",
        "obligations/a recording 60000/status was \"LATE\", is \"MET\"",
        "on the screen 150 ms after it fell due; up to 2000 ms are in time.",
        "facts: f6, f13, f14, f15",
    ] {
        assert!(out.contains(line), "{line} is not in {out}");
    }
}

#[test]
fn a_fact_removed_from_an_export_is_detected() {
    let mut altered = exported("happy_path");
    let facts = altered["facts"].as_array_mut().unwrap();
    facts.retain(|fact| fact["id"] != "f15" && fact["id"] != "f16");
    let (code, out, _) = run(&["recompute", "-"], &altered.to_string());
    assert_eq!(code, Some(1));
    assert!(out.contains("is \"UNCONFIRMED\""), "{out}");
}

#[test]
fn a_report_made_with_other_parameters_is_recomputed_with_them() {
    let mut strict = exported("happy_path");
    strict["parameters"] = json!({"slo": 100});
    strict["report"]["obligations"][0]["status"] = json!("LATE");
    strict["report"]["verdict"] = json!("EXCEPTIONS");
    let (code, out, _) = run(&["recompute", "-"], &strict.to_string());
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn an_export_that_cannot_be_recomputed_is_neither_equal_nor_different() {
    let mut of_other_rules = exported("happy_path");
    of_other_rules["rules"] = json!("1");
    let mut without_facts = exported("happy_path");
    without_facts["facts"] = json!([]);
    let mut unknown_parameter = exported("happy_path");
    unknown_parameter["parameters"] = json!({"unknown": 5});
    for (input, complaint) in [
        (of_other_rules.to_string(), "version \"1\" of the rules"),
        (without_facts.to_string(), "no fact counts"),
        (unknown_parameter.to_string(), "unknown"),
        ("{}".to_owned(), "missing field"),
        ("nothing".to_owned(), "export it once more"),
    ] {
        let (code, out, error) = run(&["recompute", "-"], &input);
        assert_eq!(code, Some(2), "{error}");
        assert_eq!(out, "");
        assert!(error.contains(complaint), "{complaint} is not in {error}");
    }
    let (code, _, error) = run(&["recompute", "/nowhere/at/all"], "");
    assert_eq!(code, Some(2));
    assert!(error.contains("/nowhere/at/all"), "{error}");
}

/// Runs `onrecord evidence show` with the settings of a node.
async fn shows(app: &TestApp, arguments: &[&str]) -> (Option<i32>, String, String) {
    runs_with(app, "show", arguments).await
}

/// Runs a command of `onrecord evidence` with the settings of a node.
async fn runs_with(
    app: &TestApp,
    command: &str,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let name = command;
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("onrecord.toml");
    std::fs::write(&settings, app.stores.toml("127.0.0.1:0", "off", "")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command.args(["evidence", name, "--config"]).arg(&settings).args(arguments);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    drop(folder);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_of_a_stored_call_is_shown_as_text_and_as_a_page() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let (alice, bob) = (Uuid::new_v4().to_string(), Uuid::new_v4().to_string());
    let token = app.token(ALICE).await;
    let ago = |seconds| chrono::Utc::now() - chrono::TimeDelta::seconds(seconds);
    app.event_grid_posts(&call.event("CallStarted", ago(120), &json!({}))).await;
    let bobs = "8:acs:11111111-1111-4111-8111-111111111111_0000000b-0000-0000-0000-00000000b0b0";
    for (raw_id, id, name) in [(ALICE, &alice, "Alice <Adams>"), (bobs, &bob, "")] {
        let identifier = json!({ "rawId": raw_id, "communicationUser": { "id": raw_id } });
        let participant = json!({
            "user": { "communicationIdentifier": identifier }, "participantId": id, "displayName": name,
        });
        app.event_grid_posts(&call.event("CallParticipantAdded", ago(120), &participant)).await;
    }
    app.call_automation_posts(&call.recording("active", ago(60))).await;
    let state = json!({
        "server_call_id": call.server_call_id, "participant_id": alice, "recording": "on",
        "transcription": "off", "shown": [{ "type": "recording", "state": "on" }],
    });
    let (status, answer) = app.reports(&token, &report(&attachment, 1, &state)).await;
    assert_eq!(status, 200, "{answer}");
    let mallory = "8:acs:11111111-1111-4111-8111-111111111111_0000000c-0000-0000-0000-00000000c0c0";
    let claim = json!({ "server_call_id": call.server_call_id, "participant_id": bob });
    let token = app.token(mallory).await;
    let (status, answer) = app.reports(&token, &report(&Uuid::new_v4(), 1, &claim)).await;
    assert_eq!(status, 200, "{answer}");
    app.event_grid_posts(&call.ended()).await;
    let path = format!("/v1/calls/{}", call.correlation);
    app.sees(&path, |body| body.to_string().contains("CLAIM_REFUSED")).await;
    let evidence = format!("/v1/calls/{}/evidence", call.correlation);
    let stored = app.sees(&evidence, |body| body["verdict"] == "EXCEPTIONS").await;
    let due_at = stored["report"]["obligations"][0]["due_at"].as_i64().unwrap();
    let due_at = chrono::DateTime::from_timestamp_millis(due_at).unwrap();

    let page = tempfile::NamedTempFile::new().unwrap();
    let file = page.path().to_str().unwrap();
    let by_any_id = call.server_call_id.as_str();
    let asked = ["--call", by_any_id, "--zone", "Asia/Kolkata", "--html", file];
    let (code, text, error) = shows(&app, &asked).await;
    assert_eq!(code, Some(0), "{error}");
    let page = std::fs::read_to_string(page.path()).unwrap();
    let india = due_at + chrono::TimeDelta::minutes(330);
    for part in [
        format!("Evidence of the call {}", call.correlation),
        "a required notice is missing or late (EXCEPTIONS)".to_owned(),
        "due (UTC)".to_owned(),
        "due (Asia/Kolkata)".to_owned(),
        "Alice <Adams>".to_owned(),
        "ACS user …b0b0".to_owned(),
        "shown too late (LATE)".to_owned(),
        "no notice was sent (NOT_SENT)".to_owned(),
        "ACS user …c0c0 is flagged CLAIM_REFUSED and OUTSIDER: a client names".to_owned(),
        due_at.format("%H:%M:%S%.3f").to_string(),
        india.format("%H:%M:%S%.3f").to_string(),
        stored["why"][0]["rule"].as_str().unwrap().to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    for part in [
        "<h1>Evidence report</h1>".to_owned(),
        call.correlation.clone(),
        "told late or never".to_owned(),
        "Alice &#60;Adams&#62;".to_owned(),
        "ACS user …b0b0".to_owned(),
        "shown too late".to_owned(),
        "no notice was sent".to_owned(),
        "<code>CLAIM_REFUSED</code> A client names".to_owned(),
        "<code>OUTSIDER</code>".to_owned(),
        due_at.format("%H:%M:%S%.3f UTC").to_string(),
        india.format("%H:%M:%S%.3f IST").to_string(),
        stored["why"][0]["rule"].as_str().unwrap().replace('\'', "&#39;"),
        "Its facts give this report again".to_owned(),
    ] {
        assert!(page.contains(&part), "{part}: {page}");
    }
    for outside in ["<script", "<link", " src=", "url(http", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(text.contains("\nWhy ACS user …b0b0 is NOT_SENT for the recording: "), "{text}");
    assert!(text.contains("its facts give it again"), "{text}");

    let (code, text, _) =
        shows(&app, &["--call", &call.correlation, "--tenant", "contoso", "--version", "1"]).await;
    assert_eq!(code, Some(0));
    assert!(text.contains("version 1, as of "), "{text}");
    for (arguments, named) in [
        (vec!["--call", &call.correlation, "--tenant", "fabrikam"], "fabrikam"),
        (vec!["--call", "unknown"], "contoso or fabrikam"),
        (vec!["--call", &call.correlation, "--version", "99"], "version 99"),
        (vec!["--call", &call.correlation, "--zone", "Bonn"], "Europe/Berlin"),
        (vec!["--call", &call.correlation, "--html", "/nowhere/page.html"], "/nowhere/page.html"),
    ] {
        let (code, text, error) = shows(&app, &arguments).await;
        assert_eq!((code, text.as_str()), (Some(1), ""), "{error}");
        assert!(error.contains(named), "{named}: {error}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_without_its_entry_and_an_entry_that_was_changed_are_found() {
    let mut app = TestApp::open().await;
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = app.token(ALICE).await;
    app.event_grid_posts(&call.started()).await;
    app.event_grid_posts(&call.joined(ALICE, &Uuid::new_v4().to_string())).await;
    app.call_automation_posts(&call.recording("active", chrono::Utc::now())).await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    let (status, answer) = app.reports(&token, &report(&attachment, 1, &on)).await;
    assert_eq!(status, 200, "{answer}");
    are_accepted(&app, &token, &[displayed(&attachment, &json!({}))]).await;
    let facts = format!("/v1/calls/{}/facts", call.correlation);
    let exported =
        app.sees(&facts, |body| body["report"]["obligations"][0]["shown_at"].is_i64()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("exported.json");
    let write = |export: &Value| std::fs::write(&file, export.to_string()).unwrap();
    write(&exported);
    let file = file.to_str().unwrap();
    let of_call = ["--tenant", "contoso", "--call", &call.correlation];
    let all = ["--tenant", "contoso", "--all"];
    let of_file = [file, "--entries"];
    let check = async |arguments: &[&str]| runs_with(&app, "recompute", arguments).await;
    for arguments in [&of_call[..], &all, &of_file] {
        let (code, out, error) = check(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {out}{error}");
        assert!(out.contains("entries: 4 facts of events have an entry"), "{out}");
        assert!(out.contains("1 statements about notices"), "{out}");
    }
    let (code, out, _) = check(&[file]).await;
    assert_eq!(code, Some(0));
    assert!(out.contains("entries: not looked for"), "{out}");

    // An export with a fact that never was.
    let mut forged = exported.clone();
    let mut fact = forged["facts"][0].clone();
    fact["id"] = json!("0".repeat(64));
    forged["facts"].as_array_mut().unwrap().push(fact);
    write(&forged);
    let (code, out, _) = check(&of_file).await;
    assert_eq!(code, Some(1));
    assert!(
        out.contains(&format!("the fact {}: the database has no such", "0".repeat(64))),
        "{out}"
    );
    write(&exported);

    let database = app.stores.database().await;
    let change = async |statement: &'static str| {
        let changed = sqlx::query(statement).execute(&database).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{statement}");
    };
    // A changed original, and one that is what it was again.
    change("update entry set original = replace(convert_from(original, 'utf8'), 'active', 'inactive')::bytea where type = 'provider.state'").await;
    for arguments in [&of_call[..], &all, &of_file] {
        let (code, out, _) = check(arguments).await;
        assert_eq!(code, Some(1), "{arguments:?}: {out}");
        assert!(out.contains("has an original with another content than was appended"), "{out}");
    }
    change("update entry set original = replace(convert_from(original, 'utf8'), 'inactive', 'active')::bytea where type = 'provider.state'").await;
    assert_eq!(check(&of_call).await.0, Some(0));
    change("update entry set original = original || ' '::bytea where type = 'report'").await;
    let (code, out, _) = check(&of_call).await;
    assert_eq!(code, Some(1));
    assert!(out.contains("not the bytes as received"), "{out}");
    change("delete from entry where type = 'call.started'").await;
    let (code, out, _) = check(&all).await;
    assert_eq!(code, Some(1));
    assert!(out.contains("no entry has its event"), "{out}");
    app.stop().await;
}
