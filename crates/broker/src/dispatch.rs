//! From a frame to a handler and back: one line for each API.
//!
//! [`Call::open`] reads a request's header and checks it against the version table;
//! [`handle`] decodes the body, calls the handler and encodes what it answers. A frame
//! that cannot be read costs its sender the connection, as it does with Kafka;
//! ApiVersions alone answers a version that is not spoken.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};

use crate::{
    api::{self, Api},
    context::Context,
    decode::{self, Malformed},
    handlers::{api_versions, find_coordinator, groups, metadata, offsets, sasl},
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
    #[error("{key:?} {version} could not be answered: {why}")]
    Unanswerable { key: ApiKey, version: i16, why: String },
}

/// A request whose header was read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) key: ApiKey,
    pub(crate) version: i16,
    pub(crate) api: &'static Api,
    pub(crate) client_id: StrBytes,
    correlation_id: i32,
    body: Bytes,
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
        let correlation_id = header.correlation_id;
        Ok(Self { key, version, api, client_id, correlation_id, body: frame })
    }

    /// Whether the answer may wait for something that has not happened yet, so that
    /// nobody needs it once the connection closes.
    pub(crate) const fn waits(&self) -> bool {
        matches!(self.key, ApiKey::Fetch | ApiKey::JoinGroup | ApiKey::SyncGroup)
    }

    /// Whether the request is part of saying who the client is.
    pub(crate) const fn authenticates(&self) -> bool {
        matches!(self.key, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate)
    }

    /// Whether the next request may be taken before this one is answered.
    pub(crate) const fn overlaps(&self) -> bool {
        matches!(self.key, ApiKey::Produce)
    }

    fn decode<R: Decodable + HeaderVersion>(&self) -> Result<R, Refused> {
        Ok(decode::decode(&self.body, self.version)?)
    }

    fn reply<R: Encodable + HeaderVersion>(&self, response: &R) -> Result<Bytes, Refused> {
        self.reply_as(response, self.version)
    }

    /// The response as a frame, in a version.
    fn reply_as<R>(&self, response: &R, version: i16) -> Result<Bytes, Refused>
    where
        R: Encodable + HeaderVersion,
    {
        let header = ResponseHeader::default().with_correlation_id(self.correlation_id);
        let encoded = response.compute_size(version).and_then(|size| {
            let mut frame = BytesMut::with_capacity(size + 16);
            frame.put_i32(0);
            header.encode(&mut frame, R::header_version(version))?;
            response.encode(&mut frame, version)?;
            let length = i32::try_from(frame.len() - 4)?;
            (&mut frame[..4]).put_i32(length);
            Ok(frame.freeze())
        });
        encoded.map_err(|error| {
            let (key, why) = (self.key, error.to_string());
            Refused::Unanswerable { key, version, why }
        })
    }
}

/// What becomes of a request.
pub(crate) enum Reply {
    /// The answer, as a frame.
    Ready(Bytes),
    /// The answer comes when the log has done its part; the next request may be taken.
    Later(BoxFuture<'static, Result<Option<Bytes>, Refused>>),
    /// The client wants none.
    None,
}

/// Works on one request.
///
/// # Errors
/// [`Refused`] ends the connection.
///
/// # Cancel safety
/// Dropped, what the request asked for may have been done or not.
pub(crate) async fn handle(context: &Context, call: &Call) -> Result<Reply, Refused> {
    let version = call.version;
    let reply = match call.key {
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
        ApiKey::ApiVersions => answer_api_versions(context, call),
        ApiKey::DescribeUserScramCredentials => {
            call.reply(&sasl::describe_user_scram_credentials(context, call.decode()?))
        }
        ApiKey::AlterUserScramCredentials => {
            call.reply(&sasl::alter_user_scram_credentials(context, call.decode()?).await)
        }
        key => Err(Refused::UnknownApi { key: key as i16 }),
    };
    reply.map(Reply::Ready)
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
    let reply = match call.key {
        ApiKey::SaslHandshake => {
            call.reply(&sasl::sasl_handshake(session, &call.decode()?, call.version))
        }
        ApiKey::SaslAuthenticate => {
            call.reply(&sasl::sasl_authenticate(session, call.decode()?).await)
        }
        _ => return handle(context, call).await,
    };
    reply.map(Reply::Ready)
}

/// Tells what is spoken, also to those who ask in a version that is not.
fn answer_api_versions(context: &Context, call: &Call) -> Result<Bytes, Refused> {
    let has_sasl = context.broker.options.security.sasl.is_some();
    if api::find(call.key).is_some_and(|api| api.speaks(call.version)) {
        let response = api_versions::api_versions(&call.decode()?, call.version, has_sasl);
        return call.reply(&response);
    }
    let error = ResponseError::UnsupportedVersion.code();
    call.reply_as(&api_versions::spoken(0, has_sasl).with_error_code(error), 0)
}

fn peek_i16(bytes: &[u8], at: usize) -> Option<i16> {
    let mut bytes = bytes.get(at..at + 2)?;
    Some(bytes.get_i16())
}
