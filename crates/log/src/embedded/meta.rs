//! The log's own files: who it is, and what topics it has.
//!
//! `meta.json` names the cluster and keeps the producer ids that were given out;
//! `topics/{name}/topic.json` describes a topic. Both are replaced as a whole. A
//! folder in `new/` is a topic being created, one in `trash/` a topic being
//! deleted: a rename decides, the rest is cleaned up on start.

use std::{
    io,
    path::{Path, PathBuf},
};

use courant_model::TopicName;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{
    TopicSettings,
    disk::{self, Disk},
};

/// Version of the folder's layout; a log of another version is not opened.
const FORMAT_VERSION: u32 = 1;

/// Contents of `meta.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Meta {
    version: u32,
    /// Stays the same for the life of the folder.
    pub(super) cluster_id: Uuid,
    /// Producer ids below it may be in use and are never given out again.
    pub(super) next_producer_id: i64,
}

/// Contents of `topic.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicMeta {
    version: u32,
    pub(super) name: TopicName,
    pub(super) id: Uuid,
    pub(super) partitions: i32,
    pub(super) settings: TopicSettings,
}

/// Where everything stands in the data folder.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) root: PathBuf,
}

impl TopicMeta {
    pub(super) const fn new(
        name: TopicName,
        id: Uuid,
        partitions: i32,
        settings: TopicSettings,
    ) -> Self {
        Self { version: FORMAT_VERSION, name, id, partitions, settings }
    }

    /// Reads a topic's folder; `None` if it holds no topic.
    pub(super) fn load(disk: &dyn Disk, folder: &Path) -> io::Result<Option<Self>> {
        load(disk, &folder.join("topic.json"), |meta: &Self| meta.version)
    }

    pub(super) fn store(&self, disk: &dyn Disk, folder: &Path) -> io::Result<()> {
        disk::replace(disk, &folder.join("topic.json"), &serde_json::to_vec_pretty(self)?)
    }
}

impl Meta {
    /// Reads the log's identity, or gives it one.
    pub(super) fn load_or_create(disk: &dyn Disk, layout: &Layout) -> io::Result<Self> {
        if let Some(meta) = load(disk, &layout.meta(), |meta: &Self| meta.version)? {
            return Ok(meta);
        }
        let meta =
            Self { version: FORMAT_VERSION, cluster_id: Uuid::new_v4(), next_producer_id: 0 };
        meta.store(disk, layout)?;
        Ok(meta)
    }

    pub(super) fn store(&self, disk: &dyn Disk, layout: &Layout) -> io::Result<()> {
        disk::replace(disk, &layout.meta(), &serde_json::to_vec_pretty(self)?)
    }
}

impl Layout {
    /// Creates the folders and removes what unfinished creations and deletions left.
    pub(super) fn prepare(&self, disk: &dyn Disk) -> io::Result<()> {
        let is_new = disk.list(&self.topics()).is_err();
        for folder in [self.topics(), self.unfinished(), self.trash()] {
            disk.create_folders(&folder)?;
        }
        disk.sync_folder(&self.root)?;
        if is_new {
            self.sync_ancestors(disk)?;
        }
        for folder in [self.unfinished(), self.trash()] {
            for name in disk.list(&folder)? {
                match disk.remove_folder(&folder.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Makes the folder's own name durable, and those of the folders created for it.
    fn sync_ancestors(&self, disk: &dyn Disk) -> io::Result<()> {
        for ancestor in self.root.ancestors().skip(1) {
            let relative = ancestor.as_os_str().is_empty();
            match disk.sync_folder(if relative { Path::new(".") } else { ancestor }) {
                // Nothing was created in a folder that is closed to this process.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
                synced => synced?,
            }
        }
        Ok(())
    }

    fn meta(&self) -> PathBuf {
        self.root.join("meta.json")
    }

    pub(super) fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    pub(super) fn topic(&self, name: &TopicName) -> PathBuf {
        self.topics().join(name.as_str())
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join("new")
    }

    fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Creates a topic's folders; after this it is there, also after a crash.
    pub(super) fn create_topic(&self, disk: &dyn Disk, meta: &TopicMeta) -> io::Result<()> {
        let building = self.unfinished().join(meta.id.to_string());
        create_partitions(disk, &building, 0..meta.partitions)?;
        meta.store(disk, &building)?;
        disk.rename(&building, &self.topic(&meta.name))?;
        disk.sync_folder(&self.topics())
    }

    /// Takes a topic away; after this it is gone, also after a crash. The folder
    /// that it answers is to be removed, now or by the next start.
    pub(super) fn delete_topic(
        &self,
        disk: &dyn Disk,
        name: &TopicName,
        id: Uuid,
    ) -> io::Result<PathBuf> {
        let trash = self.trash().join(id.to_string());
        disk.rename(&self.topic(name), &trash)?;
        disk.sync_folder(&self.topics())?;
        Ok(trash)
    }
}

/// Creates the folders of partitions within a topic's.
pub(super) fn create_partitions(
    disk: &dyn Disk,
    topic: &Path,
    partitions: std::ops::Range<i32>,
) -> io::Result<()> {
    for partition in partitions {
        disk.create_folders(&topic.join(partition.to_string()))?;
    }
    disk.sync_folder(topic)
}

fn load<T: DeserializeOwned>(
    disk: &dyn Disk,
    path: &Path,
    version: impl Fn(&T) -> u32,
) -> io::Result<Option<T>> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let meta: T = serde_json::from_slice(&bytes)?;
    let found = version(&meta);
    if found != FORMAT_VERSION {
        return Err(io::Error::other(format!(
            "it is of format version {found}; this program reads version {FORMAT_VERSION}"
        )));
    }
    Ok(Some(meta))
}
