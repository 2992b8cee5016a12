//! Pages that follow a key and not a count, so that nothing is missed or seen twice while others write.

use serde::Deserialize;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::request::Queried;

/// Which page of a list in the order of ids, the order in which its rows came.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageById {
    /// The `next` of the page before; the first page where absent.
    after: Option<Uuid>,
    /// How many; 50 where absent.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub(crate) limit: Limit,
}

impl PageById {
    pub(crate) fn after(&self) -> Option<String> {
        self.after.map(|id| id.to_string())
    }
}

impl Queried for PageById {
    const TAKES: &'static str = "The query takes after, an id, and limit, from 1 to 100.";
}

/// Which page of a list in the order of names.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageByName {
    /// The `next` of the page before; the first page where absent.
    pub(crate) after: Option<String>,
    /// How many; 50 where absent.
    #[serde(default)]
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    pub(crate) limit: Limit,
}

impl Queried for PageByName {
    const TAKES: &'static str = "The query takes after, a name, and limit, from 1 to 100.";
}

/// How many rows a page has, `MAX` at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u32")]
pub(crate) struct Limit<const MAX: u32 = 100>(u32);

impl<const MAX: u32> Default for Limit<MAX> {
    fn default() -> Self {
        Self(MAX.min(50))
    }
}

impl<const MAX: u32> TryFrom<u32> for Limit<MAX> {
    type Error = &'static str;

    fn try_from(asked: u32) -> Result<Self, Self::Error> {
        match (1..=MAX).contains(&asked) {
            true => Ok(Self(asked)),
            false => Err("no such page"),
        }
    }
}

impl<const MAX: u32> Limit<MAX> {
    pub(crate) fn get(self) -> u32 {
        self.0
    }

    /// What to read for a page: the one beyond it tells that there is another.
    pub(crate) fn and_one(self) -> u32 {
        self.0.saturating_add(1)
    }

    /// The page, of rows that were read by [`Self::and_one`], and the key to go on from if there are more.
    pub(crate) fn cut<T>(
        self,
        mut rows: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let wanted = usize::try_from(self.0).unwrap_or(usize::MAX);
        let has_more = rows.len() > wanted;
        rows.truncate(wanted);
        let next = rows.last().filter(|_| has_more).map(key);
        (rows, next)
    }
}
