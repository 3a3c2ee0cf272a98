//! Documents of a template, one after the other.
//!
//! What the source and the command line share. With the same seed and clock it
//! gives the same documents, byte for byte, from any number on. It waits for
//! nothing; pace is the caller's.

use std::sync::Arc;

use courant_model::Clock;
use serde_json::Value;

use crate::{
    random::Random,
    template::{BUILT_IN, BuiltIn, Params, Scene, Template},
};

/// Makes documents.
#[derive(Debug)]
pub struct Generator {
    template: Template,
    random: Random,
    number: u64,
    clock: Arc<dyn Clock>,
    params: Params,
}

/// Names of the built-in templates, as files write them.
pub fn template_names() -> Vec<&'static str> {
    BUILT_IN.iter().map(|(name, _)| *name).collect()
}

impl Generator {
    /// A generator of a built-in template: `message`, `page_event`, `order`,
    /// `customer` or `bet`. Without a seed the clock gives one.
    pub fn built_in(name: &str, seed: Option<u64>, clock: Arc<dyn Clock>) -> Option<Self> {
        Some(Self::new(Template::BuiltIn(BuiltIn::named(name)?), seed, clock))
    }

    pub(crate) fn new(template: Template, seed: Option<u64>, clock: Arc<dyn Clock>) -> Self {
        let random = match seed {
            Some(seed) => Random::seeded(seed),
            None => Random::of_the_moment(&*clock),
        };
        Self { template, random, number: 0, clock, params: Params::new() }
    }

    /// Numbers the next document so.
    pub(crate) const fn continue_at(&mut self, number: u64) {
        self.number = number;
    }

    /// Makes the next document; its dates are near the clock's present.
    pub fn next_document(&mut self) -> Value {
        let mut scene = Scene {
            random: &mut self.random,
            now: self.clock.now(),
            number: self.number,
            params: &self.params,
        };
        let document = self.template.render(&mut scene);
        self.number += 1;
        document
    }
}
