//! Random specifications and documents, here and in the Java library.
//!
//! Starts the Java side with the command in its arguments, sends it chains with a few
//! documents each, and judges each document: refused on both sides, failed on both, equal
//! to the last bit and in the order of keys, or different. What the README lists as
//! deliberate is counted apart. A difference is made smaller until nothing can be left
//! out, and printed. `DIFFERENTIAL_CASES` (default 1,000,000 comparisons) and
//! `DIFFERENTIAL_SEED` choose what is run, `DIFFERENTIAL_SHOW` which verdict counts as a
//! difference (default `Different`; the others show what is listed as deliberate).

#![allow(clippy::print_stdout, reason = "prints its results")]

mod generate;
mod java;
mod judge;
mod shrink;
mod tally;

use std::{collections::BTreeSet, error::Error};

use courant_jolt::Jolt;
use serde_json::{Value, json};

use generate::Random;
use java::Java;
use judge::{Verdict, is_hashed, judge};
use tally::Tally;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Specifications that are on their way at once.
const BATCH: usize = 500;
/// Different differences after which it stops.
const SHOWN_MAX: usize = 24;

fn main() -> Outcome<()> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let cases: usize = variable("DIFFERENTIAL_CASES").unwrap_or(1_000_000);
    let mut random = Random::from_seed(variable("DIFFERENTIAL_SEED").unwrap_or(1) as u64);
    let command: Vec<String> = std::env::args().skip(1).collect();
    let shows = std::env::var("DIFFERENTIAL_SHOW").unwrap_or_else(|_| "Different".to_owned());
    let counts = |verdict: &Verdict| format!("{verdict:?}") == shows;
    let context = generate::context();
    let mut java = Java::start(&command, context.clone())?;
    let (mut tally, mut shown) = (Tally::default(), BTreeSet::new());
    while tally.compared < cases && shown.len() < SHOWN_MAX {
        let batch: Vec<_> = (0..BATCH).map(|_| random.case()).collect();
        for ((spec, inputs), answer) in batch.iter().zip(java.ask_all(&batch)?) {
            let mut verdicts = judge(spec, inputs, &context, &answer)?;
            for (verdict, input) in verdicts.iter_mut().zip(inputs) {
                *verdict = again(&mut java, spec, input, &context, *verdict)?;
            }
            tally.count(spec, &verdicts);
            if let Some(place) = verdicts.iter().position(counts)
                && shown.len() < SHOWN_MAX
            {
                show(&mut java, spec, &inputs[place], &context, &counts, &mut shown)?;
            }
        }
    }
    println!("{tally}");
    if shown.is_empty() { Ok(()) } else { Err("the libraries differ".into()) }
}

/// Looks at a difference again, operation by operation: Java gets what this library's
/// operations made of the document so far, with the keys in its order.
fn again(
    java: &mut Java,
    spec: &Value,
    input: &Value,
    context: &Value,
    verdict: Verdict,
) -> Outcome<Verdict> {
    let chain = spec.as_array().map(Vec::as_slice).unwrap_or_default();
    if verdict != Verdict::Different || chain.len() < 2 || !is_hashed(spec) {
        return Ok(verdict);
    }
    let mut document = input.clone();
    for operation in chain {
        let spec = json!([operation]);
        let answer = java.ask(&spec, &document)?;
        if judge(&spec, std::slice::from_ref(&document), context, &answer)?[0] == verdict {
            return Ok(verdict);
        }
        let Ok(output) = Jolt::compile(&spec)?.transform_with(document, Some(context)) else {
            break;
        };
        document = output;
    }
    Ok(Verdict::Order)
}

/// Makes a difference smaller and prints it, unless it was seen.
fn show(
    java: &mut Java,
    spec: &Value,
    input: &Value,
    context: &Value,
    counts: &impl Fn(&Verdict) -> bool,
    shown: &mut BTreeSet<String>,
) -> Outcome<()> {
    let (spec, input) = shrink::smallest(spec, input, |spec, input| {
        let answer = java.ask(spec, input)?;
        let verdict = judge(spec, std::slice::from_ref(input), context, &answer)?[0];
        Ok(counts(&again(java, spec, input, context, verdict)?))
    })?;
    if !shown.insert(spec.to_string()) {
        return Ok(());
    }
    let ours = match Jolt::compile(&spec) {
        Err(errors) => format!("refused: {errors}"),
        Ok(jolt) => {
            let mut output = Vec::new();
            match jolt.transform_into(input.to_string().as_bytes(), Some(context), &mut output) {
                Err(error) => format!("failed: {error}"),
                Ok(()) => String::from_utf8_lossy(&output).into_owned(),
            }
        }
    };
    let theirs = java.ask(&spec, &input)?;
    println!("spec  {spec}\ninput {input}\nours  {ours:.2000}\njava  {theirs:.2000}");
    Ok(())
}
