//! Any bytes as a client of the broker: answered, refused or cut off, never a panic or
//! unbounded memory. The bytes are sent as they are, and again as the body of a request
//! of every API and version that is spoken.

#![no_main]

use std::sync::{Arc, OnceLock};

use courant_broker::{BrokerOptions, serve};
use courant_log::{EmbeddedLog, LogOptions};
use libfuzzer_sys::fuzz_target;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_util::sync::CancellationToken;

struct Target {
    runtime: Runtime,
    address: std::net::SocketAddr,
}

static TARGET: OnceLock<Target> = OnceLock::new();

/// One broker for all inputs.
fn target() -> &'static Target {
    TARGET.get_or_init(|| {
        let runtime = Runtime::new().expect("a runtime");
        let address = runtime.block_on(async {
            let folder = std::env::temp_dir().join(format!("fuzz-requests-{}", std::process::id()));
            let options = LogOptions::default();
            let (log, _) = EmbeddedLog::open(&folder, options).await.expect("a log");
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let stop = CancellationToken::new();
            tokio::spawn(serve(listener, Arc::new(log), BrokerOptions::default(), stop));
            address
        });
        Target { runtime, address }
    })
}

fuzz_target!(|data: &[u8]| {
    let target = target();
    target.runtime.block_on(async {
        send(target, data).await;
        // The first two bytes choose the API and the version, the rest is the request.
        let [key, version, body @ ..] = data else { return };
        let mut frame = Vec::with_capacity(data.len() + 12);
        frame.extend((body.len() as i32 + 10).to_be_bytes());
        frame.extend([0, key % 92, 0, version % 18]);
        frame.extend([0, 0, 0, 1, 0xff, 0xff]);
        frame.extend(body);
        send(target, &frame).await;
    });
});

/// Sends and reads until the broker has closed.
async fn send(target: &Target, bytes: &[u8]) {
    let mut client = TcpStream::connect(target.address).await.expect("the broker listens");
    if client.write_all(bytes).await.is_ok() && client.shutdown().await.is_ok() {
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer).await;
    }
}
