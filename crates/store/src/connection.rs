//! A connection to Redis, whichever way it is set up, and a script called on it.
//!
//! Nothing here reconnects: whoever keeps a connection knows best what a new one has to show before it is used.

use std::{num::ParseIntError, time::Duration};

use futures_util::future::select_ok;
use portcullis_config::storage::Redis;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue,
    IntoConnectionInfo, Pipeline, RedisError, RedisFuture, Script, ServerErrorKind, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cmd,
    sentinel::{Sentinel, SentinelNodeConnectionInfo},
};
use secrecy::{ExposeSecret, SecretString};

/// Between two looks for a store that is away.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// One look, from the names of the hosts to the answer of a script.
pub(crate) const LOOK: Duration = Duration::from_secs(2);

/// One host. Of several, those that are gone say nothing at all, and the look has to outlast them.
const ANSWER: Duration = Duration::from_millis(500);

/// Why the store did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error("it did not answer in time")]
    TooSlow,
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("its answer makes no sense")]
    Garbled,
}

impl From<tokio::time::error::Elapsed> for Unanswered {
    fn from(_: tokio::time::error::Elapsed) -> Self {
        Self::TooSlow
    }
}

impl From<ParseIntError> for Unanswered {
    fn from(_: ParseIntError) -> Self {
        Self::Garbled
    }
}

#[derive(Clone)]
pub(crate) enum Connection {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(cmd),
            Self::Cluster(connection) => connection.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}

impl Connection {
    /// To one server, to the master that the Sentinels name now, or to a whole Cluster.
    pub(crate) async fn open(redis: &Redis) -> Result<Self, Unanswered> {
        let client = match redis {
            Redis::Single(url) => Client::open(url.expose_secret())?,
            Redis::Sentinel { sentinels, master } => master_of(sentinels, master).await?,
            Redis::Cluster(seeds) => return cluster(seeds).await,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER))
            .set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(Self::Server(connection.await?))
    }
}

async fn cluster(seeds: &[SecretString]) -> Result<Connection, Unanswered> {
    let seeds = seeds.iter().map(ExposeSecret::expose_secret);
    let client = ClusterClient::builder(seeds)
        .connection_timeout(ANSWER)
        .response_timeout(ANSWER)
        .retries(1)
        .build()?;
    Ok(Connection::Cluster(client.get_async_connection().await?))
}

/// Asks the Sentinels, each time: whoever was the master may be none any more. All at once, because the first of the list
/// may have gone with the host of the old master.
async fn master_of(sentinels: &[SecretString], master: &str) -> Result<Client, Unanswered> {
    let mut addresses = Vec::new();
    let mut login = SentinelNodeConnectionInfo::default();
    for sentinel in sentinels {
        let info = sentinel.expose_secret().into_connection_info()?;
        login = login.set_redis_connection_info(info.redis_settings().clone());
        if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
            login = login.set_tls_mode(TlsMode::Secure);
        }
        addresses.push(info.addr().clone());
    }
    let login = &login;
    let asked = addresses.into_iter().map(|address| {
        Box::pin(async move {
            let mut sentinel = Sentinel::build(vec![address])?;
            sentinel.async_master_for(master, Some(login)).await
        })
    });
    let (client, _others) = select_ok(asked).await?;
    Ok(client)
}

/// Parts of the keys that lie on one node each.
pub(crate) fn partitions(redis: &Redis) -> u16 {
    match redis {
        Redis::Single(_) | Redis::Sentinel { .. } => 1,
        Redis::Cluster(_) => 64,
    }
}

/// A script, and the text that its hash stands for.
pub(crate) struct ScriptText {
    script: Script,
    text: String,
}

impl ScriptText {
    pub(crate) fn new(text: String) -> Self {
        Self {
            script: Script::new(&text),
            text,
        }
    }

    pub(crate) fn with(&self, keys: &[String], arguments: &[String]) -> Call {
        let with = |mut command: Cmd, which: &str| {
            command.arg(which).arg(keys.len()).arg(keys).arg(arguments);
            command
        };
        Call {
            by_hash: with(cmd("EVALSHA"), self.script.get_hash()),
            by_text: with(cmd("EVAL"), &self.text),
        }
    }
}

/// A script with what it is given: first by its hash, and with its text where the server does not know that.
pub(crate) struct Call {
    by_hash: Cmd,
    by_text: Cmd,
}

impl Call {
    pub(crate) async fn on<R: FromRedisValue>(
        &self,
        connection: &mut impl ConnectionLike,
    ) -> Result<R, Unanswered> {
        match self.by_hash.query_async(connection).await {
            Err(error) if is_unknown(&error) => Ok(self.by_text.query_async(connection).await?),
            reply => Ok(reply?),
        }
    }
}

fn is_unknown(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
