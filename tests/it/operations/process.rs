//! The program itself: settings, signals, and its log.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use onrecord::cli::key;
use onrecord::config::KeyHash;
use onrecord::http::api_role::ApiRole;
use onrecord::postgres::Postgres;
use onrecord_evidence::event::ids::Tenant;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

use crate::support::app::{SOURCE_KEY, until};
use crate::support::azure::{ALICE, Call};
use crate::support::client::http;
use crate::support::postgres::fresh_database;
use crate::support::socket::Handshake;

const MARKER: &str = "PLANTED-MARKER-91aa";

/// A `serve` process with its own settings file. Kafka is away, so everything goes to the spool.
pub struct Program {
    child: Child,
    pub folder: TempDir,
    pub address: String,
    pub log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Program {
    pub async fn start(database_url: &str, sources: &str) -> Self {
        Self::with_settings(|file| write(file, database_url, sources)).await
    }

    pub async fn with_settings(write: impl FnOnce(&PathBuf)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("onrecord.toml");
        write(&file);
        let mut child = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .args(["serve", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let written = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                written.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        let address = until("the address in the log", || async {
            let log = log.lock().unwrap();
            let (_, rest) = log.split_once("serving on ")?;
            let end = rest.find(['"', ' ', '\n'])?;
            Some(rest[..end].to_owned())
        })
        .await;
        Self { child, folder, address, log, reader: Some(reader) }
    }

    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let sent =
            Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// An API key of `contoso`, as soon as the schema exists.
    async fn key(&self, database_url: &str) -> String {
        let store = Postgres::new(database_url, 2).unwrap();
        until("the schema", || async {
            let tenant = Tenant::parse("contoso").unwrap();
            key::create(&store, &tenant, ApiRole::App, "test").await.ok()
        })
        .await
    }

    async fn post(&self, path: &str, key: &str, body: String) -> StatusCode {
        http()
            .post(format!("{}{path}", self.address))
            .header("x-onrecord-key", key)
            .body(body)
            .send()
            .await
            .unwrap()
            .status()
    }

    /// Memory of the process, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Sends SIGTERM; returns the whole log.
    pub fn ends(mut self) -> String {
        self.signal(15);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
        self.reader.take().unwrap().join().unwrap();
        self.log.lock().unwrap().clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The child still runs only if the test failed.
        let _ = self.child.kill();
    }
}

pub fn write(file: &PathBuf, database_url: &str, sources: &str) {
    let settings = format!(
        "listen = \"127.0.0.1:0\"\ndatabase_url = \"{database_url}\"\nkafka_brokers = \"127.0.0.1:1\"\n[log]\nfilter = \"trace\"\n{sources}"
    );
    std::fs::write(file, settings).unwrap();
}

fn sources() -> String {
    let hash = KeyHash::of(SOURCE_KEY);
    let table = |name: &str, kind: &str| {
        format!("[sources.{name}]\nkind = \"{kind}\"\ntenant = \"contoso\"\nkeys = [\"{hash}\"]\n")
    };
    table("eg", "event-grid") + &table("ca", "call-automation")
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_secrets_appear_neither_in_the_log_nor_in_the_spool() {
    let database_url = fresh_database().await;
    // sqlx repeats parameters of a URL that it does not know.
    let before = if database_url.contains('?') { '&' } else { '?' };
    let address = format!("{database_url}{before}sslpassword=hunter2");
    let program = Program::start(&address, &sources()).await;
    let call = Call::new();
    let offered = call.event(
        "IncomingCall",
        chrono::Utc::now(),
        &json!({ "incomingCallContext": MARKER, "to": { "rawId": ALICE } }),
    );
    until("the spool accepts it", || async {
        (program.post("/ingest/event-grid/eg", SOURCE_KEY, offered.to_string()).await
            == StatusCode::OK)
            .then_some(())
    })
    .await;
    let tones = call.callback(
        "RecognizeCompleted",
        chrono::Utc::now(),
        &json!({ "dtmfResult": { "tones": [MARKER] } }),
    );
    assert_eq!(
        program.post("/ingest/call-automation/ca", SOURCE_KEY, tones.to_string()).await,
        StatusCode::OK
    );
    let broken = format!("{{\"captionText\": \"{MARKER}\", ");
    assert_eq!(program.post("/ingest/event-grid/eg", SOURCE_KEY, broken).await, StatusCode::OK);
    let wrong = format!("key-{MARKER}");
    assert_eq!(
        program.post("/ingest/event-grid/eg", &wrong, offered.to_string()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let in_query = format!("/ingest/event-grid/eg?key={wrong}");
    assert_eq!(
        program.post(&in_query, &wrong, offered.to_string()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let stream = http()
        .get(format!("{}/v1/notices/stream?token={MARKER}", program.address))
        .bearer_auth(MARKER)
        .send()
        .await
        .unwrap();
    assert_eq!(stream.status(), StatusCode::UNAUTHORIZED);

    let database = sqlx::PgPool::connect(&database_url).await.unwrap();
    let spooled: Vec<Vec<u8>> =
        sqlx::query_scalar("select message from spool").fetch_all(&database).await.unwrap();
    assert!(spooled.len() >= 3);
    for message in spooled {
        assert!(!String::from_utf8(message).unwrap().contains(MARKER));
    }
    let log = program.ends();
    assert!(log.contains("wrong_key"), "the refusal is logged");
    for secret in [MARKER, SOURCE_KEY, "hunter2"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let password = database_url.split([':', '@']).nth(2).unwrap();
    assert!(password.len() > 8 && !log.contains(password), "the database's password is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_subscriber_token_is_logged_however_it_was_sent() {
    let database_url = fresh_database().await;
    let program = Program::start(&database_url, &sources()).await;
    let address = program.address.trim_start_matches("http://");
    let address = address.parse().unwrap();
    let key = program.key(&database_url).await;
    let mint = |seconds: u32| {
        let order = json!({ "participant": { "raw_id": ALICE }, "ttl_s": seconds });
        let asked = http()
            .post(format!("{}/v1/subscriber-tokens", program.address))
            .bearer_auth(&key)
            .json(&order);
        async move {
            let minted: Value = asked.send().await.unwrap().json().await.unwrap();
            minted["token"].as_str().unwrap().to_owned()
        }
    };
    let tokens = [mint(60).await, mint(61).await, mint(62).await, mint(1).await];
    let stream =
        |query: String| http().get(format!("{}/v1/notices/stream?{query}", program.address));
    let opened = stream(format!("token={}", tokens[0])).send().await;
    assert_eq!(opened.unwrap().status(), StatusCode::OK);
    until("the last one has expired", || async {
        let asked = stream(String::new()).bearer_auth(&tokens[3]).send().await;
        (asked.ok()?.status() == StatusCode::UNAUTHORIZED).then_some(())
    })
    .await;
    let expired = stream(format!("token={}", tokens[3]));
    let last_event = expired.send().await.unwrap().text().await.unwrap();
    assert!(last_event.contains("event: bye") && !last_event.contains(&tokens[3]));
    for wrong in [
        format!("token={}x", tokens[1]),
        format!("token={}&token={}", tokens[1], tokens[2]),
        format!("{}=1", tokens[1]),
        format!("token={}&attachment=x", tokens[1]),
    ] {
        let refused = stream(wrong).send().await.unwrap();
        assert!(refused.status().is_client_error());
    }

    let in_query = Handshake::at(address, &format!("token={}", tokens[1]));
    let as_protocol = format!("onrecord.token.{}", tokens[1]);
    let only = Handshake::at(address, "").protocols(&[&as_protocol]);
    for handshake in [in_query, only] {
        let mut socket = handshake.opens().await;
        socket.sends_json(json!({ "type": "token", "token": tokens[2] })).await;
        socket.sends_json(json!({ "type": "token", "token": tokens[3] })).await;
        socket.sends_json(json!({ "type": "tokens", "token": tokens[2] })).await;
        let refused = socket.receives("error").await.body.to_string();
        assert!(refused.contains("expired") && !refused.contains(&tokens[3]));
        socket.receives("error").await;
    }
    let log = program.ends();
    assert!(log.contains("TRACE"), "everything is logged");
    for token in tokens {
        assert!(!log.contains(&token), "a token is in the log");
        let (_, signature) = token.rsplit_once('.').unwrap();
        assert!(!log.contains(signature), "a signature is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_reloaded_on_sighup_and_a_broken_file_changes_nothing() {
    let database_url = fresh_database().await;
    let program = Program::start(&database_url, "").await;
    let file = program.folder.path().join("onrecord.toml");
    let body = Call::new().started().to_string();
    assert_eq!(
        program.post("/ingest/event-grid/eg", SOURCE_KEY, body.clone()).await,
        StatusCode::SERVICE_UNAVAILABLE
    );
    write(&file, &database_url, &sources());
    program.signal(1);
    until("the new source accepts events", || async {
        (program.post("/ingest/event-grid/eg", SOURCE_KEY, body.clone()).await == StatusCode::OK)
            .then_some(())
    })
    .await;
    std::fs::write(&file, format!("database_url = \"postgres://u:{MARKER}@h/d")).unwrap();
    program.signal(1);
    until("the log has the error", || async {
        program.log.lock().unwrap().contains("stay as they were").then_some(())
    })
    .await;
    assert_eq!(program.post("/ingest/event-grid/eg", SOURCE_KEY, body).await, StatusCode::OK);
    let log = program.ends();
    assert!(
        log.contains("line 1, column") && !log.contains(MARKER),
        "the place is logged, and not the line"
    );
}

/// Signals SIGHUP, and waits until the log has one more of these lines.
async fn reloads(program: &Program, line: &str) {
    let lines = || program.log.lock().unwrap().matches(line).count();
    let before = lines();
    program.signal(1);
    until("the settings are read again", || async { (lines() > before).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_or_missing_file_keeps_the_sources_and_the_tenants_at_a_sighup() {
    let database_url = fresh_database().await;
    let granted = format!("{}\n[tenants.contoso]\nclients = \"granted\"\n", sources());
    let program = Program::start(&database_url, &granted).await;
    let file = program.folder.path().join("onrecord.toml");
    let key = program.key(&database_url).await;
    let minted = http()
        .post(format!("{}/v1/subscriber-tokens", program.address))
        .bearer_auth(&key)
        .json(&json!({ "participant": { "raw_id": ALICE } }));
    let minted: Value = minted.send().await.unwrap().json().await.unwrap();
    let token = minted["token"].as_str().unwrap();
    let body = Call::new().started().to_string();
    let statuses = async || {
        let attachment = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let url = format!("{}/v1/indications?attachment={attachment}", program.address);
        let asked = http().get(url).bearer_auth(token).send().await.unwrap().status();
        let posted = program.post("/ingest/event-grid/eg", SOURCE_KEY, body.clone()).await;
        (posted, asked)
    };
    let kept = (StatusCode::OK, StatusCode::FORBIDDEN);
    until("the spool takes it", || async { (statuses().await == kept).then_some(()) }).await;

    for text in ["", "# being written\n", "[log]\nfilter = \"info\"\n"] {
        std::fs::write(&file, text).unwrap();
        reloads(&program, "states no tenants, so they stay").await;
        assert_eq!(statuses().await, kept, "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    reloads(&program, "stay as they were: ").await;
    assert_eq!(statuses().await, kept, "the file is missing");
    // What is stated counts, and the rest stays.
    std::fs::write(&file, "[sources]\n").unwrap();
    reloads(&program, "states no tenants, so they stay").await;
    let without_source = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::FORBIDDEN);
    assert_eq!(statuses().await, without_source);
    let log = program.ends();
    assert_eq!(log.matches("states no sources, so they stay").count(), 3, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_requires_grants_from_a_sighup_on_and_the_log_says_when_it_does_not_any_more() {
    let database_url = fresh_database().await;
    let program = Program::start(&database_url, &sources()).await;
    let file = program.folder.path().join("onrecord.toml");
    let key = program.key(&database_url).await;
    let order = json!({ "participant": { "raw_id": ALICE } });
    let minted = http()
        .post(format!("{}/v1/subscriber-tokens", program.address))
        .bearer_auth(&key)
        .json(&order);
    let minted: Value = minted.send().await.unwrap().json().await.unwrap();
    let token = minted["token"].as_str().unwrap();
    let status = async || {
        let attachment = "6ba7b810-9dad-11d1-80b4-00c04fd430c8";
        let url = format!("{}/v1/indications?attachment={attachment}", program.address);
        http().get(url).bearer_auth(token).send().await.unwrap().status()
    };
    assert_eq!(status().await, StatusCode::OK, "open by default");
    let granted = format!("{}\n[tenants.contoso]\nclients = \"granted\"\n", sources());
    let without = format!("{}\n[tenants]\n", sources());
    for (settings, wanted) in [(granted, StatusCode::FORBIDDEN), (without, StatusCode::OK)] {
        write(&file, &database_url, &settings);
        program.signal(1);
        until("the settings are reloaded", || async { (status().await == wanted).then_some(()) })
            .await;
    }
    assert!(program.ends().contains("the tenant contoso admits clients without a grant"));
}

/// How long the program takes to end after SIGTERM.
fn stops_within(program: Program) -> Duration {
    let began = Instant::now();
    let log = program.ends();
    assert!(log.contains("stopped"), "it ended in order");
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_reader_delays_a_stop_by_seconds_and_half_a_request_by_25() {
    let database_url = fresh_database().await;
    let program = Program::start(&database_url, &sources()).await;
    let host = program.address.trim_start_matches("http://").to_owned();
    let key = program.key(&database_url).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2048).unwrap();
    let mut stalled = socket.connect(host.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET /v1/notices/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n\r\n"
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    // More than the socket buffers hold.
    let calls: Vec<Call> = (0..2_000).map(|_| Call::new()).collect();
    let recorded = |call: &Call| call.recording("active", chrono::Utc::now())[0].clone();
    let many: Vec<Value> = calls.iter().map(recorded).collect();
    for part in many.chunks(500) {
        let body = Value::from(part.to_vec()).to_string();
        let path = "/ingest/call-automation/ca";
        assert_eq!(program.post(path, SOURCE_KEY, body).await, StatusCode::OK);
    }
    let last = &calls[calls.len() - 1].correlation;
    until("the levels of all calls wait for it", || async {
        let url = format!("{}/v1/indications?call={last}", program.address);
        let answer = http().get(url).bearer_auth(&key).send().await.ok()?;
        let level: Value = answer.json().await.ok()?;
        (level["indication"]["recording"]["state"] == "on").then_some(())
    })
    .await;
    let took = stops_within(program);
    assert!(took < Duration::from_secs(12), "{took:?}");
    drop(stalled);

    let program = Program::start(&database_url, &sources()).await;
    let host = program.address.trim_start_matches("http://").to_owned();
    let mut half = TcpStream::connect(&host).await.unwrap();
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    // Connections are accepted in their order: when this one is answered, the other is held.
    let health = http().get(format!("{}/healthz", program.address));
    assert_eq!(health.send().await.unwrap().status(), StatusCode::OK);
    let took = stops_within(program);
    assert!(took < Duration::from_secs(25), "{took:?}");
}

#[test]
fn an_unknown_setting_fails_the_start_with_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("onrecord.toml");
    std::fs::write(&file, "[ingest]\nbytes_in_fligth = \"1MiB\"").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_onrecord"))
        .args(["serve", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("unknown setting ingest.bytes_in_fligth"), "{error}");
    assert!(
        error.contains("the keys of [ingest] are: bytes_in_flight, kafka_timeout, deadline"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_listed_and_revoked() {
    let database_url = fresh_database().await;
    let run = |arguments: &[&str]| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_onrecord"))
            .arg("key")
            .args(arguments)
            .env("ONRECORD_DATABASE_URL", &database_url)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        (child.wait().unwrap().success(), out)
    };
    let (made, key) =
        run(&["create", "--tenant", "contoso", "--role", "auditor", "--name", "audit"]);
    assert!(made && key.trim().starts_with("onr_"), "{key}");
    let (_, list) = run(&["list"]);
    assert!(
        list.contains("contoso") && list.contains("auditor") && !list.contains(key.trim()),
        "{list}"
    );
    let id = list.split_whitespace().next().unwrap();
    let (is_revoked, said) = run(&["revoke", id]);
    assert!(is_revoked && said.contains(&format!("revoke-tokens --key {id}")), "{said}");
    assert!(run(&["list"]).1.contains("revoked"));
    assert!(!run(&["revoke", id]).0, "there is none to revoke any more");
    let (_, said) = run(&["revoke-tokens", "--key", id]);
    let minted_by_revoked = format!("that the key {id} minted, whenever they were issued");
    assert!(said.contains(&minted_by_revoked), "{said}");
    let (_, said) = run(&["revoke-tokens", "--tenant", "contoso", "--raw-id", ALICE]);
    assert!(said.contains(ALICE), "{said}");
    let instant = "2026-11-23T18:00:00Z";
    let all = ["revoke-tokens", "--tenant", "contoso", "--issued-before", instant];
    assert!(run(&all).0);
    run(&["create", "--tenant", "contoso", "--role", "app", "--name", "backend"]);
    let (_, list) = run(&["list"]);
    let live = list.lines().find(|line| line.ends_with("live")).unwrap();
    let live = live.split_whitespace().next().unwrap();
    let (_, said) = run(&["revoke-tokens", "--key", live]);
    let until = format!("that the key {live} minted, that were issued until");
    assert!(said.contains(&until), "the key mints on: {said}");
    let (_, said) = run(&["revoke", live, "--with-tokens"]);
    let whenever = format!("that the key {live} minted, whenever they were issued");
    assert!(said.contains(&whenever), "{said}");
    let with_blank = format!("{ALICE} ");
    for wrong in [
        ["revoke-tokens", "--tenant", "contoso"].as_slice(),
        &["revoke-tokens", "--raw-id", ALICE],
        &["revoke-tokens", "--tenant", "contoso", "--raw-id", &with_blank],
        &["revoke-tokens", "--key", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
        &["revoke-tokens", "--tenant", "fabrikam", "--key", id],
        &["revoke-tokens", "--tenant", "contoso", "--issued-before", "2099-01-01T00:00:00Z"],
    ] {
        assert!(!run(wrong).0, "{wrong:?}");
    }
    let (_, source) = run(&["source"]);
    let field = |name: &str| {
        source.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    assert_eq!(KeyHash::of(&field("key:")).to_string(), field("hash:"));
}
