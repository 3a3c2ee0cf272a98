//! SCRAM, the server's side (RFC 5802 and RFC 7677): messages, keys and the proof.
//!
//! ```text
//!   client  n,,n=alice,r=NONCE                     ─▶
//!           ◀─  r=NONCE+SERVER,s=SALT,i=4096          server
//!   client  c=biws,r=NONCE+SERVER,p=PROOF          ─▶
//!           ◀─  v=SIGNATURE                           server
//! ```
//!
//! Pure: no clock, no randomness and no user is known here. Invariant: nothing that is
//! kept or compared is a password, and comparisons of secrets take constant time. As
//! in Kafka, passwords are the bytes of their UTF-8, without SASLprep, and channel
//! binding is not offered.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use courant_model::limits;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hash {
    Sha256,
    Sha512,
}

/// What the server keeps of a password: enough to check it, not enough to use it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Vec<u8>,
    pub(crate) server_key: Vec<u8>,
    pub(crate) iterations: u32,
}

/// Why a text is no SCRAM message or credential.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is malformed: {why}")]
pub(crate) struct Malformed {
    what: &'static str,
    why: &'static str,
}

/// The client's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientFirst {
    /// Up to the second comma; it comes back in `c=`.
    pub(crate) gs2_header: String,
    /// Whom the client wants to act as, if it says so.
    pub(crate) authorization_id: Option<String>,
    pub(crate) username: String,
    pub(crate) nonce: String,
    /// The message without its header, as it goes into the proof.
    pub(crate) bare: String,
}

/// The client's last message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientFinal {
    pub(crate) channel_binding: Vec<u8>,
    pub(crate) nonce: String,
    pub(crate) proof: Vec<u8>,
    /// The message up to the proof, as it goes into the proof.
    pub(crate) without_proof: String,
}

/// An exchange that waits for the client's last message.
#[derive(Debug)]
pub(crate) struct Exchange {
    hash: Hash,
    credential: Credential,
    gs2_header: String,
    nonce: String,
    /// What librdkafka before 2.6.1 repeats instead: its own nonce once more in front.
    /// It holds all of the nonce, so that the proof binds no less.
    doubled_nonce: String,
    /// Both first messages, as they go into the proof.
    first_messages: String,
}

impl Hash {
    pub(crate) const fn len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    /// `Hi` of the RFC: the salted password. Takes milliseconds.
    fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        let mut salted = vec![0; self.len()];
        match self {
            Self::Sha256 => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut salted);
            }
            Self::Sha512 => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut salted);
            }
        }
        salted
    }

    pub(crate) fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => mac::<Hmac<Sha256>>(key, message),
            Self::Sha512 => mac::<Hmac<Sha512>>(key, message),
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

impl Credential {
    /// Derives what to keep of a password. Takes milliseconds.
    pub(crate) fn derive(hash: Hash, password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = hash.salted_password(password.as_bytes(), salt, iterations);
        Self::from_salted(hash, &salted, salt, iterations)
    }

    /// As [`Credential::derive`], of a password that a client has salted already.
    pub(crate) fn from_salted(hash: Hash, salted: &[u8], salt: &[u8], iterations: u32) -> Self {
        Self {
            salt: salt.to_vec(),
            stored_key: hash.digest(&hash.hmac(salted, b"Client Key")),
            server_key: hash.hmac(salted, b"Server Key"),
            iterations,
        }
    }

    /// Whether this is the password, in constant time. Takes milliseconds.
    pub(crate) fn is_of(&self, hash: Hash, password: &str) -> bool {
        let other = Self::derive(hash, password, &self.salt, self.iterations);
        self.stored_key.ct_eq(&other.stored_key).into()
    }

    /// Reads Kafka's text: `salt=…,stored_key=…,server_key=…,iterations=…`.
    ///
    /// # Errors
    /// [`Malformed`] for any other, and keys that are not of the hash's length.
    pub(crate) fn parse(hash: Hash, text: &str) -> Result<Self, Malformed> {
        let malformed = |why| Malformed { what: "SCRAM credential", why };
        let field = |name: &str| {
            text.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
        };
        let bytes = |name, why| {
            let text = field(name).ok_or(malformed(why))?;
            BASE64.decode(text).map_err(|_| malformed(why))
        };
        let credential = Self {
            salt: bytes("salt", "it needs salt= in base64")?,
            stored_key: bytes("stored_key", "it needs stored_key= in base64")?,
            server_key: bytes("server_key", "it needs server_key= in base64")?,
            iterations: field("iterations")
                .and_then(|text| text.parse().ok())
                .ok_or(malformed("it needs iterations= as a number"))?,
        };
        if credential.stored_key.len() != hash.len() || credential.server_key.len() != hash.len() {
            return Err(malformed("its keys are not of the mechanism's length"));
        }
        if credential.salt.is_empty() || !iterations_are_allowed(credential.iterations) {
            return Err(malformed("its salt is empty, or its iterations are not 4096 to 16384"));
        }
        Ok(credential)
    }
}

/// As Kafka keeps it, for [`Credential::parse`].
impl fmt::Display for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored, server] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| BASE64.encode(bytes));
        let iterations = self.iterations;
        write!(f, "salt={salt},stored_key={stored},server_key={server},iterations={iterations}")
    }
}

/// Keys do not go into logs.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ClientFirst {
    /// Reads `n,[a=authzid],n=user,r=nonce[,extensions]`.
    ///
    /// # Errors
    /// [`Malformed`]; also for channel binding and mandatory extensions, which are
    /// not offered.
    pub(crate) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let malformed = |why| Malformed { what: "SCRAM client first message", why };
        let text = checked_text(message, "SCRAM client first message")?;
        let mut parts = text.splitn(3, ',');
        let (binding, authorization, bare) = (parts.next(), parts.next(), parts.next());
        let (Some(binding), Some(authorization), Some(bare)) = (binding, authorization, bare)
        else {
            return Err(malformed("it has too few fields"));
        };
        if !matches!(binding, "n" | "y") {
            return Err(malformed("it asks for channel binding, which is not offered"));
        }
        let authorization_id = match authorization.strip_prefix("a=") {
            Some(name) => Some(unescape(name).ok_or(malformed("its authorization id"))?),
            None if authorization.is_empty() => None,
            None => return Err(malformed("its second field is no authorization id")),
        };
        let mut fields = bare.split(',');
        let username = fields.next().and_then(|field| field.strip_prefix("n="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let username = username.and_then(unescape).filter(|name| !name.is_empty());
        if fields.any(|field| field.starts_with("m=")) {
            return Err(malformed("it asks for an extension that is not known"));
        }
        Ok(Self {
            gs2_header: format!("{binding},{authorization},"),
            authorization_id,
            username: username.ok_or(malformed("its user name"))?,
            nonce: checked_nonce(nonce).ok_or(malformed("its nonce"))?,
            bare: bare.to_owned(),
        })
    }
}

impl ClientFinal {
    /// Reads `c=binding,r=nonce[,extensions],p=proof`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub(crate) fn parse(message: &[u8]) -> Result<Self, Malformed> {
        let malformed = |why| Malformed { what: "SCRAM client final message", why };
        let text = checked_text(message, "SCRAM client final message")?;
        let (without_proof, proof) =
            text.rsplit_once(",p=").ok_or(malformed("it has no proof at its end"))?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c="));
        let nonce = fields.next().and_then(|field| field.strip_prefix("r="));
        let decode = |text: &str| BASE64.decode(text).ok();
        Ok(Self {
            channel_binding: binding
                .and_then(decode)
                .ok_or(malformed("its channel binding is no base64"))?,
            nonce: checked_nonce(nonce).ok_or(malformed("its nonce"))?,
            proof: decode(proof).ok_or(malformed("its proof is no base64"))?,
            without_proof: without_proof.to_owned(),
        })
    }
}

impl Exchange {
    /// Answers the client's first message.
    pub(crate) fn begin(
        hash: Hash,
        first: &ClientFirst,
        server_nonce: &str,
        credential: Credential,
    ) -> (Self, String) {
        let nonce = format!("{}{server_nonce}", first.nonce);
        let (salt, iterations) = (BASE64.encode(&credential.salt), credential.iterations);
        let server_first = format!("r={nonce},s={salt},i={iterations}");
        let first_messages = format!("{},{server_first}", first.bare);
        let gs2_header = first.gs2_header.clone();
        let doubled_nonce = format!("{}{nonce}", first.nonce);
        let exchange = Self { hash, credential, gs2_header, nonce, doubled_nonce, first_messages };
        (exchange, server_first)
    }

    /// Checks the client's proof; `Some` is the server's own proof for the client.
    pub(crate) fn finish(self, last: &ClientFinal) -> Option<String> {
        let is_ours = [&self.nonce, &self.doubled_nonce].contains(&&last.nonce)
            && last.channel_binding == self.gs2_header.as_bytes()
            && last.proof.len() == self.hash.len();
        if !is_ours {
            return None;
        }
        let message = format!("{},{}", self.first_messages, last.without_proof);
        let signature = self.hash.hmac(&self.credential.stored_key, message.as_bytes());
        let client_key: Vec<u8> =
            last.proof.iter().zip(&signature).map(|(proof, sign)| proof ^ sign).collect();
        let stored_key = self.hash.digest(&client_key);
        if !bool::from(stored_key.ct_eq(&self.credential.stored_key)) {
            return None;
        }
        let proof = self.hash.hmac(&self.credential.server_key, message.as_bytes());
        Some(format!("v={}", BASE64.encode(proof)))
    }
}

/// Kafka's range: fewer are quickly guessed, more cost the client too much.
pub(crate) const fn iterations_are_allowed(iterations: u32) -> bool {
    limits::SCRAM_ITERATIONS_MIN <= iterations && iterations <= limits::SCRAM_ITERATIONS_MAX
}

fn mac<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Vec<u8> {
    // HMAC takes keys of any length.
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) else { return Vec::new() };
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn checked_text<'a>(message: &'a [u8], what: &'static str) -> Result<&'a str, Malformed> {
    if message.len() > limits::SASL_MESSAGE_BYTES_MAX {
        return Err(Malformed { what, why: "it is too long" });
    }
    std::str::from_utf8(message).map_err(|_| Malformed { what, why: "it is not UTF-8" })
}

/// Printable ASCII but the comma.
fn checked_nonce(nonce: Option<&str>) -> Option<String> {
    let is_nonce = |nonce: &&str| !nonce.is_empty() && nonce.bytes().all(|b| b.is_ascii_graphic());
    nonce.filter(is_nonce).map(str::to_owned)
}

/// A `saslname`: `=2C` is a comma, `=3D` an equals sign, and nothing else may follow one.
fn unescape(name: &str) -> Option<String> {
    let mut parts = name.split('=');
    let mut plain = parts.next()?.to_owned();
    for part in parts {
        let rest = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => {
                plain.push(',');
                rest
            }
            (_, Some(rest)) => {
                plain.push('=');
                rest
            }
            _ => return None,
        };
        plain.push_str(rest);
    }
    (!plain.contains('\0')).then_some(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The client's side, to play against.
    fn proof(hash: Hash, password: &str, first: &ClientFirst, server_first: &str) -> ClientFinal {
        let nonce = server_first.split(',').find_map(|field| field.strip_prefix("r=")).unwrap();
        proof_with(hash, password, first, server_first, nonce)
    }

    fn proof_with(
        hash: Hash,
        password: &str,
        first: &ClientFirst,
        server_first: &str,
        nonce: &str,
    ) -> ClientFinal {
        let field = |name: &str| server_first.split(',').find_map(|f| f.strip_prefix(name));
        let salt = BASE64.decode(field("s=").unwrap()).unwrap();
        let iterations = field("i=").unwrap().parse().unwrap();
        let salted = hash.salted_password(password.as_bytes(), &salt, iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        let without_proof = format!("c={},r={nonce}", BASE64.encode(&first.gs2_header));
        let message = format!("{},{server_first},{without_proof}", first.bare);
        let signature = hash.hmac(&hash.digest(&client_key), message.as_bytes());
        let proof: Vec<u8> =
            client_key.iter().zip(signature).map(|(key, sign)| key ^ sign).collect();
        let text = format!("{without_proof},p={}", BASE64.encode(proof));
        ClientFinal::parse(text.as_bytes()).unwrap()
    }

    /// The example of RFC 7677, section 3.
    #[test]
    fn the_example_of_rfc_7677_is_accepted_and_answered() {
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((first.username.as_str(), first.gs2_header.as_str()), ("user", "n,,"));
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let credential = Credential::derive(Hash::Sha256, "pencil", &salt, 4096);
        let (exchange, server_first) =
            Exchange::begin(Hash::Sha256, &first, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", credential);
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );
        let last = ClientFinal::parse(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
              p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        let answer = exchange.finish(&last.unwrap());
        assert_eq!(answer.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    /// The names of RFC 5802, section 5.1: a comma and an equals sign are escaped.
    #[test]
    fn escaped_names_are_read_as_rfc_5802_says() {
        let first = ClientFirst::parse(b"n,a=x=2Cy,n=u=3D=2C1,r=abc,ext=1").unwrap();
        assert_eq!(first.username, "u=,1");
        assert_eq!(first.authorization_id.as_deref(), Some("x,y"));
        assert_eq!(first.gs2_header, "n,a=x=2Cy,");
    }

    #[test]
    fn malformed_messages_are_refused() {
        for text in [
            "",
            "n",
            "n,,",
            "n,,n=,r=a",
            "n,,n=u",
            "n,,n=u,r=",
            "p=tls-unique,,n=u,r=a",
            "n,,n=u=2,r=a",
            "n,,n=u==,r=a",
            "n,,m=x,n=u,r=a",
            "n,,n=u,r=a,m=x",
            "n,b,n=u,r=a",
            "n,,n=u,r=a b",
        ] {
            assert!(ClientFirst::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        for text in ["", "c=biws,r=a", "c=!,r=a,p=AA==", "r=a,c=biws,p=AA==", "c=biws,r=a,p=!"] {
            assert!(ClientFinal::parse(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(ClientFirst::parse(b"n,,n=\xff,r=a").is_err());
        let long = format!("n,,n={},r=a", "u".repeat(limits::SASL_MESSAGE_BYTES_MAX));
        assert!(ClientFirst::parse(long.as_bytes()).is_err());
    }

    #[test]
    fn a_stored_credential_is_read_as_it_is_written() {
        let stored = Credential::derive(Hash::Sha512, "secret", b"salt-of-16-bytes", 4096);
        assert_eq!(Credential::parse(Hash::Sha512, &stored.to_string()), Ok(stored.clone()));
        assert!(Credential::parse(Hash::Sha256, &stored.to_string()).is_err());
        let weak = stored.to_string().replace("4096", "1");
        assert!(Credential::parse(Hash::Sha512, &weak).is_err());
        assert!(!format!("{stored:?}").contains(&BASE64.encode(&stored.stored_key)));
    }

    #[test]
    fn a_wrong_password_nonce_or_header_proves_nothing() {
        let hash = Hash::Sha512;
        let credential = Credential::derive(hash, "right", b"0123456789abcdef", 4096);
        let first = ClientFirst::parse(b"n,,n=u,r=abc").unwrap();
        let begin = || Exchange::begin(hash, &first, "def", credential.clone());
        let (exchange, server_first) = begin();
        let good = proof(hash, "right", &first, &server_first);
        assert!(exchange.finish(&good).is_some());
        assert!(begin().0.finish(&proof(hash, "wrong", &first, &server_first)).is_none());
        assert!(
            begin().0.finish(&ClientFinal { nonce: "abcxyz".into(), ..good.clone() }).is_none()
        );
        let bound = ClientFinal { channel_binding: b"y,,".to_vec(), ..good.clone() };
        assert!(begin().0.finish(&bound).is_none());
        assert!(begin().0.finish(&ClientFinal { proof: Vec::new(), ..good }).is_none());
        assert!(credential.is_of(hash, "right"));
        assert!(!credential.is_of(hash, "wrong"));
    }

    /// As librdkafka up to 2.6.0 has it; Debian 12 carries 2.0.2.
    #[test]
    fn a_nonce_with_the_clients_own_once_more_in_front_is_accepted() {
        let hash = Hash::Sha256;
        let credential = Credential::derive(hash, "right", b"0123456789abcdef", 4096);
        let first = ClientFirst::parse(b"n,,n=u,r=abc").unwrap();
        for (nonce, accepted) in [("abcabcdef", true), ("xyzabcdef", false), ("def", false)] {
            let (exchange, server_first) = Exchange::begin(hash, &first, "def", credential.clone());
            let last = proof_with(hash, "right", &first, &server_first, nonce);
            assert_eq!(exchange.finish(&last).is_some(), accepted, "{nonce}");
        }
    }

    proptest! {
        #[test]
        fn any_name_survives_its_escaping(name in "[^\0]{1,40}", nonce in "[!-+--~]{1,30}") {
            let escaped = name.replace('=', "=3D").replace(',', "=2C");
            let message = format!("n,,n={escaped},r={nonce}");
            let first = ClientFirst::parse(message.as_bytes()).unwrap();
            prop_assert_eq!(&first.username, &name);
            prop_assert_eq!(&first.nonce, &nonce);
            prop_assert_eq!(format!("{}{}", first.gs2_header, first.bare), message);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ClientFirst::parse(&bytes);
            let _ = ClientFinal::parse(&bytes);
        }

        #[test]
        fn any_text_with_commas_is_read_or_refused(text in "[ncrpay=,iws0-9]{0,60}") {
            if let Ok(last) = ClientFinal::parse(text.as_bytes()) {
                prop_assert!(text.starts_with(&last.without_proof));
            }
            if let Ok(first) = ClientFirst::parse(text.as_bytes()) {
                prop_assert_eq!(format!("{}{}", first.gs2_header, first.bare), text);
            }
        }
    }
}
