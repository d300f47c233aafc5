//! Typed columns of a batch that was read from a data file.

use deltalake::arrow::array::{
    ArrayRef, AsArray, BinaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use super::{DataFile, LakeError, TableKind};

/// A batch of a file, in the types of the table's schema. A column that the file lacks is
/// [`LakeError::Corrupt`].
pub(super) struct Columns<'a> {
    pub(super) table: TableKind,
    pub(super) file: &'a DataFile,
    pub(super) batch: &'a RecordBatch,
}

impl<'a> Columns<'a> {
    fn column(&self, name: &str) -> Result<&'a ArrayRef, LakeError> {
        self.batch.column_by_name(name).ok_or_else(|| LakeError::Corrupt {
            table: self.table,
            what: format!("file {} has no column {name}", self.file.path()),
        })
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a StringArray, LakeError> {
        self.column(name).map(AsArray::as_string)
    }

    pub(super) fn binary(&self, name: &str) -> Result<&'a BinaryArray, LakeError> {
        self.column(name).map(AsArray::as_binary)
    }

    pub(super) fn integer(&self, name: &str) -> Result<&'a Int32Array, LakeError> {
        self.column(name).map(AsArray::as_primitive)
    }

    pub(super) fn long(&self, name: &str) -> Result<&'a Int64Array, LakeError> {
        self.column(name).map(AsArray::as_primitive)
    }

    pub(super) fn double(&self, name: &str) -> Result<&'a Float64Array, LakeError> {
        self.column(name).map(AsArray::as_primitive)
    }

    pub(super) fn time(&self, name: &str) -> Result<&'a TimestampMicrosecondArray, LakeError> {
        self.column(name).map(AsArray::as_primitive)
    }
}
