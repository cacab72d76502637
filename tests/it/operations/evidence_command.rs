//! `onrecord evidence`, against the published vectors.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

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
