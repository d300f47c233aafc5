//! Commits: their content, their execution, and whether one with an unknown outcome has landed.

use std::sync::Arc;

use chrono::Utc;
use deltalake::kernel::transaction::CommitData;
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::logstore::object_store::{ObjectStoreExt as _, path::Path as StorePath};
use deltalake::protocol::{DeltaOperation, SaveMode};
use serde_json::Value;
use uuid::Uuid;

use super::Table;
use crate::lake::file::DataFile;
use crate::lake::{LakeError, TableContext as _, failpoint};

/// What a commit does to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Rows are added.
    Append,
    /// Rows are replaced, copy-on-write.
    Restate,
    /// The same rows in fewer files.
    Compact,
}

/// The content of one commit.
#[derive(Debug)]
pub struct Commit<'a> {
    pub change: Change,
    /// New files, from [`Table::write`].
    pub adds: Vec<Add>,
    /// Live files to remove.
    pub removes: Vec<Arc<DataFile>>,
    /// Positions that the rows came from: `(app id, position)`.
    pub txns: Vec<(String, i64)>,
    /// Counts and other numbers for people who read the log; stored in the entry's `commitInfo`.
    pub facts: &'a [(&'a str, i64)],
}

impl Commit<'_> {
    /// A commit of this kind with nothing in it, to be filled by struct update.
    pub const fn empty(change: Change) -> Self {
        Self { change, adds: Vec::new(), removes: Vec::new(), txns: Vec::new(), facts: &[] }
    }
}

/// Identifies a commit that was tried, to find out later whether it landed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tried {
    version: u64,
    id: Uuid,
}

impl Table {
    /// Commits as the version after the one that this object knows. Returns that version.
    ///
    /// # Errors
    /// [`LakeError::Conflict`] if that version is taken: the commit's files are deleted. [`LakeError::Gone`]
    /// if the version that this object knows was cleaned up. After any other error the commit may or may not
    /// have landed: open the table again and check [`Self::holds`] or the positions.
    pub async fn commit(&mut self, commit: Commit<'_>) -> Result<u64, LakeError> {
        let kind = self.kind;
        let data_change = commit.change != Change::Compact;
        let written: Vec<_> = commit.adds.iter().map(|add| StorePath::from(add.path.as_str())).collect();
        let mut actions: Vec<Action> =
            commit.removes.iter().map(|file| Action::Remove(file.remove(data_change))).collect();
        actions.extend(commit.adds.into_iter().map(|add| Action::Add(Add { data_change, ..add })));
        let operation = match commit.change {
            Change::Append => {
                let partition_by = kind.is_dated().then(|| vec!["date".to_owned()]);
                DeltaOperation::Write { mode: SaveMode::Append, partition_by, predicate: None }
            }
            Change::Restate => DeltaOperation::Update { predicate: None },
            Change::Compact => DeltaOperation::Optimize { predicate: None, target_size: 0 },
        };
        let tried = Tried { version: self.version() + 1, id: Uuid::new_v4() };
        let facts = commit.facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value)));
        let facts = facts.chain([("id".to_owned(), Value::from(tried.id.to_string()))]).collect();
        let now = Utc::now().timestamp_millis();
        let txns = commit
            .txns
            .into_iter()
            .map(|(app_id, at)| Transaction::new_with_last_update(app_id, at, Some(now)))
            .collect();
        let data = CommitData::new(actions, operation, facts, txns);
        let bytes = data.get_bytes().map_err(deltalake::DeltaTableError::from).when("commit to", kind)?;
        let step = if data_change { "commit" } else { "compact" };
        failpoint::pass(kind.label(), &format!("{step}.before")).when("commit to", kind)?;
        self.tried = Some(tried);
        match self.log.put(self.anchor, bytes).await {
            Ok(anchor) => self.anchor = anchor,
            Err(error) => {
                if matches!(error, LakeError::Conflict { .. } | LakeError::Gone { .. }) {
                    self.tried = None; // it has not landed, or is void
                }
                if matches!(error, LakeError::Conflict { .. }) {
                    for path in written {
                        self.store().delete(&path).await.ok(); // otherwise the next vacuum deletes it
                    }
                }
                return Err(error);
            }
        }
        data.actions.iter().for_each(|action| self.fold(action));
        failpoint::pass(kind.label(), &format!("{step}.after")).when("commit to", kind)?;
        self.tried = None;
        Ok(self.version())
    }

    /// The commit of this object that failed with an unknown outcome, if any: this object may be out of date.
    pub fn tried(&self) -> Option<Tried> {
        self.tried
    }

    /// Whether a commit that was tried, through this object or another, has landed.
    ///
    /// # Errors
    /// [`LakeError::Gone`] if the entry was cleaned up.
    pub async fn holds(&self, tried: Tried) -> Result<bool, LakeError> {
        match self.log.entry(tried.version).await? {
            Some(bytes) => Ok(memchr::memmem::find(&bytes, tried.id.to_string().as_bytes()).is_some()),
            None if tried.version > self.version() => Ok(false),
            None => Err(LakeError::Gone { table: self.kind, version: tried.version }),
        }
    }
}
