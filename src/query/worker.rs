//! The state of the thread that owns the DuckDB connection, and how it runs queries.

use std::path::Path;
use std::sync::Arc;

use duckdb::{Connection, Params, Row};
use tokio::runtime::Handle;

use super::census::Census;
use super::engine::{connect, paths, rows};
use super::tables::Tables;
use super::{QueryError, TableKind, sandbox};
use crate::lake::Storage;

/// A query for the thread to run.
pub(super) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// State of the thread, kept between queries.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) tables: Tables,
    pub(super) census: Census,
    pub(super) preferred: Option<Arc<str>>,
    db: Connection,
}

impl Worker {
    pub(super) fn new(
        storage: Storage,
        preferred: Option<Arc<str>>,
        runtime: Handle,
        spill: &Path,
    ) -> Result<Self, QueryError> {
        let db = connect(spill).map_err(QueryError::engine("start DuckDB"))?;
        Ok(Self { tables: Tables::new(storage, runtime), census: Census::default(), preferred, db })
    }

    /// Runs a query. If a data file is missing, runs it once more with newly opened tables.
    pub(super) fn answer<T>(
        &mut self,
        question: &mut impl FnMut(&mut Self) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        match question(self) {
            Err(error) if error.is_vanished_file() => {
                tracing::debug!(error = &error as &dyn std::error::Error, "opening the tables again");
                self.tables.forget();
                self.census = Census::default();
                question(self)
            }
            answer => answer,
        }
    }

    /// Runs one of `query/*.sql`.
    pub(super) fn rows<T, P: Params>(
        &self,
        action: &'static str,
        sql: &str,
        params: P,
        row: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>, QueryError> {
        rows(&self.db, sql, params, row).map_err(QueryError::engine(action))
    }

    /// Updates the census from gold.
    pub(super) fn survey(&mut self) -> Result<(), QueryError> {
        if let Some(gold) = self.tables.fresh(TableKind::Gold)? {
            self.census.update(&self.db, gold).map_err(QueryError::engine("count candles"))
        } else {
            self.census = Census::default();
            Ok(())
        }
    }

    /// The views for a user's SQL; with `reopen`, of newly opened tables.
    pub(super) fn views(&mut self, reopen: bool) -> Result<sandbox::Views, QueryError> {
        if reopen {
            self.tables.forget();
        }
        let mut views = sandbox::Views::default();
        for kind in TableKind::ALL {
            let paths =
                self.tables.fresh(kind)?.map(|view| paths(view, view.table.files())).unwrap_or_default();
            views.add(kind, paths);
        }
        Ok(views)
    }
}
