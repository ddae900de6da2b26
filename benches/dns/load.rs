//! A UDP client with as little overhead as possible, because it shares the processor with the server.
//!
//! One thread. Queries are prepared before the clock starts, and sent in batches; each socket has a window of
//! unanswered queries, which is refilled as answers come in, or as the rate allows. An answer is matched by its id; ids
//! are consecutive, so that the oldest unanswered query is always known, and counts as lost after the timeout. Latency
//! is measured from just before the system call that sends a batch to just after the one that receives the answer. IPv4
//! only.

mod lane;
mod names;

use std::{
    fs,
    io::Write,
    net::SocketAddrV4,
    os::fd::AsFd,
    path::PathBuf,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use nix::{
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};

use crate::Outcome;
use lane::{Batch, Lane};
use names::Queries;

/// Maximum sleep without incoming datagrams.
const SLEEP_MAX: Duration = Duration::from_millis(10);

/// Server, queries, and pace.
#[derive(clap::Args)]
pub struct Arguments {
    /// Address of the server.
    #[arg(long)]
    server: SocketAddrV4,
    /// A file with a name and a type on each line.
    #[arg(long)]
    queries: PathBuf,
    /// Duration in seconds; the file is repeated as needed.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Send each line once, for as long as that takes.
    #[arg(long)]
    once: bool,
    /// Maximum number of unanswered queries, over all sockets.
    #[arg(long, default_value_t = 128)]
    window: usize,
    /// Queries per second; as many as the window allows if omitted.
    #[arg(long)]
    rate: Option<f64>,
    /// Number of sockets; workers with a socket each share clients by their ports.
    #[arg(long, default_value_t = 1)]
    sockets: usize,
    /// Send an OPT record (RFC 6891) with a size of 1,232.
    #[arg(long)]
    edns: bool,
    /// Set the RD flag.
    #[arg(long)]
    recursion: bool,
    /// Time after which an unanswered query counts as lost, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    timeout_ms: u64,
}

/// Results of a run.
pub struct Figures {
    sent: u64,
    lost: u64,
    no_error: u64,
    nx_domain: u64,
    other: u64,
    truncated: u64,
    octets: u64,
    latency_ns: Histogram<u64>,
}

impl Figures {
    fn new() -> Outcome<Self> {
        let latency_ns = Histogram::new_with_bounds(100, 60_000_000_000, 3)?;
        Ok(Self { sent: 0, lost: 0, no_error: 0, nx_domain: 0, other: 0, truncated: 0, octets: 0, latency_ns })
    }

    /// Counts an answer; `head` is its first four octets.
    fn answered(&mut self, head: [u8; 4], octets: usize, latency_ns: u64) {
        // RFC 1035 section 4.1.1: TC in the third octet, RCODE in the fourth.
        self.truncated += u64::from(head[2] & 0x02 != 0);
        match head[3] & 0x0f {
            0 => self.no_error += 1,
            3 => self.nx_domain += 1,
            _ => self.other += 1,
        }
        self.octets += octets as u64;
        self.latency_ns.saturating_record(latency_ns);
    }

    fn print(&self, out: &mut impl Write, elapsed: Duration) -> Outcome<()> {
        let answered = self.no_error + self.nx_domain + self.other;
        let Self { sent, lost, no_error, nx_domain, other, truncated, octets, latency_ns } = self;
        write!(out, "sent={sent} answered={answered} lost={lost} noerror={no_error} nxdomain={nx_domain} ")?;
        write!(out, "other={other} truncated={truncated} octets={} ", octets.checked_div(answered).unwrap_or(0))?;
        write!(out, "per_second={:.0}", answered as f64 / elapsed.as_secs_f64())?;
        for (name, quantile) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)] {
            write!(out, " {name}={:.1}", latency_ns.value_at_quantile(quantile) as f64 / 1_000.0)?;
        }
        writeln!(out)?;
        Ok(())
    }
}

/// Runs the queries and prints the results.
pub fn run(out: &mut impl Write, arguments: &Arguments) -> Outcome<()> {
    let queries = Queries::parse(&fs::read_to_string(&arguments.queries)?, arguments.edns, arguments.recursion)?;
    if arguments.sockets == 0 || arguments.window < arguments.sockets {
        return Err("there must be a socket, and a query at once for each".into());
    }
    let lanes = (0..arguments.sockets).map(|_| Lane::connect(arguments.server));
    let mut lanes = lanes.collect::<Outcome<Vec<_>>>()?;
    let (mut figures, mut batch) = (Figures::new()?, Batch::new());
    let began = Instant::now();
    let pace = Pace::new(arguments, &queries);
    let mut turn = 0;
    loop {
        let mut idle = true;
        let now = began.elapsed();
        let mut due = pace.due(now, figures.sent);
        for at in 0..lanes.len() {
            // Each socket comes first in turn, so that all sockets share the rate.
            let lane = &mut lanes[(turn + at) % arguments.sockets];
            idle &= lane.receive(&mut batch, began, &mut figures)? == 0;
            lane.give_up(now.saturating_sub(Duration::from_millis(arguments.timeout_ms)), &mut figures);
            let room = arguments.window / arguments.sockets - lane.waiting();
            let sent = lane.send(&mut batch, &queries, began, room.min(due), &mut figures)?;
            due -= sent;
            idle &= sent == 0;
        }
        turn += 1;
        if pace.is_over(now, figures.sent) && lanes.iter().all(|lane| lane.waiting() == 0) {
            break;
        }
        if idle {
            sleep(&lanes, pace.until_next(began.elapsed(), figures.sent))?;
        }
    }
    // Answers after the end belong to queries that were sent before the end, and count for the time until the end.
    let elapsed = if arguments.once { began.elapsed() } else { began.elapsed().min(pace.end) };
    figures.print(out, elapsed)
}

/// Schedule of the queries.
struct Pace {
    rate: Option<f64>,
    end: Duration,
    queries_max: u64,
}

impl Pace {
    fn new(arguments: &Arguments, queries: &Queries) -> Self {
        let end = if arguments.once { Duration::MAX } else { Duration::from_secs(arguments.seconds) };
        let queries_max = if arguments.once { queries.len() as u64 } else { u64::MAX };
        Self { rate: arguments.rate, end, queries_max }
    }

    fn is_over(&self, now: Duration, sent: u64) -> bool {
        now >= self.end || sent >= self.queries_max
    }

    /// Number of queries that may be sent now.
    fn due(&self, now: Duration, sent: u64) -> usize {
        if self.is_over(now, sent) {
            return 0;
        }
        let left = self.queries_max - sent;
        let left = self.rate.map_or(left, |rate| left.min(((now.as_secs_f64() * rate) as u64).saturating_sub(sent)));
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Time until the next query is due, if the window is open.
    fn until_next(&self, now: Duration, sent: u64) -> Duration {
        let Some(rate) = self.rate.filter(|_| !self.is_over(now, sent)) else { return SLEEP_MAX };
        let next = Duration::from_secs_f64((sent + 1) as f64 / rate);
        // The query is late because the window is closed; an answer or a loss will open the window.
        if next <= now { SLEEP_MAX } else { (next - now).min(SLEEP_MAX) }
    }
}

/// Sleeps until an answer is there or the time is up.
fn sleep(lanes: &[Lane], time: Duration) -> Outcome<()> {
    let mut sockets: Vec<_> = lanes.iter().map(|lane| PollFd::new(lane.as_fd(), PollFlags::POLLIN)).collect();
    match ppoll(&mut sockets, Some(TimeSpec::from_duration(time)), None) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
