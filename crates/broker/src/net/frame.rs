//! Frames off the wire: four bytes of length, then a request.
//!
//! What a length claims reserves nothing: memory grows with what has arrived, and a
//! large frame waits for its share of the memory that all connections have together
//! before its bulk is read. Small frames need no share. A frame that has begun must
//! go on arriving, or its connection ends.
//!
//! A frame is a slice of the read buffer, so that records need no copy; whoever keeps
//! parts of a request for long copies them.

use std::{io, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use courant_model::limits::{
    BROKER_FRAME_BYTES_PER_MS_MIN, BROKER_FRAME_MS_MAX, BROKER_READ_BYTES_MAX,
    BROKER_READ_BYTES_MIN, BROKER_REQUEST_BYTES_MAX, BROKER_UNAUTHENTICATED_BYTES_MAX,
};
use kafka_protocol::messages::ApiKey;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use super::Bounds;

/// Bytes of a request's shortest header: key, version, correlation id.
const HEADER_BYTES_MIN: usize = 8;

/// A request as it came, with its share of the memory.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Bytes,
    pub(super) memory: Option<OwnedSemaphorePermit>,
}

impl Frame {
    /// Whether it asks for records, and so may wait behind another that does.
    pub(super) fn is_fetch(&self) -> bool {
        self.bytes.starts_with(&(ApiKey::Fetch as i16).to_be_bytes())
    }
}

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of {found} bytes is out of bounds; up to {max} are allowed")]
    Length { found: i32, max: usize },
    #[error("a frame has not arrived in time")]
    Late,
    #[error("the connection was silent")]
    Silent,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Reads frames from a stream.
#[derive(Debug)]
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    /// Bytes to make room for before a read: what the last frames were like.
    chunk: usize,
    request_bytes_max: usize,
    idle: Duration,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R, request_bytes_max: usize, idle: Duration) -> Self {
        let (buffer, chunk) = (BytesMut::new(), BROKER_READ_BYTES_MIN);
        Self { stream, buffer, chunk, request_bytes_max, idle }
    }

    /// The next frame; `None` once the client has closed. While the client is not
    /// `trusted` only small ones are, which need no header: they may be messages of an
    /// authentication alone.
    ///
    /// # Errors
    /// [`FrameError`]; nothing can be read after one but [`FrameError::Silent`].
    ///
    /// # Cancel safety
    /// Not safe: the frame under way is lost.
    pub(super) async fn next(
        &mut self,
        bounds: &Bounds,
        trusted: impl Fn() -> bool,
    ) -> Result<Option<Frame>, FrameError> {
        if self.buffer.is_empty() {
            self.buffer.reserve(self.chunk);
            let read =
                timeout_at(Instant::now() + self.idle, self.stream.read_buf(&mut self.buffer));
            if read.await.map_err(|_| FrameError::Silent)?? == 0 {
                return Ok(None);
            }
        }
        let begun = Instant::now();
        let in_ms = |ms: u64| begun + Duration::from_millis(ms);
        let header = if trusted() { HEADER_BYTES_MIN } else { 0 };
        self.fill(4 + header, in_ms(BROKER_FRAME_MS_MAX)).await?;
        let length = self.length(header)?;
        let size = 4 + length;
        let time = BROKER_FRAME_MS_MAX + length as u64 / BROKER_FRAME_BYTES_PER_MS_MIN;
        let mut memory = None;
        if size > BROKER_READ_BYTES_MAX {
            // Some of it must have come before it is believed.
            self.fill(BROKER_READ_BYTES_MAX, in_ms(time)).await?;
            memory = bounds.memory(size).await;
            self.buffer.reserve(size - self.buffer.len());
            let time = Duration::from_millis(time);
            self.fill(size, Instant::now() + time).await?;
        } else {
            self.fill(size, in_ms(time)).await?;
        }
        self.chunk = (2 * size).clamp(BROKER_READ_BYTES_MIN, BROKER_READ_BYTES_MAX);
        self.buffer.advance(4);
        Ok(Some(Frame { bytes: self.buffer.split_to(length).freeze(), memory }))
    }

    /// The length of the frame at the front, checked against its API's bound; without a
    /// `header` against that of a client that nobody knows.
    fn length(&self, header: usize) -> Result<usize, FrameError> {
        let mut front = &self.buffer[..];
        let found = front.get_i32();
        let max = match header {
            0 => BROKER_UNAUTHENTICATED_BYTES_MAX,
            _ if front.get_i16() == ApiKey::Produce as i16 => self.request_bytes_max,
            _ => BROKER_REQUEST_BYTES_MAX,
        };
        match usize::try_from(found) {
            Ok(length) if (header..=max).contains(&length) => Ok(length),
            _ => Err(FrameError::Length { found, max }),
        }
    }

    /// Reads until the buffer holds so many bytes.
    async fn fill(&mut self, bytes: usize, until: Instant) -> Result<(), FrameError> {
        while self.buffer.len() < bytes {
            let missing = bytes - self.buffer.len();
            if self.buffer.capacity() == self.buffer.len() {
                // Doubles what has come, at most by what is missing.
                let come = self.buffer.len().max(self.chunk);
                self.buffer.reserve(missing.min(come));
            }
            let read = timeout_at(until, self.stream.read_buf(&mut self.buffer));
            if read.await.map_err(|_| FrameError::Late)?? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::Limits;

    const IDLE: Duration = Duration::from_secs(600);

    fn request(key: ApiKey, body: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.put_i32(8 + body.len() as i32);
        frame.put_i16(key as i16);
        frame.put_slice(&[0; 6]);
        frame.put_slice(body);
        frame
    }

    async fn read_all(bytes: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        let bounds = Bounds::new(Limits::default());
        let mut reader = FrameReader::new(bytes, 1 << 20, IDLE);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&bounds, || true).await? {
            frames.push(frame.bytes);
        }
        Ok(frames)
    }

    #[tokio::test]
    async fn a_length_that_is_out_of_bounds_ends_the_connection() {
        for length in [-1, 0, 7, BROKER_REQUEST_BYTES_MAX as i32 + 1, i32::MAX] {
            let mut frame = request(ApiKey::Metadata, &[]);
            frame[..4].copy_from_slice(&length.to_be_bytes());
            let error = read_all(&frame).await.unwrap_err();
            assert!(matches!(error, FrameError::Length { found, .. } if found == length));
        }
    }

    #[tokio::test]
    async fn a_client_that_nobody_knows_may_send_little() {
        let bounds = Bounds::new(Limits::default());
        let frame = request(ApiKey::Produce, &vec![0; BROKER_UNAUTHENTICATED_BYTES_MAX]);
        let mut reader = FrameReader::new(&frame[..], 1 << 20, IDLE);
        let refused = reader.next(&bounds, || false).await;
        assert!(matches!(refused, Err(FrameError::Length { .. })), "{refused:?}");
        let mut reader = FrameReader::new(&frame[..], 1 << 20, IDLE);
        assert!(reader.next(&bounds, || true).await.is_ok());
    }

    #[tokio::test]
    async fn a_torn_frame_is_an_error_and_a_whole_one_before_it_is_read() {
        let mut bytes = request(ApiKey::Metadata, b"whole");
        bytes.extend(&request(ApiKey::Metadata, b"torn")[..10]);
        let bounds = Bounds::new(Limits::default());
        let mut reader = FrameReader::new(&bytes[..], 1 << 20, IDLE);
        assert_eq!(&reader.next(&bounds, || true).await.unwrap().unwrap().bytes[8..], b"whole");
        assert!(matches!(reader.next(&bounds, || true).await, Err(FrameError::Io(_))));
    }

    #[tokio::test]
    async fn a_claimed_length_reserves_no_memory() {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut frame = request(ApiKey::Produce, &[]);
        frame[..4].copy_from_slice(&(64i32 << 20).to_be_bytes());
        client.write_all(&frame).await.unwrap();
        drop(client);
        let bounds = Bounds::new(Limits::default());
        let mut reader = FrameReader::new(server, 100 << 20, IDLE);
        assert!(matches!(reader.next(&bounds, || true).await, Err(FrameError::Io(_))));
        assert!(reader.buffer.capacity() <= 2 * BROKER_READ_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_or_trickles_is_let_go() {
        let bounds = Bounds::new(Limits::default());
        let (_client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, 1 << 20, IDLE);
        assert!(matches!(reader.next(&bounds, || true).await, Err(FrameError::Silent)));

        let (mut client, server) = tokio::io::duplex(64);
        let mut reader = FrameReader::new(server, 1 << 20, IDLE);
        client.write_all(&request(ApiKey::Metadata, b"long enough")[..13]).await.unwrap();
        assert!(matches!(reader.next(&bounds, || true).await, Err(FrameError::Late)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_frame_waits_for_memory() {
        let limits = Limits {
            request_bytes: courant_model::ByteSize::from_bytes(1 << 20),
            requests_bytes: courant_model::ByteSize::from_bytes(1 << 20),
            ..Limits::default()
        };
        let bounds = Bounds::new(limits);
        let frame = request(ApiKey::Produce, &vec![7; 600_000]);
        let mut first = FrameReader::new(&frame[..], 1 << 20, IDLE);
        let held = first.next(&bounds, || true).await.unwrap().unwrap();
        let mut second = FrameReader::new(&frame[..], 1 << 20, IDLE);
        let waiting = second.next(&bounds, || true);
        tokio::pin!(waiting);
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(held);
        assert_eq!(waiting.await.unwrap().unwrap().bytes.len(), 600_008);
    }

    proptest! {
        #[test]
        fn frames_come_through_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2_000), 1..8),
            pipe in 1usize..5_000,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let frames: Vec<_> = bodies.iter().map(|body| request(ApiKey::Fetch, body)).collect();
            let read = runtime.block_on(async {
                let (mut client, server) = tokio::io::duplex(pipe);
                let bytes = frames.concat();
                let write = async move { client.write_all(&bytes).await.unwrap() };
                let read = async {
                    let bounds = Bounds::new(Limits::default());
                    let mut reader = FrameReader::new(server, 1 << 20, IDLE);
                    let mut read = Vec::new();
                    while let Some(frame) = reader.next(&bounds, || true).await.unwrap() {
                        read.push(frame.bytes.slice(8..).to_vec());
                    }
                    read
                };
                tokio::join!(write, read).1
            });
            prop_assert_eq!(read, bodies);
        }
    }
}
