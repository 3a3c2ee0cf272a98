//! From a frame to a handler and back: one line for each API.
//!
//! [`Call::open`] reads a request's header and checks it against the version table;
//! [`handle`] decodes the body, calls the handler and encodes what it answers. A frame
//! that cannot be read costs its sender the connection, as it does with Kafka;
//! ApiVersions alone answers a version that is not spoken.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::{FutureExt, future::BoxFuture};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    api::{self, Api},
    context::Context,
    decode::{self, Malformed},
    handlers::{
        api_versions, cluster, configs, consumer_groups, fetch, find_coordinator, groups,
        groups_admin, leader_epochs, list_offsets, metadata, offsets, produce, quotas, sasl,
        topics, transactions, transactions_admin,
    },
    security::Session,
};

/// Why a frame ends its connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("API {key} is not spoken")]
    UnknownApi { key: i16 },
    #[error("version {version} of {key:?} is not spoken; {min} to {max} are")]
    UnknownVersion { key: ApiKey, version: i16, min: i16, max: i16 },
    #[error("a batch that wants no acknowledgement was refused: {error}")]
    Unacknowledged { error: ResponseError },
    #[error("{key:?} {version} could not be answered: {why}")]
    Unanswerable { key: ApiKey, version: i16, why: String },
}

/// A request whose header was read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) api: &'static Api,
    pub(crate) client_id: StrBytes,
    envelope: Envelope,
    body: Bytes,
}

/// What an answer must say to be taken for the request's.
#[derive(Debug, Clone, Copy)]
struct Envelope {
    key: ApiKey,
    version: i16,
    correlation_id: i32,
}

/// What becomes of a request.
pub(crate) enum Reply {
    /// The answer, as a frame, and the memory that it takes until it is sent.
    Ready(Bytes, Option<OwnedSemaphorePermit>),
    /// The answer comes when the log has done its part, `None` where the client wants
    /// none; the next request may be taken.
    Later(BoxFuture<'static, Result<Option<Bytes>, Refused>>),
}

impl Call {
    /// Reads the header of a frame.
    ///
    /// # Errors
    /// [`Refused`] for what is not in the version table, ApiVersions apart.
    pub(crate) fn open(mut frame: Bytes) -> Result<Self, Refused> {
        let (Some(key), Some(version)) = (peek_i16(&frame, 0), peek_i16(&frame, 2)) else {
            return Err(Malformed { why: "it is shorter than a header".to_owned() }.into());
        };
        let unknown = Refused::UnknownApi { key };
        let Ok(key) = ApiKey::try_from(key) else { return Err(unknown) };
        let Some(api) = api::find(key) else { return Err(unknown) };
        if !api.speaks(version) && key != ApiKey::ApiVersions {
            let (min, max) = (api.min, api.max);
            return Err(Refused::UnknownVersion { key, version, min, max });
        }
        let header = RequestHeader::decode(&mut frame, key.request_header_version(version))
            .map_err(|error| Malformed { why: error.to_string() })?;
        let client_id = header.client_id.unwrap_or_default();
        let envelope = Envelope { key, version, correlation_id: header.correlation_id };
        Ok(Self { api, client_id, envelope, body: frame })
    }

    pub(crate) const fn key(&self) -> ApiKey {
        self.envelope.key
    }

    /// Whether the answer may wait for something that has not happened yet.
    pub(crate) const fn waits(&self) -> bool {
        self.ends_early() || matches!(self.envelope.key, ApiKey::JoinGroup | ApiKey::SyncGroup)
    }

    /// Whether its handler hurries when it is told to, and need not be dropped.
    pub(crate) const fn ends_early(&self) -> bool {
        matches!(self.envelope.key, ApiKey::Fetch)
    }

    /// Whether the request is part of saying who the client is.
    pub(crate) const fn authenticates(&self) -> bool {
        matches!(self.envelope.key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
    }

    /// Whether the next request may be taken before this one is answered.
    pub(crate) const fn overlaps(&self) -> bool {
        matches!(self.envelope.key, ApiKey::Produce)
    }

    fn decode<R: Decodable + HeaderVersion>(&self) -> Result<R, Refused> {
        Ok(decode::decode(&self.body, self.envelope.version)?)
    }

    fn reply<R: Encodable + HeaderVersion>(&self, response: &R) -> Result<Bytes, Refused> {
        self.envelope.reply(response)
    }
}

impl Envelope {
    /// The response as a frame.
    fn reply<R: Encodable + HeaderVersion>(self, response: &R) -> Result<Bytes, Refused> {
        let Self { key, version, correlation_id } = self;
        let header = ResponseHeader::default().with_correlation_id(correlation_id);
        let encoded = response.compute_size(version).and_then(|size| {
            let mut frame = BytesMut::with_capacity(size + 16);
            frame.put_i32(0);
            header.encode(&mut frame, R::header_version(version))?;
            response.encode(&mut frame, version)?;
            let length = i32::try_from(frame.len() - 4)?;
            (&mut frame[..4]).put_i32(length);
            Ok(frame.freeze())
        });
        encoded.map_err(|error| Refused::Unanswerable { key, version, why: error.to_string() })
    }
}

/// Works on one request.
///
/// # Errors
/// [`Refused`] ends the connection.
///
/// # Cancel safety
/// Dropped, what the request asked for may have been done or not.
pub(crate) async fn handle(context: &Context, call: &Call) -> Result<Reply, Refused> {
    let version = call.envelope.version;
    let frame = match call.envelope.key {
        ApiKey::Produce => return answer_produce(context, call).await,
        ApiKey::Fetch => {
            let (response, memory) = fetch::fetch(context, call.decode()?, version).await;
            return Ok(Reply::Ready(call.reply(&response)?, memory));
        }
        ApiKey::ListOffsets => {
            call.reply(&list_offsets::list_offsets(context, call.decode()?, version).await)
        }
        ApiKey::Metadata => call.reply(&metadata::metadata(context, call.decode()?, version).await),
        ApiKey::OffsetCommit => {
            call.reply(&offsets::offset_commit(context, call.decode()?, version).await)
        }
        ApiKey::OffsetFetch => call.reply(&offsets::offset_fetch(context, call.decode()?, version)),
        ApiKey::FindCoordinator => {
            call.reply(&find_coordinator::find_coordinator(context, call.decode()?, version))
        }
        ApiKey::JoinGroup => {
            call.reply(&groups::join_group(context, call.decode()?, version).await)
        }
        ApiKey::Heartbeat => call.reply(&groups::heartbeat(context, &call.decode()?)),
        ApiKey::LeaveGroup => call.reply(&groups::leave_group(context, call.decode()?, version)),
        ApiKey::SyncGroup => {
            call.reply(&groups::sync_group(context, call.decode()?, version).await)
        }
        ApiKey::DescribeGroups => {
            call.reply(&groups_admin::describe_groups(context, &call.decode()?, version))
        }
        ApiKey::ListGroups => {
            call.reply(&groups_admin::list_groups(context, &call.decode()?, version))
        }
        ApiKey::CreateTopics => {
            call.reply(&topics::create_topics(context, call.decode()?, version).await)
        }
        ApiKey::DeleteTopics => {
            call.reply(&topics::delete_topics(context, call.decode()?, version).await)
        }
        ApiKey::DeleteRecords => call.reply(&topics::delete_records(context, call.decode()?).await),
        ApiKey::DescribeConfigs => {
            call.reply(&configs::describe_configs(context, call.decode()?, version).await)
        }
        ApiKey::AlterConfigs => call.reply(&configs::alter_configs(context, call.decode()?).await),
        ApiKey::DescribeLogDirs => {
            call.reply(&cluster::describe_log_dirs(context, &call.decode()?, version))
        }
        ApiKey::CreatePartitions => {
            call.reply(&topics::create_partitions(context, call.decode()?).await)
        }
        ApiKey::DeleteGroups => {
            call.reply(&groups_admin::delete_groups(context, call.decode()?).await)
        }
        ApiKey::IncrementalAlterConfigs => {
            call.reply(&configs::incremental_alter_configs(context, call.decode()?).await)
        }
        ApiKey::OffsetDelete => {
            call.reply(&groups_admin::offset_delete(context, call.decode()?).await)
        }
        ApiKey::DescribeCluster => {
            call.reply(&cluster::describe_cluster(context, &call.decode()?, version))
        }
        ApiKey::ConsumerGroupHeartbeat => call.reply(&consumer_groups::consumer_group_heartbeat(
            context,
            &call.decode()?,
            version,
        )),
        ApiKey::ConsumerGroupDescribe => {
            call.reply(&consumer_groups::consumer_group_describe(context, &call.decode()?, version))
        }
        ApiKey::DescribeTopicPartitions => {
            call.reply(&cluster::describe_topic_partitions(context, &call.decode()?))
        }
        ApiKey::ApiVersions => answer_api_versions(context, call),
        ApiKey::DescribeClientQuotas => {
            call.reply(&quotas::describe_client_quotas(context, &call.decode()?))
        }
        ApiKey::DescribeUserScramCredentials => {
            call.reply(&sasl::describe_user_scram_credentials(context, call.decode()?))
        }
        ApiKey::AlterUserScramCredentials => {
            call.reply(&sasl::alter_user_scram_credentials(context, call.decode()?).await)
        }
        ApiKey::InitProducerId => {
            call.reply(&transactions::init_producer_id(context, call.decode()?, version).await)
        }
        ApiKey::AddPartitionsToTxn => {
            call.reply(&transactions::add_partitions_to_txn(context, call.decode()?, version).await)
        }
        ApiKey::AddOffsetsToTxn => {
            call.reply(&transactions::add_offsets_to_txn(context, call.decode()?, version).await)
        }
        ApiKey::EndTxn => {
            call.reply(&transactions::end_txn(context, call.decode()?, version).await)
        }
        ApiKey::TxnOffsetCommit => {
            call.reply(&transactions::txn_offset_commit(context, call.decode()?).await)
        }
        ApiKey::DescribeProducers => {
            call.reply(&transactions_admin::describe_producers(context, call.decode()?).await)
        }
        ApiKey::DescribeTransactions => {
            call.reply(&transactions_admin::describe_transactions(context, &call.decode()?))
        }
        ApiKey::ListTransactions => {
            call.reply(&transactions_admin::list_transactions(context, call.decode()?))
        }
        ApiKey::OffsetForLeaderEpoch => {
            call.reply(&leader_epochs::offset_for_leader_epoch(context, call.decode()?))
        }
        key => Err(Refused::UnknownApi { key: key as i16 }),
    };
    Ok(Reply::Ready(frame?, None))
}

/// Hands batches over; the answer comes when they are durable.
async fn answer_produce(context: &Context, call: &Call) -> Result<Reply, Refused> {
    let envelope = call.envelope;
    if envelope.version < produce::VERSION_MIN {
        let body = produce::from_old(&call.body);
        let request = decode::decode(&body, produce::VERSION_MIN)?;
        let body = produce::refuse_old(&request, envelope.version)?;
        let mut frame = BytesMut::with_capacity(body.len() + 8);
        frame.put_i32(body.len() as i32 + 4);
        frame.put_i32(envelope.correlation_id);
        frame.put_slice(&body);
        return Ok(Reply::Ready(frame.freeze(), None));
    }
    let submitted = produce::submit(context, call.decode()?, envelope.version).await;
    let acks = submitted.acks;
    let answer = async move {
        match (submitted.done().await, acks) {
            // Nobody reads an answer; closing the connection is how it is told.
            ((_, Some(error)), 0) => Err(Refused::Unacknowledged { error }),
            ((_, None), 0) => Ok(None),
            ((response, _), _) => envelope.reply(&response).map(Some),
        }
    };
    Ok(Reply::Later(answer.boxed()))
}

/// Works on a request that says who the client is.
///
/// # Errors
/// [`Refused`] ends the connection.
pub(crate) async fn authenticate(
    context: &Context,
    session: &mut Session,
    call: &Call,
) -> Result<Reply, Refused> {
    let reply = match call.envelope.key {
        ApiKey::SaslHandshake => {
            call.reply(&sasl::sasl_handshake(session, &call.decode()?, call.envelope.version))
        }
        ApiKey::SaslAuthenticate => {
            call.reply(&sasl::sasl_authenticate(session, call.decode()?).await)
        }
        _ => return handle(context, call).await,
    };
    Ok(Reply::Ready(reply?, None))
}

/// Tells what is spoken, also to those who ask in a version that is not.
fn answer_api_versions(context: &Context, call: &Call) -> Result<Bytes, Refused> {
    let has_sasl = context.broker.options.security.sasl.is_some();
    let version = call.envelope.version;
    if call.api.speaks(version) {
        return call.reply(&api_versions::api_versions(&call.decode()?, version, has_sasl));
    }
    let error = ResponseError::UnsupportedVersion.code();
    let response = api_versions::spoken(0, has_sasl).with_error_code(error);
    Envelope { version: 0, ..call.envelope }.reply(&response)
}

fn peek_i16(bytes: &[u8], at: usize) -> Option<i16> {
    let mut bytes = bytes.get(at..at + 2)?;
    Some(bytes.get_i16())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use courant_log::{EmbeddedLog, LogOptions};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        BrokerOptions, Limits,
        context::{Addresses, Broker, Connection},
        net::Bounds,
        security::Principal,
        telemetry::Telemetry,
    };

    async fn context(folder: &std::path::Path) -> Context {
        let (log, _) = EmbeddedLog::open(folder, LogOptions::default()).await.unwrap();
        let (options, bounds) = (BrokerOptions::default(), Bounds::new(Limits::default()));
        let telemetry = Telemetry::new();
        let broker = Broker { log: Arc::new(log), options, bounds, telemetry };
        let local = ([127, 0, 0, 1], 9092).into();
        let closing = CancellationToken::new();
        Context {
            broker: Arc::new(broker),
            hurry: closing.child_token(),
            connection: Arc::new(Connection::new(Addresses { peer: local, local }, closing, None)),
            client_id: StrBytes::default(),
            principal: Principal::anonymous(),
            account: None,
            throttle: std::time::Duration::ZERO,
        }
    }

    #[tokio::test]
    async fn every_advertised_api_has_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path()).await;
        for api in api::APIS {
            let envelope = Envelope { key: api.key, version: api.max, correlation_id: 1 };
            let (client_id, body) = (StrBytes::default(), Bytes::new());
            let call = Call { api, client_id, envelope, body };
            if call.authenticates() {
                continue;
            }
            let outcome = handle(&context, &call).await;
            assert!(!matches!(outcome, Err(Refused::UnknownApi { .. })), "{:?}", api.key);
        }
    }
}
