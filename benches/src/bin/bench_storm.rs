//! What a storm of sign-ins does to everybody else: the p99 of proxied requests in calm and in the storm, the memory of
//! the gateway, and what those who sign in are told, and when.
//!
//! Calm and storm take turns, so that whatever else the machine does falls on both. Nothing is pinned: hashing passwords
//! and serving requests want the same cores, which is the point. Every address is on the loopback interface.

#[path = "bench_storm/gateway.rs"]
mod gateway;
#[path = "bench_storm/passers_by.rs"]
mod passers_by;
#[path = "bench_storm/storm.rs"]
mod storm;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Parser;
use portcullis_benches::upstream;

use gateway::Gateway;
use passers_by::Latencies;
use storm::SignIns;

#[derive(Parser)]
struct Arguments {
    /// Clients that sign in at the same time, each again as soon as it is answered.
    #[arg(long, default_value_t = 500)]
    clients: u16,
    /// Of each calm and each storm.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The gateway to measure; beside this program unless given.
    #[arg(long)]
    gateway: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let here = std::env::current_exe().context("cannot find this program")?;
    let program = arguments.gateway;
    let program = program.unwrap_or_else(|| here.with_file_name("portcullis"));
    let gateway = Gateway::start(&program, upstream::start()?)?;
    let length = Duration::from_secs(arguments.seconds);
    passers_by::ask(gateway.address, length / 4)?;
    passers_by::crowd(gateway.address, arguments.clients)?;
    let base = gateway.most_resident()?;
    let (mut calm, mut stormy) = (Latencies::default(), Latencies::default());
    let mut sign_ins = SignIns::default();
    for _ in 0..arguments.rounds {
        calm.extend(passers_by::ask(gateway.address, length)?);
        let storm = storm::rise(gateway.address, arguments.clients, length);
        stormy.extend(passers_by::ask(gateway.address, length)?);
        sign_ins.extend(storm.settle()?);
    }
    report(&mut calm, &mut stormy);
    tell(&sign_ins, base, gateway.most_resident()?);
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the report is the output of this program"
)]
fn report(calm: &mut Latencies, stormy: &mut Latencies) {
    println!(
        "{:<22}{:>12}{:>12}{:>12}",
        "proxied requests", "count", "p50", "p99"
    );
    for (name, latencies) in [("in calm", &mut *calm), ("in the storm", &mut *stormy)] {
        let (median, high) = (latencies.quantile(50), latencies.quantile(99));
        println!(
            "{name:<22}{:>12}{median:>12.2?}{high:>12.2?}",
            latencies.count()
        );
    }
    let ratio = stormy.quantile(99).as_secs_f64() / calm.quantile(99).as_secs_f64();
    println!("p99 in the storm is {ratio:.2} of the p99 in calm");
}

#[expect(
    clippy::print_stdout,
    reason = "the report is the output of this program"
)]
fn tell(sign_ins: &SignIns, base: u64, most: u64) {
    println!("\nsign-ins: {sign_ins}");
    let (base, most) = (mebibytes(base), mebibytes(most));
    println!(
        "memory at most: {base:.0} MiB with as many proxied requests, {most:.0} MiB in the storm; the budget for hashing is {} MiB",
        gateway::HASHING_MEBIBYTES
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a process has far less than 2^52 KiB"
)]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn clock() -> Instant {
    Instant::now()
}
