//! Who administers: a user or a program with a token of the resource `portcullis`, and what it may give to others.

use axum::http::HeaderMap;
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_policy::rejection::Rejection;
use portcullis_store::User;

use crate::{
    admin_scope::{AdminScope, CHALLENGE},
    answer::Refusal,
    caller::Holder,
    request::Call,
    rights::Rights,
    service::AuthService,
};

pub(crate) struct Administrator {
    pub(crate) party: Party,
    /// What it has itself, on all resources.
    rights: Rights,
}

impl AuthService {
    pub(crate) async fn administrator(
        &self,
        headers: &HeaderMap,
        scope: AdminScope,
        call: &Call,
    ) -> Result<Administrator, Refusal> {
        let holder = self.holder(headers).await.inspect_err(|refusal| {
            self.note_denial(&refusal.rejection, Party::anonymous(), call);
        })?;
        let party = holder.party();
        if let Err(rejection) = scope.check(holder.principal()) {
            self.note_denial(&rejection, party, call);
            return Err(rejection.into());
        }
        let rights = match &holder {
            Holder::User(caller) => Rights::to_give(&self.config, &caller.user),
            Holder::Client(_, client) => Rights::of_scopes(&client.scopes),
        };
        Ok(Administrator { party, rights })
    }

    /// Nobody gives, takes or changes more than what is their own.
    pub(crate) fn check_covers(
        &self,
        administrator: &Administrator,
        rights: &Rights,
        call: &Call,
    ) -> Result<(), Refusal> {
        if administrator.rights.cover(rights) {
            return Ok(());
        }
        let rejection = Rejection::InsufficientScope {
            challenge: CHALLENGE,
        };
        self.note_denial(&rejection, administrator.party.clone(), call);
        Err(rejection.into())
    }

    /// The user, whom this administrator may change. Whoever has the most is out of reach for all others.
    pub(crate) async fn user_in_reach(
        &self,
        administrator: &Administrator,
        id: &str,
        call: &Call,
    ) -> Result<User, Refusal> {
        let user = self.store.user(id).await?.ok_or(Rejection::RouteNotFound)?;
        let held = Rights::held_by(&self.config, &user);
        self.check_covers(administrator, &held, call)?;
        Ok(user)
    }

    pub(crate) fn done_by(
        &self,
        administrator: &Administrator,
        action: Action,
        call: &Call,
    ) -> Event {
        self.event(call, action, Outcome::Success, administrator.party.clone())
    }
}
