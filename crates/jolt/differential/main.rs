//! Random specifications and documents, here and in the Java library.
//!
//! Starts the Java side with the command in its arguments, sends it specifications with a
//! few documents each, and compares: refused on both sides, failed on both, or equal, but
//! for the order of keys, which hash tables decide in Java. Where Java shares a subtree
//! between two places the results may differ; those are counted apart. A difference is
//! made smaller until nothing can be left out, and printed. `DIFFERENTIAL_CASES`
//! (default 1,000,000 comparisons) and `DIFFERENTIAL_SEED` choose what is run.

#![allow(clippy::print_stdout, reason = "prints its results")]

use std::{
    collections::BTreeSet,
    error::Error,
    io::{BufRead, BufReader, BufWriter, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use courant_jolt::Jolt;
use serde_json::{Value, json};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Documents for each specification.
const DOCUMENTS: usize = 8;
/// Specifications that are on their way at once; few enough for the pipes' buffers not to
/// matter, as a thread of its own writes.
const BATCH: usize = 500;
/// Different differences after which it stops.
const SHOWN_MAX: usize = 12;

fn main() -> Outcome<()> {
    let variable = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let cases: usize = variable("DIFFERENTIAL_CASES").unwrap_or(1_000_000);
    let mut random = Random(variable("DIFFERENTIAL_SEED").unwrap_or(1) as u64 * 2 + 1);
    let command: Vec<String> = std::env::args().skip(1).collect();
    let mut java = Java::start(&command)?;
    let (mut compared, mut refused, mut failed, mut aliased) = (0, 0, 0, 0);
    let mut shown = BTreeSet::new();
    while compared < cases && shown.len() < SHOWN_MAX {
        let batch: Vec<_> = (0..BATCH).map(|_| random.case()).collect();
        for ((spec, inputs), answer) in batch.iter().zip(java.ask_all(&batch)?) {
            let ours = Jolt::compile(spec);
            let Some(answers) = answer.as_array() else {
                compared += 1;
                refused += 1;
                if ours.is_ok() {
                    show(&mut java, spec, &inputs[0], &mut shown)?;
                }
                continue;
            };
            for (input, answer) in inputs.iter().zip(answers) {
                compared += 1;
                aliased += usize::from(answer.get("aliased").is_some());
                failed += usize::from(answer.get("ok").is_none());
                if differ(&ours, input, answer) {
                    show(&mut java, spec, input, &mut shown)?;
                }
            }
        }
    }
    println!(
        "{compared} comparisons: {} differences; {refused} specifications refused, {failed} \
         transforms failed on both sides; {aliased} results shared a subtree in Java",
        shown.len()
    );
    if shown.is_empty() { Ok(()) } else { Err("the libraries differ".into()) }
}

/// Whether the two sides differ on a document, in a way that counts.
fn differ(ours: &Result<Jolt, courant_jolt::SpecErrors>, input: &Value, answer: &Value) -> bool {
    if answer.get("aliased").is_some() {
        return false;
    }
    let Ok(jolt) = ours else { return true };
    let output = jolt.transform_bytes(input.to_string().as_bytes());
    let output = output.map(|output| serde_json::from_slice::<Value>(&output));
    match (output, answer.get("ok")) {
        (Ok(Ok(ours)), Some(theirs)) => ours != *theirs,
        (Err(_), None) => false,
        _ => true,
    }
}

/// Makes a difference smaller and prints it, unless it was seen.
fn show(java: &mut Java, spec: &Value, input: &Value, shown: &mut BTreeSet<String>) -> Outcome<()> {
    if shown.len() >= SHOWN_MAX {
        return Ok(());
    }
    let mut smallest = json!([spec, input]);
    'smaller: loop {
        for candidate in smaller(&smallest) {
            let (spec, input) = (&candidate[0], &candidate[1]);
            if candidate.as_array().is_some_and(|parts| parts.len() == 2)
                && differs(java, spec, input)?
            {
                smallest = candidate;
                continue 'smaller;
            }
        }
        break;
    }
    let (spec, input) = (&smallest[0], &smallest[1]);
    if shown.insert(spec.to_string()) {
        let ours = match Jolt::compile(spec) {
            Err(errors) => format!("refused: {errors}"),
            Ok(jolt) => match jolt.transform_bytes(input.to_string().as_bytes()) {
                Err(error) => format!("failed: {error}"),
                Ok(output) => String::from_utf8_lossy(&output).into_owned(),
            },
        };
        let theirs = java.ask(spec, input)?;
        println!("spec  {spec}\ninput {input}\nours  {ours}\njava  {theirs}\n");
    }
    Ok(())
}

fn differs(java: &mut Java, spec: &Value, input: &Value) -> Outcome<bool> {
    let answer = java.ask(spec, input)?;
    let ours = Jolt::compile(spec);
    Ok(match answer.as_array() {
        None => ours.is_ok(),
        Some(answers) => answers.first().is_some_and(|answer| differ(&ours, input, answer)),
    })
}

/// The same with one thing left out, or a container replaced by what is in it.
fn smaller(value: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    match value {
        Value::Array(items) => {
            for n in 0..items.len() {
                let mut fewer = items.clone();
                fewer.remove(n);
                all.push(Value::Array(fewer));
            }
            for (n, item) in items.iter().enumerate() {
                all.extend(smaller(item).into_iter().map(|smaller| {
                    let mut items = items.clone();
                    items[n] = smaller;
                    Value::Array(items)
                }));
            }
            all.extend(items.iter().cloned());
        }
        Value::Object(object) => {
            for key in object.keys().filter(|key| *key != "operation") {
                let mut fewer = object.clone();
                fewer.shift_remove(key);
                all.push(Value::Object(fewer));
            }
            for (key, item) in object.iter().filter(|(key, _)| *key != "operation") {
                all.extend(smaller(item).into_iter().map(|smaller| {
                    let mut object = object.clone();
                    object[key] = smaller;
                    Value::Object(object)
                }));
            }
            all.extend(object.values().cloned());
        }
        _ => {}
    }
    all
}

/// The Java process.
struct Java {
    child: Child,
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
}

impl Java {
    fn start(command: &[String]) -> Outcome<Self> {
        let (program, arguments) = command.split_first().ok_or("the Java command is missing")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().map(BufWriter::new);
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self { child, input, output })
    }

    fn ask(&mut self, spec: &Value, input: &Value) -> Outcome<Value> {
        let answers = self.ask_all(&[(spec.clone(), vec![input.clone()])])?;
        Ok(answers.into_iter().next().unwrap_or_default())
    }

    fn ask_all(&mut self, cases: &[(Value, Vec<Value>)]) -> Outcome<Vec<Value>> {
        let Self { input: Some(input), output, .. } = self else { return Err("it ended".into()) };
        std::thread::scope(|scope| {
            let written = scope.spawn(move || {
                for (spec, inputs) in cases {
                    writeln!(input, "{}", json!({"spec": spec, "inputs": inputs}))?;
                }
                input.flush()
            });
            let mut answers = Vec::with_capacity(cases.len());
            let mut line = String::new();
            for _ in cases {
                line.clear();
                output.read_line(&mut line)?;
                answers.push(serde_json::from_str(&line)?);
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

/// A generator of numbers (xorshift), and of cases.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % bound as u64).unwrap_or(0)
    }

    fn one_of<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }

    fn case(&mut self) -> (Value, Vec<Value>) {
        let operation = self.one_of(&[
            "shift",
            "shift",
            "shift",
            "shift",
            "modify-overwrite-beta",
            "modify-overwrite-beta",
            "modify-default-beta",
            "modify-define-beta",
            "default",
            "remove",
            "cardinality",
            "sort",
        ]);
        let spec = match operation {
            "shift" => self.spec(3, Self::shift_key, Self::shift_leaf),
            "default" => self.spec(3, Self::default_key, |random| random.document(1)),
            "remove" => self.spec(3, Self::plain_key, |_| "".into()),
            "cardinality" => {
                self.spec(3, Self::cardinality_key, |random| random.one_of(&["ONE", "MANY"]).into())
            }
            "sort" => Value::Null,
            _ => self.spec(3, Self::modify_key, Self::modify_leaf),
        };
        let chain = json!([{"operation": operation, "spec": spec}]);
        (chain, (0..DOCUMENTS).map(|_| self.document(4)).collect())
    }

    fn document(&mut self, depth: usize) -> Value {
        let kind = self.below(if depth == 0 { 6 } else { 14 });
        match kind {
            0 => Value::Null,
            1 => self.below(2).eq(&1).into(),
            2 => json!(self.below(5)),
            3 => json!([0.5, 1.0, -2.0, 1e10, 3.7][self.below(5)]),
            4 => json!([2_147_483_648_i64, -1, -7, 4_294_967_297][self.below(4)]),
            5 => self
                .one_of(&["a", "b", "", "0", "1", "2.5", "true", "A b", "a,b", " x ", "é😀"])
                .into(),
            6..=8 => (0..self.below(4)).map(|_| self.document(depth - 1)).collect(),
            _ => {
                let entries = (0..self.below(5)).map(|_| {
                    let key = self
                        .one_of(&["a", "b", "c", "ab", "a-b", "b-c", "0", "1", "~t", "a.b", "é"]);
                    (key.to_owned(), self.document(depth - 1))
                });
                Value::Object(entries.collect())
            }
        }
    }

    fn spec(
        &mut self,
        depth: usize,
        key: fn(&mut Self) -> String,
        leaf: fn(&mut Self) -> Value,
    ) -> Value {
        let entries = (0..=self.below(3)).map(|_| {
            let below = depth > 0 && self.below(5) < 2;
            let right = if below { self.spec(depth - 1, key, leaf) } else { leaf(self) };
            (key(self), right)
        });
        Value::Object(entries.collect())
    }

    fn name(&mut self) -> String {
        self.one_of(&["a", "b", "c", "ab", "a-b", "0", "1"]).to_owned()
    }

    fn plain_key(&mut self) -> String {
        match self.below(8) {
            0 | 1 => "*".to_owned(),
            2 => self
                .one_of(&["a*", "*b", "*-*", "a*b*", "*a*b*c*", "a|b", "a|*", "@", "&"])
                .to_owned(),
            _ => self.name(),
        }
    }

    fn shift_key(&mut self) -> String {
        match self.below(10) {
            0..=3 => self.plain_key(),
            4 => self
                .one_of(&["@", "@(0,a)", "@(1,b)", "@(2,a.b)", "@1", "@a", "@(1,&)", "@(1,[0])"])
                .to_owned(),
            5 => self.one_of(&["$", "$0", "$1", "$2", "$(0,1)", "$(1,1)"]).to_owned(),
            6 => self.one_of(&["#k", "#1", "#(x y)", "&", "&1", "&(1,1)", "a&1", "[0]"]).to_owned(),
            7 => self.one_of(&["\\@a", "\\$", "a\\.b", "01", "a|b|c", "**a", "*-*-*"]).to_owned(),
            _ => self.name(),
        }
    }

    fn shift_leaf(&mut self) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => (0..self.below(3)).map(|_| Value::from(self.path())).collect(),
            2 => "".into(),
            _ => self.path().into(),
        }
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for n in 0..=self.below(3) {
            let part = self.one_of(&[
                "x", "y", "z", "x", "y", "a", "&", "&1", "&2", "&(0,1)", "&(1,1)", "k&", "&1-&",
                "[]", "[0]", "[1]", "[&]", "[&1]", "[&2]", "[#2]", "[#1]", "[@(1,a)]", "@(1,a)",
                "@(0)", "@(2,b)", "a\\.b", "\\@", "0",
            ]);
            if n > 0 && !part.starts_with('[') || self.below(12) == 0 {
                path.push('.');
            }
            path.push_str(part);
        }
        path
    }

    fn default_key(&mut self) -> String {
        match self.below(8) {
            0 => "*".to_owned(),
            1 => self.one_of(&["a|b", "b|a|c", "0|1", "a|0"]).to_owned(),
            2 => self.one_of(&["a[]", "b[]", "0[]", "*[]"]).to_owned(),
            3 => self.one_of(&["0", "1", "3"]).to_owned(),
            _ => self.name(),
        }
    }

    fn cardinality_key(&mut self) -> String {
        match self.below(8) {
            0 => "@".to_owned(),
            1 => self.one_of(&["*", "a*", "*-*"]).to_owned(),
            _ => self.name(),
        }
    }

    fn modify_key(&mut self) -> String {
        let key = match self.below(8) {
            0 | 1 => self.one_of(&["*", "a*", "*b", "*-*"]).to_owned(),
            2 => self.one_of(&["[0]", "[1]", "[2]"]).to_owned(),
            3 => self.one_of(&["new", "n2"]).to_owned(),
            _ => self.name(),
        };
        let prefix = self.one_of(&["", "", "", "", "+", "~", "_"]);
        let suffix = self.one_of(&["", "", "", "", "?"]);
        format!("{prefix}{key}{suffix}")
    }

    fn modify_leaf(&mut self) -> Value {
        match self.below(12) {
            0 => self.document(1),
            1 => self.operand().into(),
            2 => (0..=self.below(2)).map(|_| Value::from(self.expression())).collect(),
            _ => self.expression().into(),
        }
    }

    fn operand(&mut self) -> String {
        match self.below(9) {
            0..=3 => {
                let (up, name) = (self.below(4), self.name());
                format!("@({up},{name})")
            }
            4 => format!("@({},{})", self.below(3), self.one_of(&["a[0]", "[1]", "&", "a.b"])),
            5 => self.one_of(&["@0", "@1", "@(1)"]).to_owned(),
            _ => self
                .one_of(&[
                    "1", "2", "0", "-1", "2.5", "a", "'a'", "' '", "''", "','", "", "null", "true",
                    "'0'", "5",
                ])
                .to_owned(),
        }
    }

    fn expression(&mut self) -> String {
        let function = self.one_of(&[
            "toLower",
            "toUpper",
            "trim",
            "abs",
            "toInteger",
            "toLong",
            "toDouble",
            "toBoolean",
            "toString",
            "concat",
            "substring",
            "join",
            "split",
            "leftPad",
            "rightPad",
            "min",
            "max",
            "avg",
            "intSum",
            "longSum",
            "doubleSum",
            "intSubtract",
            "longSubtract",
            "doubleSubtract",
            "divide",
            "divideAndRound",
            "firstElement",
            "lastElement",
            "elementAt",
            "toList",
            "sort",
            "size",
            "squashNulls",
            "recursivelySquashNulls",
            "squashDuplicates",
            "noop",
            "isPresent",
            "notNull",
            "isNull",
            "nothing",
        ]);
        if self.below(4) == 0 {
            return format!("={function}");
        }
        let operands: Vec<String> = (0..=self.below(3)).map(|_| self.operand()).collect();
        format!("={function}({})", operands.join(","))
    }
}
