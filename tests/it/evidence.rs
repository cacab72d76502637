//! The rules by the command line, against the published vectors.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

fn answers(questions: &str) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["evidence", "indications"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let questions = questions.to_owned();
    let writer = std::thread::spawn(move || {
        // A command that has found a mistake reads no further.
        let _ = stdin.write_all(questions.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn the_command_answers_every_vector_exactly() {
    let vectors: Value = serde_json::from_str(include_str!("../data/evidence.json")).unwrap();
    let mut questions = String::new();
    let mut expected = Vec::new();
    for scenario in vectors["scenarios"].as_array().unwrap() {
        for indication in scenario["indications"].as_array().unwrap() {
            questions.push_str(
                &json!({ "facts": scenario["facts"], "now": indication["now"] }).to_string(),
            );
            questions.push('\n');
            expected.push((&scenario["name"], &indication["now"], &indication["answer"]));
        }
    }
    let (success, out, _) = answers(&questions);
    assert!(success);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), expected.len());
    for (line, (name, now, answer)) in lines.iter().zip(expected) {
        assert_eq!(
            &serde_json::from_str::<Value>(line).unwrap(),
            answer,
            "{name} at {now}"
        );
    }
}

#[test]
fn an_empty_set_is_unknown_and_a_wrong_line_is_named() {
    let (success, out, _) = answers("{\"facts\":[],\"now\":0}\n");
    assert!(success);
    assert_eq!(
        serde_json::from_str::<Value>(&out).unwrap()["recording"]["state"],
        "unknown"
    );
    let (success, _, error) =
        answers("{\"facts\":[],\"now\":0}\n{\"facts\":[{\"id\":1}],\"now\":0}\n");
    assert!(!success);
    assert!(error.contains("line 2"), "{error}");
}
