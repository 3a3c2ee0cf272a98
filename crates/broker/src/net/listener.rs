//! Accepting and stopping.
//!
//! Each connection gets a place and a task; one too many is closed at once, as Kafka
//! does. A stop takes no new connection and no new request, lets what was read be
//! answered until a deadline, and cuts off what is left.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use courant_log::EmbeddedLog;
use courant_model::limits::{BROKER_ACCEPT_RETRY_MS, BROKER_HANDSHAKE_MS_MAX, BROKER_STOP_MS_MAX};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Bounds, connection, limits::Place};
use crate::{
    BrokerOptions,
    context::{Addresses, Broker, Connection},
    security::{Principal, principal_of},
    telemetry::Telemetry,
};

/// Serves Kafka's protocol until `stop` is cancelled and what is under way has ended,
/// at most [`BROKER_STOP_MS_MAX`] later. The log stays open.
///
/// # Errors
/// When the listener has no address. A failure to accept is told in the log of the
/// process and tried again.
///
/// # Cancel safety
/// Dropped, no new connection is accepted; those that are open go on.
pub async fn serve(
    listener: TcpListener,
    log: Arc<EmbeddedLog>,
    options: BrokerOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    tracing::info!(address = %listener.local_addr()?, "Kafka clients are welcome");
    let bounds = Bounds::new(options.limits);
    let broker = Arc::new(Broker { log, options, bounds, telemetry: Telemetry::new() });
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Some(place) = broker.bounds.place(peer.ip().to_canonical()) else {
                    broker.telemetry.refused.increment(1);
                    if broker.bounds.may_complain() {
                        tracing::warn!(%peer, "a connection was closed: there are too many");
                    }
                    continue;
                };
                let connected = Connected { stream, peer, place, broker: Arc::clone(&broker) };
                let (stop, cut) = (stop.child_token(), cut.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = connected.serve(stop) => {}
                        () = cut.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely; they come back.
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(Duration::from_millis(BROKER_ACCEPT_RETRY_MS)).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(Duration::from_millis(BROKER_STOP_MS_MAX), tasks.wait()).await.is_err() {
        tracing::warn!("Kafka requests were still under way at the stop's deadline; cut off");
        cut.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// A connection that has its place.
struct Connected {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    broker: Arc<Broker>,
}

impl Connected {
    async fn serve(self, closing: CancellationToken) {
        let Self { stream, peer, place: _place, broker } = self;
        let _open = broker.telemetry.connection();
        // Answers are wanted at once.
        let ready = stream.set_nodelay(true).and_then(|()| stream.local_addr());
        let Ok(local) = ready else { return };
        let connection = |certificate| {
            Arc::new(Connection::new(Addresses { peer, local }, closing, certificate))
        };
        let served = match broker.options.security.tls.clone() {
            None => connection::run(stream, &broker, &connection(None)).await,
            Some(config) => {
                let handshake = TlsAcceptor::from(config).accept(stream);
                let limit = Duration::from_millis(BROKER_HANDSHAKE_MS_MAX);
                match timeout(limit, handshake).await {
                    Ok(Ok(stream)) => match certified(&stream) {
                        Ok(name) => connection::run(stream, &broker, &connection(name)).await,
                        Err(nameless) => return complain(&broker, peer, &nameless),
                    },
                    Ok(Err(error)) => return complain(&broker, peer, &error),
                    Err(late) => return complain(&broker, peer, &late),
                }
            }
        };
        match served {
            Ok(()) => {}
            Err(broken) if broken.is_misbehaviour() => complain(&broker, peer, &broken),
            Err(broken) => tracing::debug!(%peer, %broken, "a connection ended"),
        }
    }
}

/// A client certificate says nothing about who its owner is.
#[derive(Debug, thiserror::Error)]
#[error("the client's certificate has no common name; give it one")]
struct Nameless;

/// The principal of a client's certificate, if it has one.
fn certified(stream: &TlsStream<TcpStream>) -> Result<Option<Principal>, Nameless> {
    let certificates = stream.get_ref().1.peer_certificates();
    let first = certificates.and_then(|chain| chain.first());
    first.map(|certificate| principal_of(certificate).ok_or(Nameless)).transpose()
}

/// Tells of a client that has lost its connection by what it did.
fn complain(broker: &Broker, peer: SocketAddr, error: &impl std::fmt::Display) {
    broker.telemetry.broken.increment(1);
    if broker.bounds.may_complain() {
        tracing::warn!(%peer, %error, "a connection was closed");
    }
}
