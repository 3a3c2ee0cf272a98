//! What a record says of the change that it tells of, in headers.
//!
//! A record without these headers is what it always was: its value is how things are
//! now. Change data capture adds what happened; whoever keeps documents follows it, and
//! whoever does not know the headers still reads a whole document. The transaction's
//! headers let a reader wait until all changes of one commit have come.

use bytes::Bytes;

use crate::{Header, Record};

/// Name of the header that says what happened: the text of an [`Operation`].
pub const OPERATION_HEADER: &str = "courant-operation";

/// Name of the header with the changed table, as `database.table`.
pub const TABLE_HEADER: &str = "courant-table";

/// Name of the header with the transaction's name, as its database writes it.
pub const TRANSACTION_HEADER: &str = "courant-transaction";

/// Name of the header that the last record of a transaction has, with the value `last`;
/// also the last record of each portion of a snapshot.
pub const TRANSACTION_END_HEADER: &str = "courant-transaction-end";

/// What happened to the thing whose document is the record's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// It was there when the capture began.
    Snapshot,
    Insert,
    Update,
    /// It is gone; the value is what it was, so that its keys can be read there.
    Delete,
}

impl Operation {
    /// The text in [`OPERATION_HEADER`].
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The operation that headers name; `None` where they name none that is known.
    pub fn of(headers: &[Header]) -> Option<Self> {
        let header = headers.iter().rev().find(|header| header.name == OPERATION_HEADER)?;
        let all = [Self::Snapshot, Self::Insert, Self::Update, Self::Delete];
        let value = header.value.as_deref()?;
        all.into_iter().find(|one| one.as_str().as_bytes() == value)
    }

    /// The header that says it.
    pub fn header(self) -> Header {
        Header::new(OPERATION_HEADER, Bytes::from_static(self.as_str().as_bytes()))
    }
}

impl Record {
    /// What happened, if the record says so.
    pub fn operation(&self) -> Option<Operation> {
        Operation::of(&self.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn every_operation_is_read_as_it_was_written() {
        for operation in
            [Operation::Snapshot, Operation::Insert, Operation::Update, Operation::Delete]
        {
            let mut record = Record::new("{}", Timestamp::from_millis(0));
            assert_eq!(record.operation(), None);
            record.headers.push(operation.header());
            assert_eq!(record.operation(), Some(operation));
        }
        let strange = [Header::new(OPERATION_HEADER, "rename")];
        assert_eq!(Operation::of(&strange), None);
    }
}
