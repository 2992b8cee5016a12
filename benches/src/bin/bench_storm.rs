//! What a storm of sign-ins does to everybody else: the p99 of proxied requests in calm, among as many plain requests,
//! and in the storm, the memory of the gateway, and what those who sign in are told, and when.
//!
//! The three take turns, so that whatever else the machine does falls on all, and what is told is the median of the
//! rounds' ratios. The crowd of plain requests shows what so many connections cost whatever they ask for, and what the
//! load itself takes. Nothing is pinned: hashing passwords, serving requests and the load want the same cores, which is
//! the point. Every address is on the loopback interface.

#[path = "bench_storm/gateway.rs"]
mod gateway;
#[path = "bench_storm/passers_by.rs"]
mod passers_by;
#[path = "bench_storm/report.rs"]
mod report;
#[path = "bench_storm/storm.rs"]
mod storm;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use portcullis_benches::upstream;

use gateway::Gateway;
use report::Round;
use storm::{Answers, Visit};

#[derive(Parser)]
struct Arguments {
    /// Clients that come at the same time, each again when it was told to.
    #[arg(long, default_value_t = 500)]
    clients: u16,
    /// Of each calm, crowd and storm.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// All begin in one instant, instead of over the time that they are told to wait.
    #[arg(long)]
    at_once: bool,
    /// The gateway to measure; beside this program unless given.
    #[arg(long)]
    gateway: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let here = std::env::current_exe().context("cannot find this program")?;
    let program = arguments.gateway.clone();
    let program = program.unwrap_or_else(|| here.with_file_name("portcullis"));
    let gateway = Gateway::start(&program, upstream::start()?)?;
    let length = Duration::from_secs(arguments.seconds);
    passers_by::ask(gateway.address, length / 4)?;
    passers_by::crowd(gateway.address, arguments.clients)?;
    let base = gateway.most_resident()?;
    let (mut rounds, mut sign_ins) = (Vec::new(), Answers::default());
    for _ in 0..arguments.rounds {
        let (round, answers) = measure(&arguments, gateway.address, length)?;
        rounds.push(round);
        sign_ins.extend(answers);
    }
    report::latencies(&mut rounds);
    report::sign_ins(&sign_ins, base, gateway.most_resident()?);
    Ok(())
}

fn measure(
    arguments: &Arguments,
    to: SocketAddr,
    length: Duration,
) -> anyhow::Result<(Round, Answers)> {
    let among = |visit| {
        let visitors = storm::rise(to, visit, arguments.clients, arguments.at_once, length);
        let latencies = passers_by::ask(to, length)?;
        anyhow::Ok((latencies, visitors.settle()?))
    };
    let calm = passers_by::ask(to, length)?;
    let (crowd, _answers) = among(Visit::Plain)?;
    let (storm, sign_ins) = among(Visit::SignIn)?;
    Ok((Round { calm, crowd, storm }, sign_ins))
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn clock() -> Instant {
    Instant::now()
}
