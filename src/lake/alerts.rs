//! The alert log: one row per alert.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use deltalake::arrow::error::ArrowError;
use deltalake::kernel::Add;

use super::columns::Columns;
use super::parquet::{assemble, times};
use super::{DataFile, LakeError, Table, TableContext as _, TableKind};
use crate::market::{Alert, Market, Micros};

fn rows(alerts: &[Alert]) -> Result<RecordBatch, ArrowError> {
    let texts = |pick: fn(&Alert) -> &str| -> ArrayRef {
        Arc::new(alerts.iter().map(|a| Some(pick(a))).collect::<StringArray>())
    };
    let doubles = |pick: fn(&Alert) -> f64| -> ArrayRef {
        Arc::new(alerts.iter().map(|a| Some(pick(a))).collect::<Float64Array>())
    };
    assemble(
        TableKind::Alerts,
        [
            ("alert_id", texts(|a| &a.alert_id)),
            ("rule", texts(|a| &a.rule)),
            ("source", texts(|a| &a.market.source)),
            ("coin_id", texts(|a| &a.market.coin_id)),
            ("quote", texts(|a| &a.market.quote)),
            ("window_start", times(alerts.iter().map(|a| a.window_start))),
            ("window_end", times(alerts.iter().map(|a| a.window_end))),
            ("avg_price", doubles(|a| a.avg_price)),
            ("min_price", doubles(|a| a.min_price)),
            ("max_price", doubles(|a| a.max_price)),
            ("volatility", doubles(|a| a.volatility)),
            ("threshold", doubles(|a| a.threshold)),
            ("timestamp", times(alerts.iter().map(|a| a.timestamp))),
        ],
    )
}

/// Writes alerts to a data file, to be committed.
pub async fn write(table: &Table, alerts: &[Alert]) -> Result<Add, LakeError> {
    let rows = rows(alerts).when("write", TableKind::Alerts)?;
    table.write(None, &rows).await
}

/// The alerts of one file, in the file's order.
pub async fn read(table: &Table, file: &DataFile) -> Result<Vec<Alert>, LakeError> {
    let mut alerts = Vec::new();
    for batch in table.read(file, None).await? {
        let columns = Columns { table: TableKind::Alerts, file, batch: &batch };
        let (id, rule, source, coin, quote) = (
            columns.text("alert_id")?,
            columns.text("rule")?,
            columns.text("source")?,
            columns.text("coin_id")?,
            columns.text("quote")?,
        );
        let (start, end, timestamp) =
            (columns.time("window_start")?, columns.time("window_end")?, columns.time("timestamp")?);
        let (avg, min, max) =
            (columns.double("avg_price")?, columns.double("min_price")?, columns.double("max_price")?);
        let (volatility, threshold) = (columns.double("volatility")?, columns.double("threshold")?);
        alerts.extend((0..batch.num_rows()).map(|i| Alert {
            alert_id: id.value(i).to_owned(),
            rule: rule.value(i).to_owned(),
            market: Market::new(source.value(i), coin.value(i), quote.value(i)),
            window_start: start.value(i),
            window_end: end.value(i),
            avg_price: avg.value(i),
            min_price: min.value(i),
            max_price: max.value(i),
            volatility: volatility.value(i),
            threshold: threshold.value(i),
            timestamp: timestamp.value(i),
        }));
    }
    Ok(alerts)
}

/// Start of the newest alerted window of each market.
pub async fn last_windows(table: &Table) -> Result<HashMap<Arc<Market>, Micros>, LakeError> {
    let mut last: HashMap<Arc<Market>, Micros> = HashMap::new();
    for file in table.files() {
        for alert in read(table, file).await? {
            let newest = last.entry(Arc::new(alert.market)).or_insert(Micros::MIN);
            *newest = alert.window_start.max(*newest);
        }
    }
    Ok(last)
}
