//! Standing of a name: the zones of a node, and the cuts below them (RFC 1034 section 4.2).
//!
//! ```text
//! id.test.                       the zone of the node, when nothing is homed on it, or everything is
//!   118.88.hdl.id.test.          homed: a zone of its own, with SOA, NS and keys
//!     8.118.88.hdl.id.test.      delegated: from here on others answer
//! ```
//!
//! The longest prefix that covers a name decides. For a name that no identifier can have, labels are taken off from the
//! left until the rest is the name of an identifier or prefix. A name at a cut or below it gets a referral (RFC 1034
//! section 4.3.2): the NS records of the cut, the addresses of their names (RFC 9471), and in a signed zone the DS
//! records or the proof that there are none (RFC 4035 section 3.1.4). At the cut itself the zone above answers for DS
//! (RFC 4035 section 3.1.4.1) and [`kind::DELEGATION`] with authority.
//!
//! An NS record has no port and no protocol: a resolver that follows it asks at port 53. So a delegation with endpoints
//! at port 53 has NS records of those alone. A delegation that is asked over DNS at other ports only, as on one
//! machine, has NS records of these, for clients that know the port otherwise. The record [`kind::DELEGATION`] has all
//! of it, as the protobuf message `touchmark.v1.PrefixState`; a referral carries it for clients that ask for types of
//! ours, as far as it fits.
//!
//! A delegation without an endpoint for DNS is no cut: the zone above says with authority that there is nothing of the
//! type, and the extended error says "delegated".
//!
//! Deliberately absent: the records of a referral (`referral`) and those of an apex (`apex`). This file finds the
//! standing of a name, and calls neither.

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use super::{wire::kind, zone::Zone};
use crate::{
    id::{
        Prefix,
        dns_name::{self, NameMeaning},
    },
    record::{Delegation, DelegationSigner, SiteProtocol},
    resolver::Depth,
    store::{PrefixVersion, Prefixes, Resident, Responsibility},
};

/// Maximum number of name servers in a referral: more would make it longer than a datagram.
const NAME_SERVERS_MAX: usize = 16;
/// Port at which name servers in NS records are asked.
const DNS_PORT: u16 = 53;
/// Number of prefixes read at once.
const PAGE_PREFIXES: usize = 1_000;

/// Standing of a name: the node that answers for it.
pub(super) enum Standing {
    /// This node. The offset is that of the zone's apex in the name; `None` is the zone of the node.
    Home(Option<usize>),
    /// Another node, by the delegation at this cut.
    Referred(Cut),
    /// No node that this one knows.
    Elsewhere,
}

/// Zone in which a cut lies.
pub(super) enum ZoneAbove {
    /// A zone of this node, by the offset of its apex in the name; `None` is the zone of the node.
    Ours(Option<usize>),
    /// A zone of another node.
    Others,
}

/// A cut: the name at which a zone of this node ends.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    /// State in the ledger of the prefix that makes the cut.
    pub(super) version: Arc<PrefixVersion>,
    /// Offset in the name of the name of the prefix; `None` if the prefix has no name here.
    pub(super) at: Option<usize>,
    /// Offset in the name of the zone above; `None` is the zone of the node.
    pub(super) above: Option<usize>,
}

impl Cut {
    /// The cut of a prefix that has no name here.
    pub(super) fn without_name(version: &Arc<PrefixVersion>) -> Self {
        Self { version: Arc::clone(version), at: None, above: None }
    }

    pub(super) fn ttl_seconds(&self) -> u32 {
        self.version.delegation().map_or(0, Delegation::ttl_seconds)
    }

    pub(super) fn signers(&self) -> &[DelegationSigner] {
        self.version.delegation().map_or(&[], Delegation::signers)
    }

    pub(super) fn name_servers(&self) -> Vec<IpAddr> {
        self.version.delegation().map(name_servers).unwrap_or_default()
    }

    /// Types that the zone above has at the name that is asked, for a delegation without servers. Without servers there
    /// is no cut, and so no NS, which a validator would take for a cut.
    pub(super) fn types_without_servers(&self) -> Vec<u16> {
        let has_signers = !self.signers().is_empty();
        match self.at {
            Some(0) if has_signers => vec![kind::DS, kind::DELEGATION],
            Some(0) => vec![kind::DELEGATION],
            _ => Vec::new(),
        }
    }
}

/// The zones of a node and the cuts below them. Names are labels from left to right, without those of the zone of the
/// node.
#[derive(Clone, Copy)]
pub(super) struct Delegations<'a> {
    pub(super) prefixes: &'a Prefixes,
    pub(super) zone: &'a Zone,
}

impl Delegations<'_> {
    /// Standing of a name with this meaning.
    pub(super) fn standing(self, labels: &[&[u8]], meaning: Option<&NameMeaning>) -> Standing {
        let octets = self.zone.octets();
        // A name that no identifier can have lies below a name that one can have.
        let above = match meaning {
            Some(_) => None,
            None => (1..labels.len()).find_map(|skip| dns_name::parse(labels.get(skip..)?, octets)),
        };
        let path = meaning.or(above.as_ref()).and_then(NameMeaning::path).unwrap_or_default();
        match self.prefixes.responsibility_for(path) {
            Responsibility::Home => {
                let home = self.prefixes.home_of(path);
                Standing::Home(home.and_then(|version| self.place_of(labels, &version.prefix)))
            }
            Responsibility::Delegated(version) => {
                let above = match self.zone_above(labels, &version.prefix) {
                    ZoneAbove::Ours(above) => above,
                    ZoneAbove::Others => None,
                };
                Standing::Referred(Cut { at: self.place_of(labels, &version.prefix), version, above })
            }
            Responsibility::Elsewhere => Standing::Elsewhere,
        }
    }

    /// Offset in a name of the name of a prefix; `None` if the name does not lie at or below it, or the prefix has no
    /// name.
    fn place_of(self, labels: &[&[u8]], prefix: &Prefix) -> Option<usize> {
        let name = dns_name::name_of_prefix(prefix, self.zone.octets())?;
        let before = labels.len().checked_sub(name.labels().count())?;
        let (before, own) = labels.split_at(before);
        let is_same = own.iter().zip(name.labels()).all(|(label, own)| label.eq_ignore_ascii_case(own.as_bytes()));
        is_same.then(|| before.iter().map(|label| label.len() + 1).sum())
    }

    /// Zone in which the cut at a prefix lies.
    pub(super) fn zone_above(self, labels: &[&[u8]], prefix: &Prefix) -> ZoneAbove {
        let mut path = prefix.path().to_vec();
        // A path without its last octet ends with a label, or within the label that makes the cut: the same prefixes
        // cover both.
        while path.pop().is_some() {
            match self.prefixes.responsibility_for(&path) {
                Responsibility::Home => {
                    let home = self.prefixes.home_of(&path);
                    return ZoneAbove::Ours(home.and_then(|version| self.place_of(labels, &version.prefix)));
                }
                Responsibility::Delegated(version) => path = version.prefix.path().to_vec(),
                Responsibility::Elsewhere => return ZoneAbove::Others,
            }
        }
        ZoneAbove::Others
    }

    /// True for the name of a prefix that is homed here.
    pub(super) fn is_homed_apex(self, labels: &[&[u8]]) -> bool {
        let meaning = dns_name::parse(labels, self.zone.octets());
        meaning.is_some_and(|meaning| matches!(self.standing(labels, Some(&meaning)), Standing::Home(Some(0))))
    }
}

/// Addresses at which the sites of a delegation are asked over DNS, each once and at most [`NAME_SERVERS_MAX`]: those
/// with port 53 if there are any, else all.
fn name_servers(delegation: &Delegation) -> Vec<IpAddr> {
    let mut servers = Vec::new();
    let endpoints = || delegation.sites().iter().flat_map(|site| site.speaking(SiteProtocol::Dns));
    let has_usual_port = endpoints().any(|address| address.port() == DNS_PORT);
    for address in
        endpoints().filter(|address| !has_usual_port || address.port() == DNS_PORT).map(|address| address.ip())
    {
        if !servers.contains(&address) && servers.len() < NAME_SERVERS_MAX {
            servers.push(address);
        }
    }
    servers
}

/// Addresses of the name servers of all delegations. Rebuilt after a change of any prefix.
#[derive(Debug, Default)]
pub(super) struct GlueIndex(RwLock<Option<Arc<Glue>>>);

#[derive(Debug)]
struct Glue {
    generation: u64,
    addresses: HashSet<IpAddr>,
}

impl GlueIndex {
    /// True if a delegation has this address among its name servers. Going through all prefixes takes as long as a read
    /// of a disk.
    pub(super) fn contains(&self, prefixes: &Prefixes, address: IpAddr, depth: Depth) -> Resident<bool> {
        // Taken before the prefixes are read: after a change meanwhile, the next call rebuilds the index.
        let generation = prefixes.generation();
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let glue = match (kept.filter(|glue| glue.generation == generation), depth) {
            (Some(glue), _) => glue,
            (None, Depth::Resident) => return Resident::OnDisk,
            (None, Depth::Whole) => {
                let glue = Arc::new(Glue { generation, addresses: glue_addresses(prefixes) });
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&glue));
                glue
            }
        };
        Resident::Here(glue.addresses.contains(&address))
    }
}

fn glue_addresses(prefixes: &Prefixes) -> HashSet<IpAddr> {
    let mut addresses = HashSet::new();
    let mut after: Option<Prefix> = None;
    loop {
        let page = prefixes.list(after.as_ref(), PAGE_PREFIXES);
        addresses.extend(page.iter().filter_map(|version| version.delegation()).flat_map(name_servers));
        match page.last() {
            None => return addresses,
            Some(last) => after = Some(last.prefix.clone()),
        }
    }
}
