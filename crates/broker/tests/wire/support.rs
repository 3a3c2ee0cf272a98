//! A broker in a folder of its own, and a client that says exactly what it is told.
//!
//! Every wait has a generous end, so that a broken broker fails a test and does not
//! hang it. The client speaks one request at a time unless told otherwise.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use courant_broker::{BrokerOptions, Security, SecurityConfig, serve};
use courant_log::{EmbeddedLog, Log, LogOptions, TopicSettings, TopicSpec};
use courant_model::TopicName;
use kafka_protocol::{
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How long anything may take before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A broker on a port of its own; stops when dropped.
#[derive(Debug)]
pub(crate) struct TestBroker {
    pub(crate) log: Arc<EmbeddedLog>,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<io::Result<()>>,
    _folder: TempDir,
}

impl TestBroker {
    pub(crate) async fn start(options: BrokerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = EmbeddedLog::open(folder.path(), LogOptions::default()).await.unwrap();
        let log = Arc::new(log);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(listener, Arc::clone(&log), options, stop.clone()));
        Self { log, address, stop, served, _folder: folder }
    }

    /// A broker with security options as they stand in a file (here JSON).
    pub(crate) async fn secured(config: &str) -> Self {
        let config: SecurityConfig = serde_json::from_str(config).unwrap();
        let security = Arc::new(Security::open(&config, None).unwrap());
        Self::start(BrokerOptions { security, ..BrokerOptions::default() }).await
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) {
        let (name, settings) = (TopicName::new(name).unwrap(), TopicSettings::default());
        self.log.create_topic(&TopicSpec { name, partitions, settings }).await.unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap())
    }

    pub(crate) async fn tls_client(&self, config: ClientConfig) -> io::Result<Client> {
        let stream = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        Ok(Client::over(connector.connect(name, stream).await?))
    }

    /// Stops and waits for the end.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.served).await.unwrap().unwrap().unwrap();
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection.
pub(crate) struct Client {
    stream: Box<dyn Stream>,
    correlation_id: i32,
}

impl Client {
    fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), correlation_id: 0 }
    }

    /// Asks and waits for the answer.
    pub(crate) async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.try_call(request, version).await.unwrap()
    }

    /// As [`Client::call`]; an error once the broker has closed the connection.
    pub(crate) async fn try_call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> io::Result<R::Response> {
        self.send(request, version).await?;
        self.receive::<R>(version).await
    }

    /// Asks without waiting for the answer.
    pub(crate) async fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.correlation_id += 1;
        let key = ApiKey::try_from(R::KEY).unwrap();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(StrBytes::from_static_str("test")));
        let mut body = BytesMut::new();
        header.encode(&mut body, key.request_header_version(version)).unwrap();
        request.encode(&mut body, version).unwrap();
        self.send_frame(&body).await
    }

    /// Sends bytes behind their length.
    pub(crate) async fn send_frame(&mut self, body: &[u8]) -> io::Result<()> {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(body.len()).unwrap());
        frame.put_slice(body);
        self.send_bytes(&frame).await
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// The next answer, as it came behind its length.
    pub(crate) async fn receive_frame(&mut self) -> io::Result<Bytes> {
        timeout(PATIENCE, self.frame()).await?
    }

    /// The answer to what was asked last.
    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> io::Result<R::Response> {
        self.receive_next::<R>(self.correlation_id, version).await
    }

    /// The next answer, which must be to the request of this number, counted from 1.
    pub(crate) async fn receive_next<R: Request>(
        &mut self,
        number: i32,
        version: i16,
    ) -> io::Result<R::Response> {
        let mut frame = self.receive_frame().await?;
        let header_version = <R::Response as HeaderVersion>::header_version(version);
        let header = ResponseHeader::decode(&mut frame, header_version).unwrap();
        assert_eq!(header.correlation_id, number);
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining(), "the answer is longer than its version says");
        Ok(response)
    }

    /// Sends a frame without a header and waits for one.
    pub(crate) async fn call_bare(&mut self, message: &[u8]) -> io::Result<Vec<u8>> {
        let mut frame = BytesMut::new();
        frame.put_i32(i32::try_from(message.len()).unwrap());
        frame.put_slice(message);
        timeout(PATIENCE, self.stream.write_all(&frame)).await??;
        Ok(timeout(PATIENCE, self.frame()).await??.to_vec())
    }

    /// Waits until the broker closes the connection.
    pub(crate) async fn closed(&mut self) {
        let end = timeout(PATIENCE, self.frame()).await.unwrap();
        assert!(end.is_err(), "an answer came instead of the end: {end:?}");
    }

    async fn frame(&mut self) -> io::Result<Bytes> {
        let length = self.stream.read_i32().await?;
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut frame).await?;
        Ok(frame.into())
    }
}

/// A string as messages want it.
pub(crate) fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}
