//! What goes to the terminal: results on standard output, the rest on standard error.
//!
//! A closed pipe (`courant … | head`) ends the program quietly. Progress is shown
//! only when a person watches.

use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::Failure;

/// Prints one line of result.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", text.as_ref()).and_then(|()| out.flush());
    finish(written)
}

/// Prints lines that already end with a line break, in one write.
pub(crate) fn whole_lines(lines: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(lines).and_then(|()| out.flush());
    finish(written)
}

/// Says something to the person at the terminal.
pub(crate) fn note(text: impl AsRef<str>) {
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
}

fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Said),
        other => other.map_err(Failure::from),
    }
}

/// Prints rows under a head, columns aligned; numbers are the caller's text.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let print = |cells: Vec<&str>| {
        let padded: Vec<String> =
            cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(padded.join("  ").trim_end())
    };
    print(head.to_vec())?;
    rows.iter().try_for_each(|row| print(row.iter().map(String::as_str).collect()))
}

/// A progress bar over bytes (or a counter when the total is unknown), hidden unless
/// standard error is a terminal.
pub(crate) fn progress(total_bytes: Option<u64>) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let (bar, template) = match total_bytes {
        Some(total) => (
            ProgressBar::with_draw_target(Some(total), target),
            "{bar:30} {bytes}/{total_bytes}  {msg}  {eta} left",
        ),
        None => {
            (ProgressBar::with_draw_target(None, target), "{spinner} {bytes}  {msg}  {elapsed}")
        }
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
