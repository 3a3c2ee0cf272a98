//! Whose credentials are known: those of the configuration, and those set while running.
//!
//! Of a password only its salted hashes are kept ([`Credential`]). What administrators
//! set over the protocol goes to one small file, replaced as a whole:
//!
//! ```json
//! { "secret": "BASE64", "users": { "alice": { "scram_sha_256": "salt=…,stored_key=…,…" } } }
//! ```
//!
//! Invariant: a user who is not known looks like one who is. The salts of unknown users
//! and of configured passwords are derived from a secret, so that they stay the same
//! from one question, and where there is a file from one start, to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use courant_model::limits;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use super::{
    SecurityError,
    random::random_bytes,
    scram::{Credential, Hash, iterations_are_allowed},
};

/// One user's credentials, by hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserCredentials(BTreeMap<Hash, Credential>);

/// A change that an administrator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Alteration {
    Set { hash: Hash, iterations: u32, salt: Vec<u8>, salted_password: Vec<u8> },
    Delete { hash: Hash },
}

/// Why a user's credentials stay as they are.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AlterError {
    #[error("user {user:?} comes from the configuration; change it there")]
    Configured { user: String },
    #[error("this broker keeps no credentials; give it a folder to keep them in")]
    NotKept,
    #[error("a user name must have 1 to {} bytes", limits::USER_NAME_BYTES_MAX)]
    Name,
    #[error(
        "SCRAM credentials need {} to {} iterations, a salt and a salted password",
        limits::SCRAM_ITERATIONS_MIN,
        limits::SCRAM_ITERATIONS_MAX
    )]
    Weak,
    #[error("user {user:?} has no such credential")]
    Unknown { user: String },
    #[error("{} users have credentials, no more are kept", limits::USERS_MAX)]
    Full,
    #[error("writing the credentials failed: {0}")]
    Storage(#[from] io::Error),
}

/// All known credentials.
pub(crate) struct Credentials {
    secret: [u8; 32],
    configured: BTreeMap<String, UserCredentials>,
    altered: RwLock<BTreeMap<String, UserCredentials>>,
    /// Where alterations are kept; its lock is held while one is written.
    file: Option<Mutex<PathBuf>>,
}

/// What a user of the configuration has.
#[derive(Clone)]
pub(crate) enum Configured {
    Password(String),
    Stored(UserCredentials),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    secret: String,
    #[serde(default)]
    users: BTreeMap<String, KeptUser>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptUser {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scram_sha_256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scram_sha_512: Option<String>,
}

impl UserCredentials {
    pub(crate) fn get(&self, hash: Hash) -> Option<&Credential> {
        self.0.get(&hash)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Hash, &Credential)> {
        self.0.iter().map(|(hash, credential)| (*hash, credential))
    }

    pub(crate) fn insert(&mut self, hash: Hash, credential: Credential) {
        self.0.insert(hash, credential);
    }
}

impl Credentials {
    /// Derives what to keep of configured passwords, and reads what was kept in `file`;
    /// without one nothing can be altered. Takes milliseconds for each password.
    ///
    /// # Errors
    /// [`SecurityError::Credentials`] for a file that cannot be read.
    pub(crate) fn open(
        users: &BTreeMap<String, Configured>,
        file: Option<&Path>,
    ) -> Result<Self, SecurityError> {
        let kept = match file {
            Some(path) => read(path)?,
            None => None,
        };
        let is_new = kept.is_none();
        let (secret, altered) = kept.unwrap_or_else(|| (random_bytes(), BTreeMap::new()));
        let mut this = Self {
            secret,
            configured: BTreeMap::new(),
            altered: RwLock::new(altered),
            file: file.map(|path| Mutex::new(path.to_owned())),
        };
        if let (Some(path), true) = (file, is_new) {
            this.keep(path, &BTreeMap::new()).map_err(|source| storage(path, source))?;
        }
        for (name, user) in users {
            let credentials = match user {
                Configured::Stored(stored) => stored.clone(),
                Configured::Password(password) => this.derive(name, password),
            };
            this.configured.insert(name.clone(), credentials);
        }
        Ok(this)
    }

    /// What to check a user's proof against; for one who is not known something that
    /// nothing fits.
    pub(crate) fn of(&self, user: &str, hash: Hash) -> Credential {
        let known = match self.configured.get(user) {
            Some(credentials) => credentials.get(hash).cloned(),
            None => self.altered.read().get(user).and_then(|one| one.get(hash).cloned()),
        };
        known.unwrap_or_else(|| Credential {
            salt: self.salt(user, hash),
            stored_key: random_bytes::<64>()[..hash.len()].to_vec(),
            server_key: random_bytes::<64>()[..hash.len()].to_vec(),
            iterations: limits::SCRAM_ITERATIONS_MIN,
        })
    }

    /// Everybody who is known.
    pub(crate) fn users(&self) -> BTreeMap<String, UserCredentials> {
        let mut users = self.altered.read().clone();
        users.extend(self.configured.clone());
        users
    }

    /// Changes one user's credentials, all of it or nothing; durable when it answers.
    /// Blocks on the disk.
    ///
    /// # Errors
    /// [`AlterError`].
    pub(crate) fn alter(&self, user: &str, changes: Vec<Alteration>) -> Result<(), AlterError> {
        if self.configured.contains_key(user) {
            return Err(AlterError::Configured { user: user.to_owned() });
        }
        if user.is_empty() || user.len() > limits::USER_NAME_BYTES_MAX {
            return Err(AlterError::Name);
        }
        let path = self.file.as_ref().ok_or(AlterError::NotKept)?.lock();
        let mut users = self.altered.read().clone();
        let mut credentials = users.remove(user).unwrap_or_default();
        for change in changes {
            match change {
                Alteration::Set { hash, iterations, salt, salted_password } => {
                    if !iterations_are_allowed(iterations)
                        || salt.is_empty()
                        || salt.len() > limits::SASL_MESSAGE_BYTES_MAX / 8
                        || salted_password.len() != hash.len()
                    {
                        return Err(AlterError::Weak);
                    }
                    let set = Credential::from_salted(hash, &salted_password, &salt, iterations);
                    credentials.insert(hash, set);
                }
                Alteration::Delete { hash } => {
                    let unknown = AlterError::Unknown { user: user.to_owned() };
                    credentials.0.remove(&hash).ok_or(unknown)?;
                }
            }
        }
        if !credentials.0.is_empty() {
            users.insert(user.to_owned(), credentials);
        }
        if users.len() > limits::USERS_MAX {
            return Err(AlterError::Full);
        }
        self.keep(&path, &users)?;
        *self.altered.write() = users;
        Ok(())
    }

    fn derive(&self, user: &str, password: &str) -> UserCredentials {
        let derive = |hash| {
            let salt = self.salt(user, hash);
            (hash, Credential::derive(hash, password, &salt, limits::SCRAM_ITERATIONS_MIN))
        };
        UserCredentials([Hash::Sha256, Hash::Sha512].map(derive).into())
    }

    fn salt(&self, user: &str, hash: Hash) -> Vec<u8> {
        let mut salt = hash.hmac(&self.secret, format!("salt of {user}").as_bytes());
        salt.truncate(limits::SCRAM_SALT_BYTES);
        salt
    }

    /// Replaces the file: written beside it, synced, renamed.
    fn keep(&self, path: &Path, users: &BTreeMap<String, UserCredentials>) -> io::Result<()> {
        let text_of = |user: &UserCredentials, hash| user.get(hash).map(ToString::to_string);
        let user = |(name, user): (&String, &UserCredentials)| {
            let scram_sha_256 = text_of(user, Hash::Sha256);
            let scram_sha_512 = text_of(user, Hash::Sha512);
            (name.clone(), KeptUser { scram_sha_256, scram_sha_512 })
        };
        let kept =
            Kept { secret: BASE64.encode(self.secret), users: users.iter().map(user).collect() };
        let folder = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let beside = path.with_extension("new");
        let mut file = private_file(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(&kept)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(folder)?.sync_all()
    }
}

/// Secrets do not go into logs.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: BTreeSet<String> = self.users().into_keys().collect();
        f.debug_struct("Credentials").field("users", &users).finish_non_exhaustive()
    }
}

type Read = Option<([u8; 32], BTreeMap<String, UserCredentials>)>;

fn read(path: &Path) -> Result<Read, SecurityError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(storage(path, error)),
    };
    let damaged = |why: String| storage(path, io::Error::new(io::ErrorKind::InvalidData, why));
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let secret = BASE64.decode(&kept.secret).ok().and_then(|bytes| bytes.try_into().ok());
    let secret = secret.ok_or_else(|| damaged("its secret is not 32 bytes".to_owned()))?;
    let mut users = BTreeMap::new();
    for (name, user) in kept.users {
        let mut credentials = UserCredentials::default();
        for (hash, text) in [(Hash::Sha256, user.scram_sha_256), (Hash::Sha512, user.scram_sha_512)]
        {
            if let Some(text) = text {
                let credential = Credential::parse(hash, &text)
                    .map_err(|error| damaged(format!("user {name:?}: {error}")))?;
                credentials.insert(hash, credential);
            }
        }
        users.insert(name, credentials);
    }
    Ok(Some((secret, users)))
}

fn storage(path: &Path, source: io::Error) -> SecurityError {
    SecurityError::Credentials { path: path.to_owned(), source }
}

/// A new file that nobody but its owner may read.
fn private_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::File::options();
    options.create(true).truncate(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(password: &[u8]) -> Vec<Alteration> {
        let (hash, salt) = (Hash::Sha256, b"0123456789abcdef".to_vec());
        let mut salted_password = password.to_vec();
        salted_password.resize(hash.len(), 0);
        vec![Alteration::Set { hash, iterations: 4096, salt, salted_password }]
    }

    fn configured() -> BTreeMap<String, Configured> {
        [("alice".to_owned(), Configured::Password("secret".to_owned()))].into()
    }

    #[test]
    fn a_configured_password_is_known_to_both_hashes() {
        let credentials = Credentials::open(&configured(), None).unwrap();
        for hash in [Hash::Sha256, Hash::Sha512] {
            assert!(credentials.of("alice", hash).is_of(hash, "secret"));
            assert!(!credentials.of("alice", hash).is_of(hash, "Secret"));
        }
        assert!(!format!("{credentials:?}").contains("secret"));
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one_each_time() {
        let credentials = Credentials::open(&configured(), None).unwrap();
        let known = credentials.of("alice", Hash::Sha256);
        let (first, again) =
            (credentials.of("nobody", Hash::Sha256), credentials.of("nobody", Hash::Sha256));
        assert_eq!((&first.salt, first.iterations), (&again.salt, again.iterations));
        assert_eq!((first.salt.len(), first.iterations), (known.salt.len(), known.iterations));
        assert_ne!(first.salt, known.salt);
        assert!(!first.is_of(Hash::Sha256, ""));
    }

    #[test]
    fn alterations_and_salts_outlive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broker/credentials.json");
        let first = Credentials::open(&configured(), Some(&path)).unwrap();
        first.alter("bob", set(b"one")).unwrap();
        first.alter("carol", set(b"two")).unwrap();
        first.alter("carol", vec![Alteration::Delete { hash: Hash::Sha256 }]).unwrap();
        let again = Credentials::open(&configured(), Some(&path)).unwrap();
        assert_eq!(again.of("bob", Hash::Sha256), first.of("bob", Hash::Sha256));
        assert_eq!(again.of("nobody", Hash::Sha512).salt, first.of("nobody", Hash::Sha512).salt);
        assert_eq!(again.users().into_keys().collect::<Vec<_>>(), ["alice", "bob"]);
    }

    #[test]
    fn an_alteration_is_refused_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let credentials = Credentials::open(&configured(), Some(&path)).unwrap();
        let refused = credentials.alter("alice", set(b"x"));
        assert!(matches!(refused, Err(AlterError::Configured { .. })), "{refused:?}");
        let both = [set(b"x"), vec![Alteration::Delete { hash: Hash::Sha512 }]].concat();
        let refused = credentials.alter("bob", both);
        assert!(matches!(refused, Err(AlterError::Unknown { .. })), "{refused:?}");
        assert!(!credentials.users().contains_key("bob"));
        let weak = vec![Alteration::Set {
            hash: Hash::Sha256,
            iterations: 1,
            salt: vec![1],
            salted_password: vec![0; 32],
        }];
        assert!(matches!(credentials.alter("bob", weak), Err(AlterError::Weak)));
        assert!(matches!(credentials.alter("", set(b"x")), Err(AlterError::Name)));
        let unkept = Credentials::open(&BTreeMap::new(), None).unwrap();
        assert!(matches!(unkept.alter("bob", set(b"x")), Err(AlterError::NotKept)));
    }

    #[test]
    fn a_damaged_file_is_told_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        std::fs::write(&path, b"{}").unwrap();
        let error = Credentials::open(&BTreeMap::new(), Some(&path)).unwrap_err().to_string();
        assert!(error.contains("credentials.json") && error.contains("secret"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn nobody_else_may_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        Credentials::open(&BTreeMap::new(), Some(&path)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
