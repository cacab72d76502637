//! `demo --once`: the whole product, compared with itself.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::house::until;
use crate::kafka::shared_kafka;

fn demo(brokers: Option<&str>, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onrecord"));
    command
        .args(["demo", "--once", "--seed", "7"])
        .args(more)
        .env_remove("ONRECORD_KAFKA_BROKERS");
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
fn all_that_was_posted_is_entered_once_and_every_change_is_heard() {
    let output = demo(None, &["--calls", "50"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn an_event_that_the_sender_kept_back_is_named() {
    let output = demo(None, &["--calls", "6", "--suppress", "1"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let differences: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("posted, but not entered"))
        .collect();
    assert!(
        matches!(&differences[..], [one] if one.contains("Microsoft.Communication.") && one.contains("of the call")),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_holds_on_a_real_kafka() {
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
    command_lines
        .filter(|line| line.contains(&*folder))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_leaves_neither_process_nor_folder() {
    let temporary = tempfile::tempdir().unwrap();
    // Its Postgres may run as another user.
    fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["demo", "--rate", "5"])
        .env_remove("ONRECORD_KAFKA_BROKERS")
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let heard = tokio::task::spawn_blocking(move || {
        let first = lines.find(|line| {
            line.as_ref()
                .is_ok_and(|line| line.contains("recording on"))
        });
        // A closed pipe would end it before the signal does.
        (first.is_some(), lines)
    });
    let (heard, _lines) = heard.await.unwrap();
    assert!(heard, "it ended before a client heard anything");
    assert!(
        !processes_at(temporary.path()).is_empty(),
        "its Postgres is known by its folder"
    );

    let interrupted = Command::new("kill")
        .args(["-INT", &demo.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
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
