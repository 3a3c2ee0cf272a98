//! Numbered records posted by writers to a process that is killed again and again, and a
//! ledger of what was acknowledged.
//!
//! The file has a source `http: { method: POST, path: /numbers }`; the records are
//! `{"id": 0, "text": "record number 0"}` and so on.

use std::{
    collections::HashSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{Courant, setting};

/// Records in one request; with a request each 10 ms about 10,000 records a second.
const BATCH: u64 = 100;

/// What was sent, and what was acknowledged. Clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Arc<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: AtomicU64,
    acknowledged: Mutex<HashSet<u64>>,
}

impl Ledger {
    /// Ids below this were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.0.next.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> HashSet<u64> {
        self.0.acknowledged.lock().clone()
    }
}

/// Starts the file, lets two writers post, kills the process at a random moment; as often
/// as `COURANT_CRASH_ROUNDS` says, or the default.
pub(crate) async fn kill_again_and_again(
    file: &Path,
    data: &Path,
    rounds_default: u64,
    ledger: &Ledger,
) {
    let rounds = setting("COURANT_CRASH_ROUNDS", rounds_default);
    let mut seed = std::process::id().into();
    println!("{rounds} rounds, seed {seed}");
    for _ in 0..rounds {
        let courant = Courant::start(file, data);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let (url, client) = (courant.url.clone(), courant.client.clone());
                tokio::spawn(write(url, client, ledger.clone(), Arc::clone(&stop)))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50 + next_random(&mut seed) % 700)).await;
        courant.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.expect("a writer panicked");
        }
    }
}

/// Posts until told to stop or until the process is gone.
async fn write(url: String, client: reqwest::Client, ledger: Ledger, stop: Arc<AtomicBool>) {
    let mut beat = tokio::time::interval(Duration::from_millis(10));
    while !stop.load(Ordering::Relaxed) {
        beat.tick().await;
        let first = ledger.0.next.fetch_add(BATCH, Ordering::Relaxed);
        let mut body = String::new();
        for id in first..first + BATCH {
            body.push_str(&format!("{{\"id\":{id},\"text\":\"record number {id}\"}}\n"));
        }
        let sent = client
            .post(format!("{url}/numbers"))
            .header("content-type", "application/x-ndjson")
            .body(body)
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => {
                ledger.0.acknowledged.lock().extend(first..first + BATCH);
            }
            Ok(answer) => panic!("POST /numbers answered {}", answer.status()),
            Err(_) => return,
        }
    }
}

/// A small generator of round lengths; the seed is printed, so a failure can be repeated.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
