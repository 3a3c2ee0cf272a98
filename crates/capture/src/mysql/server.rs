//! A server's connection: who it is, whether it is fit for capture, its log's stream.
//!
//! Everything that differs between MariaDB and MySQL when talking to the server stands
//! here. A server that is not fit is refused at once with every statement that mends it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use courant_model::limits::{CAPTURE_CONNECT_MS_MAX, CAPTURE_EVENT_BYTES_MAX};
use mysql_async::{
    BinlogStream, BinlogStreamRequest, Conn, GnoInterval, Opts, OptsBuilder, Row, Sid,
    prelude::Queryable,
};

use super::{
    charset::{Charset, Charsets},
    gtid::Gtids,
    position::{LogPlace, MySqlPosition},
};
use crate::error::{CaptureError, Finding};

/// A connected server.
#[derive(Debug)]
pub(super) struct Server {
    /// `host:port`, for messages.
    pub(super) name: String,
    pub(super) conn: Conn,
    pub(super) maria_db: bool,
    pub(super) server_id: u32,
    /// Whether its log has GTIDs.
    pub(super) has_gtids: bool,
    pub(super) charsets: Arc<Charsets>,
    account: String,
}

/// How a session is set so that values come as they are in the log.
const SESSION: [&str; 4] = [
    "SET NAMES utf8mb4",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION sql_mode = ''",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
];

impl Server {
    /// Connects and checks settings.
    ///
    /// # Errors
    /// When there is no connection, or the server is not fit.
    pub(super) async fn connect(opts: &Opts) -> Result<Self, CaptureError> {
        let name = format!("{}:{}", opts.ip_or_hostname(), opts.tcp_port());
        let mut conn = connect(opts, &name).await?;
        let failed = |source| connection_error(&name, "", source);
        for statement in SESSION {
            conn.query_drop(statement).await.map_err(failed)?;
        }
        let variables: HashMap<String, String> = conn
            .query::<(String, String), _>(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('version', 'version_comment', \
                 'log_bin', 'binlog_format', 'binlog_row_image', 'binlog_row_metadata', \
                 'binlog_row_value_options', 'server_id', 'gtid_mode')",
            )
            .await
            .map_err(failed)?
            .into_iter()
            .map(|(name, value)| (name.to_lowercase(), value))
            .collect();
        let variable = |name: &str| variables.get(name).map(String::as_str).unwrap_or_default();
        let about = format!("{} {}", variable("version"), variable("version_comment"));
        let maria_db = about.to_lowercase().contains("mariadb");
        let account: Option<String> =
            conn.query_first("SELECT CURRENT_USER()").await.map_err(failed)?;
        let findings = findings(variable);
        if !findings.is_empty() {
            return Err(CaptureError::Settings { server: name, findings });
        }
        if !variable("binlog_row_metadata").eq_ignore_ascii_case("full") {
            tracing::warn!(
                server = name,
                "binlog_row_metadata is not FULL: a table's change of schema ends the capture \
                 of rows from before it; SET GLOBAL binlog_row_metadata = 'FULL'"
            );
        }
        let charsets = charsets(&mut conn).await.map_err(failed)?;
        Ok(Self {
            conn,
            maria_db,
            server_id: variable("server_id").parse().unwrap_or_default(),
            has_gtids: maria_db || variable("gtid_mode").eq_ignore_ascii_case("on"),
            charsets: Arc::new(charsets),
            account: account.map_or_else(String::new, |account| quoted_account(&account)),
            name,
        })
    }

    /// The account of the connection, as SQL names it.
    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// An error of this server's, with the statement that gives a missing right.
    pub(super) fn error(&self, source: mysql_async::Error) -> CaptureError {
        connection_error(&self.name, &self.account, source)
    }

    /// Begins a transaction that sees every commit up to some place of the log, and says
    /// the place. On MariaDB it sees nothing after it.
    pub(super) async fn begin_read(&mut self) -> Result<LogPlace, CaptureError> {
        self.read_place().await.map_err(|source| self.error(source))
    }

    async fn read_place(&mut self) -> mysql_async::Result<LogPlace> {
        self.conn.query_drop("START TRANSACTION WITH CONSISTENT SNAPSHOT").await?;
        if !self.maria_db {
            return self.end_of_log().await;
        }
        let status: Vec<(String, String)> =
            self.conn.query("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
        let value = |name: &str| {
            let found = status.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_str()).unwrap_or_default()
        };
        let offset = value("binlog_snapshot_position").parse().unwrap_or_default();
        Ok(LogPlace { file: value("binlog_snapshot_file").into(), offset })
    }

    /// The end of the log now; needs the right to see it.
    async fn end_of_log(&mut self) -> mysql_async::Result<LogPlace> {
        // The statement's name changed with MySQL 8.4.
        let row: Option<Row> = match self.conn.query_first("SHOW BINARY LOG STATUS").await {
            Err(mysql_async::Error::Server(said)) if said.code == 1064 => {
                self.conn.query_first("SHOW MASTER STATUS").await?
            }
            answer => answer?,
        };
        let file: String = row.as_ref().and_then(|row| row.get(0)).unwrap_or_default();
        let offset = row.as_ref().and_then(|row| row.get(1)).unwrap_or_default();
        Ok(LogPlace { file: file.into(), offset })
    }

    /// The end of the log now.
    pub(super) async fn end(&mut self) -> Result<LogPlace, CaptureError> {
        self.end_of_log().await.map_err(|source| self.error(source))
    }

    /// Ends a transaction of [`Self::begin_read`].
    pub(super) async fn end_read(&mut self) -> Result<(), CaptureError> {
        self.conn.query_drop("COMMIT").await.map_err(|source| self.error(source))
    }

    /// The transactions that queries see.
    pub(super) async fn gtids_at(
        &mut self,
        place: &LogPlace,
    ) -> Result<Option<Gtids>, CaptureError> {
        if !self.has_gtids {
            return Ok(None);
        }
        let answer = if self.maria_db {
            let place = (place.file.as_ref(), place.offset);
            self.conn.exec_first("SELECT BINLOG_GTID_POS(?, ?)", place).await
        } else {
            self.conn.query_first("SELECT @@GLOBAL.gtid_executed").await
        };
        let text: Option<Option<String>> = answer.map_err(|source| self.error(source))?;
        let text = text.flatten().unwrap_or_default();
        Ok(if self.maria_db { Gtids::maria_db(&text) } else { Gtids::mysql(&text) })
    }

    /// Opens the log's stream after a position, by its GTIDs where there are some and
    /// `by_file` does not say otherwise.
    ///
    /// # Errors
    /// When the server refuses, most of all because the position is gone; then the
    /// stream's first event is the error.
    pub(super) async fn stream(
        &self,
        opts: &Opts,
        position: &MySqlPosition,
        client: Client,
        by_file: bool,
    ) -> Result<BinlogStream, CaptureError> {
        let mut conn = connect(opts, &self.name).await?;
        let gtids = position.gtids.as_deref().filter(|gtids| !gtids.is_empty() && !by_file);
        let mut settings = vec![
            format!("SET @master_heartbeat_period = {}", client.heartbeat.as_nanos()),
            // Whoever reads may stop for long: its flow is full, or a chunk is large.
            "SET SESSION net_write_timeout = 3600".into(),
        ];
        if self.maria_db {
            settings.push("SET @mariadb_slave_capability = 4".into());
            if let Some(gtids) = gtids {
                // Written by us from numbers: nothing to escape.
                settings.push(format!("SET @slave_connect_state = '{gtids}'"));
                settings.push("SET @slave_gtid_strict_mode = 1".into());
                settings.push("SET @slave_gtid_ignore_duplicates = 0".into());
            }
        }
        for setting in settings {
            conn.query_drop(setting).await.map_err(|source| self.error(source))?;
        }
        let request = BinlogStreamRequest::new(client.server_id);
        let request = match gtids {
            Some(_) if self.maria_db => request,
            Some(gtids) => request.with_gtid().with_gtid_set(sids(gtids)),
            None => request.with_filename(position.file.as_bytes()).with_pos(position.offset),
        };
        let opening = conn.get_binlog_stream(request);
        opening.await.map_err(|source| match &source {
            // MariaDB says no more than that when the right is missing.
            mysql_async::Error::Server(said) if said.code == 1045 => CaptureError::Settings {
                server: self.name.clone(),
                findings: vec![Finding {
                    what: format!("{} may not read the binary log", self.account),
                    remedy: format!("GRANT REPLICATION SLAVE ON *.* TO {}", self.account),
                }],
            },
            _ => self.stream_error(source, position),
        })
    }

    /// An error of the stream: a position that is gone is told as such.
    pub(super) fn stream_error(
        &self,
        source: mysql_async::Error,
        position: &MySqlPosition,
    ) -> CaptureError {
        match &source {
            mysql_async::Error::Server(said) if said.code == 1236 => CaptureError::PositionLost {
                server: self.name.clone(),
                position: position.to_string(),
                said: said.message.clone(),
            },
            _ => self.error(source),
        }
    }
}

/// How a capture presents itself to a server.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    /// Different from that of every other reader of the log.
    pub(super) server_id: u32,
    pub(super) heartbeat: Duration,
}

async fn connect(opts: &Opts, name: &str) -> Result<Conn, CaptureError> {
    let opts = OptsBuilder::from_opts(opts.clone())
        .prefer_socket(false)
        .max_allowed_packet(Some(CAPTURE_EVENT_BYTES_MAX))
        .tcp_nodelay(true);
    let limit_ms = CAPTURE_CONNECT_MS_MAX;
    tokio::time::timeout(Duration::from_millis(limit_ms), Conn::new(opts))
        .await
        .map_err(|_| CaptureError::ConnectTimeout { server: name.into(), limit_ms })?
        .map_err(|source| connection_error(name, "", source))
}

/// What of a server's settings forbids capture.
fn findings<'a>(variable: impl Fn(&str) -> &'a str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expect = |good: bool, what: String, remedy: &str| {
        if !good {
            findings.push(Finding { what, remedy: remedy.into() });
        }
    };
    let log = variable("log_bin").eq_ignore_ascii_case("on") || variable("log_bin") == "1";
    expect(
        log,
        "binary logging is off".into(),
        "log-bin and server-id under [mysqld] in the server's option file, and a restart",
    );
    let format = variable("binlog_format");
    // Since MySQL 9 rows are the only format.
    expect(
        format.is_empty() || format.eq_ignore_ascii_case("row"),
        format!("binlog_format is {format:?}, rows are needed"),
        "SET GLOBAL binlog_format = 'ROW'",
    );
    let image = variable("binlog_row_image");
    expect(
        image.is_empty() || image.eq_ignore_ascii_case("full"),
        format!("binlog_row_image is {image:?}, whole rows are needed"),
        "SET GLOBAL binlog_row_image = 'FULL'",
    );
    let options = variable("binlog_row_value_options");
    expect(
        options.is_empty(),
        format!("binlog_row_value_options is {options:?}, whole values are needed"),
        "SET GLOBAL binlog_row_value_options = ''",
    );
    findings
}

/// Missing rights become findings with the statement that gives them.
fn connection_error(server: &str, account: &str, source: mysql_async::Error) -> CaptureError {
    let account = if account.is_empty() { "the capture's account" } else { account };
    if let mysql_async::Error::Server(said) = &source {
        let remedy = match said.code {
            // Access denied; you need (at least one of) the … privilege(s) for this operation
            1227 => said
                .message
                .split_once(" the ")
                .and_then(|(_, rest)| rest.split_once(" privilege"))
                .map(|(rights, _)| {
                    let right = rights.split(',').next_back().unwrap_or(rights).trim();
                    format!("GRANT {right} ON *.* TO {account}")
                }),
            1142 | 1143 => said
                .message
                .split_once("for table ")
                .map(|(_, table)| format!("GRANT SELECT ON {} TO {account}", table.trim())),
            _ => None,
        };
        if let Some(remedy) = remedy {
            let finding = Finding { what: said.message.clone(), remedy };
            return CaptureError::Settings { server: server.into(), findings: vec![finding] };
        }
    }
    CaptureError::Connection { server: server.into(), source: Box::new(source) }
}

/// `a@b` as SQL names it.
fn quoted_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    format!("'{user}'@'{host}'")
}

fn sids(gtids: &str) -> Vec<Sid<'static>> {
    let Some(Gtids::MySql(sets)) = Gtids::mysql(gtids) else { return Vec::new() };
    let sid = |(server, ranges): ([u8; 16], Vec<(u64, u64)>)| {
        let ranges = ranges.into_iter().map(|(from, to)| GnoInterval::new(from, to));
        Sid::new(server).with_intervals(ranges.collect())
    };
    sets.into_iter().map(sid).collect()
}

/// The server's character sets. Tables of one-byte sets come from the server.
async fn charsets(conn: &mut Conn) -> mysql_async::Result<Charsets> {
    let sets: Vec<(String, u32)> = conn
        .query("SELECT character_set_name, maxlen FROM information_schema.character_sets")
        .await?;
    let mut by_name: HashMap<String, Charset> = HashMap::new();
    // As a literal: a parameter would be taken for text.
    let bytes: String = (0..=255_u8).map(|byte| format!("{byte:02X}")).collect();
    for (name, longest) in sets {
        if let Some(charset) = Charset::named(&name) {
            by_name.insert(name, charset);
        } else if longest == 1 && name != "binary" {
            let convert =
                format!("SELECT CONVERT(CONVERT(0x{bytes} USING `{name}`) USING utf8mb4)");
            let text: Option<Option<String>> = conn.query_first(convert).await?;
            let table: Vec<char> = text.flatten().unwrap_or_default().chars().collect();
            if table.len() == 256 {
                by_name.insert(name, Charset::OneByte(table.into()));
            }
        }
    }
    // MariaDB's newer collations have numbers only in the second table.
    const COLLATIONS: &str = "SELECT CAST(id AS UNSIGNED), character_set_name \
        FROM information_schema.collations WHERE id IS NOT NULL";
    const APPLICABLE: &str = "SELECT CAST(id AS UNSIGNED), character_set_name \
        FROM information_schema.collation_character_set_applicability";
    let mut ids: Vec<(u64, Option<String>)> = conn.query(COLLATIONS).await?;
    match conn.query::<(u64, Option<String>), _>(APPLICABLE).await {
        Ok(more) => ids.extend(more),
        // MySQL and older MariaDB: the table has no numbers, and no others exist.
        Err(mysql_async::Error::Server(_)) => {}
        Err(error) => return Err(error),
    }
    let by_collation = ids
        .into_iter()
        .filter_map(|(id, name)| by_name.get(&name?).map(|charset| (id, charset.clone())));
    let by_collation = by_collation.collect();
    Ok(Charsets { by_collation, by_name })
}
