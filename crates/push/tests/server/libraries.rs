//! Other people's libraries, unchanged: pusher-js and laravel-echo in node and in Chromium,
//! and `pusher` of npm and PyPI, driven by clients/push/run.py.
//!
//! Where they cannot be had the test is skipped and says why; in CI that fails.
#![allow(clippy::print_stdout, reason = "says why it was skipped")]

use std::{
    path::Path,
    process::{Command, Stdio},
};

use courant_push::App;
use serde_json::json;

use crate::support::{Server, app, data};

/// How the driver ends when libraries are missing.
const MISSING: i32 = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_servers_with_pushers_own_libraries_work_unchanged() {
    let server = Server::real(App { id: "7".into(), ..app() }).await;
    let mut page = server.page().await;
    page.subscribe("from-python").await;
    page.subscribe_signed("presence-python", Some(r#"{"user_id":"mia"}"#)).await;
    let (host, port) = server.address.split_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let place = json!({
        "host": host, "port": port, "id": "7", "key": "shop-key", "secret": "shop-secret"
    });
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../clients/push/run.py");
    let run = move || {
        Command::new("python3").arg(driver).arg(place.to_string()).stdin(Stdio::null()).output()
    };
    let ran = tokio::task::spawn_blocking(run).await.unwrap();
    let (said, code) = match &ran {
        Ok(output) => (
            format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            ),
            output.status.code(),
        ),
        Err(error) => (format!("python3 cannot be run: {error}"), Some(MISSING)),
    };
    if code == Some(MISSING) && std::env::var("CI").as_deref() != Ok("true") {
        println!("skipped: {said}");
        return;
    }
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("\nok ").count() + 1, 24, "{said}");
    // What Python published was heard here.
    assert_eq!(data(&page.expect("created").await), json!({ "text": "é\"\n" }));
    for event in ["asked", "batch-0", "batch-1", "batch-2"] {
        page.expect(event).await;
    }
    page.expect_nothing().await;
}
