//! The process that runs the Java library: asked a line at a time, answering in order.
//!
//! Nothing is compared here. Both pipes are served at once, as a full one would stop both
//! sides.

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

use crate::Outcome;

/// A specification and documents for it.
pub(crate) type Case = (Value, Vec<Value>);

/// The Java process.
#[derive(Debug)]
pub(crate) struct Java {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
    context: Value,
}

impl Java {
    pub(crate) fn start(command: &[String], context: Value) -> Outcome<Self> {
        let (program, arguments) = command.split_first().ok_or("the Java command is missing")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, input, output, context })
    }

    /// One document; null where the specification is refused, else what became of it.
    pub(crate) fn ask(&mut self, spec: &Value, input: &Value) -> Outcome<String> {
        let answers = self.ask_all(&[(spec.clone(), vec![input.clone()])])?;
        answers.into_iter().next().ok_or_else(|| "no answer".into())
    }

    /// An answer for each case, as Java wrote it.
    pub(crate) fn ask_all(&mut self, cases: &[Case]) -> Outcome<Vec<String>> {
        let Self { input: Some(input), output, context, .. } = self else {
            return Err("it ended".into());
        };
        std::thread::scope(|scope| {
            let written = scope.spawn(|| {
                for (spec, inputs) in cases {
                    let request = json!({"spec": spec, "context": context, "inputs": inputs});
                    writeln!(input, "{request}")?;
                }
                input.flush()
            });
            let mut answers = Vec::with_capacity(cases.len());
            for _ in cases {
                let mut line = String::new();
                if output.read_line(&mut line)? == 0 {
                    return Err("the Java process ended".into());
                }
                answers.push(line);
            }
            written.join().map_err(|_| "writing ended")??;
            Ok(answers)
        })
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        // Without input it ends.
        self.input = None;
        let _ = self.child.wait();
    }
}
