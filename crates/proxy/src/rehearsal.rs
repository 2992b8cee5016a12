//! Admission without a socket: the real checks in the real order, for measuring them alone, and for asking what they
//! would do with one request and why.

mod account;

use std::net::IpAddr;

use http::request::Parts as RequestHead;
use pingora::http::RequestHeader;
use portcullis_policy::client_address::ClientAddress;

use crate::{
    admission::{self, Arrival},
    answer::Stop,
    exchange::Progress,
    gateway::Gateway,
    serve::{Parts, StartError},
};

pub use account::{Account, Outcome, Step, StepAccount, Verdict};

/// A gateway that decides and never listens. It knows no calls but those that were rehearsed: its limits are full and
/// its breakers closed.
pub struct Rehearsal(Gateway);

/// A request to be decided on, any number of times.
pub struct RehearsedRequest(RequestHeader);

impl Rehearsal {
    pub fn new(parts: Parts<'_>) -> Result<Self, StartError> {
        Gateway::assemble(parts).map(Self)
    }

    /// Runs every check, and gives back at once what the last one holds.
    ///
    /// # Errors
    /// The code of the rejection.
    pub async fn admit(
        &self,
        request: &RehearsedRequest,
        client: IpAddr,
    ) -> Result<(), &'static str> {
        let client = ClientAddress {
            ip: client,
            via_trusted_proxy: false,
        };
        let arrival = Arrival::new(&request.0, client, self.0.now());
        let snapshot = self.0.snapshot.load_full();
        let mut progress = Progress::default();
        let decided = admission::admit(&self.0, &snapshot, &arrival, &mut progress).await;
        match decided {
            Ok(_) | Err(Stop::Answered(_)) => Ok(()),
            Err(Stop::Refused(rejection)) => Err(rejection.code()),
        }
    }

    /// As [`Self::admit`] for a request that came from `peer`, and tells of every step.
    pub async fn explain(&self, request: &RehearsedRequest, peer: IpAddr) -> Account {
        let snapshot = self.0.snapshot.load_full();
        let headers = &request.0.headers;
        let client = snapshot.trusted_proxies.client_address(peer, headers);
        let arrival = Arrival::new(&request.0, client, self.0.now());
        let mut progress = Progress::default();
        let decided = admission::admit(&self.0, &snapshot, &arrival, &mut progress).await;
        Account::of(client.ip, decided, progress)
    }
}

impl From<RequestHead> for RehearsedRequest {
    fn from(head: RequestHead) -> Self {
        Self(RequestHeader::from(head))
    }
}
