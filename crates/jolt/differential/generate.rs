//! Random chains, and documents that they find something in.
//!
//! Names come from a small pool, so that specifications meet the documents' keys; odd
//! names, texts and numbers are in between. A small part of all texts in a specification
//! has a character put in, taken out or changed: what both sides must refuse or take
//! alike. The same seed makes the same cases.

use serde_json::{Map, Value, json};

use crate::java::Case;
use courant_jolt::Jolt;

/// Documents for each specification.
const DOCUMENTS: usize = 8;

pub(crate) const OPERATIONS: [&str; 8] = [
    "shift",
    "default",
    "remove",
    "cardinality",
    "sort",
    "modify-overwrite-beta",
    "modify-default-beta",
    "modify-define-beta",
];

/// All that there are, and one that there is not.
pub(crate) const FUNCTIONS: [&str; 40] = [
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
];

/// What `^` reads.
pub(crate) fn context() -> Value {
    json!({"a": {"b": [1, "x"]}, "c": 2.5, "ab": "text", "0": null})
}

/// A generator of numbers (xorshift), and of cases.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn from_seed(seed: u64) -> Self {
        // Spread, so that neighbours have nothing in common; and not zero, which stays zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn case(&mut self) -> Case {
        let operations = [1, 1, 1, 1, 1, 2, 2, 2, 3, 4][self.below(10)];
        let mut chain: Vec<Value> = (0..operations).map(|_| self.operation()).collect();
        if self.below(12) == 0 {
            chain.iter_mut().for_each(|operation| self.spoil(&mut operation["spec"]));
        }
        (Value::from(chain), (0..DOCUMENTS).map(|_| self.root()).collect())
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % bound as u64).unwrap_or(0)
    }

    fn one_of<'c>(&mut self, choices: &[&'c str]) -> &'c str {
        choices[self.below(choices.len())]
    }

    /// Most of what the library refuses is made again, so that most chains run.
    fn operation(&mut self) -> Value {
        loop {
            let operation = self.any_operation();
            if Jolt::compile(&json!([operation])).is_ok() || self.below(8) == 0 {
                return operation;
            }
        }
    }

    fn any_operation(&mut self) -> Value {
        let name = match self.below(12) {
            0..=3 => "shift",
            n => OPERATIONS[n - 4],
        };
        let spec = match name {
            "shift" => self.spec(3, Self::shift_key, Self::shift_leaf),
            "default" => self.spec(3, Self::default_key, |random| random.document(1)),
            "remove" => self.spec(3, Self::remove_key, |_| "".into()),
            "cardinality" => {
                self.spec(3, Self::cardinality_key, |random| random.one_of(&["ONE", "MANY"]).into())
            }
            "sort" => return json!({"operation": name}),
            _ => self.spec(3, Self::modify_key, Self::modify_leaf),
        };
        json!({"operation": name, "spec": spec})
    }

    fn spec(
        &mut self,
        depth: usize,
        key: fn(&mut Self) -> String,
        leaf: fn(&mut Self) -> Value,
    ) -> Value {
        let entries = (0..=self.below(4)).map(|_| {
            let below = depth > 0 && self.below(5) < 2;
            let right = if below { self.spec(depth - 1, key, leaf) } else { leaf(self) };
            (key(self), right)
        });
        Value::Object(entries.collect())
    }

    /// Most documents are objects with some keys.
    fn root(&mut self) -> Value {
        if self.below(4) == 0 {
            return self.document(4);
        }
        let entries = (0..2 + self.below(4)).map(|_| (self.name(), self.document(3)));
        Value::Object(entries.collect())
    }

    fn document(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 8 } else { 20 }) {
            0 => Value::Null,
            1 => self.below(2).eq(&1).into(),
            2 | 3 => json!(self.below(5)),
            4 => self.number(),
            5..=7 => self.text().into(),
            8..=11 => (0..self.below(4)).map(|_| self.document(depth - 1)).collect(),
            _ => {
                let entries = (0..self.below(6)).map(|_| {
                    let key = if self.below(16) == 0 { self.odd() } else { self.name() };
                    (key, self.document(depth - 1))
                });
                Value::Object(entries.collect())
            }
        }
    }

    fn number(&mut self) -> Value {
        let floats = [
            0.5,
            1.0,
            -2.0,
            1e10,
            3.7,
            -0.0,
            1e-5,
            123_456.789,
            -1e7,
            0.001,
            -2.5,
            1e300,
            5e-324,
            1.7976931348623157e308,
            2.675,
            100.0,
        ];
        let integers = [
            -1,
            -7,
            10,
            100,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
            2_147_483_648,
            4_294_967_297,
            -2_147_483_649,
            i64::MAX,
            i64::MIN,
            1_234_567_890_123,
        ];
        match self.below(12) {
            0 => json!(u64::MAX),
            1 => json!(1u64 << 63),
            2..=6 => json!(floats[self.below(floats.len())]),
            _ => json!(integers[self.below(integers.len())]),
        }
    }

    fn text(&mut self) -> String {
        let texts = [
            "a",
            "b",
            "c",
            "ab",
            "",
            "0",
            "1",
            "2",
            "-1",
            "2.5",
            "1e3",
            "true",
            "False",
            "null",
            "A b",
            "a,b",
            " x ",
            "é😀",
            "ß",
            "Σας",
            "a-b",
            "a.b,c",
            "a||b",
            "x1y2",
            "1,2,,",
            "\t",
            "\n",
            "\"",
            "\\",
            "4294967297",
            "1.50",
            "0012",
            "+3",
            " 4",
            "5d",
            "NaN",
            "$",
            "é",
            "long text with blanks",
            "\u{1}",
        ];
        self.one_of(&texts).to_owned()
    }

    fn name(&mut self) -> String {
        self.one_of(&["a", "a", "a", "b", "b", "b", "c", "c", "ab", "a-b", "b-c", "0", "1", "2"])
            .to_owned()
    }

    /// A key that means something in a specification, or that is seldom a key.
    fn odd(&mut self) -> String {
        self.one_of(&[
            "", " ", "é", "😀", "a.b", "a b", "~t", "01", "+1", "-1", "a|b", "@x", "@", "$", "$1",
            "#", "#k", "&", "&1", "[0]", "[]", "a[0]", "*", "a*", "\\", "a\\b", "null", "A", "ß",
            "a?", "a_", "a\nb", "a-b-c", "x-y", "root", "true", "2.5", "10", "(", "a,b", "'a'",
        ])
        .to_owned()
    }

    /// The same for a specification, escaped or not.
    fn odd_key(&mut self) -> String {
        let odd = self.odd();
        if self.below(2) == 0 {
            return odd;
        }
        let special = |c: char| "@$#&*[].|\\".contains(c);
        odd.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
    }

    fn starred(&mut self) -> String {
        self.one_of(&[
            "*", "*", "*", "*", "a*", "*b", "b*", "*-*", "a*b*", "*a*b*c*", "*-*-*", "*.*", "**a",
            "a**", "*é", "*0*", "a-*",
        ])
        .to_owned()
    }

    fn shift_key(&mut self) -> String {
        match self.below(24) {
            0..=4 => self.starred(),
            5 | 6 => {
                let path = self.one_of(&["a", "b", "a.b", "&", "[0]", "a[1]", "c", "a.&1", "0"]);
                let up = self.below(4);
                match self.below(8) {
                    0 => "@".to_owned(),
                    1 => format!("@{path}"),
                    2 => format!("@{up}"),
                    3 => format!("@({path})"),
                    _ => format!("@({up},{path})"),
                }
            }
            7 | 8 => self.one_of(&["@", "$", "$0", "$1", "$2", "$(0,1)", "$(1,1)"]).to_owned(),
            9 => self.one_of(&["#k", "#1", "#(x y)", "#true", "#"]).to_owned(),
            10 => self.one_of(&["&", "&1", "&(1,1)", "a&1", "&1-&", "&0b", "&(0,1)"]).to_owned(),
            11 => self.one_of(&["a|b", "a|*", "*|b", "a|b|c", "0|1", "a|@", "||"]).to_owned(),
            12 => self.one_of(&["[0]", "[&1]", "01", "+1", "-1", "3"]).to_owned(),
            13 => self.odd_key(),
            _ => self.name(),
        }
    }

    fn shift_leaf(&mut self) -> Value {
        match self.below(16) {
            0 => Value::Null,
            1 | 2 => (0..self.below(4)).map(|_| Value::from(self.path())).collect(),
            3 => "".into(),
            _ => self.path().into(),
        }
    }

    fn path(&mut self) -> String {
        let mut path = String::new();
        for n in 0..=self.below(4) {
            let up = self.below(4);
            let part = match self.below(16) {
                0..=5 => self.one_of(&["x", "y", "z", "a", "b", "0"]).to_owned(),
                6 => self.one_of(&["&", "&1", "&2", "&0"]).to_owned(),
                7 => self.one_of(&["&(0,1)", "&(1,1)", "&(1,0)", "k&", "&1-&", "&2_&(1,1)"]).into(),
                8 => "[]".to_owned(),
                9 => self.one_of(&["[0]", "[1]", "[2]", "[01]"]).to_owned(),
                10 => self.one_of(&["[&]", "[&1]", "[&2]", "[&(1,1)]", "[&(0,1)]"]).to_owned(),
                11 => format!("[#{up}]"),
                12 => {
                    let name = self.name();
                    if self.below(2) == 0 {
                        format!("[@({up},{name})]")
                    } else {
                        format!("@({up},{name})")
                    }
                }
                13 => self
                    .one_of(&["@(0)", "@0", "@a", "@(1,a.b)", "@(2,&1)", "@", "[@a]", "[@1]"])
                    .into(),
                14 => self.odd_key(),
                _ => self.name(),
            };
            if n > 0 && (!part.starts_with('[') || self.below(6) == 0) {
                path.push('.');
            }
            path.push_str(&part);
        }
        path
    }

    fn default_key(&mut self) -> String {
        match self.below(10) {
            0 | 1 => "*".to_owned(),
            2 => self.one_of(&["a|b", "b|a|c", "0|1", "a|0", "2|5", "c|b"]).to_owned(),
            3 => self.one_of(&["a[]", "b[]", "0[]", "*[]", "a|b[]", "[]"]).to_owned(),
            4 | 5 => self.one_of(&["0", "1", "3", "-1"]).to_owned(),
            6 if self.below(3) == 0 => self.odd_key(),
            _ => self.name(),
        }
    }

    fn remove_key(&mut self) -> String {
        match self.below(10) {
            0..=2 => self.starred(),
            3 => self.one_of(&["a|b", "a|*", "0|1", "*-*|c", "|a"]).to_owned(),
            4 => self.odd_key(),
            _ => self.name(),
        }
    }

    fn cardinality_key(&mut self) -> String {
        match self.below(12) {
            0 | 1 => "@".to_owned(),
            2 => self.starred(),
            3 if self.below(3) == 0 => self.odd_key(),
            _ => self.name(),
        }
    }

    fn modify_key(&mut self) -> String {
        let key = match self.below(12) {
            0..=2 => self.starred(),
            3 | 4 => self.one_of(&["[0]", "[1]", "[2]", "[3]"]).to_owned(),
            5 => self.one_of(&["new", "n2"]).to_owned(),
            6 if self.below(3) == 0 => self.odd_key(),
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
            2 => (0..=self.below(3)).map(|_| Value::from(self.expression())).collect(),
            _ => self.expression().into(),
        }
    }

    fn expression(&mut self) -> String {
        let function = self.one_of(&FUNCTIONS);
        match self.below(16) {
            0..=3 => format!("={function}"),
            4 | 5 => self.fitting(),
            _ => {
                let operands: Vec<String> = (0..=self.below(3)).map(|_| self.operand()).collect();
                format!("={function}({})", operands.join(","))
            }
        }
    }

    /// A call whose arguments have the kinds that the function wants.
    fn fitting(&mut self) -> String {
        let (up, name) = (1 + self.below(2), self.name());
        let (value, n) = (format!("@({up},{name})"), self.below(4));
        match self.below(12) {
            0 => format!("=substring({value},{n},{})", n + self.below(3)),
            1 => format!("=join('{}',{value})", self.one_of(&[",", "-", "", " "])),
            2 => {
                let separator = self.one_of(&[
                    ",", "-", "[0-9]", "\\\\.", "|", "", "[a-c]+", " ", "b?", ".", "(a|b)", "é",
                ]);
                format!("=split('{separator}',{value})")
            }
            3 => format!(
                "=leftPad({value},{},'{}')",
                self.below(9),
                self.one_of(&["0", " ", "é", "ab"])
            ),
            4 => format!("=rightPad({value},{},'{}')", self.below(9), self.one_of(&["0", ".", ""])),
            5 => format!("=elementAt({n},{value})"),
            6 => {
                let digits = self.one_of(&["0", "1", "2", "5", "-1"]);
                let (a, b) = (self.decimal(), self.decimal());
                format!("=divideAndRound({digits},{a},{b})")
            }
            7 => format!(
                "={}({value},{})",
                self.one_of(&["intSubtract", "longSubtract", "doubleSubtract"]),
                self.decimal()
            ),
            8 => format!("=divide({},{value})", self.decimal()),
            9 => format!(
                "=concat({value},'{}',{})",
                self.one_of(&["-", "", "a,b", "("]),
                self.decimal()
            ),
            10 => {
                let function =
                    self.one_of(&["min", "max", "avg", "intSum", "longSum", "doubleSum"]);
                format!("={function}({value},{},{})", self.decimal(), self.decimal())
            }
            _ => format!("={}({value})", self.one_of(&FUNCTIONS)),
        }
    }

    fn decimal(&mut self) -> String {
        self.one_of(&[
            "0",
            "1",
            "3",
            "7",
            "-2",
            "2.5",
            "0.125",
            "1e3",
            "2147483647",
            "-2147483648",
            "9223372036854775807",
            "4294967296",
            "-0.5",
            "1.005",
            "@(1,a)",
            "@(1,b)",
            "'5'",
        ])
        .to_owned()
    }

    fn operand(&mut self) -> String {
        match self.below(12) {
            0..=4 => {
                let (up, name) = (self.below(4), self.name());
                format!("@({up},{name})")
            }
            5 => {
                format!("@({},{})", self.below(3), self.one_of(&["a[0]", "[1]", "&", "a.b", "&1"]))
            }
            6 => self.one_of(&["@0", "@1", "@(1)", "@2", "@a", "@(1, a)"]).to_owned(),
            7 => self.one_of(&["^a", "^a.b", "^a.b[0]", "^c", "^x", "^", "^&", "^0"]).to_owned(),
            8 => self.decimal(),
            _ => self
                .one_of(&[
                    "1", "2", "0", "-1", "2.5", "a", "'a'", "' '", "''", "','", "", "null", "true",
                    "'0'", "5", "'é'", "FALSE", "1d", "'(', ')'", "'a''b'", " x ", "'", "=size",
                ])
                .to_owned(),
        }
    }

    /// Changes a text somewhere in a specification.
    fn spoil(&mut self, spec: &mut Value) {
        match spec {
            Value::String(text) if self.below(2) == 0 => *text = self.spoiled(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.spoil(item)),
            Value::Object(entries) => {
                let old = std::mem::take(entries);
                let spoiled = old.into_iter().map(|(key, mut value)| {
                    self.spoil(&mut value);
                    (if self.below(3) == 0 { self.spoiled(&key) } else { key }, value)
                });
                *entries = spoiled.collect::<Map<_, _>>();
            }
            other if self.below(20) == 0 => *other = self.document(1),
            _ => {}
        }
    }

    fn spoiled(&mut self, text: &str) -> String {
        let mut chars: Vec<char> = text.chars().collect();
        let place = self.below(chars.len() + 1);
        let put = self.one_of(&[
            "*", "&", "@", "$", "#", "|", ".", "[", "]", "(", ")", ",", "\\", "?", "+", "~", "_",
            "'", "0", "9", "a", " ", "^", "=", "{", "é", "-",
        ]);
        match self.below(3) {
            0 if place < chars.len() => {
                chars.remove(place);
            }
            1 if place < chars.len() => chars[place] = put.chars().next().unwrap_or('x'),
            _ => chars.splice(place..place, put.chars()).for_each(drop),
        }
        chars.into_iter().collect()
    }
}
