//! The endpoints as one service, and around it what they have in common.

use std::sync::Arc;

use axum::{Router, middleware};
use portcullis_policy::rejection::Rejection;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    answer::{self, Refusal},
    endpoints, openapi, pages,
    service::AuthService,
};

impl AuthService {
    pub fn router(self: Arc<Self>) -> Router {
        let (endpoints, collected) = collected().split_for_parts();
        let document = openapi::document(collected, &self.config);
        let endpoints = endpoints
            .merge(pages::router(&document))
            .merge(endpoints::below_an_issuers_path())
            .fallback(async || Refusal::from(Rejection::RouteNotFound))
            .with_state(self);
        // Around the whole router and not as a layer in it: `Allow` is added behind the layers.
        Router::new()
            .fallback_service(endpoints)
            .layer(middleware::from_fn(answer::finish))
    }
}

/// All endpoints, with what their annotations say.
pub(crate) fn collected() -> OpenApiRouter<Arc<AuthService>> {
    let subjects = endpoints::all();
    subjects
        .into_iter()
        .fold(OpenApiRouter::new(), OpenApiRouter::merge)
}
