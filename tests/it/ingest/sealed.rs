//! Content that is not JSON: sealed to the key of the settings, and opened with the private one.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::app::{TestApp, TestStores};
use crate::support::python::python;
use onrecord_evidence::event::ids::Digest;

/// Opens each sealed box that the arguments name with the key of the first one.
const OPEN_WITH_PYNACL: &str = "
import base64, sys
from nacl.public import PrivateKey, SealedBox
box = SealedBox(PrivateKey(base64.b64decode(open(sys.argv[1]).read())))
for sealed in sys.argv[2:]:
    sys.stdout.buffer.write(box.decrypt(base64.b64decode(open(sealed).read())))
";

const PLANTED: &str = "PLANTED-SPEECH-77af";

/// A pair of keys as `onrecord quarantine key` prints it: the private key, and the settings.
fn generated_keys() -> (String, String) {
    let printed =
        Command::new(env!("CARGO_BIN_EXE_onrecord")).args(["quarantine", "key"]).output().unwrap();
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    (lines[1].to_owned(), lines[3..].join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_json_is_sealed_and_opens_with_the_private_key_and_in_pynacl() {
    let (private, settings) = generated_keys();
    let mut app = TestApp::with(TestStores::shared().await, &settings).await;
    let bodies: [Vec<u8>; 4] = [
        format!("{{\"speech\":\"{PLANTED}").into_bytes(),
        format!("not JSON: {PLANTED}").into_bytes(),
        [b"\xff\xfe\x00\x01", PLANTED.as_bytes()].concat(),
        format!("<{PLANTED}/>").into_bytes(),
    ];
    for body in &bodies {
        assert_eq!(app.posts("/ingest/call-automation/ca", body.clone()).await.0, 200);
        // The same bytes again are the same row, although a box differs each time.
        assert_eq!(app.posts("/ingest/call-automation/ca", body.clone()).await.0, 200);
    }
    let list = app
        .sees("/v1/quarantine", |list| {
            list["quarantined"].as_array().is_some_and(|rows| rows.len() == bodies.len())
        })
        .await;
    assert!(!list.to_string().contains(PLANTED), "{list}");

    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let key = file("key", &private);
    for body in &bodies {
        let sha256 = Digest::of(body).to_string();
        let rows = list["quarantined"].as_array().unwrap();
        let row = rows.iter().find(|row| row["sha256"] == sha256.as_str()).unwrap();
        assert_eq!((&row["content"], &row["size"]), (&Value::Null, &Value::from(body.len())));
        let sealed = row["sealed"].as_str().unwrap();
        let (text, bytes) = (file("box", sealed), folder.path().join("bytes"));
        std::fs::write(&bytes, STANDARD.decode(sealed).unwrap()).unwrap();
        for sealed in [&text, &bytes] {
            let opened = Command::new(env!("CARGO_BIN_EXE_onrecord"))
                .args(["quarantine", "open", "--private-key"])
                .args([&key, sealed])
                .output()
                .unwrap();
            assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
            assert_eq!(&opened.stdout, body);
        }
        if let Some(python) = python() {
            let opened =
                Command::new(python).args(["-c", OPEN_WITH_PYNACL]).args([&key, &text]).output();
            let opened = opened.unwrap();
            assert_eq!(&opened.stdout, body, "{}", String::from_utf8_lossy(&opened.stderr));
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_only_hash_and_size_are_kept_of_what_is_not_json() {
    let mut app = TestApp::open().await;
    let body = format!("{{\"a\":{PLANTED}}}");
    assert_eq!(app.posts("/ingest/event-grid/eg", body.clone()).await.0, 200);
    let list = app
        .sees("/v1/quarantine", |list| {
            list["quarantined"].as_array().is_some_and(|rows| rows.len() == 1)
        })
        .await;
    let row = &list["quarantined"][0];
    assert_eq!((&row["content"], &row["sealed"]), (&Value::Null, &Value::Null));
    assert_eq!(row["sha256"], Digest::of(body.as_bytes()).to_string());
    assert_eq!(
        (&row["size"], &row["reason"]),
        (&Value::from(body.len()), &Value::from("not_json"))
    );
    assert_eq!(row["detail"], "this is not JSON: it stops being so at byte 5");
    app.stop().await;
}
