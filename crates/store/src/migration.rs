//! The steps that make the schema, embedded in the binary. How they may change: migrations/README.md.
//!
//! They are listed here by hand instead of through `sqlx::migrate!`, whose macros cost a build of every driver a second time.

use std::time::Duration;

use sqlx::{
    Acquire, Connection, SqlSafeStr,
    migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType},
};

use crate::{
    engine::{Engine, Postgres, Sqlite, values, within_limit},
    error::StoreError,
};

const TABLE: &str = "_sqlx_migrations";

/// For a large table on a slow disk. Beyond it the operator should look.
const LIMIT: Duration = Duration::from_secs(15 * 60);

struct Step {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! step {
    ($name:literal) => {
        Step {
            name: $name,
            sqlite: include_str!(concat!("../../../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../../../migrations/postgres/", $name, ".sql")),
        }
    };
}

/// In order; the place in this list is the version that the database keeps.
const STEPS: &[Step] = &[
    step!("0001_foundation"),
    step!("0002_clients"),
    step!("0003_second_factors"),
    step!("0004_sessions"),
    step!("0005_key_rotation"),
    step!("0006_sign_in_elsewhere"),
    step!("0007_rights"),
    step!("0008_email_codes"),
    step!("0009_revocation_notices"),
];

#[cfg(test)]
pub(crate) fn names() -> Vec<&'static str> {
    STEPS.iter().map(|step| step.name).collect()
}

pub(crate) async fn apply(engine: &Engine) -> Result<Vec<String>, StoreError> {
    within_limit(LIMIT, async {
        match engine {
            Engine::Sqlite(sqlite) => apply_to_sqlite(sqlite).await,
            Engine::Postgres(postgres) => apply_to_postgres(postgres).await,
        }
    })
    .await
}

/// All steps in one write transaction: sqlx knows no lock for SQLite, and two processes may start at the same time.
async fn apply_to_sqlite(sqlite: &Sqlite) -> Result<Vec<String>, StoreError> {
    let mut tx = sqlite.begin().await?;
    let connection = tx.acquire().await?;
    let applied = apply_missing(connection, &migrations(|step| step.sqlite)).await?;
    tx.commit().await?;
    Ok(applied)
}

/// On a connection of its own, whose end gives back the advisory lock whatever happens.
async fn apply_to_postgres(postgres: &Postgres) -> Result<Vec<String>, StoreError> {
    let mut connection = postgres.connect().await?;
    let applied = apply_missing(&mut connection, &migrations(|step| step.postgres)).await;
    connection.close().await?;
    applied
}

async fn apply_missing<C: Migrate>(
    connection: &mut C,
    known: &[Migration],
) -> Result<Vec<String>, StoreError> {
    connection.lock().await.map_err(failed)?;
    connection
        .ensure_migrations_table(TABLE)
        .await
        .map_err(failed)?;
    let applied = connection
        .list_applied_migrations(TABLE)
        .await
        .map_err(failed)?;
    let missing = missing(&applied, known)?;
    for migration in missing {
        connection.apply(TABLE, migration).await.map_err(failed)?;
    }
    connection.unlock().await.map_err(failed)?;
    Ok(missing
        .iter()
        .map(|migration| migration.description.clone().into_owned())
        .collect())
}

pub(crate) async fn check(engine: &Engine) -> Result<(), StoreError> {
    let known = match engine {
        Engine::Sqlite(_) => migrations(|step| step.sqlite),
        Engine::Postgres(_) => migrations(|step| step.postgres),
    };
    let rows = engine
        .rows(
            "SELECT version, checksum FROM _sqlx_migrations ORDER BY version",
            values![],
        )
        .await?;
    let mut applied = Vec::with_capacity(rows.len());
    for row in rows {
        let checksum: Vec<u8> = row.read("checksum")?;
        applied.push(AppliedMigration {
            version: row.read("version")?,
            checksum: checksum.into(),
        });
    }
    match missing(&applied, &known)? {
        [] => Ok(()),
        [_, ..] => Err(StoreError::NotMigrated),
    }
}

/// What is still to be applied, once it is sure that all that was applied is ours and unchanged.
fn missing<'k>(
    applied: &[AppliedMigration],
    known: &'k [Migration],
) -> Result<&'k [Migration], StoreError> {
    if let Some(newer) = applied
        .iter()
        .find(|applied| known.iter().all(|known| known.version != applied.version))
    {
        return Err(StoreError::TooNew(newer.version));
    }
    for (applied, known) in applied.iter().zip(known) {
        if applied.version != known.version || applied.checksum != known.checksum {
            let name = &known.description;
            return Err(StoreError::Corrupt(format!(
                "migration {name} was applied with another text than this version has"
            )));
        }
    }
    Ok(known.get(applied.len()..).unwrap_or_default())
}

fn migrations(text: impl Fn(&Step) -> &'static str) -> Vec<Migration> {
    let migration = |(version, step): (i64, &Step)| {
        Migration::new(
            version,
            step.name.into(),
            MigrationType::Simple,
            text(step).into_sql_str(),
            false,
        )
    };
    (1..).zip(STEPS).map(migration).collect()
}

#[expect(clippy::wildcard_enum_match_arm, reason = "another crate's open enum")]
fn failed(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
        other => StoreError::Database(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    fn files(folder: &str) -> BTreeSet<String> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations/").to_owned() + folder;
        let names = fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap());
        names
            .map(|name| name.trim_end_matches(".sql").to_owned())
            .collect()
    }

    #[test]
    fn every_file_of_both_folders_is_a_step() {
        let steps: BTreeSet<String> = STEPS.iter().map(|step| step.name.to_owned()).collect();
        assert_eq!(files("sqlite"), steps);
        assert_eq!(files("postgres"), steps);
    }

    #[test]
    fn a_step_this_version_does_not_know_is_refused() {
        let known = migrations(|step| step.sqlite);
        let newer = AppliedMigration {
            version: 999,
            checksum: vec![].into(),
        };
        let outcome = missing(&[newer], &known);
        assert!(matches!(outcome, Err(StoreError::TooNew(999))));
    }

    #[test]
    fn a_step_with_another_text_is_refused() {
        let known = migrations(|step| step.sqlite);
        let changed = AppliedMigration {
            version: 1,
            checksum: vec![1, 2, 3].into(),
        };
        assert!(matches!(
            missing(&[changed], &known),
            Err(StoreError::Corrupt(_))
        ));
    }
}
