//! Listening and stopping.
//!
//! Connections are bounded in number, and one whose client does not read is closed
//! after a while, so that a stalled subscriber holds no place for ever. A stop takes
//! no new connection, ends the streams, lets requests finish until a deadline, and
//! cuts off what is left.

use std::{
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, serve::Listener};
use courant_model::limits::{HTTP_CONNECTIONS_MAX, HTTP_STOP_MS_MAX, HTTP_WRITE_STALL_MS_MAX};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};
use tokio_util::sync::CancellationToken;

/// Serves until `stop` is cancelled and what is under way has ended, at most
/// [`HTTP_STOP_MS_MAX`] later. `stop` is the token of the router's context, so that
/// its streams end as well.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: CancellationToken,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(HTTP_CONNECTIONS_MAX));
    let write_stall = Duration::from_millis(HTTP_WRITE_STALL_MS_MAX);
    let listener = Bounded { listener, places, write_stall };
    let server =
        axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let deadline = async {
        stop.cancelled().await;
        sleep(Duration::from_millis(HTTP_STOP_MS_MAX)).await;
    };
    tokio::select! {
        served = server.into_future() => served,
        () = deadline => {
            tracing::warn!("requests were still under way at the stop's deadline; they were cut off");
            Ok(())
        }
    }
}

/// A listener that hands out a bounded number of connections.
struct Bounded {
    listener: TcpListener,
    places: Arc<Semaphore>,
    write_stall: Duration,
}

impl Listener for Bounded {
    type Io = Connection<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Events are small and wanted at once.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%address, %error, "a connection keeps its small writes back");
        }
        (
            Connection { stream, write_stall: self.write_stall, stalled: None, _place: place },
            address,
        )
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection whose writes fail once its client has not read for a while.
struct Connection<S> {
    stream: S,
    write_stall: Duration,
    /// Runs while a write waits for the client.
    stalled: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<S> Connection<S> {
    /// Passes a write's outcome on; one that waits for too long fails.
    fn watch(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if outcome.is_ready() {
            self.stalled = None;
            return outcome;
        }
        let write_stall = self.write_stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(write_stall)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    fn connection(bytes: usize) -> (Connection<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (stream, client) = duplex(bytes);
        let write_stall = Duration::from_millis(HTTP_WRITE_STALL_MS_MAX);
        (Connection { stream, write_stall, stalled: None, _place: None }, client)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut_off() {
        let (mut connection, _client) = connection(4);
        let error = connection.write_all(b"more than four").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_slowly_is_not_cut_off() {
        let (mut connection, mut client) = connection(1);
        let reader = tokio::spawn(async move {
            let mut read = Vec::new();
            while read.len() < 6 {
                sleep(Duration::from_millis(HTTP_WRITE_STALL_MS_MAX / 2)).await;
                read.push(client.read_u8().await.unwrap());
            }
            read
        });
        connection.write_all(b"slowly").await.unwrap();
        assert_eq!(reader.await.unwrap(), b"slowly");
    }
}
