//! Running pipelines over files, and looking at what they left.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptostream::alert::rule::Rule;
use cryptostream::lake::verify::{Scope, verify};
use cryptostream::lake::{Storage, Table, TableKind};
use cryptostream::pipeline::supervisor::{self, Connections, PipelineError, Settings, SourceSettings, Summary, WhenHeld};
use cryptostream::source::replay::Speed;
use cryptostream::transport::direct::Limits;
use deltalake::arrow::util::display::array_value_to_string;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Replays a file at full speed, to its end.
pub(crate) async fn replay(storage: &Path, input: &Path, batch_records: usize) -> Result<Summary, PipelineError> {
    replay_within(storage, input, batch_records, Duration::from_mins(1)).await
}

/// The same, with the time after which a stage that keeps failing gives up.
pub(crate) async fn replay_within(
    storage: &Path,
    input: &Path,
    batch_records: usize,
    give_up_after: Duration,
) -> Result<Summary, PipelineError> {
    let settings = Settings {
        storage: Storage::new(storage).unwrap(),
        source: SourceSettings::Replay { input: input.to_owned(), speed: Speed::Max },
        limits: Limits { latency: Duration::from_secs(1), records: batch_records },
        rule: Rule::default(),
        when_held: WhenHeld::Fail,
        give_up_after: Some(give_up_after),
    };
    let (snapshots, _shown) = watch::channel(Arc::new(supervisor::blank(&settings)));
    let (_select, selected) = watch::channel(None);
    let connections = Connections { snapshots, selected, cancel: CancellationToken::new() };
    Ok(supervisor::run(settings, connections).await?.expect("not cancelled"))
}

/// Columns that tell the clock: they differ from run to run.
const fn clock_columns(table: TableKind) -> &'static [&'static str] {
    match table {
        TableKind::Bronze => &["produced_at", "ingested_at"],
        TableKind::Quarantine | TableKind::Silver => &["ingested_at"],
        TableKind::Gold => &["closed_at", "closed_in"],
        TableKind::Alerts => &["timestamp"],
    }
}

/// Every row of every table as text, in order, without the clock's columns.
pub(crate) async fn dump(storage: &Path) -> BTreeMap<&'static str, Vec<String>> {
    let storage = Storage::new(storage).unwrap();
    let mut tables = BTreeMap::new();
    for kind in TableKind::ALL {
        let Some(table) = Table::open(&storage, kind).await.unwrap() else { continue };
        let mut rows = Vec::new();
        for file in table.files() {
            for batch in table.read(file, None).await.unwrap() {
                let schema = batch.schema();
                let kept: Vec<_> = schema
                    .fields()
                    .iter()
                    .zip(batch.columns())
                    .filter(|(f, _)| !clock_columns(kind).contains(&f.name().as_str()))
                    .collect();
                for row in 0..batch.num_rows() {
                    let cells = kept.iter().map(|(_, column)| array_value_to_string(column, row).unwrap());
                    // The date of silver and gold is the event's; of bronze and quarantine it is the clock's.
                    let date = matches!(kind, TableKind::Silver | TableKind::Gold).then(|| file.date().unwrap_or_default().to_owned());
                    rows.push(cells.chain(date).collect::<Vec<_>>().join("|"));
                }
            }
        }
        rows.sort();
        tables.insert(kind.label(), rows);
    }
    tables
}

/// Asserts that two storages hold the same rows.
pub(crate) async fn assert_same(left: &Path, right: &Path, when: &str) {
    let (left, right) = (dump(left).await, dump(right).await);
    assert_eq!(left.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>(), "{when}");
    for (table, rows) in &left {
        let other = &right[table];
        let first = rows.iter().zip(other).find(|(a, b)| a != b);
        assert!(rows == other, "{when}: {table} differs, {} and {} rows, first {first:?}", rows.len(), other.len());
    }
}

/// Asserts that every promise is kept.
pub(crate) async fn assert_sound(storage: &Path, when: &str) {
    let report = verify(&Storage::new(storage).unwrap(), Scope::All).await.unwrap();
    assert!(report.is_sound(), "{when}: {report}");
}

/// Makes every file below a folder look that much older than now.
pub(crate) fn age(folder: &Path, by: Duration) {
    let then = std::time::SystemTime::now() - by;
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            age(&entry.path(), by);
        } else {
            std::fs::File::options().write(true).open(entry.path()).unwrap().set_modified(then).unwrap();
        }
    }
}
