//! The lookup `sql`: asks a database for the rows that belong to a record.
//!
//! Sessions only read. Each question takes one of those that are idle, or connects; how
//! many there are follows from how many questions are open. A value that the database
//! cannot take refuses the question; all else is tried again.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use courant_model::{
    json::FieldPath,
    limits::{LOOKUP_ANSWER_BYTES_MAX, LOOKUP_ROWS_MAX},
};
use courant_pipeline::{
    connector::{
        About, Answer, ConnectorError, Lookup, LookupContext, LookupFactory, LookupKind,
        OptionProblem,
    },
    options,
};
use parking_lot::Mutex;
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;

use super::{
    address::Address,
    cell::Kind,
    query::Query,
    session::{self, Fault, Purpose, Session},
};

/// The entry in the list of lookups.
pub(crate) const LOOKUP: LookupKind = LookupKind {
    about: About {
        name: "sql",
        summary: "Asks a MySQL, MariaDB, PostgreSQL or SQLite database; parameters are bound, \
                  sessions only read.",
        guarantee: "Values come as change data capture writes them: decimals and times as text, \
                    bytes as Base64. A database that is away is asked again; a value that it \
                    cannot take makes the record a dead letter.",
        example: "sql: { url: \"sqlite:shop.db\", query: \"SELECT name FROM customers WHERE id = :customerNumber\" }\ninto: customer",
        schema: || schema_for!(Options),
    },
    parse,
};

/// Options of `sql` as a lookup.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The database, as for the target `sql`.
    #[schemars(length(min = 1))]
    url: String,
    /// The query; :field is the value of the record's field, :customer.id of one within.
    #[schemars(length(min = 1))]
    query: String,
    /// Certificates to trust beside the public ones: a PEM file.
    ca: Option<String>,
}

fn parse(value: &Value) -> Result<Arc<dyn LookupFactory>, Vec<OptionProblem>> {
    let options: Options = options::parse(value)?;
    let address = Address::read(&options.url, options.ca.as_deref());
    let query = Query::parse(&options.query).map_err(|message| {
        let (what, remedy) = message.split_once("; ").unwrap_or((&message, "mend the query"));
        super::problem("query", what, remedy)
    });
    match (address, query) {
        (Ok(address), Ok(query)) => Ok(Arc::new(Factory { address, query: Arc::new(query) })),
        (address, query) => Err([address.err(), query.err()].into_iter().flatten().collect()),
    }
}

#[derive(Debug)]
struct Factory {
    address: Address,
    query: Arc<Query>,
}

impl LookupFactory for Factory {
    fn parameters(&self) -> &[FieldPath] {
        &self.query.parameters
    }

    fn has_many(&self) -> bool {
        true
    }

    fn open(&self, context: LookupContext) -> Result<Arc<dyn Lookup>, ConnectorError> {
        Ok(Arc::new(SqlLookup {
            address: self.address.clone(),
            base: context.base,
            query: Arc::clone(&self.query),
            many: context.many,
            idle: Mutex::new(Vec::new()),
        }))
    }
}

#[derive(Debug)]
struct SqlLookup {
    address: Address,
    base: PathBuf,
    query: Arc<Query>,
    many: bool,
    idle: Mutex<Vec<Box<dyn Session>>>,
}

impl SqlLookup {
    async fn rows(&self, parameters: &[Value]) -> Result<Vec<Value>, Fault> {
        let values = parameters.iter().map(|value| Kind::Any.cell(value));
        let values = values.collect::<Result<Vec<_>, _>>().map_err(Fault::Data)?;
        // Taken out: a question that is dropped half-way drops its session too.
        let idle = self.idle.lock().pop();
        let mut session = match idle {
            Some(session) => session,
            None => session::connect(&self.address, &self.base, Purpose::Read).await?,
        };
        // One more than may be, to tell that there are more.
        let rows = if self.many { LOOKUP_ROWS_MAX + 1 } else { 1 };
        let found = session.query(&self.query, &values, rows).await;
        if matches!(found, Ok(_) | Err(Fault::Data(_))) {
            self.idle.lock().push(session);
        }
        found
    }
}

#[async_trait]
impl Lookup for SqlLookup {
    async fn ask(&self, parameters: &[Value]) -> Result<Answer, ConnectorError> {
        let attempt = || format!("ask {}", self.address);
        let mut found = self.rows(parameters).await;
        if matches!(found, Err(Fault::Stale(_))) {
            // A prepared statement may be older than the table.
            found = self.rows(parameters).await;
        }
        match found {
            Ok(rows) if rows.len() > LOOKUP_ROWS_MAX => {
                let why = format!("the answer has more than {LOOKUP_ROWS_MAX} rows; add a LIMIT");
                Ok(Answer::Refused(why))
            }
            Ok(rows) => {
                let size: usize = rows.iter().map(|row| row.to_string().len()).sum();
                if size > LOOKUP_ANSWER_BYTES_MAX {
                    let why = format!(
                        "the answer has {size} bytes; {LOOKUP_ANSWER_BYTES_MAX} are allowed"
                    );
                    return Ok(Answer::Refused(why));
                }
                Ok(Answer::Found(rows))
            }
            Err(Fault::Data(why)) => Ok(Answer::Refused(format!("{}: {why}", attempt()))),
            Err(Fault::Stale(why)) => Err(Fault::Refused(why).into_error(&attempt())),
            Err(fault) => Err(fault.into_error(&attempt())),
        }
    }
}

#[cfg(test)]
mod tests;
