//! Who may ask: other sites' pages, foreign host names, tokens.

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use courant_serve::{Role, Security, Token};

use crate::support::{Answer, Bench, request};

async fn ask(bench: &Bench, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = request(method, path).header("content-type", "application/json");
    for (name, value) in headers {
        request.headers_mut().unwrap().insert(
            axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    bench.send(request.body(Body::from("{\"name\":\"t\"}")).unwrap()).await
}

#[tokio::test]
async fn a_page_of_another_site_cannot_write_and_a_program_can() {
    let bench = Bench::new().await;
    let create = async |headers: &[(&str, &str)]| {
        let answer = ask(&bench, Method::POST, "/api/v1/topics", headers).await;
        bench.delete("/api/v1/topics/t").await;
        answer
    };
    assert_eq!(create(&[]).await.status, StatusCode::CREATED);
    assert_eq!(create(&[("origin", "http://127.0.0.1:8080")]).await.status, StatusCode::CREATED);
    assert_eq!(create(&[("sec-fetch-site", "same-origin")]).await.status, StatusCode::CREATED);
    for headers in [
        [("origin", "https://evil.example")],
        [("origin", "null")],
        [("origin", "http://127.0.0.1:9999")],
        [("sec-fetch-site", "cross-site")],
    ] {
        let answer = create(&headers).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::FORBIDDEN, "cross_origin"),
            "{headers:?}"
        );
    }
}

#[tokio::test]
async fn a_page_of_another_site_cannot_feed_a_source_with_get_either() {
    use std::sync::Arc;

    use courant_pipeline::routes::{RouteHandler, RouteRequest, RouteResponse};
    #[derive(Debug)]
    struct Taken;
    #[async_trait::async_trait]
    impl RouteHandler for Taken {
        async fn handle(&self, _: RouteRequest) -> RouteResponse {
            RouteResponse::json(200, &serde_json::json!({}))
        }
    }
    let bench = Bench::new().await;
    let _guard = bench.routes.add("GET", "/publish", Arc::new(Taken)).unwrap();
    let cross = [("sec-fetch-site", "cross-site")];
    assert_eq!(ask(&bench, Method::GET, "/publish", &cross).await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask(&bench, Method::GET, "/publish", &[]).await.status, StatusCode::OK);
    assert_eq!(ask(&bench, Method::GET, "/api/v1/info", &cross).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_foreign_name_that_points_here_is_refused() {
    let bench = Bench::new().await;
    let rebound =
        ask(&bench, Method::GET, "/api/v1/topics", &[("host", "evil.example:8080")]).await;
    assert_eq!(
        (rebound.status, rebound.code().as_str()),
        (StatusCode::FORBIDDEN, "host_not_allowed")
    );
    let security = Security { hosts: vec!["box.lan".into()], ..Security::default() };
    let bench = Bench::with(security).await;
    let known = ask(&bench, Method::GET, "/api/v1/topics", &[("host", "box.lan:8080")]).await;
    assert_eq!(known.status, StatusCode::OK);
}

#[tokio::test]
async fn an_allowed_origin_may_write_and_its_browser_is_told_so() {
    let origin = "https://shop.example";
    let security = Security { origins: vec![origin.into()], ..Security::default() };
    let bench = Bench::with(security).await;
    let answer = ask(&bench, Method::POST, "/api/v1/topics", &[("origin", origin)]).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("access-control-allow-origin"), origin);
    let preflight = [("origin", origin), ("access-control-request-method", "POST")];
    let answer = ask(&bench, Method::OPTIONS, "/api/v1/topics", &preflight).await;
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    let closed = Bench::new().await;
    let answer = ask(&closed, Method::GET, "/api/v1/info", &[("origin", origin)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn with_tokens_a_reader_reads_and_only_a_writer_writes() {
    let token = |secret: &str, role| Token { secret: secret.into(), role };
    let tokens = vec![token("r", Role::Read), token("w", Role::Write)];
    let bench = Bench::with(Security { tokens, ..Security::default() }).await;
    let status = async |method: Method, path: &str, secret: &str| {
        let value = format!("Bearer {secret}");
        ask(&bench, method, path, &[("authorization", value.as_str())]).await.status
    };
    let topics = "/api/v1/topics";
    assert_eq!(status(Method::GET, topics, "r").await, StatusCode::OK);
    assert_eq!(status(Method::POST, topics, "r").await, StatusCode::FORBIDDEN);
    assert_eq!(status(Method::POST, topics, "w").await, StatusCode::CREATED);
    assert_eq!(status(Method::GET, topics, "x").await, StatusCode::UNAUTHORIZED);
    let without = ask(&bench, Method::GET, topics, &[]).await;
    assert_eq!(
        (without.status, without.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, "Bearer")
    );
    for path in ["/", "/health/live", "/health/ready"] {
        assert_eq!(ask(&bench, Method::GET, path, &[]).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/metrics", "/openapi.json", "/messages"] {
        assert_eq!(
            ask(&bench, Method::GET, path, &[]).await.status,
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
    }
}
