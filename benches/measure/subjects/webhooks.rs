//! From an event to its receiver; messages that wait already, beside a bare loop of POSTs; a thousand
//! receivers; and a million messages that wait for one that is down.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use onrecord::http::api_role::ApiRole;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::measure::arguments::Arguments;
use crate::measure::baseline::POSTER;
use crate::measure::environment::{Environment, Namespace, TENANT};
use crate::measure::load::{Connection, at_rate, post};
use crate::measure::process::Process;
use crate::measure::report::{Figures, Latencies, Target};
use crate::measure::webhook_receiver::WebhookReceiver;

const PARTS: [&str; 4] = ["latency", "throughput", "endpoints", "waiting"];
/// Notices a second.
const RATE: f64 = 100.0;
const CONNECTIONS: u64 = 32;
/// Attempts at a time, on both sides.
const CONCURRENCY: u64 = 100;
/// Messages that are sent one after the other to measure their delay.
const PROBES: usize = 50;
/// Timeout of everything that is awaited.
const TIMEOUT: Duration = Duration::from_secs(120);

const SETTINGS: &str = r#"
    webhooks.keys = ["CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk="]
    webhooks.schemes = "https-and-http"
    webhooks.ports = []
    webhooks.allow = ["127.0.0.0/8"]
"#;

pub async fn measure(environment: &Environment, arguments: &Arguments) -> anyhow::Result<Figures> {
    let wanted = arguments.wanted(&PARTS)?;
    let mut figures = Figures::default();
    for part in wanted {
        let namespace = environment.namespace().await?;
        let serve = namespace.serve("", SETTINGS).await?;
        serve.is_ready().await?;
        let admin = namespace.api_key_of(ApiRole::Admin).await?;
        let subject = Subject { namespace: &namespace, serve: &serve, admin };
        match part {
            "latency" => subject.latency(arguments, &mut figures).await?,
            "throughput" => subject.throughput(arguments, &mut figures).await?,
            "endpoints" => subject.endpoints(arguments, &mut figures).await?,
            _ => subject.waiting(arguments, &mut figures).await?,
        }
        serve.stop().await;
        environment.clear(namespace).await?;
    }
    Ok(figures)
}

struct Subject<'e> {
    namespace: &'e Namespace,
    serve: &'e Process,
    admin: String,
}

impl Subject<'_> {
    /// From the intended instant of a client's report "on" to the POST at the receiver.
    async fn latency(&self, arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
        let lasting = Duration::from_secs(arguments.seconds.unwrap_or(30));
        let receiver = WebhookReceiver::start().await?;
        let more = json!({ "content": "full", "concurrency": CONCURRENCY });
        self.subscribe(&receiver.url(), &["notice.recording_on"], &more).await?;
        // The first requests are slow, and not counted.
        self.reports(&receiver, Duration::from_secs(2), "warm").await?;
        let latencies = self.reports(&receiver, lasting, "n").await?;
        let target = |most| Target::AtMost(most);
        figures.check(
            "event → receiver, 100 notices/s: p50",
            "ms",
            latencies.percentile(0.5),
            target(15.0),
        );
        figures.check("… p99", "ms", latencies.percentile(0.99), target(60.0));
        Ok(())
    }

    async fn reports(
        &self,
        receiver: &WebhookReceiver,
        lasting: Duration,
        prefix: &str,
    ) -> anyhow::Result<Latencies> {
        let all = (RATE * lasting.as_secs_f64()) as u64;
        let mut requests = Vec::new();
        for number in 0..all {
            let bearer = super::fanout::token(number)?;
            let report = json!({
                "report_id": Uuid::new_v4(), "attachment": Uuid::new_v4(), "sequence": 1,
                "recording": "on", "app": format!("{prefix}-{number}"),
                "server_call_id": crate::measure::calls::Calls::new(1)
                    .mark(0, onrecord::clock::now()).server_call_id(),
            });
            let headers = format!("authorization: Bearer {bearer}\r\n");
            requests.push(post("/v1/reports", &headers, report.to_string().as_bytes()));
        }
        let address = self.serve.address();
        let reported = tokio::task::spawn_blocking(move || {
            let request = |number: u64| requests[number as usize].clone();
            let answered = std::sync::atomic::AtomicU64::new(0);
            at_rate(address, CONNECTIONS, RATE, lasting, &request, &answered)
        });
        let began = reported.await??.whole()?.began.context("nothing was due")?;
        let mut latencies = Latencies::default();
        let until = Instant::now() + TIMEOUT;
        for number in 0..all {
            let app = format!("{prefix}-{number}");
            let at = loop {
                if let Some(at) = receiver.arrival_of(&app) {
                    break at;
                }
                if Instant::now() > until {
                    bail!("the notice {app} did not arrive");
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            };
            let due = began + Duration::from_secs_f64(number as f64 / RATE);
            latencies.add(at.saturating_duration_since(due));
        }
        Ok(latencies)
    }

    /// Messages that wait already, to one receiver; and as many POSTs by a bare loop.
    async fn throughput(&self, arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
        let events = arguments.events.unwrap_or(50_000);
        let receiver = WebhookReceiver::start().await?;
        let more = json!({ "concurrency": CONCURRENCY });
        let id = self.subscribe(&receiver.url(), &["notice.*"], &more).await?;
        let bare = self.namespace.baseline(POSTER, "none").await?;
        let before = bare.cpu()?;
        let path = format!("/run?url={}&number={events}&concurrency={CONCURRENCY}", receiver.url());
        let address = bare.address();
        tokio::task::spawn_blocking(move || {
            Connection::open(address)?
                .request(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes())
        })
        .await??;
        let bare_cpu = bare.cpu()? - before;
        bare.stop().await;
        let (count, before) = (receiver.count(), self.serve.cpu()?);
        self.insert(&id, events).await?;
        let began = Instant::now();
        receiver.receives(count + events, TIMEOUT * 5).await?;
        let rate = events as f64 / began.elapsed().as_secs_f64();
        let cpu = self.serve.cpu()? - before;
        figures.check("attempts/s to a bare receiver", "1/s", rate, Target::AtLeast(2_000.0));
        let per_million = |cpu: f64| cpu / events as f64 * 1e6;
        figures.compare(
            "… CPU per million",
            "s",
            per_million(cpu),
            per_million(bare_cpu),
            Some(Target::AtMost(2.5)),
        );
        Ok(())
    }

    /// One event to many subscriptions.
    async fn endpoints(&self, arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
        let endpoints = arguments.clients.unwrap_or(1_000);
        let receiver = WebhookReceiver::start().await?;
        // The app of a call, by which the receiver finds a message, is full content.
        let full = json!({ "content": "full" });
        for _ in 0..endpoints {
            self.create(&receiver.url(), &["notice.recording_on"], &full).await?;
        }
        self.all_are_active(endpoints).await?;
        let before = receiver.count();
        let latency = self.reports(&receiver, Duration::from_secs_f64(1.5 / RATE), "one").await?;
        let began = Instant::now();
        receiver.receives(before + endpoints as u64, TIMEOUT).await?;
        let all = latency.percentile(0.5) + began.elapsed().as_secs_f64() * 1_000.0;
        figures.note(format!("an event to {endpoints} receivers: the last one"), "ms", all);
        Ok(())
    }

    /// The delay of messages while very many wait for a receiver that is down.
    async fn waiting(&self, arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
        let events = arguments.events.unwrap_or(1_000_000);
        let receiver = WebhookReceiver::start().await?;
        let id = self.subscribe(&receiver.url(), &["notice.*"], &json!({})).await?;
        let down = self.subscribe(&receiver.url(), &["call.ended"], &json!({})).await?;
        let mut database = PgConnection::connect(&self.namespace.database_url).await?;
        // Nothing listens there any more.
        sqlx::query("update webhook_subscription set url = 'http://127.0.0.1:9/', version = version + 1 where id = $1::uuid")
            .bind(&down)
            .execute(&mut database)
            .await?;
        let bare = self.probes(&receiver, &id).await?;
        let memory = self.serve.rss()?;
        self.insert(&down, events).await?;
        sqlx::raw_sql("vacuum analyze webhook_message").execute(&mut database).await?;
        // The circuit opens.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let ours = self.probes(&receiver, &id).await?;
        let name = format!("delay of a message while {events} wait for another receiver");
        for (part, label) in [(0.5, "p50"), (0.99, "p99")] {
            let (ours, bare) = (ours.percentile(part), bare.percentile(part));
            figures.compare(
                format!("{name}: {label}"),
                "ms",
                ours,
                bare,
                Some(Target::AtMost(1.2)),
            );
        }
        figures.compare("… memory", "MB", self.serve.rss()?, memory, Some(Target::AtMost(1.1)));
        Ok(())
    }

    /// Test messages one after the other, each from its request to its arrival.
    async fn probes(&self, receiver: &WebhookReceiver, id: &str) -> anyhow::Result<Latencies> {
        let mut latencies = Latencies::default();
        for _ in 0..PROBES {
            let count = receiver.count();
            let began = Instant::now();
            self.request("POST", &format!("/v1/webhooks/{id}/test"), None).await?;
            receiver.receives(count + 1, TIMEOUT).await?;
            latencies.add(began.elapsed());
        }
        Ok(latencies)
    }

    /// Makes messages that are due, as the ledger would have made them.
    async fn insert(&self, id: &str, events: u64) -> anyhow::Result<()> {
        let mut database = PgConnection::connect(&self.namespace.database_url).await?;
        sqlx::query(
            "insert into webhook_message (tenant, id, subscription, event, type, call, occurred_at, is_stale, data, due_at)
             select $1, webhook_message_id($2::uuid, 'e' || number), $2::uuid, 'e' || number, 'notice.recording_on', 'c' || number, now(), false,
                 jsonb_build_object('id', 'e' || number, 'call', 'c' || number, 'variant', 'recording_on',
                     'indication', jsonb_build_object('recording', jsonb_build_object('state', 'on', 'stale', false))), now()
             from generate_series(1, $3) as number",
        )
        .bind(TENANT)
        .bind(id)
        .bind(i64::try_from(events)?)
        .execute(&mut database)
        .await?;
        sqlx::query("select pg_notify('onrecord_webhooks', $1)")
            .bind(id)
            .execute(&mut database)
            .await?;
        Ok(())
    }

    async fn subscribe(&self, url: &str, events: &[&str], more: &Value) -> anyhow::Result<String> {
        let id = self.create(url, events, more).await?;
        let until = Instant::now() + TIMEOUT;
        while self.request("GET", &format!("/v1/webhooks/{id}"), None).await?["state"] != "active" {
            if Instant::now() > until {
                bail!("the webhook is not active");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(id)
    }

    async fn create(&self, url: &str, events: &[&str], more: &Value) -> anyhow::Result<String> {
        let mut body = json!({ "url": url, "events": events });
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let created = self.request("POST", "/v1/webhooks", Some(&body)).await?;
        Ok(created["id"].as_str().with_context(|| created.to_string())?.to_owned())
    }

    async fn all_are_active(&self, number: usize) -> anyhow::Result<()> {
        let mut database = PgConnection::connect(&self.namespace.database_url).await?;
        let until = Instant::now() + TIMEOUT;
        loop {
            let active: i64 = sqlx::query_scalar(
                "select count(*) from webhook_subscription where state = 'active'",
            )
            .fetch_one(&mut database)
            .await?;
            if usize::try_from(active)? >= number {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("{active} of {number} webhooks are active");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.admin,
            body.len()
        );
        let address = self.serve.address();
        let answer = tokio::task::spawn_blocking(move || {
            Connection::open(address)?.request(request.as_bytes())
        })
        .await??;
        if answer.status >= 400 {
            bail!("{method} {path}: {}", String::from_utf8_lossy(&answer.body));
        }
        Ok(serde_json::from_slice(&answer.body).unwrap_or_default())
    }
}
