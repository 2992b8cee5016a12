//! One file for each group of endpoints, each with its routes.

mod admin_accounts;
mod admin_audit;
mod admin_breakers;
mod admin_client_proofs;
mod admin_clients;
mod admin_grants;
mod admin_import;
mod admin_keys;
mod admin_mfa;
mod admin_passwords;
mod admin_roles;
mod admin_sessions;
mod admin_users;
mod email;
mod health;
mod login;
mod login_mfa;
mod logout;
mod me;
mod oauth_introspect;
mod oauth_refresh;
mod oauth_revoke;
mod oauth_token;
mod password;
mod password_reset;
mod profile;
mod providers;
mod refresh;
mod register;
mod revocations;
mod second_factor;
mod sessions;
mod well_known;

use std::sync::Arc;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use crate::service::AuthService;

/// The table of contents: every endpoint the auth service has, a line for each subject.
///
/// Aliases such as `/auth/login` are rewritten by the gateway's routes and never seen here.
pub(crate) fn all() -> Vec<OpenApiRouter<Arc<AuthService>>> {
    vec![
        register::routes(),
        login::routes(),
        login_mfa::routes(),
        refresh::routes(),
        logout::routes(),
        sessions::routes(),
        providers::routes(),
        password::routes(),
        password_reset::routes(),
        email::routes(),
        second_factor::routes(),
        me::routes(),
        admin_users::routes(),
        admin_import::routes(),
        admin_mfa::routes(),
        admin_passwords::routes(),
        admin_accounts::routes(),
        admin_grants::routes(),
        admin_roles::routes(),
        admin_audit::routes(),
        admin_sessions::routes(),
        admin_clients::routes(),
        admin_client_proofs::routes(),
        admin_breakers::routes(),
        admin_keys::routes(),
        revocations::routes(),
        oauth_token::routes(),
        oauth_revoke::routes(),
        oauth_introspect::routes(),
        well_known::routes(),
        health::routes(),
    ]
}

/// What is found under the path of the issuer, which only the operator knows.
pub(crate) fn below_an_issuers_path() -> Router<Arc<AuthService>> {
    well_known::below_an_issuers_path()
}
