//! The clients of the documents, run in Node.js against a service that is played by a few lines.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::requirements::{Requirement, skip};

/// The Calling SDK and the browser: each report and stream is a line of the output, with its attachment.
/// The first report is answered by `refusal`.
const SURROUNDINGS: &str = r#"
const Features = { Recording: 1, Transcription: 2 }, token = 't', showBanner = () => {};
const feature = () => ({ isRecordingActive: true, isTranscriptionActive: false, on() {}, off() {} });
const call = { state: 'Connected', feature, on() {}, off() {},
  info: { participantId: 'p', getServerCallId: async () => 'id' } };
globalThis.EventSource = class {
  static CLOSED = 2;
  constructor(url) { this.attachment = new URL(url).searchParams.get('attachment'); console.log('opens', this.attachment); }
  close() { console.log('closes', this.attachment); }
  addEventListener() {}
};
let answered = 0;
globalThis.fetch = async (url, request) => {
  console.log('reports', JSON.parse(request.body).attachment);
  return answered++ === 0 ? refusal : { ok: true, status: 200 };
};
"#;

/// The block of a document that contains this text.
fn block(document: &str, containing: &str) -> String {
    let path = format!("{}/{document}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let mut blocks = text.split("```js\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.contains(containing)).unwrap();
    let lines = block.lines().filter(|line| !line.starts_with("import "));
    lines.collect::<Vec<_>>().join("\n").replace("export async", "async")
}

/// What a client does, and with which attachment. None: there is no Node.js.
fn actions(client: &str, refusal: &str, begins: &str) -> Option<Vec<(String, String)>> {
    let node = Command::new("node")
        .args(["--input-type=module", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut node = node.ok()?;
    let ends = "setTimeout(() => process.exit(), 1000);";
    let refusal = format!("const refusal = {{ ok: false, {refusal} }};");
    let program = format!("{refusal}\n{SURROUNDINGS}\n{client}\n{begins}\n{ends}\n");
    let mut stdin = node.stdin.take().unwrap();
    stdin.write_all(program.as_bytes()).unwrap();
    drop(stdin);
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}");
    let text = String::from_utf8(output.stdout).unwrap();
    let action =
        |line: &str| line.split_once(' ').map(|(what, of)| (what.to_owned(), of.to_owned()));
    Some(text.lines().filter_map(action).collect())
}

#[test]
fn the_documented_clients_make_a_new_attachment_when_the_old_one_is_refused() {
    let foreign = "status: 409";
    let too_many_changes = "status: 429, json: async () => ({ member: '/attachment' })";
    let keeps = "await keepOnRecord(call, async () => 't', () => {});";
    let clients = [
        ("docs/clients.md", "keepOnRecord", foreign, keeps),
        ("docs/clients.md", "keepOnRecord", too_many_changes, keeps),
    ];
    for (document, containing, refusal, begins) in clients {
        let Some(actions) = actions(&block(document, containing), refusal, begins) else {
            return skip(Requirement::Node, "node is not in the PATH");
        };
        let of = |what: &str| -> Vec<&str> {
            let those = actions.iter().filter(|(done, _)| done == what);
            those.map(|(_, attachment)| attachment.as_str()).collect()
        };
        let [refused, own] = of("reports")[..] else { panic!("{document}: {actions:?}") };
        assert_ne!(refused, own, "{document}");
        assert_eq!(of("opens"), [refused, own], "{document}");
        assert_eq!(of("closes"), [refused], "{document}");
    }
}
