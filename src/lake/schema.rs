//! The tables and their columns, for Delta and for Arrow.

use std::fmt;
use std::sync::Arc;

use deltalake::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{DataType, PrimitiveType, StructField};

/// Version of the layout below; a table property of every table.
pub const FORMAT_VERSION: &str = "1";
/// The table property that holds [`FORMAT_VERSION`].
pub const FORMAT_PROPERTY: &str = "cryptostream.formatVersion";

/// The tables of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TableKind {
    Bronze,
    /// Rejected ticks.
    Quarantine,
    /// Valid ticks without duplicates.
    Silver,
    /// One-minute candles.
    Gold,
    /// Raised alerts.
    Alerts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Binary,
    Long,
    Integer,
    Double,
    /// Microseconds since the epoch, UTC.
    Timestamp,
    /// Days since the epoch.
    Date,
}

impl ColumnType {
    fn delta(self) -> DataType {
        DataType::Primitive(match self {
            Self::Text => PrimitiveType::String,
            Self::Binary => PrimitiveType::Binary,
            Self::Long => PrimitiveType::Long,
            Self::Integer => PrimitiveType::Integer,
            Self::Double => PrimitiveType::Double,
            Self::Timestamp => PrimitiveType::Timestamp,
            Self::Date => PrimitiveType::Date,
        })
    }

    fn arrow(self) -> ArrowType {
        match self {
            Self::Text => ArrowType::Utf8,
            Self::Binary => ArrowType::Binary,
            Self::Long => ArrowType::Int64,
            Self::Integer => ArrowType::Int32,
            Self::Double => ArrowType::Float64,
            Self::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Date => ArrowType::Date32,
        }
    }
}

use ColumnType::{Binary, Date, Double, Integer, Long, Text, Timestamp};

type Columns = &'static [(&'static str, ColumnType)];

const BRONZE: Columns = &[
    ("topic", Text),
    ("partition", Integer),
    ("offset", Long),
    ("key", Text),
    ("value", Text),
    ("value_raw", Binary),
    ("headers", Text),
    ("source", Text),
    ("produced_at", Timestamp),
    ("ingested_at", Timestamp),
    ("date", Date),
];

const QUARANTINE: Columns = &[
    ("topic", Text),
    ("partition", Integer),
    ("offset", Long),
    ("index", Integer),
    ("key", Text),
    ("value", Text),
    ("value_raw", Binary),
    ("source", Text),
    ("reason", Text),
    ("ingested_at", Timestamp),
    ("date", Date),
];

const SILVER: Columns = &[
    ("coin_id", Text),
    ("symbol", Text),
    ("source", Text),
    ("quote", Text),
    ("price", Double),
    ("size", Double),
    ("trade_id", Text),
    ("sequence", Long),
    ("volume_24h", Double),
    ("market_cap", Double),
    ("price_change_24h", Double),
    ("price_change_pct_24h", Double),
    ("high_24h", Double),
    ("low_24h", Double),
    ("event_time", Timestamp),
    ("ingested_at", Timestamp),
    ("topic", Text),
    ("partition", Integer),
    ("offset", Long),
    ("index", Integer),
    ("year", Integer),
    ("month", Integer),
    ("day", Integer),
    ("hour", Integer),
    ("date", Date),
];

const GOLD: Columns = &[
    ("window_start", Timestamp),
    ("window_end", Timestamp),
    ("coin_id", Text),
    ("source", Text),
    ("quote", Text),
    ("open_price", Double),
    ("max_price", Double),
    ("min_price", Double),
    ("close_price", Double),
    ("avg_price", Double),
    ("volume", Double),
    ("tick_count", Long),
    ("price_change", Double),
    ("price_change_pct", Double),
    ("volatility_pct", Double),
    ("first_event_time", Timestamp),
    ("last_event_time", Timestamp),
    ("closed_at", Timestamp),
    ("closed_in", Long),
    ("date", Date),
];

const ALERTS: Columns = &[
    ("alert_id", Text),
    ("rule", Text),
    ("source", Text),
    ("coin_id", Text),
    ("quote", Text),
    ("window_start", Timestamp),
    ("window_end", Timestamp),
    ("avg_price", Double),
    ("min_price", Double),
    ("max_price", Double),
    ("volatility", Double),
    ("threshold", Double),
    ("timestamp", Timestamp),
];

impl TableKind {
    /// All tables, in the order of the data flow.
    pub const ALL: [Self; 5] = [Self::Bronze, Self::Quarantine, Self::Silver, Self::Gold, Self::Alerts];

    /// Short name, also in messages and fail points: `bronze`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Bronze => "bronze",
            Self::Quarantine => "quarantine",
            Self::Silver => "silver",
            Self::Gold => "gold",
            Self::Alerts => "alerts",
        }
    }

    /// Folder below the storage's root.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Bronze => "bronze/crypto_raw",
            Self::Quarantine => "quarantine/crypto_rejected",
            Self::Silver => "silver/crypto_transformed",
            Self::Gold => "gold/crypto_metrics_1m",
            Self::Alerts => "alerts/alert_log",
        }
    }

    /// Names and types of the columns, in order.
    pub const fn columns(self) -> Columns {
        match self {
            Self::Bronze => BRONZE,
            Self::Quarantine => QUARANTINE,
            Self::Silver => SILVER,
            Self::Gold => GOLD,
            Self::Alerts => ALERTS,
        }
    }

    /// Whether the table is partitioned by its column `date`, which its files then do not store.
    pub const fn is_dated(self) -> bool {
        !matches!(self, Self::Alerts)
    }

    /// Columns whose smallest and largest value in each file the log keeps, so that queries can skip files.
    /// Raw text is not among them: it would double the size of the log.
    pub const fn statistics(self) -> &'static [&'static str] {
        match self {
            Self::Bronze | Self::Quarantine => &["topic", "partition", "offset", "ingested_at"],
            Self::Silver => {
                &["source", "coin_id", "quote", "event_time", "ingested_at", "topic", "partition", "offset"]
            }
            Self::Gold => &["source", "coin_id", "quote", "window_start", "closed_in"],
            Self::Alerts => &["source", "coin_id", "window_start", "timestamp"],
        }
    }

    pub(crate) fn delta_columns(self) -> Vec<StructField> {
        self.columns().iter().map(|(name, kind)| StructField::nullable(*name, kind.delta())).collect()
    }

    /// The columns that data files hold: all but the partition column.
    pub fn stored_columns(self) -> impl Iterator<Item = &'static (&'static str, ColumnType)> {
        self.columns().iter().filter(move |(name, _)| !(self.is_dated() && *name == "date"))
    }

    /// Arrow schema of the data files.
    pub fn file_schema(self) -> SchemaRef {
        let fields = self.stored_columns().map(|(name, kind)| Field::new(*name, kind.arrow(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

impl fmt::Display for TableKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {}", self.path())
    }
}
