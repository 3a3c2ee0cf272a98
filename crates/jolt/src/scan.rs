//! Looking through strings eight bytes at a time.
//!
//! Finds what cannot stand in a JSON string as it is (quotes, backslashes and control
//! characters; reader and writer share that), and compares keys, which are short: a call
//! to the general comparison costs more than the comparison.

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = 0x8080_8080_8080_8080;

/// How many bytes at the front are neither a quote nor a backslash nor below a blank.
#[inline]
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((eight, after)) = rest.split_first_chunk() {
        let word = u64::from_le_bytes(*eight);
        let special = below_blank(word) | equals(word, b'"') | equals(word, b'\\');
        if special != 0 {
            return bytes.len() - rest.len() + special.trailing_zeros() as usize / 8;
        }
        rest = after;
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
    let plain = rest.iter().position(special).unwrap_or(rest.len());
    bytes.len() - rest.len() + plain
}

/// Whether two keys are equal.
#[inline]
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    // Up to sixteen bytes are the eight at the front and the eight at the end.
    if a.len() > 16 {
        return a == b;
    }
    if let (Some(a_front), Some(b_front)) = (a.first_chunk::<8>(), b.first_chunk::<8>()) {
        return a_front == b_front && a.last_chunk::<8>() == b.last_chunk::<8>();
    }
    if let (Some(a_front), Some(b_front)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) {
        return a_front == b_front && a.last_chunk::<4>() == b.last_chunk::<4>();
    }
    a.iter().eq(b)
}

/// The top bit of each byte that is below a blank. A borrow can mark a byte above the
/// first that is right, never one below it.
const fn below_blank(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x20) & !word & TOPS
}

const fn equals(word: u64, byte: u8) -> u64 {
    let different = word ^ (ONES * byte as u64);
    different.wrapping_sub(ONES) & !different & TOPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_finds_what_a_search_byte_by_byte_finds(bytes in prop::collection::vec(
            prop_oneof![Just(b'"'), Just(b'\\'), Just(0x1f), Just(b' '), Just(b'!'), Just(b'#'), Just(b'a'), Just(b'a'), Just(b'b'), any::<u8>()],
            0..64,
        )) {
            let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            let slow = bytes.iter().position(special).unwrap_or(bytes.len());
            prop_assert_eq!(plain(&bytes), slow);
        }

        #[test]
        fn keys_are_the_same_when_all_their_bytes_are(a in "[ab]{0,20}", b in "[ab]{0,20}", place in 0usize..20) {
            prop_assert_eq!(same(&a, &b), a == b);
            prop_assert!(same(&a, &a.clone()));
            let mut other = a.clone().into_bytes();
            if let Some(byte) = other.get_mut(place) {
                *byte = b'c';
                prop_assert!(!same(&a, std::str::from_utf8(&other).unwrap()));
            }
        }
    }
}
