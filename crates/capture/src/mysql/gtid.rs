//! Which transactions a server has: MariaDB's positions and MySQL's sets of GTIDs.
//!
//! MariaDB numbers the transactions of a domain one after the other, so the last of
//! each domain says all. MySQL's sets are ranges for every server's identity. Both are
//! read from and written as the servers write them.

use std::{collections::BTreeMap, fmt};

/// The transactions that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Gtids {
    /// Domain → server and sequence number of its last transaction.
    MariaDb(BTreeMap<u32, (u32, u64)>),
    /// Server → ranges `[from, to)`, apart from each other and in order.
    MySql(BTreeMap<[u8; 16], Vec<(u64, u64)>>),
}

impl Gtids {
    /// Reads `0-1-5,1-2-7`.
    pub(super) fn maria_db(text: &str) -> Option<Self> {
        let mut last = BTreeMap::new();
        for gtid in text.split(',').map(str::trim).filter(|gtid| !gtid.is_empty()) {
            let mut parts = gtid.split('-');
            let domain = parts.next()?.parse().ok()?;
            let (server, sequence) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            if parts.next().is_some() {
                return None;
            }
            last.insert(domain, (server, sequence));
        }
        Some(Self::MariaDb(last))
    }

    /// Reads `3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:8,…`; tagged GTIDs are unknown.
    pub(super) fn mysql(text: &str) -> Option<Self> {
        let mut sets = Self::MySql(BTreeMap::new());
        for set in text.split(',').map(str::trim).filter(|set| !set.is_empty()) {
            let mut parts = set.split(':');
            let server = parse_uuid(parts.next()?)?;
            for range in parts {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                let (from, to) = (from.trim().parse().ok()?, to.trim().parse::<u64>().ok()?);
                if from == 0 || to < from {
                    return None;
                }
                sets.add_range(server, from, to.checked_add(1)?);
            }
        }
        Some(sets)
    }

    /// Adds a transaction of MariaDB.
    pub(super) fn add_maria_db(&mut self, domain: u32, server: u32, sequence: u64) {
        if let Self::MariaDb(last) = self {
            last.insert(domain, (server, sequence));
        }
    }

    /// Adds a transaction of MySQL.
    pub(super) fn add_mysql(&mut self, server: [u8; 16], number: u64) {
        self.add_range(server, number, number.saturating_add(1));
    }

    fn add_range(&mut self, server: [u8; 16], from: u64, to: u64) {
        let Self::MySql(sets) = self else { return };
        let ranges = sets.entry(server).or_default();
        // The usual case: the next transaction of a server.
        if let Some(last) = ranges.last_mut().filter(|last| last.1 == from) {
            last.1 = to;
            return;
        }
        ranges.push((from, to));
        ranges.sort_unstable();
        let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges.drain(..) {
            match joined.last_mut().filter(|last| from <= last.1) {
                Some(last) => last.1 = last.1.max(to),
                None => joined.push((from, to)),
            }
        }
        *ranges = joined;
    }

    /// Whether everything of `other` is here.
    pub(super) fn has_all(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(ours), Self::MariaDb(theirs)) => theirs
                .iter()
                .all(|(domain, theirs)| ours.get(domain).is_some_and(|ours| ours.1 >= theirs.1)),
            (Self::MySql(ours), Self::MySql(theirs)) => theirs.iter().all(|(server, ranges)| {
                let ours = ours.get(server).map_or(&[][..], Vec::as_slice);
                ranges.iter().all(|(from, to)| ours.iter().any(|o| o.0 <= *from && *to <= o.1))
            }),
            _ => false,
        }
    }
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb(last) => {
                for (index, (domain, (server, sequence))) in last.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{domain}-{server}-{sequence}")?;
                }
            }
            Self::MySql(sets) => {
                for (index, (server, ranges)) in sets.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{}", super::fields::uuid(*server))?;
                    for (from, to) in ranges {
                        match to - from {
                            1 => write!(f, ":{from}")?,
                            _ => write!(f, ":{from}-{}", to - 1)?,
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.trim().chars().filter(|c| *c != '-').collect();
    let number = u128::from_str_radix(&digits, 16).ok()?;
    (digits.len() == 32).then_some(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_of_maria_db_are_read_as_they_are_written() {
        let mut gtids = Gtids::maria_db("1-2-7, 0-1-5").unwrap();
        assert_eq!(gtids.to_string(), "0-1-5,1-2-7");
        gtids.add_maria_db(0, 9, 6);
        assert_eq!(gtids.to_string(), "0-9-6,1-2-7");
        assert!(gtids.has_all(&Gtids::maria_db("0-1-6").unwrap()));
        assert!(!gtids.has_all(&Gtids::maria_db("2-1-1").unwrap()));
        assert_eq!(Gtids::maria_db("0-1"), None);
        assert_eq!(Gtids::maria_db("0-1-2-3"), None);
    }

    #[test]
    fn sets_of_mysql_are_read_as_they_are_written() {
        let text =
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:8,3e11fa47-71ca-11e1-9e33-c80aa9429563:1";
        assert_eq!(Gtids::mysql(text).unwrap().to_string(), text);
        for wrong in ["3e11fa47:1", "3e11fa47-71ca-11e1-9e33-c80aa9429562:tag:1", "x"] {
            assert_eq!(Gtids::mysql(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_added_in_any_order(numbers in prop::collection::btree_set(1..60_u64, 0..40), seed: u64) {
            let mut order: Vec<u64> = numbers.iter().copied().collect();
            order.sort_by_key(|number| number.wrapping_mul(seed | 1));
            let mut set = Gtids::MySql(BTreeMap::new());
            order.iter().for_each(|number| set.add_mysql([7; 16], *number));
            for number in 1..60 {
                let mut one = Gtids::MySql(BTreeMap::new());
                one.add_mysql([7; 16], number);
                prop_assert_eq!(set.has_all(&one), numbers.contains(&number));
            }
            prop_assert_eq!(Gtids::mysql(&set.to_string()), Some(set));
        }
    }
}
