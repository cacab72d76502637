//! `demo --once`: the whole product, compared with itself.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use crate::support::app::until;
use crate::support::client::http;
use crate::support::kafka::shared_kafka;

fn demo(brokers: Option<&str>, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command.args(["demo", "--once", "--seed", "7"]).args(more).env_remove("ONRECORD_KAFKA_BROKERS");
    if let Some(brokers) = brokers {
        command.env("ONRECORD_KAFKA_BROKERS", brokers);
    }
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_posted_event_is_appended_once_and_every_change_is_observed() {
    let output = demo(None, &["--calls", "50"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    let row = |name: &str| {
        let row = text.lines().find_map(|line| line.strip_prefix(name));
        row.map(str::trim).unwrap_or_default()
    };
    assert_eq!(row("reports recomputed"), "50 of 50 equal", "{text}");
    assert!(row("  verdicts").contains("COMPLIANT") && row("  verdicts").contains("EXCEPTIONS"));
    let acknowledgements = row("acknowledgements").split(' ').collect::<Vec<_>>();
    assert!(
        matches!(acknowledgements[..], [some, "of", all, "on", "record"] if some == all && all != "0"),
        "{text}"
    );
}

/// A demo that runs until it is interrupted.
fn demo_until_interrupted(
    more: &[&str],
    temporary: Option<&Path>,
) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command
        .args(["demo", "--rate", "5"])
        .args(more)
        .env_remove("ONRECORD_KAFKA_BROKERS")
        .stdout(Stdio::piped());
    if let Some(temporary) = temporary {
        command.env("TMPDIR", temporary);
    }
    let mut demo = command.spawn().unwrap();
    let out = BufReader::new(demo.stdout.take().unwrap());
    (demo, out)
}

fn interrupt(demo: &Child) {
    let interrupted = Command::new("kill").args(["-INT", &demo.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
}

/// The text between two others in a line.
fn between<'l>(line: &'l str, before: &str, after: &str) -> &'l str {
    let (_, rest) = line.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

/// Executes a printed command that reads facts and recomputes their report.
async fn recomputes(line: &str) -> (Option<i32>, String) {
    let address = format!("http{}", between(line, " 'http", "'"));
    let facts = http().get(address).bearer_auth(between(line, "Bearer ", "'"));
    let facts = facts.send().await.unwrap().text().await.unwrap();
    let program = between(line, "| '", "' evidence recompute -");
    let mut recompute = Command::new(program)
        .args(["evidence", "recompute", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = recompute.stdin.take().unwrap();
    stdin.write_all(facts.as_bytes()).unwrap();
    drop(stdin);
    let output = recompute.wait_with_output().unwrap();
    (output.status.code(), text(&output))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_evidence_of_a_good_and_of_a_bad_call_is_shown_and_can_be_recomputed() {
    let (mut demo, out) = demo_until_interrupted(&["--calls", "5", "--seed", "7"], None);
    let read = tokio::task::spawn_blocking(move || {
        let mut lines = out.lines();
        let mut printed = Vec::new();
        for line in lines.by_ref() {
            printed.push(line.unwrap());
            if printed.last().is_some_and(|line| line.starts_with("All calls")) {
                break;
            }
        }
        // A closed pipe would end the demo.
        (printed, lines)
    });
    let (printed, _lines) = read.await.unwrap();
    let text = printed.join("\n");
    for (sort, verdict) in [("good", "COMPLIANT"), ("bad", "EXCEPTIONS")] {
        let heading = format!("Evidence of a {sort} call, ");
        let shown = text.split_once(&heading).map(|(_, shown)| shown);
        let shown = shown.unwrap_or_else(|| panic!("no {sort} call: {text}"));
        assert!(shown.lines().next().unwrap().contains(verdict), "{shown}");
        // The evidence of the other call may follow.
        let shown = shown.split("Evidence of a ").next().unwrap();
        assert_eq!(shown.contains("\nWhy "), sort == "bad", "{shown}");
        let line = shown.lines().find(|line| line.contains("evidence recompute")).unwrap();
        let (code, recomputed) = recomputes(line).await;
        assert_eq!(code, Some(0), "{recomputed}");
        assert!(recomputed.contains(verdict), "{recomputed}");
    }
    interrupt(&demo);
    let status = until("its end", || {
        let ended = demo.try_wait().unwrap();
        async move { ended }
    });
    assert_eq!(status.await.code(), Some(130));
}

#[test]
fn a_withheld_event_is_named() {
    let output = demo(None, &["--calls", "6", "--suppress", "1"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let differences: Vec<&str> =
        text.lines().filter(|line| line.contains("posted, but not in the ledger")).collect();
    assert!(
        matches!(&differences[..], [one] if one.contains("Microsoft.Communication.") && one.contains("of the call")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_finds_no_difference_on_a_real_kafka() {
    let Some(kafka) = shared_kafka().await.real() else {
        return;
    };
    let brokers = kafka.bootstrap_servers().to_owned();
    let output = tokio::task::spawn_blocking(move || demo(Some(&brokers), &["--calls", "50"]))
        .await
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// Command lines that name a folder.
fn processes_at(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    let command_lines = fs::read_dir("/proc").unwrap().filter_map(|process| {
        let line = fs::read(process.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    command_lines.filter(|line| line.contains(&*folder)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_neither_process_nor_folder() {
    let temporary = tempfile::tempdir().unwrap();
    // The private Postgres may run as another user.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (mut demo, out) = demo_until_interrupted(&[], Some(temporary.path()));
    let mut lines = out.lines();
    let received = tokio::task::spawn_blocking(move || {
        let first =
            lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("recording on")));
        // A closed pipe would end it before the signal does.
        (first.is_some(), lines)
    });
    let (received, _lines) = received.await.unwrap();
    assert!(received, "it ended before a client received anything");
    assert!(!processes_at(temporary.path()).is_empty(), "its Postgres is known by its folder");

    interrupt(&demo);
    let status = until("its end", || {
        let ended = demo.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert_eq!(status.code(), Some(130));
    assert_eq!(processes_at(temporary.path()), Vec::<String>::new());
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A demo whose simulated call does not matter.
pub(super) struct RunningDemo {
    child: Child,
    pub(super) url: String,
    /// A closed pipe would end the demo.
    _lines: Lines<BufReader<ChildStdout>>,
}

impl RunningDemo {
    pub(super) async fn start(settings: &[(&str, &str)], more: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
        let mut child = command
            .args(["demo", "--calls", "1"])
            .args(more)
            .env_remove("ONRECORD_KAFKA_BROKERS")
            .env("ONRECORD_LISTEN", "127.0.0.1:0")
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let read = tokio::task::spawn_blocking(move || {
            let url = lines.by_ref().find_map(|line| {
                line.unwrap().strip_prefix("onrecord listens on ").map(str::to_owned)
            });
            (url.unwrap(), lines)
        });
        let (url, lines) = read.await.unwrap();
        Self { child, url, _lines: lines }
    }

    /// Stops it as Ctrl-C does.
    pub(super) async fn stop(self) -> ExitStatus {
        let Self { mut child, .. } = self;
        interrupt(&child);
        tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap()
    }
}

/// The origins among these whose pages the demo with these settings allows.
async fn allowed_by_demo(
    settings: &[(&str, &str)],
    more: &[&str],
    origins: &[&str],
) -> Vec<String> {
    let demo = RunningDemo::start(settings, more).await;
    let mut allowed = Vec::new();
    for origin in origins {
        let request = http().get(format!("{}/v1/calls", demo.url)).header("origin", *origin);
        let answer = request.send().await.unwrap();
        if answer.headers().contains_key("access-control-allow-origin") {
            allowed.push((*origin).to_owned());
        }
    }
    demo.stop().await;
    allowed
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_this_machine_may_call_the_demo_unless_the_settings_name_others() {
    let app = "https://app.contoso.com";
    let local = ["http://localhost:5173", "http://127.0.0.1:8000", "https://localhost"];
    let all = [local.as_slice(), &[app, "null"]].concat();
    assert_eq!(allowed_by_demo(&[], &[], &all).await, local);
    let variable = ("ONRECORD_CORS__ORIGINS", "[\"https://app.contoso.com\"]");
    assert_eq!(allowed_by_demo(&[variable], &[], &all).await, [app]);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    // What belongs to the demo is its own, whatever the file says.
    let settings = "database_url = \"postgres://nowhere/\"\ncors.origins = [\"https://app.contoso.com\"]\n[tenants.demo]\nclients = \"granted\"\n";
    file.write_all(settings.as_bytes()).unwrap();
    let more = ["--config", file.path().to_str().unwrap()];
    assert_eq!(allowed_by_demo(&[], &more, &all).await, [app]);
}
