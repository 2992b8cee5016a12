//! What the bench prints: each round, and the medians over them.
#![expect(
    clippy::print_stdout,
    reason = "the report is the output of this program"
)]

use std::time::Duration;

use crate::{gateway::HASHING_MEBIBYTES, passers_by::Latencies, storm::Answers};

/// How long those waited who only wanted to be let through.
pub(crate) struct Round {
    pub(crate) calm: Latencies,
    pub(crate) crowd: Latencies,
    pub(crate) storm: Latencies,
}

type Figures = [Duration; 3];

pub(crate) fn latencies(rounds: &mut [Round]) {
    println!("proxied requests:  in calm, among as many plain requests, in the storm");
    for percent in [50, 99] {
        let figures: Vec<Figures> = rounds.iter_mut().map(|round| round.at(percent)).collect();
        for [calm, crowd, storm] in &figures {
            println!("  p{percent} {calm:>10.2?} {crowd:>10.2?} {storm:>10.2?}");
        }
        let median = |of, to| median_ratio(&figures, of, to);
        println!(
            "  p{percent} of the storm is {:.2} of the calm's and {:.2} of the crowd's, the crowd's {:.2} of the calm's",
            median(2, 0),
            median(2, 1),
            median(1, 0)
        );
    }
}

pub(crate) fn sign_ins(sign_ins: &Answers, base: u64, most: u64) {
    println!("sign-ins: {sign_ins}");
    println!(
        "memory at most: {} MiB with as many proxied requests, {} MiB in the storm; the budget for hashing is {HASHING_MEBIBYTES} MiB",
        base / 1024,
        most / 1024
    );
}

impl Round {
    fn at(&mut self, percent: usize) -> Figures {
        [&mut self.calm, &mut self.crowd, &mut self.storm].map(|of| of.quantile(percent))
    }
}

fn median_ratio(figures: &[Figures], of: usize, to: usize) -> f64 {
    let seconds = |figures: &Figures, which| figures.get(which).map_or(0.0, Duration::as_secs_f64);
    let mut ratios: Vec<f64> = figures
        .iter()
        .map(|figures| seconds(figures, of) / seconds(figures, to))
        .collect();
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN)
}
