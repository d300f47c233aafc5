//! Rows of gold by the commit that first wrote them: what the alert stage judges, in bounded portions.

use std::sync::Arc;

use super::read;
use crate::lake::{DataFile, LakeError, Table};
use crate::market::window::ClosedCandle;

/// The rows that a run of consecutive commits wrote first.
#[derive(Debug)]
pub struct Slice {
    /// Ordered by (`closed_in`, market, window start).
    pub rows: Vec<ClosedCandle>,
    /// Version of the last of these commits.
    pub upto: i64,
}

/// The rows that commits after version `after` wrote first, ordered by (`closed_in`, market, window start).
pub async fn closed_after(table: &Table, after: i64) -> Result<Vec<ClosedCandle>, LakeError> {
    Ok(slice_after(table, after, i64::MAX, |_| true).await?.rows)
}

/// The `wanted` ones of the rows that commits after version `after` wrote first: those of whole commits with
/// at most `ticks` ticks in all, but of at least one commit. Beside them only the rows of one file are held
/// in memory, however large the table is.
pub async fn slice_after(
    table: &Table,
    after: i64,
    ticks: i64,
    mut wanted: impl FnMut(&ClosedCandle) -> bool,
) -> Result<Slice, LakeError> {
    let range = |file: &Arc<DataFile>| file.integers("closed_in").unwrap_or((i64::MIN, i64::MAX));
    let mut files: Vec<_> =
        table.files().map(|file| (range(file), file)).filter(|((_, max), _)| *max > after).collect();
    files.sort_by_key(|((min, _), _)| *min);
    let mut slice = Slice { rows: Vec::new(), upto: i64::try_from(table.version()).unwrap_or(i64::MAX) };
    for ((min, _), file) in files {
        if min > slice.upto {
            break;
        }
        let inside = read(table, file)
            .await?
            .into_iter()
            .filter(|row| row.closed_in > after && row.closed_in <= slice.upto);
        slice.rows.extend(inside.filter(|row| wanted(row)));
        slice.cut(ticks);
    }
    Ok(slice)
}

impl Slice {
    /// Drops commits from the end until at most `ticks` ticks, or one commit, are left.
    fn cut(&mut self, ticks: i64) {
        self.rows.sort_by(|a, b| {
            (a.closed_in, &a.market, a.candle.window_start).cmp(&(
                b.closed_in,
                &b.market,
                b.candle.window_start,
            ))
        });
        let mut sum = 0_i64;
        let mut exceeds = |row: &ClosedCandle| {
            sum = sum.saturating_add(row.candle.ticks);
            sum > ticks
        };
        let Some(excess) = self.rows.iter().find(|row| exceeds(row)).map(|row| row.closed_in) else { return };
        let before = self.rows.partition_point(|row| row.closed_in < excess);
        self.rows.truncate(if before > 0 {
            before
        } else {
            self.rows.partition_point(|row| row.closed_in == excess)
        });
        self.upto = self.rows.last().map_or(self.upto, |row| row.closed_in);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::history::tests::{all, tick};
    use super::super::write;
    use super::*;
    use crate::lake::table::{Change, Commit};
    use crate::lake::{Storage, TableKind};

    /// The row of a minute with so many ticks, first written by the commit of version `closed_in`.
    fn row(closed_in: i64, minute: i64, ticks: i64) -> ClosedCandle {
        let ticks: Vec<_> = (0..ticks).map(|n| tick("a", n, minute * 60 + n, minute * 60 + n)).collect();
        ClosedCandle { closed_in, ..all(ticks.iter()) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn slices_are_whole_commits_and_together_hold_all_rows_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut table =
            Table::open_or_create(&Storage::new(folder.path()).unwrap(), TableKind::Gold).await.unwrap();
        let fresh = table.version();
        // As after compaction and restatement: files that overlap, not in the order of their commits.
        let files = [
            vec![row(5, 9, 2), row(2, 3, 4)],
            vec![row(3, 5, 1), row(1, 1, 2), row(4, 7, 7)],
            vec![row(2, 2, 1), row(1, 8, 1)],
        ];
        let rest = (6..=9).map(|version| vec![row(version, 20 + version, 1)]);
        for rows in files.into_iter().chain(rest) {
            let adds = write(&table, &rows).await.unwrap();
            table.commit(Commit { adds, ..Commit::empty(Change::Append) }).await.unwrap();
        }
        while table.version() < fresh + 9 {
            table.commit(Commit::empty(Change::Append)).await.unwrap();
        }
        let version = i64::try_from(table.version()).unwrap();
        for (after, fewest) in [(0, 0), (2, 0), (0, 2)] {
            let whole = closed_after(&table, after)
                .await
                .unwrap()
                .into_iter()
                .filter(|row| row.candle.ticks >= fewest)
                .collect::<Vec<_>>();
            assert!(
                whole.is_sorted_by_key(|row| (row.closed_in, row.candle.window_start)) && !whole.is_empty()
            );
            for most in [0, 1, 3, 5, 9, 100] {
                let (mut judged, mut rows) = (after, Vec::new());
                while judged < version {
                    let slice =
                        slice_after(&table, judged, most, |row| row.candle.ticks >= fewest).await.unwrap();
                    let commits: BTreeSet<i64> = slice.rows.iter().map(|row| row.closed_in).collect();
                    let ticks: i64 = slice.rows.iter().map(|row| row.candle.ticks).sum();
                    assert!(
                        ticks <= most || commits.len() == 1,
                        "{ticks} ticks of {commits:?} where {most} are the most"
                    );
                    assert!(
                        slice.upto > judged
                            && commits.iter().all(|commit| (judged + 1..=slice.upto).contains(commit))
                    );
                    judged = slice.upto;
                    rows.extend(slice.rows);
                }
                assert_eq!((judged, &rows), (version, &whole), "slices of {most}");
            }
        }
    }
}
