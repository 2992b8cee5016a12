//! The table that the hostile suites fill in: what is sent, which answers are right, and what the upstream may have seen.
//!
//! Each case has a connection of its own. After its answer the gateway either closes or serves an honest request on the
//! same connection; either way an honest request comes last, and the upstream must have seen exactly what the case
//! allows and then that one. A request smuggled past the gateway would stand between the two, or take its place.

use portcullis_harness::{
    client::{Response, Socket},
    upstream::Received,
    wait::PATIENCE,
    wire::Ending,
};

use crate::stage::Stage;

/// In a list of statuses: the connection is closed without an answer.
pub(crate) const CLOSED: u16 = 0;

const HONEST: &str = "GET /open/honest HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// One row of a table.
pub(crate) struct Case {
    name: String,
    bytes: Vec<u8>,
    statuses: &'static [u16],
    allowed: Allowed,
    must_close: bool,
    may_break_off: bool,
    ends_sending: bool,
}

/// What the upstream may have received of it.
enum Allowed {
    Nothing,
    Exactly {
        target: String,
        body: Vec<u8>,
    },
    /// With status 200 one clean request, with any other status nothing.
    CleanIfPassed,
}

/// Answered with one of these statuses, and nothing of it reaches the upstream.
pub(crate) fn refused(
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    statuses: &'static [u16],
) -> Case {
    Case {
        name: name.into(),
        bytes: bytes.into(),
        statuses,
        allowed: Allowed::Nothing,
        must_close: false,
        may_break_off: false,
        ends_sending: false,
    }
}

/// Let through, so that the upstream receives exactly this, once.
pub(crate) fn passed(
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    target: &str,
    body: impl Into<Vec<u8>>,
) -> Case {
    let allowed = Allowed::Exactly {
        target: target.to_owned(),
        body: body.into(),
    };
    Case {
        allowed,
        ..refused(name, bytes, &[200])
    }
}

/// Either answer is right, as long as what reaches the upstream can be read in one way only.
pub(crate) fn clean(
    name: impl Into<String>,
    bytes: impl Into<Vec<u8>>,
    statuses: &'static [u16],
) -> Case {
    Case {
        allowed: Allowed::CleanIfPassed,
        ..refused(name, bytes, statuses)
    }
}

impl Case {
    /// Where the next request begins is in doubt, so there must not be one.
    pub(crate) fn and_closes(self) -> Self {
        Self {
            must_close: true,
            ..self
        }
    }

    /// The fault shows only after the head has gone to the upstream, which sees a request that ends too early.
    pub(crate) fn after_the_head(self) -> Self {
        Self {
            may_break_off: true,
            ..self
        }
    }

    /// The client says that nothing more comes.
    pub(crate) fn and_no_more(self) -> Self {
        Self {
            ends_sending: true,
            ..self
        }
    }
}

/// Runs all rows and fails with every one that went wrong.
pub(crate) fn check(stage: &Stage, cases: impl IntoIterator<Item = Case>) {
    let wrong: Vec<String> = cases
        .into_iter()
        .filter_map(|case| Some(format!("{}: {}", case.name, attempt(stage, &case).err()?)))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

fn attempt(stage: &Stage, case: &Case) -> Result<(), String> {
    stage.upstream.take_received();
    stage.upstream.take_broken_off();
    let mut socket =
        Socket::connect(stage.gateway.address()).map_err(|error| format!("{error:#}"))?;
    socket.send(&case.bytes);
    if case.ends_sending {
        socket.finish();
    }
    let status = status(socket.response())?;
    if !case.statuses.contains(&status) {
        return Err(format!(
            "answered with {status}, not with one of {:?}",
            case.statuses
        ));
    }
    follow_up(stage, case, socket, status)?;
    let mut received = stage.upstream.take_received();
    let last = received.pop();
    if last.as_ref().map(Received::target) != Some("/open/honest") {
        return Err(format!(
            "the honest request did not come last: {last:?}, before it {received:?}"
        ));
    }
    let broken_off = stage.upstream.take_broken_off();
    if !case.may_break_off && !broken_off.is_empty() {
        let text: Vec<_> = broken_off
            .iter()
            .map(|bytes| String::from_utf8_lossy(bytes))
            .collect();
        return Err(format!(
            "the upstream saw the beginning of a request: {text:?}"
        ));
    }
    check_received(case, status, &received)
}

fn status(response: Result<Response, Ending>) -> Result<u16, String> {
    match response {
        Ok(response) => Ok(response.status),
        Err(ending) if ending.is_close() => Ok(CLOSED),
        Err(ending) => Err(ending.to_string()),
    }
}

/// The connection closes, or serves an honest request; where it closes, another connection does.
fn follow_up(stage: &Stage, case: &Case, mut socket: Socket, status: u16) -> Result<(), String> {
    if status != CLOSED && !case.must_close && !case.ends_sending && socket.send(HONEST) {
        match socket.response() {
            Ok(response) if response.status == 200 => return Ok(()),
            Ok(response) => {
                return Err(format!(
                    "an honest request behind it got {}",
                    response.status
                ));
            }
            Err(ending) if ending.is_close() => {}
            Err(ending) => return Err(format!("an honest request behind it: {ending}")),
        }
    } else if !socket.closes_within(PATIENCE) {
        return Err("the connection stays open".to_owned());
    }
    let mut other =
        Socket::connect(stage.gateway.address()).map_err(|error| format!("{error:#}"))?;
    other.send(HONEST);
    match other.response() {
        Ok(response) if response.status == 200 => Ok(()),
        outcome => Err(format!("an honest request afterwards: {outcome:?}")),
    }
}

fn check_received(case: &Case, status: u16, received: &[Received]) -> Result<(), String> {
    for request in received {
        check_clean(request)?;
    }
    match (&case.allowed, received) {
        (Allowed::Nothing, []) => Ok(()),
        (Allowed::Exactly { target, body }, [one])
            if one.target() == target && one.body == *body =>
        {
            Ok(())
        }
        (Allowed::CleanIfPassed, [_]) if status == 200 => Ok(()),
        (Allowed::CleanIfPassed, []) if status != 200 => Ok(()),
        _ => Err(format!(
            "with status {status} the upstream received {received:#?}"
        )),
    }
}

/// One framing, one host, one canonical target, and nothing that two parsers could read differently.
fn check_clean(request: &Received) -> Result<(), String> {
    let head = &request.head;
    let text = String::from_utf8_lossy(&head.raw).into_owned();
    let dirty = |what: &str| Err(format!("the upstream received {what}: {text:?}"));
    let without_line_ends = text.replace("\r\n", "");
    if without_line_ends
        .bytes()
        .any(|byte| byte < b' ' && byte != b'\t' || byte == 0x7f)
    {
        return dirty("a control character");
    }
    let mut words = head.first_line.split(' ');
    let (_, target, version) = (words.next(), words.next().unwrap_or_default(), words.next());
    if !target.starts_with('/')
        || target.contains(['#', '\\'])
        || version != Some("HTTP/1.1")
        || words.next().is_some()
    {
        return dirty("a target or a version that is not canonical");
    }
    let is_token = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if !head.fields.iter().all(|(name, _)| is_token(name)) {
        return dirty("a field name that is none");
    }
    let count = |name: &str| head.fields_named(name).count();
    if count("host") != 1 || count("content-length") + count("transfer-encoding") > 1 {
        return dirty("more or less than one host, or two framings");
    }
    if ["upgrade", "proxy", "trailer", "http2-settings"]
        .iter()
        .any(|name| count(name) > 0)
    {
        return dirty("a field that must not travel on");
    }
    Ok(())
}
