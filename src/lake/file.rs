//! Live data files with their statistics from the log, by which readers skip files.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::kernel::{Add, Remove};
use serde_json::Value;

use super::parquet::{capped_max, capped_min};
use crate::market::{Market, Micros, Stream};

/// A live data file: its `Add` action, with the statistics parsed.
#[derive(Debug, Clone)]
pub struct DataFile {
    pub(super) add: Add,
    pub rows: u64,
    min: HashMap<String, Value>,
    max: HashMap<String, Value>,
}

/// The statistics of a file that holds the rows of all `files`, as the log's JSON text.
pub(super) fn merged_statistics(files: &[Arc<DataFile>]) -> String {
    // Integers compare as numbers; texts and times (all in one format) compare as text.
    let less = |a: &Value, b: &Value| {
        a.as_i64().zip(b.as_i64()).map_or_else(|| a.as_str() < b.as_str(), |(a, b)| a < b)
    };
    let bounds = |of: fn(&DataFile) -> &HashMap<String, Value>, wins: &dyn Fn(&Value, &Value) -> bool| {
        let mut merged = of(&files[0]).clone();
        for file in &files[1..] {
            merged.retain(|name, _| of(file).contains_key(name));
            for (name, best) in &mut merged {
                if wins(&of(file)[name], best) {
                    *best = of(file)[name].clone();
                }
            }
        }
        merged
    };
    let rows: u64 = files.iter().map(|file| file.rows).sum();
    let (mut min, mut max) = (bounds(|f| &f.min, &less), bounds(|f| &f.max, &|a, b| less(b, a)));
    // Files that were written before texts were capped may have longer ones.
    let text = |value: &Value, cap: &dyn Fn(&str) -> Option<String>| {
        value.as_str().map_or_else(|| Some(value.clone()), |t| cap(t).map(Value::from))
    };
    min.values_mut().for_each(|value| *value = text(value, &|t| Some(capped_min(t))).unwrap_or_default());
    max.retain(|_, value| text(value, &capped_max).map(|capped| *value = capped).is_some());
    serde_json::json!({ "numRecords": rows, "minValues": min, "maxValues": max }).to_string()
}

impl DataFile {
    pub(super) fn new(add: Add) -> Self {
        let stats: Value =
            add.stats.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let bounds = |name: &str| {
            stats[name].as_object().map(|map| map.clone().into_iter().collect()).unwrap_or_default()
        };
        Self {
            rows: stats["numRecords"].as_u64().unwrap_or(0),
            min: bounds("minValues"),
            max: bounds("maxValues"),
            add,
        }
    }

    /// Path below the table's folder.
    pub fn path(&self) -> &str {
        &self.add.path
    }

    /// Size in bytes.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.add.size).unwrap_or(0)
    }

    /// Value of the partition column `date`, `2025-05-12`.
    pub fn date(&self) -> Option<&str> {
        self.add.partition_values.get("date")?.as_deref()
    }

    /// Smallest and largest value of an integer column; `None` without statistics of it.
    pub fn integers(&self, column: &str) -> Option<(i64, i64)> {
        Some((self.min.get(column)?.as_i64()?, self.max.get(column)?.as_i64()?))
    }

    /// Smallest and largest value of a timestamp column.
    pub fn times(&self, column: &str) -> Option<(Micros, Micros)> {
        let time = |value: &Value| {
            chrono::DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|t| t.timestamp_micros())
        };
        Some((time(self.min.get(column)?)?, time(self.max.get(column)?)?))
    }

    /// Smallest and largest value of a text column.
    pub fn texts(&self, column: &str) -> Option<(&str, &str)> {
        Some((self.min.get(column)?.as_str()?, self.max.get(column)?.as_str()?))
    }

    /// Whether rows with `column` in `from..=to` may be inside.
    pub fn may_hold_times(&self, column: &str, from: Micros, to: Micros) -> bool {
        self.times(column).is_none_or(|(min, max)| min <= to && from <= max)
    }

    /// Whether rows with this text in `column` may be inside.
    pub fn may_hold_text(&self, column: &str, text: &str) -> bool {
        self.texts(column).is_none_or(|(min, max)| min <= text && text <= max)
    }

    /// Whether rows of the market may be inside.
    pub fn may_hold_market(&self, market: &Market) -> bool {
        self.may_hold_text("source", &market.source)
            && self.may_hold_text("coin_id", &market.coin_id)
            && self.may_hold_text("quote", &market.quote)
    }

    /// Whether rows of the stream with offsets in `from..=to` may be inside.
    pub fn may_hold_offsets(&self, stream: &Stream, from: i64, to: i64) -> bool {
        let overlaps =
            |column, from, to| self.integers(column).is_none_or(|(min, max)| min <= to && from <= max);
        let partition = i64::from(stream.partition);
        self.may_hold_text("topic", &stream.topic)
            && overlaps("partition", partition, partition)
            && overlaps("offset", from, to)
    }

    /// The first and last offset of the stream in this file, which the statistics show only for files of one
    /// stream.
    pub fn offsets_of(&self, stream: &Stream) -> Option<(i64, i64)> {
        let partition = i64::from(stream.partition);
        let alone = self.texts("topic")? == (&*stream.topic, &*stream.topic)
            && self.integers("partition")? == (partition, partition);
        if alone { self.integers("offset") } else { None }
    }

    /// The action that removes the file from the table, as of now.
    pub(super) fn remove(&self, data_change: bool) -> Remove {
        Remove {
            path: self.add.path.clone(),
            data_change,
            deletion_timestamp: Some(chrono::Utc::now().timestamp_millis()),
            extended_file_metadata: Some(true),
            partition_values: Some(self.add.partition_values.clone()),
            size: Some(self.add.size),
            tags: None,
            deletion_vector: None,
            base_row_id: None,
            default_row_commit_version: None,
        }
    }
}
