//! The embedded log passes the conformance suite of its role, in a folder of its own
//! for each behaviour.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{EmbeddedLog, Log, LogOptions, conformance::LogHarness};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl LogHarness for Folder {
    async fn open(&self) -> Arc<dyn Log> {
        Arc::new(EmbeddedLog::open(self.0.path(), LogOptions::default()).await.unwrap().0)
    }
}

crate::log_conformance!(Folder::new());
crate::transaction_conformance!(Folder::new());
