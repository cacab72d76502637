//! Serves a router until the stop, and answers for operations.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use super::connection::Reception;
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
/// # Errors
///
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    lifecycle: Lifecycle,
) -> std::io::Result<()> {
    let router = router
        .fallback({
            let told = Arc::new(Mutex::new(None));
            move |request| nowhere(request, Arc::clone(&told))
        })
        .method_not_allowed_fallback(not_offered)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(axum::middleware::map_response(never_sniffed));
    let soft = lifecycle.soft().clone();
    let reception = Reception {
        listener,
        soft: soft.clone(),
    };
    axum::serve(reception, router)
        .with_graceful_shutdown(async move { soft.cancelled().await })
        .await
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
