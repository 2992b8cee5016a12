//! What a caller of the store has to tell apart: come again, somebody else was first, not there, or broken.

use std::{borrow::Cow, error::Error};

/// The texts are for the log and the command line, never for a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, is busy, full or read-only now. Nothing is known to be wrong with the request.
    #[error("the database is not available")]
    Unavailable(#[source] Cause),
    #[error("the name or id is taken")]
    Taken,
    #[error("there is no such row")]
    NotFound,
    /// The row is not what the caller took it for: changed in between, or against a rule of the schema.
    #[error("the row was changed in between, or may not become so")]
    Conflict,
    /// The change would take the right to administer from the last who has it.
    #[error("nobody would be left who may administer users and roles")]
    LastAdministrator,
    #[error("the database holds what it must not: {0}")]
    Corrupt(String),
    #[error("the database lacks migrations: run `portcullis migrate`")]
    NotMigrated,
    /// Going back needs a backup: see migrations/README.md.
    #[error("the database was migrated by a newer version (migration {0} is unknown to this one)")]
    TooNew(i64),
    #[error("the database refused a statement")]
    Database(#[source] Cause),
}

pub(crate) type Cause = Box<dyn Error + Send + Sync>;

impl From<sqlx::Error> for StoreError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "another crate's open enum")]
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => of_database(error),
            sqlx::Error::RowNotFound => Self::NotFound,
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_) => Self::Corrupt(error.to_string()),
            sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_) => Self::Unavailable(error.into()),
            other => Self::Database(other.into()),
        }
    }
}

fn of_database(error: Box<dyn sqlx::error::DatabaseError>) -> StoreError {
    if error.is_unique_violation() {
        return StoreError::Taken;
    }
    if error.is_foreign_key_violation() {
        return StoreError::NotFound;
    }
    if error.is_check_violation() {
        return StoreError::Conflict;
    }
    let code = error.code().unwrap_or(Cow::Borrowed(""));
    let verdict = match error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
        Some(_) => of_sqlite(&code, error.message()),
        None => of_postgres(&code),
    };
    match verdict {
        Verdict::Unavailable => StoreError::Unavailable(error.into()),
        Verdict::Conflict => StoreError::Conflict,
        Verdict::Corrupt => StoreError::Corrupt(error.message().to_owned()),
        Verdict::NotMigrated => StoreError::NotMigrated,
        Verdict::Other => StoreError::Database(error.into()),
    }
}

enum Verdict {
    Unavailable,
    Conflict,
    Corrupt,
    NotMigrated,
    Other,
}

/// By result code (<https://sqlite.org/rescode.html>); the low byte is the primary one. A missing table has no code of its own.
fn of_sqlite(code: &str, message: &str) -> Verdict {
    match code.parse::<u32>().map(|code| code & 0xff) {
        Ok(5 | 6 | 8 | 10 | 13 | 14) => Verdict::Unavailable,
        Ok(11 | 26) => Verdict::Corrupt,
        Ok(1) if message.starts_with("no such table") => Verdict::NotMigrated,
        Ok(_) | Err(_) => Verdict::Other,
    }
}

/// By SQLSTATE: classes 08, 53, 57 and 58 are the server's own troubles, 55P03 a lock that did not come, 25006 a standby.
fn of_postgres(code: &str) -> Verdict {
    match code {
        "42P01" => Verdict::NotMigrated,
        "40001" | "40P01" => Verdict::Conflict,
        "25006" | "55P03" | "25P03" => Verdict::Unavailable,
        "XX001" | "XX002" => Verdict::Corrupt,
        _ if ["08", "53", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            Verdict::Unavailable
        }
        _ => Verdict::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_sqlite_is_unavailable_in_all_its_extended_forms() {
        for code in ["5", "261", "517", "773"] {
            assert!(
                matches!(of_sqlite(code, "database is locked"), Verdict::Unavailable),
                "{code}"
            );
        }
    }

    #[test]
    fn a_missing_table_means_not_migrated_and_a_missing_column_does_not() {
        assert!(matches!(
            of_sqlite("1", "no such table: users"),
            Verdict::NotMigrated
        ));
        assert!(matches!(
            of_sqlite("1", "no such column: nope"),
            Verdict::Other
        ));
        assert!(matches!(of_postgres("42P01"), Verdict::NotMigrated));
        assert!(matches!(of_postgres("42703"), Verdict::Other));
    }

    #[test]
    fn a_cancelled_statement_and_a_stopping_server_are_unavailable() {
        for code in ["57014", "57P01", "53300", "08006", "55P03"] {
            assert!(matches!(of_postgres(code), Verdict::Unavailable), "{code}");
        }
    }
}
