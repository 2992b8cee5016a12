//! Pages that follow a key and not a count, so that nothing is missed or seen twice while others write.

use crate::{answer::Refusal, request::malformed_field};

pub(crate) const DEFAULT: u32 = 50;
const MAX: u32 = 100;

/// How many rows a page has; `sentence` tells what the query takes.
pub(crate) fn limit(asked: Option<u32>, sentence: &'static str) -> Result<u32, Refusal> {
    let limit = asked.unwrap_or(DEFAULT);
    if (1..=MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(malformed_field(sentence))
    }
}

/// A page of rows of which one more than asked for was read, and the key to go on from if there are more.
pub(crate) fn cut<T>(
    mut rows: Vec<T>,
    limit: u32,
    key: impl Fn(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > wanted;
    rows.truncate(wanted);
    let next = rows.last().filter(|_| has_more).map(key);
    (rows, next)
}
