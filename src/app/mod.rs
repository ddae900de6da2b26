//! Wiring: from a [`Config`] to a running [`Node`], and the jobs that need a whole data directory.
//!
//! This is the only place where concrete types meet: the sled index behind the `Store` trait, the system's clock and
//! randomness behind functions, listeners around the two cores.
//!
//! ```text
//! start: lock the directory -> open the ledger -> open the index -> replay what the index has not applied
//!        -> check the tree against the last signed head -> ask the witnesses -> sign -> sequencer -> publisher -> listeners
//! a mirror signs nothing and asks nobody: in the place of sequencer and publisher it follows its primary (`mirror`)
//! stop:  listeners drain -> the publisher ends -> the queue drains -> the index is merged and sealed -> the lock is released
//! ```

mod audit;
mod check;
mod cores;
mod http;
mod index;
mod promote;
mod recursive;
mod vindex;
mod witness;
mod writing;

use std::{
    io,
    net::SocketAddr,
    num::NonZero,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

pub use audit::{audit_directory, audit_url};
pub use check::{FsckReport, RebuildReport, fsck, rebuild};
use cores::{Cores, ReadParts};
pub use promote::promote;
pub use witness::{WitnessNode, WitnessOptions};
use writing::Writing;

pub use crate::{
    audit::{AuditError, AuditReport, Audited, Content, IndexReport},
    mirror::promote::{Loss, PromoteReport},
    publish::GuardError,
};
use crate::{
    client::witness::WitnessClient,
    config::{Config, DNS_WORKERS_MAX, MirrorConfig, WitnessAddress},
    ledger::{Appender, DataDir, KeySource, Ledger, LedgerError, MirrorOf, Opening, Publication, Recovered, Replica},
    mirror::{DirectoryError, directory},
    protocol::dns::{ZoneError, dnssec::keys::Algorithm},
    publish::{self, Witness},
    registry::{Clock, Entropy, apply},
    resolver::feed::Feeds,
    server::{
        dns::{
            DnsLimits, DnsServer, ListenError,
            certificate::{Certificate, CertificateError},
            cookie_file::CookieFileError,
            encrypted::EncryptedAddresses,
            keys::KeysError,
            rate::RateLimits,
            signing::{self, KeysTask},
            sources::SourceLimits,
        },
        grpc::{Calls, GrpcParts, GrpcServer},
        http::{HttpParts, HttpServer, MetricSources, Replicas},
    },
    store::{
        ReadError, Store, StoreError,
        local::{LocalStore, seal::SealError},
    },
    vindex::VerifiableIndex,
    witness::WitnessError,
};

/// A running node.
pub struct Node {
    dns: DnsServer,
    /// Follows the keys of a signed zone.
    _signing: Option<KeysTask>,
    grpc: GrpcServer,
    http: Option<HttpServer>,
    feeds: Arc<Feeds>,
    writing: Writing,
    vindex: Option<VerifiableIndex>,
    ledger: Arc<Ledger>,
    store: Arc<LocalStore>,
    zone: String,
    directory: DataDir,
    registers: bool,
}

/// What a node says about itself at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// Entries in the ledger.
    pub entries: u64,
    /// The key that auditors verify checkpoints with (C2SP signed-note vkey).
    pub verifier_key: String,
    /// The zone that the node answers for.
    pub zone: String,
    /// The data directory.
    pub data: PathBuf,
    /// Where the primary is, when the node is a mirror.
    pub mirror_of: Option<String>,
    /// Whether it registers what nobody has said anything of: a mirror registers nothing, a recursive node what is homed on it.
    pub registers: bool,
}

/// How far a long job has come, in bytes of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Why a node could not be started, stopped or checked.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The index.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the ledger says of prefixes cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A ledger entry could not be applied to the index.
    #[error(transparent)]
    Apply(#[from] apply::ApplyError),
    /// The zone is no DNS name.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// The certificate of DNS over TLS, HTTPS and QUIC.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The secrets of DNS cookies.
    #[error(transparent)]
    Cookies(#[from] CookieFileError),
    /// An address for DNS could not be bound.
    #[error(transparent)]
    Dns(#[from] ListenError),
    /// The keys of the zone.
    #[error(transparent)]
    Dnssec(#[from] KeysError),
    /// Witnesses hold another history of the ledger, or too few of them say what they hold.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The key or the memory of a witness.
    #[error(transparent)]
    Witness(#[from] WitnessError),
    /// What a mirror is told does not fit its directory.
    #[error("{what}")]
    Mirror {
        /// What is in the way, and what to do.
        what: String,
    },
    /// An address could not be bound.
    #[error("cannot listen on {address} ({what}): {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// For which protocol.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The file of roots.
    #[error("the roots in {} cannot be used: {reason}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An audit found a difference, or could not read something.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The index and the ledger disagree.
    #[error("{what}; `touchmark rebuild` makes the index again from the ledger")]
    Index {
        /// What was found.
        what: String,
    },
    /// The system refused something else.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

impl From<DirectoryError> for AppError {
    fn from(error: DirectoryError) -> Self {
        match error {
            DirectoryError::Refused { what } => Self::Mirror { what },
            DirectoryError::Ledger(error) => Self::Ledger(error),
        }
    }
}

impl From<SealError> for AppError {
    fn from(SealError { what, path, source }: SealError) -> Self {
        file_error(what, &path, source)
    }
}

impl AppError {
    fn system(what: impl Into<String>, source: io::Error) -> Self {
        Self::System { what: what.into(), source }
    }

    /// True when a file of the ledger holds what nobody wrote there.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Ledger(LedgerError::Damaged { .. })
                | Self::Apply(apply::ApplyError::Ledger(LedgerError::Damaged { .. }))
        )
    }
}

impl Node {
    /// Starts a node: opens or makes its data directory, replays what is needed, and listens.
    ///
    /// # Errors
    ///
    /// [`AppError`] with a sentence that says what is in the way.
    pub async fn start(config: &Config) -> Result<Self, AppError> {
        let directory = DataDir::open_or_create(&config.data)?;
        let opened = Opened::new(&directory, config)?;
        let Opened { ledger, writer, store, witnesses } = opened;
        let publication = Arc::new(Publication::new(ledger.checkpoint()));
        let replicas = replicas(config, &writer);
        let exempt = &dns_limits(config).sources.exempt;
        let recursive = config.recursion.as_ref();
        let recursive = recursive.map(|options| recursive::start(options, &config.zone, exempt)).transpose()?;
        let vindex = vindex::start(config, &directory, &ledger)?;
        let lookups = vindex.as_ref().map(VerifiableIndex::lookups);
        let parts = ReadParts { recursive, publication: Arc::clone(&publication), lookups };
        let Cores { desk, responder, feeds, registry, adding } = Cores::start(config, &ledger, &store, writer, parts)?;
        let lag = adding.lag();
        let writing = Writing::start(adding, &ledger, &publication, witnesses)?;
        let (stats, calls) = (Arc::clone(registry.stats()), Arc::<Calls>::default());
        let parts = GrpcParts {
            desk: desk.clone(),
            registry,
            feeds: Arc::clone(&feeds),
            calls: Arc::clone(&calls),
            lag: lag.clone(),
        };
        let grpc = GrpcServer::start(config.grpc, parts).await;
        let grpc = grpc.map_err(|source| AppError::Listen { address: config.grpc, what: "gRPC", source })?;
        let sign =
            |algorithm: Algorithm| signing::start(&config.data, &config.zone, algorithm, &responder, writing.primary());
        let signing = config.dnssec.map(sign).transpose()?;
        let mut dns = DnsServer::start(&responder, &config.dns, dns_limits(config), half(entropy()())).await?;
        if config.dns_encrypted != EncryptedAddresses::default() {
            let certificate = Arc::new(certificate(config)?);
            dns.listen_encrypted(config.dns_encrypted, certificate).await?;
        }
        let metrics = MetricSources {
            desk: desk.clone(),
            ledger: Arc::clone(&ledger),
            store: store.clone(),
            registry: stats,
            feeds: Arc::clone(&feeds),
            dns: Arc::clone(dns.counters()),
            grpc: calls,
            lag,
        };
        let registers = writing.primary().is_none() && config.recursion.is_none();
        let of = Arc::clone(&ledger);
        let feed = Arc::clone(&feeds);
        let parts = HttpParts { desk, ledger: of, publication, feeds: feed, replicas, metrics };
        let http = http::listen(config, parts).await?;
        let zone = config.zone.clone();
        Ok(Self {
            dns,
            _signing: signing,
            grpc,
            http,
            feeds,
            writing,
            vindex,
            ledger,
            store,
            zone,
            directory,
            registers,
        })
    }

    /// The first address that DNS listens on, over UDP and TCP.
    pub fn dns_addr(&self) -> SocketAddr {
        // There is one at least: the configuration says so.
        self.dns.local_addrs().first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into())
    }

    /// The addresses that DNS listens on, over UDP and TCP.
    pub fn dns_addrs(&self) -> &[SocketAddr] {
        self.dns.local_addrs()
    }

    /// The addresses that DNS over TLS, HTTPS and QUIC listens on, where it does.
    pub fn dns_encrypted_addrs(&self) -> EncryptedAddresses {
        self.dns.encrypted_addrs()
    }

    /// The address that gRPC listens on.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.grpc.local_addr()
    }

    /// The address that HTTP listens on, when it does.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::local_addr)
    }

    /// True when nothing was ever registered.
    pub fn is_empty(&self) -> bool {
        self.ledger.checkpoint().size == 0
    }

    /// What the node says about itself.
    pub fn summary(&self) -> NodeSummary {
        NodeSummary {
            entries: self.ledger.checkpoint().size,
            verifier_key: self.ledger.verifier().text().into(),
            zone: self.zone.clone(),
            data: self.directory.path().into(),
            mirror_of: self.writing.primary().map(str::to_owned),
            registers: self.registers,
        }
    }

    /// Stops cleanly: finishes the calls under way, drains the queue, merges and seals the index.
    ///
    /// # Errors
    ///
    /// [`AppError`] when the index could not be closed; the ledger is whole all the same, and the next start replays it.
    pub async fn stop(self) -> Result<(), AppError> {
        // Before the listeners: they wait for their calls, and a feed has no end of its own.
        self.feeds.close();
        self.dns.shutdown().await;
        self.grpc.shutdown().await;
        if let Some(http) = self.http {
            http.shutdown().await;
        }
        let Self { writing, vindex, store, directory, .. } = self;
        let close = move || {
            writing.stop();
            if let Some(vindex) = vindex {
                vindex.stop();
            }
            index::close(&store, &directory)
        };
        let closed = tokio::task::spawn_blocking(close).await;
        closed.map_err(|error| AppError::system("cannot close the index", io::Error::other(error)))?
    }
}

/// Ledger and index of a data directory, open and in step.
struct Opened {
    ledger: Arc<Ledger>,
    writer: Writer,
    store: Arc<LocalStore>,
    witnesses: Vec<Witness>,
}

impl Opened {
    fn new(directory: &DataDir, config: &Config) -> Result<Self, AppError> {
        let asked = config.mirror.as_ref().map(asked);
        let mirror = directory::prepare(directory, asked)?;
        let seed = entropy()();
        let opening = Opening::new(directory, KeySource { origin: &config.origin, seed })?;
        let store = index::open_or_rebuild(directory, &opening, config)?;
        let (mark, total) = (index::mark(&*store), opening.bytes()?);
        let mut reported = mark.position.0;
        let replayed = opening.recover::<AppError>(mark, |frame| {
            store.ready()?;
            apply::apply_frame(&*store, frame)?;
            if frame.end().0 - reported > REPORT_BYTES {
                reported = frame.end().0;
                tracing::info!(done = reported, total, "applying the ledger to the index (bytes)");
            }
            Ok(())
        })?;
        if let Some(of) = mirror {
            let (ledger, replica) = replayed.follow()?;
            return Ok(Self { ledger, writer: Writer::Mirror(replica, Box::new(of)), store, witnesses: Vec::new() });
        }
        let mut witnesses: Vec<_> = config.witnesses.iter().map(witness_of).collect();
        publish::ask(&replayed, &mut witnesses, config.witnesses_required)?;
        let Recovered { ledger, appender } = replayed.sign()?;
        Ok(Self { ledger, writer: Writer::Own(appender), store, witnesses })
    }
}

/// What the configuration says of a mirror.
fn asked(config: &MirrorConfig) -> directory::Asked<'_> {
    directory::Asked { url: &config.url, key: config.key.as_deref(), only: config.only.as_deref() }
}

/// A configured witness.
fn witness_of(address: &WitnessAddress) -> Witness {
    Witness::new(WitnessClient::new(address.key.clone(), &address.url))
}

/// Who writes the ledger: the node itself, or what it takes from its primary.
enum Writer {
    Own(Appender),
    Mirror(Replica, Box<MirrorOf>),
}

/// Whom mirrors are served by.
fn replicas(config: &Config, writer: &Writer) -> Replicas {
    match writer {
        Writer::Own(_) => Replicas::Served(config.mirrors.clone(), clock()),
        Writer::Mirror(_, of) => Replicas::At(of.url.clone()),
    }
}

/// The certificate of the encrypted listeners: of files, or made now.
fn certificate(config: &Config) -> Result<Certificate, AppError> {
    Ok(match &config.dns_certificate {
        Some([chain, key]) => Certificate::from_files(chain, key)?,
        None => Certificate::self_signed(&[config.zone.trim_end_matches('.').to_owned(), "localhost".into()])?,
    })
}

/// The first half of random bytes.
fn half(bytes: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
}

fn dns_limits(config: &Config) -> DnsLimits {
    let exempt = || config.dns_rate_exempt.clone();
    DnsLimits {
        udp_workers: workers(config.dns_workers),
        rate: RateLimits {
            responses_per_second: config.dns_rate_per_second,
            window_seconds: config.dns_rate_window_seconds,
            slip: config.dns_rate_slip,
            exempt: exempt(),
            ..RateLimits::default()
        },
        sources: SourceLimits {
            connections_per_source_max: config.dns_connections_per_source_max,
            exempt: exempt(),
            ..SourceLimits::default()
        },
        ..DnsLimits::default()
    }
}

/// How many threads are meant: 0 stands for one on each processor.
fn workers(configured: usize) -> usize {
    match configured {
        0 => thread::available_parallelism().map_or(1, NonZero::get).min(DNS_WORKERS_MAX),
        count => count,
    }
}

/// How many bytes of ledger are applied between two log lines.
const REPORT_BYTES: u64 = 256 << 20;

fn clock() -> Clock {
    Arc::new(|| {
        // A clock before 1970 counts as 1970; the ledger never goes back anyway.
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as u64)
    })
}

fn entropy() -> Entropy {
    Arc::new(|| {
        let mut bytes = [0; 32];
        let mut rng = rand::rng();
        rand::Rng::fill_bytes(&mut rng, &mut bytes);
        bytes
    })
}

/// Says where a job stands, after `end` of `total` bytes.
fn report(progress: &mut dyn FnMut(Progress), end: u64, total: u64) {
    progress(Progress { done: end.min(total), total });
}

fn file_error(what: &str, path: &Path, source: io::Error) -> AppError {
    AppError::system(format!("cannot {what} {}", path.display()), source)
}
