//! Signatures: HMAC-SHA256 with the app's secret, in hexadecimal, compared in constant
//! time.
//!
//! Three texts are signed: a subscription (`socket:channel[:data]`), a user
//! (`socket::user::data`) and a request of the HTTP API (method, path and sorted query,
//! one a line, with the body's MD5 in the query). Whose clock is too far away is refused,
//! so that a request that was overheard is soon worth nothing.

use std::{collections::BTreeMap, fmt::Write as _};

use courant_model::limits::PUSH_SIGNED_S_MAX;
use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::{App, Secret};

/// The signature of a text.
pub(crate) fn sign(secret: &Secret, text: &[u8]) -> String {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length");
    mac.update(text);
    hex(&mac.finalize().into_bytes())
}

/// Whether a signature is that of a text.
pub(crate) fn is_signed(secret: &Secret, text: &[u8], signature: &str) -> bool {
    same(&sign(secret, text), signature)
}

/// Whether `key:signature` is the app's for a text.
pub(crate) fn is_authorized(app: &App, text: &str, auth: &str) -> bool {
    let Some((key, signature)) = auth.split_once(':') else { return false };
    // Both are looked at, so that the answer's time says nothing about the key.
    same(&app.key, key) & is_signed(&app.secret, text.as_bytes(), signature)
}

/// What is signed for a subscription.
pub(crate) fn channel_text(socket_id: &str, channel: &str, channel_data: Option<&str>) -> String {
    match channel_data {
        Some(data) => format!("{socket_id}:{channel}:{data}"),
        None => format!("{socket_id}:{channel}"),
    }
}

/// What is signed for a user.
pub(crate) fn user_text(socket_id: &str, user_data: &str) -> String {
    format!("{socket_id}::user::{user_data}")
}

/// A request of the HTTP API, as far as it is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedRequest<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) query: &'a BTreeMap<String, String>,
    pub(crate) body: &'a [u8],
}

/// Why a request is not taken for the app's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("query parameter {0:?} is missing; sign the request")]
    Missing(&'static str),
    #[error("query parameter \"auth_version\" is {0:?}; expected \"1.0\"")]
    Version(String),
    #[error("query parameter \"auth_key\" is not the key of this app")]
    Key,
    #[error(
        "query parameter \"auth_timestamp\" is {found:?}, and this server's clock says {now_s}; they may be {PUSH_SIGNED_S_MAX} s apart"
    )]
    Timestamp { found: String, now_s: i64 },
    #[error("query parameter \"body_md5\" is not the MD5 of the request's body")]
    Body,
    #[error(
        "query parameter \"auth_signature\" is not the signature of this request; check the secret, and that method, path, query and body arrive as they were signed"
    )]
    Signature,
}

/// Checks that a request was made with the app's secret, not long ago.
///
/// # Errors
/// The first thing that is missing or wrong.
pub(crate) fn check_request(
    app: &App,
    request: SignedRequest<'_>,
    now_s: i64,
) -> Result<(), SignatureError> {
    let given = |name: &'static str| {
        request.query.get(name).map(String::as_str).ok_or(SignatureError::Missing(name))
    };
    let version = given("auth_version")?;
    if version != "1.0" {
        return Err(SignatureError::Version(version.into()));
    }
    if !same(&app.key, given("auth_key")?) {
        return Err(SignatureError::Key);
    }
    let timestamp = given("auth_timestamp")?;
    let near = |at: i64| at.checked_sub(now_s).is_some_and(|by| by.abs() <= PUSH_SIGNED_S_MAX);
    if !timestamp.parse().is_ok_and(near) {
        return Err(SignatureError::Timestamp { found: timestamp.into(), now_s });
    }
    if !request.body.is_empty() && !same(&md5(request.body), given("body_md5")?) {
        return Err(SignatureError::Body);
    }
    let signature = given("auth_signature")?;
    // Libraries differ in whether they sign the path before or after it was encoded.
    let decoded = percent_decode_str(request.path).decode_utf8_lossy();
    let signed_as =
        |path: &str| is_signed(&app.secret, request_text(request, path).as_bytes(), signature);
    if signed_as(request.path) || signed_as(&decoded) {
        return Ok(());
    }
    Err(SignatureError::Signature)
}

/// The signature of a request of ours.
pub(crate) fn sign_request(secret: &Secret, request: SignedRequest<'_>) -> String {
    sign(secret, request_text(request, request.path).as_bytes())
}

/// The MD5 of a body, which stands in the query of its request.
pub(crate) fn md5(body: &[u8]) -> String {
    hex(&Md5::digest(body))
}

/// What is signed for a request: names in lower case, sorted; values as they are meant.
fn request_text(request: SignedRequest<'_>, path: &str) -> String {
    let mut text = format!("{}\n{path}\n", request.method);
    let signed = request.query.iter().filter(|(name, _)| *name != "auth_signature");
    let mut named: Vec<_> = signed.map(|(name, value)| (name.to_lowercase(), value)).collect();
    named.sort();
    for (index, (name, value)) in named.iter().enumerate() {
        let and = if index == 0 { "" } else { "&" };
        let _ = write!(text, "{and}{name}={value}");
    }
    text
}

/// Compares without telling, by its time, how much is the same.
fn same(expected: &str, found: &str) -> bool {
    expected.as_bytes().ct_eq(found.as_bytes()).into()
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> App {
        App::new("3", "278d425bdf160c739803", "7ad3773142a6692b25b8")
    }

    fn query(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    // The worked examples of Pusher's documentation.
    const BODY: &[u8] = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
    const SIGNED: [(&str, &str); 5] = [
        ("auth_key", "278d425bdf160c739803"),
        ("auth_timestamp", "1353088179"),
        ("auth_version", "1.0"),
        ("body_md5", "ec365a775a4cd0599faeb73354201b6f"),
        ("auth_signature", "da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"),
    ];

    fn check(
        query: &BTreeMap<String, String>,
        body: &[u8],
        now_s: i64,
    ) -> Result<(), SignatureError> {
        let request = SignedRequest { method: "POST", path: "/apps/3/events", query, body };
        check_request(&app(), request, now_s)
    }

    #[test]
    fn the_documented_request_is_accepted_and_any_change_refused() {
        let signed = query(&SIGNED);
        assert_eq!(check(&signed, BODY, 1_353_088_179), Ok(()));
        assert_eq!(check(&signed, b"{}", 1_353_088_179), Err(SignatureError::Body));
        for (name, _) in SIGNED {
            let mut without = signed.clone();
            without.remove(name);
            let missing = check(&without, BODY, 1_353_088_179);
            assert_eq!(missing, Err(SignatureError::Missing(name)));
        }
        let mut more = signed;
        more.insert("info".into(), "user_count".into());
        assert_eq!(check(&more, BODY, 1_353_088_179), Err(SignatureError::Signature));
    }

    #[test]
    fn a_request_is_worth_nothing_after_ten_minutes() {
        let signed = query(&SIGNED);
        for (now_s, fits) in [
            (1_353_088_779, true),
            (1_353_087_579, true),
            (1_353_088_780, false),
            (i64::MIN, false),
        ] {
            assert_eq!(check(&signed, BODY, now_s).is_ok(), fits, "{now_s}");
        }
    }

    #[test]
    fn the_documented_subscriptions_and_users_are_signed_alike() {
        let app = app();
        assert_eq!(
            app.authorize_channel("1234.1234", "private-foobar", None),
            "278d425bdf160c739803:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"
        );
        let data = r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#;
        assert_eq!(
            app.authorize_channel("1234.1234", "presence-foobar", Some(data)),
            "278d425bdf160c739803:31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"
        );
        let user = app.authenticate_user("1234.1234", r#"{"id":"12345"}"#);
        let text = user_text("1234.1234", r#"{"id":"12345"}"#);
        assert!(is_authorized(&app, &text, &user));
        assert!(!is_authorized(&app, &text, user.strip_prefix("278d").unwrap()));
        assert!(!is_authorized(&app, &text, &format!("{user}0")));
        assert!(!is_authorized(&app, &text, "nothing"));
    }
}
