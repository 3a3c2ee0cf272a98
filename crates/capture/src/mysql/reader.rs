//! The source: batches from the log's stream and the snapshot's chunks, over outages.
//!
//! All state that matters is the position of the last batch. A link is everything that
//! lives with one connection; when anything fails it is thrown away and made anew from
//! the position, on the next server. Nothing runs beside: the stream stands still while
//! a chunk is read, and nothing is read while nobody asks.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use courant_model::{
    limits::{
        CAPTURE_RETRY_MS_MAX, CAPTURE_RETRY_MS_MIN, CAPTURE_TABLES_MAX,
        CAPTURE_TRANSACTION_CHANGES_MAX,
    },
    time::Origin,
};
use futures::{FutureExt, StreamExt};
use mysql_async::{BinlogStream, ClientIdentity, Opts, OptsBuilder};
use tokio::time::Instant;

use super::{
    catalog::{self, CatalogTable},
    gtid::Gtids,
    log::{Event, Log, Start, Step},
    options::{MySqlOptions, SnapshotMode, Tls},
    position::{LogPlace, MySqlPosition, Progress},
    server::{Client, Server},
    snapshot::{self, Chunk, Wanted},
    statement::Statement,
    table_map::{Context, TableMap},
};
use crate::{
    change::{Change, Operation, Table, Transaction},
    error::{CaptureError, Finding},
    select::Selection,
    source::{Batch, Source},
};

/// Changes of a MySQL or MariaDB server's tables.
#[derive(Debug)]
pub struct MySqlSource {
    options: MySqlOptions,
    selection: Selection,
    servers: Vec<Opts>,
    /// The server of the next link.
    at: usize,
    client: Client,
    /// After the last batch.
    position: Option<MySqlPosition>,
    link: Option<Link>,
    /// Whether a query was begun on the link; if its future is dropped the link is too.
    busy: bool,
    /// Where a server's log goes on after a file that it could not end.
    beyond: Option<LogPlace>,
    outage: Outage,
}

/// Failures since the last batch.
#[derive(Debug, Default)]
struct Outage {
    since: Option<Instant>,
    failures: u32,
    /// Servers that did not have the position.
    lost: usize,
}

/// What lives with one connection.
struct Link {
    server: Server,
    stream: BinlogStream,
    log: Log,
    catalog: HashMap<(String, String), Option<CatalogTable>>,
    progress: Progress,
    /// Tables whose snapshot is not complete, in order.
    pending: Vec<(String, String)>,
    chunk: Option<Chunk>,
    /// Changes that were read and not handed on.
    out: Vec<Change>,
    position: MySqlPosition,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("server", &self.server.name).finish_non_exhaustive()
    }
}

impl MySqlSource {
    /// Prepares a source after `position`, or at the present; connects to nothing yet.
    ///
    /// # Errors
    /// When an option makes no sense.
    pub fn new(
        options: MySqlOptions,
        position: Option<MySqlPosition>,
    ) -> Result<Self, CaptureError> {
        let wrong = |what: &str| Err(CaptureError::Options { what: what.into() });
        if options.servers.is_empty() {
            return wrong("capture has no server; give the url of at least one");
        }
        if options.chunk_rows == 0 || options.batch_changes == 0 || options.heartbeat_ms == 0 {
            return wrong("chunk_rows, batch_changes and heartbeat_ms must be at least 1");
        }
        let servers = options.servers.iter().enumerate().map(|(index, url)| {
            let opts = Opts::from_url(url);
            opts.map(|opts| with_tls(opts, options.tls.as_ref()))
                .map_err(|error| CaptureError::Url { index, reason: error.to_string() })
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let database = servers[0].db_name();
        let selection = options.selection.in_database(database).map_err(|pattern| {
            let what = format!(
                "{pattern:?} names no database and the url has none; write database.{pattern}, or put the database into the url"
            );
            CaptureError::Options { what }
        })?;
        // Above all numbers that people give to servers by hand.
        let chance = RandomState::new().hash_one(0) as u32 | 0x8000_0000;
        let client = Client {
            server_id: options.server_id.unwrap_or(chance),
            heartbeat: Duration::from_millis(options.heartbeat_ms),
        };
        Ok(Self {
            options,
            selection,
            servers,
            at: 0,
            client,
            position,
            link: None,
            busy: false,
            beyond: None,
            outage: Outage::default(),
        })
    }

    /// The position after the last batch; `None` before the first.
    pub const fn position(&self) -> Option<&MySqlPosition> {
        self.position.as_ref()
    }

    async fn connect(&self) -> Result<Link, CaptureError> {
        let opts = &self.servers[self.at];
        let mut server = Server::connect(opts).await?;
        let tables = catalog::tables(&mut server.conn, &self.selection).await;
        let mut pending = tables.map_err(|error| server.error(error))?;
        if pending.len() > CAPTURE_TABLES_MAX {
            let what = format!(
                "capture matches {} tables, {CAPTURE_TABLES_MAX} is the most; choose fewer",
                pending.len()
            );
            return Err(CaptureError::Options { what });
        }
        pending.sort_by_key(|(database, name)| self.selection.rank(database, name));
        let mut position = match &self.position {
            Some(position) => position.clone(),
            None if pending.is_empty() => return Err(self.no_tables(&server)),
            None => self.first_position(&mut server).await?,
        };
        check_position(&server, &position)?;
        if let Progress::Running { finished, .. } = &position.snapshot {
            pending.retain(|(database, name)| !finished.contains(&format!("{database}.{name}")));
        } else {
            pending.clear();
        }
        if let Some(place) = &self.beyond {
            if let Some(lost) = position.within.take() {
                tell_lost(&lost.transaction);
            }
            (position.file, position.offset) = (place.file.to_string(), place.offset);
            position.server_id = server.server_id;
        }
        let by_file = self.beyond.is_some();
        let stream = server.stream(opts, &position, self.client, by_file).await?;
        let log = start_log(&server, &position);
        let progress = if pending.is_empty() { Progress::Done } else { position.snapshot.clone() };
        let (catalog, chunk, out) = (HashMap::new(), None, Vec::new());
        Ok(Link { server, stream, log, catalog, progress, pending, chunk, out, position })
    }

    fn no_tables(&self, server: &Server) -> CaptureError {
        CaptureError::NoTables {
            server: server.name.clone(),
            wanted: self.selection.tables.join(", "),
            remedy: format!("GRANT SELECT ON … TO {}", server.account()),
        }
    }

    /// The present, with the snapshot that the options want.
    async fn first_position(&self, server: &mut Server) -> Result<MySqlPosition, CaptureError> {
        let place = server.begin_read().await?;
        let gtids = server.gtids_at(&place).await?;
        server.end_read().await?;
        let snapshot = match self.options.snapshot {
            SnapshotMode::Initial => Progress::Running { finished: Arc::default(), table: None },
            SnapshotMode::Never => Progress::Done,
        };
        Ok(MySqlPosition {
            file: place.file.to_string(),
            offset: place.offset,
            server_id: server.server_id,
            gtids: gtids.map(|gtids| gtids.to_string()),
            within: None,
            snapshot,
        })
    }

    /// The next batch of the present link.
    async fn advance(&mut self) -> Result<Batch<MySqlPosition>, CaptureError> {
        if std::mem::take(&mut self.busy) {
            self.link = None;
        }
        if self.link.is_none() {
            let link = self.connect().await?;
            let (position, complete) = (link.position.clone(), link.progress == Progress::Done);
            self.link = Some(link);
            if self.position.is_none() {
                // Whoever keeps it starts here again, also when nothing changes for long.
                let changes = Vec::new();
                return Ok(Batch { changes, position, snapshot_complete: complete });
            }
        }
        let Self { link: Some(link), busy, options, selection, client, .. } = self else {
            unreachable!("the link was made above")
        };
        loop {
            if let Some(batch) = link.ready(options)? {
                return Ok(batch);
            }
            if link.wants_chunk() {
                *busy = true;
                link.read_chunk(options, selection).await?;
                *busy = false;
                continue;
            }
            let event = match link.stream.next().now_or_never() {
                Some(event) => event,
                None if link.log.at_boundary() && !link.out.is_empty() => return Ok(link.flush()),
                None => {
                    let silence = client.heartbeat * 3 + Duration::from_secs(1);
                    let next = tokio::time::timeout(silence, link.stream.next()).await;
                    next.map_err(|_| CaptureError::Silence {
                        server: link.server.name.clone(),
                        silence_ms: silence.as_millis() as u64,
                    })?
                }
            };
            *busy = true;
            let quiet = link.take(event, selection).await?;
            *busy = false;
            if quiet && link.log.at_boundary() && (!link.out.is_empty() || link.has_moved()) {
                return Ok(link.flush());
            }
        }
    }
}

impl Source for MySqlSource {
    type Position = MySqlPosition;

    async fn next(&mut self) -> Result<Batch<MySqlPosition>, CaptureError> {
        loop {
            let error = match self.advance().await {
                Ok(batch) => {
                    self.position = Some(batch.position.clone());
                    self.beyond = None;
                    self.outage = Outage::default();
                    return Ok(batch);
                }
                Err(error) => error,
            };
            (self.link, self.busy) = (None, false);
            let since = *self.outage.since.get_or_insert_with(Instant::now);
            if matches!(error, CaptureError::PositionLost { .. }) {
                self.outage.lost += 1;
            }
            let elsewhere = self.outage.lost < self.servers.len()
                && matches!(error, CaptureError::PositionLost { .. });
            let outage_max = Duration::from_millis(self.options.outage_ms);
            if !(error.is_retryable() || elsewhere) || since.elapsed() >= outage_max {
                self.outage = Outage::default();
                return Err(error);
            }
            self.beyond = match &error {
                CaptureError::Torn { file, .. } => LogPlace::after_file(file),
                _ => None,
            };
            if self.beyond.is_none() {
                self.at = (self.at + 1) % self.servers.len();
            }
            let wait = CAPTURE_RETRY_MS_MIN << self.outage.failures.min(16);
            self.outage.failures += 1;
            let wait = Duration::from_millis(wait.min(CAPTURE_RETRY_MS_MAX));
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                ?wait,
                "capture connects again"
            );
            tokio::time::sleep(wait).await;
        }
    }
}

fn with_tls(opts: Opts, tls: Option<&Tls>) -> Opts {
    let Some(tls) = tls else { return opts };
    let mut ssl = opts.ssl_opts().cloned().unwrap_or_default();
    if let Some(ca) = &tls.ca {
        ssl = ssl.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true);
    }
    let identity = tls.identity.as_ref();
    let identity =
        identity.map(|(chain, key)| ClientIdentity::new(chain.clone().into(), key.clone().into()));
    OptsBuilder::from_opts(opts).ssl_opts(ssl.with_client_identity(identity)).into()
}

/// Whether a position means anything on a server.
fn check_position(server: &Server, position: &MySqlPosition) -> Result<(), CaptureError> {
    let by_file = position.gtids.as_deref().is_none_or(str::is_empty);
    if by_file && position.server_id != server.server_id {
        return Err(CaptureError::PositionLost {
            server: server.name.clone(),
            position: position.to_string(),
            said: format!(
                "it is a file of the server with id {}, this one has id {}, and there are no GTIDs",
                position.server_id, server.server_id
            ),
        });
    }
    let snapshot = matches!(position.snapshot, Progress::Running { .. });
    if snapshot && !server.has_gtids {
        let finding = Finding {
            what: "gtid_mode is off, a snapshot beside running changes needs it".into(),
            remedy: "SET GLOBAL enforce_gtid_consistency = ON; SET GLOBAL gtid_mode = \
                     OFF_PERMISSIVE; SET GLOBAL gtid_mode = ON_PERMISSIVE; SET GLOBAL gtid_mode = ON"
                .into(),
        };
        let (server, findings) = (server.name.clone(), vec![finding]);
        return Err(CaptureError::Settings { server, findings });
    }
    Ok(())
}

fn start_log(server: &Server, position: &MySqlPosition) -> Log {
    let here = position.server_id == server.server_id;
    // Another server's files say nothing here; the stream's first event names ours.
    let place = LogPlace {
        file: if here { position.file.as_str().into() } else { "".into() },
        offset: if here { position.offset } else { 0 },
    };
    let gtids = position.gtids.as_deref().filter(|_| server.has_gtids);
    let gtids = gtids
        .and_then(|text| if server.maria_db { Gtids::maria_db(text) } else { Gtids::mysql(text) });
    Log::new(Start { place, gtids, within: position.within.clone() })
}

impl Link {
    /// A batch that needs nothing more to be read.
    fn ready(
        &mut self,
        options: &MySqlOptions,
    ) -> Result<Option<Batch<MySqlPosition>>, CaptureError> {
        let full = self.out.len() >= options.batch_changes;
        if !self.log.at_boundary() {
            // One change stays, so that the transaction's last one is known when it goes.
            let full = self.out.len() > options.batch_changes;
            if full && !options.whole_transactions {
                return Ok(Some(self.flush()));
            }
            if self.out.len() > CAPTURE_TRANSACTION_CHANGES_MAX {
                let position = self.log.place().to_string();
                let limit = CAPTURE_TRANSACTION_CHANGES_MAX;
                return Err(CaptureError::TransactionTooLarge { position, limit });
            }
            return Ok(None);
        }
        let due = self.chunk.as_ref().is_some_and(|chunk| self.log.place().reached(&chunk.high));
        if full || due && !self.out.is_empty() {
            return Ok(Some(self.flush()));
        }
        let Some(chunk) = self.chunk.take_if(|_| due) else { return Ok(None) };
        Ok(Some(self.flush_chunk(chunk)))
    }

    /// Changes so far, and the position after them.
    fn flush(&mut self) -> Batch<MySqlPosition> {
        let place = self.log.place();
        let mut within = self.log.within();
        let mut kept = Vec::new();
        if let Some(within) = &mut within
            && let Some(change) = self.out.pop_if(|last| last.transaction.id == within.transaction)
        {
            within.changes -= 1;
            kept.push(change);
        }
        let within = within.filter(|within| within.changes > 0);
        self.position = MySqlPosition {
            file: place.file.to_string(),
            offset: place.offset,
            server_id: self.server.server_id,
            gtids: self.log.gtids().map(ToString::to_string),
            within,
            snapshot: self.progress.clone(),
        };
        let mut changes = std::mem::replace(&mut self.out, kept);
        mark_last(&mut changes, self.out.first());
        Batch {
            changes,
            position: self.position.clone(),
            snapshot_complete: self.progress == Progress::Done,
        }
    }

    /// A chunk's rows, and the snapshot's progress with them.
    fn flush_chunk(&mut self, chunk: Chunk) -> Batch<MySqlPosition> {
        let table = Arc::clone(&chunk.table);
        let transaction = Arc::new(Transaction {
            id: chunk.high.to_string(),
            committed_at: Origin::from_micros(chunk.read_at),
        });
        if let Progress::Running { finished, table: current } = &mut self.progress {
            if chunk.complete {
                Arc::make_mut(finished).push(table.full_name());
                *current = None;
                self.pending.remove(0);
            } else if let Some(last) = &chunk.last {
                *current = Some((table.full_name(), last.clone()));
            }
        }
        if self.pending.is_empty() {
            self.progress = Progress::Done;
        }
        self.out.extend(chunk.into_rows().into_iter().zip(0..).map(|(row, index)| Change {
            table: Arc::clone(&table),
            operation: Operation::Snapshot,
            before: None,
            after: Some(row),
            transaction: Arc::clone(&transaction),
            index,
            last: false,
        }));
        self.flush()
    }

    /// Whether the position is another than that of the last batch.
    fn has_moved(&self) -> bool {
        let place = self.log.place();
        place.offset != self.position.offset || *place.file != *self.position.file
    }

    fn wants_chunk(&self) -> bool {
        let idle = self.log.at_boundary() && self.log.within().is_none();
        idle && self.chunk.is_none() && !self.pending.is_empty()
    }

    async fn read_chunk(
        &mut self,
        options: &MySqlOptions,
        selection: &Selection,
    ) -> Result<(), CaptureError> {
        let (database, name) = &self.pending[0];
        let after = match &self.progress {
            Progress::Running { table: Some((table, key)), .. } => {
                (*table == format!("{database}.{name}")).then_some(key.as_slice())
            }
            _ => None,
        };
        let wanted = Wanted {
            database,
            name,
            after,
            rows_max: options.chunk_rows,
            selection,
            seen: self.log.place(),
            seen_gtids: self.log.gtids(),
        };
        self.chunk = Some(snapshot::read(&mut self.server, wanted).await?);
        Ok(())
    }

    /// Takes an event of the stream; whether the log is quiet.
    async fn take(
        &mut self,
        event: Option<mysql_async::Result<mysql_async::binlog::events::Event>>,
        selection: &Selection,
    ) -> Result<bool, CaptureError> {
        let event =
            event.ok_or_else(|| CaptureError::Ended { server: self.server.name.clone() })?;
        let event = event.map_err(|error| self.stream_error(error))?;
        let header = event.header();
        let Some(body) = checked_body(&event) else {
            let what = "an event does not have its checksum".into();
            return Err(CaptureError::Corrupt { position: self.log.place().to_string(), what });
        };
        let before = self.out.len();
        let step = self.log.read(
            Event {
                kind: header.event_type_raw(),
                time: header.timestamp(),
                server: header.server_id(),
                end: header.log_pos(),
                body,
            },
            &mut self.out,
        )?;
        if let Some(chunk) = &mut self.chunk {
            self.out[before..].iter().for_each(|change| chunk.touch(change));
        }
        match step {
            Step::Next => return Ok(false),
            Step::Heartbeat => return Ok(true),
            Step::Abandoned { transaction } => self.abandon(&transaction),
            Step::Plan { id, map, database, table } => {
                self.plan(id, map, (database, table), selection).await?;
            }
            Step::Statement { database, text, statement, transaction } => {
                let about = About { database, text, transaction };
                self.take_statement(statement, about, selection).await?;
            }
        }
        Ok(false)
    }

    /// Forgets what came of a transaction that its server has forgotten.
    fn abandon(&mut self, transaction: &Arc<Transaction>) {
        let before = self.out.len();
        self.out.retain(|change| !Arc::ptr_eq(&change.transaction, transaction));
        let told = self.position.within.as_ref();
        if told.is_some_and(|within| within.transaction == transaction.id) {
            tell_lost(&transaction.id);
        }
        if self.out.len() < before {
            // Rows that it touched have left the chunk.
            self.chunk = None;
        }
    }

    fn stream_error(&self, error: mysql_async::Error) -> CaptureError {
        let torn = |said: &mysql_async::ServerError| {
            said.code == 1236 && said.message.contains("truncated in the middle of event")
        };
        match &error {
            mysql_async::Error::Server(said) if torn(said) => CaptureError::Torn {
                server: self.server.name.clone(),
                file: self.log.place().file.to_string(),
            },
            _ => self.server.stream_error(error, &self.position),
        }
    }

    /// Decides how a table's rows are read.
    async fn plan(
        &mut self,
        id: u64,
        map: Vec<u8>,
        (database, name): (String, String),
        selection: &Selection,
    ) -> Result<(), CaptureError> {
        if !selection.has_table(&database, &name) {
            self.log.set_plan(id, map, None);
            return Ok(());
        }
        let read = TableMap::read(&map, self.server.maria_db).map_err(|fault| {
            let position = self.log.place().to_string();
            CaptureError::Corrupt { position, what: fault.0.into_owned() }
        })?;
        self.load(&database, &name).await?;
        let plan = read.plan(Context {
            charsets: &self.server.charsets,
            selection,
            catalog: self.catalog[&(database, name)].as_ref(),
        })?;
        self.log.set_plan(id, map, Some(Arc::new(plan)));
        Ok(())
    }

    /// Makes the catalogue's table known.
    async fn load(&mut self, database: &str, name: &str) -> Result<(), CaptureError> {
        let key = (database.to_owned(), name.to_owned());
        if !self.catalog.contains_key(&key) {
            let known = catalog::table(&mut self.server.conn, database, name).await;
            let known = known.map_err(|error| self.server.error(error))?;
            // What the catalogue has and we do not know may still be whole in the log.
            self.catalog.insert(key, known.and_then(Result::ok));
        }
        Ok(())
    }

    async fn take_statement(
        &mut self,
        statement: Statement,
        about: About,
        selection: &Selection,
    ) -> Result<(), CaptureError> {
        match statement {
            Statement::Data => {
                let tables = catalog::tables(&mut self.server.conn, selection).await;
                let tables = tables.map_err(|error| self.server.error(error))?;
                if tables.iter().any(|(_, name)| about.text.contains(name.as_str())) {
                    let position = about.transaction.id.clone();
                    let statement = about.text.chars().take(200).collect();
                    return Err(CaptureError::Statement { position, statement });
                }
            }
            Statement::Truncate { database, table: name } => {
                self.chunk = None;
                let database = database.unwrap_or(about.database);
                if selection.has_table(&database, &name) {
                    self.load(&database, &name).await?;
                    let key = (database.clone(), name.clone());
                    let table = self.catalog[&key].as_ref().map_or_else(
                        || Table { database, name, columns: Vec::new(), key: Vec::new() },
                        |known| known.table(selection),
                    );
                    self.out.push(Change {
                        table: Arc::new(table),
                        operation: Operation::Truncate,
                        before: None,
                        after: None,
                        transaction: about.transaction,
                        index: 0,
                        last: false,
                    });
                }
            }
            _ => {
                self.chunk = None;
                self.catalog.clear();
                self.log.forget_plans();
            }
        }
        Ok(())
    }
}

/// Tells that a part of a transaction was handed on which its server then lost.
fn tell_lost(transaction: &str) {
    tracing::error!(
        transaction,
        "a transaction was handed on in part, and its server crashed before it was written: \
         rows that it changed may differ until they change again; ask for whole transactions"
    );
}

/// Marks the last change of each transaction; `next` is what comes after them.
fn mark_last(changes: &mut [Change], next: Option<&Change>) {
    let mut after = next.map(|change| Arc::clone(&change.transaction));
    for change in changes.iter_mut().rev() {
        change.last = after.is_none_or(|after| !Arc::ptr_eq(&after, &change.transaction));
        after = Some(Arc::clone(&change.transaction));
    }
}

/// An event's bytes without their checksum; `None` when it is another.
fn checked_body(event: &mysql_async::binlog::events::Event) -> Option<&[u8]> {
    const FORMAT: u8 = 15;
    const ROTATE: u8 = 4;
    let (header, body) = (event.header(), event.data());
    let kind = header.event_type_raw();
    let sum = |body: &[u8]| {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header.timestamp().to_le_bytes());
        hasher.update(&[kind]);
        hasher.update(&header.server_id().to_le_bytes());
        hasher.update(&header.event_size().to_le_bytes());
        hasher.update(&header.log_pos().to_le_bytes());
        hasher.update(&header.flags_raw().to_le_bytes());
        hasher.update(body);
        hasher.finalize().to_le_bytes()
    };
    if kind == ROTATE && header.log_pos() == 0 {
        // The stream's first event comes before anything says whether there are sums.
        let (name, last) = body.split_last_chunk::<4>()?;
        return Some(if sum(name) == *last { name } else { body });
    }
    // Formats carry a flag that their sum leaves out; events in no file need no proof, and
    // those of a compressed transaction have it together.
    let proven = kind != FORMAT && header.log_pos() != 0 && event.footer().get_checksum_enabled();
    match event.checksum().filter(|_| proven) {
        Some(expected) if sum(body) != expected => None,
        _ => Some(body),
    }
}

/// Where a statement stands.
struct About {
    /// The session's database.
    database: String,
    text: String,
    transaction: Arc<Transaction>,
}
