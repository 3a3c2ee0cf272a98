//! The last messages of a channel, for pages that come back.
//!
//! Every message gets the next number of this ring; the numbers begin anew, under another
//! epoch, whenever the channel is made anew. `floor` is the number from which on all are
//! here, so an answer is complete or there is none. Bounded in messages, bytes and age,
//! and in the bytes of all rings of an app.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicUsize, Ordering},
};

use axum::extract::ws::Utf8Bytes;
use courant_model::limits::{PUSH_KEPT_ALL_BYTES_MAX, PUSH_KEPT_BYTES_MAX};
use uuid::Uuid;

use crate::{Position, Token};

/// The last messages of one channel.
#[derive(Debug)]
pub(crate) struct Ring {
    epoch: u64,
    /// Messages that this channel has had.
    sequence: u64,
    /// The source's position of the last message that had one.
    position: Option<Position>,
    /// All messages above this number are kept.
    floor: u64,
    /// All messages of its generation after this position are kept.
    covered: Option<Position>,
    kept: VecDeque<Kept>,
    bytes: usize,
}

/// A message that is kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) at: Token,
    /// Whether `at` names this message's own position, or only an earlier one's.
    pub(crate) positioned: bool,
    pub(crate) text: Utf8Bytes,
    now_ms: i64,
}

/// How much a ring may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) messages_max: usize,
    /// Bytes of all rings of the app.
    pub(crate) all_bytes: &'a AtomicUsize,
}

impl Ring {
    /// A ring whose messages come after a position of the source, where that is known.
    pub(crate) fn new(position: Option<Position>) -> Self {
        // Never 0, which stands for no epoch at all.
        let epoch = Uuid::new_v4().as_u64_pair().0;
        let kept = VecDeque::new();
        Self { epoch, sequence: 0, position, floor: 0, covered: position, kept, bytes: 0 }
    }

    /// Where the channel stands.
    pub(crate) fn at(&self) -> Token {
        Token { epoch: self.epoch, sequence: self.sequence, position: self.position }
    }

    /// The place of the next message, unless its position says that it was published
    /// already.
    pub(crate) fn next(&self, position: Option<Position>) -> Option<Token> {
        let repeated = |last: Position| position?.is_after(last).map(|after| !after);
        if self.position.and_then(repeated) == Some(true) {
            return None;
        }
        let sequence = self.sequence + 1;
        Some(Token { epoch: self.epoch, sequence, position: position.or(self.position) })
    }

    /// Adds a message at the place that [`Ring::next`] gave, and forgets what is too much.
    pub(crate) fn add(
        &mut self,
        at: Token,
        positioned: bool,
        text: Utf8Bytes,
        now_ms: i64,
        bounds: Bounds<'_>,
    ) {
        self.sequence = at.sequence;
        if positioned {
            let same = self.covered.map(|covered| covered.generation);
            if same != at.position.map(|position| position.generation) {
                self.covered = at.position;
            }
            self.position = at.position;
        }
        self.bytes += text.len();
        bounds.all_bytes.fetch_add(text.len(), Ordering::Relaxed);
        self.kept.push_back(Kept { at, positioned, text, now_ms });
        while self.kept.len() > bounds.messages_max
            || (self.kept.len() > 1 && self.bytes > PUSH_KEPT_BYTES_MAX)
            || (!self.kept.is_empty()
                && bounds.all_bytes.load(Ordering::Relaxed) > PUSH_KEPT_ALL_BYTES_MAX)
        {
            self.forget_oldest(bounds.all_bytes);
        }
    }

    /// Forgets what is older than an instant.
    pub(crate) fn forget_before(&mut self, instant_ms: i64, all_bytes: &AtomicUsize) {
        while self.kept.front().is_some_and(|kept| kept.now_ms < instant_ms) {
            self.forget_oldest(all_bytes);
        }
        if self.kept.is_empty() {
            self.kept.shrink_to_fit();
        }
    }

    /// Forgets everything, because the channel goes.
    pub(crate) fn clear(&mut self, all_bytes: &AtomicUsize) {
        self.forget_before(i64::MAX, all_bytes);
    }

    fn forget_oldest(&mut self, all_bytes: &AtomicUsize) {
        let Some(oldest) = self.kept.pop_front() else { return };
        self.bytes -= oldest.text.len();
        all_bytes.fetch_sub(oldest.text.len(), Ordering::Relaxed);
        self.floor = oldest.at.sequence;
        let covers = |covered: Position| {
            oldest.at.position.filter(|position| position.generation == covered.generation)
        };
        if oldest.positioned
            && let Some(position) = self.covered.and_then(covers)
        {
            self.covered = Some(position);
        }
    }

    /// What came after a number, unless some of it is forgotten.
    pub(crate) fn after(&self, sequence: u64) -> Option<impl Iterator<Item = &Kept>> {
        let known = (self.floor..=self.sequence).contains(&sequence);
        known.then(|| self.kept.iter().filter(move |kept| kept.at.sequence > sequence))
    }

    /// What came after a page's last message, unless some of it is not known here.
    pub(crate) fn since(&self, token: Token) -> Option<Vec<Utf8Bytes>> {
        let sequence = if token.epoch == self.epoch {
            token.sequence
        } else {
            self.sequence_of(token.position?)?
        };
        Some(self.after(sequence)?.map(|kept| kept.text.clone()).collect())
    }

    /// The number of the last message up to a position that this ring covers.
    fn sequence_of(&self, position: Position) -> Option<u64> {
        let (covered, last) = (self.covered?, self.position?);
        if covered.is_after(position)? || position.is_after(last)? {
            return None;
        }
        let upto = |kept: &&Kept| {
            kept.positioned && kept.at.position.and_then(|at| at.is_after(position)) == Some(false)
        };
        Some(self.kept.iter().rev().find(upto).map_or(self.floor, |kept| kept.at.sequence))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(sequence: u64) -> Option<Position> {
        Some(Position { generation: 1, sequence })
    }

    struct Filled {
        ring: Ring,
        all_bytes: AtomicUsize,
        messages_max: usize,
    }

    impl Filled {
        fn new(messages_max: usize) -> Self {
            Self { ring: Ring::new(None), all_bytes: AtomicUsize::new(0), messages_max }
        }

        fn add(&mut self, position: Option<Position>, text: &str) -> Option<Token> {
            let token = self.ring.next(position)?;
            let bounds = Bounds { messages_max: self.messages_max, all_bytes: &self.all_bytes };
            self.ring.add(token, position.is_some(), text.to_owned().into(), 0, bounds);
            Some(token)
        }

        fn since(&self, token: Token) -> Option<Vec<String>> {
            let texts = self.ring.since(token)?;
            Some(texts.iter().map(|text| text.as_str().to_owned()).collect())
        }
    }

    proptest! {
        #[test]
        fn a_page_gets_all_that_it_missed_or_nothing(
            messages_max in 0_usize..20, before in 0_usize..30, after in 0_usize..30
        ) {
            let mut filled = Filled::new(messages_max);
            for n in 0..before {
                filled.add(None, &n.to_string());
            }
            let token = filled.ring.at();
            for n in before..before + after {
                filled.add(None, &n.to_string());
            }
            let all: Vec<_> = (before..before + after).map(|n| n.to_string()).collect();
            prop_assert_eq!(filled.since(token), (after <= messages_max).then_some(all));
        }

        #[test]
        fn after_a_restart_the_sources_position_finds_the_place(
            messages_max in 1_usize..20, count in 1_u64..30, had in 0_u64..35
        ) {
            let mut filled = Filled::new(messages_max);
            for n in 0..count {
                filled.add(at(n), &n.to_string());
            }
            let token = Token { epoch: 0, sequence: 0, position: at(had) };
            let first_known = count.saturating_sub(messages_max as u64 + 1);
            let known = (first_known..count).contains(&had);
            let missed: Vec<_> = (had + 1..count).map(|n| n.to_string()).collect();
            prop_assert_eq!(filled.since(token), known.then_some(missed));
        }
    }

    #[test]
    fn a_ring_that_begins_at_a_position_knows_what_comes_after_it() {
        let ring = Ring::new(at(5));
        let mut filled = Filled { ring, ..Filled::new(10) };
        assert_eq!(filled.ring.at().position, at(5));
        assert!(filled.add(at(5), "committed before").is_none());
        filled.add(at(6), "six");
        let page = |had| Token { epoch: 0, sequence: 0, position: at(had) };
        assert_eq!(filled.since(page(5)), Some(vec!["six".into()]));
        assert_eq!(filled.since(page(4)), None);
    }

    #[test]
    fn a_position_that_came_already_is_a_repeat() {
        let mut filled = Filled::new(10);
        assert!(filled.add(at(5), "a").is_some());
        assert!(filled.add(at(5), "a").is_none());
        assert!(filled.add(at(4), "older").is_none());
        assert!(filled.add(None, "no position").is_some());
        assert!(filled.add(at(5), "a").is_none());
        assert!(filled.add(Some(Position { generation: 2, sequence: 1 }), "anew").is_some());
    }

    #[test]
    fn a_token_of_another_generation_or_epoch_is_not_known() {
        let mut filled = Filled::new(10);
        filled.add(at(5), "a");
        let other = Some(Position { generation: 2, sequence: 5 });
        assert!(filled.since(Token { epoch: 0, sequence: 1, position: other }).is_none());
        assert!(filled.since(Token { epoch: 0, sequence: 1, position: None }).is_none());
    }

    #[test]
    fn bytes_and_age_are_bounded_and_given_back() {
        let mut filled = Filled::new(1_000);
        let large = "x".repeat(PUSH_KEPT_BYTES_MAX / 2);
        for _ in 0..5 {
            filled.add(None, &large);
        }
        assert_eq!(filled.ring.kept.len(), 2);
        assert_eq!(filled.all_bytes.load(Ordering::Relaxed), 2 * large.len());
        let token = filled.ring.at();
        filled.ring.clear(&filled.all_bytes);
        assert_eq!(filled.all_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(filled.since(token), Some(Vec::new()));
    }

    #[test]
    fn an_app_that_keeps_too_much_keeps_nothing_more() {
        let mut filled = Filled::new(1_000);
        filled.all_bytes.store(PUSH_KEPT_ALL_BYTES_MAX, Ordering::Relaxed);
        filled.add(None, "one more");
        assert_eq!(filled.all_bytes.load(Ordering::Relaxed), PUSH_KEPT_ALL_BYTES_MAX);
        assert!(filled.ring.kept.is_empty());
    }
}
