//! Randomness that a seed repeats: the same seed gives the same data everywhere.
//!
//! ChaCha with eight rounds, whose output is specified and does not change with
//! the machine. It is no secret of any kind: made for data, never for keys.

use courant_model::Clock;
use fake::rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};

/// A generator of random values.
#[derive(Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// Takes the present as the seed.
    pub(crate) fn of_the_moment(clock: &dyn Clock) -> Self {
        Self::seeded(clock.now_micros().unsigned_abs())
    }

    /// A number of this range, both ends included; `least` when they are swapped.
    pub(crate) fn int(&mut self, least: i64, most: i64) -> i64 {
        if most <= least { least } else { self.0.random_range(least..=most) }
    }

    /// A number in `0..1`.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0.random()
    }

    pub(crate) fn percent(&mut self, percent: i64) -> bool {
        self.int(1, 100) <= percent
    }

    /// One of these; the default of none.
    pub(crate) fn one_of<'a>(&mut self, choice: &[&'a str]) -> &'a str {
        choice.choose(&mut self.0).copied().unwrap_or_default()
    }

    pub(crate) fn uuid(&mut self) -> String {
        let bytes: [u8; 16] = self.0.random();
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }

    /// A text of the fake library.
    pub(crate) fn fake<F: FakeText>(&mut self, faker: &F) -> String {
        faker.text(&mut self.0)
    }
}

/// Fakers that give texts; spares the callers the library's generics.
pub(crate) trait FakeText {
    fn text(&self, random: &mut ChaCha8Rng) -> String;
}

impl<F> FakeText for F
where
    String: fake::Dummy<F>,
{
    fn text(&self, random: &mut ChaCha8Rng) -> String {
        <String as fake::Dummy<F>>::dummy_with_rng(self, random)
    }
}
