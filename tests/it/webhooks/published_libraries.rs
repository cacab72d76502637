//! Messages are verified by the published libraries of Standard Webhooks, with the code of
//! `docs/webhooks.md`, through a rotation of the secret.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use standardwebhooks::{Webhook, WebhookError};

use super::receiver::{Received, Receiver};
use super::subscriber::Subscriber;
use crate::repository::source::text;
use crate::support::python::python;
use crate::support::requirements::{Requirement, skip};

const NODE_LIBRARY: &str = "standardwebhooks@1.1.1";
const GO_LIBRARY: &str = "github.com/standard-webhooks/standard-webhooks/libraries v0.0.1";
const JAVA_LIBRARY: &str = "com.standardwebhooks:standardwebhooks:1.2.0";

/// A message with a secret, and whether the secret signed it.
struct VerificationCase {
    secret: String,
    headers: Vec<(&'static str, String)>,
    body: String,
    is_valid: bool,
}

impl VerificationCase {
    fn of(secret: &str, received: &Received, is_valid: bool) -> Self {
        let header = |name: &'static str| (name, received.headers[name].clone());
        Self {
            secret: secret.to_owned(),
            headers: ["webhook-id", "webhook-timestamp", "webhook-signature"].map(header).into(),
            body: received.body.clone(),
            is_valid,
        }
    }

    /// One line: secret, headers and body in base64, separated by tabulators.
    fn line(&self) -> String {
        let headers = self.headers.iter().map(|(_, value)| value.clone());
        let mut parts = vec![self.secret.clone()];
        parts.extend(headers);
        parts.push(STANDARD.encode(&self.body));
        parts.join("\t")
    }
}

/// Real messages before, during and after a rotation, each with the secret before and after; and one that
/// was changed on its way.
async fn cases() -> Vec<VerificationCase> {
    let subscriber = Subscriber::open().await;
    let receiver = Receiver::start().await;
    let webhook = subscriber.subscribes(&receiver, &["*"], &json!({})).await;
    let id = webhook["id"].as_str().unwrap();
    let mut secrets = vec![webhook["secret"].as_str().unwrap().to_owned()];
    let mut received = Vec::new();
    for (number, overlap) in [(1, Some(3600)), (2, Some(0)), (3, None)] {
        subscriber.tests(id).await;
        received.push(receiver.receives("webhook.test", number).await.remove(number - 1));
        if let Some(overlap) = overlap {
            let body = json!({ "overlap_s": overlap });
            let path = format!("/v1/webhooks/{id}/rotate");
            let (_, rotated) = subscriber.sends(Method::POST, &path, Some(&body)).await;
            secrets.push(rotated["secret"].as_str().unwrap().to_owned());
        }
    }
    subscriber.app.stop().await;
    let of = |secret: usize, message: usize, is_valid| {
        VerificationCase::of(&secrets[secret], &received[message], is_valid)
    };
    let mut changed = of(0, 0, false);
    changed.body = changed.body.replace("contoso", "fabrikam");
    vec![
        of(0, 0, true),
        of(0, 1, true),
        of(1, 1, true),
        of(2, 2, true),
        of(0, 2, false),
        of(1, 2, false),
        of(2, 0, false),
        changed,
    ]
}

/// The block of the document in this language that has this text.
fn block(language: &str, containing: &str) -> String {
    let document = text("docs/webhooks.md");
    let head = format!("```{language}\n");
    let blocks = document.split(&head).skip(1);
    let mut blocks = blocks.filter_map(|rest| rest.split("```").next());
    let found = blocks.find(|block| block.contains(containing));
    found.unwrap_or_else(|| panic!("no block {language} with {containing}")).to_owned()
}

/// A fresh folder for a program.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("webhook-libraries").join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command in a folder; `Err` is what it wrote to its standard error.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).current_dir(folder).output();
    let output = output.map_err(|error| format!("{program} does not run: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(format!("{}{}", said(&output.stdout), said(&output.stderr)))
    }
}

/// Writes the cases where a program reads them, and compares what it says of each.
async fn are_verified_by(folder: &Path, program: &str, arguments: &[&str]) {
    let cases = cases().await;
    let lines: Vec<String> = cases.iter().map(VerificationCase::line).collect();
    fs::write(folder.join("cases.tsv"), lines.join("\n")).unwrap();
    let said = run(folder, program, arguments).unwrap_or_else(|error| panic!("{error}"));
    let said: Vec<bool> =
        said.lines().map(|line| line.trim().to_ascii_lowercase().parse().unwrap()).collect();
    let expected: Vec<bool> = cases.iter().map(|case| case.is_valid).collect();
    assert_eq!(said, expected);
}

/// As in the document.
fn verify(secret: &str, body: &[u8], headers: &HeaderMap) -> Result<(), WebhookError> {
    Webhook::new(secret)?.verify(body, headers)
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_verified_by_the_library_of_rust() {
    let documented = block("rust", "fn verify");
    let own = text("tests/it/webhooks/published_libraries.rs");
    let function = documented.split("\n\n").last().unwrap().trim();
    assert!(own.contains(function), "the test has the function of the document: {function}");
    for case in cases().await {
        let headers: HeaderMap = case
            .headers
            .iter()
            .map(|(name, value)| {
                (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let verified = verify(&case.secret, case.body.as_bytes(), &headers);
        assert_eq!(verified.is_ok(), case.is_valid, "{}", case.line());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_verified_by_the_library_of_node() {
    let folder = folder("node");
    fs::write(folder.join("package.json"), "{\"private\":true}").unwrap();
    let install = ["install", "--no-audit", "--no-fund", "--no-save", NODE_LIBRARY];
    if let Err(reason) = run(&folder, "npm", &install) {
        return skip(Requirement::NpmPackages, &reason);
    }
    let program = block("js", "verified(")
        + r#"
import { readFileSync } from "node:fs";
for (const line of readFileSync("cases.tsv", "utf8").split("\n")) {
  const [secret, id, timestamp, signature, body] = line.split("\t");
  const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
  let valid = true;
  try {
    verified(secret, Buffer.from(body, "base64").toString(), headers);
  } catch {
    valid = false;
  }
  console.log(valid);
}
"#;
    fs::write(folder.join("verify.mjs"), program).unwrap();
    are_verified_by(&folder, "node", &["verify.mjs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_verified_by_the_library_of_python() {
    let Some(python) = python() else { return };
    let folder = folder("python");
    let program = block("python", "def verified(")
        + r#"

import base64

for line in open("cases.tsv").read().split("\n"):
    secret, message, timestamp, signature, body = line.split("\t")
    headers = {"webhook-id": message, "webhook-timestamp": timestamp, "webhook-signature": signature}
    try:
        verified(secret, base64.b64decode(body), headers)
        print(True)
    except Exception:
        print(False)
"#;
    fs::write(folder.join("verify.py"), program).unwrap();
    are_verified_by(&folder, python.to_str().unwrap(), &["verify.py"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_verified_by_the_library_of_go() {
    let folder = folder("go");
    fs::create_dir_all(folder.join("receiver")).unwrap();
    let module = format!("module example.com/webhooks\n\ngo 1.21\n\nrequire {GO_LIBRARY}\n");
    fs::write(folder.join("go.mod"), module).unwrap();
    fs::write(folder.join("receiver/receiver.go"), block("go", "func Verify(")).unwrap();
    let program = r#"package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"strings"

	"example.com/webhooks/receiver"
)

func main() {
	text, _ := os.ReadFile("cases.tsv")
	for _, line := range strings.Split(string(text), "\n") {
		parts := strings.Split(line, "\t")
		headers := http.Header{}
		headers.Set("webhook-id", parts[1])
		headers.Set("webhook-timestamp", parts[2])
		headers.Set("webhook-signature", parts[3])
		body, _ := base64.StdEncoding.DecodeString(parts[4])
		fmt.Println(receiver.Verify(parts[0], body, headers) == nil)
	}
}
"#;
    fs::write(folder.join("main.go"), program).unwrap();
    let tidy = run(&folder, "go", &["mod", "tidy"]);
    if let Err(reason) = tidy.and_then(|_| run(&folder, "go", &["build", "-o", "verify", "."])) {
        return skip(Requirement::GoModules, &reason);
    }
    are_verified_by(&folder, folder.join("verify").to_str().unwrap(), &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_verified_by_the_library_of_java() {
    let folder = folder("java");
    let artifact = format!("-Dartifact={JAVA_LIBRARY}");
    let copy = ["-q", "-B", "dependency:copy", &artifact, "-DoutputDirectory=lib"];
    if let Err(reason) = run(&folder, "mvn", &copy) {
        return skip(Requirement::MavenCentral, &reason);
    }
    fs::write(folder.join("Verifier.java"), block("java", "final class Verifier")).unwrap();
    let program = r#"import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Base64;
import java.util.List;
import java.util.Map;

final class Main {
    public static void main(String[] arguments) throws Exception {
        for (String line : Files.readString(Path.of("cases.tsv")).split("\n")) {
            String[] parts = line.split("\t");
            Map<String, List<String>> headers = Map.of(
                "webhook-id", List.of(parts[1]),
                "webhook-timestamp", List.of(parts[2]),
                "webhook-signature", List.of(parts[3]));
            boolean valid = true;
            try {
                Verifier.verify(parts[0], new String(Base64.getDecoder().decode(parts[4])), headers);
            } catch (Exception e) {
                valid = false;
            }
            System.out.println(valid);
        }
    }
}
"#;
    fs::write(folder.join("Main.java"), program).unwrap();
    let compile = ["-cp", "lib/*", "Verifier.java", "Main.java"];
    if let Err(reason) = run(&folder, "javac", &compile) {
        return skip(Requirement::MavenCentral, &reason);
    }
    are_verified_by(&folder, "java", &["-cp", "lib/*:.", "Main"]).await;
}

#[test]
fn the_document_has_a_verification_in_c_sharp() {
    assert!(
        block("csharp", "StandardWebhooks").contains("new Webhook(secret).Verify(body, headers)")
    );
}
