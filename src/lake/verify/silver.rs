//! Silver and quarantine against bronze's records, decoded again.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use deltalake::arrow::array::AsArray as _;
use deltalake::arrow::datatypes::{Int32Type, Int64Type};

use super::super::bronze::{RawBatch, Reader};
use super::super::{LakeError, TableContext as _, TableKind, quarantine, silver};
use super::{Fingerprints, Layer, Report};
use crate::market::decode::{Decoder, Reject};
use crate::market::dedup::TickKey;
use crate::market::{Market, Stream, Ticks, by_date, date, rfc3339};
use crate::text::chain;

/// A row's position: number of the stream ([`Streams`]), offset, index.
type At = (u32, i64, i32);

/// Numbers for streams.
#[derive(Default)]
struct Streams(HashMap<Stream, u32>);

impl Streams {
    fn id(&mut self, stream: &Stream) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        if let Some(&id) = self.0.get(stream) { id } else { *self.0.entry(stream.clone()).or_insert(next) }
    }
}

/// The fingerprint of every row of silver or quarantine.
async fn fingerprints(
    layer: &mut Layer,
    streams: &mut Streams,
    report: &mut Report,
) -> Result<HashMap<At, u64>, LakeError> {
    let kind = layer.table.kind();
    let mut prints = Fingerprints::new(kind)?;
    let mut found = HashMap::new();
    for file in layer.files() {
        for batch in layer.read(&file, report).await {
            let fingerprints = match tokio::task::block_in_place(|| prints.of(&batch)) {
                Ok(fingerprints) => fingerprints,
                Err(error) => {
                    layer.unreadable(&file, &error, report);
                    continue;
                }
            };
            let column = |name: &str| batch.column_by_name(name).expect("fingerprinted with all columns");
            let (topic, partition) =
                (column("topic").as_string::<i32>(), column("partition").as_primitive::<Int32Type>());
            let (offset, index) =
                (column("offset").as_primitive::<Int64Type>(), column("index").as_primitive::<Int32Type>());
            let mut last: Option<(Stream, u32)> = None;
            for (i, print) in fingerprints.into_iter().enumerate() {
                if last.as_ref().is_none_or(|(stream, _)| {
                    &*stream.topic != topic.value(i) || stream.partition != partition.value(i)
                }) {
                    let stream = Stream::new(topic.value(i), partition.value(i));
                    let id = streams.id(&stream);
                    last = Some((stream, id));
                }
                let Some((stream, id)) = &last else { continue };
                if found.insert((*id, offset.value(i), index.value(i)), print).is_some() {
                    report.wrong(|| {
                        format!(
                            "{}: {stream} offset {} index {} is there twice",
                            kind.label(),
                            offset.value(i),
                            index.value(i)
                        )
                    });
                }
            }
        }
    }
    Ok(found)
}

/// A tick's identity as a hash of 128 bits.
fn identity(market: &Market, key: &TickKey) -> u128 {
    let half = |seed| u128::from(foldhash::quality::FixedState::with_seed(seed).hash_one((market, key)));
    half(0x9e37_79b9_7f4a_7c15) << 64 | half(0xc2b2_ae3d_27d4_eb4f)
}

pub(super) async fn check(
    bronze: &mut Layer,
    quarantine: &mut Layer,
    silver: &mut Layer,
    report: &mut Report,
) -> Result<(), LakeError> {
    let mut streams = Streams::default();
    let mut kept = fingerprints(silver, &mut streams, report).await?;
    let mut rejected = fingerprints(quarantine, &mut streams, report).await?;
    let (ticks, rejects) = (kept.len(), rejected.len());
    let places = places(silver, &mut streams, ticks, report).await;
    let mut against = Against { silver, quarantine, places, duplicates: 0 };
    let (mut prints, mut quarantine_prints) =
        (Fingerprints::new(TableKind::Silver)?, Fingerprints::new(TableKind::Quarantine)?);
    let (mut pending, mut unread) = (0, false);
    for (stream, to) in bronze.table.positions() {
        let stream = Arc::new(stream);
        let upto = against.silver.table.position(&stream).unwrap_or(-1);
        pending += to - upto.min(to);
        let id = streams.id(&stream);
        let mut decoder = Decoder::default();
        let mut reader = match Reader::new(&bronze.table, &stream, -1, upto).await {
            Ok(reader) => reader,
            Err(error) => {
                unread |= !report_unread(bronze, &error, report);
                continue;
            }
        };
        let mut failures = 0;
        while failures <= bronze.table.files().len() {
            let runs = match reader.next(&bronze.table).await {
                Ok(None) => break,
                Ok(Some(runs)) => runs,
                Err(error) => {
                    failures += 1;
                    unread |= !report_unread(bronze, &error, report);
                    continue;
                }
            };
            for run in runs {
                tokio::task::block_in_place(|| {
                    let (valid, bad) = decoder.decode_all(
                        run.records.len(),
                        run.records.iter().map(|record| (record, run.ingested_at)),
                    );
                    against.compare_rejects(&run, &bad, id, &mut rejected, &mut quarantine_prints, report)?;
                    against.compare_ticks(&run, &valid, id, &mut kept, &mut prints, report)
                })?;
            }
        }
    }
    let duplicates = against.duplicates;
    let names: HashMap<u32, &Stream> = streams.0.iter().map(|(stream, id)| (*id, stream)).collect();
    for at in kept.keys() {
        if unread || bronze.may_lack(names[&at.0], at.1) {
            report.not_judged += 1;
        } else {
            report.wrong(|| format!("silver: offset {} index {} comes from no record of bronze", at.1, at.2));
        }
    }
    let beyond = |at: &&At| at.1 > silver.table.position(names[&at.0]).unwrap_or(-1);
    for at in rejected.keys().filter(|at| !beyond(at)) {
        if unread || bronze.may_lack(names[&at.0], at.1) {
            report.not_judged += 1;
        } else {
            report.wrong(|| {
                format!("quarantine: offset {} index {} comes from no reject of bronze", at.1, at.2)
            });
        }
    }
    report.note(
        "silver",
        &format!("{ticks} ticks = bronze decoded less {duplicates} duplicates; {pending} records pending"),
    );
    report.note("quarantine", &format!("{rejects} rejects = the rejects of bronze decoded"));
    Ok(())
}

/// Reports that bronze could not be read. Returns whether it is known which file.
fn report_unread(bronze: &mut Layer, error: &LakeError, report: &mut Report) -> bool {
    let missing = |path: &str| bronze.files().into_iter().find(|file| file.path() == path);
    match error {
        LakeError::MissingFile { path, .. } if let Some(file) = missing(path) => {
            bronze.unreadable(&file, error, report);
        }
        _ if !bronze.unread.is_empty() => {} // reported when positions were checked
        error => {
            report.wrong(|| format!("bronze: {}", chain(error)));
            return false;
        }
    }
    true
}

/// The position of each tick in silver, by its identity. Reports duplicate ticks, and ticks in the partition
/// of another date.
async fn places(
    silver: &mut Layer,
    streams: &mut Streams,
    ticks: usize,
    report: &mut Report,
) -> HashMap<u128, At> {
    let mut places: HashMap<u128, At> = HashMap::with_capacity(ticks);
    let mut reader = silver::Reader::default();
    for file in silver.files() {
        let mut doubled = Vec::new();
        let mut misplaced = 0;
        let read = reader.rows(&silver.table, &file, |row| {
            let at = (streams.id(&row.place.stream), row.tick.offset, row.tick.index);
            misplaced += u64::from(file.date().is_some_and(|day| day != date(row.tick.event_time)));
            if places.insert(identity(&row.market, &TickKey::of(&row.tick)), at).is_some() {
                doubled.push((row.market, row.tick.event_time, row.tick.offset));
            }
        });
        if let Err(error) = read.await {
            silver.unreadable(&file, &error, report);
        }
        for (market, time, offset) in doubled {
            report.wrong(|| {
                format!("silver: a tick of {market} at {} is there twice (offset {offset})", rfc3339(time))
            });
        }
        if misplaced > 0 {
            report.wrong(|| format!("silver: {misplaced} ticks in {} belong to other dates", file.path()));
        }
    }
    places
}

/// The tables that decoded records are compared with.
struct Against<'a> {
    silver: &'a Layer,
    quarantine: &'a Layer,
    places: HashMap<u128, At>,
    duplicates: u64,
}

impl Against<'_> {
    fn compare_ticks(
        &mut self,
        run: &RawBatch,
        decoded: &Ticks,
        stream: u32,
        kept: &mut HashMap<At, u64>,
        prints: &mut Fingerprints,
        report: &mut Report,
    ) -> Result<(), LakeError> {
        for ticks in by_date(&decoded.ticks, |tick| tick.event_time).into_values() {
            let rows = silver::rows(&run.stream, decoded, &ticks).when("verify", TableKind::Silver)?;
            for (tick, print) in ticks.into_iter().zip(prints.of(&rows)?) {
                let at = (stream, tick.offset, tick.index);
                match kept.remove(&at) {
                    Some(found) if found == print => {}
                    Some(_) => {
                        report.wrong(|| {
                            format!(
                                "silver: offset {} index {} is not what its record decodes to",
                                tick.offset, tick.index
                            )
                        });
                    }
                    None => match self.places.get(&identity(decoded.market(tick), &TickKey::of(tick))) {
                        Some(first) if first.0 != stream || *first < at => self.duplicates += 1,
                        Some(_) => report.wrong(|| {
                            format!("silver: a later copy of the tick at offset {} was kept", tick.offset)
                        }),
                        None if self.silver.may_lack_times(
                            "event_time",
                            tick.event_time,
                            tick.event_time,
                        ) =>
                        {
                            report.not_judged += 1;
                        }
                        None => report.wrong(|| {
                            format!(
                                "silver: the tick at offset {} index {} is missing",
                                tick.offset, tick.index
                            )
                        }),
                    },
                }
            }
        }
        Ok(())
    }

    fn compare_rejects(
        &self,
        run: &RawBatch,
        bad: &[Reject],
        stream: u32,
        rejected: &mut HashMap<At, u64>,
        prints: &mut Fingerprints,
        report: &mut Report,
    ) -> Result<(), LakeError> {
        let mut rejects = bad.iter();
        for rows in quarantine::rows(run, bad, -1) {
            let expected = prints.of(&rows.when("verify", TableKind::Quarantine)?)?;
            for (print, reject) in expected.into_iter().zip(rejects.by_ref()) {
                let (offset, index) = (reject.offset, reject.index);
                match rejected.remove(&(stream, offset, index)) {
                    Some(found) if found == print => {}
                    Some(_) => report.wrong(|| {
                        format!("quarantine: offset {offset} index {index} is not what was rejected")
                    }),
                    None if self.quarantine.may_lack(&run.stream, offset) => report.not_judged += 1,
                    None => report.wrong(|| {
                        format!(
                            "quarantine: offset {offset} index {index} ({}) is missing",
                            reject.reason.text()
                        )
                    }),
                }
            }
        }
        Ok(())
    }
}
