//! Text of the log in its columns' character sets, made Unicode.
//!
//! Sets of one byte are converted by tables that the server itself gave when the
//! connection was made, so they are its own idea of the set. UTF-8, UTF-16, UTF-32 and
//! the sets of East Asia are converted here. Bytes that are no text of their set are
//! handed out as bytes, never guessed at.

use std::{collections::HashMap, sync::Arc};

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

use crate::value::Value;

/// The collation of bytes that are no text.
pub(super) const BINARY: u64 = 63;

/// A character set.
#[derive(Debug, Clone)]
pub(super) enum Charset {
    Utf8,
    OneByte(Arc<[char]>),
    ManyBytes(&'static Encoding),
    Utf16 { big_endian: bool },
    Utf32,
}

/// The character sets of a server, by their names and its numbers of their collations.
#[derive(Debug, Default)]
pub(super) struct Charsets {
    pub(super) by_collation: HashMap<u64, Charset>,
    pub(super) by_name: HashMap<String, Charset>,
}

impl Charset {
    /// A set that needs no table of the server; `None` for sets of one byte.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "utf8" | "utf8mb3" | "utf8mb4" => Self::Utf8,
            "gbk" | "gb2312" => Self::ManyBytes(GBK),
            "gb18030" => Self::ManyBytes(GB18030),
            "big5" => Self::ManyBytes(BIG5),
            "sjis" | "cp932" => Self::ManyBytes(SHIFT_JIS),
            "ujis" | "eucjpms" => Self::ManyBytes(EUC_JP),
            "euckr" => Self::ManyBytes(EUC_KR),
            "ucs2" | "utf16" => Self::Utf16 { big_endian: true },
            "utf16le" => Self::Utf16 { big_endian: false },
            "utf32" => Self::Utf32,
            _ => return None,
        })
    }

    /// The text as a value; bytes where it is no text of the set.
    pub(super) fn value(&self, bytes: &[u8]) -> Value {
        self.text(bytes).map_or_else(|| Value::Bytes(bytes.to_vec()), Value::Text)
    }

    /// The text; `None` where it is no text of the set.
    pub(super) fn text(&self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(str::to_owned),
            Self::OneByte(table) => {
                Some(bytes.iter().map(|byte| table[usize::from(*byte)]).collect())
            }
            Self::ManyBytes(encoding) => encoding
                .decode_without_bom_handling_and_without_replacement(bytes)
                .map(std::borrow::Cow::into_owned),
            Self::Utf16 { big_endian } => {
                let units = bytes.chunks_exact(2).map(|pair| {
                    let pair = [pair[0], pair[1]];
                    if *big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
                });
                let text = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
                bytes.len().is_multiple_of(2).then_some(text)
            }
            Self::Utf32 => {
                let chars = bytes.chunks_exact(4).map(|unit| {
                    char::from_u32(u32::from_be_bytes([unit[0], unit[1], unit[2], unit[3]]))
                });
                let text = chars.collect::<Option<_>>()?;
                bytes.len().is_multiple_of(4).then_some(text)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_converted_and_what_is_no_text_stays_bytes() {
        let big = Charset::Utf16 { big_endian: true };
        assert_eq!(big.value(&[0xd8, 0x3d, 0xde, 0x00]), Value::Text("😀".into()));
        assert_eq!(big.value(&[0xd8, 0x3d]), Value::Bytes(vec![0xd8, 0x3d]));
        assert_eq!(big.value(&[0]), Value::Bytes(vec![0]));
        let utf32 = Charset::Utf32;
        assert_eq!(utf32.value(&[0, 1, 0xf6, 0]), Value::Text("😀".into()));
        let gbk = Charset::named("gbk").unwrap();
        assert_eq!(gbk.value(&[0xc4, 0xe3]), Value::Text("你".into()));
        assert_eq!(Charset::Utf8.value(&[0xff]), Value::Bytes(vec![0xff]));
    }
}
