//! Several Redis servers that make one store: watched by Sentinels, or a Cluster.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::{COMING_UP, Redis, ask};
use crate::{
    ports::free_port,
    supervise::{Service, Supervised},
    wait::{self, PATIENCE},
};

/// What the Sentinels call the servers that they watch.
const MASTER: &str = "main";

/// A server, its standby, and three Sentinels that put the standby in its place when it is gone.
pub struct Sentinels {
    pub master: Redis,
    pub standby: Redis,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    _server: Supervised,
    address: SocketAddr,
    _directory: TempDir,
}

impl Sentinels {
    pub fn start() -> anyhow::Result<Self> {
        let at_once = ["--repl-diskless-sync-delay", "0"];
        let master = Redis::start_on(free_port()?, &at_once)?;
        let port = master.address.port().to_string();
        let standby = Redis::start_on(
            free_port()?,
            &[
                "--replicaof",
                "127.0.0.1",
                &port,
                "--repl-ping-replica-period",
                "1",
            ],
        )?;
        let sentinels = (0..3).map(|_| Sentinel::start(&master));
        let store = Self {
            sentinels: sentinels.collect::<anyhow::Result<_>>()?,
            master,
            standby,
        };
        store.wait_until_all_know_all()?;
        Ok(store)
    }

    pub fn urls(&self) -> Vec<String> {
        let sentinels = self.sentinels.iter();
        sentinels
            .map(|sentinel| format!("redis+sentinel://{}/{MASTER}", sentinel.address))
            .collect()
    }

    /// Until most Sentinels name the standby as the master.
    pub fn wait_for_failover(&self) -> anyhow::Result<()> {
        let port = self.standby.address.port().to_string();
        let names_it = |sentinel: &&Sentinel| {
            let command = ["SENTINEL", "get-master-addr-by-name", MASTER];
            ask(sentinel.address, &command).is_ok_and(|answer| answer.contains(&port))
        };
        // One that is not agreed on in time is tried again after twenty seconds.
        wait::until("a failover", 3 * PATIENCE, || {
            (self.sentinels.iter().filter(names_it).count() >= 2).then_some(())
        })
    }

    fn wait_until_all_know_all(&self) -> anyhow::Result<()> {
        let knows_all = |sentinel: &Sentinel| {
            let told = ask(sentinel.address, &["SENTINEL", "master", MASTER]).unwrap_or_default();
            let number = |field: &str| {
                let rest = told.split(field).nth(1).unwrap_or_default();
                rest.lines().nth(2).unwrap_or_default().to_owned()
            };
            number("num-slaves") == "1" && number("num-other-sentinels") == "2"
        };
        wait::until("Sentinels that know each other", PATIENCE, || {
            self.sentinels.iter().all(knows_all).then_some(())
        })?;
        wait::until("a standby that follows", PATIENCE, || {
            let told = self.standby.ask(&["INFO", "replication"]).ok()?;
            told.contains("master_link_status:up").then_some(())
        })
    }
}

impl Sentinel {
    /// A machine that holds up the master for a moment has not lost it.
    fn start(master: &Redis) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("pc-sentinel-").tempdir()?;
        let port = free_port()?;
        let watched = master.address.port();
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {watched} 2\n\
             sentinel down-after-milliseconds {MASTER} 5000\nsentinel failover-timeout {MASTER} 10000\n"
        );
        // It writes to its own file what it finds out.
        let file = directory.path().join("sentinel.conf");
        fs::write(&file, configuration)?;
        let server = Supervised::start(&Service {
            program: Path::new("redis-server"),
            arguments: vec![file.as_os_str(), OsStr::new("--sentinel")],
            stop_signal: "TERM",
            directory: directory.path(),
            identity: None,
        })?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        wait::until("an answer of a Sentinel", COMING_UP, || {
            super::ping(address).ok()
        })?;
        // One that was held up for two seconds would leave things as they are for thirty.
        ask(address, &["SENTINEL", "DEBUG", "tilt-trigger", "60000"])?;
        Ok(Self {
            _server: server,
            address,
            _directory: directory,
        })
    }
}

/// Three masters with a third of the keys each, and no standby.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub fn start() -> anyhow::Result<Self> {
        let nodes = (0..3).map(|_| Self::node());
        let nodes: Vec<Redis> = nodes.collect::<anyhow::Result<_>>()?;
        let cluster = Self { nodes };
        cluster.join()?;
        Ok(cluster)
    }

    pub fn urls(&self) -> Vec<String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| format!("redis+cluster://{}", node.address))
            .collect()
    }

    /// Its second port would be ten thousand above the first, where the kernel takes ports for connections.
    fn node() -> anyhow::Result<Redis> {
        let between_nodes = free_port()?.to_string();
        let more = ["--cluster-enabled", "yes", "--cluster-port", &between_nodes];
        Redis::start_on(
            free_port()?,
            &[&more[..], &["--cluster-node-timeout", "2000"]].concat(),
        )
    }

    fn join(&self) -> anyhow::Result<()> {
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create", "--cluster-yes"]);
        command.args(self.nodes.iter().map(|node| node.address.to_string()));
        let made = command.output().context("running redis-cli")?;
        let told = String::from_utf8_lossy(&made.stdout);
        ensure!(made.status.success(), "redis-cli --cluster create: {told}");
        wait::until("a Cluster that is whole", PATIENCE, || {
            let is_whole = |node: &Redis| {
                let told = node.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
                told.contains("cluster_state:ok") && told.contains("cluster_known_nodes:3")
            };
            self.nodes.iter().all(is_whole).then_some(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_takes_the_place_of_a_master_that_is_gone() {
        let store = Sentinels::start().unwrap();
        store.master.kill().unwrap();
        store.wait_for_failover().unwrap();
        wait::until("a standby that is master", PATIENCE, || {
            let told = store.standby.ask(&["ROLE"]).unwrap();
            told.contains("master").then_some(())
        })
        .unwrap();
    }

    #[test]
    fn a_cluster_sends_a_client_to_the_node_that_has_the_key() {
        let cluster = Cluster::start().unwrap();
        let answers = cluster
            .nodes
            .iter()
            .map(|node| node.ask(&["GET", "key"]).unwrap());
        let moved = answers
            .filter(|answer| answer.starts_with("-MOVED"))
            .count();
        assert_eq!(moved, 2);
    }
}
