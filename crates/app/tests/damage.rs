//! A damaged data folder: what is whole is kept, what was cut is said, and it goes on.

mod support;

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use support::Courant;
use tempfile::{TempDir, tempdir};

const FILE: &str = "
version: 1
name: damage
topics:
  t: { partitions: 1 }
sources:
  in: { http: { method: POST, path: /in }, to: t }
pipelines:
  keep:
    from: t
    to:
      - history: { collection: kept }
";

const RECORDS: usize = 20;

/// A folder whose log holds records in one batch each, left by `kill -9`.
struct Left {
    folder: TempDir,
    file: PathBuf,
    data: PathBuf,
}

impl Left {
    async fn new() -> Self {
        let folder = tempdir().unwrap();
        let (file, data) = (folder.path().join("courant.yaml"), folder.path().join("data"));
        fs::write(&file, FILE).unwrap();
        let courant = Courant::start(&file, &data);
        for n in 0..RECORDS {
            let (status, body) = courant.post("/in", json!({ "n": n }).to_string()).await;
            assert!(status.is_success(), "{status} {body}");
        }
        courant.kill();
        Self { folder, file, data }
    }

    fn segment(&self) -> PathBuf {
        self.data.join("log/topics/t/0/00000000000000000000.log")
    }

    /// Starts again; answers what the topic holds and what was said.
    async fn start_again(&self) -> (Vec<Value>, String) {
        let courant = Courant::start(&self.file, &self.data);
        // It goes on: one more record is taken and read.
        let (status, _) = courant.post("/in", json!({ "n": "after" }).to_string()).await;
        assert!(status.is_success());
        let (_, body) = courant.get("/api/v1/topics/t/records?from=earliest&limit=100").await;
        let records = body["records"].as_array().expect("records");
        let values = records.iter().map(|record| record["value"]["n"].clone()).collect();
        assert!(self.folder.path().exists());
        (values, courant.said())
    }
}

fn length(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len()
}

fn numbers(upto: usize) -> Vec<Value> {
    (0..upto).map(|n| json!(n)).chain([json!("after")]).collect()
}

#[tokio::test]
async fn a_torn_last_batch_is_cut_and_said_and_the_log_goes_on() {
    let left = Left::new().await;
    let segment = left.segment();
    let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
    file.set_len(length(&segment) - 7).unwrap();
    drop(file);
    let (values, said) = left.start_again().await;
    assert_eq!(values, numbers(RECORDS - 1));
    assert!(said.contains("cut"), "{said}");
}

#[tokio::test]
async fn bytes_of_a_write_that_never_ended_are_cut_and_every_record_stays() {
    let left = Left::new().await;
    let mut file = fs::OpenOptions::new().append(true).open(left.segment()).unwrap();
    file.write_all(&[0xAB; 300]).unwrap();
    drop(file);
    let (values, said) = left.start_again().await;
    assert_eq!(values, numbers(RECORDS));
    assert!(said.contains("cut"), "{said}");
}

#[tokio::test]
async fn a_flipped_bit_in_the_last_batch_is_found_by_its_checksum() {
    let left = Left::new().await;
    let segment = left.segment();
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let at = length(&segment) - 3;
    file.seek(SeekFrom::Start(at)).unwrap();
    let mut byte = [0];
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 0x10]).unwrap();
    drop(file);
    let (values, said) = left.start_again().await;
    assert_eq!(values, numbers(RECORDS - 1));
    assert!(said.contains("checksum") || said.contains("crc"), "{said}");
}
