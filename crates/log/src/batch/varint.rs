//! Zigzag variable-length integers, as Kafka and Protocol Buffers write them.
//!
//! Seven bits a byte, least significant first, the high bit set on all but the
//! last; zigzag puts small negative numbers beside small positive ones. Reading
//! never goes past the slice nor past the longest form of the width.

/// Longest form of a 64-bit number.
const VARLONG_BYTES_MAX: usize = 10;

/// Appends a number's zigzag form.
pub(super) fn write(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Bytes of a number's zigzag form.
pub(super) const fn size(value: i64) -> usize {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    let bits = 64 - (zigzag | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Reads a number at `*at` and moves on; `None` if it is cut off or too long.
#[inline]
pub(super) fn read(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let first = *bytes.get(*at)?;
    if first < 0x80 {
        *at += 1;
        return Some(unzigzag(u64::from(first)));
    }
    read_long(bytes, at)
}

/// Reads a number that must fit 32 bits.
#[inline]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    read(bytes, at).and_then(|value| i32::try_from(value).ok())
}

fn read_long(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let mut value = 0_u64;
    for (index, byte) in bytes.get(*at..)?.iter().take(VARLONG_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if index == VARLONG_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * index);
        if byte & 0x80 == 0 {
            *at += index + 1;
            return Some(unzigzag(value));
        }
    }
    None
}

const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_survive_their_bytes(value: i64, lead in 0_usize..4) {
            let mut bytes = vec![0xff; lead];
            write(&mut bytes, value);
            prop_assert_eq!(bytes.len() - lead, size(value));
            let mut at = lead;
            prop_assert_eq!(read(&bytes, &mut at), Some(value));
            prop_assert_eq!(at, bytes.len());
        }

        #[test]
        fn a_number_cut_off_is_refused(value: i64) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            bytes.pop();
            prop_assert_eq!(read(&bytes, &mut 0), None);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0_usize..20) {
            let _ = read(&bytes, &mut at.clone());
        }
    }

    #[test]
    fn a_number_longer_than_ten_bytes_is_refused() {
        assert_eq!(read(&[0xff; 11], &mut 0), None);
        assert_eq!(read_i32(&[0x80, 0x80, 0x80, 0x80, 0x20], &mut 0), None);
    }

    #[test]
    fn small_numbers_take_one_byte() {
        for (value, byte) in [(0, 0), (-1, 1), (1, 2), (-64, 127)] {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            assert_eq!(bytes, [byte]);
        }
    }
}
