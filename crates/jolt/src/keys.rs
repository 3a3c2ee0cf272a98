//! The keys of one operation's specification, numbered while it is compiled.
//!
//! Compiled trees keep a number for each key, so that errors and explanations can give the
//! path to it: each key knows the one that it stands below. Number 0 is the whole spec.

/// A key of a specification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KeyId(u32);

/// The keys of a specification, as they are written there.
#[derive(Debug, Default)]
pub(crate) struct Keys(Vec<(KeyId, Box<str>)>);

impl Keys {
    pub(crate) fn add(&mut self, above: KeyId, key: &str) -> KeyId {
        self.0.push((above, key.into()));
        // More keys than 32 bits count do not fit a specification's memory.
        KeyId(u32::try_from(self.0.len()).unwrap_or(u32::MAX))
    }

    /// The keys from the top down to this one; none for the whole spec.
    pub(crate) fn path(&self, key: KeyId) -> Vec<String> {
        let mut path = Vec::new();
        let mut at = key;
        while let Some((above, key)) = self.find(at) {
            path.push(key.to_owned());
            at = above;
        }
        path.reverse();
        path
    }

    /// The key that this one stands below.
    pub(crate) fn above(&self, key: KeyId) -> KeyId {
        self.find(key).map_or(KeyId::default(), |(above, _)| above)
    }

    fn find(&self, key: KeyId) -> Option<(KeyId, &str)> {
        let place = usize::try_from(key.0).ok()?.checked_sub(1)?;
        self.0.get(place).map(|(above, key)| (*above, &**key))
    }
}
