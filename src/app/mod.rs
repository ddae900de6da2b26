//! Wiring: from a [`Config`] to a running [`Node`], and the jobs that need a whole data directory.
//!
//! Only this module names the concrete types: the sled index behind the `Store` trait, the system's clock and
//! randomness behind functions, the listeners around the two cores.
//!
//! ```text
//! start: lock the directory -> open the ledger -> open the index -> replay what the index has not applied
//!        -> check the tree against the last signed head -> ask the witnesses -> sign -> sequencer -> publisher -> listeners
//! a mirror signs nothing and asks no witness: instead of sequencer and publisher it follows its primary (`mirror`)
//! stop:  listeners drain -> the publisher ends -> the queue drains -> the index is merged and sealed -> the lock is released
//! ```

mod audit;
mod check;
mod cores;
mod error;
mod frontends;
mod index;
mod options;
mod promote;
mod recursive;
mod role;
mod vindex;
mod witness;

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

pub use audit::{audit_directory, audit_url};
pub use check::{FsckReport, RebuildReport, fsck, rebuild};
use cores::{Cores, ReadParts};
pub use error::AppError;
use error::file_error;
use frontends::Special;
pub use promote::promote;
use role::Role;
pub use witness::{WitnessNode, WitnessOptions};

pub use crate::{
    audit::{AuditError, AuditReport, Audited, Content, IndexReport},
    mirror::promote::{Loss, PromoteReport},
    publish::GuardError,
};
use crate::{
    client::witness::WitnessClient,
    config::{self, Config, Machine, Sizes, WitnessAddress},
    ledger::{Appender, DataDir, Followed, KeySource, Ledger, MirrorOf, Opening, Publication, Recovered, Replica},
    mirror::directory,
    protocol::dns::dnssec::keys::Algorithm,
    publish::{self, Witness},
    registry::{Clock, Entropy, apply},
    server::{
        admission::FEED_SHARES,
        dns::{
            DNS,
            encrypted::{EncryptedAddresses, HTTPS, QUIC, TLS},
            signing::{self, KeysTask},
        },
        frontend::{AuditHandles, FollowHandles, Frontend, ReadHandles, Services},
        grpc::GRPC,
        http::{HTTP, Replicas},
        metrics::{CoreMetrics, MetricList, MirrorMetrics, ProcessMetrics},
    },
    store::{
        Entries,
        local::{LocalEntries, seal::seal},
    },
    vindex::VerifiableIndex,
};

/// A running node.
pub struct Node {
    services: Services,
    frontends: Vec<Box<dyn Frontend>>,
    /// Watches the key files of a signed zone.
    _signing: Option<KeysTask>,
    role: Role,
    vindex: Option<VerifiableIndex>,
    entries: Arc<dyn Entries>,
    zone: String,
    directory: DataDir,
    registers: bool,
}

/// Summary of a node at start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSummary {
    /// Number of entries in the ledger.
    pub entries: u64,
    /// Verifier key of the ledger's checkpoints (C2SP signed-note vkey).
    pub verifier_key: String,
    /// The zone of the node.
    pub zone: String,
    /// The data directory.
    pub data: PathBuf,
    /// URL of the primary's log, if the node is a mirror.
    pub mirror_of: Option<String>,
    /// True if the node registers identifiers outside homed prefixes: false on a mirror, which registers nothing, and
    /// on a recursive node, which registers below its homed prefixes only.
    pub registers: bool,
}

/// Progress of a long job, in bytes of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes processed.
    pub done: u64,
    /// Bytes in total.
    pub total: u64,
}

impl Node {
    /// Starts a node: opens or creates its data directory, replays the ledger into the index, and listens.
    ///
    /// # Errors
    ///
    /// [`AppError`].
    pub async fn start(config: &Config) -> Result<Self, AppError> {
        let machine = Machine::here();
        tracing::info!("{}", Sizes::on(config, &machine).explained(config, &machine));
        let directory = DataDir::open_or_create(&config.data)?;
        let opened = Opened::new(&directory, config)?;
        let (ledger, entries) = (Arc::clone(&opened.ledger), Arc::clone(&opened.entries));
        let publication = Arc::new(Publication::new(ledger.checkpoint()));
        let replicas = replicas(config, &opened.writer);
        let recursive = config.recursion.roots_if_enabled().map(|roots| recursive::start(config, roots)).transpose()?;
        let vindex = vindex::start(config, &directory, &ledger)?;
        let lookups = vindex.as_ref().map(VerifiableIndex::lookups);
        let parts = ReadParts { recursive, publication: Arc::clone(&publication), lookups };
        let Cores { desk, responder, feeds, registry, role } = Cores::start(config, opened, parts)?;
        let lag = role.lag();
        let registers = role.primary().is_none() && !config.recursion.enabled;
        let metrics = MetricList::default();
        metrics.add(Arc::new(CoreMetrics {
            desk: desk.clone(),
            ledger: Arc::clone(&ledger),
            entries: Arc::clone(&entries),
            registry: Arc::clone(registry.stats()),
            feeds: Arc::clone(&feeds),
        }));
        let admission = frontends::admission(config);
        metrics.add(Arc::new(admission.clone()));
        if let Some(lag) = &lag {
            metrics.add(Arc::new(MirrorMetrics(Arc::clone(lag))));
        }
        metrics.add(Arc::new(ProcessMetrics));
        let sign =
            |algorithm: Algorithm| signing::start(&config.data, &config.zone, algorithm, &responder, role.primary());
        let signing = config.dns.dnssec.map(options::algorithm).map(sign).transpose()?;
        let services = Services {
            reads: ReadHandles { desk, lag },
            writes: registry,
            audit: AuditHandles { ledger, publication },
            follow: FollowHandles { feeds, shares: admission.shares(FEED_SHARES) },
            admission,
            metrics,
        };
        let special = Special { responder, replicas };
        let frontends = frontends::start(config, &services, special).await?;
        let zone = config.zone.clone();
        Ok(Self { services, frontends, _signing: signing, role, vindex, entries, zone, directory, registers })
    }

    /// The first address of DNS over UDP and TCP.
    pub fn dns_addr(&self) -> SocketAddr {
        self.address(DNS)
    }

    /// All addresses of DNS over UDP and TCP.
    pub fn dns_addrs(&self) -> Vec<SocketAddr> {
        self.addresses(DNS).collect()
    }

    /// The addresses of DNS over TLS, HTTPS and QUIC, if configured.
    pub fn dns_encrypted_addrs(&self) -> EncryptedAddresses {
        let first = |protocol| self.addresses(protocol).next();
        EncryptedAddresses { tls: first(TLS), https: first(HTTPS), quic: first(QUIC) }
    }

    /// The address of gRPC.
    pub fn grpc_addr(&self) -> SocketAddr {
        self.address(GRPC)
    }

    /// The address of HTTP, if configured.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.addresses(HTTP).next()
    }

    /// The first address of a protocol that every node serves.
    fn address(&self, protocol: &'static str) -> SocketAddr {
        // The configuration has at least one.
        self.addresses(protocol).next().unwrap_or_else(|| ([127, 0, 0, 1], 0).into())
    }

    fn addresses(&self, protocol: &'static str) -> impl Iterator<Item = SocketAddr> {
        let all = self.frontends.iter().flat_map(|frontend| frontend.addresses());
        all.filter(move |listening| listening.protocol == protocol).map(|listening| listening.address)
    }

    /// True if the ledger has no entries.
    pub fn is_empty(&self) -> bool {
        self.services.audit.ledger.checkpoint().size == 0
    }

    /// Summary of the node.
    pub fn summary(&self) -> NodeSummary {
        NodeSummary {
            entries: self.services.audit.ledger.checkpoint().size,
            verifier_key: self.services.audit.ledger.verifier().text().into(),
            zone: self.zone.clone(),
            data: self.directory.path().into(),
            mirror_of: self.role.primary().map(str::to_owned),
            registers: self.registers,
        }
    }

    /// Stops cleanly: finishes calls in progress, drains the queue, merges and seals the index.
    ///
    /// # Errors
    ///
    /// [`AppError`] if the index could not be closed; the ledger is complete all the same, and the next start replays
    /// it.
    pub async fn stop(self) -> Result<(), AppError> {
        let Self { services, frontends, role, vindex, entries, directory, .. } = self;
        // Feeds end before the listeners drain: a listener waits for its calls, and a feed never ends by itself.
        services.follow.feeds.close();
        for frontend in frontends {
            tracing::debug!(frontend = frontend.name(), "draining");
            frontend.drain().await;
        }
        // The sequencer's queue closes with its last sender.
        drop(services);
        let close = move || {
            role.stop();
            if let Some(vindex) = vindex {
                vindex.stop();
            }
            entries.close()?;
            // Without a seal the next start replays or rebuilds the index.
            Ok(seal(&directory)?)
        };
        let closed = tokio::task::spawn_blocking(close).await;
        closed.map_err(|error| AppError::system("cannot close the index", io::Error::other(error)))?
    }
}

/// Ledger and index of a data directory, opened and in step.
struct Opened {
    ledger: Arc<Ledger>,
    entries: Arc<dyn Entries>,
    writer: Writer,
}

impl Opened {
    fn new(directory: &DataDir, config: &Config) -> Result<Self, AppError> {
        let mirror = directory::prepare(directory, asked(&config.mirror))?;
        let seed = entropy()();
        let opening = Opening::new(directory, KeySource { origin: &config.origin, seed })?;
        let index = index::open_or_rebuild(directory, &opening, config)?;
        let (mark, total) = (index.mark(), opening.bytes()?);
        let mut reported = mark.position.0;
        let replayed = opening.recover::<AppError>(mark, |frame| {
            apply::apply_frame(&index, frame)?;
            if frame.end().0 - reported > REPORT_BYTES {
                reported = frame.end().0;
                tracing::info!(done = reported, total, "applying the ledger to the index (bytes)");
            }
            Ok(())
        })?;
        if let Some(of) = mirror {
            let Followed { ledger, replica, segments } = replayed.follow()?;
            let entries = Arc::new(LocalEntries::new(index, segments));
            return Ok(Self { ledger, entries, writer: Writer::Mirror(replica, Box::new(of)) });
        }
        let mut witnesses: Vec<_> = config.witnesses.list.iter().map(witness_of).collect();
        publish::ask(&replayed, &mut witnesses, config.witnesses.required)?;
        let Recovered { ledger, appender, segments } = replayed.sign()?;
        let entries = Arc::new(LocalEntries::new(index, segments));
        Ok(Self { ledger, entries, writer: Writer::Own(appender, witnesses) })
    }
}

/// The configured mirroring; `None` for a node that is not a mirror.
fn asked(config: &config::Mirror) -> Option<directory::Asked<'_>> {
    let (key, only) = (config.key.as_deref(), config.only.as_deref());
    config.of.as_deref().map(|url| directory::Asked { url, key, only })
}

/// Client of a configured witness.
fn witness_of(address: &WitnessAddress) -> Witness {
    Witness::new(WitnessClient::new(address.key.clone(), &address.url))
}

/// Writer of the ledger: the node itself, with its witnesses, or the replication from its primary.
enum Writer {
    Own(Appender, Vec<Witness>),
    Mirror(Replica, Box<MirrorOf>),
}

/// Replication endpoint for mirrors: served by a primary, pointed to the primary by a mirror.
fn replicas(config: &Config, writer: &Writer) -> Replicas {
    match writer {
        Writer::Own(..) => Replicas::Served(config.mirror.allow.clone(), clock()),
        Writer::Mirror(_, of) => Replicas::At(of.url.clone()),
    }
}

/// First half of random bytes.
fn half(bytes: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
}

/// Bytes of ledger applied between two log lines.
const REPORT_BYTES: u64 = 256 << 20;

fn clock() -> Clock {
    Arc::new(|| {
        // A time before 1970 counts as 1970; the times of the ledger never decrease anyway.
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

/// Reports the progress of a job at byte `end` of `total`.
fn report(progress: &mut dyn FnMut(Progress), end: u64, total: u64) {
    progress(Progress { done: end.min(total), total });
}
