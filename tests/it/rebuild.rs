//! Lost tables are rebuilt from bronze, however maintenance has joined its files.

use std::path::Path;
use std::sync::Arc;

use cryptostream::lake::{DataFile, Storage, Table, TableKind};

use crate::support::process::{program, replaying, simulating, succeed};
use crate::support::stream::{StreamProfile, text};
use crate::support::tables::{assert_same, assert_sound, join_files};

fn delete(storage: &Path, kinds: &[TableKind]) {
    for kind in kinds {
        std::fs::remove_dir_all(storage.join(kind.path())).unwrap();
    }
}

/// The files that hold only records of a topic, lowest offsets first.
fn files_of(table: &Table, topic: &str) -> Vec<Arc<DataFile>> {
    let mut files: Vec<_> =
        table.files().filter(|file| file.texts("topic") == Some((topic, topic))).cloned().collect();
    files.sort_by_key(|file| file.integers("offset"));
    files
}

/// Joins files of bronze in the worst order that maintenance could: the end of each stream, then the start of
/// the next one, then a part of its own start.
async fn join_across_streams(storage: &Path) {
    let mut bronze = Table::open(&Storage::new(storage).unwrap(), TableKind::Bronze).await.unwrap().unwrap();
    let streams = bronze.positions();
    assert_eq!(streams.len(), 3);
    for (n, (stream, _)) in streams.iter().enumerate() {
        let (own, next) =
            (files_of(&bronze, &stream.topic), files_of(&bronze, &streams[(n + 1) % streams.len()].0.topic));
        assert!(own.len() >= 4 && next.len() >= 2, "{} and {} files", own.len(), next.len());
        let joined =
            [own[own.len() - 2].clone(), own[own.len() - 1].clone(), next[0].clone(), own[1].clone()];
        join_files(&mut bronze, joined.to_vec()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn silver_and_gold_are_rebuilt_from_bronze_files_of_several_streams() {
    let folder = tempfile::tempdir().unwrap();
    // Separate markets: no table records which of two equal ticks came first.
    let [first, second, later] = ["one", "two", "three"].map(|source| {
        let input = folder.path().join(source);
        std::fs::write(
            &input,
            text(&StreamProfile { source, count: 600, ..StreamProfile::HOURS }.stream(61)),
        )
        .unwrap();
        input
    });
    let (undisturbed, storage) = (folder.path().join("undisturbed"), folder.path().join("storage"));
    for (storage, batch) in [(&undisturbed, 50_000), (&storage, 60)] {
        succeed(simulating(storage, 600, batch));
        for input in [&first, &second] {
            succeed(replaying(storage, input, batch));
        }
    }
    assert_same(&undisturbed, &storage, "before anything is lost").await;
    for (how, compacted) in [("joined by two", false), ("compacted", true)] {
        if compacted {
            succeed(program(&["compact"], &storage));
        } else {
            join_across_streams(&storage).await;
        }
        for lost in [
            &[TableKind::Silver, TableKind::Quarantine, TableKind::Gold, TableKind::Alerts][..],
            &[TableKind::Gold, TableKind::Alerts],
            &[TableKind::Gold],
        ] {
            let when = format!("{how}, without {lost:?}");
            delete(&storage, lost);
            succeed(replaying(&storage, &first, 60));
            assert_same(&undisturbed, &storage, &when).await;
            assert_sound(&storage, &when).await;
        }
    }
    for storage in [&undisturbed, &storage] {
        succeed(replaying(storage, &later, 100));
    }
    assert_same(&undisturbed, &storage, "with a stream that came later").await;
}
