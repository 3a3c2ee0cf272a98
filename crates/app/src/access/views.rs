//! The views of a running Courant, through its HTTP API. What a view keeps is read while it
//! runs, so there is no other way to it.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    AccessError,
    remote::{EventStream, Remote},
};

/// Address of a running Courant.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct At {
    /// Address of a running Courant
    #[arg(long, value_name = "URL", env = "COURANT_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
}

/// A view as the API tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) sql: String,
    pub(crate) from: Vec<String>,
    pub(crate) to: String,
    pub(crate) key: Option<Vec<String>>,
    pub(crate) records_in: u64,
    pub(crate) late: u64,
    pub(crate) lag: i64,
    /// RFC 3339.
    pub(crate) watermark: Option<String>,
    pub(crate) operators: Vec<Operator>,
}

/// A part of a view's work.
#[derive(Debug, Deserialize)]
pub(crate) struct Operator {
    pub(crate) id: usize,
    pub(crate) inputs: Vec<usize>,
    pub(crate) name: String,
    pub(crate) words: String,
    pub(crate) tables: Vec<String>,
    pub(crate) cost: String,
}

/// Which rows of a store are wanted: names and values of the API's query.
pub(crate) type RowQuery = Vec<(&'static str, String)>;

/// Rows of a store.
#[derive(Debug, Deserialize)]
pub(crate) struct RowPage {
    pub(crate) rows: Vec<Box<RawValue>>,
    /// Behind these rows; `None` at the end.
    pub(crate) next: Option<String>,
}

/// The views of a running Courant.
#[derive(Debug)]
pub(crate) struct Views {
    remote: Remote,
}

impl Views {
    pub(crate) fn at(at: &At) -> Self {
        Self { remote: Remote::new(&at.url) }
    }

    /// All views, as JSON and read.
    pub(crate) async fn list(&self) -> Result<(Value, Vec<View>), AccessError> {
        let mut told: Value = self.remote.ask(&["views"], &[]).await?;
        let told = told["views"].take();
        let views = self.remote.fit(&told)?;
        Ok((told, views))
    }

    /// One view, as JSON and read.
    pub(crate) async fn view(&self, name: &str) -> Result<(Value, View), AccessError> {
        let told: Value = self.remote.ask(&["views", name], &[]).await?;
        let view = self.remote.fit(&told)?;
        Ok((told, view))
    }

    pub(crate) async fn rows(&self, name: &str, query: &RowQuery) -> Result<RowPage, AccessError> {
        self.remote.ask(&["views", name, "store"], query).await
    }

    /// Follows a view; the stream comes back by itself after a cut.
    pub(crate) fn watch(&self, name: &str, query: RowQuery) -> EventStream {
        let path = vec!["views".to_owned(), name.to_owned(), "watch".to_owned()];
        EventStream::new(self.remote.clone(), path, query)
    }
}
