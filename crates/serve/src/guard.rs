//! Who may ask what: the checks before every answer.
//!
//! Three dangers. A page of another site that makes a visitor's browser write here:
//! its `Origin` (or `Sec-Fetch-Site`) gives it away. A name of another site that
//! suddenly points at this machine (DNS rebinding): its `Host` is no name of ours.
//! Somebody on the network without a token, where tokens are set. Programs such as
//! curl send none of these headers and pass.

use std::{fmt, net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, header},
    middleware::Next,
    response::Response,
};
use courant_model::limits::URL_BYTES_MAX;
use courant_pipeline::routes::RouteMatch;

use crate::{context::Shared, error::ApiError, pages};

/// Who may ask. The default suits a server on loopback: everybody on the machine,
/// nobody through a browser from elsewhere.
#[derive(Debug, Clone)]
pub struct Security {
    /// Whether only loopback addresses are listened on: then a host name other than
    /// `localhost` and [`Security::hosts`] is refused.
    pub loopback: bool,
    /// Further names of this server, without port.
    pub hosts: Vec<String>,
    /// Origins whose pages may read and write: `https://shop.example`. Each by name;
    /// `*` allows nobody.
    pub origins: Vec<String>,
    /// Who may read and who may write; none: everybody may.
    pub tokens: Vec<Token>,
}

/// A secret and what it allows.
#[derive(Clone)]
pub struct Token {
    pub secret: String,
    pub role: Role,
}

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Read,
    /// Also reads.
    Write,
}

impl Default for Security {
    fn default() -> Self {
        Self { loopback: true, hosts: Vec::new(), origins: Vec::new(), tokens: Vec::new() }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Lets a request pass or answers why not.
pub(crate) async fn check(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match refuse(&shared, &request) {
        Some(error) => error.into_response_at(request.uri().path()),
        None => next.run(request).await,
    };
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

/// Lets a page connect to the push server, or answers why not. What it may hear there is
/// the protocol's affair; programs send no origin, and requests of servers are signed.
pub(crate) async fn check_page(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    match refuse_page(&shared, &request) {
        Some(error) => error.into_response_at(request.uri().path()),
        None => next.run(request).await,
    }
}

fn refuse_page(shared: &Shared, request: &Request) -> Option<ApiError> {
    let security = &shared.context.security;
    let found_bytes = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if found_bytes > URL_BYTES_MAX {
        return Some(ApiError::UrlTooLong { found_bytes });
    }
    let host = host(request);
    if let Some(host) = host.filter(|host| !security.knows_host(host)) {
        return Some(ApiError::HostNotAllowed { host: host.into() });
    }
    let origin = request.headers().get(header::ORIGIN)?.to_str().unwrap_or("?");
    let allowed = shared.context.push.iter().flat_map(|push| &push.origins);
    let listed = { allowed }.any(|known| known == "*" || known.eq_ignore_ascii_case(origin));
    let own = foreign_origin(security, request.headers(), host).is_none();
    let local = security.loopback && is_of_this_machine(origin);
    (!own && !listed && !local).then(|| ApiError::PageNotAllowed { origin: origin.into() })
}

/// Whether a page was served by this machine: by whoever, on whichever port.
fn is_of_this_machine(origin: &str) -> bool {
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let name = without_port(authority);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn refuse(shared: &Shared, request: &Request) -> Option<ApiError> {
    let security = &shared.context.security;
    let found_bytes = request.uri().path_and_query().map_or(0, |text| text.as_str().len());
    if found_bytes > URL_BYTES_MAX {
        return Some(ApiError::UrlTooLong { found_bytes });
    }
    let headers = request.headers();
    let host = host(request);
    if let Some(host) = host.filter(|host| !security.knows_host(host)) {
        return Some(ApiError::HostNotAllowed { host: host.into() });
    }
    let changes = changes_something(shared, request);
    if let Some(origin) = foreign_origin(security, headers, host).filter(|_| changes) {
        return Some(ApiError::CrossOrigin { origin });
    }
    let public = pages::is_page(request.uri().path()) || is_health(request.uri().path());
    if security.tokens.is_empty() || public {
        return None;
    }
    match security.role(headers) {
        None => Some(ApiError::Unauthorized),
        Some(Role::Read) if changes => Some(ApiError::Forbidden),
        Some(_) => None,
    }
}

impl Security {
    fn knows_host(&self, host: &str) -> bool {
        let name = without_port(host);
        let bare = name.trim_start_matches('[').trim_end_matches(']');
        !self.loopback
            || bare.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || name.to_ascii_lowercase().ends_with(".localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// The role of the request's token, if it has a known one.
    fn role(&self, headers: &HeaderMap) -> Option<Role> {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, secret) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let known = |token: &&Token| same(token.secret.as_bytes(), secret.trim().as_bytes());
        self.tokens.iter().filter(known).map(|token| token.role).max()
    }
}

fn host(request: &Request) -> Option<&str> {
    match request.headers().get(header::HOST) {
        Some(host) => Some(host.to_str().unwrap_or("?")),
        None => request.uri().authority().map(|authority| authority.as_str()),
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => name,
        _ => host,
    }
}

/// Whether the request may change something: by its method, or because a source
/// takes it in.
fn changes_something(shared: &Shared, request: &Request) -> bool {
    let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    let routes = &shared.context.routes;
    !safe
        || matches!(
            routes.find(request.method().as_str(), request.uri().path()),
            RouteMatch::Found { .. }
        )
}

/// The other site that a browser says the request comes from, unless it is allowed.
fn foreign_origin(security: &Security, headers: &HeaderMap, host: Option<&str>) -> Option<String> {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("?");
        let own = origin.split_once("://").zip(host);
        let own = own.is_some_and(|((_, authority), host)| authority.eq_ignore_ascii_case(host));
        let allowed = security.origins.iter().any(|known| known.eq_ignore_ascii_case(origin));
        return (!own && !allowed).then(|| origin.into());
    }
    let site = headers.get("sec-fetch-site")?.to_str().unwrap_or("?");
    (!matches!(site, "same-origin" | "none")).then(|| site.into())
}

fn is_health(path: &str) -> bool {
    path.starts_with("/health/")
}

/// Compares secrets in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |found, (a, b)| found | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_by_address_or_localhost_is_known_on_loopback() {
        let security = Security { hosts: vec!["box.lan".into()], ..Security::default() };
        for host in
            ["127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost", "LOCALHOST:1", "box.lan:80"]
        {
            assert!(security.knows_host(host), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example", "127.0.0.1.nip.io", ""] {
            assert!(!security.knows_host(host), "{host}");
        }
        assert!(Security { loopback: false, ..security }.knows_host("evil.example"));
    }

    #[test]
    fn a_page_of_this_machine_is_known_by_its_host() {
        for origin in ["http://localhost:8000", "https://127.0.0.1", "http://[::1]:3000"] {
            assert!(is_of_this_machine(origin), "{origin}");
        }
        for origin in ["http://localhost.evil.example", "http://10.0.0.1", "null", "evil.example"] {
            assert!(!is_of_this_machine(origin), "{origin}");
        }
    }

    #[test]
    fn secrets_compare_by_every_byte_and_stay_out_of_the_debug_form() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"ab"));
        let token = Token { secret: "hush".into(), role: Role::Read };
        assert!(!format!("{token:?}").contains("hush"));
    }
}
