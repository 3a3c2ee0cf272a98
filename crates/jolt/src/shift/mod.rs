//! `shift`: copies values from where they are to where they shall be.
//!
//! Compiled to a tree of its own ([`compile`]), walked side by side with the document
//! ([`walk`]), writing to a new one ([`output`]). What is not named is left behind.

mod compile;
mod output;
mod walk;

use crate::{
    budget::{Fault, Run},
    error::Report,
    explain::Observer,
    key::Reference,
    keys::KeyId,
    path::{Element, Path, Token, Transpose},
    star::Star,
    value::Value,
};

/// A compiled `shift`.
#[derive(Debug)]
pub(crate) struct Shift {
    root: Composite,
}

/// An object of the specification.
#[derive(Debug)]
struct Composite {
    /// Run first and block nothing.
    specials: Vec<(Special, Node)>,
    literals: Vec<Literal>,
    /// In the order in which they are tried.
    computed: Vec<(Computed, Node)>,
    order: Order,
    /// Fronts of its leaves' paths that are the same for all of its keys: the containers
    /// that they lead to are looked for once.
    fronts: usize,
}

#[derive(Debug)]
struct Literal {
    key: Box<str>,
    /// What it means in an array, where it is a number.
    index: Option<i32>,
    node: Node,
}

/// A key that is not looked for in the document.
#[derive(Debug)]
enum Special {
    At,
    Transpose(Transpose),
    Dollar(Reference),
    Hash(Box<str>),
}

/// A key that is compared with every key of the document.
#[derive(Debug)]
enum Computed {
    Amp(Vec<Token>),
    Star(Star),
    /// `[…]` on the left: the reference never lets it match, but it must have an index.
    Index(Element),
}

/// What is done with a value whose key matched.
#[derive(Debug)]
struct Node {
    key: KeyId,
    then: Then,
}

#[derive(Debug)]
enum Then {
    /// The value goes there.
    Write(Leaf),
    /// The keys below are tried.
    Enter(Composite),
}

#[derive(Debug)]
struct Leaf {
    places: Vec<Place>,
    /// Whether a path depends on the leaf's own step. Others are written as the step above
    /// sees them, and the leaf needs no step.
    steps: bool,
}

#[derive(Debug)]
struct Place {
    path: Path,
    /// Whether each part gives a key, so that writing can begin before all are known.
    certain: bool,
    /// Which of the composite's fronts all parts but the last are.
    front: Option<usize>,
}

/// Fronts that a composite remembers; it makes room for them each time it is entered.
const FRONTS_MAX: usize = 16;

/// In which order keys meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Only literals: the specification's order.
    Literals,
    /// Only computed keys: the document's order.
    Computed,
    /// No computed key matches a literal: literals, then computed.
    LiteralsThenComputed,
    /// The document's order, a literal before the computed.
    Document,
}

impl Shift {
    pub(crate) fn compile(spec: Value<'_>, report: &mut Report) -> Option<Self> {
        let root = compile::root(spec, report)?;
        Some(Self { root })
    }

    pub(crate) fn apply<'x, O: Observer<'x>>(
        &'x self,
        run: Run<'x, '_, O>,
        input: Value<'x>,
    ) -> Result<Value<'x>, Fault> {
        walk::run(&self.root, run, input)
    }

    /// How many levels it can put above a value.
    pub(crate) fn deepens(&self) -> usize {
        self.root.deepens()
    }
}

impl Composite {
    fn deepens(&self) -> usize {
        let nodes = self.specials.iter().map(|(_, node)| node);
        let nodes = nodes.chain(self.literals.iter().map(|literal| &literal.node));
        let nodes = nodes.chain(self.computed.iter().map(|(_, node)| node));
        nodes.map(Node::deepens).max().unwrap_or(0)
    }
}

impl Node {
    fn deepens(&self) -> usize {
        match &self.then {
            // One more for the list that two values in one place become.
            Then::Write(Leaf { places, .. }) => {
                places.iter().map(|place| place.path.elements.len() + 1).max().unwrap_or(0)
            }
            Then::Enter(composite) => composite.deepens(),
        }
    }
}
