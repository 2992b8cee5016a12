//! Who administers: a user or a program with a token of the resource `portcullis`, and what it may give to others.
//!
//! An endpoint that names an [`Administrator`] among its arguments is reached by nobody else, and all that it does for one
//! goes by what that one may.
//!
//! Rights are looked at before the change and not in its transaction. What changes in between, a role that is widened while
//! it is granted, ends as if it had changed a moment later, and is then the doing of whoever may widen it. Only a password,
//! which stays known to who set it, is bound to the user as it was looked at.

use std::{marker::PhantomData, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use portcullis_audit::{Action, Event, Outcome, Party};
use portcullis_policy::rejection::Rejection;
use portcullis_store::{Client, Grant, RoleGrant, User};
use uuid::Uuid;

use crate::{
    admin_scope::{self, AdminScope, CHALLENGE, ClientsWrite, UsersWrite},
    answer::Refusal,
    caller::Holder,
    request::Call,
    rights::{Rights, gives},
    service::AuthService,
};

/// Whoever asks, with a token that has the scope `S`.
pub(crate) struct Administrator<S> {
    pub(crate) service: Arc<AuthService>,
    pub(crate) call: Call,
    pub(crate) party: Party,
    /// What it has itself, on all resources.
    rights: Rights,
    scope: PhantomData<S>,
}

impl<S: AdminScope> FromRequestParts<Arc<AuthService>> for Administrator<S> {
    type Rejection = Refusal;

    async fn from_request_parts(
        parts: &mut Parts,
        service: &Arc<AuthService>,
    ) -> Result<Self, Refusal> {
        Self::of(Arc::clone(service), &parts.headers).await
    }
}

impl<S: AdminScope> Administrator<S> {
    pub(crate) async fn of(
        service: Arc<AuthService>,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        let call = Call::of(headers);
        let holder = service.holder(headers).await.inspect_err(|refusal| {
            service.note_denial(&refusal.rejection, Party::anonymous(), &call);
        })?;
        let party = holder.party();
        if let Err(rejection) = admin_scope::check::<S>(holder.principal()) {
            service.note_denial(&rejection, party, &call);
            return Err(rejection.into());
        }
        let rights = match &holder {
            Holder::User(caller) => Rights::to_give(&service.config, &caller.user),
            Holder::Client(_, client) => Rights::of_scopes(&client.scopes),
        };
        Ok(Self {
            service,
            call,
            party,
            rights,
            scope: PhantomData,
        })
    }
}

impl<S> Administrator<S> {
    /// Nobody gives, takes or changes more than what is their own.
    pub(crate) fn check_covers(&self, rights: &Rights) -> Result<(), Refusal> {
        if self.rights.cover(rights) {
            return Ok(());
        }
        let rejection = Rejection::InsufficientScope {
            challenge: CHALLENGE,
        };
        self.service
            .note_denial(&rejection, self.party.clone(), &self.call);
        Err(rejection.into())
    }

    /// What the log is told of something that succeeds.
    pub(crate) fn event(&self, action: Action) -> Event {
        let (call, actor) = (&self.call, self.party.clone());
        self.service.event(call, action, Outcome::Success, actor)
    }
}

impl Administrator<UsersWrite> {
    /// The user, whom this administrator may change. Whoever has the most is out of reach for all others.
    pub(crate) async fn user_in_reach(&self, id: Uuid) -> Result<User, Refusal> {
        let user = self.service.user_named(id).await?;
        self.check_covers(&Rights::held_by(&self.service.config, &user))?;
        Ok(user)
    }

    /// As [`Self::user_in_reach`], for what would be a slip of the hand or a thief's work where it is done to oneself.
    pub(crate) async fn other_in_reach(&self, id: Uuid) -> Result<User, Refusal> {
        if id.to_string() == self.party.id {
            return Err(Rejection::Conflict.into());
        }
        self.user_in_reach(id).await
    }

    /// Whether the role is this administrator's to give. `None` if there is no such role.
    pub(crate) async fn check_may_give(&self, grant: RoleGrant<'_>) -> Result<Option<()>, Refusal> {
        match self.service.rights_of_grant(grant).await? {
            Some(rights) => self.check_covers(&rights).map(Some),
            None => Ok(None),
        }
    }
}

impl Administrator<ClientsWrite> {
    /// A client with more scopes than the administrator has would be a way to them.
    pub(crate) async fn client_in_reach(&self, id: Uuid) -> Result<Client, Refusal> {
        let client = self.service.client_named(id).await?;
        self.check_covers(&Rights::of_scopes(&client.scopes))?;
        Ok(client)
    }
}

impl AuthService {
    /// What a role gives now; `None` if there is no such role.
    async fn rights_of_grant(&self, grant: RoleGrant<'_>) -> Result<Option<Rights>, Refusal> {
        let kept = self.store.role(grant.role).await?;
        let grant = Grant {
            role: grant.role.to_owned(),
            tenant: grant.tenant.map(str::to_owned),
            kept_scopes: kept.map(|role| role.scopes),
        };
        Ok(gives(&self.config, &grant).map(Rights::from))
    }

    pub(crate) async fn user_named(&self, id: Uuid) -> Result<User, Refusal> {
        let user = self.store.user(&id.to_string()).await?;
        user.ok_or_else(|| Rejection::RouteNotFound.into())
    }

    pub(crate) async fn client_named(&self, id: Uuid) -> Result<Client, Refusal> {
        let client = self.store.client(&id.to_string()).await?;
        client.ok_or_else(|| Rejection::RouteNotFound.into())
    }
}
