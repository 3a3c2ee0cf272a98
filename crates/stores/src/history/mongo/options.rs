//! How to reach MongoDB, read from a URL.
//!
//! MongoDB's own connection string, with a database in its path. Reading it is pure; names
//! of servers are looked up only when a connection is made. No message holds a user's
//! secret.

use std::str::FromStr;

use mongodb::options::{Acknowledgment, ClientOptions, ConnectionString};

/// Schemes of the URLs.
pub const SCHEMES: [&str; 2] = ["mongodb", "mongodb+srv"];

/// Where MongoDB is: `mongodb://[user:password@]host[:port][,…]/database[?option=value&…]`.
///
/// The options are MongoDB's (`replicaSet`, `tls`, `tlsCAFile`, `authSource`, …). A write
/// is acknowledged by a majority and journaled unless `w` and `journal` say otherwise. One
/// option is ours: `preImages=true` has the server keep what a document was before each
/// change (MongoDB 6 or newer).
#[derive(Clone)]
pub struct MongoOptions {
    url: String,
    pub(super) database: String,
    pub(super) pre_images: bool,
}

/// Why a URL cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("URL of MongoDB cannot be used: {why}")]
pub struct MongoUrlError {
    why: String,
}

impl FromStr for MongoOptions {
    type Err = MongoUrlError;

    fn from_str(url: &str) -> Result<Self, MongoUrlError> {
        let refuse = |why: String| MongoUrlError { why };
        let (url, pre_images) = without_pre_images(url)?;
        let parsed = ConnectionString::parse(&url).map_err(|error| refuse(error.to_string()))?;
        let Some(database) = parsed.default_database.filter(|name| !name.is_empty()) else {
            let why = "it names no database; write one such as mongodb://host:27017/shop";
            return Err(refuse(why.into()));
        };
        Ok(Self { url, database, pre_images })
    }
}

impl MongoOptions {
    /// The driver's options; looks up the names of servers for `mongodb+srv`.
    pub(super) async fn client(&self) -> mongodb::error::Result<ClientOptions> {
        let mut options = ClientOptions::parse(&self.url).await?;
        options.app_name.get_or_insert_with(|| "courant".into());
        options.server_selection_timeout.get_or_insert(super::SERVER_SELECTION);
        options.connect_timeout.get_or_insert(super::CONNECT);
        let mut concern = options.write_concern.take().unwrap_or_default();
        concern.w.get_or_insert(Acknowledgment::Majority);
        concern.journal.get_or_insert(true);
        options.write_concern = Some(concern);
        Ok(options)
    }
}

/// Takes the option that is not MongoDB's off the URL.
fn without_pre_images(url: &str) -> Result<(String, bool), MongoUrlError> {
    let Some((before, query)) = url.split_once('?') else { return Ok((url.to_owned(), false)) };
    let (own, others): (Vec<&str>, Vec<&str>) =
        query.split('&').partition(|pair| pair.starts_with("preImages="));
    let pre_images = match own[..] {
        [] | ["preImages=false"] => false,
        ["preImages=true"] => true,
        _ => {
            let why = "option \"preImages\" is not true or false; write preImages=true".into();
            return Err(MongoUrlError { why });
        }
    };
    let separator = if others.is_empty() { "" } else { "?" };
    Ok((format!("{before}{separator}{}", others.join("&")), pre_images))
}

impl std::fmt::Debug for MongoOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoOptions").field("database", &self.database).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str) -> String {
        url.parse::<MongoOptions>().unwrap_err().to_string()
    }

    #[test]
    fn a_url_is_mongodbs_own_with_a_database() {
        let options: MongoOptions =
            "mongodb://a,b:7/shop?replicaSet=rs0&preImages=true&w=1".parse().unwrap();
        assert_eq!((&*options.database, options.pre_images), ("shop", true));
        assert_eq!(options.url, "mongodb://a,b:7/shop?replicaSet=rs0&w=1");
        assert!(refusal("mongodb://a/shop?preImages=yes").contains("write preImages=true"));
        assert!(refusal("mongodb://a:7").contains("names no database"));
        assert!(refusal("mongo://a/shop").contains("scheme"));
    }

    #[tokio::test]
    async fn a_majority_acknowledges_unless_the_url_says_otherwise() {
        let concern = async |url: &str| {
            let options: MongoOptions = url.parse().unwrap();
            options.client().await.unwrap().write_concern.unwrap()
        };
        let safe = concern("mongodb://a/shop").await;
        assert_eq!((safe.w, safe.journal), (Some(Acknowledgment::Majority), Some(true)));
        let quick = concern("mongodb://a/shop?w=1&journal=false").await;
        assert_eq!((quick.w, quick.journal), (Some(Acknowledgment::Nodes(1)), Some(false)));
    }

    #[test]
    fn no_text_for_people_holds_a_secret() {
        let options: MongoOptions = "mongodb://me:hidden@a/shop".parse().unwrap();
        let texts = [format!("{options:?}"), refusal("mongodb://me:hidden@a:x/shop")];
        assert!(texts.iter().all(|text| !text.contains("hidden")), "{texts:?}");
    }
}
