//! Bronze: every position occurs once, and no position of a dense stream is missing.

use std::collections::{BTreeMap, HashMap};

use deltalake::arrow::array::AsArray as _;
use deltalake::arrow::datatypes::{Int32Type, Int64Type};

use super::{Layer, Report};
use crate::market::Stream;

/// A set of offsets, as bitmaps of blocks: the first offset may be any.
#[derive(Default)]
struct Offsets(BTreeMap<i64, [u64; Self::WORDS]>);

impl Offsets {
    const WORDS: usize = 64;
    const BLOCK: i64 = 64 * 64;

    /// Adds an offset; `false` if it was there already.
    fn insert(&mut self, offset: i64) -> bool {
        let block = self.0.entry(offset.div_euclid(Self::BLOCK)).or_insert([0; Self::WORDS]);
        let place = usize::try_from(offset.rem_euclid(Self::BLOCK)).unwrap_or(0);
        let (word, bit) = (place / 64, 1 << (place % 64));
        let fresh = block[word] & bit == 0;
        block[word] |= bit;
        fresh
    }

    /// All offsets, lowest first.
    fn iter(&self) -> impl Iterator<Item = i64> {
        self.0.iter().flat_map(|(block, words)| {
            let places = (0..Self::BLOCK)
                .zip(words.iter().flat_map(|word| (0..64).map(move |bit| word >> bit & 1 == 1)));
            places.filter_map(move |(place, found)| found.then_some(block * Self::BLOCK + place))
        })
    }

    /// The ranges of offsets in `0..=to` that are not in the set, each as (first, last).
    fn gaps(&self, to: i64) -> Vec<(i64, i64)> {
        let (mut gaps, mut next) = (Vec::new(), 0);
        for offset in self.iter().filter(|offset| (0..=to).contains(offset)).chain([to + 1]) {
            if offset > next {
                gaps.push((next, offset - 1));
            }
            next = offset + 1;
        }
        gaps
    }
}

pub(super) async fn check(bronze: &mut Layer, report: &mut Report) {
    let mut found: HashMap<Stream, Offsets> = HashMap::new();
    let mut rows = 0;
    for file in bronze.files() {
        for batch in bronze.read(&file, report).await {
            let (Some(topic), Some(partition), Some(offset)) = (
                batch.column_by_name("topic"),
                batch.column_by_name("partition"),
                batch.column_by_name("offset"),
            ) else {
                report.wrong(|| format!("bronze: file {} has no positions", file.path()));
                continue;
            };
            let (topic, partition, offset) = (
                topic.as_string::<i32>(),
                partition.as_primitive::<Int32Type>(),
                offset.as_primitive::<Int64Type>(),
            );
            let mut stream = Stream::new("", -1);
            rows += batch.num_rows();
            for i in 0..batch.num_rows() {
                if &*stream.topic != topic.value(i) || stream.partition != partition.value(i) {
                    stream = Stream::new(topic.value(i), partition.value(i));
                }
                if !found.contains_key(&stream) {
                    found.insert(stream.clone(), Offsets::default());
                }
                let offsets = found.get_mut(&stream).expect("inserted above");
                if !offsets.insert(offset.value(i)) {
                    report.wrong(|| format!("bronze: {stream} offset {} is there twice", offset.value(i)));
                }
            }
        }
    }
    let positions: BTreeMap<Stream, i64> = bronze.table.positions().into_iter().collect();
    let none = Offsets::default();
    for (stream, to) in &positions {
        let offsets = found.get(stream).unwrap_or(&none);
        for offset in offsets.iter().filter(|offset| !(0..=*to).contains(offset)) {
            report
                .wrong(|| format!("bronze: {stream} has a record at offset {offset}, its position is {to}"));
        }
        for (first, last) in if stream.is_dense() { offsets.gaps(*to) } else { Vec::new() } {
            if bronze.unread.iter().any(|file| file.may_hold_offsets(stream, first, last)) {
                report.not_judged += u64::try_from(last - first + 1).unwrap_or(0);
            } else {
                report.wrong(|| {
                    format!(
                        "bronze: {stream} has no records at offsets {first} to {last}, its position is {to}"
                    )
                });
            }
        }
    }
    for stream in found.keys().filter(|stream| !positions.contains_key(*stream)) {
        report.wrong(|| format!("bronze: {stream} has records but no position"));
    }
    let (streams, files) = (found.len(), bronze.table.files().len());
    report.note("bronze", &format!("{rows} records of {streams} streams in {files} files: positions unique and, but for Kafka's, without gaps"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn offsets_and_gaps_are_those_of_a_set(near in prop::collection::vec(0i64..200, 0..150), far in prop::collection::vec(any::<i64>(), 0..5), to in -1i64..250) {
            let (mut offsets, mut set) = (Offsets::default(), BTreeSet::new());
            for offset in near.into_iter().chain(far) {
                prop_assert_eq!(offsets.insert(offset), set.insert(offset));
            }
            prop_assert!(offsets.iter().eq(set.iter().copied()));
            let lacking: Vec<i64> = offsets.gaps(to).into_iter().flat_map(|(first, last)| first..=last).collect();
            prop_assert_eq!(lacking, (0..=to).filter(|offset| !set.contains(offset)).collect::<Vec<_>>());
        }
    }
}
