//! Random bytes for salts, nonces and secrets, from the generator that TLS uses.
//!
//! Not for anything that a test must repeat.

/// As many random bytes as asked for.
///
/// # Panics
/// Where the operating system has no randomness: nothing here would be safe.
pub(super) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .expect("the operating system gives randomness");
    bytes
}
