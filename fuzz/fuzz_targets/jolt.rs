//! Any text as a Jolt specification, any bytes as its document: refused, failed or
//! transformed, never a panic or unbounded memory. What comes out is JSON, and explaining
//! how it came about gives the same.
//!
//! The specification ends at the first zero byte, the document follows.

#![no_main]

use courant_jolt::{Arena, Jolt, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (spec, document) = match data.iter().position(|byte| *byte == 0) {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &b"{\"a\":[1,{\"b\":\"c\"}]}"[..]),
    };
    let Ok(spec) = std::str::from_utf8(spec) else { return };
    let Ok(jolt) = Jolt::from_text(spec) else { return };
    let output = jolt.transform_bytes(document);
    if let Ok(output) = &output {
        parse(&Arena::new(), output).expect("the output is JSON");
    }
    if let Ok(explained) = jolt.explain_bytes(document, None) {
        assert_eq!(explained.output.ok(), output.ok(), "explaining changes the output");
    }
});
