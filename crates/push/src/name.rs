//! Names of channels, and what a name says about its channel.
//!
//! The prefix decides everything: who may subscribe, whether members are known, whether
//! the last event is remembered. A [`ChannelName`] that exists is valid; the kind is read
//! once.

use std::{fmt, sync::Arc};

use courant_model::limits::{PUSH_CHANNEL_NAME_CHARS_MAX, PUSH_CHANNEL_NAME_MARKS};

/// Prefix of the channel that reaches one signed-in user on all connections.
const SERVER_TO_USER: &str = "#server-to-user-";

/// Who may subscribe to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Everybody.
    Public,
    /// Who brings a signature of the application.
    Private,
    /// As private; data is encrypted between publisher and pages.
    Encrypted,
    /// As private; everyone knows who else is there.
    Presence,
    /// The user it is named after.
    ServerToUser,
}

/// The valid name of a channel: `A-Z a-z 0-9 _ - = @ , . ;`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ChannelName {
    text: Arc<str>,
    kind: Kind,
    cache: bool,
}

/// A text that names no channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "channel name {found:?} is not valid; expected 1 to {PUSH_CHANNEL_NAME_CHARS_MAX} of A-Z a-z 0-9 _ - = @ , . ;"
)]
pub struct NameError {
    /// The beginning of what was given.
    pub found: String,
}

impl ChannelName {
    /// Reads a name.
    ///
    /// # Errors
    /// When it is empty, too long or has characters that are not allowed.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let plain = text.strip_prefix(SERVER_TO_USER).unwrap_or(text);
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || PUSH_CHANNEL_NAME_MARKS.as_bytes().contains(&byte)
        };
        let fits = !plain.is_empty() && text.len() <= PUSH_CHANNEL_NAME_CHARS_MAX;
        if !fits || !plain.bytes().all(allowed) {
            let found = text.chars().take(PUSH_CHANNEL_NAME_CHARS_MAX).collect();
            return Err(NameError { found });
        }
        let (kind, rest) = kind_of(text);
        Ok(Self { text: text.into(), kind, cache: rest.starts_with("cache-") })
    }

    /// The name as it travels.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Who may subscribe.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the last event is remembered for those who come later.
    pub fn is_cache(&self) -> bool {
        self.cache
    }

    /// Whether pages may trigger events on it.
    pub(crate) fn takes_client_events(&self) -> bool {
        matches!(self.kind, Kind::Private | Kind::Presence)
    }

    /// The user whom a server-to-user channel reaches.
    pub(crate) fn user(&self) -> Option<&str> {
        self.text.strip_prefix(SERVER_TO_USER)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The kind, and the name without the kind's prefix.
fn kind_of(text: &str) -> (Kind, &str) {
    let kinds = [
        ("private-encrypted-", Kind::Encrypted),
        ("private-", Kind::Private),
        ("presence-", Kind::Presence),
        (SERVER_TO_USER, Kind::ServerToUser),
    ];
    for (prefix, kind) in kinds {
        if let Some(rest) = text.strip_prefix(prefix) {
            // A user may be called "cache-1".
            return (kind, if kind == Kind::ServerToUser { "" } else { rest });
        }
    }
    (Kind::Public, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefix_says_what_a_channel_is() {
        let cases = [
            ("orders", Kind::Public, false),
            ("cache-orders", Kind::Public, true),
            ("private-orders", Kind::Private, false),
            ("private-cache-orders", Kind::Private, true),
            ("private-encrypted-orders", Kind::Encrypted, false),
            ("private-encrypted-cache-orders", Kind::Encrypted, true),
            ("presence-room", Kind::Presence, false),
            ("presence-cache-room", Kind::Presence, true),
            ("#server-to-user-cache-7", Kind::ServerToUser, false),
        ];
        for (text, kind, cache) in cases {
            let name = ChannelName::parse(text).unwrap();
            assert_eq!((name.kind(), name.is_cache(), name.as_str()), (kind, cache, text));
        }
    }

    #[test]
    fn a_name_with_other_characters_or_too_long_is_refused() {
        let long = "a".repeat(PUSH_CHANNEL_NAME_CHARS_MAX + 1);
        for text in ["", "a b", "a/b", "é", "#server-to-user-", "#other", "a\n", long.as_str()] {
            assert!(ChannelName::parse(text).is_err(), "{text:?}");
        }
        assert!(ChannelName::parse(&long[1..]).is_ok());
    }
}
