//! The credential of a request is checked before its body is read.

use std::time::Duration;

use onrecord::http::api_role::ApiRole;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{DocumentedResource, documented_resources};
use crate::support::app::{DEADLINE, TestApp};
use crate::support::azure::ALICE;

/// Maximum time to an answer that does not wait for the body. The server discards a body for up to
/// 3 s.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Reads one response with a body of known length; returns its status.
async fn status_of_next(connection: &mut TcpStream) -> u16 {
    let mut received = Vec::new();
    let (status, length, head) = loop {
        let mut buffer = [0; 4096];
        let read = connection.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        received.extend_from_slice(&buffer[..read]);
        let text = String::from_utf8_lossy(&received).to_lowercase();
        let Some((head, _)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        break (status, length, head.len() + 4);
    };
    let mut rest = vec![0; head + length - received.len()];
    connection.read_exact(&mut rest).await.unwrap();
    status
}

/// Sends the head of a request whose body does not come; returns the connection and the status.
async fn sends_head(app: &TestApp, head: &str) -> (TcpStream, u16) {
    let mut connection = TcpStream::connect(app.address).await.unwrap();
    connection.write_all(head.as_bytes()).await.unwrap();
    let status = tokio::time::timeout(AT_ONCE, status_of_next(&mut connection)).await;
    (connection, status.unwrap_or_else(|_| panic!("no answer before the body: {head}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_resource_reads_a_body_before_the_credential_is_checked() {
    let app = TestApp::open().await;
    let analyst = app.api_key("contoso", ApiRole::Analyst).await;
    let mut resources = documented_resources();
    resources.retain(|it| it.has_body && !it.roles.iter().any(|role| role == "analyst"));
    assert!(resources.len() >= 5, "{resources:?}");
    for DocumentedResource { method, path, .. } in resources {
        for (authorization, refused) in [
            (String::new(), vec![401]),
            ("authorization: Bearer onr_unknown\r\n".to_owned(), vec![401]),
            // None of them is for analysts.
            (format!("authorization: Bearer {analyst}\r\n"), vec![401, 403]),
        ] {
            let length = 100_000;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\n{authorization}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
            );
            let (mut connection, status) = sends_head(&app, &head).await;
            assert!(refused.contains(&status), "{head}{status}");
            // The connection serves the next request after the body.
            connection.write_all(&vec![b' '; length]).await.unwrap();
            connection.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let next = tokio::time::timeout(DEADLINE, status_of_next(&mut connection)).await;
            assert_eq!(next.unwrap(), 200, "{head}");
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_participant_cannot_take_the_memory_for_the_bodies_of_others() {
    let app = TestApp::open().await;
    let token = app.token(ALICE).await;
    // Bodies of which the last byte does not come.
    const LENGTH: usize = 250_000;
    let head = format!(
        "POST /v1/reports HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {LENGTH}\r\n\r\n"
    );
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut connection = TcpStream::connect(app.address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&vec![b' '; LENGTH - 1]).await.unwrap();
        slow.push(connection);
    }
    // The next body of the same participant is refused as soon as its bytes come.
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let mut connection = TcpStream::connect(app.address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&vec![b' '; LENGTH - 1]).await.unwrap();
        let refused =
            tokio::time::timeout(Duration::from_secs(1), status_of_next(&mut connection)).await;
        if refused == Ok(429) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{refused:?}");
        slow.push(connection);
    }
    let other = app.token(crate::support::azure::BOB).await;
    let (status, _) = app.reports(&other, &serde_json::json!({})).await;
    assert_eq!(status, 400);
    app.stop().await;
}
