//! The rows of one event, read by the plan of their table.
//!
//! Format: MySQL's `ROWS_EVENT`, versions 1 and 2, and MariaDB's compressed ones. Each
//! image is a bitmap of nulls and the fields that the event's own bitmap names.

use super::{
    bytes::{Bytes, Fault, Parsed, unfold_event},
    table_map::Plan,
};
use crate::{
    change::{Operation, Row},
    error::CaptureError,
    value::Value,
};

/// An event's rows: which kind, and where they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowsKind {
    pub(super) operation: Operation,
    /// Whether more header follows the flags (version 2).
    extended: bool,
    compressed: bool,
}

/// Why an event cannot be read: its bytes, or something that reading again does not mend.
#[derive(Debug)]
pub(super) enum Trouble {
    Fault(Fault),
    Error(CaptureError),
}

impl Trouble {
    /// The error, with the position of the transaction.
    pub(super) fn at(self, position: String) -> CaptureError {
        match self {
            Self::Fault(fault) => CaptureError::Corrupt { position, what: fault.0.into_owned() },
            Self::Error(error) => error,
        }
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl RowsKind {
    /// The kind of an event's type; `None` when it has no rows.
    pub(super) fn of(event: u8) -> Option<Self> {
        use Operation::{Delete, Insert, Update};
        let (operation, extended, compressed) = match event {
            23 => (Insert, false, false),
            24 => (Update, false, false),
            25 => (Delete, false, false),
            30 => (Insert, true, false),
            31 => (Update, true, false),
            32 => (Delete, true, false),
            166 => (Insert, false, true),
            167 => (Update, false, true),
            168 => (Delete, false, true),
            169 => (Insert, true, true),
            170 => (Update, true, true),
            171 => (Delete, true, true),
            _ => return None,
        };
        Some(Self { operation, extended, compressed })
    }
}

/// The table's id of a rows event.
pub(super) fn table_id(body: &[u8]) -> Parsed<u64> {
    Bytes(body).uint(6)
}

/// Reads all rows of an event and hands each one's images to `take`.
pub(super) fn read(
    plan: &Plan,
    kind: RowsKind,
    body: &[u8],
    mut take: impl FnMut(Option<Row>, Option<Row>),
) -> Result<(), Trouble> {
    let mut bytes = Bytes(body);
    bytes.take(8)?;
    if kind.extended {
        let extra = bytes.uint(2)? as usize;
        bytes.take(extra.checked_sub(2).ok_or(Fault::new("a row event's header is too short"))?)?;
    }
    let count = bytes.length()?;
    if count != plan.fields.len() {
        return Err(Fault::new("rows and their table's map differ in columns").into());
    }
    let first = present(plan, bytes.take(count.div_ceil(8))?)?;
    let second = match kind.operation {
        Operation::Update => Some(present(plan, bytes.take(count.div_ceil(8))?)?),
        _ => None,
    };
    let unfolded;
    let mut rows = if kind.compressed {
        unfolded = unfold_event(bytes)?;
        Bytes(&unfolded)
    } else {
        bytes
    };
    while !rows.is_empty() {
        let image = read_image(plan, first, &mut rows)?;
        match kind.operation {
            Operation::Insert => take(None, Some(image)),
            Operation::Delete => take(Some(image), None),
            _ => {
                let after = read_image(plan, second.unwrap_or(first), &mut rows)?;
                take(Some(image), Some(after));
            }
        }
    }
    Ok(())
}

/// Checks that an image has every chosen column.
fn present<'a>(plan: &Plan, bitmap: &'a [u8]) -> Result<&'a [u8], Trouble> {
    let missing = plan.fields.iter().enumerate().any(|(i, field)| field.chosen && !bit(bitmap, i));
    if missing {
        let table = plan.table.full_name();
        return Err(Trouble::Error(CaptureError::PartialRow { table }));
    }
    Ok(bitmap)
}

fn read_image(plan: &Plan, present: &[u8], rows: &mut Bytes<'_>) -> Result<Row, Trouble> {
    let count = (0..plan.fields.len()).filter(|index| bit(present, *index)).count();
    let nulls = rows.take(count.div_ceil(8))?;
    let mut row = Vec::with_capacity(plan.table.columns.len());
    let mut place = 0;
    for (index, field) in plan.fields.iter().enumerate() {
        if !bit(present, index) {
            continue;
        }
        let value = if bit(nulls, place) {
            Value::Null
        } else {
            field.format.read(rows).map_err(|fault| {
                Trouble::Error(CaptureError::Value {
                    table: plan.table.full_name(),
                    column: field.name.clone(),
                    what: fault.0.into_owned(),
                })
            })?
        };
        place += 1;
        if field.chosen {
            row.push(value);
        }
    }
    Ok(row)
}

const fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] >> (index % 8) & 1 == 1
}
