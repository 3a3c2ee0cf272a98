//! What decodes, what is rejected and why, and that hostile text harms nobody.

use courant_model::{Column, ColumnType, Columns, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn columns(texts: &[(&str, &str)]) -> Columns {
    texts.iter().map(|(name, text)| Column::parse(*name, text).unwrap()).collect()
}

fn decode(decoder: &Decoder, values: &[&[u8]]) -> Output {
    let rows: Vec<_> = values
        .iter()
        .map(|value| RowInput {
            key: None,
            value: Some(value),
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp: Timestamp::NONE,
        })
        .collect();
    decoder.decode(&rows)
}

/// What a single column of the type makes of a value: its JSON, or the reason.
fn one(column_type: &str, value: &str) -> String {
    let decoder = Decoder::new(&columns(&[("c", column_type)]));
    let output = decode(&decoder, &[format!("{{\"c\":{value}}}").as_bytes()]);
    match (output.batch.encode().first(), output.rejected.first()) {
        (Some(value), None) => {
            let text = std::str::from_utf8(value).unwrap();
            text["{\"c\":".len()..text.len() - 1].to_owned()
        }
        (None, Some(rejection)) => rejection.reason.clone(),
        other => panic!("one fate for one row, found {other:?}"),
    }
}

#[test]
fn values_that_fit_come_back_in_their_canonical_form() {
    for (column_type, value, expected) in [
        ("boolean", "true", "true"),
        ("int32", "-2147483648", "-2147483648"),
        ("int64", "9223372036854775807", "9223372036854775807"),
        ("float64", "3", "3.0"),
        ("float64", "1e300", "1e+300"),
        ("float64", "0.1", "0.1"),
        ("decimal(10,2)", "12.5", "12.50"),
        ("decimal(10,2)", "\"-12.500\"", "-12.50"),
        ("decimal(10,2)", "1.2e3", "1200.00"),
        ("decimal(10,2)", "0.001e2", "0.10"),
        ("decimal(3,3)", "-0.125", "-0.125"),
        (
            "decimal(38,0)",
            "99999999999999999999999999999999999999",
            "99999999999999999999999999999999999999",
        ),
        ("decimal(4,1)", "0e999999999999", "0.0"),
        ("string", r#""a\u00e9\n\"""#, r#""aé\n\"""#),
        ("bytes", "\"aGk=\"", "\"aGk=\""),
        ("bytes", "\"aGk\"", "\"aGk=\""),
        ("date", "\"2024-02-29\"", "\"2024-02-29\""),
        ("timestamp", "\"2026-01-31T13:00:00+01:00\"", "\"2026-01-31T12:00:00Z\""),
        ("timestamp", "1500", "\"1970-01-01T00:00:01.500Z\""),
        ("timestamp", "\"9999-12-31T23:59:59Z\"", "\"9999-12-31T23:59:59Z\""),
        ("json", "{\"b\" : [1.10, {}]}", "{\"b\" : [1.10, {}]}"),
        ("list<int64>", "[1, null, 2]", "[1,null,2]"),
        ("list<list<string>>", "[[], [\"x\"], null]", "[[],[\"x\"],null]"),
        ("struct<a: int64, b: string>", "{\"b\":\"x\",\"z\":1}", "{\"a\":null,\"b\":\"x\"}"),
        ("struct<a: int64>", "null", "null"),
        ("int64", "null", "null"),
    ] {
        assert_eq!(one(column_type, value), expected, "{column_type} {value}");
    }
}

#[test]
fn values_that_do_not_fit_name_the_field_the_type_and_what_was_found() {
    for (column_type, value, expected) in [
        ("int64", "\"7\"", r#"field "c": expected int64, found string "7""#),
        ("int64", "7.0", r#"field "c": expected int64, found number 7.0"#),
        (
            "int32",
            "2147483648",
            r#"field "c": expected int32, found 2147483648, which does not fit"#,
        ),
        (
            "int64",
            "9223372036854775808",
            r#"field "c": expected int64, found 9223372036854775808, which does not fit"#,
        ),
        ("boolean", "1", r#"field "c": expected boolean, found number 1"#),
        ("string", "7", r#"field "c": expected string, found number 7"#),
        ("string", "{}", r#"field "c": expected string, found an object"#),
        ("string not null", "null", r#"field "c": expected string not null, found null"#),
        (
            "decimal(4,2)",
            "1.005",
            r#"field "c": expected decimal(4,2), found 1.005, which has too many digits"#,
        ),
        (
            "decimal(4,2)",
            "100",
            r#"field "c": expected decimal(4,2), found 100, which has too many digits"#,
        ),
        (
            "decimal(38,0)",
            "1e40",
            r#"field "c": expected decimal(38,0), found 1e40, which has too many digits"#,
        ),
        ("decimal(4,2)", "\"1,5\"", r#"field "c": expected decimal(4,2), found string "1,5""#),
        ("decimal(4,2)", "true", r#"field "c": expected decimal(4,2), found boolean true"#),
        ("bytes", "\"?\"", r#"field "c": expected bytes (base64 text), found string "?""#),
        (
            "date",
            "\"2023-02-29\"",
            r#"field "c": expected date (YYYY-MM-DD), found string "2023-02-29""#,
        ),
        (
            "timestamp",
            "\"2026-01-31 12:00:00\"",
            r#"field "c": expected timestamp (RFC 3339 text or milliseconds since the epoch), found string "2026-01-31 12:00:00""#,
        ),
        (
            "timestamp",
            "9223372036854775807",
            r#"field "c": expected timestamp (RFC 3339 text or milliseconds since the epoch), found 9223372036854775807, which is out of range"#,
        ),
        ("list<int64>", "[1,\"x\"]", r#"field "c.1": expected int64, found string "x""#),
        ("list<int64>", "1", r#"field "c": expected list<int64>, found number 1"#),
        (
            "struct<a: list<struct<b: int64>>>",
            "{\"a\":[{\"b\":1},{\"b\":true}]}",
            r#"field "c.a.1.b": expected int64, found boolean true"#,
        ),
        (
            "struct<a: int64 not null>",
            "{}",
            r#"field "c.a": expected int64 not null, found nothing"#,
        ),
    ] {
        assert_eq!(one(column_type, value), expected, "{column_type} {value}");
    }
}

#[test]
fn a_missing_required_column_is_named() {
    let decoder = Decoder::new(&columns(&[("a", "int64"), ("text", "string not null")]));
    let output = decode(&decoder, &[br#"{"a":1}"#, br#"{"text":"x"}"#]);
    assert_eq!(output.batch.rows(), [1]);
    assert_eq!(
        output.rejected,
        [Rejection {
            row: 0,
            reason: r#"field "text": expected string not null, found nothing"#.into()
        }]
    );
}

#[test]
fn what_is_no_object_is_rejected_with_what_it_is() {
    let decoder = Decoder::new(&columns(&[("a", "int64")]));
    let values: [&[u8]; 8] =
        [b"[1]", b"7", b"\"x\"", b"null", b"", b"  ", b"hello", br#"{"a":1} {"a":2}"#];
    let output = decode(&decoder, &values);
    let reasons: Vec<_> = output.rejected.iter().map(|r| r.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "the value is not a JSON object; found an array",
            "the value is not a JSON object; found a number",
            "the value is not a JSON object; found a string",
            "the value is not a JSON object; found a literal",
            "the value is not a JSON object; found nothing",
            "the value is not a JSON object; found nothing",
            "the value is not a JSON object; found text that is no JSON",
            "the value is not valid JSON: trailing characters at line 1 column 9",
        ]
    );
    let tombstone = RowInput {
        key: Some(b"k"),
        value: None,
        topic: "t",
        partition: 0,
        offset: 0,
        timestamp: Timestamp::NONE,
    };
    let output = decoder.decode(&[tombstone]);
    assert!(output.rejected[0].reason.contains("tombstone"));
}

#[test]
fn a_record_that_fails_half_way_leaves_no_trace() {
    let decoder = Decoder::new(&columns(&[
        ("a", "string"),
        ("l", "list<string>"),
        ("s", "struct<x: list<int64>, y: int64>"),
        ("n", "int64"),
    ]));
    let good = br#"{"a":"g","l":["p","q"],"s":{"x":[1,2],"y":3},"n":4}"#;
    let bad: [&[u8]; 6] = [
        br#"{"a":"b","l":["p",1],"n":4}"#,
        br#"{"a":"b","l":["p"],"s":{"x":[1,true]}}"#,
        br#"{"a":"b","l":["p"],"s":{"y":3,"x":[1],"y":"?"}}"#,
        br#"{"n":1,"a":"b","l":["p"],"n":"x"}"#,
        br#"{"a":"b","l":["p"#,
        b"{\"a\":\"b\xff\"}",
    ];
    for value in bad {
        let output = decode(&decoder, &[good, value, good]);
        assert_eq!(output.rejected.len(), 1, "{}", String::from_utf8_lossy(value));
        assert_eq!(output.batch.encode(), [good.as_slice(), good.as_slice()]);
        assert_eq!(output.batch.rows(), [0, 2]);
    }
}

#[test]
fn the_last_of_a_repeated_key_counts_whatever_the_type() {
    let decoder = Decoder::new(&columns(&[
        ("i", "int64"),
        ("s", "string"),
        ("l", "list<int64>"),
        ("o", "struct<a: int64>"),
        ("b", "boolean"),
    ]));
    let value = br#"{"i":1,"s":"x","l":[1,2],"o":{"a":1,"a":2},"b":true,"i":null,"s":"y","l":[3],"o":{},"b":false}"#;
    assert_eq!(
        decode(&decoder, &[value]).batch.encode(),
        [br#"{"i":null,"s":"y","l":[3],"o":{"a":null},"b":false}"#.as_slice()]
    );
}

#[test]
fn unknown_fields_are_ignored_unless_strict() {
    let known = columns(&[("name", "string"), ("o", "struct<a: int64>")]);
    let value: &[u8] = br#"{"name":"x","o":{"b":[{}]},"nam":1}"#;
    let output = decode(&Decoder::new(&known), &[value]);
    assert_eq!(output.batch.encode(), [br#"{"name":"x","o":{"a":null}}"#.as_slice()]);
    let strict = Decoder::new(&known).strict();
    assert_eq!(
        decode(&strict, &[value, br#"{"nam":1}"#])
            .rejected
            .iter()
            .map(|r| &*r.reason)
            .collect::<Vec<_>>(),
        [
            r#"field "o": there is no column for field "b"; did you mean "a"?"#,
            r#"there is no column for field "nam"; did you mean "name"?"#,
        ]
    );
}

#[test]
fn deep_nesting_is_bounded_where_it_would_be_kept() {
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert_eq!(one("json", &deep(128)), deep(128));
    assert_eq!(
        one("json", &deep(129)),
        r#"field "c": expected json, found a deeper nesting than 128"#
    );
    assert_eq!(one("json", "\"[[\\\"[[\""), "\"[[\\\"[[\"");
    assert!(one("json", &deep(200_000)).contains("nesting"));
    assert!(one("list<int64>", &deep(200_000)).contains("found an array"));
    // Where no column takes it, it is skipped without recursion.
    let decoder = Decoder::new(&columns(&[("a", "int64")]));
    let value = format!("{{\"other\":{},\"a\":1}}", deep(200_000));
    assert_eq!(decode(&decoder, &[value.as_bytes()]).batch.encode(), [br#"{"a":1}"#.as_slice()]);
}

#[test]
fn numbers_beyond_all_types_are_rejected() {
    for column_type in ["int32", "int64", "float64", "decimal(10,2)", "timestamp"] {
        for value in ["1e400", "-1e400", &"9".repeat(5_000), "1e-999999999999999999999x"] {
            let told = one(column_type, value);
            assert!(told.contains("expected") || told.contains("not valid JSON"), "{told}");
        }
    }
}

/// A column type with values of it, as documents hold them in canonical form.
fn typed_value() -> impl Strategy<Value = (ColumnType, Value)> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(|v| (ColumnType::Boolean, json!(v))),
        any::<i32>().prop_map(|v| (ColumnType::Int32, json!(v))),
        any::<i64>().prop_map(|v| (ColumnType::Int64, json!(v))),
        prop::num::f64::NORMAL.prop_map(|v| (ColumnType::Float64, json!(v))),
        ".{0,12}".prop_map(|v| (ColumnType::String, json!(v))),
        (0..2_932_896_i32).prop_map(|days| {
            let mut text = Vec::new();
            crate::civil::write_day(days, &mut text);
            (ColumnType::Date, json!(String::from_utf8(text).unwrap()))
        }),
        (0..253_402_300_799_999_999_i64).prop_map(|micros| {
            let mut text = Vec::new();
            crate::civil::write_instant(micros, &mut text);
            (ColumnType::Timestamp, json!(String::from_utf8(text).unwrap()))
        }),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), 0..4_usize).prop_map(|((column_type, value), count)| {
                (ColumnType::List(Box::new(column_type)), Value::Array(vec![value; count]))
            }),
            prop::collection::vec((inner, any::<bool>()), 1..4).prop_map(|fields| {
                let (mut columns, mut object) = (Vec::new(), Map::new());
                for (index, ((column_type, value), present)) in fields.into_iter().enumerate() {
                    columns.push(Column::new(format!("f{index}"), column_type));
                    object.insert(format!("f{index}"), if present { value } else { Value::Null });
                }
                (ColumnType::Struct(columns), Value::Object(object))
            }),
        ]
    })
}

fn columns_and_document() -> impl Strategy<Value = (Columns, Value)> {
    prop::collection::vec((typed_value(), any::<bool>()), 1..6).prop_map(|fields| {
        let (mut columns, mut document) = (Vec::new(), Map::new());
        for (index, ((column_type, value), present)) in fields.into_iter().enumerate() {
            columns.push(Column::new(format!("c {index}"), column_type));
            document.insert(format!("c {index}"), if present { value } else { Value::Null });
        }
        (Columns::new(columns), Value::Object(document))
    })
}

proptest! {
    #[test]
    fn documents_of_their_columns_survive_decoding_and_encoding(
        (columns, document) in columns_and_document(),
    ) {
        let text = serde_json::to_vec(&document).unwrap();
        let output = decode(&Decoder::new(&columns), &[&text, &text]);
        prop_assert_eq!(&output.rejected, &[]);
        for value in output.batch.encode() {
            prop_assert_eq!(&serde_json::from_slice::<Value>(&value).unwrap(), &document);
        }
    }

    #[test]
    fn decimals_survive_exactly(
        value in -9_999_999_999_999_999_999_999_999_999_i128..=9_999_999_999_999_999_999_999_999_999,
        scale in 0..=28_usize,
    ) {
        let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        let sign = if value < 0 { "-" } else { "" };
        let text = format!("{sign}{whole}{point}{fraction}");
        let column_type = format!("decimal(28,{scale})");
        prop_assert_eq!(&one(&column_type, &text), &text);
        prop_assert_eq!(&one(&column_type, &format!("\"{text}\"")), &text);
    }

    #[test]
    fn no_bytes_panic_and_the_neighbours_stand(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let decoder = Decoder::new(&columns(&[
            ("a", "int64"), ("d", "decimal(5,2)"), ("j", "json"), ("l", "list<struct<t: timestamp>>"),
        ]));
        let good = br#"{"a":1,"d":null,"j":null,"l":null}"#;
        let output = decode(&decoder, &[good, &bytes, good]);
        prop_assert_eq!(output.batch.len() + output.rejected.len(), 3);
        prop_assert_eq!(&output.batch.encode()[0], good.as_slice());
        prop_assert_eq!(&output.batch.encode()[output.batch.len() - 1], good.as_slice());
    }

    #[test]
    fn no_json_like_text_panics(
        text in r#"\{("[adjlx]":(-?[0-9]{1,25}(\.[0-9]{1,5})?(e[+-]?[0-9]{1,4})?|"[a-z0-9:T.Z+-]{0,30}"|null|true|\[|\]|\{|\}|,){1,4},?){0,6}\}?"#,
    ) {
        let decoder = Decoder::new(&columns(&[
            ("a", "int64"), ("d", "decimal(5,2)"), ("j", "json"), ("l", "list<struct<t: timestamp>>"),
        ]));
        let good = br#"{"a":1,"d":null,"j":null,"l":null}"#;
        let output = decode(&decoder, &[text.as_bytes(), good]);
        prop_assert_eq!(output.batch.len() + output.rejected.len(), 2);
        prop_assert_eq!(&output.batch.encode()[output.batch.len() - 1], good.as_slice());
    }
}
