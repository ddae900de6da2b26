//! The two cores over one ledger and its index, with the DNS responder and the feeds on top.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use super::{AppError, Opened, Writer, clock, entropy, half, role::Role};
use crate::{
    cache::pool::{Budget, Pool},
    config::{Config, Sizes},
    id::{ParseError, Subtree},
    ledger::{LedgerError, Publication, Seen},
    mirror::{Applier, Follow, Following, Lag},
    protocol::dns::{Responder, ResponderOptions, Zone, cookie::CookieSecrets},
    publish::Publisher,
    registry::{Changes, Committer, Refusal, Registry, Sequencer},
    resolver::{Desk, DeskParts, Recursive, Resolver, feed::Feeds},
    server::dns::cookie_file,
    store::{ImplicitHome, Prefixes, Records},
    tlog::note::VerifierKey,
    vindex::Lookups,
};

/// Parts of the read core beside index and ledger.
pub(super) struct ReadParts {
    /// Recursion, on a recursive node.
    pub(super) recursive: Option<Recursive>,
    /// Published checkpoints, against which proofs are made.
    pub(super) publication: Arc<Publication>,
    /// The verifiable index, if the node has one.
    pub(super) lookups: Option<Lookups>,
}

/// The running cores.
pub(super) struct Cores {
    /// The read core.
    pub(super) desk: Desk,
    /// Answers DNS queries.
    pub(super) responder: Arc<Responder>,
    /// The feed of changes.
    pub(super) feeds: Arc<Feeds>,
    /// The write core; on a mirror it refuses every command.
    pub(super) registry: Registry,
    /// Writer and publisher of the ledger.
    pub(super) role: Role,
}

impl Cores {
    /// Starts the cores.
    ///
    /// # Errors
    ///
    /// [`AppError`] if the zone or the cookie secrets cannot be used, or no thread can be started.
    pub(super) fn start(config: &Config, opened: Opened, parts: ReadParts) -> Result<Self, AppError> {
        let Opened { ledger, entries, writer } = opened;
        let ledger = &ledger;
        let addresses = public_addresses(config);
        let zone = Zone::new(&config.zone)?.with_addresses(addresses.iter().copied());
        let records = Records::new(Arc::clone(&entries), Arc::clone(ledger));
        let implicit = implicit_home(config, &writer)?;
        let homed_only = implicit == ImplicitHome::Never;
        let prefixes = Arc::new(Prefixes::load(&records, implicit)?);
        let (homed, _) = prefixes.count();
        if homed > 0 && addresses.is_empty() {
            tracing::warn!(
                homed,
                "prefixes are homed here, and DNS listens on no particular address: their zones have no NS records; \
                 set `public` in [dns] to the addresses that others ask"
            );
        }
        if homed == 0 && homed_only && ledger.size() > 0 {
            tracing::warn!(
                entries = ledger.size(),
                "this node is recursive and nothing is homed on it: it answers for none of its entries itself; \
                 `touchmark prefix home PREFIX` says what is its own"
            );
        }
        let memory = Sizes::here(config);
        let shared = Pool::new(memory.shared_bytes);
        let budget = |own: Option<usize>| own.map_or_else(|| shared.budget(), Budget::from);
        let resolver = Resolver::new(records.clone(), Arc::clone(&prefixes), budget(memory.answers_bytes));
        let ReadParts { recursive, publication, lookups } = parts;
        let desk = Desk::new(DeskParts { resolver, recursive, publication: Arc::clone(&publication), lookups });
        let sizes = Arc::clone(ledger);
        let options = ResponderOptions {
            identity: config.dns.identity.clone(),
            cache: budget(memory.dns_bytes),
            without_cookie_octets_max: config.dns.without_cookie_octets_max,
            cookies: cookies(config)?,
        };
        let responder = Responder::new(desk.clone(), zone, move || sizes.size(), options);
        let responder = Arc::new(responder);
        let feeds = Arc::new(Feeds::new(records.clone()));
        let committer = committer(&desk, &responder, &feeds);
        let (registry, role) = match writer {
            Writer::Own(appender, witnesses) => {
                let sequencer =
                    Sequencer { appender, records, prefixes, committer, clock: clock(), entropy: entropy() };
                let started = sequencer.spawn();
                let (registry, thread) =
                    started.map_err(|error| AppError::system("cannot start the sequencer", error))?;
                let publisher = Publisher::start(Arc::clone(ledger), Arc::clone(&publication), witnesses);
                let publisher = publisher.map_err(|error| AppError::system("cannot start the publisher", error))?;
                (registry, Role::Primary { sequencer: thread, publisher })
            }
            Writer::Mirror(replica, of) => {
                let refusal = Refusal::Mirror { primary: of.url.clone() };
                let applier = Applier::new(replica, Arc::clone(ledger), entries, prefixes, committer);
                let lag = Arc::new(Lag::new(&of.url, Arc::clone(ledger), ledger.last_time_ms()?, clock()));
                let seen = Arc::new(seen(&config.data, &of.key)?);
                let (ledger, publication) = (Arc::clone(ledger), Arc::clone(&publication));
                let follow = Follow { of: *of, applier, ledger, publication, lag, seen, entropy: entropy() };
                let following = Following::start(follow);
                let following = following.map_err(|error| AppError::system("cannot follow the primary", error))?;
                (Registry::refusing(refusal, entropy()), Role::Mirror(following))
            }
        };
        Ok(Self { desk, responder, feeds, registry, role })
    }
}

/// Checkpoints that a mirror has seen of its primary. A damaged file is set aside: the mirror serves without it.
fn seen(data: &Path, primary: &VerifierKey) -> Result<Seen, LedgerError> {
    match Seen::open(data, primary) {
        Err(error @ LedgerError::Damaged { .. }) => {
            let aside = Seen::set_aside(data)?;
            tracing::error!(
                %error,
                aside = %aside.display(),
                "it is set aside: before this mirror is promoted, give --at-least the newest checkpoint that anybody has"
            );
            Seen::open(data, primary)
        }
        seen => seen,
    }
}

/// Addresses of the node in its NS records: the configured ones, else the specific addresses that DNS listens on.
fn public_addresses(config: &Config) -> Vec<IpAddr> {
    if !config.dns.public.is_empty() {
        return config.dns.public.clone();
    }
    config.dns.listen.iter().map(SocketAddr::ip).filter(|address| !address.is_unspecified()).collect()
}

/// Prefixes that are homed without an entry of the ledger that says so.
fn implicit_home(config: &Config, writer: &Writer) -> Result<ImplicitHome, AppError> {
    let only = match writer {
        Writer::Mirror(_, of) => of.only.as_slice(),
        Writer::Own(..) => &[],
    };
    if only.is_empty() {
        return Ok(if config.recursion.enabled { ImplicitHome::Never } else { ImplicitHome::UntilHomed });
    }
    let kept = only.iter().map(|prefix| Subtree::parse(prefix)).collect::<Result<_, _>>();
    let bad = |error: ParseError| LedgerError::Damaged { path: config.data.clone(), what: error.to_string() };
    Ok(ImplicitHome::Within(kept.map_err(bad)?))
}

/// The callback after a commit: invalidates the desk's answers, then the DNS responses made from them, then advances
/// the feeds.
fn committer(desk: &Desk, responder: &Arc<Responder>, feeds: &Arc<Feeds>) -> Committer {
    let (desk, responder, feeds) = (desk.clone(), Arc::clone(responder), Arc::clone(feeds));
    Box::new(move |changes| {
        match changes {
            Changes::Identifiers(changed) => desk.outdate(changed.iter().map(|change| &change.key)),
            Changes::Prefix => desk.outdate_all(),
        }
        responder.outdate(changes);
        feeds.advance();
    })
}

/// DNS cookie secrets: from the configured file, else random for this process.
fn cookies(config: &Config) -> Result<CookieSecrets, AppError> {
    match &config.dns.cookie_secrets {
        Some(path) => Ok(cookie_file::read(path)?),
        None => Ok(CookieSecrets::new(half(entropy()()), None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_node_says_its_addresses_are() {
        for (dns, public, expected) in [
            ("127.0.0.1:53", "", &["127.0.0.1"][..]),
            ("0.0.0.0:53 [::]:53 [::1]:53", "", &["::1"]),
            ("0.0.0.0:53", "", &[]),
            ("0.0.0.0:53 127.0.0.1:53", "192.0.2.1 2001:db8::1", &["192.0.2.1", "2001:db8::1"]),
        ] {
            let mut config = Config::default();
            config.dns.listen = dns.split_whitespace().map(|text| text.parse().unwrap()).collect();
            config.dns.public = public.split_whitespace().map(|text| text.parse().unwrap()).collect();
            let addresses: Vec<String> = public_addresses(&config).iter().map(ToString::to_string).collect();
            assert_eq!(addresses, expected, "{dns} {public}");
        }
    }
}
