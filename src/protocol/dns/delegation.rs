//! Who answers for a name: the zones that a node has, and the cuts below them (RFC 1034 section 4.2).
//!
//! ```text
//! id.test.                       the zone of the node, when nothing is homed on it, or everything is
//!   118.88.hdl.id.test.          homed: a zone of its own, with SOA, NS and keys
//!     8.118.88.hdl.id.test.      delegated: from here on others answer
//! ```
//!
//! The longest prefix that covers a name decides, also for names that no identifier can have: labels are taken off from the left until
//! the rest is the name of something. What lies at a cut or below it gets a referral (RFC 1034 section 4.3.2): the NS records of
//! the cut, the addresses of their names (RFC 9471), and in a signed zone the DS records or the proof that there are none (RFC 4035
//! section 3.1.4). Of the cut itself the zone above says DS (RFC 4035 section 3.1.4.1) and [`kind::DELEGATION`] with authority.
//!
//! An NS record has no port and no protocol: who follows it asks at port 53. So a delegation with an endpoint there has NS records of
//! those alone; one that is asked over DNS at other ports only, as on one machine, has them of these, for those who know the port
//! otherwise. The record [`kind::DELEGATION`] has all of it, the protobuf message `touchmark.v1.PrefixState`; a referral carries it for
//! those who ask for types of ours, as far as it fits.
//!
//! A delegation to nobody who is asked over DNS is no cut: the zone above says with authority that there is nothing of the type, and
//! the extended error says "delegated".

use std::{
    collections::HashSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use prost::Message as _;

use super::{
    answer::{OwnedAnswer, Section},
    authority::{Asked, Authority, Basis, KeySets, Said, apex_types, push_addresses, push_keys},
    dnssec::{Denied, RrSet, denial::Existence, keys::NoRandomness},
    kind,
    message::{HEADER_OCTETS, rcode},
    name_server,
    records::{authoritative, extended, or_no_data, push_any, without_data},
    signing::{Signing, push_signatures},
    walking::{Walkable, can_be_walked},
    zone::{NEGATIVE_TTL_SECONDS, ZONE_TTL_SECONDS},
};
use crate::{
    id::{
        Prefix,
        dns_name::{self, NameMeaning},
    },
    protocol::{
        grpc::{pb, prefix_to_pb},
        outcome::Outcome,
    },
    record::{Delegation, DelegationSigner, SiteProtocol},
    resolver::Depth,
    store::{PrefixVersion, Prefixes, Resident, Responsibility},
};

/// The most name servers of a referral: more make it longer than a datagram.
const NAME_SERVERS_MAX: usize = 16;
/// Where name servers that are known by NS records are asked.
const DNS_PORT: u16 = 53;
/// Prefixes that are looked at together.
const PAGE_PREFIXES: usize = 1_000;

/// Who answers for a name.
pub(super) enum Standing {
    /// This node: the zone whose apex stands at this offset in the name; without one, the zone of the node.
    Home(Option<usize>),
    /// Others.
    Referred(Cut),
    /// Nobody that this node knows.
    Elsewhere,
}

/// Where a zone of this node ends.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    version: Arc<PrefixVersion>,
    /// Where in the name the name of the prefix begins; nothing when it has none.
    at: Option<usize>,
    /// Where the zone above begins, when it is not that of the node.
    above: Option<usize>,
}

impl Cut {
    /// One of a prefix that has no name here.
    pub(super) fn without_name(version: &Arc<PrefixVersion>) -> Self {
        Self { version: Arc::clone(version), at: None, above: None }
    }

    fn ttl_seconds(&self) -> u32 {
        self.version.delegation().map_or(0, Delegation::ttl_seconds)
    }

    fn signers(&self) -> &[DelegationSigner] {
        self.version.delegation().map_or(&[], Delegation::signers)
    }

    fn name_servers(&self) -> Vec<IpAddr> {
        self.version.delegation().map(name_servers).unwrap_or_default()
    }

    /// The types that the zone above has at the name that is asked. Without servers there is no cut, and so no NS, which a validator
    /// would take for one.
    fn types_without_servers(&self) -> Vec<u16> {
        let has_signers = !self.signers().is_empty();
        match self.at {
            Some(0) if has_signers => vec![kind::DS, kind::DELEGATION],
            Some(0) => vec![kind::DELEGATION],
            _ => Vec::new(),
        }
    }
}

impl Said {
    /// That others answer.
    pub(super) fn referral(cut: Cut) -> Self {
        Self { cut: Some(cut), ..Self::new(OwnedAnswer::empty(rcode::NOERROR), Basis::Record) }
    }
}

impl Authority {
    /// Who answers for a name that means this.
    pub(super) fn standing(&self, asked: &Asked<'_>, meaning: Option<&NameMeaning>) -> Standing {
        let prefixes = self.resolver.prefixes();
        let octets = self.zone.octets();
        // A name that can be nobody's lies below one that is somebody's.
        let above = match meaning {
            Some(_) => None,
            None => (1..asked.labels.len()).find_map(|skip| dns_name::parse(asked.labels.get(skip..)?, octets)),
        };
        let path = meaning.or(above.as_ref()).and_then(NameMeaning::path).unwrap_or_default();
        match prefixes.responsibility_for(path) {
            Responsibility::Home => {
                let home = prefixes.home_of(path);
                Standing::Home(home.and_then(|version| self.place_of(asked, &version.prefix)))
            }
            Responsibility::Delegated(version) => {
                let above = match self.zone_above(asked, &version.prefix) {
                    Above::Ours(above) => above,
                    Above::Others => None,
                };
                Standing::Referred(Cut { at: self.place_of(asked, &version.prefix), version, above })
            }
            Responsibility::Elsewhere => Standing::Elsewhere,
        }
    }

    /// Where the name of a prefix begins in the name that is asked; `None` when it is not below it, or it has none.
    fn place_of(&self, asked: &Asked<'_>, prefix: &Prefix) -> Option<usize> {
        let name = dns_name::name_of_prefix(prefix, self.zone.octets())?;
        let before = asked.labels.len().checked_sub(name.labels().count())?;
        let (before, own) = asked.labels.split_at(before);
        let same = |(own, label): (&str, &&[u8])| label.eq_ignore_ascii_case(own.as_bytes());
        let octets = || before.iter().map(|label| label.len() + 1).sum();
        name.labels().zip(own).all(same).then(octets)
    }

    /// In which zone the cut at a prefix lies.
    fn zone_above(&self, asked: &Asked<'_>, prefix: &Prefix) -> Above {
        let prefixes = self.resolver.prefixes();
        let mut path = prefix.path().to_vec();
        // Without its last octet it ends with a label, or within the one that makes the cut; what covers it is the same.
        while path.pop().is_some() {
            match prefixes.responsibility_for(&path) {
                Responsibility::Home => {
                    let home = prefixes.home_of(&path);
                    return Above::Ours(home.and_then(|version| self.place_of(asked, &version.prefix)));
                }
                Responsibility::Delegated(version) => path = version.prefix.path().to_vec(),
                Responsibility::Elsewhere => return Above::Others,
            }
        }
        Above::Others
    }

    /// True when the name that is asked is that of a prefix that is homed here.
    pub(super) fn is_homed_apex(&self, asked: &Asked<'_>) -> bool {
        let meaning = dns_name::parse(&asked.labels, self.zone.octets());
        meaning.is_some_and(|meaning| matches!(self.standing(asked, Some(&meaning)), Standing::Home(Some(0))))
    }

    /// What the apex of a homed prefix says of its own; `None` for what an identifier of that name may have.
    pub(super) fn homed_apex(&self, asked: &Asked<'_>) -> Option<Said> {
        let apex = self.apex_of(asked.question.name(), Some(0));
        let keys = asked.signing.map(|signing| signing.key_sets(&apex, asked.now));
        let mut answer = authoritative();
        match asked.kind() {
            kind::NS => self.push_own_name_servers(asked, &mut answer),
            kind::ANY => push_any(&mut answer),
            kind::DS => return self.own_signers(asked, &apex),
            kind => push_keys(&mut answer, kind, keys.as_ref()),
        }
        let said = Said::with_types(answer, self.homed_types(keys.as_ref())).of_zone(Some(0));
        (said.answer.answer_count() > 0).then_some(said)
    }

    /// What an identifier of that name says at the apex of a homed prefix, or that it has nothing of this type.
    pub(super) fn with_apex(&self, asked: &Asked<'_>, mut said: Said) -> Said {
        if said.answer.rcode == rcode::NXDOMAIN {
            said.answer = or_no_data(authoritative());
        }
        if said.answer.negative {
            let apex = self.apex_of(asked.question.name(), Some(0));
            let keys = asked.signing.map(|signing| signing.key_sets(&apex, asked.now));
            said.types.extend(self.homed_types(keys.as_ref()));
        }
        said.of_zone(Some(0))
    }

    /// The types that the apex of a homed prefix has as such.
    fn homed_types(&self, keys: Option<&KeySets>) -> Vec<u16> {
        let mut types = apex_types(keys);
        types.retain(|kind| *kind != kind::NS || !self.zone.addresses().is_empty());
        types
    }

    /// The DS records of a zone of this node in another one of this node; `None` where others have them.
    fn own_signers(&self, asked: &Asked<'_>, apex: &[u8]) -> Option<Said> {
        let prefix = dns_name::prefix_of_name(&asked.labels, self.zone.octets())?;
        let Above::Ours(above) = self.zone_above(asked, &prefix) else { return None };
        let mut answer = authoritative();
        for data in asked.signing.into_iter().flat_map(|signing| signing.signer.cds(apex, asked.now)) {
            answer.push(Section::Answer, kind::DS, ZONE_TTL_SECONDS, |out| out.extend_from_slice(&data));
        }
        Some(Said::with_types(or_no_data(answer), vec![kind::NS]).of_zone(above))
    }

    /// Adds the NS records of a homed prefix. A node that listens on no particular address has none to give: its own name is that of
    /// another node where it is asked for, and those that the zone above knows stay.
    fn push_own_name_servers(&self, asked: &Asked<'_>, answer: &mut OwnedAnswer) {
        let zone_offset = asked.zone_offset();
        let addresses = self.zone.addresses();
        let mut owners = Vec::new();
        for &address in addresses {
            owners.push((asked.data_offset(answer), address));
            answer.push(Section::Answer, kind::NS, ZONE_TTL_SECONDS, |out| {
                name_server::put_name(out, address, zone_offset);
            });
        }
        for (owner, address) in owners {
            push_addresses(answer, (Section::Additional, owner), &[address], |_| true);
        }
    }

    /// The data of the NS records of a homed prefix, in full.
    pub(super) fn own_name_servers(&self) -> Vec<Vec<u8>> {
        let addresses = self.zone.addresses().iter();
        addresses.map(|address| name_server::name(*address, self.zone.apex())).collect()
    }

    /// The answer for a name at a cut or below it.
    pub(super) fn referred(&self, asked: &Asked<'_>, cut: Cut, meaning: Option<NameMeaning>) -> Said {
        let mut answer = authoritative();
        match asked.kind() {
            kind::DS if cut.at == Some(0) => {
                for signer in cut.signers() {
                    answer.push(Section::Answer, kind::DS, cut.ttl_seconds(), |out| put_signer(out, signer));
                }
            }
            kind::DELEGATION if cut.at == Some(0) => {
                answer.push(Section::Answer, kind::DELEGATION, cut.ttl_seconds(), |out| put_state(out, &cut.version));
            }
            kind => return walkable(asked, kind, meaning).unwrap_or_else(|| Said::referral(cut)),
        }
        // Of a cut without DS, the zone above has NS.
        let types = if cut.name_servers().is_empty() { cut.types_without_servers() } else { vec![kind::NS] };
        Said::with_types(or_no_data(answer), types).of_zone(cut.above)
    }

    /// The answer for a name that neither this node answers for nor anybody that it knows.
    pub(super) fn elsewhere(&self, asked: &Asked<'_>, meaning: Option<NameMeaning>) -> Said {
        let refused = || Said::new(without_data(Outcome::NotResponsible), Basis::Record);
        walkable(asked, asked.kind(), meaning).unwrap_or_else(refused)
    }

    /// The referral at a cut.
    ///
    /// # Errors
    ///
    /// [`NoRandomness`]; the answer is to be dropped then.
    pub(super) fn make_referral(
        &self,
        asked: &Asked<'_>,
        cut: &Cut,
        signing: Option<&Signing>,
    ) -> Result<OwnedAnswer, NoRandomness> {
        let mut answer = OwnedAnswer::empty(rcode::NOERROR);
        let servers = cut.name_servers();
        match cut.at {
            // Nobody knows in which zone a prefix without a name would lie.
            None => answer.extended = extended(Outcome::Delegated),
            Some(_) if servers.is_empty() => answer = self.without_servers(asked, cut, signing)?,
            Some(at) => {
                let (owner, ttl) = (HEADER_OCTETS + at, cut.ttl_seconds());
                let mut owners = Vec::new();
                for &address in &servers {
                    owners.push((asked.data_offset(&answer), address));
                    answer.push_at(Section::Authority, owner, kind::NS, ttl, |out| {
                        name_server::put_name(out, address, asked.zone_offset());
                    });
                }
                if let Some(signing) = signing {
                    self.push_signers(asked, cut, (at, signing), &mut answer)?;
                }
                for (owner, address) in owners {
                    let kind = name_server::kind_of(address);
                    let put = |out: &mut Vec<u8>| name_server::put_address(out, address);
                    answer.push_at(Section::Additional, owner, kind, ttl, put);
                }
            }
        }
        if matches!(asked.kind(), kind::RECORD | kind::DELEGATION) {
            let owner = HEADER_OCTETS + cut.at.unwrap_or(0);
            let put = |out: &mut Vec<u8>| put_state(out, &cut.version);
            answer.push_dispensable(owner, kind::DELEGATION, cut.ttl_seconds(), put);
        }
        answer.cut_at = cut.at.map(|at| at as u16);
        Ok(answer)
    }

    /// What the zone above says where nobody can be asked over DNS: that there is nothing of the type, and why.
    fn without_servers(
        &self,
        asked: &Asked<'_>,
        cut: &Cut,
        signing: Option<&Signing>,
    ) -> Result<OwnedAnswer, NoRandomness> {
        let said = Said::with_types(or_no_data(authoritative()), cut.types_without_servers()).of_zone(cut.above);
        let mut answer = OwnedAnswer { extended: extended(Outcome::Delegated), ..said.answer };
        if let Some(signing) = signing {
            signing.deny(self, asked.question, (&mut answer, &said.types), asked.now)?;
        }
        Ok(answer)
    }

    /// Adds the DS records of a cut, or the proof that there are none, signed by the zone above (RFC 4035 section 3.1.4).
    fn push_signers(
        &self,
        asked: &Asked<'_>,
        cut: &Cut,
        (at, signing): (usize, &Signing),
        answer: &mut OwnedAnswer,
    ) -> Result<(), NoRandomness> {
        let (name, offset, ttl) = (asked.question.name(), HEADER_OCTETS + at, cut.ttl_seconds());
        let owner = name.get(at..).unwrap_or_default();
        let apex = self.apex_of(name, cut.above.map(|above| above as u16));
        let (kind, ttl, rdatas, rrsigs) = if cut.signers().is_empty() {
            // RFC 9824 section 3.4.
            let denied = Denied { owner, apex: &apex, existence: Existence::Types(&[kind::NS]) };
            let denial = signing.signer.denial(denied, NEGATIVE_TTL_SECONDS, asked.now)?;
            (kind::NSEC, NEGATIVE_TTL_SECONDS, vec![denial.rdata], denial.rrsigs)
        } else {
            let rdatas: Vec<Vec<u8>> = cut.signers().iter().map(signer_data).collect();
            let slices: Vec<&[u8]> = rdatas.iter().map(Vec::as_slice).collect();
            let set = RrSet { owner, kind: kind::DS, ttl, rdatas: &slices };
            let rrsigs = signing.signer.rrsigs(&set, &apex, asked.now)?;
            (kind::DS, ttl, rdatas, rrsigs)
        };
        for rdata in rdatas {
            answer.push_at(Section::Authority, offset, kind, ttl, |out| out.extend_from_slice(&rdata));
        }
        push_signatures(answer, (Section::Authority, offset), ttl, &rrsigs);
        Ok(())
    }

    /// True for the addresses that have a name here: those of the node, and those of others to whom it delegates.
    pub(super) fn is_name_server(&self, address: IpAddr, depth: Depth) -> Resident<bool> {
        match self.zone.addresses().contains(&address) {
            true => Resident::Here(true),
            false => self.glue.contains(self.resolver.prefixes(), address, depth),
        }
    }
}

/// Whose the zone above a cut is.
enum Above {
    /// This node's: where its apex stands in the name, when it is not the zone of the node.
    Ours(Option<usize>),
    /// Somebody else's.
    Others,
}

/// What others are asked instead of an answer, when they are.
fn walkable(asked: &Asked<'_>, kind: u16, meaning: Option<NameMeaning>) -> Option<Said> {
    let meaning = meaning.filter(|_| asked.recursion && can_be_walked(kind))?;
    let walkable = Walkable::of(meaning)?;
    let answer = OwnedAnswer::empty(rcode::NOERROR);
    Some(Said { walkable: Some(walkable), ..Said::new(answer, Basis::Record) })
}

/// The addresses at which the sites of a delegation are asked over DNS, each once: those with port 53 if there are any, else all.
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

/// Writes the data of a DS record (RFC 4034 section 5.1).
fn put_signer(out: &mut Vec<u8>, signer: &DelegationSigner) {
    out.extend_from_slice(&signer.key_tag.to_be_bytes());
    out.extend_from_slice(&[signer.algorithm, signer.digest_type]);
    out.extend_from_slice(&signer.digest);
}

fn signer_data(signer: &DelegationSigner) -> Vec<u8> {
    let mut data = Vec::new();
    put_signer(&mut data, signer);
    data
}

/// Writes what the ledger says of a prefix; who said it and when stays here.
fn put_state(out: &mut Vec<u8>, version: &PrefixVersion) {
    pb::PrefixState { time: 0, by: String::new(), ..prefix_to_pb(version) }.encode_raw(out);
}

/// The addresses of all sites that are asked over DNS. It is made again when something was said of a prefix.
#[derive(Debug, Default)]
pub(super) struct GlueIndex(RwLock<Option<Arc<Glue>>>);

#[derive(Debug)]
struct Glue {
    generation: u64,
    addresses: HashSet<IpAddr>,
}

impl GlueIndex {
    /// Whether a site has this address. Looking at all prefixes takes as long as a disk.
    fn contains(&self, prefixes: &Prefixes, address: IpAddr, depth: Depth) -> Resident<bool> {
        // Taken before the prefixes are read: a change meanwhile makes the next one look again.
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
