//! Checks the promises on the tables themselves: positions, decoding, deduplication, aggregation, files.
//!
//! Works beside a running pipeline: it pins gold, then silver and quarantine, then bronze, and compares each layer with the one before
//! up to the position that the later one has reached. Needs about 100 bytes of memory a tick.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use deltalake::arrow::array::RecordBatch;
use deltalake::arrow::compute::cast;
use deltalake::arrow::error::ArrowError;
use deltalake::arrow::row::{RowConverter, SortField};

use super::bronze::{RawBatch, Reader};
use super::{Context as _, DataFile, LakeError, Storage, Table, TableKind, gold, quarantine, silver};
use crate::market::decode::Decoder;
use crate::market::dedup::Key;
use crate::market::window::{Aggregation, Place, Row, Window, window_start};
use crate::market::{Alert, Market, Micros, Stream, Tick, Ticks, date, rfc3339};

/// What is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Positions and files of bronze.
    Bronze,
    /// Silver and quarantine against bronze.
    Silver,
    /// Gold against silver.
    Gold,
    /// All of it, and the alert log's keys.
    All,
}

/// Differences that are told; the rest is counted.
const TOLD: usize = 10;

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    sound: String,
    told: Vec<String>,
    differences: u64,
}

impl Report {
    /// Whether every promise is kept.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.differences == 0
    }

    /// The first differences, in words.
    #[must_use]
    pub fn differences(&self) -> &[String] {
        &self.told
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        self.differences += 1;
        if self.told.len() < TOLD {
            self.told.push(what());
        }
    }

    fn note(&mut self, layer: &str, what: &str) {
        writeln!(self.sound, "{layer:<11} {what}").expect("a string takes all");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sound)?;
        for difference in &self.told {
            writeln!(f, "WRONG       {difference}")?;
        }
        match self.differences {
            0 => writeln!(f, "every promise is kept"),
            n if n > TOLD as u64 => writeln!(f, "{n} differences, the first {TOLD} above"),
            n => writeln!(f, "{n} difference{}", if n == 1 { "" } else { "s" }),
        }
    }
}

/// A row's position: number of the stream, offset, index.
type At = (u32, i64, i32);

/// A tick as a window sums it up: its place, price and size.
type Term = (Place, f64, Option<f64>);

/// Fingerprints of whole rows, the same for equal rows however they are encoded.
struct Prints {
    kind: TableKind,
    converter: RowConverter,
    hasher: foldhash::fast::FixedState,
}

impl Prints {
    fn new(kind: TableKind) -> Result<Self, LakeError> {
        let fields = kind.file_schema().fields().iter().map(|field| SortField::new(field.data_type().clone())).collect();
        Ok(Self { kind, converter: RowConverter::new(fields).when("verify", kind)?, hasher: foldhash::fast::FixedState::default() })
    }

    fn of(&mut self, batch: &RecordBatch) -> Result<Vec<u64>, LakeError> {
        let schema = self.kind.file_schema();
        let column = |field: &Arc<deltalake::arrow::datatypes::Field>| {
            let missing = || ArrowError::SchemaError(format!("no column {}", field.name()));
            let column = batch.column_by_name(field.name()).ok_or_else(missing)?;
            cast(column, field.data_type())
        };
        let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>, _>>().when("verify", self.kind)?;
        let rows = self.converter.convert_columns(&columns).when("verify", self.kind)?;
        Ok(rows.iter().map(|row| self.hasher.hash_one(row.as_ref())).collect())
    }
}

/// Numbers for streams.
#[derive(Default)]
struct Streams(HashMap<Stream, u32>);

impl Streams {
    fn id(&mut self, stream: &Stream) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(&id) = self.0.get(stream) { id } else { *self.0.entry(stream.clone()).or_insert(next) }
    }
}

/// Reads a file; one that is not there is a difference.
async fn read(table: &Table, file: &DataFile, report: &mut Report) -> Result<Vec<RecordBatch>, LakeError> {
    match table.read(file, None).await {
        Err(LakeError::MissingFile { table, path }) => {
            report.wrong(|| format!("{}: file {path} is missing", table.label()));
            Ok(Vec::new())
        }
        Err(error @ LakeError::Storage { .. }) => {
            let why = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            report.wrong(|| format!("{}: file {} cannot be read: {why}", table.kind().label(), file.path()));
            Ok(Vec::new())
        }
        rows => rows,
    }
}

/// Which offsets of a stream were met.
#[derive(Default)]
struct Offsets(Vec<u64>);

impl Offsets {
    /// Notes one; `false` if it was there.
    fn insert(&mut self, offset: i64) -> bool {
        let Ok(offset) = usize::try_from(offset) else { return false };
        let (word, bit) = (offset / 64, 1 << (offset % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let fresh = self.0[word] & bit == 0;
        self.0[word] |= bit;
        fresh
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

async fn check_bronze(table: &Table, report: &mut Report) -> Result<(), LakeError> {
    use deltalake::arrow::array::AsArray as _;
    use deltalake::arrow::datatypes::{Int32Type, Int64Type};
    let mut met: HashMap<Stream, Offsets> = HashMap::new();
    let mut rows = 0;
    for file in table.files() {
        for batch in read(table, file, report).await? {
            let (Some(topic), Some(partition), Some(offset)) =
                (batch.column_by_name("topic"), batch.column_by_name("partition"), batch.column_by_name("offset"))
            else {
                report.wrong(|| format!("bronze: file {} has no positions", file.path()));
                continue;
            };
            let (topic, partition, offset) =
                (topic.as_string::<i32>(), partition.as_primitive::<Int32Type>(), offset.as_primitive::<Int64Type>());
            let mut stream = Stream::new("", -1);
            rows += batch.num_rows();
            for i in 0..batch.num_rows() {
                if &*stream.topic != topic.value(i) || stream.partition != partition.value(i) {
                    stream = Stream::new(topic.value(i), partition.value(i));
                }
                if !met.contains_key(&stream) {
                    met.insert(stream.clone(), Offsets::default());
                }
                let offsets = met.get_mut(&stream).expect("inserted above");
                if !offsets.insert(offset.value(i)) {
                    report.wrong(|| format!("bronze: {stream} offset {} is there twice", offset.value(i)));
                }
            }
        }
    }
    let positions: BTreeMap<Stream, i64> = table.positions().into_iter().collect();
    for (stream, to) in &positions {
        let dense = !stream.topic.starts_with("kafka:");
        let have = met.get(stream).map_or(0, Offsets::len);
        if dense && have != u64::try_from(to + 1).unwrap_or(0) {
            report.wrong(|| format!("bronze: {stream} has {have} records where its position says {}", to + 1));
        }
    }
    for stream in met.keys().filter(|stream| !positions.contains_key(*stream)) {
        report.wrong(|| format!("bronze: {stream} has records but no position"));
    }
    let text = format!("{rows} records of {} streams in {} files: positions unique, files present", met.len(), table.files().len());
    report.note("bronze", &text);
    Ok(())
}

/// What silver or quarantine holds, row by row.
async fn fingerprints(table: &Table, streams: &mut Streams, report: &mut Report) -> Result<HashMap<At, u64>, LakeError> {
    use deltalake::arrow::array::AsArray as _;
    use deltalake::arrow::datatypes::{Int32Type, Int64Type};
    let kind = table.kind();
    let mut prints = Prints::new(kind)?;
    let mut found = HashMap::new();
    for file in table.files() {
        for batch in read(table, file, report).await? {
            let fingerprints = tokio::task::block_in_place(|| prints.of(&batch))?;
            let column = |name: &str| batch.column_by_name(name).expect("fingerprinted with all columns");
            let (topic, partition) = (column("topic").as_string::<i32>(), column("partition").as_primitive::<Int32Type>());
            let (offset, index) = (column("offset").as_primitive::<Int64Type>(), column("index").as_primitive::<Int32Type>());
            let mut last: Option<(Stream, u32)> = None;
            for (i, print) in fingerprints.into_iter().enumerate() {
                if last.as_ref().is_none_or(|(stream, _)| &*stream.topic != topic.value(i) || stream.partition != partition.value(i)) {
                    let stream = Stream::new(topic.value(i), partition.value(i));
                    let id = streams.id(&stream);
                    last = Some((stream, id));
                }
                let Some((stream, id)) = &last else { continue };
                if found.insert((*id, offset.value(i), index.value(i)), print).is_some() {
                    report
                        .wrong(|| format!("{}: {stream} offset {} index {} is there twice", kind.label(), offset.value(i), index.value(i)));
                }
            }
        }
    }
    Ok(found)
}

/// 128 bits that stand for a tick's identity.
fn identity(market: &Market, key: &Key) -> u128 {
    let half = |seed| u128::from(foldhash::quality::FixedState::with_seed(seed).hash_one((market, key)));
    half(0x9e37_79b9_7f4a_7c15) << 64 | half(0xc2b2_ae3d_27d4_eb4f)
}

async fn check_silver(bronze: &Table, quarantine: &Table, silver: &Table, report: &mut Report) -> Result<(), LakeError> {
    let mut streams = Streams::default();
    let mut kept = fingerprints(silver, &mut streams, report).await?;
    let mut rejected = fingerprints(quarantine, &mut streams, report).await?;
    let (ticks, rejects) = (kept.len(), rejected.len());
    // Where silver has each tick, by its identity.
    let mut places: HashMap<u128, At> = HashMap::with_capacity(kept.len());
    let mut reader = silver::Reader::default();
    for file in silver.files() {
        let mut doubled = Vec::new();
        let mut misplaced = 0;
        let read = reader.rows(silver, file, |row| {
            let at = (streams.id(&row.place.stream), row.tick.offset, row.tick.index);
            misplaced += u64::from(file.date().is_some_and(|day| day != date(row.tick.event_time)));
            if places.insert(identity(&row.market, &Key::of(&row.tick)), at).is_some() {
                doubled.push((row.market, row.tick.event_time, row.tick.offset));
            }
        });
        match read.await {
            Err(LakeError::MissingFile { .. } | LakeError::Storage { .. }) => continue, // told above
            read => read?,
        }
        for (market, time, offset) in doubled {
            report.wrong(|| format!("silver: a tick of {market} at {} is there twice (offset {offset})", rfc3339(time)));
        }
        if misplaced > 0 {
            report.wrong(|| format!("silver: {misplaced} ticks in {} belong to other dates", file.path()));
        }
    }
    let mut duplicates = 0;
    let (mut prints, mut quarantine_prints) = (Prints::new(TableKind::Silver)?, Prints::new(TableKind::Quarantine)?);
    let mut pending = 0;
    for (stream, to) in bronze.positions() {
        let stream = Arc::new(stream);
        let upto = silver.position(&stream).unwrap_or(-1);
        pending += to - upto.min(to);
        let id = streams.id(&stream);
        let mut decoder = Decoder::default();
        let mut reader = Reader::new(bronze, &stream, -1, upto).await?;
        loop {
            let runs = match reader.next(bronze).await {
                Ok(None) => break,
                Ok(Some(runs)) => runs,
                Err(error @ LakeError::Corrupt { .. }) => {
                    report.wrong(|| error.to_string());
                    break;
                }
                Err(error @ (LakeError::MissingFile { .. } | LakeError::Storage { .. })) => {
                    report.wrong(|| format!("bronze: {error}"));
                    continue;
                }
                Err(error) => return Err(error),
            };
            for run in runs {
                tokio::task::block_in_place(|| {
                    let (valid, bad) = decoder.decode_all(run.records.len(), run.records.iter().map(|record| (record, run.ingested_at)));
                    compare_rejects(&run, &bad, id, &mut rejected, &mut quarantine_prints, report)?;
                    duplicates += compare_ticks(&run, &valid, id, &mut kept, &places, &mut prints, report)?;
                    Ok::<_, LakeError>(())
                })?;
            }
        }
    }
    let beyond = |at: &At| streams.0.iter().any(|(stream, id)| *id == at.0 && at.1 > silver.position(stream).unwrap_or(-1));
    for at in kept.keys() {
        report.wrong(|| format!("silver: offset {} index {} comes from no record of bronze", at.1, at.2));
    }
    for at in rejected.keys().filter(|at| !beyond(at)) {
        report.wrong(|| format!("quarantine: offset {} index {} comes from no reject of bronze", at.1, at.2));
    }
    report.note("silver", &format!("{ticks} ticks = bronze decoded less {duplicates} duplicates; {pending} records pending"));
    report.note("quarantine", &format!("{rejects} rejects = what bronze's records that fail decode to"));
    Ok(())
}

fn compare_ticks(
    run: &RawBatch,
    decoded: &Ticks,
    stream: u32,
    kept: &mut HashMap<At, u64>,
    places: &HashMap<u128, At>,
    prints: &mut Prints,
    report: &mut Report,
) -> Result<u64, LakeError> {
    let mut duplicates = 0;
    let mut days: BTreeMap<i64, Vec<&Tick>> = BTreeMap::new();
    for tick in &decoded.ticks {
        days.entry(tick.event_time.div_euclid(crate::market::DAY)).or_default().push(tick);
    }
    for ticks in days.into_values() {
        let rows = silver::rows(&run.stream, decoded, &ticks).when("verify", TableKind::Silver)?;
        for (tick, print) in ticks.into_iter().zip(prints.of(&rows)?) {
            let at = (stream, tick.offset, tick.index);
            match kept.remove(&at) {
                Some(found) if found == print => {}
                Some(_) => {
                    report.wrong(|| format!("silver: offset {} index {} is not what its record decodes to", tick.offset, tick.index));
                }
                None => match places.get(&identity(decoded.market(tick), &Key::of(tick))) {
                    Some(first) if first.0 != stream || *first < at => duplicates += 1,
                    Some(_) => report.wrong(|| format!("silver: of the tick at offset {} a later copy was kept", tick.offset)),
                    None => report.wrong(|| format!("silver: the tick at offset {} index {} is missing", tick.offset, tick.index)),
                },
            }
        }
    }
    Ok(duplicates)
}

fn compare_rejects(
    run: &RawBatch,
    bad: &[crate::market::decode::Reject],
    stream: u32,
    rejected: &mut HashMap<At, u64>,
    prints: &mut Prints,
    report: &mut Report,
) -> Result<(), LakeError> {
    if bad.is_empty() {
        return Ok(());
    }
    let expected = quarantine::rows(run, &quarantine::beyond(run, bad, -1)).when("verify", TableKind::Quarantine)?;
    for (reject, print) in bad.iter().zip(prints.of(&expected)?) {
        match rejected.remove(&(stream, reject.offset, reject.index)) {
            Some(found) if found == print => {}
            Some(_) => report.wrong(|| format!("quarantine: offset {} index {} is not what was rejected", reject.offset, reject.index)),
            None => report
                .wrong(|| format!("quarantine: offset {} index {} ({}) is missing", reject.offset, reject.index, reject.reason.text())),
        }
    }
    Ok(())
}

/// What gold holds, and the fingerprint of each row.
async fn gold_rows(gold: &Table, report: &mut Report) -> Result<BTreeMap<(Arc<Market>, Micros), (Row, u64)>, LakeError> {
    let mut prints = Prints::new(TableKind::Gold)?;
    let mut found = BTreeMap::new();
    for file in gold.files() {
        let batches = read(gold, file, report).await?;
        if batches.is_empty() {
            continue;
        }
        let mut fingerprints = Vec::new();
        for batch in &batches {
            fingerprints.extend(prints.of(batch)?);
        }
        for (row, print) in gold::rows(file, batches)?.into_iter().zip(fingerprints) {
            if file.date().is_some_and(|day| day != date(row.candle.window_start)) {
                report
                    .wrong(|| format!("gold: {} at {} is in the partition of another date", row.market, rfc3339(row.candle.window_start)));
            }
            if let Some((row, _)) = found.insert(row.key(), (row, print)) {
                report.wrong(|| format!("gold: {} at {} is there twice", row.market, rfc3339(row.candle.window_start)));
            }
        }
    }
    Ok(found)
}

async fn check_gold(silver: &Table, gold: &Table, report: &mut Report) -> Result<(), LakeError> {
    let mut found = gold_rows(gold, report).await?;
    let (candles, mut pending) = (found.len(), 0);
    let positions: HashMap<Stream, i64> = gold.positions().into_iter().collect();
    let mut sums = Aggregation::default();
    // Windows with ticks beyond gold's position: their candle may stand for some of their ticks only.
    let mut unsettled: BTreeMap<(Arc<Market>, Micros), Vec<Term>> = BTreeMap::new();
    let mut reader = silver::Reader::default();
    for file in silver.files() {
        let read = reader.rows(silver, file, |row| {
            if row.tick.offset > positions.get(&*row.place.stream).copied().unwrap_or(-1) {
                unsettled.entry((Arc::clone(&row.market), window_start(row.tick.event_time))).or_default();
            }
            sums.add(&row.market, row.place, row.tick.price, row.tick.size);
        });
        match read.await {
            Err(error @ (LakeError::MissingFile { .. } | LakeError::Storage { .. })) => report.wrong(|| format!("silver: {error}")),
            read => read?,
        }
    }
    if !unsettled.is_empty() {
        let wanted = unsettled.keys().cloned().collect();
        silver::scan(silver, &wanted, |row| {
            let key = (row.market, window_start(row.tick.event_time));
            unsettled.entry(key).or_default().push((row.place, row.tick.price, row.tick.size));
        })
        .await?;
    }
    let mut prints = Prints::new(TableKind::Gold)?;
    for (key, window) in sums.windows() {
        let (name, at) = (key.0.clone(), rfc3339(key.1));
        let Some((row, print)) = found.remove(&key) else {
            if unsettled.contains_key(&key) {
                pending += 1;
            } else {
                report.wrong(|| format!("gold: {name} has no candle at {at}"));
            }
            continue;
        };
        if prints.of(&gold::batch(&[&window.row(&key.0, row.closed_at, row.closed_in)]).when("verify", TableKind::Gold)?)?[0] == print {
            continue;
        }
        match unsettled.remove(&key) {
            Some(ticks) if is_prefix(&row, ticks.clone()) => pending += 1,
            _ => report.wrong(|| format!("gold: the candle of {name} at {at} is not the aggregation of its ticks")),
        }
    }
    for (market, start) in found.into_keys() {
        report.wrong(|| format!("gold: the candle of {market} at {} has no ticks", rfc3339(start)));
    }
    report.note("gold", &format!("{candles} candles = aggregation of silver, to the last bit; {pending} windows pending"));
    Ok(())
}

/// Whether a candle is the sum of the first so many ticks of its window, in order of position: late ones are still to come.
fn is_prefix(row: &Row, mut ticks: Vec<Term>) -> bool {
    ticks.sort_by(|(a, ..), (b, ..)| (&a.stream, a.offset, a.index).cmp(&(&b.stream, b.offset, b.index)));
    let mut window: Option<Window> = None;
    ticks.into_iter().any(|(place, price, size)| {
        match &mut window {
            Some(window) => window.add(place, price, size),
            None => window = Some(Window::new(place, price, size)),
        }
        window.as_ref().is_some_and(|window| window.row(&row.market, row.closed_at, row.closed_in).same_sums(row))
    })
}

async fn check_alerts(gold: &Table, alerts: &Table, report: &mut Report) -> Result<(), LakeError> {
    let candles = gold_rows(gold, &mut Report::default()).await?;
    let mut ids = HashSet::new();
    for alert in super::alerts::read_all(alerts).await? {
        let (market, at) = (Arc::new(alert.market.clone()), rfc3339(alert.window_start));
        if alert.alert_id != Alert::id(&alert.rule, &market, alert.window_start) {
            report.wrong(|| format!("alerts: {market} at {at} has the id of another alert"));
        }
        if !ids.insert(alert.alert_id) {
            report.wrong(|| format!("alerts: {market} at {at} is there twice"));
        }
        if !candles.contains_key(&(Arc::clone(&market), alert.window_start)) {
            report.wrong(|| format!("alerts: {market} at {at} has no candle"));
        }
    }
    report.note("alerts", &format!("{} alerts, each once and with a candle", ids.len()));
    Ok(())
}

/// Checks the tables of a storage.
///
/// # Errors
/// When the tables cannot be read at all. What is wrong inside them is in the report.
pub async fn verify(storage: &Storage, scope: Scope) -> Result<Report, LakeError> {
    let mut report = Report::default();
    // A later layer first: then the one before holds at least what it was made from.
    let alerts = Table::open(storage, TableKind::Alerts).await?;
    let gold = Table::open(storage, TableKind::Gold).await?;
    let silver = Table::open(storage, TableKind::Silver).await?;
    let quarantine = Table::open(storage, TableKind::Quarantine).await?;
    let Some(bronze) = Table::open(storage, TableKind::Bronze).await? else {
        report.note("storage", &format!("{} holds no tables yet", storage.root().display()));
        return Ok(report);
    };
    if matches!(scope, Scope::Bronze | Scope::All) {
        check_bronze(&bronze, &mut report).await?;
    }
    if let (Scope::Silver | Scope::All, Some(quarantine), Some(silver)) = (scope, &quarantine, &silver) {
        check_silver(&bronze, quarantine, silver, &mut report).await?;
    }
    if let (Scope::Gold | Scope::All, Some(silver), Some(gold)) = (scope, &silver, &gold) {
        check_gold(silver, gold, &mut report).await?;
    }
    if let (Scope::All, Some(gold), Some(alerts)) = (scope, &gold, &alerts) {
        check_alerts(gold, alerts, &mut report).await?;
    }
    Ok(report)
}
