//! Metrics of the process under the names that all exporters use, from `/proc`. Systems without `/proc` (all but Linux)
//! have none of these lines.

use std::{fmt, fs};

use super::{Metered, Out};

/// Positions in `/proc/self/stat` of the fields behind the program's name (proc(5)), from 0.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

/// This process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessMetrics;

impl Metered for ProcessMetrics {
    fn put(&self, out: &mut Out<'_>) -> fmt::Result {
        put(out)
    }
}

fn put(out: &mut Out<'_>) -> fmt::Result {
    if let Some(bytes) = fs::read_to_string("/proc/self/statm").ok().and_then(|statm| resident_bytes(&statm)) {
        out.gauge("process_resident_memory_bytes", "Resident memory", bytes)?;
    }
    let Some(stat) = fs::read_to_string("/proc/self/stat").ok() else { return Ok(()) };
    let Some(ticks) = ticks(&stat) else { return Ok(()) };
    let second = rustix::param::clock_ticks_per_second() as f64;
    out.counter_real("process_cpu_seconds", "Processor time in user and system mode", ticks.busy as f64 / second)?;
    let Some(booted) = fs::read_to_string("/proc/stat").ok().and_then(|stat| boot_time(&stat)) else { return Ok(()) };
    let started = booted as f64 + ticks.started as f64 / second;
    out.real("process_start_time_seconds", "When the process started, in seconds since 1970", started)
}

/// Times in clock ticks: processor time, and the start since boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    started: u64,
}

fn resident_bytes(statm: &str) -> Option<u64> {
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    pages.checked_mul(rustix::param::page_size() as u64)
}

fn ticks(stat: &str) -> Option<Ticks> {
    // The name stands in parentheses, and may hold some itself.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(Ticks { busy: field(USER_TICKS)? + field(SYSTEM_TICKS)?, started: field(START_TICKS)? })
}

fn boot_time(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_system() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1000 200 18446744073709551615";
        assert_eq!(ticks(stat), Some(Ticks { busy: 300, started: 12_345 }));
        assert_eq!((ticks("7 (a) S 1"), ticks("")), (None, None));
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 3\n"), Some(1_700_000_000));
        assert_eq!(
            (resident_bytes("10 2 1"), resident_bytes("x")),
            (Some(2 * rustix::param::page_size() as u64), None)
        );
    }
}
