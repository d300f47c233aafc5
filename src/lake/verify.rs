//! Checks the tables against each other: positions, decoding, deduplication, aggregation, alerts, files.
//!
//! May run beside a pipeline: it opens alerts, gold, then silver and quarantine, then bronze, and compares
//! each layer with the one before it, up to the position that the later one has reached. Needs about 100 bytes
//! of memory per tick. A file that is missing or cannot be read is one difference; rows that only this file
//! could confirm are counted as not judged.
//!
//! It finds rows that were lost, duplicated, changed or put in the wrong place after they were made. It cannot
//! find errors in the code that makes rows, because it decodes, deduplicates and aggregates with the same
//! functions (a decoder that misreads a number misreads it here, too). For that the integration tests compare
//! the tables with references that share no code with them.

mod bronze;
mod gold;
mod silver;

use std::fmt::{self, Write as _};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::compute::cast;
use deltalake::arrow::error::ArrowError;
use deltalake::arrow::row::{RowConverter, SortField};

use super::{DataFile, LakeError, Storage, Table, TableContext as _, TableKind};
use crate::market::{Micros, Stream};
use crate::text::chain;

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Scope {
    /// Positions and files of bronze.
    Bronze,
    /// Silver and quarantine against bronze.
    Silver,
    /// Gold against silver.
    Gold,
    /// All of it, and the alert log against gold and silver.
    #[default]
    All,
}

/// Most differences that are described; all are counted.
const MOST_SHOWN: usize = 10;

/// The result of a check; `Display` is the report for people.
#[derive(Debug, Default)]
pub struct Report {
    /// A line per layer.
    summary: String,
    /// Descriptions of the first differences.
    shown: Vec<String>,
    differences: u64,
    not_judged: u64,
}

impl Report {
    /// Whether no differences were found.
    pub fn is_sound(&self) -> bool {
        self.differences == 0
    }

    /// Descriptions of the first differences.
    pub fn differences(&self) -> &[String] {
        &self.shown
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.differences += 1;
        if self.shown.len() < MOST_SHOWN {
            self.shown.push(what());
        }
    }

    fn note(&mut self, layer: &str, what: &str) {
        writeln!(self.summary, "{layer:<11} {what}").expect("writing to a string cannot fail");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary)?;
        for difference in &self.shown {
            writeln!(f, "WRONG       {difference}")?;
        }
        if self.not_judged > 0 {
            writeln!(
                f,
                "not judged  {} rows: what they are compared with may be in files that cannot be read",
                self.not_judged
            )?;
        }
        match self.differences {
            0 => writeln!(f, "no differences found"),
            n if n > MOST_SHOWN as u64 => writeln!(f, "{n} differences, the first {MOST_SHOWN} above"),
            n => writeln!(f, "{n} difference{}", if n == 1 { "" } else { "s" }),
        }
    }
}

/// A table at a fixed version, and those of its files that could not be read.
struct Layer {
    table: Table,
    unread: Vec<Arc<DataFile>>,
}

impl Layer {
    /// Opens a table. `None` if it does not exist, which is noted in `absent`, or cannot be opened, which is
    /// a difference.
    async fn open(
        storage: &Storage,
        kind: TableKind,
        absent: &mut Vec<TableKind>,
        report: &mut Report,
    ) -> Option<Self> {
        match Table::open(storage, kind).await {
            Ok(Some(table)) => Some(Self { table, unread: Vec::new() }),
            Ok(None) => {
                absent.push(kind);
                None
            }
            Err(error) => {
                report.wrong(|| format!("{}: {}", kind.label(), chain(&error)));
                None
            }
        }
    }

    fn label(&self) -> &'static str {
        self.table.kind().label()
    }

    fn files(&self) -> Vec<Arc<DataFile>> {
        self.table.files().cloned().collect()
    }

    /// Reports a file that could not be read, once, and remembers it.
    fn unreadable(&mut self, file: &Arc<DataFile>, error: &LakeError, report: &mut Report) {
        if self.unread.iter().any(|known| known.path() == file.path()) {
            return;
        }
        report.wrong(|| match error {
            LakeError::MissingFile { path, .. } => format!("{}: file {path} is missing", self.label()),
            error => format!("{}: file {} cannot be read: {}", self.label(), file.path(), chain(error)),
        });
        self.unread.push(Arc::clone(file));
    }

    /// A file's rows; empty if it cannot be read.
    async fn read(&mut self, file: &Arc<DataFile>, report: &mut Report) -> Vec<RecordBatch> {
        match self.table.read(file, None).await {
            Ok(rows) => rows,
            Err(error) => {
                self.unreadable(file, &error, report);
                Vec::new()
            }
        }
    }

    /// Whether a row of this position may be in a file that could not be read.
    fn may_lack(&self, stream: &Stream, offset: i64) -> bool {
        self.unread.iter().any(|file| file.may_hold_offsets(stream, offset, offset))
    }

    /// Whether a row with a time in `from..=to` may be in a file that could not be read.
    fn may_lack_times(&self, column: &str, from: Micros, to: Micros) -> bool {
        self.unread.iter().any(|file| file.may_hold_times(column, from, to))
    }
}

/// Computes fingerprints of whole rows: equal for equal rows, however they are encoded.
struct Fingerprints {
    kind: TableKind,
    converter: RowConverter,
    hasher: foldhash::fast::FixedState,
}

impl Fingerprints {
    fn new(kind: TableKind) -> Result<Self, LakeError> {
        let fields = kind
            .file_schema()
            .fields()
            .iter()
            .map(|field| SortField::new(field.data_type().clone()))
            .collect();
        Ok(Self {
            kind,
            converter: RowConverter::new(fields).when("verify", kind)?,
            hasher: foldhash::fast::FixedState::default(),
        })
    }

    fn of(&mut self, batch: &RecordBatch) -> Result<Vec<u64>, LakeError> {
        let schema = self.kind.file_schema();
        let column = |field: &Arc<deltalake::arrow::datatypes::Field>| {
            let missing = || ArrowError::SchemaError(format!("no column {}", field.name()));
            let column = batch.column_by_name(field.name()).ok_or_else(missing)?;
            cast(column, field.data_type())
        };
        let columns =
            schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>().when("verify", self.kind)?;
        let rows = self.converter.convert_columns(&columns).when("verify", self.kind)?;
        Ok(rows.iter().map(|row| self.hasher.hash_one(row.as_ref())).collect())
    }
}

/// Checks the tables of a storage.
///
/// # Errors
/// When rows cannot be compared at all. Differences are in the report.
pub async fn verify(storage: &Storage, scope: Scope) -> Result<Report, LakeError> {
    let (mut report, mut absent) = (Report::default(), Vec::new());
    // Later layers first: each earlier layer then holds at least the rows that the later one was made from.
    let mut alerts = Layer::open(storage, TableKind::Alerts, &mut absent, &mut report).await;
    let mut gold = Layer::open(storage, TableKind::Gold, &mut absent, &mut report).await;
    let mut silver = Layer::open(storage, TableKind::Silver, &mut absent, &mut report).await;
    let mut quarantine = Layer::open(storage, TableKind::Quarantine, &mut absent, &mut report).await;
    let mut bronze = Layer::open(storage, TableKind::Bronze, &mut absent, &mut report).await;
    if absent.len() == TableKind::ALL.len() {
        report.note("storage", &format!("{} holds no tables yet", storage.root().display()));
        return Ok(report);
    }
    // All tables are created before any gets a row.
    if [&alerts, &gold, &silver, &quarantine, &bronze]
        .into_iter()
        .flatten()
        .any(|layer| layer.table.files().len() > 0)
    {
        absent.iter().for_each(|kind| report.wrong(|| format!("{}: there is no such table", kind.label())));
    }
    if let (Scope::Bronze | Scope::All, Some(bronze)) = (scope, &mut bronze) {
        bronze::check(bronze, &mut report).await;
    }
    if let (Scope::Silver | Scope::All, Some(bronze), Some(quarantine), Some(silver)) =
        (scope, &mut bronze, &mut quarantine, &mut silver)
    {
        silver::check(bronze, quarantine, silver, &mut report).await?;
    }
    if let (Scope::Gold | Scope::All, Some(silver), Some(gold)) = (scope, &mut silver, &mut gold) {
        let candles = gold::read(gold, &mut report).await?;
        gold::check(silver, gold, &candles, &mut report).await?;
        if let (Scope::All, Some(alerts)) = (scope, &mut alerts) {
            gold::check_alerts(silver, gold, &candles, alerts, &mut report).await;
        }
    }
    Ok(report)
}
