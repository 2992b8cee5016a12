//! An HTTP/2 client that keeps its protocol: for what an honest client sees. For others there is [`crate::frames`].

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::watch,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};

use crate::wait::PATIENCE;

/// One connection over TLS. Its pings are answered and its windows kept while nobody asks anything of it.
pub struct Http2 {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    ended: watch::Receiver<Option<String>>,
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

/// A request whose body is not at its end, and the answer to it.
pub struct Open {
    pub body: SendStream<Bytes>,
    pub answer: ResponseFuture,
}

impl Answer {
    /// The value, where the field is there exactly once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().ok()?;
        values.next().is_none().then_some(value)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The code of a problem, empty where the answer is none.
    pub fn code(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let code = body.get("code").and_then(serde_json::Value::as_str);
        code.unwrap_or_default().to_owned()
    }
}

impl Http2 {
    /// `config` must offer `h2`; a server that does not take it is an error.
    pub fn connect(to: SocketAddr, name: &str, config: ClientConfig) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (requests, ended) = runtime.block_on(async {
            let socket = TcpStream::connect(to).await?;
            socket.set_nodelay(true)?;
            let name = ServerName::try_from(name.to_owned())?;
            let secured = TlsConnector::from(Arc::new(config))
                .connect(name, socket)
                .await?;
            let protocol = secured.get_ref().1.alpn_protocol();
            anyhow::ensure!(
                protocol == Some(b"h2".as_slice()),
                "the server speaks {protocol:?}"
            );
            let (requests, connection) = client::handshake(secured).await?;
            let (tell, ended) = watch::channel(None);
            tokio::spawn(async move {
                let end = connection.await;
                tell.send_replace(Some(
                    end.map_or_else(|error| error.to_string(), |()| String::new()),
                ));
            });
            anyhow::Ok((requests, ended))
        })?;
        Ok(Self {
            runtime,
            requests,
            ended,
        })
    }

    /// Sends a whole request and reads its whole answer.
    pub fn send(&mut self, request: Request<Bytes>) -> anyhow::Result<Answer> {
        let (head, body) = request.into_parts();
        let is_bodiless = body.is_empty();
        let mut open = self.open(Request::from_parts(head, ()), is_bodiless)?;
        if !is_bodiless {
            // Whoever is refused may have the whole answer before the body is out, and then no stream to send it on.
            drop(open.body.send_data(body, true));
        }
        self.answer(open)
    }

    pub fn get(&mut self, uri: &str) -> anyhow::Result<Answer> {
        self.send(Request::get(uri).body(Bytes::new())?)
    }

    /// Sends a head alone.
    pub fn open(&mut self, head: Request<()>, is_whole: bool) -> anyhow::Result<Open> {
        let ready = self.requests.clone().ready();
        let ready = self
            .runtime
            .block_on(async { timeout(PATIENCE, ready).await });
        self.requests = ready.context("no room for a stream")??;
        let (answer, body) = self.requests.send_request(head, is_whole)?;
        Ok(Open { body, answer })
    }

    pub fn answer(&self, open: Open) -> anyhow::Result<Answer> {
        // The body's end of the stream is held until the answer is there: dropping it would reset the stream.
        let Open { body, answer } = open;
        let answer = self.answer_of(answer);
        drop(body);
        answer
    }

    /// As [`Self::answer`], for whoever keeps the body's end.
    pub fn answer_of(&self, answer: ResponseFuture) -> anyhow::Result<Answer> {
        let whole = async {
            let (head, stream) = answer.await?.into_parts();
            let (body, trailers) = read(stream).await?;
            anyhow::Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body,
                trailers,
            })
        };
        let whole = self
            .runtime
            .block_on(async { timeout(PATIENCE, whole).await });
        whole.context("no answer in time")?
    }

    /// Why the connection ended, empty where it ended in peace; an error where it is still open.
    pub fn ended_within(&mut self, limit: Duration) -> anyhow::Result<String> {
        let ended = self.ended.wait_for(Option::is_some);
        let ended = self.runtime.block_on(async { timeout(limit, ended).await });
        let reason = ended.context("the connection is still open")??.clone();
        Ok(reason.unwrap_or_default())
    }
}

async fn read(mut stream: RecvStream) -> anyhow::Result<(Bytes, Option<HeaderMap>)> {
    let mut body = Vec::new();
    while let Some(piece) = stream.data().await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    Ok((body.into(), stream.trailers().await?))
}
