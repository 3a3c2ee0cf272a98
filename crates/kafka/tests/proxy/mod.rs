//! A network that can be cut: carries bytes between a port of its own and another.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU16, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Carries connections to one port of this machine until it is cut.
pub(crate) struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    up: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Proxy {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Arc::new(AtomicU16::new(0));
        let (up, cut) = (Arc::new(AtomicBool::new(true)), Arc::new(Notify::new()));
        let proxy = Self { port, target, up, cut };
        let (target, up, cut) = (proxy.target.clone(), proxy.up.clone(), proxy.cut.clone());
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (target, cut) = (target.load(Ordering::Relaxed), cut.clone());
                if target == 0 || !up.load(Ordering::Relaxed) {
                    continue;
                }
                tokio::spawn(async move {
                    let cut = cut.notified();
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", target)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        () = cut => {}
                    }
                });
            }
        });
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Says where connections go.
    pub(crate) fn lead_to(&self, port: u16) {
        self.target.store(port, Ordering::Relaxed);
    }

    /// Ends all connections and takes no others.
    pub(crate) fn cut(&self) {
        self.up.store(false, Ordering::Relaxed);
        self.cut.notify_waiters();
    }

    pub(crate) fn restore(&self) {
        self.up.store(true, Ordering::Relaxed);
    }
}
