//! A record's headers in NATS, and a message's in a record.
//!
//! Headers keep their names. Those of the server's own (`Nats-…`) come in, but never go
//! out: they would tell the server to do something that the file does not say.

use async_nats::{
    HeaderMap,
    header::{HeaderName, HeaderValue},
};
use courant_model::{Header, Record};

use crate::messaging::header_text;

const OWN: &str = "nats-";
pub(super) const SUBJECT: &str = "nats-subject";
pub(super) const SEQUENCE: &str = "nats-sequence";

/// Adds a message's headers to its record, in the order of their names.
pub(super) fn take(headers: &HeaderMap, record: &mut Record) {
    let mut all: Vec<_> = headers.iter().collect();
    all.sort_by(|(left, _), (right, _)| {
        AsRef::<str>::as_ref(*left).cmp(AsRef::<str>::as_ref(*right))
    });
    for (name, values) in all {
        for value in values {
            let value: &str = value.as_ref();
            record.headers.push(Header::new(name.to_string(), value.to_owned()));
        }
    }
}

/// The headers of a record's message.
///
/// # Errors
/// A header that NATS cannot carry.
pub(super) fn of(headers: &[Header]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for header in headers.iter().filter(|header| !is_own(&header.name)) {
        let refused = |why: &dyn std::fmt::Display| format!("header {:?}: {why}", header.name);
        let name: HeaderName = header.name.parse().map_err(|error| refused(&error))?;
        let value: HeaderValue = header_text(header)?.parse().map_err(|error| refused(&error))?;
        map.append(name, value);
    }
    Ok(map)
}

fn is_own(name: &str) -> bool {
    name.get(..OWN.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN))
}

#[cfg(test)]
mod tests {
    use courant_model::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_survive_the_way_out_and_in(
            headers in prop::collection::vec(("[a-m]{1,8}", "[^\r\n]{0,12}"), 0..8)
        ) {
            let mut sent: Vec<Header> =
                headers.into_iter().map(|(name, value)| Header::new(name, value)).collect();
            let mut record = Record::new("", Timestamp::from_millis(0));
            take(&of(&sent).unwrap(), &mut record);
            sent.sort_by(|left, right| left.name.cmp(&right.name));
            prop_assert_eq!(record.headers, sent);
        }
    }

    #[test]
    fn the_servers_own_headers_do_not_go_out_and_impossible_ones_are_refused() {
        assert!(
            of(&[Header::new("Nats-Rollup", "all"), Header::new(SUBJECT, "a")]).unwrap().is_empty()
        );
        for (name, value) in [("a", b"x\ny".as_slice()), ("a:b", b"x"), ("a", b"\xff")] {
            let why = of(&[Header::new(name, value.to_vec())]).unwrap_err();
            assert!(why.contains(name), "{why}");
        }
    }
}
