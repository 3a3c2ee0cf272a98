//! Watches: MongoDB's change streams, from a place that outlives a cut.
//!
//! Events are read raw. The place moves with each event, so a stream that breaks is opened
//! again after the last one, for as long as it takes; only refused access, or a place that
//! the server no longer has, ends the watch. Invariant: between the first event of a call
//! and its end nothing waits, so a caller that stops waiting loses none.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{FutureExt, StreamExt};
use mongodb::{
    bson::{Bson, Document as Bdoc, RawDocumentBuf, Timestamp},
    change_stream::{ChangeStream, event::ResumeToken as ServerToken},
    error::Error,
    options::{FullDocumentBeforeChangeType, FullDocumentType},
};

use super::{
    Inside,
    values::{HIDDEN, from_bson},
};
use crate::{Change, ChangeKind, Changes, ResumeToken, StoreError, WatchFrom};

const ACTION: &str = "watching a collection of the history";

/// Waits between two tries to open a broken stream again.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Codes by which MongoDB says that it no longer has a place, or never had it.
const PLACE_IS_GONE: [i32; 5] = [136, 260, 280, 286, 40576];

type Stream = ChangeStream<RawDocumentBuf>;

/// A watch of one collection.
pub(super) struct MongoChanges {
    inside: Arc<Inside>,
    collection: String,
    identity: String,
    place: Place,
    /// `None` after it broke.
    stream: Option<Stream>,
}

/// Where a stream goes on.
#[derive(Debug, Clone)]
enum Place {
    After(ServerToken),
    /// With the first change that is not before this time.
    At(Timestamp),
    /// With the next change; only until the first stream says where it began.
    Now,
}

impl MongoChanges {
    /// Opens the stream.
    ///
    /// # Errors
    /// [`StoreError::UnknownCollection`], [`StoreError::InvalidToken`], connection failures.
    pub(super) async fn begin(
        inside: Arc<Inside>,
        collection: &str,
        from: WatchFrom,
    ) -> Result<Self, StoreError> {
        let identity = inside.identity(collection).await?;
        let place = match &from {
            WatchFrom::After(ResumeToken(text)) => Place::After(decode(text, &identity)?),
            WatchFrom::Earliest => Place::At(inside.oplog_end(1).await?),
            WatchFrom::Now => Place::Now,
        };
        let stream = open(&inside, collection, &place).await;
        let mut stream = stream.map_err(|error| match from {
            WatchFrom::After(token) if is_gone(&error) => StoreError::InvalidToken {
                token: token.0.chars().take(100).collect(),
                why:
                    "changes after it are no longer kept; read the collection, then watch from now"
                        .into(),
            },
            _ => inside.failure(ACTION, error),
        })?;
        let mut place = place;
        if matches!(place, Place::Now) {
            place = match stream.resume_token() {
                Some(token) => Place::After(token),
                // A server that does not say where its stream begins: at the end of its log.
                None => {
                    let newest = inside.oplog_end(-1).await?;
                    Place::At(Timestamp { increment: newest.increment + 1, ..newest })
                }
            };
            if matches!(place, Place::At(_)) {
                let again = open(&inside, collection, &place).await;
                stream = again.map_err(|error| inside.failure(ACTION, error))?;
            }
        }
        Ok(Self {
            inside,
            collection: collection.to_owned(),
            identity,
            place,
            stream: Some(stream),
        })
    }

    /// The stream, opened again where it broke; waits until the server is there.
    async fn stream(&mut self) -> Result<&mut Stream, StoreError> {
        let mut wait = WAIT_MIN;
        while self.stream.is_none() {
            match open(&self.inside, &self.collection, &self.place).await {
                Ok(stream) => self.stream = Some(stream),
                Err(error) => {
                    let failure = self.failure(error);
                    if !failure.retryable() {
                        return Err(failure);
                    }
                    tracing::warn!(error = %failure, "a watch tries again");
                    tokio::time::sleep(wait).await;
                    wait = WAIT_MAX.min(wait * 2);
                }
            }
        }
        self.stream.as_mut().ok_or(StoreError::Closed)
    }

    /// Takes an event: moves the place, and answers the change, if it is one of ours.
    fn take(&mut self, event: Result<RawDocumentBuf, Error>) -> Result<Option<Change>, StoreError> {
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.stream = None;
                let failure = self.failure(error);
                return if failure.retryable() { Ok(None) } else { Err(failure) };
            }
        };
        let event = Bdoc::try_from(event.as_ref()).map_err(|error| self.unreadable(&error))?;
        let token = event.get_document("_id").map_err(|error| self.unreadable(&error))?;
        let bytes = token.to_vec().map_err(|error| self.unreadable(&error))?;
        let token = mongodb::bson::deserialize_from_slice(&bytes);
        self.place = Place::After(token.map_err(|error| self.unreadable(&error))?);
        let token = ResumeToken(encode(&self.identity, &bytes));
        match event.get_str("operationType") {
            Ok("invalidate" | "drop" | "rename" | "dropDatabase") => Err(StoreError::Closed),
            _ => Ok(change(event, token)),
        }
    }

    fn failure(&self, error: Error) -> StoreError {
        if is_gone(&error) {
            return StoreError::WatchLagged { collection: self.collection.clone() };
        }
        self.inside.failure(ACTION, error)
    }

    fn unreadable(&self, error: &dyn std::error::Error) -> StoreError {
        let why = format!("a change of collection {:?} cannot be read: {error}", self.collection);
        StoreError::Damaged { store: "history".into(), why }
    }
}

#[async_trait]
impl Changes for MongoChanges {
    async fn next(&mut self, max: usize) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        loop {
            let event = match changes.is_empty() {
                true => self.stream().await?.next().await,
                false => match self.stream.as_mut().map(|stream| stream.next().now_or_never()) {
                    Some(Some(event)) => event,
                    _ => return Ok(changes),
                },
            };
            match event {
                // Told with the next call, where changes wait to be told first.
                None if changes.is_empty() => return Err(StoreError::Closed),
                None => return Ok(changes),
                Some(event) => match self.take(event) {
                    Ok(change) => changes.extend(change),
                    Err(error) if changes.is_empty() => return Err(error),
                    Err(_) => {
                        self.stream = None;
                        return Ok(changes);
                    }
                },
            }
            if changes.len() >= max.max(1) {
                return Ok(changes);
            }
        }
    }
}

async fn open(inside: &Inside, collection: &str, place: &Place) -> Result<Stream, Error> {
    let collection = inside.watched.collection::<Bdoc>(collection);
    let mut watch = collection.watch().full_document(FullDocumentType::UpdateLookup);
    if inside.pre_images {
        watch = watch.full_document_before_change(FullDocumentBeforeChangeType::WhenAvailable);
    }
    let stream = match place {
        Place::After(token) => watch.start_after(token.clone()).await?,
        Place::At(time) => watch.start_at_operation_time(*time).await?,
        Place::Now => watch.await?,
    };
    Ok(stream.with_type())
}

/// The change that an event tells; `None` for one that nobody is to see.
fn change(mut event: Bdoc, token: ResumeToken) -> Option<Change> {
    let kind = match event.get_str("operationType").ok()? {
        "insert" => ChangeKind::Insert,
        "update" if touches_hidden_only(&event) => return None,
        "replace" | "update" => ChangeKind::Update,
        "delete" => ChangeKind::Delete,
        _ => return None,
    };
    let id = match event.get_document("documentKey").ok()?.get("_id")? {
        Bson::String(id) => id.clone(),
        // Another program's; we have no word for it but its text.
        other => super::values::value_from_bson(other.clone()).to_string(),
    };
    let committed_micros =
        match (event.get_datetime("wallTime"), event.get_timestamp("clusterTime")) {
            (Ok(time), _) => time.timestamp_millis() * 1_000,
            (_, Ok(time)) => i64::from(time.time) * 1_000_000,
            _ => 0,
        };
    let document = match (kind, event.remove("fullDocument")) {
        (ChangeKind::Delete, _) => None,
        (_, Some(Bson::Document(document))) => Some(from_bson(document)),
        // Another program's update of a document that is gone; its delete comes.
        _ => return None,
    };
    let before = match event.remove("fullDocumentBeforeChange") {
        Some(Bson::Document(before)) => Some(from_bson(before)),
        _ => None,
    };
    Some(Change { token, kind, id, document, before, committed_micros })
}

/// Whether an update changed nothing but what stands beside the document.
fn touches_hidden_only(event: &Bdoc) -> bool {
    let Ok(description) = event.get_document("updateDescription") else { return false };
    let updated = description.get_document("updatedFields").ok();
    let removed = description.get_array("removedFields").ok();
    let names = updated.into_iter().flat_map(Bdoc::keys).map(String::as_str);
    let mut names = names.chain(removed.into_iter().flatten().filter_map(Bson::as_str));
    names.all(|name| name == HIDDEN || name.starts_with(&format!("{HIDDEN}.")))
}

fn is_gone(error: &Error) -> bool {
    super::code(error).is_some_and(|code| PLACE_IS_GONE.contains(&code))
}

/// A token as text: `2`, the collection's identity, a dot, and the server's as hexadecimal.
fn encode(identity: &str, token: &[u8]) -> String {
    let mut text = format!("2{identity}.");
    for byte in token {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn decode(text: &str, identity: &str) -> Result<ServerToken, StoreError> {
    let refuse = |why: &str| StoreError::InvalidToken {
        token: text.chars().take(100).collect(),
        why: why.to_owned(),
    };
    let of_nobody = || refuse("it is no token of this history; use one that a watch gave");
    let (of, token) = text
        .strip_prefix('2')
        .and_then(|text| text.rsplit_once('.'))
        .filter(|(_, token)| token.is_ascii() && token.len().is_multiple_of(2))
        .ok_or_else(of_nobody)?;
    let byte = |at: usize| u8::from_str_radix(&token[at..at + 2], 16).ok();
    let bytes: Option<Vec<u8>> = (0..token.len()).step_by(2).map(byte).collect();
    let token = bytes.and_then(|bytes| mongodb::bson::deserialize_from_slice(&bytes).ok());
    let token = token.ok_or_else(of_nobody)?;
    if of != identity {
        return Err(refuse("it is of another collection; watch this one from its own"));
    }
    Ok(token)
}

impl fmt::Debug for MongoChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoChanges")
            .field("collection", &self.collection)
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::doc;

    use super::*;

    #[test]
    fn a_token_survives_its_text_and_belongs_to_its_collection() {
        let bytes = doc! { "_data": "8263" }.to_vec().unwrap();
        let text = encode("orders.v2", &bytes);
        assert!(decode(&text, "orders.v2").is_ok());
        let refusal = |text: &str, of: &str| decode(text, of).unwrap_err().to_string();
        assert!(refusal(&text, "others").contains("another collection"));
        for text in ["", "2", "2.", "2a.zz", "2a.0", "1a.00", &text[..text.len() - 2]] {
            assert!(refusal(text, "orders.v2").contains("no token"), "{text:?}");
        }
    }

    #[test]
    fn an_event_of_what_stands_beside_a_document_is_no_change() {
        let token = || ResumeToken("t".into());
        let event = |updated: Bdoc| {
            doc! {
                "operationType": "update",
                "documentKey": { "_id": "a" },
                "clusterTime": Timestamp { time: 7, increment: 1 },
                "fullDocument": { "n": 1_i64, "_id": "a", HIDDEN: {} },
                "updateDescription": { "updatedFields": updated, "removedFields": [] },
            }
        };
        assert_eq!(change(event(doc! { "_courant.version": 1_i64 }), token()), None);
        let seen = change(event(doc! { "n": 1_i64 }), token()).unwrap();
        assert_eq!((seen.kind, seen.committed_micros), (ChangeKind::Update, 7_000_000));
        assert_eq!(seen.document.unwrap().len(), 2);
    }
}
