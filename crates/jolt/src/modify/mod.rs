//! The three `modify-…-beta` operations: values computed in place.
//!
//! Keys on the left say where, with a prefix for when (`+` always, `~` if missing or null,
//! `_` if missing) and a `?` for "only if it is there"; what stands on the right says what:
//! a literal, a value from elsewhere, a function. Compiled by [`compile`], run by [`run`];
//! the functions know nothing of either ([`functions`]).

mod compile;
mod functions;
mod run;

use crate::{
    budget::{Fault, Run},
    error::Report,
    explain::Observer,
    keys::KeyId,
    path::{Path, Transpose},
    star::Star,
    value::{Literal, Slot, Value},
};
use functions::Call;

/// A compiled `modify`.
#[derive(Debug)]
pub(crate) struct Modify {
    root: Composite,
}

/// When a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Overwrite,
    /// If it is missing or null.
    Default,
    /// If it is missing.
    Define,
}

#[derive(Debug)]
struct Composite {
    mode: Mode,
    shape: Shape,
    literals: Vec<Entry>,
    /// In the order in which they are tried.
    stars: Vec<(Star, Entry)>,
}

/// What a composite can be applied to, and what it makes where nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Only `*` below: anything that is there.
    Any,
    Object,
    /// Grown to this many items.
    Array {
        length: usize,
    },
}

#[derive(Debug)]
struct Entry {
    id: KeyId,
    key: Box<str>,
    /// In an array.
    index: usize,
    mode: Mode,
    /// With a `?`.
    only_present: bool,
    node: Node,
}

#[derive(Debug)]
enum Node {
    /// The first that gives a value.
    Leaf(Vec<Expression>),
    Composite(Composite),
}

#[derive(Debug)]
enum Expression {
    Literal(Literal),
    /// `@(1,a)`
    Document(Transpose),
    /// `^a`
    Context(Path),
    /// A function that nobody knows, without arguments.
    Nothing,
    /// `=f` on the current value.
    OnCurrent(Call),
    /// `=f(…)`
    On(Call, Vec<Self>),
}

impl Expression {
    /// When its value is written, in an entry of this mode. The current value is squashed
    /// where it stands, whatever the mode, as in the reference.
    fn mode(&self, mode: Mode) -> Mode {
        match self {
            Self::OnCurrent(call) if call.squashes() => Mode::Overwrite,
            _ => mode,
        }
    }
}

impl Modify {
    pub(crate) fn compile(spec: Value<'_>, mode: Mode, report: &mut Report) -> Option<Self> {
        match spec {
            Value::Object(spec) => {
                compile::composite(spec, mode, mode, report).map(|root| Self { root })
            }
            other => {
                report.tell(format!("a modify needs an object as its spec, not {}", other.kind()));
                None
            }
        }
    }

    pub(crate) fn apply<'x, O: Observer<'x>>(
        &'x self,
        run: Run<'x, '_, O>,
        slot: &'x Slot<'x>,
        context: Option<Value<'x>>,
    ) -> Result<(), Fault> {
        run::run(&self.root, run, slot, context)
    }

    /// How many levels it can put below a value; what it copies from elsewhere can add
    /// as many as the document has.
    pub(crate) fn deepens(&self) -> usize {
        self.root.deepens()
    }
}

impl Entry {
    /// Whether it is tried on a value that is there, or is not.
    const fn is_tried(&self, present: bool) -> bool {
        present || !self.only_present
    }
}

impl Composite {
    fn deepens(&self) -> usize {
        let entries = self.literals.iter().chain(self.stars.iter().map(|(_, entry)| entry));
        let nodes = entries.map(|entry| match &entry.node {
            Node::Composite(composite) => 1 + composite.deepens(),
            Node::Leaf(expressions) => {
                let deep = expressions.iter().map(|expression| match expression {
                    Expression::Literal(value) => 1 + value.depth(),
                    Expression::Nothing => 0,
                    // It replaces what it works on, at most by a list of it.
                    Expression::OnCurrent(_) => 1,
                    Expression::On(call, _) if call.gives_a_scalar() => 1,
                    Expression::Document(_) | Expression::Context(_) | Expression::On(..) => {
                        crate::limits::DEPTH_MAX
                    }
                });
                deep.max().unwrap_or(0)
            }
        });
        nodes.max().unwrap_or(0)
    }
}
