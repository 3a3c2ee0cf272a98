//! Blocking work beside the async runtime, with an owner that outlives it.
//!
//! Disk work runs on the runtime's blocking threads. Dropping an [`Owner`] waits for
//! the work that has started, so that the folder is closed, and may be opened again,
//! as soon as the store is dropped. [`Handle`]s (a watch) do not keep a store open.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use parking_lot::{Condvar, Mutex};

use crate::StoreError;

/// The one strong holder of a store's inside.
pub(crate) struct Owner<T: Send + Sync + 'static> {
    inside: Arc<T>,
    running: Arc<Running>,
}

/// A weak holder, for what may outlive the store.
pub(crate) struct Handle<T: Send + Sync + 'static> {
    inside: Weak<T>,
    running: Arc<Running>,
}

/// How many jobs run, and whether more may start.
#[derive(Debug, Default)]
struct Running {
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: usize,
    closed: bool,
}

impl<T: Send + Sync + 'static> Owner<T> {
    pub(crate) fn new(inside: T) -> Self {
        Self { inside: Arc::new(inside), running: Arc::default() }
    }

    pub(crate) fn handle(&self) -> Handle<T> {
        Handle { inside: Arc::downgrade(&self.inside), running: Arc::clone(&self.running) }
    }

    /// Runs blocking work; `action` names it in an error.
    ///
    /// # Cancel safety
    /// Work that has begun goes on to its end when the caller stops waiting.
    ///
    /// # Errors
    /// The work's own, or a storage failure when it panicked.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&T) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        self.handle().run(action, work).await
    }
}

impl<T: Send + Sync + 'static> Handle<T> {
    /// As [`Owner::run`]; [`StoreError::Closed`] once the store is gone.
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        action: &'static str,
        work: impl FnOnce(&T) -> Result<R, StoreError> + Send + 'static,
    ) -> Result<R, StoreError> {
        let job = self.job().ok_or(StoreError::Closed)?;
        let joined = tokio::task::spawn_blocking(move || match &job.inside {
            Some(inside) => work(inside),
            None => Err(StoreError::Closed),
        })
        .await;
        joined.unwrap_or_else(|error| {
            Err(if error.is_panic() {
                StoreError::storage(action, error)
            } else {
                StoreError::Closed
            })
        })
    }

    fn job(&self) -> Option<Job<T>> {
        let mut state = self.running.state.lock();
        if state.closed {
            return None;
        }
        let inside = self.inside.upgrade()?;
        state.jobs += 1;
        Some(Job { inside: Some(inside), running: Arc::clone(&self.running) })
    }
}

impl<T: Send + Sync + 'static> std::ops::Deref for Owner<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inside
    }
}

impl<T: Send + Sync + 'static> Drop for Owner<T> {
    fn drop(&mut self) {
        let mut state = self.running.state.lock();
        state.closed = true;
        self.running.idle.wait_while(&mut state, |state| state.jobs > 0);
    }
}

/// One job; lets go of the inside before it counts itself out.
struct Job<T> {
    inside: Option<Arc<T>>,
    running: Arc<Running>,
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        self.inside = None;
        self.running.state.lock().jobs -= 1;
        self.running.idle.notify_all();
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Owner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("running", &self.running).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("running", &self.running).finish_non_exhaustive()
    }
}
