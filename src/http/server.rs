//! The server loop of a router until the stop; `/healthz`, `/readyz` and `/metrics`.
//!
//! # Why
//!
//! *Not `axum::serve`.* Most connections here are idle streams, ten thousand and more. The server
//! of axum first detects the HTTP version of a client, for which hyper uses a buffer of twice the
//! size. At each poll of each connection it also checks, under a lock that all connections share,
//! whether the stop has begun.
//!
//! *Two timeouts for what a client sends.* hyper ends a connection whose next head is not complete
//! in time, whether it is idle or slow. [`RESPONSE_TIMEOUT`] ends a request whose body is slow; a
//! timeout per read would start again with each byte. An open stream has no timer of either.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics::counter;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::body::discard::discard;
use super::connection::places::{ConnectionPlaces, PlaceKind};
use super::connection::{ConnectionAcceptor, LimitedConnection};
use super::problem::{Problem, ProblemKind};
use crate::lifecycle::{Health, Lifecycle};
use crate::telemetry::{self, LogLimiter, names};

/// Interval at which deliveries to an unknown path are logged.
const LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Timeout of the head of the request of a connection of the reserve.
const RESERVE_HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// Time after which a client should connect again for whose connection there was no place.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Timeout of a response. Handlers have timeouts of at most 20 s, so this ends requests that a
/// client sends too slowly.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The component of `/readyz` that states whether the schema and the roles in PostgreSQL can be used.
pub(crate) const SCHEMA: &str = "schema";

/// The state of [`operations`].
#[derive(Clone)]
pub(crate) struct Operations {
    pub lifecycle: Lifecycle,
    pub metrics: PrometheusHandle,
}

/// The routes of operations, with the state of their handlers.
pub(crate) fn operations(operations: Operations) -> Router {
    Router::from(operation_routes()).with_state(operations)
}

/// The routes `/healthz`, `/readyz` and `/metrics`.
pub(crate) fn operation_routes() -> OpenApiRouter<Operations> {
    OpenApiRouter::default()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics_page))
}

/// Tells that the process lives.
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "getHealth",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The process lives.", body = String)),
)]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Reads the metrics of the process.
///
/// In the text format of Prometheus; `docs/metrics.md` lists them.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "getMetrics",
    tag = "operations",
    security(()),
    responses((status = 200, description = "The metrics.", body = String)),
)]
async fn metrics_page(State(operations): State<Operations>) -> impl IntoResponse {
    telemetry::render(&operations.metrics)
}

/// Whether a node accepts events, and what its components are.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
struct ReadinessView {
    /// Whether this node would accept events now, into either store.
    ready: bool,
    /// Whether this node shuts down.
    stopping: bool,
    /// The components by name.
    components: BTreeMap<&'static str, ComponentView>,
}

/// A component of a node.
#[derive(Serialize, ToSchema)]
#[schema(as = Component)]
struct ComponentView {
    /// `starting`, `healthy`, `unhealthy`, or `stale`: it did not report in time.
    health: &'static str,
    /// Why it is not healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Tells whether this node would accept events now.
///
/// Into either store. A store that is unavailable is named, and does not make the node unready; a
/// schema that cannot be used does, because that of a store that answers is not mended by waiting.
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "operations",
    security(()),
    responses(
        (status = 200, description = "It accepts events.", body = ReadinessView),
        (status = 503, description = "It accepts none.", body = ReadinessView),
    ),
)]
async fn readyz(State(operations): State<Operations>) -> Response {
    let health = operations.lifecycle.readiness().view();
    let is_healthy = |name: &str| health.get(name) == Some(&Health::Healthy);
    let stopping = operations.lifecycle.is_stopping();
    let is_unusable = matches!(health.get(SCHEMA), Some(Health::Unhealthy(_)));
    let ready = !stopping && !is_unusable && (is_healthy("kafka") || is_healthy("postgres"));
    let components = health
        .iter()
        .map(|(name, health)| {
            let (health, reason) = match health {
                Health::Starting => ("starting", None),
                Health::Healthy => ("healthy", None),
                Health::Unhealthy(reason) => ("unhealthy", Some(reason.clone())),
                Health::Stale => ("stale", Some("it did not report in time".to_owned())),
            };
            (*name, ComponentView { health, reason })
        })
        .collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(ReadinessView { ready, stopping, components })).into_response()
}

/// Serves until the soft stop, then waits for the open requests. A client that sends half of a
/// request may take [`RESPONSE_TIMEOUT`], which is longer than a stop: the caller must drop this
/// future in time. `keep_alive` is the timeout of the head of a request, and of a connection without a
/// request.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    places: ConnectionPlaces,
    keep_alive: Duration,
    lifecycle: Lifecycle,
) {
    let router = router
        .fallback({
            let log_limiter = Arc::new(LogLimiter::new(LOG_INTERVAL));
            move |request| unknown_path(request, Arc::clone(&log_limiter))
        })
        .method_not_allowed_fallback(method_not_allowed);
    let log_limiter = Arc::new(LogLimiter::new(LOG_INTERVAL));
    let without_clients = router.clone().layer(middleware::from_fn(move |request, next| {
        refuse_clients(request, next, Arc::clone(&log_limiter))
    }));
    let shared = ConnectionServer::new(router, PlaceKind::Shared, keep_alive);
    let reserve = ConnectionServer::new(without_clients, PlaceKind::Reserve, RESERVE_HEAD_TIMEOUT);
    let mut acceptor = ConnectionAcceptor { listener, places, soft: lifecycle.soft().clone() };
    let connections = TaskTracker::new();
    loop {
        let connection = tokio::select! {
            connection = acceptor.accept() => connection,
            () = lifecycle.soft().cancelled() => break,
        };
        let server = match connection.place() {
            PlaceKind::Shared => &shared,
            PlaceKind::Reserve => &reserve,
        };
        connections.spawn(serve_connection(server.clone(), connection, lifecycle.clone()));
    }
    // Closes the listener, so that new connections are refused.
    drop(acceptor);
    connections.close();
    connections.wait().await;
}

/// Serves the connections of one kind of place.
#[derive(Clone)]
struct ConnectionServer {
    /// All connections share one builder with its timer.
    http: Arc<http1::Builder>,
    service: TowerToHyperService<Router>,
}

impl ConnectionServer {
    /// The connections of the reserve serve one request each.
    fn new(router: Router, place: PlaceKind, head_timeout: Duration) -> Self {
        let keep_alive = place == PlaceKind::Shared;
        let router = router
            .layer(Extension(place))
            .layer(CatchPanicLayer::custom(panic_response))
            .layer(middleware::from_fn(with_timeout))
            .layer(middleware::map_response(add_nosniff));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(head_timeout).keep_alive(keep_alive);
        // The state is applied once, not for each request.
        Self { http: Arc::new(http), service: TowerToHyperService::new(router.with_state(())) }
    }
}

/// Serves the requests of a connection until its end. At the stop, the present request is the last
/// one.
fn serve_connection(
    server: ConnectionServer,
    connection: LimitedConnection,
    lifecycle: Lifecycle,
) -> impl Future<Output = ()> + Send {
    let ConnectionServer { http, service } = server;
    // Outside of the block, which would have room for it twice: ten thousand connections are idle.
    let mut served = http.serve_connection(TokioIo::new(connection), service).with_upgrades();
    async move {
        let mut stop = pin!(lifecycle.soft().cancelled());
        // Polling `stop` takes a lock that all connections share. So it is polled once, to register the
        // waker, and again only when the stop has begun.
        let (mut is_registered, mut is_shutting_down) = (false, false);
        let outcome = poll_fn(|context| {
            if !is_registered || (!is_shutting_down && lifecycle.is_stopping()) {
                is_registered = true;
                if stop.as_mut().poll(context).is_ready() {
                    is_shutting_down = true;
                    Pin::new(&mut served).graceful_shutdown();
                }
            }
            Pin::new(&mut served).poll(context)
        });
        if let Err(error) = outcome.await {
            tracing::debug!(error = %error, "a connection ended: {error}");
        }
    }
}

/// Refuses what is neither a delivery nor an operation, on a connection of the reserve.
async fn refuse_clients(
    request: Request,
    next: Next,
    log_limiter: Arc<LogLimiter<()>>,
) -> Response {
    let path = request.uri().path();
    if path.starts_with("/ingest") || matches!(path, "/healthz" | "/readyz" | "/metrics") {
        return next.run(request).await;
    }
    counter!(names::CONNECTIONS_REFUSED).increment(1);
    if log_limiter.allows((), Instant::now()) {
        tracing::warn!(
            "callers have all connections that they may: raise the limit of open files and max_connections, or add a node"
        );
    }
    discard(&mut request.into_body().into_data_stream(), PlaceKind::Reserve).await;
    let detail = "callers have all connections to this node that they may; connect again in a moment, or to another node";
    Problem::try_again(detail, RETRY_AFTER).into_response()
}

/// The place of the connection of a request.
pub(crate) fn place_of(extensions: &Extensions) -> PlaceKind {
    // Only tests serve a router without `ConnectionServer`.
    extensions.get().copied().unwrap_or(PlaceKind::Shared)
}

/// The response of a resource that does not have the method.
pub(crate) async fn method_not_allowed() -> Problem {
    Problem::new(ProblemKind::MethodNotAllowed, "this resource does not have the method")
}

/// The response for an unknown path. Below `/ingest` it is 503 (`NEVER_REFUSE_FINALLY`), because
/// Event Grid drops an event after some of the other error statuses.
async fn unknown_path(request: Request, log_limiter: Arc<LogLimiter<()>>) -> Response {
    let path = request.uri().path();
    if path != "/ingest" && !path.starts_with("/ingest/") {
        let problem = Problem::not_found("no resource has this path; docs/http.md lists them");
        return problem.into_response();
    }
    counter!(names::INGEST_REJECTED, "source" => "unknown", "reason" => "unknown_source")
        .increment(1);
    counter!(names::INGEST_DELIVERIES, "source" => "unknown", "status" => "503").increment(1);
    if log_limiter.allows((), Instant::now()) {
        tracing::warn!(
            "a request below /ingest has a path that this node does not serve: correct the address of the subscription, or the roles of this node"
        );
    }
    let place = place_of(request.extensions());
    discard(&mut request.into_body().into_data_stream(), place).await;
    Problem::try_again(
        "no source has this address, or this node does not run the role ingest: correct the address of the subscription",
        Duration::from_secs(30),
    )
    .into_response()
}

/// The response to a request whose handler panicked. Below `/ingest` it must be 503
/// (`NEVER_REFUSE_FINALLY`), and elsewhere too another attempt may succeed.
fn panic_response(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    Problem::try_again("the server failed at this request", Duration::from_secs(30)).into_response()
}

/// Ends a request after [`RESPONSE_TIMEOUT`]; its connection is closed with the unread body.
async fn with_timeout(request: Request, next: Next) -> Response {
    let response = tokio::time::timeout(RESPONSE_TIMEOUT, next.run(request)).await;
    response.unwrap_or_else(|_| {
        Problem::try_again("the request did not arrive completely in time", Duration::from_secs(30))
            .into_response()
    })
}

async fn add_nosniff(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, Bytes};
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    const KEEP_ALIVE: Duration = Duration::from_secs(75);

    /// Sends a text and then one byte per second, until the connection ends. Returns what the
    /// server answered, how long the connection lasted, and how many bytes were sent.
    async fn send_slowly(first_bytes: &str) -> (String, Duration, u32) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", post(async |body: Bytes| body));
        let server = tokio::spawn(serve(
            listener,
            router,
            ConnectionPlaces::new(16),
            KEEP_ALIVE,
            Lifecycle::new(),
        ));
        let (mut responses, mut client) = TcpStream::connect(address).await.unwrap().into_split();
        client.write_all(first_bytes.as_bytes()).await.unwrap();
        let began = tokio::time::Instant::now();
        let sender = tokio::spawn(async move {
            let mut sent = 0;
            while client.write_all(b"x").await.is_ok() {
                sent += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            sent
        });
        let (mut received, mut buffer) = (Vec::new(), [0; 1024]);
        // Bytes that the server did not read reset the connection.
        while let Ok(read @ 1..) = responses.read(&mut buffer).await {
            received.extend_from_slice(&buffer[..read]);
        }
        let lasted = began.elapsed();
        server.abort();
        (String::from_utf8(received).unwrap(), lasted, sender.await.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_arrives_byte_by_byte_times_out() {
        for first_bytes in ["", "POST / HTTP/1.1\r\nx: "] {
            let (received, lasted, sent) = send_slowly(first_bytes).await;
            assert!(!received.contains("200"), "{received}");
            assert!(lasted >= KEEP_ALIVE && lasted < KEEP_ALIVE * 2);
            assert!(sent > 30);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_arrives_byte_by_byte_times_out() {
        let head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4096\r\n\r\n";
        let (received, lasted, sent) = send_slowly(head).await;
        assert!(received.starts_with("HTTP/1.1 503"), "{received}");
        assert!(received.contains("retry-after"));
        assert!(lasted >= RESPONSE_TIMEOUT && lasted < RESPONSE_TIMEOUT * 2);
        assert!(sent > 30);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_further_requests_is_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(
            listener,
            Router::new(),
            ConnectionPlaces::new(16),
            KEEP_ALIVE,
            Lifecycle::new(),
        ));
        let mut client = TcpStream::connect(address).await.unwrap();
        let began = tokio::time::Instant::now();
        let request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut received = String::new();
        client.read_to_string(&mut received).await.unwrap();
        assert!(received.starts_with("HTTP/1.1 404"), "{received}");
        assert!(began.elapsed() >= KEEP_ALIVE && began.elapsed() < KEEP_ALIVE * 2);
        server.abort();
    }

    #[tokio::test]
    async fn an_unknown_path_below_ingest_is_answered_503() {
        for (path, status) in [
            ("/ingest", 503),
            ("/ingest/", 503),
            ("/ingest/event-grid", 503),
            ("/ingest/event-grid/s/x?key=k", 503),
            ("/ingested", 404),
            ("/", 404),
        ] {
            let request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let response = unknown_path(request, Arc::new(LogLimiter::new(LOG_INTERVAL))).await;
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers().contains_key("retry-after"), status == 503);
        }
    }
}
