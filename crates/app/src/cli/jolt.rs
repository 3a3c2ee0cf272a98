//! `courant jolt --spec FILE [INPUT]`: documents through a Jolt specification.
//!
//! Input is one JSON document or one on each line; when the first line is a document of
//! its own, every line is. Lines are answered as they come, so it can stand in a pipe. A
//! document that fails is told with its place and the others go on. The specification is
//! taken as it is: what a record would put into it (`${header:…}`) is known to pipelines.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::{Path, PathBuf},
};

use courant_jolt::{
    Arena, Error, Explanation, Jolt, Match, SpecError, SpecErrors, from_serde, locate, parse,
    parse_with_comments, to_serde, to_vec, to_vec_pretty,
};
use courant_model::{Place, Problem, Problems, limits::JSON_FILE_BYTES_MAX};
use courant_pipeline::config::{DiskFiles, Files};
use serde_json::{Value, json};

use super::Common;
use crate::{error::Failure, terminal};

/// Bytes of output that are gathered while more input is there.
const OUTPUT_BYTES: usize = 64 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// File with the specification: JSON, comments allowed
    #[arg(long, value_name = "FILE", required_unless_present = "operation")]
    spec: Option<PathBuf>,
    /// File to transform; standard input without it, or as `-`
    input: Option<PathBuf>,
    /// Takes each line as a document [default: when the first line is one]
    #[arg(long)]
    ndjson: bool,
    /// Indents what comes out [default: on a terminal]
    #[arg(long, conflicts_with = "compact")]
    pretty: bool,
    /// Puts each document that comes out on a line
    #[arg(long)]
    compact: bool,
    /// File with the object that `^` means in the specification
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// The one operation whose bare spec the file holds, such as shift; sort needs no file
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Shows which key of the specification met which place of the document
    #[arg(long)]
    explain: bool,
}

pub(crate) fn run(common: &Common, arguments: &Arguments) -> Result<(), Failure> {
    let jolt = compile(arguments)?;
    let context = match &arguments.context {
        Some(path) => Some(read_json(path, &read_text(path)?)?),
        None => None,
    };
    let (name, input) = open(arguments.input.as_deref())?;
    let pretty = arguments.pretty || (!arguments.compact && io::stdout().is_terminal());
    let mut work = Work {
        jolt: &jolt,
        context: context.as_ref(),
        name: &name,
        pretty,
        explain: arguments.explain,
        json: common.json,
        arena: Arena::new(),
        out: Vec::new(),
        documents: 0,
        failed: 0,
    };
    let done = work.read(BufReader::with_capacity(1 << 20, input), arguments.ndjson);
    work.print()?;
    done?;
    match (work.failed, work.documents) {
        (0, 0) if !arguments.ndjson => Err(Failure::Failed(format!("{name} holds no document"))),
        (0, _) => Ok(()),
        (_, 1) => Err(Failure::Said),
        (failed, documents) => {
            Err(Failure::Failed(format!("{failed} of {documents} documents failed")))
        }
    }
}

fn compile(arguments: &Arguments) -> Result<Jolt, Failure> {
    let path = arguments.spec.as_deref().unwrap_or(Path::new("-"));
    let text = match &arguments.spec {
        Some(path) => Some(read_text(path)?),
        None => None,
    };
    let spec = text.as_ref().map(|text| read_json(path, text)).transpose()?;
    let jolt = match (&arguments.operation, &spec) {
        (Some(name), spec) => Jolt::operation(name, spec.as_ref()),
        (None, Some(spec)) => Jolt::compile(spec),
        (None, None) => return Err(Failure::Usage("--spec FILE is missing".into())),
    };
    jolt.map_err(|errors| {
        let text = text.as_deref().unwrap_or_default();
        problems(path, text, errors, arguments.operation.is_some())
    })
}

/// The errors of a specification at their places.
fn problems(path: &Path, text: &str, errors: SpecErrors, bare: bool) -> Failure {
    let mut problems = Problems::default();
    for SpecError { operation, path: keys, what } in errors.0 {
        let operation = operation.filter(|_| !bare);
        let place = locate(text, operation, keys.iter().map(String::as_str));
        let (what, remedy) = match what.split_once("; ") {
            Some((what, remedy)) => (what.to_owned(), Some(remedy.to_owned())),
            None => (what, None),
        };
        let index = operation.map(|index| format!("operation {index}"));
        let keys = keys.iter().map(|key| format!("{key:?}"));
        let at = index.into_iter().chain(keys).collect::<Vec<_>>().join(" > ");
        let what = if at.is_empty() { what } else { format!("{at}: {what}") };
        problems.push(problem(path, place.line, place.column, what, remedy));
    }
    Failure::File(problems)
}

fn problem(
    path: &Path,
    line: usize,
    column: usize,
    what: String,
    remedy: Option<String>,
) -> Problem {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let file = path.display().to_string();
    let place = Place { file, line: number(line), column: number(column) };
    Problem { place, path: String::new(), what, remedy }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    let read = DiskFiles.read(path);
    read.map_err(|error| Failure::Usage(format!("file {path:?} cannot be read: {error}")))
}

fn read_json(path: &Path, text: &str) -> Result<Value, Failure> {
    let arena = Arena::new();
    match parse_with_comments(&arena, text.as_bytes()) {
        Ok(value) => Ok(to_serde(value)),
        Err(error) => {
            let what = format!("file is no JSON: {}", error.what);
            Err(Failure::File(problem(path, error.line, error.column, what, None).into()))
        }
    }
}

/// The input with its name for messages.
fn open(path: Option<&Path>) -> Result<(String, Box<dyn Read>), Failure> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else {
        if io::stdin().is_terminal() {
            terminal::note("reading JSON from the terminal; end with Ctrl-D");
        }
        return Ok(("standard input".into(), Box::new(io::stdin())));
    };
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => Ok((name, Box::new(file))),
        Err(error) => Err(Failure::Failed(format!("file {name:?} cannot be read: {error}"))),
    }
}

/// Documents on their way through.
struct Work<'a> {
    jolt: &'a Jolt,
    context: Option<&'a Value>,
    /// The input's.
    name: &'a str,
    pretty: bool,
    explain: bool,
    json: bool,
    arena: Arena,
    /// Not yet printed.
    out: Vec<u8>,
    documents: u64,
    failed: u64,
}

impl Work<'_> {
    fn read(&mut self, mut input: BufReader<Box<dyn Read>>, ndjson: bool) -> Result<(), Failure> {
        let mut each_line = ndjson;
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            let mut bounded = input.by_ref().take(JSON_FILE_BYTES_MAX as u64 + 1);
            if bounded.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            number += 1;
            if line.trim_ascii().is_empty() {
                continue;
            }
            if !each_line && parse(&self.arena, &line).is_err() {
                // The first line is no document, so all of them are one.
                let left = (JSON_FILE_BYTES_MAX + 1).saturating_sub(line.len());
                input.by_ref().take(left as u64).read_to_end(&mut line)?;
            }
            self.arena.reset();
            each_line = true;
            self.check_size(line.len(), number)?;
            self.document(line.trim_ascii_end(), number)?;
            // Before it waits for the next line, what there is is shown.
            if !input.buffer().contains(&b'\n') || self.out.len() > OUTPUT_BYTES {
                self.print()?;
            }
        }
    }

    fn check_size(&self, bytes: usize, line: usize) -> Result<(), Failure> {
        if bytes <= JSON_FILE_BYTES_MAX {
            return Ok(());
        }
        let name = self.name;
        Err(Failure::Failed(format!(
            "{name}:{line}: document is larger than the {JSON_FILE_BYTES_MAX} bytes allowed"
        )))
    }

    fn print(&mut self) -> Result<(), Failure> {
        terminal::whole_lines(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Transforms one document, which begins on a line of the input.
    fn document(&mut self, document: &[u8], line: usize) -> Result<(), Failure> {
        self.documents += 1;
        let done = if self.explain { self.explain(document)? } else { self.transform(document) };
        let Err(error) = done else { return Ok(()) };
        self.failed += 1;
        self.print()?;
        let name = self.name;
        terminal::note(match error {
            Error::Input(error) => {
                let line = line + error.line - 1;
                format!("{name}:{line}:{}: input is no JSON: {}", error.column, error.what)
            }
            Error::Transform(error) => format!("{name}:{line}: {error}"),
        });
        Ok(())
    }

    fn transform(&mut self, document: &[u8]) -> Result<(), Error> {
        let arena = &self.arena;
        let done = parse(arena, document).map_err(Error::from).and_then(|input| {
            let context = self.context.map(|context| from_serde(arena, context));
            let output = self.jolt.apply(arena, input, context)?;
            self.out.extend(if self.pretty { to_vec_pretty(output) } else { to_vec(output) });
            self.out.push(b'\n');
            Ok(())
        });
        self.arena.reset();
        done
    }

    fn explain(&mut self, document: &[u8]) -> Result<Result<(), Error>, Failure> {
        let Explanation { output, matches, truncated } =
            match self.jolt.explain_bytes(document, self.context) {
                Ok(explanation) => explanation,
                Err(error) => return Ok(Err(error.into())),
            };
        if self.json {
            let tree = output.as_deref().ok().and_then(|text| serde_json::from_slice(text).ok());
            let tree: Value = tree.unwrap_or_default();
            let line = json!({ "output": tree, "matches": matches, "truncated": truncated });
            terminal::line(line.to_string())?;
            return Ok(output.map(|_| ()).map_err(Error::from));
        }
        let rows: Vec<Vec<String>> = matches.iter().map(row).collect();
        terminal::table(&["SPEC", "INPUT", "DID", "OUTPUT"], &rows)?;
        if truncated {
            terminal::line(format!("… and more than these {}", rows.len()))?;
        }
        Ok(output.map_err(Error::from).and_then(|text| {
            let output = parse(&self.arena, &text)?;
            self.out.push(b'\n');
            self.out.extend(if self.pretty { to_vec_pretty(output) } else { to_vec(output) });
            self.out.push(b'\n');
            Ok(())
        }))
    }
}

fn row(found: &Match) -> Vec<String> {
    let place = |pointer: &String| if pointer.is_empty() { "/".into() } else { pointer.clone() };
    let keys: String = found.key.iter().map(|key| format!(" > {key}")).collect();
    let action = json!(found.action);
    vec![
        format!("{} {}{keys}", found.operation, found.name),
        place(&found.input),
        action.as_str().unwrap_or_default().to_owned(),
        found.output.iter().map(place).collect::<Vec<_>>().join(", "),
    ]
}
