//! Ending sessions: committed with its audit row and its revocation first, then refused here, then answered.

use axum::{http::HeaderMap, response::Response};
use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use portcullis_store::{OthersEnd, SessionEnd, User};
use portcullis_tokens::Revocation;

use crate::{
    answer::Refusal, cookie::Cookies, issue::party_of, request::Call, service::AuthService,
};

impl AuthService {
    /// Whether it was live until now. Its access tokens are refused here in any case.
    pub(crate) async fn end_session(
        &self,
        user: &User,
        sid: &str,
        call: &Call,
    ) -> Result<bool, Refusal> {
        let until = self.last_expiry();
        let end = SessionEnd {
            sid,
            user_id: &user.id,
            revocation_until: until,
            event: &self.end_event(user, sid, call),
        };
        let was_live = self.sessions.end(&end).await?;
        self.revocations
            .revoke(Revocation::Session(sid.to_owned()), until);
        Ok(was_live)
    }

    pub(crate) async fn end_other_sessions(
        &self,
        user: &User,
        kept: &str,
        call: &Call,
    ) -> Result<(), Refusal> {
        let until = self.last_expiry();
        let end = OthersEnd {
            user_id: &user.id,
            kept,
            at: self.now(),
            revocation_until: until,
            event: &|sid: &str| self.end_event(user, sid, call).because("others"),
        };
        for sid in self.sessions.end_others(&end).await? {
            self.revocations.revoke(Revocation::Session(sid), until);
        }
        Ok(())
    }

    pub(crate) async fn end_all_sessions(&self, user: &User, call: &Call) -> Result<(), Refusal> {
        let until = self.last_expiry();
        let event = self
            .own_event(Action::SessionEnded, user, call)
            .because("all");
        let user = self.store.end_all_sessions(&user.id, until, &event).await?;
        self.outdate(&user, until);
        Ok(())
    }

    pub(crate) fn end_event(&self, user: &User, sid: &str, call: &Call) -> Event {
        self.event(call, Action::SessionEnded, Outcome::Success, party_of(user))
            .on(Party::new(PartyKind::Session, sid))
    }

    /// For what sets the cookie or lives by it; without cookies there is nothing that a page could misuse.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match &self.cookies {
            Some(cookies) => cookies.check_origin(headers),
            None => Ok(()),
        }
    }

    /// Where cookies are set, the answer takes ours away.
    pub(crate) fn without_cookie(&self, mut response: Response) -> Response {
        // One that cannot be written was never set.
        if let Some(Ok(cookie)) = self.cookies.as_ref().map(Cookies::remove) {
            cookie.set(&mut response);
        }
        response
    }
}
