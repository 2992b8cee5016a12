//! The sessions of a user: those that go on, in pages, and their end, committed with its audit row and its revocation first, then
//! refused here, then answered.

use axum::{http::HeaderMap, response::Response};
use portcullis_audit::{Action, Event, Outcome, Party, PartyKind};
use portcullis_store::{OthersEnd, Session, SessionEnd, User};
use portcullis_tokens::Revocation;
use uuid::Uuid;

use crate::{
    answer::Refusal, cookie::Cookies, issue::party_of, page::Limit, request::Call,
    service::AuthService,
};

impl AuthService {
    /// A page of the sessions of this user that go on, and the id of its last where more follow.
    pub(crate) async fn sessions_of<const MAX: u32>(
        &self,
        user: &User,
        after: Option<Uuid>,
        limit: Limit<MAX>,
    ) -> Result<(Vec<Session>, Option<String>), Refusal> {
        let after = after.map(|sid| sid.to_string());
        let (now, rows) = (self.now(), limit.and_one());
        let found = self.sessions.of_user(&user.id, now, after.as_deref(), rows);
        let mut sessions = found.await?;
        // An end of all is written beside the user and not into each of them, of which those that it ended are the last.
        sessions.retain(|session| user.keeps(session));
        Ok(limit.cut(sessions, |session| session.sid.clone()))
    }

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
