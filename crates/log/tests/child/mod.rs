//! A test that starts itself as a child and kills it at a moment of its own choosing.
//!
//! The child prints a line for everything that was acknowledged to it; the parent reads
//! as many as it wants, kills, and takes what was still in the pipe.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// First argument of a child.
pub(crate) const CHILD: &str = "--child";

/// Rounds of kills unless the environment says how many.
const ROUNDS: u64 = 20;

/// How many kills are asked for.
pub(crate) fn rounds() -> u64 {
    let asked = env::var("COURANT_KILL_ROUNDS").ok();
    asked.map_or(ROUNDS, |asked| asked.parse().expect("COURANT_KILL_ROUNDS is a number"))
}

/// Numbers of lines after which to kill: different ones in every run.
pub(crate) fn moments(lines_max: u64) -> impl Iterator<Item = u64> {
    let mut state = u64::from(std::process::id());
    std::iter::from_fn(move || {
        // A step of a linear congruential generator.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Some(1 + (state >> 33) % lines_max)
    })
}

/// Runs a child until it has printed so many lines, kills it, and answers all that it
/// had printed by then.
pub(crate) fn run_child(folder: &Path, round: u64, lines: u64) -> Vec<String> {
    let mut child: Child = Command::new(env::current_exe().expect("this program"))
        .args([CHILD.as_ref(), folder.as_os_str()])
        .arg(round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the child starts");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut seen = Vec::new();
    while (seen.len() as u64) < lines {
        seen.push(whole_line(&mut output).expect("the child goes on"));
    }
    child.kill().expect("the child is killed");
    seen.extend(std::iter::from_fn(|| whole_line(&mut output)));
    child.wait().expect("the child is gone");
    seen
}

/// The next line, unless the output ends in the middle of it.
fn whole_line(output: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    output.read_line(&mut line).expect("the output is text");
    line.strip_suffix('\n').map(str::to_owned)
}
