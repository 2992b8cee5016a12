//! One file for each group of endpoints.

pub(crate) mod admin_breakers;
pub(crate) mod admin_users;
pub(crate) mod health;
pub(crate) mod login;
pub(crate) mod me;
pub(crate) mod oauth_token;
pub(crate) mod password;
mod profile;
pub(crate) mod register;
pub(crate) mod revocations;
pub(crate) mod well_known;
