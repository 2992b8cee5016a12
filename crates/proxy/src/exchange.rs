//! One request with its response: what the hooks of `lifecycle.rs` hand on to each other.

use std::{
    mem,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderName, HeaderValue, StatusCode, Version, header};
use pingora::{Error, ErrorType, http::RequestHeader, proxy::Session};
use portcullis_config::shadow::Check;
use portcullis_policy::{
    balance,
    client_address::ClientAddress,
    clock::Moment,
    rejection::{Malformation, Rejection},
    traces::TraceContext,
};
use portcullis_tokens::Principal;
use smallvec::SmallVec;

use crate::{
    admission::Admitted,
    attempt::Attempt,
    connection::{self, Connection},
    gateway::Gateway,
    ids,
    lasting::Cut,
    retry::Leave,
    snapshot::{Route, Snapshot},
    tunnel::Tunnel,
    upstream::Upstream,
};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Lives from the arrival of a request to its single end in `observe.rs`.
///
/// Pingora makes it before anything is known, hence the options. Everything that must be given back, permits and
/// counts, hangs in here: a client that leaves drops the exchange, and with it gives them back.
pub(crate) struct Exchange {
    /// The configuration this request began with. A reload swaps the gateway's snapshot, never a request's.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) began: Moment,
    pub(crate) id: HeaderValue,
    pub(crate) client: ClientAddress,
    /// What was wrong with the head on the wire, before Pingora repaired it.
    pub(crate) fault: Option<Malformation>,
    pub(crate) progress: Progress,
    /// Set once, by admission.
    pub(crate) admitted: Option<Admitted>,
    pub(crate) attempts: u32,
    /// Heads of answers, interim ones included, in the current attempt.
    pub(crate) heads: u32,
    /// Of an answer that was whole before it was written, in an exchange that was closed with it.
    pub(crate) answered: Option<StatusCode>,
    /// For the next attempt, where an answer was given up for it.
    pub(crate) leave: Option<Leave>,
    /// Replaced on each attempt.
    pub(crate) attempt: Option<Attempt>,
    /// Where a WebSocket is asked for; replaced on each attempt.
    pub(crate) tunnel: Option<Arc<Tunnel>>,
    /// When the head of an answer came that has no end of its own.
    pub(crate) lasts_since: Option<Moment>,
    /// Why a stream was broken off. A tunnel keeps its own.
    pub(crate) cut: Option<Cut>,
    /// When the upstream was first asked, and when it had answered: what lies between is not our time.
    pub(crate) asked_at: Option<Moment>,
    pub(crate) answered_at: Option<Moment>,
    pub(crate) body_received: u64,
    /// The span that the upstream was told to be called from, of the last attempt.
    pub(crate) call_span: u64,
    /// Why the gateway answers, or answered, for itself.
    pub(crate) rejection: Option<Rejection>,
    is_closed: bool,
    connection: Option<Arc<Connection>>,
    _in_flight: InFlight,
}

/// How far admission came; kept of refused requests as well, for the log, the metrics and the audit.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) principal: Option<Arc<Principal>>,
    /// Codes of what shadowed checks would have refused, each once.
    pub(crate) would_reject: SmallVec<[&'static str; 2]>,
}

impl Progress {
    pub(crate) fn reached<'a>(&mut self, route: &'a Arc<Route>) -> &'a Arc<Route> {
        self.route = Some(Arc::clone(route));
        route
    }

    pub(crate) fn identified(&mut self, principal: Option<&Arc<Principal>>) {
        self.principal = principal.cloned();
    }

    /// Past a check: with what it gave, or with nothing where it refused and the route only watches it.
    pub(crate) fn past<T>(
        &mut self,
        check: Check,
        verdict: Result<T, Rejection>,
    ) -> Result<Option<T>, Rejection> {
        match verdict {
            Ok(passed) => Ok(Some(passed)),
            Err(refused) if self.shadows(check) => {
                self.let_off(&refused);
                Ok(None)
            }
            Err(refused) => Err(refused),
        }
    }

    /// Of a body, as declared or as received so far.
    pub(crate) fn check_body(&mut self, length: u64) -> Result<(), Rejection> {
        let route = self.route.as_ref();
        let watched = route.and_then(|route| route.watched_body_limit);
        if length > route.map_or(0, |route| route.body_limit) {
            return Err(Rejection::BodyTooLarge);
        }
        if watched.is_some_and(|limit| length > limit) {
            self.let_off(&Rejection::BodyTooLarge);
        }
        Ok(())
    }

    /// Notes a refusal that does not bind.
    pub(crate) fn let_off(&mut self, refused: &Rejection) {
        if !self.would_reject.contains(&refused.code()) {
            self.would_reject.push(refused.code());
        }
    }

    fn shadows(&self, check: Check) -> bool {
        let route = self.route.as_ref();
        route.is_some_and(|route| route.shadow.contains(&check))
    }
}

impl Exchange {
    pub(crate) fn open(gateway: &Gateway) -> Self {
        // Unknown until the request has arrived; nothing asks before.
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            snapshot: gateway.snapshot.load_full(),
            began: gateway.now(),
            id: gateway.ids.next(),
            client: ClientAddress {
                ip: nowhere,
                via_trusted_proxy: false,
            },
            fault: None,
            progress: Progress::default(),
            admitted: None,
            attempts: 0,
            heads: 0,
            answered: None,
            is_closed: false,
            leave: None,
            attempt: None,
            tunnel: None,
            lasts_since: None,
            cut: None,
            asked_at: None,
            answered_at: None,
            body_received: 0,
            call_span: 0,
            rejection: None,
            connection: connection::current(),
            _in_flight: InFlight::new(&gateway.in_flight),
        }
    }

    /// Takes from the request what every later phase relies on: whose it is, and by which name.
    pub(crate) fn arrive(&mut self, session: &mut Session) {
        name_host(session);
        let is_chunked = session
            .req_header()
            .headers
            .contains_key(header::TRANSFER_ENCODING);
        self.fault = self
            .connection
            .as_ref()
            .and_then(|connection| connection.request_began(is_chunked));
        let idle = self.snapshot.server.limits.idle_timeout;
        session.set_read_timeout(Some(idle));
        session.set_write_timeout(Some(idle));
        let headers = &session.req_header().headers;
        let peer = self
            .connection
            .as_ref()
            .and_then(|connection| connection.peer)
            .unwrap_or(self.client.ip);
        self.client = self.snapshot.trusted_proxies.client_address(peer, headers);
        if self.client.via_trusted_proxy {
            self.id = ids::inbound(headers).unwrap_or_else(|| self.id.clone());
        }
    }

    /// The client's address as headers tell it.
    pub(crate) fn client_value(&self) -> HeaderValue {
        let connection = self.connection.as_ref();
        let is_peer = |connection: &&Arc<Connection>| connection.peer == Some(self.client.ip);
        let known = connection
            .filter(is_peer)
            .and_then(|connection| connection.peer_value.clone());
        known.unwrap_or_else(|| {
            HeaderValue::try_from(self.client.ip.to_string())
                .expect("an address is digits and points")
        })
    }

    /// Where an admitted request goes.
    pub(crate) fn upstream(&self) -> Option<&Arc<Upstream>> {
        let admitted = self.admitted.as_ref()?;
        Some(&admitted.route().upstream)
    }

    /// What a choice among endpoints may go by.
    pub(crate) fn hashed_by<'a>(&'a self, request: &'a RequestHeader) -> balance::Caller<'a> {
        let principal = self.admitted.as_ref().and_then(Admitted::principal);
        balance::Caller {
            headers: &request.headers,
            address: self.client.ip,
            subject: principal.map(|principal| principal.subject()),
        }
    }

    /// How the client reached us, for all that we can see.
    pub(crate) fn scheme(&self) -> &'static str {
        match &self.connection {
            Some(connection) if connection.is_encrypted => "https",
            Some(_) | None => "http",
        }
    }

    /// The admission of a request that asks for a tunnel and may have one.
    pub(crate) fn opens_tunnel(&self) -> Option<&Admitted> {
        self.admitted
            .as_ref()
            .filter(|admitted| admitted.opens_tunnel())
    }

    /// From here on the route's timeout does not count.
    pub(crate) fn begin_to_last(&mut self, now: Moment) {
        self.lasts_since = Some(now);
    }

    pub(crate) fn lasts(&self) -> bool {
        self.lasts_since.is_some()
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.as_ref().is_some_and(|tunnel| tunnel.is_open())
    }

    /// The upstream has said all of an ordinary answer, to a handshake perhaps.
    pub(crate) fn end_upstreams_side(&self) {
        if let Some(tunnel) = &self.tunnel {
            tunnel.decline();
        }
    }

    /// Why the gateway ended what would have gone on.
    pub(crate) fn cut(&self) -> Option<Cut> {
        let of_tunnel = || self.tunnel.as_ref().and_then(|tunnel| tunnel.cut());
        self.cut.or_else(of_tunnel)
    }

    /// What is left of the time that the route allows for the whole request, or for what goes on after it.
    pub(crate) fn remaining(&self, now: Moment) -> Duration {
        let Some(admitted) = &self.admitted else {
            return Duration::ZERO;
        };
        let allowed = if self.lasts() {
            admitted.route().max_connection_life
        } else {
            admitted.route().timeout
        };
        allowed.saturating_sub(now.since_start.saturating_sub(self.began.since_start))
    }

    /// Which trace this request belongs to; `None` where it has no name that a trace may have.
    pub(crate) fn trace(&self, request: &RequestHeader) -> Option<TraceContext> {
        let sent = request.headers.get(&TRACEPARENT);
        TraceContext::of(sent.map(HeaderValue::as_bytes), self.id.as_bytes())
    }

    /// The error that ends the request with `rejection`, from a phase that cannot answer by itself.
    pub(crate) fn give_up(&mut self, rejection: Rejection) -> Box<Error> {
        let error = Error::explain(
            ErrorType::HTTPStatus(rejection.status().as_u16()),
            rejection.code(),
        );
        self.rejection = Some(rejection);
        error
    }

    /// What was wrong with a body that was being read, where that is what ended the request.
    pub(crate) fn fault_in_body(&self) -> Option<Rejection> {
        let fault = self.connection.as_ref()?.take_fault()?;
        Some(Rejection::Malformed(fault))
    }

    /// The answer is whole and the body is not. In HTTP/2 whoever serves the stream has to end the wait for it.
    pub(crate) fn owes_body(&self) {
        if let Some(connection) = &self.connection {
            connection.note_owed_body();
        }
    }

    /// The next bytes on this connection begin another request. `false` where the exchange is closed already.
    pub(crate) fn close(&mut self, abandoned: bool) -> bool {
        if let Some(connection) = &self.connection {
            connection.request_ended(abandoned);
        }
        !mem::replace(&mut self.is_closed, true)
    }
}

/// HTTP/2 names the host in a field of its own (RFC 9113 section 8.3.1). Written where HTTP/1 has it, so that no later
/// phase has to know two places; where a client sends both, hygiene compares them.
fn name_host(session: &mut Session) {
    let request = session.req_header_mut();
    if request.version != Version::HTTP_2 || request.headers.contains_key(header::HOST) {
        return;
    }
    let host = request
        .uri
        .authority()
        .map(|authority| authority.as_str().to_owned());
    if let Some(host) = host {
        // An authority is always a value; were it none, the request would have no host and be refused for it.
        request.insert_header(header::HOST, host).ok();
    }
}

/// Counts one up while it lives.
pub(crate) struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Relaxed);
        Self(Arc::clone(count))
    }

    /// `None` where the count stands at `most` already.
    pub(crate) fn within(count: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let taken = count.fetch_update(Relaxed, Relaxed, |now| (now < most).then_some(now + 1));
        taken.ok().map(|_| Self(Arc::clone(count)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
