//! Counts the requests to each resource of `/v1`, and measures their time.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, histogram};

use super::names;

/// Starts the counters of failures of these resources at 0, so that the first one is an increase. A resource
/// is a method, in lower case as OpenAPI writes it, and a path.
pub(crate) fn start<'d>(resources: impl Iterator<Item = (&'d str, &'d str)>) {
    for (method, route) in resources.filter(|(_, route)| route.starts_with("/v1/")) {
        let method = method.to_ascii_uppercase();
        for status in ["500", "503"] {
            counter!(names::HTTP_REQUESTS, "method" => method.clone(), "route" => route.to_owned(), "status" => status)
                .absolute(0);
        }
    }
}

/// Records a request. The label is the path as it is defined, so that ids are no labels.
pub(crate) async fn record(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |route| route.as_str().to_owned());
    let method = label_of(request.method());
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    counter!(names::HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    histogram!(names::HTTP_RESPONSE_SECONDS, "method" => method, "route" => route)
        .record(began.elapsed().as_secs_f64());
    response
}

/// A method that no resource has is the caller's own text, so it is no label.
fn label_of(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
