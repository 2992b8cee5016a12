//! Admission without a socket: the real checks in the real order, for measuring them alone.

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

/// A gateway that decides and never listens.
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
}

impl From<RequestHead> for RehearsedRequest {
    fn from(head: RequestHead) -> Self {
        Self(RequestHeader::from(head))
    }
}
