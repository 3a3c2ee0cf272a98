//! Places with numbers: what rows and joints lie in, and the sets that name them.
//!
//! A number is given again once its place is empty, so nobody keeps one beyond its row.
//! A set of few numbers, which most are, is a list without order; one of many is a tree,
//! so that a product in a million lines costs no more than a product in ten.

use std::collections::BTreeSet;

/// Numbers in a list; more make it a tree.
const FEW: usize = 32;

/// Values by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub(super) fn insert(&mut self, value: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.places[id as usize] = Some(value);
            return id;
        }
        let id = u32::try_from(self.places.len()).expect("fewer rows are allowed");
        self.places.push(Some(value));
        id
    }

    pub(super) fn remove(&mut self, id: u32) -> T {
        self.free.push(id);
        self.places[id as usize].take().expect("a number names a value")
    }

    pub(super) fn get(&self, id: u32) -> &T {
        self.places[id as usize].as_ref().expect("a number names a value")
    }

    pub(super) fn get_mut(&mut self, id: u32) -> &mut T {
        self.places[id as usize].as_mut().expect("a number names a value")
    }
}

/// A set of numbers.
#[derive(Debug)]
pub(super) enum Ids {
    Few(Vec<u32>),
    Many(BTreeSet<u32>),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Ids {
    /// Adds a number that is not there.
    pub(super) fn insert(&mut self, id: u32) {
        match self {
            Self::Few(few) if few.len() < FEW => few.push(id),
            Self::Few(few) => {
                let mut many: BTreeSet<u32> = few.drain(..).collect();
                many.insert(id);
                *self = Self::Many(many);
            }
            Self::Many(many) => {
                many.insert(id);
            }
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        match self {
            Self::Few(few) => {
                if let Some(index) = few.iter().position(|one| *one == id) {
                    few.swap_remove(index);
                }
            }
            Self::Many(many) => {
                many.remove(&id);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Few(few) => few.is_empty(),
            Self::Many(many) => many.is_empty(),
        }
    }

    /// The numbers, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (few, many) = match self {
            Self::Few(few) => (few.as_slice(), None),
            Self::Many(many) => (&[][..], Some(many)),
        };
        few.iter().chain(many.into_iter().flatten()).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_set_holds_what_a_set_holds(
            steps in proptest::collection::vec((any::<bool>(), 0_u32..100), 0..300),
        ) {
            let (mut ids, mut expected) = (Ids::default(), BTreeSet::new());
            for (add, id) in steps {
                if add {
                    if expected.insert(id) {
                        ids.insert(id);
                    }
                } else {
                    expected.remove(&id);
                    ids.remove(id);
                }
                prop_assert_eq!(ids.is_empty(), expected.is_empty());
            }
            prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>(), expected);
        }
    }

    #[test]
    fn a_number_is_given_again() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert("a"), slab.insert("b"));
        assert_eq!(slab.remove(a), "a");
        assert_eq!(slab.insert("c"), a);
        assert_eq!((*slab.get(a), *slab.get(b)), ("c", "b"));
    }
}
