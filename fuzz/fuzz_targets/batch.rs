//! Any bytes as a record batch: refused or read, never a panic or unbounded memory.
//! What is read is written again and must read the same.

#![no_main]

use bytes::Bytes;
use courant_log::batch;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    let _ = batch::check(data);
    for (_, one) in batch::split(&bytes) {
        let _ = batch::decode(&one);
    }
    // The checksum stops nearly everything; mend it, so that what lies behind is reached.
    if data.len() > 21 {
        let mut mended = data.to_vec();
        mended[16] = 2;
        let length = i32::try_from(mended.len() - 12).unwrap_or(i32::MAX);
        mended[8..12].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32c::crc32c(&mended[21..]);
        mended[17..21].copy_from_slice(&checksum.to_be_bytes());
        let mended = Bytes::from(mended);
        if batch::validate(&mended).is_ok() {
            batch::decode(&mended).expect("a valid batch can be read");
        }
    }
});
