//! The pages: console and demo, embedded in the binary.
//!
//! `web/dist` is embedded when the binary is built. Without it (nobody has built the
//! page) a line says how. Paths of the console, the tools and the demo answer the one document,
//! whose script reads the address; names with a content hash never change and are
//! kept by browsers, everything else is asked again by its tag.

use axum::{
    Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::ApiError;

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Files;

/// The document of console, tools and demo.
const DOCUMENT: &str = "index.html";

const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Courant</title>\
<p>Courant runs. Its page was not built: run <code>make web</code>, then build again. \
The API is at <a href=\"/api/v1/info\">/api/v1</a>, its description at <a href=\"/openapi.json\">/openapi.json</a>.\n";

/// Nothing from elsewhere, no inline script, no frames. Inline styles are allowed:
/// charts set sizes with them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
img-src 'self' data:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The routes of the pages.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(document))
        .route("/console", get(document))
        .route("/console/{*path}", get(document))
        .route("/demo", get(document))
        .route("/demo/{*path}", get(document))
        .route("/tools/{*path}", get(document))
        .route("/assets/{*path}", get(asset))
}

/// Whether a path is a page's: it holds no data, so nobody needs a token for it.
pub(crate) fn is_page(path: &str) -> bool {
    let below = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    path == "/" || below("/console") || below("/demo") || below("/tools") || below("/assets")
}

async fn document(headers: HeaderMap) -> Response {
    let mut response = match Files::get(DOCUMENT) {
        Some(file) => answer(&file, DOCUMENT, &headers),
        None => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], NOT_BUILT).into_response(),
    };
    let set: [(HeaderName, &'static str); 2] =
        [(header::CONTENT_SECURITY_POLICY, POLICY), (header::REFERRER_POLICY, "same-origin")];
    for (name, value) in set {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Response {
    let name = format!("assets/{path}");
    match Files::get(&name) {
        Some(file) => answer(&file, &name, &headers),
        None => ApiError::UnknownRoute { path: format!("/{name}") }.into_flat_response(),
    }
}

fn answer(file: &EmbeddedFile, name: &str, headers: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let tag = hash.iter().take(16).fold(String::from("\""), |tag, byte| format!("{tag}{byte:02x}"))
        + "\"";
    let control = if has_hash(name) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let common = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, control.to_owned())];
    if is_known(headers, &tag) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(header::CONTENT_TYPE, content_type(name))], file.data.clone()).into_response()
}

/// Whether the client has what this tag stands for.
fn is_known(headers: &HeaderMap, tag: &str) -> bool {
    let tags = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    tags.is_some_and(|tags| {
        tags.split(',').map(|known| known.trim().trim_start_matches("W/")).any(|known| known == tag)
    })
}

/// Whether a name ends in a content hash, as the page's build writes them:
/// `index-BxK3_9aZ.js`.
fn has_hash(name: &str) -> bool {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let bytes = stem.as_bytes();
    let Some(dash) = bytes.len().checked_sub(9) else { return false };
    let hash = &bytes[dash + 1..];
    bytes[dash] == b'-'
        && hash.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && hash.iter().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_content_hash_is_kept_for_ever() {
        assert!(has_hash("assets/index-BxK3_9aZ.js"));
        assert!(has_hash("assets/index-DdQ-0b1k.css"));
        assert!(!has_hash("assets/courant.svg"));
        assert!(!has_hash("assets/apple-touchicon.png"));
        assert!(!has_hash("index.html"));
    }

    #[test]
    fn a_client_that_has_the_tag_is_known() {
        let known = |tags: &'static str| {
            let headers = [(header::IF_NONE_MATCH, HeaderValue::from_static(tags))];
            is_known(&headers.into_iter().collect(), "\"ab\"")
        };
        assert!(known("\"ab\"") && known("\"x\", W/\"ab\""));
        assert!(!known("\"abc\"") && !known("ab") && !is_known(&HeaderMap::new(), "\"ab\""));
    }

    #[test]
    fn pages_are_told_from_what_only_begins_like_them() {
        for path in
            ["/", "/console", "/console/topics", "/demo/messages", "/tools/jolt", "/assets/x.js"]
        {
            assert!(is_page(path), "{path}");
        }
        for path in ["/consoles", "/demos/x", "/api/v1/info", "/messages", "/assetsx"] {
            assert!(!is_page(path), "{path}");
        }
    }
}
