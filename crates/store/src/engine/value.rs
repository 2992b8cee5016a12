//! What may be bound to a statement. The list is short on purpose: it is what both databases store alike.

use portcullis_config::units::Timestamp;
use sqlx::{Database, Encode, Type, query::Query};

#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(Option<&'a str>),
    Number(Option<i64>),
    Flag(bool),
    Bytes(Option<&'a [u8]>),
}

/// `values![a, b]`: a slice of [`Value`]s, each made with `From`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::engine::Value::from($value)),*] };
}
pub(crate) use values;

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(Some(number.into()))
    }
}

/// Neither database has unsigned columns. A counter or instant beyond the signed range is nonsense; it stays the largest.
impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(Some(i64::try_from(number).unwrap_or(i64::MAX)))
    }
}

impl From<Option<u64>> for Value<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Self::Number(None), Self::from)
    }
}

impl From<Timestamp> for Value<'_> {
    fn from(instant: Timestamp) -> Self {
        instant.as_millis().into()
    }
}

impl From<Option<Timestamp>> for Value<'_> {
    fn from(instant: Option<Timestamp>) -> Self {
        instant.map(Timestamp::as_millis).into()
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

impl<'a> From<Option<&'a [u8]>> for Value<'a> {
    fn from(bytes: Option<&'a [u8]>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<&'a [u8; 32]> for Value<'a> {
    fn from(bytes: &'a [u8; 32]) -> Self {
        Self::Bytes(Some(bytes))
    }
}

/// PostgreSQL takes no NUL in text. SQLite would, and the two would then hold different things: neither gets one.
pub(super) fn storable(values: &[Value<'_>]) -> bool {
    values.iter().all(|value| match value {
        Value::Text(text) => !text.is_some_and(|text| text.contains('\0')),
        Value::Number(_) | Value::Flag(_) | Value::Bytes(_) => true,
    })
}

/// A prepared statement with its values. sqlx keeps it prepared on the connection.
pub(super) fn bound<'v, DB>(sql: &'static str, values: &[Value<'v>]) -> Query<'v, DB, DB::Arguments>
where
    DB: Database,
    Option<&'v str>: Encode<'v, DB> + Type<DB>,
    Option<i64>: Encode<'v, DB> + Type<DB>,
    bool: Encode<'v, DB> + Type<DB>,
    Option<&'v [u8]>: Encode<'v, DB> + Type<DB>,
{
    let query = sqlx::query(sql);
    values.iter().fold(query, |query, value| match *value {
        Value::Text(text) => query.bind(text),
        Value::Number(number) => query.bind(number),
        Value::Flag(flag) => query.bind(flag),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}
