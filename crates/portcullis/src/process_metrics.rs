//! `process_*` as Prometheus clients name them, read from `/proc` at each scrape (where there is no `/proc` they stay 0),
//! and `build_info`.

use std::fs;

use portcullis_config::units::Timestamp;
use prometheus::{Counter, IntGauge, Opts, Registry};

/// `USER_HZ`: what the kernel reports process times in, on every architecture Rust's Linux targets know.
const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) struct ProcessMetrics {
    cpu_seconds: Counter,
    resident_bytes: IntGauge,
    virtual_bytes: IntGauge,
    threads: IntGauge,
    open_files: IntGauge,
}

impl ProcessMetrics {
    pub(crate) fn register(registry: &Registry, started_at: Timestamp) -> prometheus::Result<Self> {
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let build = Opts::new("portcullis_build_info", "1, with the version as a label.");
        let build = IntGauge::with_opts(build.const_label("version", env!("CARGO_PKG_VERSION")))?;
        build.set(1);
        registry.register(Box::new(build))?;
        let start = gauge(
            "process_start_time_seconds",
            "When the process started, as Unix time.",
        )?;
        start.set(i64::try_from(started_at.as_secs()).unwrap_or(i64::MAX));
        let cpu_seconds = Counter::new(
            "process_cpu_seconds_total",
            "Processor time spent, user and system.",
        )?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        Ok(Self {
            cpu_seconds,
            resident_bytes: gauge("process_resident_memory_bytes", "Memory held in RAM.")?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Address space in use.")?,
            threads: gauge("process_threads", "Threads of the process.")?,
            open_files: gauge("process_open_fds", "Open file descriptors.")?,
        })
    }

    /// Reads the present values. A few system calls, no lock.
    pub(crate) fn refresh(&self) {
        if let Ok(status) = fs::read_to_string("/proc/self/status") {
            self.resident_bytes
                .set(kibibytes(&status, "VmRSS:").saturating_mul(1024));
            self.virtual_bytes
                .set(kibibytes(&status, "VmSize:").saturating_mul(1024));
            self.threads.set(kibibytes(&status, "Threads:"));
        }
        if let Ok(stat) = fs::read_to_string("/proc/self/stat") {
            self.cpu_seconds
                .inc_by((cpu_seconds(&stat) - self.cpu_seconds.get()).max(0.0));
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            self.open_files
                .set(i64::try_from(open.count()).unwrap_or(i64::MAX));
        }
    }
}

fn kibibytes(status: &str, field: &str) -> i64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Fields 14 and 15. Counted from the last parenthesis, because the second field is the name and may hold anything.
fn cpu_seconds(stat: &str) -> f64 {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_process_name() {
        let stat = "1 (a) b) S 0 1 1 0 -1 4194560 10 0 0 0 150 50 0 0 20 0 1 0 5 1000 20";
        assert!((cpu_seconds(stat) - 2.0).abs() < f64::EPSILON);
        assert!(cpu_seconds("").abs() < f64::EPSILON);
    }

    #[test]
    fn memory_is_read_by_its_label() {
        let status = "Name:\tx\nVmSize:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t3\n";
        assert_eq!(
            (
                kibibytes(status, "VmRSS:"),
                kibibytes(status, "Threads:"),
                kibibytes(status, "None:")
            ),
            (1024, 3, 0)
        );
    }
}
