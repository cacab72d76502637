//! Counts the requests to each resource of `/v1`, and measures their time.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use metrics::{counter, histogram};

use super::names;

/// The resources of `/v1` with their methods.
const RESOURCES: [(&str, &str); 33] = [
    ("GET", "/v1/calls"),
    ("GET", "/v1/calls/{call}"),
    ("GET", "/v1/calls/{call}/timeline"),
    ("GET", "/v1/calls/{call}/evidence"),
    ("GET", "/v1/calls/{call}/facts"),
    ("GET", "/v1/participants/{raw_id}"),
    ("GET", "/v1/events"),
    ("GET", "/v1/events/{id}"),
    ("GET", "/v1/exceptions"),
    ("GET", "/v1/exceptions/{id}"),
    ("POST", "/v1/exceptions/{id}/close"),
    ("GET", "/v1/outages"),
    ("GET", "/v1/quarantine"),
    ("GET", "/v1/stats/calls"),
    ("GET", "/v1/stats/notices"),
    ("GET", "/v1/stats/captures"),
    ("GET", "/v1/stats/exceptions"),
    ("GET", "/v1/access-log"),
    ("GET", "/v1/notice-texts"),
    ("GET", "/v1/notice-texts/{version}"),
    ("PUT", "/v1/notice-texts/{version}"),
    ("GET", "/v1/exports"),
    ("POST", "/v1/exports"),
    ("GET", "/v1/exports/{id}"),
    ("DELETE", "/v1/exports/{id}"),
    ("GET", "/v1/exports/{id}/files/{name}"),
    ("GET", "/v1/notices/stream"),
    ("GET", "/v1/notices/ws"),
    ("GET", "/v1/indications"),
    ("POST", "/v1/subscriber-tokens"),
    ("POST", "/v1/token-revocations"),
    ("POST", "/v1/reports"),
    ("POST", "/v1/acknowledgements"),
];

/// Starts the counters of failures at 0, so that the first one is an increase.
pub(crate) fn start() {
    for (method, route) in RESOURCES {
        for status in ["500", "503"] {
            counter!(names::HTTP_REQUESTS, "method" => method, "route" => route, "status" => status)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_is_listed() {
        let routes = concat!(
            include_str!("../query/routes.rs"),
            include_str!("../export/routes.rs"),
            include_str!("../client_api.rs")
        );
        let defined = routes.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
        let mut methods = 0;
        for definition in defined {
            let (route, handlers) = definition.split_once('"').unwrap();
            for (name, method) in
                [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")]
            {
                if handlers.contains(name) {
                    assert!(RESOURCES.contains(&(method, route)), "{method} {route}");
                    methods += 1;
                }
            }
        }
        assert_eq!(methods, RESOURCES.len());
    }
}
