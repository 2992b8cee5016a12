//! The table of contents: every endpoint the auth service has.
//!
//! Aliases such as `/auth/login` are rewritten by the gateway's routes and never seen here.

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{get, post},
};
use portcullis_policy::rejection::Rejection;

use crate::{
    answer::{self, Refusal},
    endpoints::{
        admin_breakers, admin_users, health, login, me, oauth_token, password, register,
        revocations, well_known,
    },
    service::AuthService,
};

impl AuthService {
    pub fn router(self: Arc<Self>) -> Router {
        let endpoints = Router::new()
            .route("/v1/auth/register", post(register::register))
            .route("/v1/auth/signup", post(register::register))
            .route("/v1/auth/login", post(login::login))
            .route("/v1/auth/password", post(password::change))
            .route("/v1/auth/me", get(me::show))
            .route("/v1/users/me", get(me::show).patch(me::change))
            .route("/v1/users/profile", get(me::show))
            .route("/v1/admin/users", get(admin_users::list))
            .route("/v1/admin/users/{id}/disable", post(admin_users::disable))
            .route("/v1/admin/users/{id}/enable", post(admin_users::enable))
            .route("/v1/admin/breakers", get(admin_breakers::list))
            .route(
                "/v1/admin/breakers/{upstream}",
                post(admin_breakers::force).patch(admin_breakers::force),
            )
            .route("/v1/revocations", get(revocations::follow))
            .route("/oauth/token", post(oauth_token::token))
            .route("/.well-known/jwks.json", get(well_known::jwks))
            .route(
                "/.well-known/oauth-authorization-server",
                get(well_known::metadata),
            )
            .route("/health", get(health::health))
            .fallback(async || Refusal::from(Rejection::RouteNotFound))
            .with_state(self);
        // Around the whole router and not as a layer in it: `Allow` is added behind the layers.
        Router::new()
            .fallback_service(endpoints)
            .layer(middleware::from_fn(answer::finish))
    }
}
