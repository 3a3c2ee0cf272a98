//! A table as the log describes it before rows: types, and on `FULL` metadata all else.
//!
//! From this map, and from the catalogue where the map is silent, comes the [`Plan`] by
//! which rows are read. With `binlog_row_metadata=FULL` the map says everything itself,
//! so rows from before an `ALTER TABLE` are read as they were; without, the catalogue
//! must fit the map's types, or the capture ends rather than guess.

use std::sync::Arc;

use super::{
    bytes::{Bytes, Fault, Parsed},
    catalog::{CatalogColumn, CatalogTable},
    charset::{BINARY, Charsets},
    fields::Format,
};
use crate::{
    change::{Column, ColumnKind, Table},
    error::CaptureError,
    select::Selection,
};

/// What a table map says; names, signs, collations and labels only with `FULL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableMap {
    pub(super) database: String,
    pub(super) name: String,
    columns: Vec<MapColumn>,
    /// Indexes of the primary key's columns.
    key: Vec<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct MapColumn {
    kind: u8,
    meta: [u8; 2],
    nullable: bool,
    name: Option<String>,
    unsigned: Option<bool>,
    collation: Option<u64>,
    labels: Option<Vec<Vec<u8>>>,
}

/// How the rows of one table map are read.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) table: Arc<Table>,
    /// For each column of the log, in its order.
    pub(super) fields: Vec<Field>,
}

#[derive(Debug)]
pub(super) struct Field {
    pub(super) format: Format,
    pub(super) chosen: bool,
    pub(super) name: String,
}

/// What a plan is made with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) charsets: &'a Charsets,
    pub(super) selection: &'a Selection,
    pub(super) catalog: Option<&'a CatalogTable>,
}

const ENUM: u8 = 247;
const SET: u8 = 248;
const STRING: u8 = 254;
const GEOMETRY: u8 = 255;

impl TableMap {
    /// The id, and the database and name, without reading the rest.
    pub(super) fn name(body: &[u8]) -> Parsed<(u64, String, String)> {
        let mut bytes = Bytes(body);
        let id = bytes.uint(6)?;
        bytes.take(2)?;
        Ok((id, bytes.short_name()?, bytes.short_name()?))
    }

    /// Reads a table map's body. `maria_db` decides which columns count as text.
    pub(super) fn read(body: &[u8], maria_db: bool) -> Parsed<Self> {
        let mut bytes = Bytes(body);
        bytes.take(8)?;
        let (database, name) = (bytes.short_name()?, bytes.short_name()?);
        let count = bytes.length()?;
        let kinds = bytes.take(count)?;
        let mut metas = Bytes(bytes.counted()?);
        let nullable = bytes.take(count.div_ceil(8))?;
        let mut columns = Vec::with_capacity(count);
        for (index, kind) in kinds.iter().enumerate() {
            let (kind, meta) = read_meta(*kind, &mut metas)?;
            let nullable = nullable[index / 8] >> (index % 8) & 1 == 1;
            columns.push(MapColumn { kind, meta, nullable, ..MapColumn::default() });
        }
        let mut map = Self { database, name, columns, key: Vec::new() };
        while !bytes.is_empty() {
            let kind = bytes.u8()?;
            map.read_extra(kind, Bytes(bytes.counted()?), maria_db)?;
        }
        Ok(map)
    }

    /// Whether the map names its columns.
    pub(super) fn is_full(&self) -> bool {
        self.columns.iter().all(|column| column.name.is_some())
    }

    fn read_extra(&mut self, kind: u8, mut bytes: Bytes<'_>, maria_db: bool) -> Parsed<()> {
        let is_text = |column: &MapColumn| match column.kind {
            15 | 249..=253 | STRING => true,
            140 | 141 | GEOMETRY => maria_db,
            _ => false,
        };
        let is_labelled = |column: &MapColumn| matches!(column.kind, ENUM | SET);
        match kind {
            1 => {
                let bits = bytes.rest();
                let numbers = self
                    .columns
                    .iter_mut()
                    .filter(|column| matches!(column.kind, 1..=5 | 8 | 9 | 13 | 246));
                for (index, column) in numbers.enumerate() {
                    let byte = bits.get(index / 8).ok_or(Fault::new("signs are missing"))?;
                    column.unsigned = Some(byte >> (7 - index % 8) & 1 == 1);
                }
            }
            2 => {
                read_default_collations(
                    &mut bytes,
                    self.columns.iter_mut().filter(|c| is_text(c)),
                )?;
            }
            3 => read_collations(&mut bytes, self.columns.iter_mut().filter(|c| is_text(c)))?,
            4 => {
                for column in &mut self.columns {
                    let name = bytes.counted()?;
                    column.name = Some(String::from_utf8_lossy(name).into_owned());
                }
            }
            5 => read_labels(&mut bytes, self.columns.iter_mut().filter(|c| c.kind == SET))?,
            6 => read_labels(&mut bytes, self.columns.iter_mut().filter(|c| c.kind == ENUM))?,
            8 | 9 => {
                while !bytes.is_empty() {
                    let column = bytes.length()?;
                    if column >= self.columns.len() {
                        return Err(Fault::new("the primary key has an unknown column"));
                    }
                    self.key.push(column);
                    if kind == 9 {
                        bytes.length()?;
                    }
                }
            }
            10 => read_default_collations(
                &mut bytes,
                self.columns.iter_mut().filter(|c| is_labelled(c)),
            )?,
            11 => read_collations(&mut bytes, self.columns.iter_mut().filter(|c| is_labelled(c)))?,
            // Kinds of geometry, visibility, and what later versions add.
            _ => {}
        }
        Ok(())
    }

    /// Decides how rows are read.
    ///
    /// # Errors
    /// When map and catalogue together do not say how.
    pub(super) fn plan(&self, context: Context<'_>) -> Result<Plan, CaptureError> {
        let full_name = format!("{}.{}", self.database, self.name);
        let mismatch =
            |what: String| CaptureError::SchemaMismatch { table: full_name.clone(), what };
        let full = self.is_full();
        if !full && context.catalog.is_none_or(|table| table.columns.len() != self.columns.len()) {
            let now = context.catalog.map_or(0, |table| table.columns.len());
            return Err(mismatch(format!("{} columns then, {now} now", self.columns.len())));
        }
        let (mut fields, mut columns, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for (index, column) in self.columns.iter().enumerate() {
            let known = context.catalog.and_then(|table| match &column.name {
                Some(name) => table.columns.iter().find(|known| known.name == *name),
                None => table.columns.get(index),
            });
            let name = column.name.clone().or_else(|| known.map(|known| known.name.clone()));
            let name = name.unwrap_or_default();
            let (format, kind) = column
                .format(known, context.charsets)
                .map_err(|what| mismatch(format!("column {name:?}: {what}")))?;
            if !full && known.is_some_and(|known| known.kind != kind) {
                return Err(mismatch(format!("column {name:?} was of another type")));
            }
            let chosen = context.selection.has_column(&self.database, &self.name, &name);
            places.push(chosen.then_some(columns.len()));
            if chosen {
                columns.push(Column { name: name.clone(), kind, nullable: column.nullable });
            }
            fields.push(Field { format, chosen, name });
        }
        let key = self.key_places(&fields, context.catalog);
        let key = key.iter().map(|index| places[*index]).collect::<Option<_>>().unwrap_or_default();
        let (database, name) = (self.database.clone(), self.name.clone());
        Ok(Plan { table: Arc::new(Table { database, name, columns, key }), fields })
    }

    /// The key's columns: the primary key of the map, or what the catalogue says.
    fn key_places(&self, fields: &[Field], catalog: Option<&CatalogTable>) -> Vec<usize> {
        if !self.key.is_empty() {
            return self.key.clone();
        }
        let names = catalog.map_or(&[][..], |table| &table.key);
        let place = |name: &String| fields.iter().position(|field| field.name == *name);
        names.iter().map(place).collect::<Option<_>>().unwrap_or_default()
    }
}

impl MapColumn {
    /// Format and kind; `known` is what the catalogue says of the column.
    fn format(
        &self,
        known: Option<&CatalogColumn>,
        charsets: &Charsets,
    ) -> Result<(Format, ColumnKind), String> {
        use ColumnKind as Kind;
        let unsigned = self.unsigned.or(match known.map(|known| &known.kind) {
            Some(Kind::Integer { unsigned, .. }) => Some(*unsigned),
            _ => None,
        });
        let integer = |bytes: usize| {
            let unsigned = unsigned.ok_or("its sign is unknown")?;
            let kind = Kind::Integer { bits: 8 * bytes as u8, unsigned };
            Ok((Format::Int { bytes, unsigned }, kind))
        };
        let [first, second] = self.meta;
        let digits = first.min(6);
        match self.kind {
            1 => integer(1),
            2 => integer(2),
            9 => integer(3),
            3 => integer(4),
            8 => integer(8),
            4 => Ok((Format::Float, Kind::Float)),
            5 => Ok((Format::Double, Kind::Double)),
            246 => {
                let (precision, scale) = (first, second);
                Ok((Format::Decimal { precision, scale }, Kind::Decimal { precision, scale }))
            }
            16 => {
                let bits = second.saturating_mul(8).saturating_add(first);
                let bytes = usize::from(bits).div_ceil(8);
                if bytes > 8 {
                    return Err("a bit field is too wide".into());
                }
                Ok((Format::Bit { bytes }, Kind::Bit { bits }))
            }
            13 => Ok((Format::Year, Kind::Year)),
            10 | 14 => Ok((Format::Date, Kind::Date)),
            19 => Ok((Format::Time { digits }, Kind::Time { digits })),
            18 => Ok((Format::DateTime { digits }, Kind::DateTime { digits })),
            17 => Ok((Format::Timestamp { digits }, Kind::Timestamp { digits })),
            11 => Ok((Format::OldTime, Kind::Time { digits: 0 })),
            12 => Ok((Format::OldDateTime, Kind::DateTime { digits: 0 })),
            7 => Ok((Format::OldTimestamp, Kind::Timestamp { digits: 0 })),
            ENUM | SET => self.labelled(known, charsets),
            245 => Ok((Format::Json { prefix: prefix(first)? }, Kind::Json)),
            GEOMETRY => Ok((Format::Geometry { prefix: prefix(first)? }, Kind::Geometry)),
            242 => Ok((Format::Bytes { prefix: prefix(first)? }, Kind::Bytes)),
            15 | 140 | 141 | 249..=253 | STRING => self.string(known, charsets),
            kind => Err(format!("its type {kind} is unknown")),
        }
    }

    fn labelled(
        &self,
        known: Option<&CatalogColumn>,
        charsets: &Charsets,
    ) -> Result<(Format, ColumnKind), String> {
        let labels: Arc<[String]> = match (&self.labels, known.map(|known| &known.kind)) {
            (Some(labels), _) => {
                let charset = self.collation.and_then(|id| charsets.by_collation.get(&id));
                let text = |label: &Vec<u8>| match charset {
                    Some(charset) => charset.text(label),
                    None => String::from_utf8(label.clone()).ok(),
                };
                labels.iter().map(text).collect::<Option<_>>().ok_or("a label is no text")?
            }
            (None, Some(ColumnKind::Enum { labels } | ColumnKind::Set { labels })) => {
                Arc::clone(labels)
            }
            _ => return Err("its labels are unknown".into()),
        };
        let bytes = usize::from(self.meta[1]);
        if bytes > 8 {
            return Err("it has too many labels".into());
        }
        Ok(if self.kind == ENUM {
            (Format::Enum { bytes, labels: Arc::clone(&labels) }, ColumnKind::Enum { labels })
        } else {
            (Format::Set { bytes, labels: Arc::clone(&labels) }, ColumnKind::Set { labels })
        })
    }

    fn string(
        &self,
        known: Option<&CatalogColumn>,
        charsets: &Charsets,
    ) -> Result<(Format, ColumnKind), String> {
        use ColumnKind as Kind;
        let [first, second] = self.meta;
        let (length, prefix) = match self.kind {
            140 | 249..=252 => (None, prefix(first)?),
            // Ten bits of length: two of them are hidden in the type, turned.
            STRING => {
                let length = usize::from(second) | usize::from(first & 0x30 ^ 0x30) << 4;
                (Some(length), if length < 256 { 1 } else { 2 })
            }
            _ => (None, if u16::from_le_bytes(self.meta) < 256 { 1 } else { 2 }),
        };
        match (known.map(|known| &known.kind), length) {
            (Some(Kind::Uuid), Some(16)) => return Ok((Format::Uuid { prefix }, Kind::Uuid)),
            (Some(Kind::Inet6), Some(16)) => return Ok((Format::Inet6 { prefix }, Kind::Inet6)),
            (Some(Kind::Inet4), Some(4)) => return Ok((Format::Inet4 { prefix }, Kind::Inet4)),
            _ => {}
        }
        let charset = match (self.collation, known.and_then(|known| known.charset.as_ref())) {
            (Some(BINARY), _) | (None, None) => None,
            (Some(id), _) => {
                let charset = charsets.by_collation.get(&id);
                Some(charset.ok_or_else(|| format!("its collation {id} is unknown"))?)
            }
            (None, Some(name)) => {
                let charset = charsets.by_name.get(name);
                Some(charset.ok_or_else(|| format!("its character set {name:?} is unknown"))?)
            }
        };
        let compressed = matches!(self.kind, 140 | 141);
        let Some(charset) = charset.cloned() else {
            let format = match length {
                _ if compressed => Format::CompressedBytes { prefix },
                Some(length) => Format::Padded { prefix, length },
                None => Format::Bytes { prefix },
            };
            return Ok((format, Kind::Bytes));
        };
        let format = if compressed {
            Format::CompressedText { prefix, charset }
        } else {
            Format::Text { prefix, charset }
        };
        Ok((format, Kind::Text))
    }
}

/// Bytes of a length: 1 to 4.
fn prefix(meta: u8) -> Result<usize, String> {
    match meta {
        1..=4 => Ok(meta.into()),
        _ => Err(format!("its length has {meta} bytes")),
    }
}

/// The real type and its metadata: `CHAR`, `ENUM` and `SET` share a type.
fn read_meta(kind: u8, metas: &mut Bytes<'_>) -> Parsed<(u8, [u8; 2])> {
    Ok(match kind {
        4 | 5 | 17..=19 | 140 | 242 | 245 | 249..=252 | GEOMETRY => (kind, [metas.u8()?, 0]),
        15 | 16 | 141 | 246 | ENUM | SET | 253 => (kind, [metas.u8()?, metas.u8()?]),
        STRING => {
            let meta = [metas.u8()?, metas.u8()?];
            (if matches!(meta[0], ENUM | SET) { meta[0] } else { STRING }, meta)
        }
        20 => return Err(Fault::new("a typed array has no place in rows")),
        _ => (kind, [0, 0]),
    })
}

fn read_default_collations<'a>(
    bytes: &mut Bytes<'_>,
    columns: impl Iterator<Item = &'a mut MapColumn>,
) -> Parsed<()> {
    let default = bytes.length()? as u64;
    let mut others = Vec::new();
    while !bytes.is_empty() {
        others.push((bytes.length()?, bytes.length()? as u64));
    }
    for (index, column) in columns.enumerate() {
        let other = others.iter().find(|other| other.0 == index);
        column.collation = Some(other.map_or(default, |other| other.1));
    }
    Ok(())
}

fn read_collations<'a>(
    bytes: &mut Bytes<'_>,
    columns: impl Iterator<Item = &'a mut MapColumn>,
) -> Parsed<()> {
    for column in columns {
        column.collation = Some(bytes.length()? as u64);
    }
    if bytes.is_empty() { Ok(()) } else { Err(Fault::new("there are too many collations")) }
}

fn read_labels<'a>(
    bytes: &mut Bytes<'_>,
    columns: impl Iterator<Item = &'a mut MapColumn>,
) -> Parsed<()> {
    for column in columns {
        let count = bytes.length()?;
        let labels = (0..count).map(|_| bytes.counted().map(<[u8]>::to_vec));
        column.labels = Some(labels.collect::<Parsed<_>>()?);
    }
    Ok(())
}
