//! One client's connection: frames in, answers out, in order.
//!
//! Three loops run in one task. Reading keeps a few frames ahead and notices when the
//! client goes; working takes one request after the other, as Kafka does; writing
//! sends what is ready, as much as there is with one call. Only produce requests
//! overlap: their batches are handed to the log in order, and the next request is
//! taken while they become durable.
//!
//! When the client has gone or the broker stops, requests that were read are still
//! worked on, but nothing waits any more.

use std::{collections::VecDeque, io, io::IoSlice, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use courant_model::limits::{
    BROKER_PIPELINED_MAX, BROKER_WRITE_SLICES_MAX, BROKER_WRITE_STALL_MS_MAX,
};
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::timeout,
};

use super::{
    frame::{Frame, FrameError, FrameReader},
    guard::Guard,
};
use crate::{
    context::{Broker, Connection, Context},
    dispatch::{self, Call, Refused, Reply},
};

/// Why a connection ended other than by its client's will.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("{0}")]
    Unauthenticated(&'static str),
    #[error("the client does not read its answers")]
    Stalled,
    #[error(transparent)]
    Write(io::Error),
}

impl Broken {
    /// Whether the client did what no client should.
    pub(super) const fn is_misbehaviour(&self) -> bool {
        match self {
            Self::Frame(FrameError::Io(_) | FrameError::Silent) | Self::Write(_) => false,
            Self::Frame(_) | Self::Refused(_) | Self::Unauthenticated(_) | Self::Stalled => true,
        }
    }
}

/// An answer on its way to the writer, with its request's place and memory.
struct Answer {
    reply: BoxFuture<'static, Result<Option<Bytes>, Refused>>,
    _place: OwnedSemaphorePermit,
    _memory: [Option<OwnedSemaphorePermit>; 2],
}

/// Serves a connection until its client closes it, misbehaves, or the broker stops.
///
/// # Errors
/// [`Broken`].
pub(super) async fn run<S>(
    stream: S,
    broker: &Arc<Broker>,
    connection: &Arc<Connection>,
) -> Result<(), Broken>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (read, write) = tokio::io::split(stream);
    let limits = &broker.options.limits;
    let reader = FrameReader::new(read, limits.request_bytes.as_usize(), limits.idle);
    let (frames_in, frames) = mpsc::channel(BROKER_PIPELINED_MAX);
    let (answers_in, answers) = mpsc::channel(BROKER_PIPELINED_MAX);
    let places = Arc::new(Semaphore::new(BROKER_PIPELINED_MAX));
    tokio::try_join!(
        read_frames(reader, broker, connection, &places, frames_in),
        work(broker, connection, &places, frames, answers_in),
        write_answers(write, broker, answers),
    )?;
    Ok(())
}

/// Reads until the client closes or the broker stops.
async fn read_frames<R: AsyncRead + Unpin>(
    mut reader: FrameReader<R>,
    broker: &Broker,
    connection: &Connection,
    places: &Semaphore,
    frames: mpsc::Sender<Frame>,
) -> Result<(), Broken> {
    loop {
        connection.unmuted().await;
        let frame = tokio::select! {
            biased;
            frame = reader.next(&broker.bounds, || connection.is_authenticated()) => frame,
            () = connection.closing.cancelled() => return Ok(()),
        };
        let frame = match frame {
            // It waits for an answer, and may well be silent meanwhile.
            Err(FrameError::Silent) if places.available_permits() < BROKER_PIPELINED_MAX => {
                continue;
            }
            frame => frame?,
        };
        let Some(frame) = frame else { break };
        broker.telemetry.received_bytes.increment(frame.bytes.len() as u64 + 4);
        if frames.send(frame).await.is_err() {
            break;
        }
    }
    connection.closing.cancel();
    Ok(())
}

/// Takes one request after the other; hands the answers on in the same order.
async fn work(
    broker: &Arc<Broker>,
    connection: &Arc<Connection>,
    places: &Arc<Semaphore>,
    frames: mpsc::Receiver<Frame>,
    answers: mpsc::Sender<Answer>,
) -> Result<(), Broken> {
    let mut frames = Frames { frames, next: None };
    let mut guard = Guard::new(broker, connection);
    while let Some(Frame { bytes, memory }) = guard.next(&mut frames).await? {
        if guard.expects_bare_message() {
            let answer = guard.authenticate_bare(&bytes).await?;
            let Ok(place) = Arc::clone(places).acquire_owned().await else { break };
            let reply = future::ready(Ok(Some(answer))).boxed();
            let answer = Answer { reply, _place: place, _memory: [memory, None] };
            if answers.send(answer).await.is_err() {
                break;
            }
            continue;
        }
        let size = bytes.len();
        let call = Call::open(bytes)?;
        broker.telemetry.request(call.api);
        let context = guard.admit(&call, size)?;
        // Whatever is not produced waits for what was produced before it.
        let needed = if call.overlaps() { 1 } else { BROKER_PIPELINED_MAX as u32 };
        let Ok(place) = Arc::clone(places).acquire_many_owned(needed).await else { break };
        let handled = if call.authenticates() {
            guard.authenticate(&context, &call).await.map(Some)
        } else if call.waits() {
            wait_for(&context, &call, &mut frames).await
        } else {
            dispatch::handle(&context, &call).await.map(Some)
        };
        let Some(reply) = handled? else { continue };
        let (reply, answer_memory) = match reply {
            Reply::Ready(bytes, memory) => (future::ready(Ok(Some(bytes))).boxed(), memory),
            Reply::Later(reply) => (reply, None),
        };
        let answer = Answer { reply, _place: place, _memory: [memory, answer_memory] };
        if answers.send(answer).await.is_err() {
            break;
        }
        if guard.has_failed() {
            connection.closing.cancel();
            break;
        }
    }
    Ok(())
}

/// Works on a request that may wait; `None` once nobody waits for its answer. It is
/// told to hurry when another request comes up behind it, since that one's answer has
/// to come after.
async fn wait_for(
    context: &Context,
    call: &Call,
    frames: &mut Frames,
) -> Result<Option<Reply>, Refused> {
    let handled = dispatch::handle(context, call);
    tokio::pin!(handled);
    loop {
        tokio::select! {
            biased;
            reply = &mut handled => return reply.map(Some),
            () = context.connection.closing.cancelled(), if !call.ends_early() => return Ok(None),
            () = frames.come(), if frames.next.is_none() => {
                if frames.next.as_ref().is_some_and(|frame| !frame.is_fetch()) {
                    context.hurry.cancel();
                }
            }
        }
    }
}

/// Frames in order, with a look at the next one.
pub(super) struct Frames {
    frames: mpsc::Receiver<Frame>,
    next: Option<Frame>,
}

impl Frames {
    pub(super) async fn next(&mut self) -> Option<Frame> {
        match self.next.take() {
            Some(frame) => Some(frame),
            None => self.frames.recv().await,
        }
    }

    /// Waits until there is a next frame; for ever when there will be none.
    async fn come(&mut self) {
        match self.frames.recv().await {
            Some(frame) => self.next = Some(frame),
            None => future::pending().await,
        }
    }
}

/// Writes answers in order; those that are ready go together.
async fn write_answers<W: AsyncWrite + Unpin>(
    mut stream: W,
    broker: &Broker,
    mut answers: mpsc::Receiver<Answer>,
) -> Result<(), Broken> {
    let mut ready = VecDeque::new();
    let mut next = None;
    loop {
        let mut answer = match next.take() {
            Some(answer) => answer,
            None => match answers.recv().await {
                Some(answer) => answer,
                None => break,
            },
        };
        ready.extend((&mut answer.reply).await?);
        drop(answer);
        while ready.len() < BROKER_WRITE_SLICES_MAX
            && let Ok(mut answer) = answers.try_recv()
        {
            match (&mut answer.reply).now_or_never() {
                Some(reply) => ready.extend(reply?),
                None => {
                    next = Some(answer);
                    break;
                }
            }
        }
        let bytes: usize = ready.iter().map(Bytes::len).sum();
        write_all(&mut stream, &mut ready).await?;
        broker.telemetry.sent_bytes.increment(bytes as u64);
    }
    stream.shutdown().await.map_err(Broken::Write)
}

async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    ready: &mut VecDeque<Bytes>,
) -> Result<(), Broken> {
    while !ready.is_empty() {
        let slices: Vec<_> = ready.iter().map(|bytes| IoSlice::new(bytes)).collect();
        let stall = Duration::from_millis(BROKER_WRITE_STALL_MS_MAX);
        let written = timeout(stall, stream.write_vectored(&slices));
        let mut written = written.await.map_err(|_| Broken::Stalled)?.map_err(Broken::Write)?;
        if written == 0 {
            return Err(Broken::Write(io::ErrorKind::WriteZero.into()));
        }
        while let Some(front) = ready.front_mut()
            && written > 0
        {
            let step = written.min(front.len());
            front.advance(step);
            written -= step;
            if front.is_empty() {
                ready.pop_front();
            }
        }
    }
    // Bytes may rest within TLS.
    timeout(Duration::from_millis(BROKER_WRITE_STALL_MS_MAX), stream.flush())
        .await
        .map_err(|_| Broken::Stalled)?
        .map_err(Broken::Write)
}
