//! Pages, health, metrics, and the description of the API.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use courant_serve::{Readiness, Security};
use indexmap::IndexMap;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;

use crate::support::{Bench, request};

#[tokio::test]
async fn the_console_and_the_demo_are_one_document_without_foreign_scripts() {
    let bench = Bench::new().await;
    let root = bench.get("/").await;
    for path in ["/", "/console", "/console/topics/a", "/demo", "/demo/messages", "/tools/jolt"] {
        let page = bench.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        assert!(page.header("content-security-policy").contains("script-src 'self'"), "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.body, root.body);
    }
}

#[tokio::test]
async fn nothing_outside_the_pages_folder_is_given() {
    let bench = Bench::new().await;
    for path in [
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/assets/%2e%2e/%2e%2e/Cargo.toml",
        "/assets//etc/passwd",
        "/assets/..\\..\\Cargo.toml",
    ] {
        let Ok(asked) = request(Method::GET, path).body(Body::empty()) else { continue };
        let answer = bench.send(asked).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn health_tells_living_from_ready() {
    let bench = Bench::new().await;
    assert_eq!(bench.get("/health/ready").await.status, StatusCode::OK);
    bench.readiness.send(Readiness::Starting).unwrap();
    let starting = bench.get("/health/ready").await;
    assert_eq!(
        (starting.status, starting.json()["status"].clone()),
        (StatusCode::SERVICE_UNAVAILABLE, "starting".into())
    );
    bench.readiness.send(Readiness::Ready).unwrap();
    bench.stop.cancel();
    assert_eq!(bench.get("/health/ready").await.json()["status"], "stopping");
    assert_eq!(bench.get("/health/live").await.status, StatusCode::OK);
}

#[tokio::test]
async fn requests_and_open_streams_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let mut bench = Bench::new().await;
    let mut context = bench.context(IndexMap::new(), Security::default());
    context.metrics = Some(recorder.handle());
    bench.router = courant_serve::router(context).unwrap();
    bench.topic("t", 1).await;
    bench.get("/api/v1/topics/t").await;
    bench.get("/api/v1/topics/other").await;
    bench.get("/nothing/at/all").await;
    let stream = bench.open("/api/v1/topics/t/stream", &[]).await;
    let answer = bench.get("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = String::from_utf8(answer.body).unwrap();
    for (route, status) in
        [("/api/v1/topics/{topic}", "2xx"), ("/api/v1/topics/{topic}", "4xx"), ("none", "4xx")]
    {
        let line = format!(
            "courant_http_requests_total{{route=\"{route}\",method=\"GET\",status=\"{status}\"}} 1"
        );
        assert!(text.contains(&line), "{line} is not in {text}");
    }
    assert!(text.contains("courant_http_streams_open 1"), "{text}");
    drop(stream);
    let text = String::from_utf8(bench.get("/metrics").await.body).unwrap();
    assert!(text.contains("courant_http_streams_open 0"), "{text}");
}

#[tokio::test]
async fn an_answer_is_compressed_for_those_who_can_read_that() {
    let bench = Bench::new().await;
    let asked = request(Method::GET, "/openapi.json").header("accept-encoding", "gzip");
    let packed = bench.send(asked.body(Body::empty()).unwrap()).await;
    assert_eq!(packed.header("content-encoding"), "gzip");
    let plain = bench.get("/openapi.json").await;
    assert_eq!(plain.header("content-encoding"), "");
    assert!(packed.body.len() < plain.body.len() / 2);
}

#[tokio::test]
async fn info_says_who_answers() {
    let info = Bench::new().await.get("/api/v1/info").await.json();
    assert_eq!((&info["name"], &info["profile"]), (&"test".into(), &"embedded".into()));
    assert_eq!(info["ports"]["http"], 8080);
    assert!(info["uptime_seconds"].is_u64());
}

/// Fills a path's parameters with something.
fn filled(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "x" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

#[tokio::test]
async fn every_described_route_is_served_and_the_file_is_described() {
    let bench = Bench::new().await;
    let handler = Arc::new(Nobody);
    let _guard = bench.routes.add("POST", "/messages", handler).unwrap();
    let document = bench.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths["/messages"]["get"].is_object() && paths["/messages"]["post"].is_object());
    assert!(paths["/customers/{customer}/orders"]["get"].is_object());
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().unwrap() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let asked = request(method.clone(), &filled(path)).body(Body::empty()).unwrap();
            let response = tower::ServiceExt::oneshot(bench.router.clone(), asked).await.unwrap();
            assert_ne!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            if response.status() == StatusCode::NOT_FOUND {
                let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
                let text = String::from_utf8_lossy(&body);
                assert!(!text.contains("unknown_route"), "{method} {path}: {text}");
            }
            described(path, operation);
        }
    }
}

/// An operation has a summary, its path's parameters and answers.
fn described(path: &str, operation: &Value) {
    assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
    assert!(operation["responses"].as_object().is_some_and(|all| !all.is_empty()), "{path}");
    let parameters = operation["parameters"].as_array().unwrap();
    let named = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
    assert_eq!(named, path.matches('{').count(), "{path}");
    for parameter in parameters.iter().filter(|parameter| parameter["in"] == "query") {
        assert!(parameter["name"].is_string() && parameter["schema"].is_object(), "{path}");
    }
}

#[derive(Debug)]
pub(crate) struct Nobody;

#[async_trait::async_trait]
impl courant_pipeline::routes::RouteHandler for Nobody {
    async fn handle(
        &self,
        _: courant_pipeline::routes::RouteRequest,
    ) -> courant_pipeline::routes::RouteResponse {
        courant_pipeline::routes::RouteResponse::json(200, &Value::Null)
    }
}

#[tokio::test]
async fn the_document_names_every_route_of_the_guide() {
    let guide = include_str!("../../../../docs/http-api.md");
    let document = Bench::new().await.get("/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let own = path.starts_with("/api/")
            || path.starts_with("/health")
            || path.starts_with("/metrics");
        for method in operations.as_object().unwrap().keys().filter(|_| own) {
            let line = format!("`{} {path}`", method.to_uppercase());
            assert!(guide.contains(&line), "docs/http-api.md lacks {line}");
        }
    }
}
