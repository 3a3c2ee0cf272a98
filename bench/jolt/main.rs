//! How fast Jolt specifications run, one thread, CPU time of that thread.
//!
//! For each input: parse + transform + serialise, and transform alone from a parsed tree.
//! Prints one line of JSON each; `run.py` beside this file runs the Java library on the
//! same inputs in turn and draws the table. Counts allocations of a document, too. What
//! comes out is compared where an input says what is expected, and nowhere else.

#![allow(clippy::print_stdout, reason = "prints its results")]
#![allow(clippy::cast_precision_loss, reason = "rates for people")]

use std::{alloc::System, error::Error, fs, hint::black_box, path::Path};

use courant_jolt::{Arena, Jolt, parse};
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// CPU time of one measurement, after half as much for warming up.
const NANOS: u64 = 1_000_000_000;

fn main() -> Outcome<()> {
    for path in std::env::args().skip(1) {
        measure(Path::new(&path))?;
    }
    Ok(())
}

fn measure(path: &Path) -> Outcome<()> {
    let case: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    let jolt = Jolt::compile(&case["spec"])?;
    let input = serde_json::to_vec(&case["input"])?;
    let output: Value = serde_json::from_slice(&jolt.transform_bytes(&input)?)?;
    let expected = case.get("expected").is_none_or(|expected| *expected == output);
    let mut buffer = Vec::with_capacity(2 * input.len());
    let mut whole = || {
        buffer.clear();
        black_box(jolt.transform_into(black_box(&input), None, &mut buffer)).is_ok()
    };
    (0..3).for_each(|_| {
        whole();
    });
    let region = Region::new(ALLOCATOR);
    whole();
    let allocations = region.change().allocations;
    let mut arena = Arena::new();
    let parsed = || {
        arena.reset();
        black_box(parse(&arena, black_box(&input))).is_ok()
    };
    let parse_us = micros(parsed)?;
    let transformed = || {
        arena.reset();
        let Ok(document) = parse(&arena, black_box(&input)) else { return false };
        black_box(jolt.apply(&arena, document, None)).is_ok()
    };
    let parse_and_transform_us = micros(transformed)?;
    let line = json!({
        "case": path.file_stem().map(|stem| stem.to_string_lossy()),
        "bytes": input.len(), "as_expected": expected, "allocations": allocations,
        "whole_us": micros(&mut whole)?,
        // A transform changes its document, so each gets one of its own; parsing it is
        // measured alone and taken off, as on the Java side.
        "transform_us": parse_and_transform_us - parse_us, "parse_us": parse_us,
    });
    println!("{line}");
    Ok(())
}

/// Microseconds of CPU for one call.
fn micros(mut call: impl FnMut() -> bool) -> Outcome<f64> {
    let mut round = |nanos: u64| -> Outcome<f64> {
        let (begun, mut calls) = (cpu_nanos()?, 0u64);
        loop {
            for _ in 0..100 {
                if !call() {
                    return Err("a document was not transformed".into());
                }
            }
            calls += 100;
            let used = cpu_nanos()? - begun;
            if used >= nanos {
                return Ok(used as f64 / calls as f64 / 1_000.0);
            }
        }
    };
    round(NANOS / 2)?;
    round(NANOS)
}

/// CPU time of this thread.
fn cpu_nanos() -> Outcome<u64> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(stat.split(' ').next().unwrap_or_default().parse()?)
}
