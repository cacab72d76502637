//! The pages of the console on a history: how long the server makes each, how large it is, when a browser shows
//! it, and what open pages of calls in progress cost at rest.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::Served;
use crate::measure::load::Connection;
use crate::measure::report::{Figures, Latencies, Target};

/// Signed-in users with an open page of calls in progress.
const OPEN_PAGES: usize = 50;
/// How long they are open until the service is at rest, and how long it is measured then.
const SETTLE_TIME: Duration = Duration::from_secs(5);
const REST_TIME: Duration = Duration::from_secs(30);
/// Requests of each page that are measured, and before that are not.
const REQUESTS: (usize, usize) = (100, 10);
/// The same of each answer, which may take seconds and comes after its page.
const ANSWER_REQUESTS: (usize, usize) = (5, 1);
const QUESTIONS: u32 = 20;
/// Maximum size of the HTML of a page, kB.
const MAX_SIZE: f64 = 150.0;
/// Maximum time of the server for a page, and of a browser until it shows something, ms.
const MAX_TIME: f64 = 60.0;
const MAX_PAINT_TIME: f64 = 500.0;

/// The pages with their names, with ids of the history. Of a kind with several, each is asked for in turn.
fn page_kinds(served: &Served) -> Vec<(String, Vec<String>)> {
    let of_calls = |suffix: &str| {
        let paths = served.paths_of("call");
        paths.iter().map(|path| format!("{}{suffix}", path.replace("/v1/", "/console/"))).collect()
    };
    let people = served.paths_of("participant").iter().map(|path| {
        let raw_id = path.trim_start_matches("/v1/participants/");
        let raw_id = raw_id.split('?').next().unwrap_or_default();
        format!("/console/people?person={raw_id}&purpose=measurement")
    });
    let one = |name: &str, path: &str| (name.to_owned(), vec![path.to_owned()]);
    let each = |name: &str, paths: Vec<String>| (name.to_owned(), paths);
    let mut kinds = vec![
        one("overview", "/console/"),
        one("calls", "/console/calls"),
        one("calls with a filter", "/console/calls?verdict=EXCEPTIONS"),
        each("call", of_calls("")),
        each("entries of a call", of_calls("/entries")),
        each("report of a call", of_calls("/report")),
        one("exceptions", "/console/exceptions"),
        one("live", "/console/live"),
        each("person", people.collect()),
        one("analytics", "/console/analytics"),
    ];
    kinds.push(each(
        "questions",
        (1..=QUESTIONS).map(|it| format!("/console/analytics/{it}")).collect(),
    ));
    kinds.extend((1..=QUESTIONS).map(|number| {
        one(&format!("answer to question {number}"), &format!("/console/analytics/{number}/answer"))
    }));
    let others = [
        "exports",
        "sources",
        "health",
        "access",
        "deliveries",
        "quarantine",
        "settings",
        "glossary",
    ];
    kinds.extend(others.map(|name| one(name, &format!("/console/{name}"))));
    kinds
}

/// How long the server makes each page, and how large it is.
pub fn measure_pages(served: &Served, figures: &mut Figures) -> anyhow::Result<()> {
    let cookie = sign_in(served)?;
    let mut connection = Connection::open(served.server.address())?;
    for (name, paths) in page_kinds(served) {
        let is_answer = name.starts_with("answer");
        let (measured, warm) = if is_answer { ANSWER_REQUESTS } else { REQUESTS };
        let mut latencies = Latencies::with_capacity(measured);
        let mut largest = 0;
        for number in 0..warm + measured {
            let path = &paths[number % paths.len()];
            let request = get(path, &cookie);
            let sent = Instant::now();
            let answer = connection.request(&request)?;
            ensure!(answer.status == 200, "{path}: {}", answer.status);
            largest = largest.max(answer.body.len());
            if number >= warm {
                latencies.add(sent.elapsed());
            }
        }
        figures.note(format!("page {name}: p50"), "ms", latencies.percentile(0.5));
        let p99 = latencies.percentile(0.99);
        if is_answer {
            figures.note(format!("{name}: longest of {measured}"), "ms", p99);
        } else {
            figures.check(format!("page {name}: p99"), "ms", p99, Target::AtMost(MAX_TIME));
        }
        let size = largest as f64 / 1e3;
        figures.check(format!("page {name}: size"), "kB", size, Target::AtMost(MAX_SIZE));
    }
    Ok(())
}

/// What open pages of calls in progress cost while no call changes.
pub async fn measure_open_pages(served: &Served, figures: &mut Figures) -> anyhow::Result<()> {
    let used = async || {
        let before = served.server.cpu()?;
        tokio::time::sleep(REST_TIME).await;
        anyhow::Ok((served.server.cpu()? - before) / REST_TIME.as_secs_f64() * 100.0)
    };
    let bare = used().await?;
    let mut open = Vec::with_capacity(OPEN_PAGES);
    for _ in 0..OPEN_PAGES {
        let cookie = sign_in(served)?;
        let mut connection = Connection::open(served.server.address())?;
        let page = connection.request(&get("/console/live", &cookie))?;
        ensure!(page.status == 200, "the page of calls in progress: {}", page.status);
        connection.send(&get("/console/live/changes", &cookie))?;
        open.push(connection);
    }
    tokio::time::sleep(SETTLE_TIME).await;
    let more = used().await? - bare;
    let name = format!(
        "{OPEN_PAGES} open pages of calls in progress, at rest: CPU above that without them"
    );
    figures.check(name, "% of a core", more, Target::AtMost(2.0));
    Ok(())
}

/// When a browser shows each page for the first time.
pub fn measure_first_paint(served: &Served, figures: &mut Figures) -> anyhow::Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/web/scripts/first-paint.mjs");
    let address = format!("http://localhost:{}", served.server.address().port());
    let mut kinds = page_kinds(served);
    // A browser asks for an answer from the page of its question.
    kinds.retain(|(name, _)| !name.starts_with("answer"));
    let paths = kinds.iter().filter_map(|(_, paths)| paths.first());
    let output = Command::new("node")
        .arg(script)
        .arg(&address)
        .args(paths)
        .env("ONRECORD_API_KEY", &served.key)
        .output()
        .context("node, which opens the browser")?;
    if !output.status.success() {
        bail!("no page was painted: {}", String::from_utf8_lossy(&output.stderr));
    }
    let painted: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    for ((name, _), times) in kinds.iter().zip(&painted) {
        let times = times.as_array().context("the script prints a list of times for each page")?;
        let longest = times.iter().filter_map(Value::as_f64).fold(0.0, f64::max);
        ensure!(longest > 0.0, "{name} was not painted");
        let name = format!("page {name}: first contentful paint, longest of {}", times.len());
        figures.check(name, "ms", longest, Target::AtMost(MAX_PAINT_TIME));
    }
    Ok(())
}

fn get(path: &str, cookie: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\n\r\n").into_bytes()
}

/// Signs in by the form. Returns the cookie of the session.
fn sign_in(served: &Served) -> anyhow::Result<String> {
    let mut connection = Connection::open(served.server.address())?;
    let (head, form) = connection
        .request_with_head(b"GET /console/sign-in HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let cookie = set_cookie(&head)?;
    let form = String::from_utf8_lossy(&form.body).into_owned();
    let (_, token) = form.split_once("name=\"form_token\" value=\"").context("no form")?;
    let (token, _) = token.split_once('"').context("no token of the form")?;
    let body = format!("form_token={token}&key={}&then=%2Fconsole%2F", served.key);
    let request = format!(
        "POST /console/sign-in HTTP/1.1\r\nhost: localhost\r\ncookie: {cookie}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let (head, answer) = connection.request_with_head(request.as_bytes())?;
    ensure!(answer.status == 303, "the sign-in: {}", answer.status);
    set_cookie(&head)
}

/// The first cookie with a value that the head of an answer sets.
fn set_cookie(head: &str) -> anyhow::Result<String> {
    let cookies = head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let mut pairs = cookies.filter_map(|cookie| cookie.split(';').next());
    let pair = pairs.find(|pair| !pair.ends_with('=')).context("no cookie")?;
    Ok(pair.to_owned())
}
