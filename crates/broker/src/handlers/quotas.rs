//! DescribeClientQuotas: the quotas of the configuration, as Kafka's tools show them.
//!
//! Quotas belong to users: those of everybody stand as the default user's. A bound on
//! requests has no name in Kafka and is not told. Nothing is changed over the wire.

use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeClientQuotasRequest, DescribeClientQuotasResponse,
        describe_client_quotas_request::ComponentData,
        describe_client_quotas_response::{EntityData, EntryData, ValueData},
    },
    protocol::StrBytes,
};

use crate::{
    context::Context,
    security::{Operation, QuotaRates, Resource},
};

/// The type of entity that quotas are about.
const USER: &str = "user";
/// Types that Kafka knows besides.
const OTHERS: [&str; 2] = ["client-id", "ip"];
/// How a component is to match: one name, the default, or any.
const EXACT: i8 = 0;
const DEFAULT: i8 = 1;
const ANY: i8 = 2;

/// Answers DescribeClientQuotas 0 and 1.
pub(crate) fn describe_client_quotas(
    context: &Context,
    request: &DescribeClientQuotasRequest,
) -> DescribeClientQuotasResponse {
    let response =
        DescribeClientQuotasResponse::default().with_throttle_time_ms(context.throttle_ms());
    let refuse = |error: ResponseError, why: &'static str| {
        let response = response.clone().with_error_code(error.code()).with_entries(None);
        response.with_error_message(Some(StrBytes::from_static_str(why)))
    };
    if !context.allows(Operation::DescribeConfigs, Resource::Cluster) {
        return refuse(ResponseError::ClusterAuthorizationFailed, "the cluster is not yours");
    }
    if !request.components.iter().all(is_known) {
        return refuse(ResponseError::InvalidRequest, "a component is of an unknown kind");
    }
    let config = context.broker.options.security.quotas.config();
    let users = config.users.iter().map(|(name, rates)| (Some(name.as_str()), rates));
    let all = std::iter::once((None, &config.each)).chain(users);
    let wanted = all.filter(|(user, _)| matches(request, *user));
    response.with_entries(Some(wanted.filter_map(|(user, rates)| entry(user, rates)).collect()))
}

fn is_known(component: &ComponentData) -> bool {
    let kind = component.entity_type.as_str();
    let matching = match component.match_type {
        EXACT => component._match.is_some(),
        DEFAULT | ANY => component._match.is_none(),
        _ => false,
    };
    matching && (kind == USER || OTHERS.contains(&kind))
}

/// Whether a user's quotas are asked for; `None` is the default user. An entity has to
/// have every component that is named and, where the request is strict, no other.
fn matches(request: &DescribeClientQuotasRequest, user: Option<&str>) -> bool {
    let is_asked = |component: &ComponentData| {
        component.entity_type.as_str() == USER
            && match component.match_type {
                EXACT => user.is_some() && user == component._match.as_deref(),
                DEFAULT => user.is_none(),
                _ => true,
            }
    };
    let components = &request.components;
    components.iter().all(is_asked) && !(request.strict && components.is_empty())
}

/// One user's quotas; `None` where there are none to tell.
fn entry(user: Option<&str>, rates: &QuotaRates) -> Option<EntryData> {
    let named = [
        ("producer_byte_rate", rates.produce_bytes_per_second),
        ("consumer_byte_rate", rates.fetch_bytes_per_second),
    ];
    let value = |(key, rate): (&'static str, Option<courant_model::ByteSize>)| {
        let key = StrBytes::from_static_str(key);
        Some(ValueData::default().with_key(key).with_value(rate?.as_bytes() as f64))
    };
    let values: Vec<ValueData> = named.into_iter().filter_map(value).collect();
    let entity = EntityData::default()
        .with_entity_type(StrBytes::from_static_str(USER))
        .with_entity_name(user.map(|name| StrBytes::from_string(name.to_owned())));
    (!values.is_empty()).then(|| EntryData::default().with_entity(vec![entity]).with_values(values))
}
