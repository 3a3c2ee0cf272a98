//! The reference's own cases, where their folder is there.
//!
//! `JOLT_FIXTURES` names it; without it nothing is checked here, and the cases of this
//! repository (`rules.rs`) stand alone.

#![allow(clippy::print_stdout, reason = "says what was checked")]

use std::{fs, path::PathBuf};

use courant_jolt::Jolt;
use serde_json::Value;

fn files(folder: &PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder of cases") {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Equal but for numbers' kinds, and for the order of keys where it is not asked for.
fn same(a: &Value, b: &Value, ordered: bool) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, ordered))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && (!ordered || a.keys().eq(b.keys()))
                && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b, ordered)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn the_references_cases_pass() {
    let Some(folder) = std::env::var_os("JOLT_FIXTURES").map(PathBuf::from) else {
        println!("skipped: JOLT_FIXTURES does not name the reference's cases");
        return;
    };
    let (mut passed, mut refused, mut failed) = (0, 0, Vec::new());
    for file in files(&folder) {
        let case: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        // Its function is a Java class; the specification itself is valid without it.
        if file.ends_with("functions-labelsLookupTest.json") {
            continue;
        }
        let custom = file.components().any(|part| part.as_os_str() == "custom-java");
        let name = file.strip_prefix(&folder).unwrap().display().to_string();
        let compiled = Jolt::compile(&case["spec"]);
        if custom || case["expect_error"] == "spec" {
            match compiled {
                Err(errors) => {
                    assert!(!errors.to_string().is_empty());
                    refused += 1;
                }
                Ok(_) => failed.push(format!("{name}: was not refused")),
            }
            continue;
        }
        let jolt = match compiled {
            Ok(jolt) => jolt,
            Err(errors) => {
                failed.push(format!("{name}: {errors}"));
                continue;
            }
        };
        let outcome = jolt.transform_with(case["input"].clone(), case.get("context"));
        let text = serde_json::to_vec(&case["input"]).unwrap();
        match outcome {
            Err(_) if case.get("expect_error").is_some() => passed += 1,
            Err(error) => failed.push(format!("{name}: {error}")),
            Ok(output) if case.get("expect_error").is_some() => {
                failed.push(format!("{name}: no error but {output}"));
            }
            Ok(output) => {
                let ordered = case["ordered"] == true;
                if same(&output, &case["expected"], ordered) {
                    passed += 1;
                } else {
                    failed.push(format!("{name}:\n  got  {output}\n  want {}", case["expected"]));
                }
                if case.get("context").is_none() {
                    let bytes = jolt.transform_bytes(&text).unwrap();
                    let again: Value = serde_json::from_slice(&bytes).unwrap();
                    assert!(same(&again, &output, true), "{name}: bytes and tree differ");
                }
            }
        }
    }
    println!("{passed} cases pass, {refused} specifications are refused");
    assert!(failed.is_empty(), "{} fail\n{}", failed.len(), failed.join("\n"));
    assert!(passed + refused > 0, "the folder has no cases");
}
