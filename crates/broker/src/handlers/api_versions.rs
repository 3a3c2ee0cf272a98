//! ApiVersions: what is spoken here. The first question of every client.
//!
//! Answers the version table, no features, and refuses names of client software that
//! Kafka would refuse.

use kafka_protocol::{
    ResponseError,
    messages::{
        ApiKey, ApiVersionsRequest, ApiVersionsResponse, api_versions_response::ApiVersion,
    },
};

use crate::api::APIS;

/// Answers ApiVersions 0 to 4.
pub(crate) fn api_versions(
    request: &ApiVersionsRequest,
    version: i16,
    has_sasl: bool,
) -> ApiVersionsResponse {
    let names = [&request.client_software_name, &request.client_software_version];
    if version >= 3 && !names.into_iter().all(|name| is_software_name(name)) {
        return ApiVersionsResponse::default()
            .with_error_code(ResponseError::InvalidRequest.code());
    }
    spoken(version, has_sasl)
}

/// The version table; SASL stands in it where it is on.
pub(crate) fn spoken(version: i16, has_sasl: bool) -> ApiVersionsResponse {
    let is_on = |key| has_sasl || !needs_sasl(key);
    let keys = APIS.iter().filter(|api| is_on(api.key)).map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.min)
            .with_max_version(api.max)
    });
    let response = ApiVersionsResponse::default().with_api_keys(keys.collect());
    // No features are finalised, now and at any epoch.
    if version >= 3 { response.with_finalized_features_epoch(0) } else { response }
}

const fn needs_sasl(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::SaslHandshake
            | ApiKey::SaslAuthenticate
            | ApiKey::DescribeUserScramCredentials
            | ApiKey::AlterUserScramCredentials
    )
}

/// Letters, digits, `-` and `.`, beginning and ending with a letter or digit.
fn is_software_name(name: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    let ends = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    ends && name.chars().all(inside)
}
