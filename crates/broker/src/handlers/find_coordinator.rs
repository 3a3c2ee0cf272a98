//! FindCoordinator: where groups and transactions are decided. Here, always.
//!
//! Versions up to 3 ask for one key, later ones for several. Who may not describe a
//! group or transactional id is not told where it lives.

use kafka_protocol::{
    ResponseError,
    messages::{
        FindCoordinatorRequest, FindCoordinatorResponse, find_coordinator_response::Coordinator,
    },
    protocol::StrBytes,
};

use crate::{
    context::{BROKER_ID, Context},
    security::{Operation, Resource},
};

/// Kafka's types of keys.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Answers FindCoordinator 0 to 4.
pub(crate) fn find_coordinator(
    context: &Context,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let kind = request.key_type;
    if version >= 4 {
        let keys = request.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| coordinator(context, kind, key));
        return FindCoordinatorResponse::default()
            .with_throttle_time_ms(context.throttle_ms())
            .with_coordinators(coordinators.collect());
    }
    let found = coordinator(context, kind, request.key);
    FindCoordinatorResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_error_code(found.error_code)
        .with_error_message(found.error_message)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port)
}

fn coordinator(context: &Context, kind: i8, key: StrBytes) -> Coordinator {
    let may_describe = |resource| context.allows(Operation::Describe, resource);
    let refusal = match kind {
        GROUP if may_describe(Resource::Group(&key)) => None,
        GROUP => Some((ResponseError::GroupAuthorizationFailed, "the group is not yours")),
        TRANSACTION if may_describe(Resource::TransactionalId(&key)) => None,
        TRANSACTION => Some((
            ResponseError::TransactionalIdAuthorizationFailed,
            "the transactional id is not yours",
        )),
        _ => Some((ResponseError::InvalidRequest, "only groups and transactions are coordinated")),
    };
    let coordinator = Coordinator::default().with_key(key);
    match refusal {
        None => {
            let (host, port) = context.advertised();
            coordinator
                .with_node_id(BROKER_ID)
                .with_host(host)
                .with_port(port)
                .with_error_message(Some(StrBytes::new()))
        }
        Some((error, message)) => coordinator
            .with_node_id((-1).into())
            .with_port(-1)
            .with_error_code(error.code())
            .with_error_message(Some(StrBytes::from_static_str(message))),
    }
}
