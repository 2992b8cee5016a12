//! CPU time per request of the gateway with its whole policy on, against a bare Pingora proxy of the same build.
//!
//! Both run on one core, pinned; the load and the upstream run on the other. The subjects take turns over several
//! rounds, so that whatever else the machine does falls on all of them. Every address is on the loopback interface.

#[path = "bench_proxy/bare.rs"]
mod bare;
#[path = "bench_proxy/load.rs"]
mod load;
#[path = "bench_proxy/subject.rs"]
mod subject;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use portcullis_benches::Headers;

use load::Load;
use subject::Subject;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections kept open by the load, and callers whose tokens it sends.
const CONNECTIONS: usize = 64;
const CALLERS: usize = 1000;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Requests each subject answers in a round.
    #[arg(long, default_value_t = 60_000)]
    requests: usize,
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// The gateway to measure; beside this program unless given.
    #[arg(long)]
    gateway: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Role {
    /// Runs the bare proxy; the bench starts it by itself.
    Bare {
        listen: SocketAddr,
        upstream: SocketAddr,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Bare { listen, upstream }) => bare::serve(listen, upstream),
        None => compare(&arguments),
    }
}

fn compare(arguments: &Arguments) -> anyhow::Result<()> {
    let here = std::env::current_exe().context("cannot find this program")?;
    let gateway = arguments
        .gateway
        .clone()
        .unwrap_or_else(|| here.with_file_name("portcullis"));
    let upstream = load::start_upstream()?;
    let subjects = [
        Subject::bare(&here, upstream)?,
        Subject::gateway(&gateway, Headers::Lean, upstream)?,
        Subject::gateway(&gateway, Headers::Full, upstream)?,
    ];
    let load = Load::new(CONNECTIONS, CALLERS)?;
    for subject in &subjects {
        load.run(subject.address, arguments.requests / 4)
            .context("warming up")?;
    }
    let mut measured: Vec<Vec<Measured>> = subjects.iter().map(|_| Vec::new()).collect();
    for _ in 0..arguments.rounds {
        for (subject, rounds) in subjects.iter().zip(&mut measured) {
            rounds.push(measure(subject, &load, arguments.requests)?);
        }
    }
    report(&subjects, &measured);
    Ok(())
}

/// One subject in one round.
#[derive(Clone, Copy)]
struct Measured {
    cpu_micros: f64,
    requests_per_second: f64,
}

fn measure(subject: &Subject, load: &Load, requests: usize) -> anyhow::Result<Measured> {
    let before = subject.cpu_time()?;
    let took = load.run(subject.address, requests)?;
    let spent = subject.cpu_time()?.saturating_sub(before);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of requests is far below 2^52"
    )]
    let requests = requests as f64;
    Ok(Measured {
        cpu_micros: spent.as_secs_f64() * 1e6 / requests,
        requests_per_second: requests / took.as_secs_f64(),
    })
}

#[expect(
    clippy::print_stdout,
    reason = "the report is the output of this program"
)]
fn report(subjects: &[Subject], measured: &[Vec<Measured>]) {
    println!(
        "{:<34} {:>14} {:>12} {:>18}",
        "", "CPU µs/request", "requests/s", "ratio to bare"
    );
    let bare = measured.first().map(Vec::as_slice).unwrap_or_default();
    for (subject, rounds) in subjects.iter().zip(measured) {
        let ratios = rounds
            .iter()
            .zip(bare)
            .map(|(round, bare)| round.cpu_micros / bare.cpu_micros);
        let (low, middle, high) = spread(ratios.collect());
        let cpu = spread(rounds.iter().map(|round| round.cpu_micros).collect()).1;
        let rate = spread(
            rounds
                .iter()
                .map(|round| round.requests_per_second)
                .collect(),
        )
        .1;
        println!(
            "{:<34} {cpu:>14.2} {rate:>12.0} {middle:>8.3} ({low:.3}..{high:.3})",
            subject.name
        );
    }
}

/// The least, the median and the greatest.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    (
        at(0),
        at(values.len() / 2),
        at(values.len().saturating_sub(1)),
    )
}
