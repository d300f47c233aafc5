//! The log of one table: numbered entries, read, appended and cleaned up in such a way that they stay one
//! sequence.
//!
//! An *anchor* is an entry that an object has applied to its state. After reading or putting entries beyond
//! it, the object reads the anchor again: entries are deleted oldest first, so while the anchor is there, no
//! entry above it was ever deleted, an absent entry was never written, and a conditional put of that entry has
//! one winner. If the anchor is gone, all that was read or put since is void ([`LakeError::Gone`]). So a
//! process that was paused for longer than the log is kept can neither commit to a branch that no reader sees
//! nor mistake a cleaned-up log for one without news.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deltalake::logstore::object_store::local::LocalFileSystem;
use deltalake::logstore::object_store::{
    Error as StoreError, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, path::Path as StorePath,
};
use deltalake::logstore::{LogStoreRef, StorageConfig, logstore_with};
use futures::TryStreamExt as _;
use url::Url;

use super::{LakeError, TableContext as _, TableKind};

/// Attempts to put an entry while its version is free.
const PUTS: usize = 3;

/// An entry that has been applied to the state, identified by the hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    pub(super) version: u64,
    hash: blake3::Hash,
}

#[derive(Debug, Clone)]
pub(super) struct Log {
    kind: TableKind,
    folder: PathBuf,
    store: Arc<dyn ObjectStore>,
    engine: LogStoreRef,
}

fn entry_path(version: u64) -> StorePath {
    StorePath::from(format!("_delta_log/{version:020}.json"))
}

impl Log {
    /// The log in a table's folder, which exists.
    ///
    /// The object store is rooted at the folder and Delta's location is the store's root: a folder's name is
    /// never converted to a URL and back, which not every name survives.
    pub(super) fn open(path: &Path, kind: TableKind) -> Result<Self, LakeError> {
        let store = Arc::new(LocalFileSystem::new_with_prefix(path).when("open", kind)?);
        let root = Url::parse("file:///").expect("a constant");
        let engine =
            logstore_with(Arc::clone(&store) as _, &root, StorageConfig::default()).when("open", kind)?;
        Ok(Self { kind, folder: path.to_owned(), store, engine })
    }

    /// The store that begins at the table's folder.
    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The same log for the Delta library's operations.
    pub(super) fn engine(&self) -> &LogStoreRef {
        &self.engine
    }

    /// The bytes of an entry; `None` if it is absent.
    pub(super) async fn entry(&self, version: u64) -> Result<Option<Bytes>, LakeError> {
        match self.store.get(&entry_path(version)).await {
            Ok(found) => found.bytes().await.map(Some).when("read the log of", self.kind),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error).when("read the log of", self.kind),
        }
    }

    /// The anchor at an entry with these bytes.
    pub(super) fn anchor(version: u64, bytes: &[u8]) -> Anchor {
        Anchor { version, hash: blake3::hash(bytes) }
    }

    /// Fails with [`LakeError::Gone`] unless the anchor is still there with the same bytes.
    pub(super) async fn check_anchor(&self, anchor: Anchor) -> Result<(), LakeError> {
        match self.entry(anchor.version).await? {
            Some(bytes) if blake3::hash(&bytes) == anchor.hash => Ok(()),
            _ => Err(LakeError::Gone { table: self.kind, version: anchor.version }),
        }
    }

    /// The entries beyond the anchor, oldest first.
    pub(super) async fn beyond(&self, anchor: Anchor) -> Result<Vec<Bytes>, LakeError> {
        let mut entries = Vec::new();
        let mut next = anchor.version + 1;
        while let Some(bytes) = self.entry(next).await? {
            entries.push(bytes);
            next += 1;
        }
        self.check_anchor(anchor).await?;
        Ok(entries)
    }

    /// Puts an entry right after the anchor and returns the new anchor.
    ///
    /// A store may report an error for a put that has landed (a repeated request, a lost reply), so the
    /// entry's bytes, which contain a random id, decide whose entry is there.
    pub(super) async fn put(&self, anchor: Anchor, bytes: Bytes) -> Result<Anchor, LakeError> {
        let version = anchor.version + 1;
        let mut failed = None;
        for _ in 0..PUTS {
            let put =
                self.store.put_opts(&entry_path(version), bytes.clone().into(), PutMode::Create.into()).await;
            let Err(error) = put else {
                failed = None;
                break;
            };
            // If the entry cannot be read either, the put's error is reported.
            match self.entry(version).await {
                Ok(Some(found)) if found == bytes => {
                    failed = None;
                    break;
                }
                Ok(Some(_)) => return Err(LakeError::Conflict { table: self.kind, version }),
                Ok(None) | Err(_) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            return Err(error).when("commit to", self.kind);
        }
        self.check_anchor(anchor).await?;
        Ok(Self::anchor(version, &bytes))
    }

    /// Deletes temporary files of processes that were killed while writing: the store writes to `name#1` and
    /// then renames, and does not list such names.
    pub(super) fn delete_staged(&self, older_than: Duration) -> std::io::Result<usize> {
        let is_staged = |name: &str| {
            name.rsplit_once('#').is_some_and(|(_, n)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        };
        tokio::task::block_in_place(|| sweep(&self.folder, &is_staged, older_than))
    }

    /// All files of the log with their versions.
    pub(super) async fn listing(&self) -> Result<Vec<(u64, ObjectMeta)>, LakeError> {
        let files: Vec<_> = self
            .store
            .list(Some(&StorePath::from("_delta_log")))
            .try_collect()
            .await
            .when("list the log of", self.kind)?;
        let version = |meta: &ObjectMeta| meta.location.filename()?.split_once('.')?.0.parse().ok();
        Ok(files.into_iter().filter_map(|meta| Some((version(&meta)?, meta))).collect())
    }

    /// Version of the newest checkpoint at or below `version`, with its file.
    pub(super) async fn newest_checkpoint(
        &self,
        version: u64,
    ) -> Result<Option<(u64, StorePath)>, LakeError> {
        let listing = self.listing().await?;
        Ok(listing
            .into_iter()
            .filter(|(at, meta)| *at <= version && is_checkpoint(meta))
            .map(|(at, meta)| (at, meta.location))
            .max())
    }

    /// Deletes entries and checkpoints that are below the newest checkpoint and older than `retention`, one
    /// at a time, oldest first, up to the first that must be kept. Returns the number of deleted files. Age
    /// is relative to the newest entry, by the store's clock. Clean-ups of several processes delete the same
    /// oldest files, so this is safe at any time, even in a process that was replaced.
    pub(super) async fn clean_up(&self, retention: chrono::Duration) -> Result<usize, LakeError> {
        let mut files = self.listing().await?;
        files.sort_by(|(a, x), (b, y)| (a, &x.location).cmp(&(b, &y.location)));
        let Some(checkpoint) =
            files.iter().rev().find(|(_, meta)| is_checkpoint(meta)).map(|(version, _)| *version)
        else {
            return Ok(0);
        };
        let is_entry = |meta: &ObjectMeta| meta.location.extension() == Some("json");
        let Some(newest) =
            files.iter().rev().find(|(_, meta)| is_entry(meta)).map(|(_, meta)| meta.last_modified)
        else {
            return Ok(0);
        };
        let mut deleted = 0;
        for (version, meta) in files {
            if version >= checkpoint || meta.last_modified > newest - retention {
                break;
            }
            match self.store.delete(&meta.location).await {
                Ok(()) => deleted += 1,
                Err(StoreError::NotFound { .. }) => {}
                Err(error) => return Err(error).when("clean up the log of", self.kind),
            }
        }
        Ok(deleted)
    }
}

/// Deletes files with such names that are older than `age`, in a folder and below it. Files that another
/// process deletes meanwhile are not counted.
fn sweep(folder: &Path, is_waste: &impl Fn(&str) -> bool, age: Duration) -> std::io::Result<usize> {
    let gone =
        |error: std::io::Error| if error.kind() == std::io::ErrorKind::NotFound { Ok(0) } else { Err(error) };
    let mut deleted = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            deleted += sweep(&entry.path(), is_waste, age).or_else(gone)?;
        } else if entry.file_name().to_str().is_some_and(is_waste) {
            let is_old = |about: std::fs::Metadata| {
                about.modified().is_ok_and(|time| time.elapsed().is_ok_and(|passed| passed > age))
            };
            let removed = entry.metadata().and_then(|about| {
                if is_old(about) { std::fs::remove_file(entry.path()).map(|()| 1) } else { Ok(0) }
            });
            deleted += removed.or_else(gone)?;
        }
    }
    Ok(deleted)
}

/// Whether a file is a single-file checkpoint, the only kind that this program writes.
fn is_checkpoint(meta: &ObjectMeta) -> bool {
    meta.location
        .filename()
        .is_some_and(|name| name.ends_with(".checkpoint.parquet") && name.matches('.').count() == 2)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use deltalake::logstore::object_store::memory::InMemory;
    use deltalake::logstore::object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, PutMultipartOptions, PutOptions,
        PutPayload, PutResult, Result,
    };
    use futures::stream::BoxStream;

    use super::*;

    /// How a put fails.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        /// It lands and reports an error.
        LandsAndFails,
        /// It lands, the client repeats it, and the store reports that the entry exists.
        LandsAndExists,
        /// Nothing lands.
        Fails,
        /// Another writer's entry lands first.
        Loses,
    }

    /// A store whose next `left` conditional puts fail.
    #[derive(Debug)]
    struct Faulty {
        inner: InMemory,
        fault: Fault,
        left: AtomicUsize,
    }

    impl std::fmt::Display for Faulty {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a faulty store")
        }
    }

    #[async_trait]
    impl ObjectStore for Faulty {
        async fn put_opts(
            &self,
            location: &StorePath,
            payload: PutPayload,
            options: PutOptions,
        ) -> Result<PutResult> {
            let is_faulty =
                self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok();
            if !is_faulty {
                return self.inner.put_opts(location, payload, options).await;
            }
            let broken = || StoreError::Generic { store: "faulty", source: "connection reset".into() };
            match self.fault {
                Fault::LandsAndFails => {
                    self.inner.put_opts(location, payload, options).await.and_then(|_| Err(broken()))
                }
                Fault::LandsAndExists => {
                    self.inner.put_opts(location, payload.clone(), options.clone()).await?;
                    self.inner.put_opts(location, payload, options).await
                }
                Fault::Fails => Err(broken()),
                Fault::Loses => {
                    self.inner.put_opts(location, "another writer's".into(), options).await?;
                    Err(broken())
                }
            }
        }

        async fn put_multipart_opts(
            &self,
            location: &StorePath,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(location, options).await
        }

        async fn get_opts(&self, location: &StorePath, options: GetOptions) -> Result<GetResult> {
            self.inner.get_opts(location, options).await
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, Result<StorePath>>,
        ) -> BoxStream<'static, Result<StorePath>> {
            self.inner.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    async fn log(fault: Fault, times: usize) -> (Log, Anchor) {
        let store = Arc::new(Faulty { inner: InMemory::new(), fault, left: 0.into() });
        store.put(&entry_path(7), "seven".into()).await.unwrap();
        store.left.store(times, Ordering::Relaxed);
        let root = Url::parse("file:///").unwrap();
        let engine = logstore_with(Arc::clone(&store) as _, &root, StorageConfig::default()).unwrap();
        (Log { kind: TableKind::Bronze, folder: PathBuf::new(), store, engine }, Log::anchor(7, b"seven"))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_put_that_landed_is_recognised_whatever_was_reported() {
        for (fault, times) in
            [(Fault::LandsAndFails, 1), (Fault::LandsAndExists, 1), (Fault::Fails, PUTS - 1)]
        {
            let (log, anchor) = log(fault, times).await;
            let put = log.put(anchor, Bytes::from("eight")).await.unwrap();
            assert_eq!(put, Log::anchor(8, b"eight"), "{fault:?}");
            assert_eq!(log.beyond(anchor).await.unwrap(), ["eight"], "{fault:?}");
        }
        let (log_that_fails, anchor) = log(Fault::Fails, PUTS).await;
        let error = log_that_fails.put(anchor, Bytes::from("eight")).await.unwrap_err();
        assert!(crate::text::chain(&error).contains("connection reset"), "{error:?}");
        let (lost, anchor) = log(Fault::Loses, 1).await;
        assert!(matches!(
            lost.put(anchor, Bytes::from("eight")).await,
            Err(LakeError::Conflict { version: 8, .. })
        ));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_the_anchor_reads_and_puts_fail() {
        let (log, anchor) = log(Fault::Fails, 0).await;
        log.store.delete(&entry_path(7)).await.unwrap();
        assert!(matches!(log.beyond(anchor).await, Err(LakeError::Gone { version: 7, .. })));
        assert!(matches!(log.put(anchor, Bytes::from("eight")).await, Err(LakeError::Gone { .. })));
        // The entry that was put nevertheless is not returned either.
        assert!(matches!(log.beyond(anchor).await, Err(LakeError::Gone { .. })));
        log.store.put(&entry_path(7), "another seven".into()).await.unwrap();
        assert!(matches!(log.check_anchor(anchor).await, Err(LakeError::Gone { .. })));
    }
}
