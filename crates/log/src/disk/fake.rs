//! A disk in memory that forgets what was not synced, for crash tests.
//!
//! Every file has its present contents and those that survive a crash; every folder
//! its present entries and the durable ones, so that a rename or a new file counts
//! only once its folder is synced. [`FakeDisk::crash`] goes back to what was synced,
//! but may keep a part of an unsynced tail, as real disks do. The disk can run
//! full, fail to sync, and stop in the middle of anything. It does not model writes
//! that reach the disk out of order within one file.

use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;

use super::{Disk, DiskFile};

/// A disk whose failures a test decides.
#[derive(Debug, Clone)]
pub(crate) struct FakeDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: Arc<Folder>,
    /// Bytes that writes may still take.
    room: AtomicU64,
    /// Changes that still succeed; then everything fails until [`FakeDisk::crash`].
    changes_left: AtomicU64,
    fail_syncs: AtomicBool,
    syncs: AtomicU64,
}

#[derive(Debug, Clone)]
enum Node {
    Folder(Arc<Folder>),
    File(Arc<FakeFile>),
}

#[derive(Debug, Default)]
struct Folder {
    present: Mutex<BTreeMap<String, Node>>,
    durable: Mutex<BTreeMap<String, Node>>,
}

#[derive(Debug)]
struct FakeFile {
    shared: Weak<Shared>,
    present: Mutex<Vec<u8>>,
    durable: Mutex<Vec<u8>>,
}

impl FakeDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            root: Arc::default(),
            room: AtomicU64::new(u64::MAX),
            changes_left: AtomicU64::new(u64::MAX),
            fail_syncs: AtomicBool::new(false),
            syncs: AtomicU64::new(0),
        }))
    }

    /// Loses power and starts again: what was not synced is gone, but for so many
    /// bytes of what was appended to each file, the last of them damaged if asked.
    pub(crate) fn crash(&self, tail_bytes: usize, damage: bool) {
        self.0.changes_left.store(u64::MAX, Ordering::SeqCst);
        self.0.fail_syncs.store(false, Ordering::SeqCst);
        self.0.root.crash(tail_bytes, damage);
    }

    /// Leaves room for so many more bytes.
    pub(crate) fn leave_room(&self, bytes: u64) {
        self.0.room.store(bytes, Ordering::SeqCst);
    }

    /// Lets so many changes succeed and fails all after them.
    pub(crate) fn stop_after(&self, changes: u64) {
        self.0.changes_left.store(changes, Ordering::SeqCst);
    }

    /// Makes every sync fail, or work again.
    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.0.fail_syncs.store(fail, Ordering::SeqCst);
    }

    /// How many times files were synced so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.0.syncs.load(Ordering::SeqCst)
    }

    /// Changes a file's bytes behind everybody's back.
    pub(crate) fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let file = self.file(path).expect("a file to damage");
        let mut present = file.present.lock();
        change(&mut present);
        file.durable.lock().clone_from(&present);
    }

    fn folder(&self, path: &Path) -> io::Result<Arc<Folder>> {
        let mut folder = Arc::clone(&self.0.root);
        for name in names(path) {
            let found = folder.present.lock().get(&name).cloned();
            match found {
                Some(Node::Folder(found)) => folder = found,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(folder)
    }

    /// The folder that holds a path, and the path's name in it.
    fn place(&self, path: &Path) -> io::Result<(Arc<Folder>, String)> {
        let name = names(path).pop().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.folder(path.parent().unwrap_or(path))?, name))
    }

    fn file(&self, path: &Path) -> io::Result<Arc<FakeFile>> {
        let (folder, name) = self.place(path)?;
        match folder.present.lock().get(&name) {
            Some(Node::File(file)) => Ok(Arc::clone(file)),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Shared {
    /// Counts a change; fails once there were enough.
    fn change(&self) -> io::Result<()> {
        let count = |left: u64| left.checked_sub(u64::from(left != u64::MAX));
        let counted = self.changes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count);
        counted.map(|_| ()).map_err(|_| io::Error::other("the power is gone"))
    }

    fn sync(&self) -> io::Result<()> {
        self.change()?;
        if self.fail_syncs.load(Ordering::SeqCst) {
            return Err(io::Error::other("input/output error"));
        }
        Ok(())
    }
}

impl Folder {
    fn crash(&self, tail_bytes: usize, damage: bool) {
        let durable = self.durable.lock().clone();
        for node in durable.values() {
            match node {
                Node::Folder(folder) => folder.crash(tail_bytes, damage),
                Node::File(file) => file.crash(tail_bytes, damage),
            }
        }
        *self.present.lock() = durable;
    }
}

impl Disk for FakeDisk {
    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        match self.file(path) {
            Ok(file) => return Ok(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
            Err(error) => return Err(error),
        }
        self.0.change()?;
        let (folder, name) = self.place(path)?;
        let file = Arc::new(FakeFile {
            shared: Arc::downgrade(&self.0),
            present: Mutex::default(),
            durable: Mutex::default(),
        });
        folder.present.lock().insert(name, Node::File(Arc::clone(&file)));
        Ok(file)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.file(path)?.present.lock().clone())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        Ok(self.folder(folder)?.present.lock().keys().cloned().collect())
    }

    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        let mut at = Arc::clone(&self.0.root);
        for name in names(folder) {
            let next =
                match at.present.lock().entry(name).or_insert_with(|| Node::Folder(Arc::default()))
                {
                    Node::Folder(next) => Arc::clone(next),
                    Node::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
                };
            at = next;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.change()?;
        let ((from, old), (to, new)) = (self.place(from)?, self.place(to)?);
        let node = from.present.lock().remove(&old).ok_or(io::ErrorKind::NotFound)?;
        to.present.lock().insert(new, node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.0.change()?;
        let (folder, name) = self.place(path)?;
        folder.present.lock().remove(&name);
        Ok(())
    }

    fn remove_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.change()?;
        let (parent, name) = self.place(folder)?;
        parent.present.lock().remove(&name);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.sync()?;
        let folder = self.folder(folder)?;
        let present = folder.present.lock().clone();
        *folder.durable.lock() = present;
        Ok(())
    }
}

impl FakeFile {
    fn crash(&self, tail_bytes: usize, damage: bool) {
        let mut durable = self.durable.lock();
        let mut present = self.present.lock();
        if let Some(tail) = present.strip_prefix(durable.as_slice()) {
            let kept = tail[..tail.len().min(tail_bytes)].to_vec();
            durable.extend_from_slice(&kept);
            if let Some(last) = durable.last_mut().filter(|_| damage && !kept.is_empty()) {
                *last ^= 0x10;
            }
        }
        present.clone_from(&durable);
    }

    fn shared(&self) -> io::Result<Arc<Shared>> {
        self.shared.upgrade().ok_or_else(|| io::Error::other("the disk is gone"))
    }
}

impl DiskFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let present = self.present.lock();
        let rest = present.get(at as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let shared = self.shared()?;
        shared.change()?;
        let room = shared.room.load(Ordering::SeqCst);
        let count = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if room != u64::MAX {
            shared.room.store(room - count as u64, Ordering::SeqCst);
        }
        let (start, end) = (at as usize, at as usize + count);
        let mut present = self.present.lock();
        if present.len() < end {
            present.resize(end, 0);
        }
        present[start..end].copy_from_slice(&bytes[..count]);
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.shared()?.change()?;
        self.present.lock().resize(size as usize, 0);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.present.lock().len() as u64)
    }

    fn sync(&self) -> io::Result<()> {
        let shared = self.shared()?;
        shared.sync()?;
        shared.syncs.fetch_add(1, Ordering::SeqCst);
        self.durable.lock().clone_from(&self.present.lock());
        Ok(())
    }
}

fn names(path: &Path) -> Vec<String> {
    let normal = path.components().filter(|part| matches!(part, Component::Normal(_)));
    normal.map(|part| PathBuf::from(part.as_os_str()).display().to_string()).collect()
}
