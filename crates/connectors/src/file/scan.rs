//! Finds the files of a path with wildcards.
//!
//! `*` stands for any characters of one name and `?` for one; a folder is never
//! crossed by a wildcard. Names that begin with a dot are found only by patterns
//! that do. Files come in the order of their paths, which is how dated names sort.

use std::{
    io,
    path::{Path, PathBuf},
};

use courant_model::limits::FILE_SOURCE_FILES_MAX;

use super::cursor::Identity;

/// A file as a look found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) bytes: u64,
    /// When it was changed last; the only use is to see that it rests.
    pub(super) modified: Option<std::time::SystemTime>,
}

/// Whether a path has wildcards.
pub(super) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?'])
}

/// All files of the pattern, in order.
///
/// # Errors
/// A folder that cannot be listed, and more files than one source follows.
pub(super) fn find(base: &Path, pattern: &str) -> io::Result<Vec<Found>> {
    let mut paths = vec![base.to_path_buf()];
    for component in Path::new(pattern).components() {
        let name = component.as_os_str().to_string_lossy();
        if is_pattern(&name) {
            paths = expand(&paths, &name)?;
        } else {
            paths.iter_mut().for_each(|path| path.push(component));
        }
    }
    let mut found = Vec::new();
    for path in paths {
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => {
                let (identity, modified) = (Identity::of(&path, &metadata), metadata.modified());
                let bytes = metadata.len();
                found.push(Found { path, identity, bytes, modified: modified.ok() });
            }
            Ok(_) if is_pattern(pattern) => {}
            Ok(_) => return Err(io::ErrorKind::IsADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    if found.len() > FILE_SOURCE_FILES_MAX {
        let what = format!("pattern finds more than {FILE_SOURCE_FILES_MAX} files; narrow it");
        return Err(io::Error::other(what));
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// The entries of these folders whose names fit.
fn expand(folders: &[PathBuf], pattern: &str) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for folder in folders {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let hidden = name.starts_with('.') && !pattern.starts_with('.');
            if !hidden && fits(pattern.as_bytes(), name.as_bytes()) {
                paths.push(entry.path());
            }
        }
    }
    Ok(paths)
}

/// Whether a name fits; linear but for the last star, which alone is tried again.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_fit_names() {
        for (pattern, name, expected) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv.gz", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("?.log", "é.log", false),
            ("??.log", "12.log", true),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_come_in_the_order_of_their_paths() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["b/1.csv", "a/2.csv", "a/1.csv", "a/x.txt", "a/.h.csv"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let found = find(folder.path(), "*/*.csv").unwrap();
        let names: Vec<_> =
            found.iter().map(|f| f.path.strip_prefix(folder.path()).unwrap().to_owned()).collect();
        assert_eq!(names, ["a/1.csv", "a/2.csv", "b/1.csv"].map(PathBuf::from));
        assert_eq!(find(folder.path(), "none.csv").unwrap(), []);
        assert!(find(folder.path(), "a").is_err());
    }
}
