//! A row of either database, read column by column. What does not fit its type is `Corrupt`, never a default.

use portcullis_config::units::Timestamp;
use sqlx::{Decode, Row as _, Type, postgres::PgRow, sqlite::SqliteRow};

use crate::error::StoreError;

pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl From<SqliteRow> for Row {
    fn from(row: SqliteRow) -> Self {
        Self::Sqlite(row)
    }
}

impl From<PgRow> for Row {
    fn from(row: PgRow) -> Self {
        Self::Postgres(row)
    }
}

impl Row {
    pub(super) fn all(rows: Vec<impl Into<Self>>) -> Result<Vec<Self>, StoreError> {
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Text, an optional text, a flag or bytes, as the caller's type asks.
    pub(crate) fn read<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, sqlx::Sqlite> + Type<sqlx::Sqlite>,
        T: for<'r> Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
    {
        match self {
            Self::Sqlite(row) => Ok(row.try_get(column)?),
            Self::Postgres(row) => Ok(row.try_get(column)?),
        }
    }

    pub(crate) fn number(&self, column: &str) -> Result<u64, StoreError> {
        unsigned(column, self.read(column)?)
    }

    pub(crate) fn maybe_number(&self, column: &str) -> Result<Option<u64>, StoreError> {
        self.read::<Option<i64>>(column)?
            .map(|number| unsigned(column, number))
            .transpose()
    }

    pub(crate) fn instant(&self, column: &str) -> Result<Timestamp, StoreError> {
        self.number(column).map(Timestamp::from_millis)
    }

    pub(crate) fn maybe_instant(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.maybe_number(column)?.map(Timestamp::from_millis))
    }

    pub(crate) fn digest(&self, column: &str) -> Result<[u8; 32], StoreError> {
        let bytes: Vec<u8> = self.read(column)?;
        let length = bytes.len();
        bytes.try_into().map_err(|_bytes| {
            StoreError::Corrupt(format!("{column} has {length} bytes instead of 32"))
        })
    }
}

fn unsigned(column: &str, number: i64) -> Result<u64, StoreError> {
    u64::try_from(number)
        .map_err(|error| StoreError::Corrupt(format!("{column} is {number}: {error}")))
}
