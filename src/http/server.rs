//! Serves a router until the stop, and answers for operations.
//!
//! # Why
//!
//! *Not `axum::serve`.* Most connections here are streams at rest, by the ten thousand. Its server
//! first finds out which version of HTTP a client speaks, which makes hyper take a buffer of twice
//! the size, and at each turn of each connection it asks, under a lock that all of them share, whether
//! the stop has begun.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;

use super::connection::{Connection, Reception};
use super::discard::discard;
use super::problem::{Problem, ProblemKind};
use crate::lifecycle::{Health, Lifecycle};
use crate::telemetry::names;

/// A wrong address is logged at most so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What `/healthz`, `/readyz` and `/metrics` answer from.
#[derive(Clone)]
pub struct Operations {
    pub lifecycle: Lifecycle,
    pub metrics: PrometheusHandle,
}

/// `/healthz`, `/readyz`, `/metrics`.
pub fn operations(operations: Operations) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(async |State(operations): State<Operations>| operations.metrics.render()),
        )
        .with_state(operations)
}

#[derive(Serialize)]
struct ReadinessView {
    ready: bool,
    stopping: bool,
    components: BTreeMap<&'static str, ComponentView>,
}

#[derive(Serialize)]
struct ComponentView {
    health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Ready: would accept now, by either store. A store that is away degrades and is named.
async fn readyz(State(operations): State<Operations>) -> Response {
    let health = operations.lifecycle.readiness().view();
    let well = |name: &str| health.get(name) == Some(&Health::Well);
    let stopping = operations.lifecycle.is_stopping();
    let ready = !stopping && (well("kafka") || well("postgres"));
    let components = health
        .iter()
        .map(|(name, health)| {
            let (health, why) = match health {
                Health::Starting => ("starting", None),
                Health::Well => ("well", None),
                Health::Unwell(why) => ("unwell", Some(why.clone())),
                Health::Silent => ("silent", Some("it did not report in time".to_owned())),
            };
            (*name, ComponentView { health, why })
        })
        .collect();
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(ReadinessView {
            ready,
            stopping,
            components,
        }),
    )
        .into_response()
}

/// Serves until the soft stop, then lets open requests end. That may take for ever, by the will of
/// a client that sends half a request: whoever calls this must drop it in time.
///
pub async fn serve(listener: TcpListener, router: Router, lifecycle: Lifecycle) {
    let router = router
        .fallback({
            let told = Arc::new(Mutex::new(None));
            move |request| nowhere(request, Arc::clone(&told))
        })
        .method_not_allowed_fallback(not_offered)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::map_response(never_sniffed));
    // Made ready once, and not for each request.
    let service = TowerToHyperService::new(router.with_state(()));
    let mut reception = Reception {
        listener,
        soft: lifecycle.soft().clone(),
    };
    let connections = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            connection = reception.accept() => connection,
            () = lifecycle.soft().cancelled() => break,
        };
        connections.spawn(converse(connection, service.clone(), lifecycle.clone()));
    }
    // Whoever comes now must find nobody.
    drop(reception);
    connections.close();
    connections.wait().await;
}

/// Answers the requests of a connection until its end, or until the one that is going on at the
/// stop has been answered.
async fn converse(
    connection: Connection,
    service: TowerToHyperService<Router>,
    lifecycle: Lifecycle,
) {
    let served = http1::Builder::new()
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    let mut served = pin!(served);
    let mut stop = pin!(lifecycle.soft().cancelled());
    // To ask takes a lock that all connections share: once, to be woken, and when there is an answer.
    let (mut asked, mut told) = (false, false);
    let outcome = poll_fn(|context| {
        if !asked || (!told && lifecycle.is_stopping()) {
            asked = true;
            if stop.as_mut().poll(context).is_ready() {
                told = true;
                served.as_mut().graceful_shutdown();
            }
        }
        served.as_mut().poll(context)
    });
    if let Err(error) = outcome.await {
        tracing::debug!(error = %error, "a connection ended: {error}");
    }
}

/// The resource is there, and does not know the method.
pub async fn not_offered() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "this resource does not offer the method",
    )
}

/// Nothing has this path. At the door not even that is a sender's fault (law 2): Event Grid gives up
/// for good on other answers.
async fn nowhere(request: Request, told: Arc<Mutex<Option<Instant>>>) -> Response {
    let path = request.uri().path();
    if path != "/ingest" && !path.starts_with("/ingest/") {
        let problem = Problem::not_found("no resource has this path; README.md lists them");
        return problem.into_response();
    }
    counter!(names::REFUSED, "source" => "unknown", "reason" => "unknown_source").increment(1);
    counter!(names::DELIVERIES, "source" => "unknown", "status" => "503").increment(1);
    let is_news = {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = told.is_none_or(|told| told.elapsed() >= TELL_EVERY);
        if is_news {
            *told = Some(Instant::now());
        }
        is_news
    };
    if is_news {
        tracing::warn!(
            "something was posted below /ingest to an address that is none of this node's: correct the address of the subscription, or the rooms of this node"
        );
    }
    discard(&mut request.into_body().into_data_stream()).await;
    Problem::try_again(
        "no source has this address, or this node has no door: correct the address of the subscription",
        Duration::from_secs(30),
    )
    .into_response()
}

/// A fault of ours in one request is that request's and nobody else's. At the door it must be 503
/// (law 2), and elsewhere too another try may go well.
fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    Problem::try_again("the server failed at this request", Duration::from_secs(30)).into_response()
}

async fn never_sniffed(mut response: Response) -> Response {
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[tokio::test]
    async fn below_ingest_nothing_is_the_fault_of_a_sender() {
        for (path, status) in [
            ("/ingest", 503),
            ("/ingest/", 503),
            ("/ingest/event-grid", 503),
            ("/ingest/event-grid/s/x?key=k", 503),
            ("/ingested", 404),
            ("/", 404),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let answer = nowhere(request, Arc::default()).await;
            assert_eq!(answer.status().as_u16(), status, "{path}");
            assert_eq!(answer.headers().contains_key("retry-after"), status == 503);
        }
    }
}
