//! How a caller gets a token: an axum router that the gateway reaches over a Unix socket, as it reaches any upstream.
//!
//! Start with [`endpoints::all`], the table of contents. A sign-in goes `request` (what came in) → `credentials`
//! (throttle, look-up, password) → `entitlement` (what for) → `sign_in` (is that enough?) → `issue` (session, audit
//! rows, token) → `answer`. Each subject is a file under `endpoints`, which `openapi` describes.
//!
//! Invariants: one path for unknown, wrong, disabled and without a password, with the same answer and the same work; no
//! token leaves before its session and its audit rows are committed; nothing of the input is in an answer.

mod accounts;
mod admin_scope;
mod administrator;
mod answer;
mod caller;
mod client_authentication;
mod clients;
mod codes;
mod cookie;
mod courier;
mod credentials;
mod elsewhere;
mod endpoints;
mod entitlement;
mod form;
pub mod identifiers;
mod imports;
mod issue;
mod letters;
mod log_watch;
mod mail_throttle;
mod metrics;
mod oauth;
mod openapi;
mod page;
mod pages;
pub mod password;
mod plain_name;
mod random;
mod refresh;
mod request;
mod rights;
mod roles;
mod router;
mod second_factor;
mod service;
mod sessions;
mod sign_in;
mod signing_keys;
mod throttle;

#[cfg(test)]
mod tests;

pub use accounts::{AccountError, NewAccount, Strength, create_user};
pub use clients::{
    ClientError, client_party, create_client, create_signing_client, known_scopes, replace_keys,
    rotate_secret,
};
pub use elsewhere::Elsewhere;
pub use imports::{Arrival, ImportError, ImportedUser, NotImported, import_user};
pub use plain_name::{BadName, TenantError, check_tenant};
pub use roles::{RoleError, UnknownScope, change_role, create_role, delete_role, grant_reason};
pub use service::{AuthParts, AuthService, Clock};
pub use signing_keys::{KeptKeys, KeysError, RetiredKey, SigningKeys};
