//! `touchmark serve`: runs a node until a signal stops it.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{
    failure::Failure,
    import::{self, Format, Input, Show, Source},
    output::{Out, count},
};
use crate::{
    app::{Node, NodeSummary},
    client::{Client, dns::name_in_zone},
    config::{Config, Layer},
    id::Identifier,
    protocol::{dns::dnssec::keys::Algorithm, grpc::pb},
    server::{
        descriptors::Descriptors,
        dns::encrypted::{EncryptedAddresses, HTTPS_PATH},
    },
};

/// Sample data, part of the program.
const SAMPLE: &str = include_str!("../../data/sample.jsonl");
/// Identifier of a record in the sample.
const SAMPLE_IDENTIFIER: &str = "88.1000.LSN/GB120-3169";
/// Exit code after a second Ctrl-C: 128 plus the number of SIGINT, as in shells.
const EXIT_INTERRUPTED: i32 = 130;

/// Runs a node.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  touchmark serve --sample
  touchmark serve --data /var/lib/touchmark --zone id.example. --dns 0.0.0.0:53
  TOUCHMARK_LOG=debug touchmark serve --config touchmark.toml
  touchmark serve --data mirror --mirror-of http://127.0.0.1:8000/log --mirror-key id.test/ledger+…

Ctrl-C finishes what is under way and stops; a second one stops at once, and nothing acknowledged is lost.
`touchmark config print` shows every setting.")]
pub struct Args {
    /// The data directory; created if missing [default: touchmark-data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Load the sample data if nothing is registered yet
    #[arg(long)]
    sample: bool,
    /// Addresses for DNS over UDP and TCP, separated by commas [default: 127.0.0.1:5300]
    #[arg(long, value_name = "ADDR")]
    dns: Option<String>,
    /// The address for gRPC [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
    /// The address for HTTP, or `off` [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDR")]
    http: Option<String>,
    /// The DNS zone to answer for [default: id.test.]
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Sign the zone (DNSSEC); its key is generated at the first start
    #[arg(long)]
    dnssec: bool,
    /// A witness that cosigns the ledger's checkpoints, and its URL; can be given several times
    #[arg(long, value_name = "VKEY URL")]
    witness: Vec<String>,
    /// Follow delegations for clients, and cache the results; needs roots
    #[arg(long)]
    recursive: bool,
    /// The roots of walks: a bootstrap registry
    #[arg(long, value_name = "FILE")]
    roots: Option<String>,
    /// Accept only answers of other nodes with a proof: that they are included in a ledger (without a value), or the
    /// latest there
    #[arg(long, value_name = "included|latest", num_args = 0..=1, default_missing_value = "included")]
    verify: Option<String>,
    /// Mirror the ledger with its checkpoint at URL/checkpoint, such as http://127.0.0.1:8000/log
    #[arg(long, value_name = "URL")]
    mirror_of: Option<String>,
    /// The verifier key of that ledger; needed at the first start, and stored
    #[arg(long, value_name = "VKEY")]
    mirror_key: Option<String>,
    /// Keep this prefix only, as an edge node; can be given several times, at the first start
    #[arg(long, value_name = "PREFIX")]
    only: Vec<String>,
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Args {
    /// Configuration layer of the arguments.
    fn layer(&self) -> Layer {
        let list = |items: &[String]| (!items.is_empty()).then(|| items.join(","));
        Layer::from_arguments([
            ("--data", self.data.clone()),
            ("--dns", self.dns.clone()),
            ("--grpc", self.grpc.clone()),
            ("--http", self.http.clone()),
            ("--zone", self.zone.clone()),
            ("--dnssec", self.dnssec.then(|| Algorithm::default().to_string())),
            ("--witness", list(&self.witness)),
            ("--recursive", self.recursive.then(|| "on".into())),
            ("--roots", self.roots.clone()),
            ("--verify", self.verify.clone()),
            ("--mirror-of", self.mirror_of.clone()),
            ("--mirror-key", self.mirror_key.clone()),
            ("--only", list(&self.only)),
        ])
    }
}

/// Runs the command.
///
/// # Errors
///
/// [`Failure`] if the node cannot be started or stopped.
pub fn run(args: &Args) -> Result<u8, Failure> {
    let loaded = Config::load(args.config.as_deref(), args.layer())?;
    super::start_logging(&loaded.config)?;
    for warning in loaded.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(serve(&loaded.config, args.sample))
}

async fn serve(config: &Config, sample: bool) -> Result<u8, Failure> {
    // Before the node divides the descriptors among its connections.
    Descriptors::raise();
    let node = Node::start(config).await.map_err(|error| match error.is_damage() {
        true => Failure::new(format!("{error}; `touchmark fsck` names the first bad entry")),
        false => error.into(),
    })?;
    // Only now: while it starts, a node can be stopped like any process, and may have a long ledger to replay.
    let mut stop = Stop::new()?;
    let served = tokio::select! {
        served = present(&node, sample) => served,
        () = stop.asked() => Ok(()),
    };
    if served.is_ok() && !stop.was_asked {
        stop.asked().await;
    }
    tracing::info!("stopping: finishing what is under way");
    // A second signal ends the process at once; acknowledged changes are on the disk.
    let at_once = tokio::spawn(async move {
        stop.asked().await;
        process::exit(EXIT_INTERRUPTED);
    });
    let stopped = node.stop().await;
    at_once.abort();
    served?;
    stopped?;
    tracing::info!("stopped");
    Ok(0)
}

/// Loads the sample if asked to, and prints the node's addresses and commands to try.
async fn present(node: &Node, sample: bool) -> Result<(), Failure> {
    let grpc = reachable(node.grpc_addr());
    let client = Client::connect(&grpc.to_string()).await?;
    if sample && node.is_empty() && node.summary().mirror_of.is_none() {
        let source = Source { name: "sample".into(), format: Format::Jsonl, input: Input::Text(SAMPLE) };
        import::import(&client, vec![source], import::BATCH_COMMANDS_DEFAULT, Show::Quiet).await?;
    }
    // Without recursion: the start must not depend on other nodes.
    let request = pb::ResolveRequest {
        identifier: SAMPLE_IDENTIFIER.into(),
        recursion: pb::Recursion::None.into(),
        ..pb::ResolveRequest::default()
    };
    let answer = client.resolve(request).await?;
    let has_sample = matches!(answer.outcome, Some(pb::answer::Outcome::Found(_)));
    // A node whose standard output was closed continues.
    let _ = introduce(node, has_sample);
    Ok(())
}

fn introduce(node: &Node, has_sample: bool) -> Result<(), Failure> {
    let NodeSummary { entries, verifier_key, zone, data, mirror_of, registers } = &node.summary();
    let (grpc, dns) = (node.grpc_addr(), node.dns_addrs());
    let mut out = Out::stdout();
    out.line(format_args!("touchmark {}", env!("CARGO_PKG_VERSION")))?;
    out.line(format_args!("  gRPC        {grpc}"))?;
    if let Some(http) = node.http_addr() {
        out.line(format_args!("  HTTP        {http}"))?;
    }
    let listening: Vec<String> = dns.iter().map(SocketAddr::to_string).collect();
    out.line(format_args!("  DNS         {}, UDP and TCP, zone {zone}", listening.join(", ")))?;
    for line in encrypted_lines(node.dns_encrypted_addrs()) {
        out.line(format_args!("  {line}"))?;
    }
    out.line(format_args!("  data        {}, {} ledger entries", data.display(), count(*entries)))?;
    out.line(format_args!("  ledger key  {verifier_key}"))?;
    match mirror_of {
        Some(primary) => out.line(format_args!("  mirror of   {primary}, whose node takes the writes"))?,
        None => out.line("  Until there are permits, writes are accepted from loopback addresses only.")?,
    }
    out.line("\nTry:")?;
    let first = dns.first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 53).into());
    for command in commands(grpc, first, zone, has_sample, *registers) {
        out.line(format_args!("  {command}"))?;
    }
    out.line("\nCtrl-C stops the node.")?;
    out.flush()
}

/// Lines with the addresses of the encrypted listeners.
fn encrypted_lines(addresses: EncryptedAddresses) -> impl Iterator<Item = String> {
    let EncryptedAddresses { tls, https, quic } = addresses;
    let tls = tls.map(|address| format!("over TLS    {address}"));
    let https = https.map(|address| format!("over HTTPS  {address}, at {HTTPS_PATH}"));
    let quic = quic.map(|address| format!("over QUIC   {address}"));
    [tls, https, quic].into_iter().flatten()
}

/// Commands that work when pasted into a shell on this machine.
fn commands(grpc: SocketAddr, dns: SocketAddr, zone: &str, has_sample: bool, registers: bool) -> Vec<String> {
    let (grpc, dns) = (reachable(grpc), reachable(dns));
    let program = quoted(&program());
    let server = if grpc == Config::default().grpc.listen { String::new() } else { format!(" --server {grpc}") };
    let resolve = format!("{program} resolve {SAMPLE_IDENTIFIER}{server}");
    // The identifier is well-formed; if it were not, only its name would be missing.
    let name = Identifier::parse(SAMPLE_IDENTIFIER).map_or_else(|_| zone.to_owned(), |id| name_in_zone(&id, zone));
    let dig = format!("dig @{} -p {} {name} TXT", dns.ip(), dns.port());
    if !has_sample {
        let register = format!("{program} register {SAMPLE_IDENTIFIER} --value NAME=Gearbox{server}");
        return registers.then_some(register).into_iter().chain([resolve, dig]).collect();
    }
    let question = format!("{{\"identifier\":\"{SAMPLE_IDENTIFIER}\"}}");
    vec![resolve, dig, format!("grpcurl -plaintext -d '{question}' {grpc} touchmark.v1.Resolver/Resolve")]
}

/// Address of a listener as reached from this machine.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Name or path that starts this program from a shell in this directory.
fn program() -> String {
    const NAME: &str = "touchmark";
    let Ok(this) = env::current_exe() else { return NAME.into() };
    let on_path = env::var_os("PATH").and_then(|path| {
        let mut candidates = env::split_paths(&path).map(|directory| directory.join(NAME));
        candidates.find(|candidate| candidate.is_file())
    });
    if on_path.and_then(|path| path.canonicalize().ok()).as_deref() == Some(&this) {
        return NAME.into();
    }
    let here = env::current_dir().ok();
    match here.as_deref().and_then(|here| this.strip_prefix(here).ok()) {
        Some(below) => Path::new(".").join(below).display().to_string(),
        None => this.display().to_string(),
    }
}

/// Quotes a word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(&byte);
    if word.bytes().all(plain) { word.into() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Receiver of SIGINT and SIGTERM.
pub(super) struct Stop {
    interrupt: Signal,
    terminate: Signal,
    was_asked: bool,
}

impl Stop {
    pub(super) fn new() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| Failure::new(format!("cannot listen for signals: {error}")));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            was_asked: false,
        })
    }

    /// Waits for the next signal.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.was_asked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_to_try() {
        let default = Config::default();
        let to_try = |grpc: &str, has_sample, registers| {
            commands(grpc.parse().unwrap(), default.dns.listen[0], &default.zone, has_sample, registers)
        };
        let found = to_try("127.0.0.1:50051", true, true);
        let [resolve, dig, grpcurl] = found.as_slice() else { panic!("{found:?}") };
        assert!(resolve.ends_with(" resolve 88.1000.LSN/GB120-3169"), "{resolve}");
        assert_eq!(dig, "dig @127.0.0.1 -p 5300 gb120-3169._.lsn.1000.88.hdl.id.test. TXT");
        assert_eq!(
            grpcurl,
            "grpcurl -plaintext -d '{\"identifier\":\"88.1000.LSN/GB120-3169\"}' 127.0.0.1:50051 touchmark.v1.Resolver/Resolve"
        );
        let empty = to_try("0.0.0.0:1", false, true);
        assert!(empty[0].contains(" register "), "{empty:?}");
        assert!(empty[1].ends_with(" --server 127.0.0.1:1"), "{empty:?}");
        assert_eq!(to_try("0.0.0.0:1", false, false), empty[1..]);
    }

    #[test]
    fn words_for_the_shell() {
        assert_eq!(quoted("./target/release/touchmark"), "./target/release/touchmark");
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
