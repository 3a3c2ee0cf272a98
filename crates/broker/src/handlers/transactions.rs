//! Producers' ids.
//!
//! A producer without a transactional id gets an id that no other ever had; the log
//! tells its repeated batches from new ones by it.

use kafka_protocol::{
    ResponseError,
    messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId},
};

use crate::{context::Context, errors::error_code};

/// Answers InitProducerId 0 to 4.
pub(crate) async fn init_producer_id(
    context: &Context,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    let refused = InitProducerIdResponse::default()
        .with_throttle_time_ms(context.throttle_ms())
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    if request.transactional_id.is_some() {
        return refused.with_error_code(ResponseError::UnsupportedVersion.code());
    }
    if !context.may_write_idempotently() {
        return refused.with_error_code(ResponseError::ClusterAuthorizationFailed.code());
    }
    match context.log().allocate_producer_id().await {
        Ok(id) => refused.with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => refused.with_error_code(error_code(&error)),
    }
}
