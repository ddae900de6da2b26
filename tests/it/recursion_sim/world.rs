//! The tree of the simulation: zones with ledgers, their sites, the replies of each site, and the truth.
//!
//! A zone is the part of the tree under one key. Its ledger is a list of entries with their times; a site has the
//! entries that are older than its lag. Parent and child change at the same moment, so that exactly one state is true
//! at any moment; the history of true states is kept for every identifier.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::Instant;
use touchmark::{
    entry::EntryKind,
    id::{Identifier, Prefix},
    record::{
        Delegation, Endpoint, Permissions, PrefixChange, Record, Site, SiteProtocol, SiteRole, Status, Value, Values,
        Version,
    },
    resolver::{
        Answer, Referral, Tombstone,
        recursion::{Evidence, PrefixEvidence, Roots, SiteQuestion, SiteReply},
    },
    tlog::tlog_proof::TlogProof,
    vindex::{Lookup, LookupKind, keys::prefix_key},
};

use super::prover::{Entry, Prover, prefix_entry, record_entry};

/// Maximum lag of a mirror, including a stuck one.
pub const LAG_MAX: Duration = Duration::from_secs(60);
/// Lag of a verifiable index behind its ledger.
const INDEX_LAG: Duration = Duration::from_secs(1);
/// Maximum TTL of a record, in seconds.
pub const TTL_SECONDS_MAX: u32 = 60;
/// Maximum TTL of a delegation, in seconds.
const DELEGATION_TTL_SECONDS_MAX: u32 = 605;

/// True state of an identifier.
#[derive(Clone, Debug, PartialEq)]
pub enum Truth {
    Found(String),
    Denied,
    Retired,
    NotFound,
}

/// Behaviour of a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Honest,
    Down,
    Refusing,
    /// Replies with an unreadable message.
    Garbage,
    /// Answers for another identifier.
    Mismatch,
    /// Refers back to the root.
    Loop,
    /// Refers to another part of the tree.
    Elsewhere,
    /// Answers that it is not responsible for its prefix.
    Lame,
    /// Lies, without the key of the zone.
    Forger(Forgery),
}

/// Proof that a forger shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A proof under the forger's own key.
    OwnKey,
    /// No proof.
    Nothing,
    /// A real proof of the truth, beside a false answer.
    Real,
    /// A real proof of an earlier state, with current lookups.
    Replay,
    /// A real lookup that finds nothing about the identifier, although it is delegated.
    Absence,
}

struct Written {
    at: Instant,
    time_ms: u64,
    subject: Subject,
    entry: Entry,
}

/// A question to a site.
#[derive(Clone, Copy)]
struct Asked<'a> {
    identifier: &'a Identifier,
    evidence: Evidence,
    /// The prefix for which the site is asked.
    delegated: &'a Prefix,
}

/// Entries of the zone's ledger that a site has, and entries that its index covers.
#[derive(Clone, Copy)]
struct Seen {
    entries: usize,
    indexed: usize,
}

#[derive(Clone)]
enum Subject {
    Record { identifier: Identifier, kind: EntryKind, values: Values },
    Prefix { prefix: Prefix, change: PrefixChange },
}

pub struct Zone {
    pub prefix: Prefix,
    prover: Prover,
    ledger: Vec<Written>,
    by_key: HashMap<[u8; 32], Vec<u64>>,
    began: Instant,
    gave_up: Option<Instant>,
    /// Error of the zone's clock, in milliseconds.
    skew_ms: i64,
    pub ports: Vec<u16>,
}

pub struct Port {
    pub zone: usize,
    pub protocol: SiteProtocol,
    pub role: SiteRole,
    pub lag: Duration,
    pub stuck: Option<Instant>,
    pub mode: Mode,
    pub ever_forged: bool,
}

pub struct World {
    pub rng: StdRng,
    pub zones: Vec<Zone>,
    pub ports: HashMap<u16, Port>,
    pub identifiers: Vec<Identifier>,
    truths: Vec<Vec<(Instant, Truth)>>,
    forger: Prover,
    directory: tempfile::TempDir,
    port_next: u16,
    values_made: u64,
    began: Instant,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let forger = Prover::new(directory.path(), "forger.test", [0xff; 32]);
        let began = Instant::now();
        let mut world = Self {
            rng: StdRng::seed_from_u64(seed),
            zones: Vec::new(),
            ports: HashMap::new(),
            identifiers: Vec::new(),
            truths: Vec::new(),
            forger,
            directory,
            port_next: 1,
            values_made: 0,
            began,
        };
        world.new_zone(".");
        for (prefix, parent) in
            [("88", "."), ("99", "."), ("88.1", "88"), ("88.2", "88"), ("99.1", "99"), ("99.2", "99")]
        {
            let zone = world.new_zone(prefix);
            let parent = world.zone_of(&Prefix::parse(parent).unwrap());
            world.delegate(parent, zone);
        }
        for prefix in ["88", "99", "88.1", "88.2", "99.1", "99.2", "77"] {
            for number in 0..10 {
                world.identifiers.push(Identifier::parse(&format!("{prefix}/part-{number}")).unwrap());
            }
        }
        world.truths = vec![vec![(began, Truth::NotFound)]; world.identifiers.len()];
        world
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.next_u64() % end.max(1)
    }

    pub fn roots(&self) -> Roots {
        Roots::new(vec![(Prefix::parse(".").unwrap(), self.delegation(0, 3_600))])
    }

    /// Adds a zone with two or three sites, the first of which also speaks DNS.
    fn new_zone(&mut self, prefix: &str) -> usize {
        let number = self.zones.len();
        let mut seed = [1; 32];
        seed[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let prover = Prover::new(self.directory.path(), &format!("zone-{number}.test"), seed);
        let skew_ms = self.below(7_200_000).cast_signed() - 3_600_000;
        self.zones.push(Zone {
            prefix: Prefix::parse(prefix).unwrap(),
            prover,
            ledger: Vec::new(),
            by_key: HashMap::new(),
            began: Instant::now(),
            gave_up: None,
            skew_ms,
            ports: Vec::new(),
        });
        self.new_ports(number);
        number
    }

    /// Gives the sites of a zone other addresses.
    fn new_ports(&mut self, zone: usize) {
        for port in std::mem::take(&mut self.zones[zone].ports) {
            self.ports.get_mut(&port).unwrap().mode = Mode::Down;
        }
        let mirrors = 1 + self.below(2);
        for site in 0..=mirrors {
            let role = if site == 0 { SiteRole::Primary } else { SiteRole::Mirror };
            let lag = match role {
                SiteRole::Primary => Duration::ZERO,
                SiteRole::Mirror => Duration::from_millis(self.below(3_000)),
            };
            let protocols: &[SiteProtocol] =
                if site == 0 { &[SiteProtocol::Grpc, SiteProtocol::Dns] } else { &[SiteProtocol::Grpc] };
            for &protocol in protocols {
                let port = self.port_next;
                self.port_next += 1;
                let (mode, stuck, ever_forged) = (Mode::Honest, None, false);
                self.ports.insert(port, Port { zone, protocol, role, lag, stuck, mode, ever_forged });
                self.zones[zone].ports.push(port);
            }
        }
    }

    /// The parent's delegation of a zone.
    fn delegation(&self, zone: usize, ttl_seconds: u32) -> Delegation {
        let mut sites: Vec<Site> = Vec::new();
        for number in &self.zones[zone].ports {
            let port = &self.ports[number];
            let endpoint = Endpoint { protocol: port.protocol, address: SocketAddr::from(([127, 0, 0, 1], *number)) };
            match port.protocol {
                SiteProtocol::Dns => sites.last_mut().unwrap().endpoints.push(endpoint),
                _ => sites.push(Site {
                    serial: 1,
                    role: port.role,
                    key: Some(self.zones[zone].prover.key().into()),
                    endpoints: vec![endpoint],
                }),
            }
        }
        Delegation::new(ttl_seconds, sites, Vec::new()).unwrap()
    }

    /// Current zone of a prefix.
    pub fn zone_of(&self, prefix: &Prefix) -> usize {
        self.zones.iter().rposition(|zone| zone.gave_up.is_none() && zone.prefix == *prefix).unwrap()
    }

    fn write(&mut self, zone: usize, subject: Subject) {
        let now = Instant::now();
        let Zone { ledger, by_key, skew_ms, .. } = &mut self.zones[zone];
        let index = ledger.len() as u64;
        let real_ms = 10_000_000 + (now - self.began).as_millis() as u64;
        let time_ms = real_ms.saturating_add_signed(*skew_ms);
        let (key, entry) = match &subject {
            Subject::Record { identifier, kind, values } => {
                (LookupKind::Id.key(identifier), record_entry(*kind, identifier, values, index, time_ms))
            }
            Subject::Prefix { prefix, change } => (prefix_key(prefix), prefix_entry(prefix, change, index, time_ms)),
        };
        by_key.entry(key).or_default().push(index);
        ledger.push(Written { at: now, time_ms, subject, entry });
    }

    fn delegate(&mut self, parent: usize, child: usize) {
        let ttl_seconds = 5 + self.below(u64::from(DELEGATION_TTL_SECONDS_MAX) - 4) as u32;
        let change = PrefixChange::Delegate(self.delegation(child, ttl_seconds));
        let prefix = self.zones[child].prefix.clone();
        self.write(parent, Subject::Prefix { prefix, change });
    }

    /// Registers, updates or retires an identifier in its current zone.
    pub fn change_record(&mut self) {
        let number = self.below(self.identifiers.len() as u64) as usize;
        let identifier = self.identifiers[number].clone();
        let zone = self.authority(&identifier);
        let truth = self.truths[number].last().unwrap().1.clone();
        let (kind, values) = match truth {
            Truth::Retired => return,
            Truth::NotFound => (EntryKind::Create, self.new_values()),
            _ if self.below(12) == 0 => (EntryKind::Retire, Values::default()),
            _ => (EntryKind::Update, self.new_values()),
        };
        self.write(zone, Subject::Record { identifier, kind, values });
        self.note_truths();
    }

    fn new_values(&mut self) -> Values {
        self.values_made += 1;
        let public = self.below(12) > 0;
        let value = Value {
            index: 1,
            kind: "NAME".parse().unwrap(),
            data: format!("state {}", self.values_made).into(),
            ttl: self.below(u64::from(TTL_SECONDS_MAX) + 1) as u32,
            timestamp: 0,
            permissions: if public { Permissions::DEFAULT } else { "1100".parse().unwrap() },
            references: Vec::new(),
        };
        Values::new(vec![value]).unwrap()
    }

    /// Changes a delegation: new, revoked, with other addresses, with another owner and key, or with another TTL.
    pub fn change_delegation(&mut self) {
        let below = ["88", "99", "88.1", "88.2", "99.1", "99.2"];
        let prefix = below[self.below(6) as usize];
        let parent = prefix.split_once('.').map_or(".", |(parent, _)| parent);
        let [prefix_parsed, parent] = [prefix, parent].map(|text| Prefix::parse(text).unwrap());
        let live = |world: &Self, prefix: &Prefix| {
            world.zones.iter().any(|zone| zone.gave_up.is_none() && zone.prefix == *prefix)
        };
        if !live(self, &parent) {
            return;
        }
        let parent = self.zone_of(&parent);
        if !live(self, &prefix_parsed) {
            let zone = self.new_zone(prefix);
            self.delegate(parent, zone);
        } else {
            let old = self.zone_of(&prefix_parsed);
            match self.below(4) {
                0 if prefix.contains('.') => {
                    self.write(parent, Subject::Prefix { prefix: prefix_parsed, change: PrefixChange::Revoke });
                    self.zones[old].gave_up = Some(Instant::now());
                }
                1 => {
                    let new = self.new_zone(prefix);
                    self.copy(old, new);
                    self.zones[old].gave_up = Some(Instant::now());
                    self.delegate(parent, new);
                }
                2 => {
                    self.new_ports(old);
                    self.delegate(parent, old);
                }
                // The same sites, with another TTL.
                _ => self.delegate(parent, old),
            }
        }
        self.note_truths();
    }

    /// Copies the current records of the old owner of a prefix to the new one.
    fn copy(&mut self, old: usize, new: usize) {
        let newest =
            |subject: &Subject, later: &[Written]| !later.iter().any(|written| written.subject.key() == subject.key());
        let ledger = &self.zones[old].ledger;
        let kept: Vec<Subject> = (0..ledger.len())
            .filter(|at| newest(&ledger[*at].subject, &ledger[at + 1..]))
            .map(|at| ledger[at].subject.clone())
            .collect();
        for subject in kept {
            self.write(new, subject);
        }
    }

    /// A random zone, mostly one that still answers.
    pub fn any_zone(&mut self) -> usize {
        let live: Vec<usize> = (0..self.zones.len()).filter(|zone| self.zones[*zone].gave_up.is_none()).collect();
        match self.below(8) {
            0 => self.below(self.zones.len() as u64) as usize,
            _ => live[self.below(live.len() as u64) as usize],
        }
    }

    /// Current zone of an identifier.
    fn authority(&self, identifier: &Identifier) -> usize {
        let mut zone = 0;
        while let Some((_, referral)) = self.zones[zone].referral(identifier, usize::MAX) {
            zone = self.zone_of(&referral.prefix);
        }
        zone
    }

    fn truth_now(&self, identifier: &Identifier) -> Truth {
        let zone = &self.zones[self.authority(identifier)];
        match zone.newest(&LookupKind::Id.key(identifier), usize::MAX).map(|index| &zone.ledger[index].subject) {
            None | Some(Subject::Prefix { .. }) => Truth::NotFound,
            Some(Subject::Record { kind: EntryKind::Retire, .. }) => Truth::Retired,
            Some(Subject::Record { values, .. }) => match values.iter().find(|value| value.permissions.public_read()) {
                Some(value) => Truth::Found(String::from_utf8(value.data.to_vec()).unwrap()),
                None => Truth::Denied,
            },
        }
    }

    fn note_truths(&mut self) {
        let now = Instant::now();
        for number in 0..self.identifiers.len() {
            let truth = self.truth_now(&self.identifiers[number]);
            if self.truths[number].last().unwrap().1 != truth {
                self.truths[number].push((now, truth));
            }
        }
    }

    /// True if the identifier had this state at any time since `since`.
    pub fn was_true_since(&self, number: usize, truth: &Truth, since: Instant) -> bool {
        let truths = &self.truths[number];
        let ends = truths.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
        truths.iter().zip(ends).any(|((_, was), end)| was == truth && end.is_none_or(|end| end >= since))
    }

    /// End of the last time that the identifier had this state, if there is one.
    pub fn ended(&self, number: usize, truth: &Truth) -> Option<Instant> {
        let followed = self.truths[number].windows(2).rev().find(|pair| pair[0].1 == *truth)?;
        Some(followed[1].0)
    }

    /// Time for which answers of a site may be believed that contradict other sites: a site that keeps answering after
    /// its zone was given up still has the key of a delegation, which the parent's sites show up to their lag, and
    /// others cache for its TTL.
    pub fn outlives(&self, number: u16) -> Duration {
        let Some(port) = self.ports.get(&number) else { return Duration::ZERO };
        match port.ever_forged && self.zones[port.zone].gave_up.is_some() {
            true => LAG_MAX + Duration::from_secs(u64::from(DELEGATION_TTL_SECONDS_MAX)),
            false => Duration::ZERO,
        }
    }

    /// Zone and state of a site, for failure messages.
    pub fn site(&self, number: u16) -> String {
        let Some(Port { zone, lag, stuck, mode, ever_forged, .. }) = self.ports.get(&number) else {
            return format!("{number}: the forger's");
        };
        let ago = |at: Option<Instant>| at.map(|at| at.elapsed());
        let Zone { prefix, began, gave_up, .. } = &self.zones[*zone];
        format!(
            "{number}: zone {zone} ({prefix}), which began {:?} and gave up {:?} ago; lag {lag:?}, stuck {:?}, {mode:?}, ever \
             forged: {ever_forged}",
            began.elapsed(),
            ago(*gave_up),
            ago(*stuck)
        )
    }

    /// Reply of a site; an unknown port belongs to the forger.
    pub fn answer(&mut self, number: u16, asked_as: &Prefix, question: &SiteQuestion) -> Result<SiteReply, String> {
        let now = Instant::now();
        let Some(port) = self.ports.get(&number) else {
            let zone = &self.zones[self.authority(&question.identifier)];
            let seen = Seen { entries: zone.ledger.len(), indexed: zone.ledger.len() };
            let asked = Asked { identifier: &question.identifier, evidence: question.evidence, delegated: asked_as };
            return Ok(self.forge(zone, asked, seen, Forgery::OwnKey));
        };
        let (zone, mode) = (&self.zones[port.zone], port.mode);
        // A stuck mirror moves on once it reaches the maximum lag.
        let view =
            (port.stuck.unwrap_or(now).checked_sub(port.lag)).max(now.checked_sub(LAG_MAX)).unwrap_or(self.began);
        let seen_at = |view: Instant| zone.ledger.partition_point(|written| written.at <= view);
        let seen = Seen { entries: seen_at(view), indexed: seen_at(view.checked_sub(INDEX_LAG).unwrap_or(self.began)) };
        let elsewhere = |prefix: &str| {
            let referral = Referral {
                prefix: Prefix::parse(prefix).unwrap(),
                delegation: self.delegation(0, 60),
                ledger_index: Some(0),
            };
            Ok(SiteReply::bare(Answer::Delegated(referral.into())))
        };
        let evidence = if port.protocol == SiteProtocol::Grpc { question.evidence } else { Evidence::None };
        let identifier = &question.identifier;
        let asked = Asked { identifier, evidence, delegated: asked_as };
        match mode {
            Mode::Honest => {
                let is_home =
                    (zone.began <= view || zone.prefix.is_everything()) && zone.gave_up.is_none_or(|at| view < at);
                match is_home {
                    true => Ok(zone.reply(asked, seen)),
                    false => Ok(SiteReply::bare(Answer::NotResponsible)),
                }
            }
            Mode::Mismatch => {
                let other = self.identifiers.iter().find(|other| *other != identifier).unwrap();
                Ok(SiteReply { answer: forged_record(other), ..zone.reply(Asked { identifier: other, ..asked }, seen) })
            }
            Mode::Loop => elsewhere("."),
            Mode::Elsewhere => elsewhere("66.6"),
            Mode::Lame => Ok(SiteReply::bare(Answer::NotResponsible)),
            Mode::Forger(forgery) => Ok(self.forge(zone, asked, seen, forgery)),
            Mode::Down | Mode::Refusing | Mode::Garbage => Err("is not asked for".into()),
        }
    }

    fn forge(&self, zone: &Zone, asked: Asked<'_>, seen: Seen, forgery: Forgery) -> SiteReply {
        let Asked { identifier, evidence, .. } = asked;
        let real = zone.reply(asked, seen);
        if forgery == Forgery::Replay {
            let once = Seen { entries: seen.entries / 2, indexed: seen.indexed / 2 };
            return SiteReply { lookup: real.lookup, prefixes: real.prefixes, ..zone.reply(asked, once) };
        }
        if forgery == Forgery::Absence {
            return zone.absence(asked, seen);
        }
        let said = match &real.answer {
            // Found records change or disappear, delegations lead to the forger's own sites, and everything else
            // becomes a made-up record.
            Answer::Found(found) if found.record().version.ledger_index % 2 == 0 => Answer::NotFound,
            Answer::Delegated(referral) => {
                let sites = vec![format!("1 primary {} grpc://127.0.0.1:65535", self.forger.key()).parse().unwrap()];
                let delegation = Delegation::new(60, sites, Vec::new()).unwrap();
                Answer::Delegated(Referral { delegation, ..Referral::clone(referral) }.into())
            }
            Answer::Found(real) => Answer::found(Record { version: real.record().version, ..forged(identifier) }),
            _ => forged_record(identifier),
        };
        let subject = LookupKind::Id.key(identifier);
        let own = || {
            let Some(record) = said.record() else { return (None, Some(self.forger.lookup(&subject, &[], 9))) };
            let Version { ledger_index, time_ms, .. } = record.version;
            let entry = record_entry(EntryKind::Create, identifier, &record.values, ledger_index, time_ms);
            let proof = self.forger.inclusion(&entry, ledger_index, ledger_index + 9);
            (Some(proof), Some(self.forger.lookup(&subject, &[ledger_index], ledger_index + 9)))
        };
        let (proof, lookup) = match forgery {
            _ if evidence == Evidence::None => (None, None),
            Forgery::OwnKey => own(),
            Forgery::Nothing => (None, None),
            Forgery::Real | Forgery::Replay | Forgery::Absence => (real.proof, real.lookup),
        };
        SiteReply { proof, lookup, prefixes: real.prefixes, ..SiteReply::bare(said) }
    }
}

fn forged_record(identifier: &Identifier) -> Answer {
    Answer::found(forged(identifier))
}

fn forged(identifier: &Identifier) -> Record {
    let value = Value {
        index: 1,
        kind: "NAME".parse().unwrap(),
        data: "forged".into(),
        ttl: 600_000,
        timestamp: 1,
        permissions: Permissions::DEFAULT,
        references: Vec::new(),
    };
    // The TTL of a record in the ledger is bounded, and that of a forged record is not.
    let values = Values::new(vec![Value { ttl: 172_800, ..value }]).unwrap();
    record(identifier, values, 3, 1_000)
}

fn record(identifier: &Identifier, values: Values, ledger_index: u64, time_ms: u64) -> Record {
    Record {
        identifier: identifier.clone(),
        status: Status::Active,
        values,
        values_erased: Vec::new(),
        edges: Vec::new(),
        edges_truncated: false,
        outputs: None,
        version: Version { number: 1, ledger_index, time_ms },
    }
}

impl Subject {
    fn key(&self) -> [u8; 32] {
        match self {
            Self::Record { identifier, .. } => LookupKind::Id.key(identifier),
            Self::Prefix { prefix, .. } => prefix_key(prefix),
        }
    }
}

impl Zone {
    /// Newest of the first `seen` entries of a key.
    fn newest(&self, key: &[u8; 32], seen: usize) -> Option<usize> {
        let indices = self.by_key.get(key)?;
        indices[..indices.partition_point(|index| (*index as usize) < seen)].last().map(|index| *index as usize)
    }

    /// Longest delegated prefix that covers an identifier, among the first `seen` entries.
    fn referral(&self, identifier: &Identifier, seen: usize) -> Option<(usize, Referral)> {
        let labels = identifier.as_str().split('/').next()?;
        let mut prefixes = labels.match_indices('.').map(|(at, _)| &labels[..at]).collect::<Vec<_>>();
        prefixes.push(labels);
        prefixes.into_iter().rev().find_map(|text| {
            let prefix = Prefix::parse(text).ok()?;
            let index = self.newest(&prefix_key(&prefix), seen)?;
            match &self.ledger[index].subject {
                Subject::Prefix { change: PrefixChange::Delegate(delegation), .. } => {
                    let delegation = delegation.clone();
                    Some((index, Referral { prefix, delegation, ledger_index: Some(index as u64) }))
                }
                _ => None,
            }
        })
    }

    /// Reply of an honest site.
    fn reply(&self, asked: Asked<'_>, seen: Seen) -> SiteReply {
        let (Asked { identifier, evidence, delegated }, Seen { entries, .. }) = (asked, seen);
        let mut subject = LookupKind::Id.key(identifier);
        let (index, said) = match self.referral(identifier, entries) {
            Some((index, referral)) => {
                subject = prefix_key(&referral.prefix);
                (Some(index), Answer::Delegated(referral.into()))
            }
            None => match self.newest(&subject, entries) {
                None => (None, Answer::NotFound),
                Some(index) => (Some(index), self.said(&self.ledger[index], index as u64)),
            },
        };
        let proof = index.filter(|_| evidence != Evidence::None);
        let proof = proof.map(|index| self.proof(index, seen));
        let lookup = evidence == Evidence::Latest || (evidence != Evidence::None && index.is_none());
        let lookup = lookup.then(|| self.lookup(&subject, seen));
        let prefixes = match &said {
            _ if evidence != Evidence::Latest => Vec::new(),
            Answer::Delegated(referral) => self.prefixes(identifier, &referral.prefix, seen),
            _ => self.prefixes(identifier, delegated, seen),
        };
        SiteReply { proof, lookup, prefixes, ..SiteReply::bare(said) }
    }

    fn lookup(&self, key: &[u8; 32], Seen { indexed, .. }: Seen) -> Lookup {
        let indices = self.by_key.get(key).map_or(&[][..], Vec::as_slice);
        let indices = &indices[..indices.partition_point(|index| (*index as usize) < indexed)];
        self.prover.lookup(key, indices, indexed as u64)
    }

    /// Evidence of an honest site for longer prefixes.
    fn prefixes(&self, identifier: &Identifier, upper: &Prefix, seen: Seen) -> Vec<PrefixEvidence> {
        let shown = Prefix::covering(identifier, upper).unwrap().into_iter().map(|prefix| {
            let key = prefix_key(&prefix);
            let last = self.newest(&key, seen.entries).map(|index| self.proof(index, seen));
            PrefixEvidence { lookup: self.lookup(&key, seen), last, prefix }
        });
        shown.collect()
    }

    fn proof(&self, index: usize, Seen { entries, .. }: Seen) -> TlogProof {
        self.prover.inclusion(&self.ledger[index].entry, index as u64, entries as u64)
    }

    /// "Not found", with real proofs except for the delegation of the identifier, which is hidden in one of four ways.
    fn absence(&self, asked: Asked<'_>, seen: Seen) -> SiteReply {
        let Asked { identifier, evidence, delegated } = asked;
        if evidence == Evidence::None {
            return SiteReply::bare(Answer::NotFound);
        }
        let mut prefixes = self.prefixes(identifier, delegated, seen);
        match seen.entries % 4 {
            0 => {}
            1 => prefixes.retain(|shown| shown.last.is_none()),
            2 => prefixes.iter_mut().for_each(|shown| shown.last = None),
            _ => {
                let before = Seen { indexed: 0, ..seen };
                for shown in &mut prefixes {
                    *shown = PrefixEvidence {
                        lookup: self.lookup(&prefix_key(&shown.prefix), before),
                        last: None,
                        prefix: shown.prefix.clone(),
                    };
                }
            }
        }
        let lookup = Some(self.lookup(&LookupKind::Id.key(identifier), seen));
        SiteReply { lookup, prefixes, ..SiteReply::bare(Answer::NotFound) }
    }

    fn said(&self, written: &Written, index: u64) -> Answer {
        let Subject::Record { identifier, kind, values } = &written.subject else { return Answer::NotFound };
        if *kind == EntryKind::Retire {
            let version = Version { number: 1, ledger_index: index, time_ms: written.time_ms };
            return Answer::Retired(Tombstone { identifier: identifier.clone(), version, erased: false }.into());
        }
        let public: Vec<Value> = values
            .iter()
            .filter(|value| value.permissions.public_read())
            .map(|value| Value { timestamp: written.time_ms / 1_000, ..value.clone() })
            .collect();
        match public.is_empty() {
            true => Answer::Denied,
            false => Answer::found(record(identifier, Values::new(public).unwrap(), index, written.time_ms)),
        }
    }
}

/// For failure messages.
impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let directory: PathBuf = self.directory.path().into();
        write!(f, "World({} zones, {} ports, {directory:?})", self.zones.len(), self.ports.len())
    }
}

/// World shared by sites and driver.
pub type Shared = Arc<std::sync::Mutex<World>>;
