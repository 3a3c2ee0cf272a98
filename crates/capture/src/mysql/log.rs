//! From events of the binary log to changes: the state between one event and the next.
//!
//! Pure: no connection, no clock. Follows files and offsets, GTIDs, the edges of
//! transactions and the maps of tables. Its place is a boundary exactly when no
//! transaction is open; only boundaries become positions. What needs the server (how a
//! table is read, what a statement did) is answered as a [`Step`].

use std::{collections::HashMap, sync::Arc};

use courant_model::time::Origin;

use super::{
    bytes::{Bytes, Fault, Parsed, unfold_event},
    gtid::Gtids,
    position::{LogPlace, Within},
    rows::{self, RowsKind, Trouble},
    statement::Statement,
    table_map::{Plan, TableMap},
};
use crate::{
    change::{Change, Transaction},
    error::CaptureError,
};

/// An event as it stands in the log, without its checksum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) kind: u8,
    /// Seconds since the epoch.
    pub(super) time: u32,
    pub(super) server: u32,
    /// Where the event ends, modulo 2^32; 0 for events that are in no file.
    pub(super) end: u32,
    pub(super) body: &'a [u8],
}

/// What is to be done outside before the next event.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing; changes may have been added.
    Next,
    /// Rows of this table follow: give a plan with [`Log::set_plan`].
    Plan { id: u64, map: Vec<u8>, database: String, table: String },
    /// A statement changed schemas or rows.
    Statement {
        database: String,
        text: String,
        statement: Statement,
        transaction: Arc<Transaction>,
    },
    /// The log is quiet.
    Heartbeat,
    /// The file ended within a transaction: its server crashed and forgot it.
    Abandoned { transaction: Arc<Transaction> },
}

/// Where the log is being read.
#[derive(Debug)]
pub(super) struct Log {
    /// The last boundary.
    boundary: LogPlace,
    /// The end of the last event.
    end: u64,
    gtids: Option<Gtids>,
    open: Option<Open>,
    /// Table id → the map's bytes and how to read the rows; `None` when not captured.
    plans: HashMap<u64, (Vec<u8>, Option<Arc<Plan>>)>,
    /// Changes that were handed on before.
    within: Option<Within>,
    /// Whether the stream's first event has named its file.
    begun: bool,
}

/// A transaction between its first and its last event.
#[derive(Debug)]
struct Open {
    transaction: Arc<Transaction>,
    /// What the transaction adds to the GTIDs.
    gtid: Option<Gtid>,
    /// Captured changes so far.
    changes: u64,
    /// Whether it goes on to an XID or COMMIT, rather than being one statement.
    many: bool,
}

#[derive(Debug, Clone, Copy)]
enum Gtid {
    MariaDb { domain: u32, server: u32, sequence: u64 },
    MySql { server: [u8; 16], number: u64 },
}

/// What a log is read with from its first event on.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) place: LogPlace,
    pub(super) gtids: Option<Gtids>,
    pub(super) within: Option<Within>,
}

impl Log {
    pub(super) fn new(start: Start) -> Self {
        let Start { place, gtids, within } = start;
        let end = place.offset;
        let (open, plans, begun) = (None, HashMap::new(), false);
        Self { boundary: place, end, gtids, open, plans, within, begun }
    }

    /// The last boundary.
    pub(super) const fn place(&self) -> &LogPlace {
        &self.boundary
    }

    pub(super) const fn gtids(&self) -> Option<&Gtids> {
        self.gtids.as_ref()
    }

    /// Whether the server has said where the stream begins and no transaction is open.
    pub(super) const fn at_boundary(&self) -> bool {
        self.open.is_none() && self.begun
    }

    /// What was handed on of the transaction that follows the boundary.
    pub(super) fn within(&self) -> Option<Within> {
        match &self.open {
            Some(open) if open.changes > 0 => {
                let transaction = open.transaction.id.clone();
                Some(Within { transaction, changes: open.changes })
            }
            _ => self.within.clone(),
        }
    }

    /// Says how rows of a table's map are read; `None` skips them.
    pub(super) fn set_plan(&mut self, id: u64, map: Vec<u8>, plan: Option<Arc<Plan>>) {
        self.plans.insert(id, (map, plan));
    }

    /// Forgets how tables are read: a statement may have changed them.
    pub(super) fn forget_plans(&mut self) {
        self.plans.clear();
    }

    /// Takes one event; its changes are added to `out`.
    ///
    /// # Errors
    /// When the event cannot be read or followed.
    pub(super) fn read(
        &mut self,
        event: Event<'_>,
        out: &mut Vec<Change>,
    ) -> Result<Step, CaptureError> {
        self.move_end(event);
        let position = self.boundary.to_string();
        self.dispatch(event, out).map_err(|trouble| trouble.at(position))
    }

    fn dispatch(&mut self, event: Event<'_>, out: &mut Vec<Change>) -> Result<Step, Trouble> {
        if let Some(kind) = RowsKind::of(event.kind) {
            return self.read_rows(kind, event, out);
        }
        match event.kind {
            2 | 165 => return self.read_query(event),
            4 => {
                if let Some(transaction) = self.read_rotate(event)? {
                    return Ok(Step::Abandoned { transaction });
                }
            }
            16 => self.close(),
            19 => return self.read_table_map(event),
            27 | 41 => {
                self.settle();
                return Ok(Step::Heartbeat);
            }
            33 | 34 => self.read_mysql_gtid(event)?,
            162 => self.read_maria_db_gtid(event)?,
            18 => {
                let (position, statement) = (self.boundary.to_string(), "LOAD DATA INFILE".into());
                return Err(Trouble::Error(CaptureError::Statement { position, statement }));
            }
            20..=22 => {
                return Err(self.unsupported("rows of MySQL 5.1's format", "upgrade the server"));
            }
            26 => {
                let remedy = "take a new snapshot: start without a position";
                return Err(self.unsupported("an incident: the server lost events", remedy));
            }
            38 => return Err(self.xa()),
            39 => {
                let remedy = "SET GLOBAL binlog_row_value_options = ''";
                return Err(self.unsupported("a part of a JSON document", remedy));
            }
            42 => return Err(self.unsupported("a tagged GTID", "use GTIDs without tags")),
            // Formats, checkpoints, lists, notes, and what the statement format needs.
            _ => self.settle(),
        }
        Ok(Step::Next)
    }

    /// Follows the file's offset beyond the 32 bits that events have for it.
    fn move_end(&mut self, event: Event<'_>) {
        if event.end == 0 || event.kind == 4 {
            return;
        }
        let mut end = self.end & !0xffff_ffff | u64::from(event.end);
        if end + 0x8000_0000 < self.end {
            end += 1 << 32;
        }
        self.end = self.end.max(end);
    }

    /// Events between transactions move the boundary.
    fn settle(&mut self) {
        if self.open.is_none() {
            self.boundary.offset = self.end;
        }
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            if self.within.as_ref().is_some_and(|within| within.transaction == open.transaction.id)
            {
                self.within = None;
            }
            match (open.gtid, &mut self.gtids) {
                (Some(Gtid::MariaDb { domain, server, sequence }), Some(gtids)) => {
                    gtids.add_maria_db(domain, server, sequence);
                }
                (Some(Gtid::MySql { server, number }), Some(gtids)) => {
                    gtids.add_mysql(server, number);
                }
                _ => {}
            }
        }
        self.boundary.offset = self.end;
    }

    fn begin(&mut self, id: String, micros: i64, gtid: Option<Gtid>, many: bool) -> Parsed<()> {
        if self.open.is_some() {
            return Err(Fault::new("a transaction begins within another"));
        }
        let transaction = Arc::new(Transaction { id, committed_at: Origin::from_micros(micros) });
        self.open = Some(Open { transaction, gtid, changes: 0, many });
        Ok(())
    }

    /// Goes on in a file; answers the transaction that the last one did not end.
    fn read_rotate(&mut self, event: Event<'_>) -> Parsed<Option<Arc<Transaction>>> {
        let mut bytes = Bytes(event.body);
        let offset = bytes.uint(8)?;
        let name = std::str::from_utf8(bytes.rest())
            .map_err(|_| Fault::new("a file's name is no text"))?;
        let abandoned = self.open.take().map(|open| open.transaction);
        if abandoned.is_some() {
            self.within = None;
        }
        if self.boundary.file.as_ref() != name {
            self.boundary = LogPlace { file: name.into(), offset };
            self.end = offset;
            self.plans.clear();
        }
        self.begun = true;
        Ok(abandoned)
    }

    fn read_maria_db_gtid(&mut self, event: Event<'_>) -> Result<(), Trouble> {
        let mut bytes = Bytes(event.body);
        let (sequence, domain, flags) = (bytes.uint(8)?, bytes.uint(4)? as u32, bytes.u8()?);
        const ALONE: u8 = 1;
        const XA: u8 = 64 | 128;
        if flags & XA != 0 {
            return Err(self.xa());
        }
        let server = event.server;
        let id = format!("{domain}-{server}-{sequence}");
        let gtid = Gtid::MariaDb { domain, server, sequence };
        self.begin(id, i64::from(event.time) * 1_000_000, Some(gtid), flags & ALONE == 0)?;
        Ok(())
    }

    fn read_mysql_gtid(&mut self, event: Event<'_>) -> Parsed<()> {
        let mut bytes = Bytes(event.body);
        bytes.take(1)?;
        let mut server = [0; 16];
        server.copy_from_slice(bytes.take(16)?);
        let number = bytes.uint(8)?;
        // Logical clocks, then, since MySQL 8, the microsecond of the commit.
        let micros = match bytes.take(17).and_then(|_| bytes.uint(7)) {
            Ok(micros) => (micros & !(1 << 55)) as i64,
            Err(_) => i64::from(event.time) * 1_000_000,
        };
        let (id, gtid) = if event.kind == 33 {
            let gtid = Gtid::MySql { server, number };
            (format!("{}:{number}", super::fields::uuid(server)), Some(gtid))
        } else {
            (self.boundary.to_string(), None)
        };
        // Whether more than one statement follows, BEGIN says.
        self.begin(id, micros, gtid, false)
    }

    fn read_query(&mut self, event: Event<'_>) -> Result<Step, Trouble> {
        let mut bytes = Bytes(event.body);
        bytes.take(8)?;
        let database_length = usize::from(bytes.u8()?);
        bytes.take(2)?;
        let status = bytes.uint(2)? as usize;
        bytes.take(status)?;
        let database = String::from_utf8_lossy(bytes.take(database_length)?).into_owned();
        bytes.take(1)?;
        let unfolded;
        let text = if event.kind == 165 {
            unfolded = unfold_event(bytes)?;
            &unfolded
        } else {
            bytes.rest()
        };
        let text = String::from_utf8_lossy(text);
        let statement = Statement::of(&text);
        // Before GTIDs a transaction begins with its first statement.
        if self.open.is_none() && statement != Statement::End {
            let id = self.boundary.to_string();
            self.begin(id, i64::from(event.time) * 1_000_000, None, false)?;
        }
        let Some(open) = &mut self.open else { return Ok(Step::Next) };
        match statement {
            Statement::Begin => open.many = true,
            Statement::End => self.close(),
            Statement::Savepoint => {}
            Statement::RollbackTo => {
                let what = "a ROLLBACK TO SAVEPOINT over a table without transactions";
                return Err(
                    self.unsupported(what, "use InnoDB for the tables of such transactions")
                );
            }
            Statement::Xa => return Err(self.xa()),
            Statement::Data | Statement::Truncate { .. } | Statement::Schema => {
                let transaction = Arc::clone(&open.transaction);
                if !open.many {
                    self.close();
                }
                return Ok(Step::Statement {
                    database,
                    text: text.into_owned(),
                    statement,
                    transaction,
                });
            }
        }
        Ok(Step::Next)
    }

    fn read_table_map(&mut self, event: Event<'_>) -> Result<Step, Trouble> {
        let (id, database, table) = TableMap::name(event.body)?;
        match self.plans.get(&id) {
            Some((map, _)) if map == event.body => Ok(Step::Next),
            _ => Ok(Step::Plan { id, map: event.body.to_vec(), database, table }),
        }
    }

    fn read_rows(
        &mut self,
        kind: RowsKind,
        event: Event<'_>,
        out: &mut Vec<Change>,
    ) -> Result<Step, Trouble> {
        /// Closes a statement that changed no rows.
        const NO_TABLE: u64 = 0xff_ffff;
        let id = rows::table_id(event.body)?;
        let plan = match self.plans.get(&id) {
            Some((_, Some(plan))) => Arc::clone(plan),
            Some((_, None)) => return Ok(Step::Next),
            None if id == NO_TABLE => return Ok(Step::Next),
            None => return Err(Fault::new("rows come without their table's map").into()),
        };
        let open = self.open.as_mut().ok_or(Fault::new("rows come outside a transaction"))?;
        let handed_on = match &self.within {
            Some(within) if within.transaction == open.transaction.id => within.changes,
            _ => 0,
        };
        rows::read(&plan, kind, event.body, |before, after| {
            let index = open.changes;
            open.changes += 1;
            if index >= handed_on {
                let (table, transaction) = (Arc::clone(&plan.table), Arc::clone(&open.transaction));
                let operation = kind.operation;
                out.push(Change {
                    table,
                    operation,
                    before,
                    after,
                    transaction,
                    index,
                    last: false,
                });
            }
        })?;
        Ok(Step::Next)
    }

    fn xa(&self) -> Trouble {
        self.unsupported("an XA transaction", "use plain transactions on captured tables")
    }

    fn unsupported(&self, what: &str, remedy: &str) -> Trouble {
        let (position, what, remedy) = (self.boundary.to_string(), what.into(), remedy.into());
        Trouble::Error(CaptureError::Unsupported { position, what, remedy })
    }
}

#[cfg(test)]
mod tests;
