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
            follows(&self.standby, &self.master).then_some(())
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

/// Three masters with a third of the keys each. The first may have a standby.
pub struct Cluster {
    pub nodes: Vec<Redis>,
    standby: Option<Redis>,
}

impl Cluster {
    /// Without a standby.
    pub fn start() -> anyhow::Result<Self> {
        let nodes = (0..3).map(|_| Self::node(&[]));
        let cluster = Self {
            nodes: nodes.collect::<anyhow::Result<_>>()?,
            standby: None,
        };
        let nodes: Vec<String> = cluster.nodes.iter().map(address_of).collect();
        let nodes: Vec<&str> = nodes.iter().map(String::as_str).collect();
        command(&[&["create", "--cluster-yes"], &nodes[..]].concat())?;
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    /// The standby of the first node takes its place when [`Cluster::allow_failover`] was called, and not because a loaded
    /// machine was slow.
    pub fn start_with_standby() -> anyhow::Result<Self> {
        let mut cluster = Self::start()?;
        let standby = Self::node(&[
            "--cluster-replica-no-failover",
            "yes",
            "--cluster-replica-validity-factor",
            "0",
        ])?;
        let first = cluster.first();
        let id = first.ask(&["CLUSTER", "MYID"])?;
        let id = id.lines().nth(1).context("a node has an id")?;
        let (joins, at) = (address_of(&standby), address_of(first));
        command(&[
            "add-node",
            &joins,
            &at,
            "--cluster-slave",
            "--cluster-master-id",
            id,
        ])?;
        wait::until("a standby that follows", PATIENCE, || {
            follows(&standby, first).then_some(())
        })?;
        cluster.standby = Some(standby);
        cluster.wait_until_whole()?;
        Ok(cluster)
    }

    pub fn first(&self) -> &Redis {
        self.nodes.first().expect("there are three")
    }

    pub fn standby(&self) -> &Redis {
        self.standby.as_ref().expect("it was started with one")
    }

    pub fn urls(&self) -> Vec<String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| format!("redis+cluster://{}", node.address))
            .collect()
    }

    /// From now on the standby may be elected.
    pub fn allow_failover(&self) -> anyhow::Result<()> {
        let allow = ["CONFIG", "SET", "cluster-replica-no-failover", "no"];
        self.standby().ask(&allow).map(drop)
    }

    /// Until the standby has the place of the first node, and another node knows.
    pub fn wait_for_failover(&self) -> anyhow::Result<()> {
        let is_elected = || {
            let role = self.standby().ask(&["ROLE"]).unwrap_or_default();
            role.contains("master") && self.others().iter().all(is_whole)
        };
        wait::until("a failover", PATIENCE, || is_elected().then_some(()))
    }

    /// Makes the first node, which follows the standby by now or will, the master again.
    pub fn fail_back(&self) -> anyhow::Result<()> {
        wait::until("a master that is master again", PATIENCE, || {
            let role = self.first().ask(&["ROLE"]).ok()?;
            // It thinks that it is until it has heard of the other.
            let is_again = role.contains("master") && follows(self.standby(), self.first());
            if !is_again {
                self.first().ask(&["CLUSTER", "FAILOVER"]).ok()?;
            }
            is_again.then_some(())
        })
    }

    /// Those that have no standby.
    pub fn others(&self) -> &[Redis] {
        self.nodes.get(1..).unwrap_or_default()
    }

    /// Its second port would be ten thousand above the first, where the kernel takes ports for connections.
    fn node(more: &[&str]) -> anyhow::Result<Redis> {
        let between_nodes = free_port()?.to_string();
        let cluster = ["--cluster-enabled", "yes", "--cluster-port", &between_nodes];
        let pace = [
            "--cluster-node-timeout",
            "2000",
            "--repl-diskless-sync-delay",
            "0",
        ];
        Redis::start_on(free_port()?, &[&cluster[..], &pace, more].concat())
    }

    fn wait_until_whole(&self) -> anyhow::Result<()> {
        let known = self.nodes.len() + usize::from(self.standby.is_some());
        let known = format!("cluster_known_nodes:{known}");
        let knows_all = |node: &Redis| {
            let told = node.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
            told.contains("cluster_state:ok") && told.contains(&known)
        };
        let all = self.nodes.iter().chain(&self.standby);
        wait::until("a Cluster that is whole", PATIENCE, || {
            all.clone().all(knows_all).then_some(())
        })
    }
}

fn follows(standby: &Redis, master: &Redis) -> bool {
    let told = standby.ask(&["INFO", "replication"]).unwrap_or_default();
    let of = format!("master_port:{}\r\n", master.address.port());
    told.contains("master_link_status:up") && told.contains(&of)
}

fn address_of(node: &Redis) -> String {
    node.address.to_string()
}

fn is_whole(node: &Redis) -> bool {
    let told = node.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
    told.contains("cluster_state:ok")
}

fn command(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("redis-cli");
    let done = command.arg("--cluster").args(arguments).output();
    let done = done.context("running redis-cli")?;
    let told = String::from_utf8_lossy(&done.stdout);
    ensure!(
        done.status.success(),
        "redis-cli --cluster {arguments:?}: {told}"
    );
    Ok(())
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

    #[test]
    fn a_cluster_puts_the_standby_in_the_place_of_its_master() {
        let cluster = Cluster::start_with_standby().unwrap();
        cluster.first().kill().unwrap();
        cluster.allow_failover().unwrap();
        cluster.wait_for_failover().unwrap();
    }
}
