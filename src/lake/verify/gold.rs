//! Gold against the aggregation of silver, and the alert log against both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::super::gold::{History, arrival};
use super::super::{LakeError, TableContext as _, TableKind, alerts, gold, silver};
use super::{Fingerprints, Layer, Report};
use crate::market::window::{Aggregation, ClosedCandle, Window, window_start};
use crate::market::{Alert, MINUTE, Market, Micros, Stream, date, rfc3339};

/// Rows of gold with the fingerprint of each.
type Candles = BTreeMap<(Arc<Market>, Micros), (ClosedCandle, u64)>;

/// Passes silver's ticks to `take`: those of readable files whose range of event times `may_hold` accepts.
async fn each_tick(
    silver: &mut Layer,
    may_hold: impl Fn(Micros, Micros) -> bool,
    report: &mut Report,
    mut take: impl FnMut(silver::TickRow),
) {
    let mut reader = silver::Reader::default();
    for file in silver.files() {
        if file.times("event_time").is_none_or(|(min, max)| may_hold(min, max))
            && let Err(error) = reader.rows(&silver.table, &file, &mut take).await
        {
            silver.unreadable(&file, &error, report);
        }
    }
}

/// Whether ticks of a window may be in a file of silver that cannot be read.
fn may_lack_ticks(silver: &Layer, start: Micros) -> bool {
    silver.may_lack_times("event_time", start, start + MINUTE - 1)
}

/// Gold's rows with their fingerprints. Reports duplicate rows, and rows in the partition of another date.
pub(super) async fn read(gold: &mut Layer, report: &mut Report) -> Result<Candles, LakeError> {
    let mut prints = Fingerprints::new(TableKind::Gold)?;
    let mut found = BTreeMap::new();
    for file in gold.files() {
        let batches = gold.read(&file, report).await;
        let fingerprints: Result<Vec<_>, _> = batches.iter().map(|batch| prints.of(batch)).collect();
        let (rows, fingerprints) =
            match fingerprints.and_then(|prints| Ok((gold::rows(&file, batches)?, prints))) {
                Ok(read) => read,
                Err(error) => {
                    gold.unreadable(&file, &error, report);
                    continue;
                }
            };
        for (row, print) in rows.into_iter().zip(fingerprints.into_iter().flatten()) {
            if file.date().is_some_and(|day| day != date(row.candle.window_start)) {
                report.wrong(|| {
                    format!(
                        "gold: {} at {} is in the partition of another date",
                        row.market,
                        rfc3339(row.candle.window_start)
                    )
                });
            }
            if let Some((row, _)) = found.insert(row.key(), (row, print)) {
                report.wrong(|| {
                    format!("gold: {} at {} is there twice", row.market, rfc3339(row.candle.window_start))
                });
            }
        }
    }
    Ok(found)
}

pub(super) async fn check(
    silver: &mut Layer,
    gold: &Layer,
    candles: &Candles,
    report: &mut Report,
) -> Result<(), LakeError> {
    let mut pending = 0;
    let positions: HashMap<Stream, i64> = gold.table.positions().into_iter().collect();
    let mut sums = Aggregation::default();
    // Windows with ticks beyond gold's position: their candle may cover only some of their ticks.
    let mut unsettled: BTreeMap<(Arc<Market>, Micros), Vec<silver::TickRow>> = BTreeMap::new();
    each_tick(
        silver,
        |_, _| true,
        report,
        |row| {
            if row.tick.offset > positions.get(&*row.place.stream).copied().unwrap_or(-1) {
                unsettled.entry((Arc::clone(&row.market), window_start(row.tick.event_time))).or_default();
            }
            sums.add(&row.market, row.place, row.tick.price, row.tick.size);
        },
    )
    .await;
    if !unsettled.is_empty() {
        each_tick(
            silver,
            |_, _| true,
            report,
            |row| {
                let key = (Arc::clone(&row.market), window_start(row.tick.event_time));
                if let Some(ticks) = unsettled.get_mut(&key).filter(|_| candles.contains_key(&key)) {
                    ticks.push(row);
                }
            },
        )
        .await;
    }
    let mut prints = Fingerprints::new(TableKind::Gold)?;
    let sums = sums.windows();
    for (key, window) in &sums {
        let (name, at) = (&key.0, rfc3339(key.1));
        let Some((row, print)) = candles.get(key) else {
            if unsettled.contains_key(key) {
                pending += 1;
            } else if gold.may_lack_times("window_start", key.1, key.1) {
                report.not_judged += 1;
            } else {
                report.wrong(|| format!("gold: {name} has no candle at {at}"));
            }
            continue;
        };
        let wanted = gold::batch(&[&window.row(name, row.closed_at, row.closed_in)])
            .when("verify", TableKind::Gold)?;
        if prints.of(&wanted)?[0] == *print {
            continue;
        }
        match unsettled.remove(key) {
            _ if may_lack_ticks(silver, key.1) => report.not_judged += 1,
            Some(ticks) if is_prefix(row, ticks.clone()) => pending += 1,
            _ => report
                .wrong(|| format!("gold: the candle of {name} at {at} is not the aggregation of its ticks")),
        }
    }
    for (market, start) in candles.keys().filter(|key| !sums.contains_key(*key)) {
        if may_lack_ticks(silver, *start) {
            report.not_judged += 1;
        } else {
            report.wrong(|| format!("gold: the candle of {market} at {} has no ticks", rfc3339(*start)));
        }
    }
    report.note(
        "gold",
        &format!(
            "{} candles = aggregation of silver, to the last bit; {pending} windows pending",
            candles.len()
        ),
    );
    Ok(())
}

/// Whether a candle covers a prefix of its window's ticks in order of arrival: gold may not have processed
/// late ticks yet.
fn is_prefix(row: &ClosedCandle, mut ticks: Vec<silver::TickRow>) -> bool {
    ticks.sort_by(|a, b| arrival(a).cmp(&arrival(b)));
    let mut window: Option<Window> = None;
    ticks.into_iter().any(|silver::TickRow { place, tick, .. }| {
        match &mut window {
            Some(window) => window.add(place, tick.price, tick.size),
            None => window = Some(Window::new(place, tick.price, tick.size)),
        }
        window
            .as_ref()
            .is_some_and(|window| window.row(&row.market, row.closed_at, row.closed_in).same_sums(row))
    })
}

pub(super) async fn check_alerts(
    silver: &mut Layer,
    gold: &Layer,
    candles: &Candles,
    alerts: &mut Layer,
    report: &mut Report,
) {
    let mut found = Vec::new();
    for file in alerts.files() {
        match alerts::read(&alerts.table, &file).await {
            Ok(rows) => found.extend(
                rows.into_iter().map(|alert| ((Arc::new(alert.market.clone()), alert.window_start), alert)),
            ),
            Err(error) => alerts.unreadable(&file, &error, report),
        }
    }
    let alerted = || found.iter().filter_map(|(key, _)| candles.get(key)).map(|(row, _)| row);
    let (wanted, mut history) = (History::wanted(alerted()), History::default());
    let first_and_last = wanted
        .iter()
        .map(|(_, start)| *start)
        .min()
        .zip(wanted.iter().map(|(_, start)| start + MINUTE).max());
    let may_hold = |min, max| first_and_last.is_some_and(|(first, last)| min < last && first <= max);
    each_tick(silver, may_hold, report, |row| {
        if wanted.contains(&(Arc::clone(&row.market), window_start(row.tick.event_time))) {
            history.add(row);
        }
    })
    .await;
    let mut ids = HashSet::new();
    for (key, alert) in &found {
        let (market, at) = (&key.0, rfc3339(alert.window_start));
        if alert.alert_id != Alert::id(&alert.rule, market, alert.window_start) {
            report.wrong(|| format!("alerts: {market} at {at} has the id of another alert"));
        }
        if !ids.insert(&alert.alert_id) {
            report.wrong(|| format!("alerts: {market} at {at} is there twice"));
        }
        if alert.window_end != alert.window_start + MINUTE {
            report.wrong(|| format!("alerts: the window of {market} at {at} is not a minute long"));
        }
        if alert.volatility.partial_cmp(&alert.threshold) != Some(std::cmp::Ordering::Greater) {
            report.wrong(|| format!("alerts: {market} at {at} is not above its threshold"));
        }
        let Some((row, _)) = candles.get(key) else {
            if gold.may_lack_times("window_start", key.1, key.1) {
                report.not_judged += 1;
            } else {
                report.wrong(|| format!("alerts: {market} at {at} has no candle"));
            }
            continue;
        };
        if may_lack_ticks(silver, key.1) || may_lack_ticks(silver, window_start(row.closed_at)) {
            report.not_judged += 1;
            continue;
        }
        let differing: Vec<Option<&str>> =
            history.may_have_closed_as(row).iter().map(|row| differing_column(alert, row)).collect();
        if !differing.contains(&None) {
            let column = differing.into_iter().flatten().next_back().unwrap_or("window_start");
            report.wrong(|| {
                format!("alerts: {column} of {market} at {at} is not that of its candle as it closed")
            });
        }
    }
    report.note(
        "alerts",
        &format!("{} alerts, each once and with the values of its candle as it closed", found.len()),
    );
}

/// The first column of an alert that differs from the candle's, compared to the last bit.
fn differing_column(alert: &Alert, row: &ClosedCandle) -> Option<&'static str> {
    let candle = &row.candle;
    let columns = [
        ("avg_price", alert.avg_price, candle.avg),
        ("min_price", alert.min_price, candle.low),
        ("max_price", alert.max_price, candle.high),
        ("volatility", alert.volatility, candle.volatility_pct()),
    ];
    columns.into_iter().find(|(_, alert, candle)| alert.to_bits() != candle.to_bits()).map(|(name, ..)| name)
}

#[cfg(test)]
mod tests {
    use super::super::super::gold::tests::{all, tick};
    use super::*;

    #[test]
    fn a_candle_may_lack_the_last_arrivals_of_any_stream() {
        let ticks = [tick("b", 1, 10, 10), tick("a", 1, 20, 30), tick("b", 2, 30, 40), tick("a", 2, 40, 50)];
        let mut reversed = ticks.to_vec();
        reversed.reverse();
        for taken in 1..=ticks.len() {
            assert!(is_prefix(&all(ticks[..taken].iter()), reversed.clone()), "{taken}");
            assert!(
                taken == 1 || !is_prefix(&all(ticks[1..taken].iter()), reversed.clone()),
                "{taken} without the first"
            );
        }
    }
}
