//! What the functions answer, family by family, beside the golden files in
//! `snapshots/`. A new version of the engine that answers differently shows here.
//!
//! Each line is an expression, its type, and its value for each of the rows; `!` is a
//! rejection or a refusal. `cargo insta review` takes changes over.

use std::fmt::Write;

use crate::support::{NOW, columns, rows, told};
use courant_model::Columns;
use courant_sql::Statement;

const DOCUMENTS: [&str; 3] = [
    r#"{"i":7,"n":-3,"f":2.5,"d":"19.90","s":"Grüße, Welt","b":"aGk=","t":"2026-01-31T12:30:45.123456Z","day":"2024-02-29","ok":true,"tags":["x","y","x"],"at":{"city":"Oslo","pin":12},"lines":[{"sku":"A","qty":2},{"sku":"B","qty":5}],"j":{"k":1}}"#,
    r#"{"i":0,"n":2147483647,"f":-0.1,"d":-1.05,"s":"","b":"","t":0,"day":"1969-12-31","ok":false,"tags":[],"at":{"city":null,"pin":null},"lines":[],"j":[1]}"#,
    "{}",
];

fn input() -> Columns {
    columns(&[
        "i: int64",
        "n: int32",
        "f: float64",
        "d: decimal(10,2)",
        "s: string",
        "b: bytes",
        "t: timestamp",
        "day: date",
        "ok: boolean",
        "tags: list<string>",
        "at: struct<city: string, pin: int32>",
        "lines: list<struct<sku: string, qty: int64>>",
        "j: json",
    ])
}

/// One line for each expression.
fn answers(expressions: &[&str]) -> String {
    let mut text = String::new();
    for expression in expressions {
        let answer =
            match Statement::compile(&format!("SELECT {expression} AS x FROM input"), &input()) {
                Err(error) => format!("! {}", error.message),
                Ok(statement) => {
                    let column = statement.output().iter().next().expect("one column");
                    let column_type = column.type_text();
                    let mut values: Vec<_> = told(&statement.run(&rows(&DOCUMENTS), &NOW))
                        .iter()
                        .map(|line| {
                            let (row, value) = line.split_once(' ').expect("row and value");
                            let value =
                                value.strip_prefix(r#"{"x":"#).and_then(|v| v.strip_suffix('}'));
                            (
                                row.to_owned(),
                                value.map_or_else(|| line[2..].to_owned(), str::to_owned),
                            )
                        })
                        .collect();
                    values.sort();
                    let values: Vec<_> = values.into_iter().map(|(_, value)| value).collect();
                    format!("{column_type} = {}", values.join(" | "))
                }
            };
        writeln!(text, "{expression} : {answer}").expect("a string takes all");
    }
    text
}

macro_rules! golden {
    ($($test:ident: [$($expression:expr),* $(,)?],)*) => {
        $(
            #[test]
            fn $test() {
                let told = answers(&[$($expression),*]);
                insta::with_settings!({ omit_expression => true }, {
                    insta::assert_snapshot!(stringify!($test), told);
                });
            }
        )*
    };
}

golden! {
    columns_are_what_they_are: [
        "i", "n", "f", "d", "s", "b", "t", "day", "ok", "tags", "at", "lines", "j",
    ],
    literals_have_types: [
        "1", "1.5", "'it''s'", "true", "NULL", "DATE '2026-01-31'",
        "TIMESTAMP '2026-01-31 12:00:00'", "TIMESTAMP '2026-01-31T12:00:00+01:00'", "X'6869'",
        "[1, 2]", "{a: 1, b: 'x'}", "MAP {'k': 1, 'l': 2}", "INTERVAL '1 day'", "1e3",
        "12345678901234567890",
    ],
    arithmetic_is_exact_or_refused: [
        "i + 1", "i - n", "i * 2", "i / 2", "i / 0", "i % 4", "-i", "n + 1", "n * n", "f * 2",
        "f / 0", "d + 1", "d * 3", "d * d", "d / 3", "d + f", "abs(n)", "power(i, 2)", "i & 3",
        "i | 8", "i ^ 1", "i << 2",
    ],
    comparisons_and_logic: [
        "i = 7", "i <> 7", "i BETWEEN 1 AND 9", "i IN (7, 8)", "i NOT IN (7, 8)", "i IS NULL",
        "i IS DISTINCT FROM 7", "ok AND i > 1", "ok OR i IS NULL", "NOT ok", "ok IS TRUE",
        "s LIKE 'Gr%'", "s ILIKE 'gr%'", "s NOT LIKE '%x'", "s SIMILAR TO 'G.*'", "s ~ '^G'",
        "s ~* '^g'", "s !~ 'x'", "d > 5", "d = 19.90", "day > '2000-01-01'",
        "t >= '2026-01-01T00:00:00Z'", "t < TIMESTAMP '2026-01-01'", "b = X'6869'",
    ],
    conditionals: [
        "CASE WHEN i > 5 THEN 'big' WHEN i IS NULL THEN 'none' ELSE 'small' END",
        "CASE i WHEN 7 THEN 1 ELSE 0 END", "CASE WHEN i <> 0 THEN 10 / i END", "coalesce(s, 'none')",
        "nullif(i, 7)", "ifnull(i, -1)", "nvl(s, '-')", "nvl2(i, 'yes', 'no')", "greatest(i, n)",
        "least(i, n)",
    ],
    casts: [
        "CAST(i AS VARCHAR)", "CAST(s AS INT)", "TRY_CAST(s AS INT)", "CAST('12' AS BIGINT)",
        "CAST(n AS SMALLINT)", "TRY_CAST(n AS SMALLINT)", "CAST(f AS INT)", "CAST(d AS DOUBLE)",
        "CAST(f AS DECIMAL(6,3))", "CAST(d AS DECIMAL(4,1))", "CAST(t AS DATE)", "CAST(day AS TIMESTAMP)",
        "CAST(t AS VARCHAR)", "CAST(ok AS INT)", "i::text", "CAST('2026-01-31T01:02:03Z' AS TIMESTAMP)",
        "CAST('nonsense' AS DATE)", "CAST(b AS VARCHAR)", "arrow_cast(i, 'Int8')", "arrow_typeof(t)",
    ],
    strings: [
        "s || '!'", "concat(s, i)", "concat_ws('-', s, i, n)", "upper(s)", "lower(s)", "initcap(s)",
        "length(s)", "char_length(s)", "octet_length(s)", "bit_length(s)", "reverse(s)", "left(s, 3)",
        "right(s, 4)", "substr(s, 2, 3)", "substring(s FROM 2 FOR 3)", "trim('  x ')", "ltrim('  x')",
        "rtrim('x  ')", "btrim('xxaxx', 'x')", "TRIM(LEADING 'x' FROM 'xxa')", "lpad(CAST(i AS VARCHAR), 3, '0')",
        "rpad('a', 3, '-')", "repeat('ab', 2)", "replace(s, 'e', 'E')", "split_part(s, ', ', 2)",
        "strpos(s, 'W')", "position('W' IN s)", "starts_with(s, 'Gr')", "ends_with(s, 'lt')",
        "contains(s, 'ß')", "ascii('A')", "chr(65)", "to_hex(255)", "levenshtein('ab', 'ac')",
        "translate('abc', 'ab', 'xy')", "substr_index('a.b.c', '.', 2)", "find_in_set('b', 'a,b')",
        "overlay('abcd' PLACING 'xx' FROM 2)",
    ],
    regular_expressions: [
        "regexp_like(s, 'W.lt')", "regexp_match(s, '(\\w+), (\\w+)')", "regexp_replace(s, '[aeiou]', '*', 'g')",
        "regexp_count(s, 'e')", "regexp_instr(s, 'W')", "regexp_like(s, '(')",
    ],
    mathematics: [
        "round(f)", "round(f, 1)", "floor(f)", "ceil(f)", "trunc(f)", "sqrt(i)", "cbrt(27)", "exp(0)",
        "ln(1)", "log(10, 100)", "log2(8)", "log10(1000)", "sin(0)", "cos(0)", "pi()", "signum(f)",
        "factorial(5)", "gcd(12, 18)", "lcm(4, 6)", "degrees(pi())", "isnan(f)", "nanvl(f, 0)", "ln(n)",
    ],
    dates_and_times: [
        "date_trunc('hour', t)", "date_part('year', t)", "extract(dow FROM day)", "extract(epoch FROM t)",
        "t + INTERVAL '1 hour'", "day + INTERVAL '1 month'", "extract(epoch FROM t - TIMESTAMP '2026-01-31')",
        "t - TIMESTAMP '2026-01-31'", "date_bin(INTERVAL '15 minutes', t, TIMESTAMP '1970-01-01')",
        "to_timestamp('2026-01-31T12:00:00Z')", "to_timestamp_millis(i)", "to_timestamp_seconds(i)",
        "to_date('2026-01-31')", "to_char(t, '%d.%m.%Y')", "from_unixtime(i)", "to_unixtime(t)",
        "make_date(2026, 1, 31)", "t AT TIME ZONE 'Europe/Oslo'", "now() > t", "current_date()",
        "to_local_time(t)", "date_trunc('day', now())", "day - DATE '2024-01-01'",
        "t + INTERVAL '9000 years'",
    ],
    hashes_and_encodings: [
        "md5(s)", "encode(sha256(s), 'hex')", "sha224(s)", "encode(b, 'base64')", "encode(b, 'hex')",
        "decode('6869', 'hex')", "CAST(decode('aGk', 'base64') AS VARCHAR)", "digest(s, 'blake3')",
    ],
    lists: [
        "cardinality(tags)", "array_length(tags)", "tags[1]", "tags[-1]", "tags[1:2]",
        "array_append(tags, 'z')", "array_prepend('a', tags)", "array_concat(tags, ['q'])",
        "array_distinct(tags)", "array_has(tags, 'x')", "array_position(tags, 'y')",
        "array_remove(tags, 'x')", "array_sort(tags)", "array_reverse(tags)", "array_to_string(tags, '+')",
        "string_to_array('a,b', ',')", "array_slice(tags, 2, 3)", "range(1, 4)", "array_max([3, 1])",
        "array_min([3, 1])", "flatten([[1], [2, 3]])", "array_union(tags, ['q'])", "make_array(i, n)",
        "array_except(tags, ['x'])",
        "empty(tags)", "array_repeat(1, 3)",
    ],
    structures: [
        "at.city", "at['pin']", "at.pin + 1", "lines[1].sku", "array_slice(lines, 2, 2)[1].sku", "lines[1]['qty']",
        "named_struct('a', i, 'b', s)", "struct(i, s)", "map(['a'], [i])", "map_keys(map(['a'], [i]))",
        "map_extract(map(['a'], [i]), 'a')", "get_field(at, 'city')", "j", "upper(j)",
    ],
    json_is_reached_by_keys: [
        "json_as_text(j, 'k')", "json_as_text(j, 0)", "CAST(json_as_text(j, 'k') AS INT)", "json_as_text(j)",
        "json_as_text('{\"a\":[1.10,{\"b\":\"x\\n\"}]}', 'a', 0)",
        "json_as_text('{\"a\":[1.10,{\"b\":\"x\\n\"}]}', 'a', 1, 'b')",
        "json_as_text('{\"a\":[1.10,{\"b\":\"x\\n\"}]}', 'a', 1)", "json_as_text('{\"a\":1,\"a\":2}', 'a')",
        "json_as_text(s, 'a')", "json_as_text(j, s)", "json_as_text(j, -1)", "json_as_text()",
    ],
    what_is_not_deterministic_is_refused: ["random()", "uuid()", "version()"],
}
