//! How far which file was read, and how to know a file again.
//!
//! A file is known by device and inode, so that renaming it changes nothing; a
//! hash of its first bytes tells it from a later file that was given the same
//! inode. What is saved is JSON, so that people can read it:
//! `{"files": [{"path", "identity", "head_bytes", "head_hash", "offset", "line", "names"}]}`.

use std::{
    fs::{File, Metadata},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use bytes::Bytes;
use courant_model::limits::FILE_HEAD_BYTES_MAX;
use courant_pipeline::connector::ConnectorError;
use serde::{Deserialize, Serialize};

use crate::formats::pieces::Start;

/// Tells a file from every other on this machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Identity(String);

/// How far a file was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Where it was seen last; for people.
    pub(super) path: String,
    pub(super) identity: Identity,
    /// How many of the first bytes were hashed, and their hash.
    head_bytes: usize,
    head_hash: u64,
    pub(super) offset: u64,
    pub(super) line: u64,
    /// The header of CSV.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) names: Option<Vec<String>>,
}

/// What a file source remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Saved<C> {
    files: C,
}

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(_path: &Path, metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(format!("{}:{}", metadata.dev(), metadata.ino()))
    }

    /// Elsewhere a file is known by its path.
    #[cfg(not(unix))]
    pub(super) fn of(path: &Path, _metadata: &Metadata) -> Self {
        Self(path.to_string_lossy().into_owned())
    }
}

impl Cursor {
    /// The beginning of a file.
    pub(super) fn beginning(path: &Path, identity: Identity) -> Self {
        Self {
            path: path.to_string_lossy().into_owned(),
            identity,
            head_bytes: 0,
            head_hash: hash(&[]),
            offset: 0,
            line: 1,
            names: None,
        }
    }

    /// Goes back to the beginning: the file's content is another.
    pub(super) fn restart(&mut self) {
        *self = Self::beginning(Path::new(&self.path), self.identity.clone());
    }

    pub(super) const fn start(&self) -> Start {
        Start { offset: self.offset, line: self.line }
    }

    /// Whether the file still begins as it did.
    ///
    /// # Errors
    /// Reading it.
    pub(super) fn knows(&self, file: &mut File) -> io::Result<bool> {
        let head = head(file, self.head_bytes)?;
        Ok(head.len() == self.head_bytes && hash(&head) == self.head_hash)
    }

    /// Takes the file's first bytes, as many as were read of it.
    ///
    /// # Errors
    /// Reading it.
    pub(super) fn learn(&mut self, file: &mut File) -> io::Result<()> {
        let wanted = usize::try_from(self.offset).unwrap_or(usize::MAX).min(FILE_HEAD_BYTES_MAX);
        if wanted > self.head_bytes {
            let head = head(file, wanted)?;
            (self.head_bytes, self.head_hash) = (head.len(), hash(&head));
        }
        Ok(())
    }
}

/// Reads what was saved.
///
/// # Errors
/// Bytes that no file source wrote.
pub(super) fn load(saved: Option<&Bytes>) -> Result<Vec<Cursor>, ConnectorError> {
    let Some(saved) = saved else { return Ok(Vec::new()) };
    let saved: Saved<Vec<Cursor>> = serde_json::from_slice(saved).map_err(|error| {
        ConnectorError::fatal(format!(
            "source's saved state cannot be read: {error}; another kind of source had this name: rename it"
        ))
    })?;
    Ok(saved.files)
}

/// What to save.
pub(super) fn save<'a>(cursors: impl Iterator<Item = &'a Cursor>) -> Bytes {
    let saved = Saved { files: cursors.collect::<Vec<_>>() };
    serde_json::to_vec(&saved).unwrap_or_default().into()
}

/// Reads from an offset until so many bytes or the end.
///
/// # Errors
/// The file system's.
pub(super) fn read_at(file: &mut File, offset: u64, bytes: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut chunk = Vec::new();
    file.take(bytes as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}

fn head(file: &mut File, bytes: usize) -> io::Result<Vec<u8>> {
    read_at(file, 0, bytes)
}

/// FNV-1a, 64 bits: short, and the same in every version, which std's is not.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let mut file = File::open(&path).unwrap();
        let mut cursor = Cursor::beginning(&path, Identity::of(&path, &file.metadata().unwrap()));
        (cursor.offset, cursor.line, cursor.names) = (4, 2, Some(vec!["a".into()]));
        cursor.learn(&mut file).unwrap();
        let found = load(Some(&save([&cursor].into_iter()))).unwrap();
        assert_eq!(found, [cursor.clone()]);
        assert!(found[0].knows(&mut file).unwrap());
        std::fs::write(&path, "other\n").unwrap();
        assert!(!cursor.knows(&mut File::open(&path).unwrap()).unwrap());
        assert!(load(Some(&Bytes::from_static(b"1000"))).is_err());
    }
}
