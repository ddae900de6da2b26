//! The real verifier on real proofs: valid proofs are accepted, and nothing else.

use touchmark::{
    entry::EntryKind,
    id::{Identifier, Prefix},
    record::{Delegation, Permissions, PrefixChange, Record, Status, Value, Values, Version},
    resolver::{
        Answer, Referral, Tombstone,
        recursion::{Claim, Evidence, LedgerVerifier, PrefixEvidence, Shown, SiteReply, Verification, Verifier as _},
    },
    tlog::tlog_proof::TlogProof,
    vindex::{LookupKind, keys::prefix_key},
};

use super::prover::{Entry, Prover, prefix_entry, record_entry};

const INDEX: u64 = 5;
const SIZE: u64 = 11;
const TIME_MS: u64 = 7_000;

struct Bed {
    _directory: tempfile::TempDir,
    zone: Prover,
    other: Prover,
    identifier: Identifier,
}

fn bed() -> Bed {
    let directory = tempfile::tempdir().unwrap();
    let (zone, other) =
        (Prover::new(directory.path(), "zone.test", [1; 32]), Prover::new(directory.path(), "other.test", [2; 32]));
    Bed { _directory: directory, zone, other, identifier: Identifier::parse("88.1/Part").unwrap() }
}

fn values(public: &[bool]) -> Values {
    let value = |(at, public): (usize, &bool)| Value {
        index: at as u32 + 1,
        kind: "NAME".parse().unwrap(),
        data: format!("value {at}").into(),
        ttl: 60,
        timestamp: 0,
        permissions: if *public { Permissions::DEFAULT } else { "1100".parse().unwrap() },
        references: Vec::new(),
    };
    Values::new(public.iter().enumerate().map(value).collect()).unwrap()
}

/// The record as a site returns it: its public values, with the time of their entry.
fn record(bed: &Bed, values: &Values) -> Record {
    let public = values.iter().filter(|value| value.permissions.public_read());
    let public = public.map(|value| Value { timestamp: TIME_MS / 1_000, ..value.clone() }).collect();
    Record {
        identifier: Identifier::parse("88.1/PART").unwrap_or_else(|_| bed.identifier.clone()),
        status: Status::Active,
        values: Values::new(public).unwrap(),
        values_erased: Vec::new(),
        edges: Vec::new(),
        edges_truncated: false,
        outputs: None,
        version: Version { number: 1, ledger_index: INDEX, time_ms: TIME_MS },
    }
}

fn reply(bed: &Bed, said: Answer, entry: &Entry, subject: &[u8; 32]) -> SiteReply {
    let proof = Some(bed.zone.inclusion(entry, INDEX, SIZE));
    let lookup = Some(bed.zone.lookup(subject, &[2, INDEX], SIZE));
    SiteReply { proof, lookup, ..SiteReply::bare(said) }
}

fn verify(bed: &Bed, evidence: Evidence, reply: &SiteReply) -> Result<Shown, String> {
    verify_as(bed, "88.1", &bed.identifier, evidence, reply)
}

/// As [`verify`], for the site of this prefix.
fn verify_as(bed: &Bed, prefix: &str, of: &Identifier, evidence: Evidence, reply: &SiteReply) -> Result<Shown, String> {
    let prefix = &Prefix::parse(prefix).unwrap();
    let claim = Claim { key: Some(bed.zone.key()), prefix, identifier: of, evidence, reply };
    LedgerVerifier::default().verify(&claim).map_err(|unproven| unproven.reason)
}

fn fails(bed: &Bed, evidence: Evidence, reply: &SiteReply, rule: &str) {
    let reason = verify(bed, evidence, reply).unwrap_err();
    assert!(reason.contains(rule), "{rule}: {reason}");
}

#[test]
fn a_record_is_proven_by_its_entry_and_the_lookup() {
    let bed = bed();
    let values = values(&[true, false, true]);
    let subject = LookupKind::Id.key(&bed.identifier);
    let entry = record_entry(EntryKind::Update, &bed.identifier, &values, INDEX, TIME_MS);
    let found = || record(&bed, &values);
    let good = reply(&bed, Answer::found(found()), &entry, &subject);
    for (evidence, verification) in
        [(Evidence::Inclusion, Verification::Included), (Evidence::Latest, Verification::Latest)]
    {
        assert_eq!(verify(&bed, evidence, &good), Ok(Shown { verification, withheld: [2].into() }));
    }
    let says = |change: &dyn Fn(&mut Record), rule: &str| {
        let mut changed = found();
        change(&mut changed);
        fails(&bed, Evidence::Inclusion, &SiteReply { answer: Answer::found(changed), ..good.clone() }, rule);
    };
    says(&|record| record.version.ledger_index = 4, "it says entry 4, and shows entry 5");
    says(&|record| record.version.time_ms += 1, "it says entry 5, and shows");
    says(&|record| record.values = Values::default(), "its values are not those");
    says(&|record| record.values_erased = vec![1], "was erased, and shows it");
    let mut other = values.iter().cloned().collect::<Vec<_>>();
    other[0].ttl = 61;
    let other = record(&bed, &Values::new(other).unwrap()).values;
    says(&|record| record.values = other.clone(), "its values are not those");
    let shows = |change: &dyn Fn(&mut SiteReply), rule: &str| {
        let mut changed = good.clone();
        change(&mut changed);
        fails(&bed, Evidence::Latest, &changed, rule);
    };
    let elsewhere = Identifier::parse("88.1/other").unwrap();
    let about = |identifier: &Identifier, kind| record_entry(kind, identifier, &values, INDEX, TIME_MS);
    shows(&|reply| reply.proof = None, "no proof");
    shows(&|reply| reply.lookup = None, "no lookup");
    let no_entry = |proof: &mut TlogProof| proof.extra = b"x".into();
    shows(&|reply| reply.proof.iter_mut().for_each(no_entry), "entry");
    shows(&|reply| reply.proof = Some(bed.other.inclusion(&entry, INDEX, SIZE)), "");
    shows(
        &|reply| reply.proof = Some(bed.zone.inclusion(&about(&elsewhere, EntryKind::Update), INDEX, SIZE)),
        "is about",
    );
    let retire = record_entry(EntryKind::Retire, &bed.identifier, &Values::default(), INDEX, TIME_MS);
    shows(&|reply| reply.proof = Some(bed.zone.inclusion(&retire, INDEX, SIZE)), "says found");
    shows(&|reply| reply.lookup = Some(bed.zone.lookup(&subject, &[INDEX, 7], SIZE)), "the last one is 7");
    shows(&|reply| reply.lookup = Some(bed.zone.lookup(&subject, &[], SIZE)), "the last one is none");
    let behind = SiteReply { lookup: Some(bed.zone.lookup(&subject, &[2], INDEX)), ..good.clone() };
    assert!(verify(&bed, Evidence::Latest, &behind).is_ok(), "the index does not cover the entry yet");
    shows(&|reply| reply.lookup = Some(bed.zone.lookup(&subject, &[2], INDEX + 1)), "the last one is 2");
    shows(&|reply| reply.lookup = Some(bed.other.lookup(&subject, &[INDEX], SIZE)), "not signed by");
    let wrong = LookupKind::Out.key(&bed.identifier);
    shows(&|reply| reply.lookup = Some(bed.zone.lookup(&wrong, &[INDEX], SIZE)), "map");
    let prefix = &Prefix::everything();
    let claim = Claim { key: None, prefix, identifier: &bed.identifier, evidence: Evidence::Inclusion, reply: &good };
    assert!(LedgerVerifier::default().verify(&claim).is_err(), "a site without a key proves nothing");
}

#[test]
fn what_is_gone_denied_or_not_there_is_proven() {
    let bed = bed();
    let subject = LookupKind::Id.key(&bed.identifier);
    let entry = |kind, public: &[bool]| record_entry(kind, &bed.identifier, &values(public), INDEX, TIME_MS);
    let version = Version { number: 2, ledger_index: INDEX, time_ms: TIME_MS };
    let gone = |erased| Answer::Retired(Tombstone { identifier: bed.identifier.clone(), version, erased }.into());
    let (retire, create) = (entry(EntryKind::Retire, &[]), entry(EntryKind::Create, &[false]));
    let latest = |said: Answer, entry: &Entry| reply(&bed, said, entry, &subject);
    assert!(verify(&bed, Evidence::Latest, &latest(gone(false), &retire)).is_ok());
    fails(&bed, Evidence::Latest, &latest(gone(true), &retire), "says gone");
    fails(&bed, Evidence::Latest, &latest(gone(false), &create), "says gone");
    let denied = verify(&bed, Evidence::Latest, &latest(Answer::Denied, &create)).unwrap();
    assert_eq!(&*denied.withheld, [1]);
    fails(&bed, Evidence::Latest, &latest(Answer::Denied, &retire), "no record whose values");
    fails(
        &bed,
        Evidence::Latest,
        &latest(Answer::Denied, &entry(EntryKind::Create, &[true, false])),
        "no record whose",
    );
    fails(&bed, Evidence::Latest, &latest(Answer::NotResponsible, &create), "nothing can prove that");
    let absent = |indices: &[u64]| SiteReply {
        lookup: Some(bed.zone.lookup(&subject, indices, SIZE)),
        ..SiteReply::bare(Answer::NotFound)
    };
    assert_eq!(verify(&bed, Evidence::Inclusion, &absent(&[])).unwrap().verification, Verification::Included);
    assert_eq!(verify(&bed, Evidence::Latest, &absent(&[])).unwrap().verification, Verification::Latest);
    fails(&bed, Evidence::Latest, &absent(&[3]), "entry 3 is about the identifier");
    fails(&bed, Evidence::Inclusion, &SiteReply::bare(Answer::NotFound), "no lookup");
}

#[test]
fn a_referral_is_proven_by_the_entry_that_delegates() {
    let bed = bed();
    let (prefix, other) = (Prefix::parse("88.1").unwrap(), Prefix::parse("88").unwrap());
    let delegation = |ttl| Delegation::new(ttl, vec!["grpc://192.0.2.1:1".parse().unwrap()], Vec::new()).unwrap();
    let entry = |prefix: &Prefix, change: PrefixChange| prefix_entry(prefix, &change, INDEX, TIME_MS);
    let delegates = entry(&prefix, PrefixChange::Delegate(delegation(60)));
    let refers = |prefix: &Prefix, ttl, ledger_index| {
        let ledger_index = Some(ledger_index);
        Answer::Delegated(Referral { prefix: prefix.clone(), delegation: delegation(ttl), ledger_index }.into())
    };
    let subject = prefix_key(&prefix);
    let good = reply(&bed, refers(&prefix, 60, INDEX), &delegates, &subject);
    assert_eq!(verify(&bed, Evidence::Latest, &good).unwrap().verification, Verification::Latest);
    for (answer, rule) in [
        (refers(&other, 60, INDEX), "refers to hdl:88"),
        (refers(&prefix, 61, INDEX), "to other sites, or otherwise"),
        (refers(&prefix, 60, 4), "it says entry 4"),
    ] {
        fails(&bed, Evidence::Inclusion, &SiteReply { answer, ..good.clone() }, rule);
    }
    for (entry, rule) in [
        (entry(&prefix, PrefixChange::Revoke), "is `revoke` of"),
        (entry(&prefix, PrefixChange::Home), "is `home` of"),
        (record_entry(EntryKind::Create, &bed.identifier, &values(&[true]), INDEX, TIME_MS), "is `create` of"),
    ] {
        let proof = Some(bed.zone.inclusion(&entry, INDEX, SIZE));
        fails(&bed, Evidence::Inclusion, &SiteReply { proof, ..good.clone() }, rule);
    }
    let revoked = Some(bed.zone.lookup(&subject, &[INDEX, 9], SIZE));
    fails(&bed, Evidence::Latest, &SiteReply { lookup: revoked, ..good.clone() }, "the last one is 9");
    let id = Some(bed.zone.lookup(&LookupKind::Id.key(&bed.identifier), &[INDEX], SIZE));
    fails(&bed, Evidence::Latest, &SiteReply { lookup: id, ..good }, "map");
}

/// An index behind the end of all lookups.
const BEHIND: u64 = SIZE + 1;

impl Bed {
    /// Evidence for a prefix: a lookup that finds these entries, and the last entry with its index.
    fn shown(&self, prefix: &str, found: &[u64], last: Option<(&PrefixChange, u64)>) -> PrefixEvidence {
        let prefix = Prefix::parse(prefix).unwrap();
        let last = last.map(|(change, index)| {
            self.zone.inclusion(&prefix_entry(&prefix, change, index, TIME_MS), index, SIZE + 5)
        });
        PrefixEvidence { lookup: self.zone.lookup(&prefix_key(&prefix), found, SIZE), last, prefix }
    }

    fn absent(&self, identifier: &Identifier, prefixes: Vec<PrefixEvidence>) -> SiteReply {
        let lookup = Some(self.zone.lookup(&LookupKind::Id.key(identifier), &[], SIZE));
        SiteReply { lookup, prefixes, ..SiteReply::bare(Answer::NotFound) }
    }
}

/// Checks the reply of a site for the root: verified if `rule` is empty, otherwise refused with this reason.
fn shows(bed: &Bed, reply: &SiteReply, rule: &str) {
    match (verify_as(bed, ".", &bed.identifier, Evidence::Latest, reply), rule) {
        (Ok(shown), "") => assert_eq!(shown.verification, Verification::Latest),
        (Err(reason), rule) if !rule.is_empty() => assert!(reason.contains(rule), "{rule}: {reason}"),
        (verified, rule) => panic!("`{rule}`: {verified:?}"),
    }
}

#[test]
fn no_longer_prefix_may_be_delegated() {
    let bed = bed();
    let site = vec!["grpc://192.0.2.1:1".parse().unwrap()];
    let gives = &PrefixChange::Delegate(Delegation::new(60, site, Vec::new()).unwrap());
    let (homes, revokes) = (&PrefixChange::Home, &PrefixChange::Revoke);
    let none = |prefix: &str| bed.shown(prefix, &[], None);
    let upper = |found: &[u64], last| vec![none("88.1"), bed.shown("88", found, last)];
    let lower = |found: &[u64], last| vec![bed.shown("88.1", found, last), none("88")];
    let foreign = |prefix: &str, lookup| PrefixEvidence { lookup, ..none(prefix) };
    let of = |prefix: &str| prefix_key(&Prefix::parse(prefix).unwrap());
    let home_of_upper = bed.shown("88", &[3], Some((homes, 3))).last;
    let by_other = bed.other.inclusion(&prefix_entry(&Prefix::parse("88.1").unwrap(), homes, 3, TIME_MS), 3, SIZE);
    let table: Vec<(Vec<PrefixEvidence>, &str)> = vec![
        (vec![none("88.1"), none("88")], ""),
        // A replayed absence of the parent, with true, missing or incomplete evidence for the delegated prefix.
        (lower(&[3], Some((gives, 3))), "it says not found, and entry 3 is `delegate` of hdl:88.1"),
        (vec![none("88")], "it does not show that hdl:88.1 is not delegated"),
        (vec![none("88.1")], "it does not show that hdl:88 is not delegated"),
        (vec![], "it does not show that hdl:88.1 is not delegated"),
        (lower(&[3], None), "of hdl:88.1: it does not show entry 3, which is the last one"),
        (lower(&[3, 4], Some((homes, 3))), "it shows entry 3, and the last one is 4"),
        (lower(&[], Some((homes, 3))), "it shows entry 3, and the last one is none"),
        (upper(&[3], Some((gives, 3))), "entry 3 is `delegate` of hdl:88"),
        (lower(&[], Some((gives, BEHIND))), "entry 12 is `delegate` of hdl:88.1"),
        (vec![foreign("88.1", bed.zone.lookup(&of("88.1"), &[], SIZE - 1)), none("88")], "covers 10 entries"),
        (vec![foreign("88.1", bed.zone.lookup(&of("88"), &[3], SIZE)), none("88")], "map"),
        (vec![foreign("88.1", bed.other.lookup(&of("88.1"), &[], SIZE)), none("88")], "not signed by"),
        (vec![PrefixEvidence { last: home_of_upper, ..bed.shown("88.1", &[3], None) }, none("88")], "of hdl:88"),
        (vec![PrefixEvidence { last: Some(by_other), ..bed.shown("88.1", &[3], None) }, none("88")], "of hdl:88.1: "),
        // A revoked prefix is not delegated, whether the index covers the revocation or not.
        (lower(&[3, 4], Some((revokes, 4))), ""),
        (lower(&[3], Some((revokes, BEHIND))), ""),
        (
            vec![bed.shown("88.1", &[3], Some((revokes, 3))), bed.shown("88", &[2], Some((gives, 2)))],
            "`delegate` of hdl:88",
        ),
        // The longest prefix counts: a homed prefix is the site's own, whoever has the prefix above.
        (upper(&[3], Some((homes, 3))), ""),
        (vec![bed.shown("88.1", &[3], Some((homes, 3)))], ""),
        (vec![bed.shown("88.1", &[3], Some((homes, 3))), bed.shown("88", &[2], Some((gives, 2)))], ""),
        (vec![bed.shown("88.1", &[], Some((homes, BEHIND)))], ""),
    ];
    for (prefixes, rule) in table {
        shows(&bed, &bed.absent(&bed.identifier, prefixes), rule);
    }
    // No evidence is needed for the site's own prefix, nor for less than the latest.
    assert!(
        verify_as(&bed, "88", &bed.identifier, Evidence::Latest, &bed.absent(&bed.identifier, vec![none("88.1")]))
            .is_ok()
    );
    assert!(verify_as(&bed, ".", &bed.identifier, Evidence::Inclusion, &bed.absent(&bed.identifier, vec![])).is_ok());
    // The same holds for a record, a retired record and a denied one.
    let subject = LookupKind::Id.key(&bed.identifier);
    let entry = |kind, public: &[bool]| record_entry(kind, &bed.identifier, &values(public), INDEX, TIME_MS);
    let version = Version { number: 2, ledger_index: INDEX, time_ms: TIME_MS };
    let gone = Answer::Retired(Tombstone { identifier: bed.identifier.clone(), version, erased: false }.into());
    for (said, entry) in [
        (Answer::found(record(&bed, &values(&[true]))), entry(EntryKind::Create, &[true])),
        (gone, entry(EntryKind::Retire, &[])),
        (Answer::Denied, entry(EntryKind::Create, &[false])),
    ] {
        let old = reply(&bed, said, &entry, &subject);
        shows(&bed, &old, "it does not show that hdl:88.1");
        shows(&bed, &SiteReply { prefixes: lower(&[3], Some((gives, 3))), ..old.clone() }, "`delegate` of hdl:88.1");
        shows(&bed, &SiteReply { prefixes: lower(&[3, 4], Some((revokes, 4))), ..old }, "");
    }
}

#[test]
fn a_referral_shows_that_no_longer_prefix_is_another_s() {
    let bed = bed();
    let delegation = Delegation::new(60, vec!["grpc://192.0.2.1:1".parse().unwrap()], Vec::new()).unwrap();
    let (prefix, gives) = (Prefix::parse("88").unwrap(), &PrefixChange::Delegate(delegation.clone()));
    let entry = prefix_entry(&prefix, gives, INDEX, TIME_MS);
    let referral = Answer::Delegated(Referral { prefix: prefix.clone(), delegation, ledger_index: Some(INDEX) }.into());
    let good = reply(&bed, referral, &entry, &prefix_key(&prefix));
    for (prefixes, rule) in [
        (vec![bed.shown("88.1", &[], None)], ""),
        (vec![bed.shown("88.1", &[3, 4], Some((&PrefixChange::Revoke, 4)))], ""),
        (vec![bed.shown("88", &[INDEX], Some((gives, INDEX)))], "it does not show that hdl:88.1"),
        (vec![bed.shown("88.1", &[3], Some((gives, 3)))], "it says referral, and entry 3 is `delegate` of hdl:88.1"),
        (vec![bed.shown("88.1", &[3], Some((&PrefixChange::Home, 3)))], "entry 3 is `home` of hdl:88.1"),
    ] {
        shows(&bed, &SiteReply { prefixes, ..good.clone() }, rule);
    }
}

#[test]
fn only_what_is_said_of_a_prefix_counts_and_all_of_them_have_to_be_shown() {
    let bed = bed();
    // For OIDs, a prefix and an identifier have the same text.
    let identifier = Identifier::parse("1.3").unwrap();
    let create = record_entry(EntryKind::Create, &identifier, &values(&[true]), BEHIND, TIME_MS);
    let shown = bed.shown("1.3", &[3], None);
    let shown = PrefixEvidence { last: Some(bed.zone.inclusion(&create, BEHIND, SIZE + 5)), ..shown };
    let verified = verify_as(&bed, ".", &identifier, Evidence::Latest, &bed.absent(&identifier, vec![shown]));
    assert!(verified.as_ref().is_err_and(|reason| reason.contains("`create` of urn:oid:1.3")), "{verified:?}");
    let deep = Identifier::parse(&format!("{}/x", ["1"; 40].join("."))).unwrap();
    let covering = |upper: &str| Prefix::covering(&deep, &Prefix::parse(upper).unwrap()).unwrap_or_default();
    let all = |upper: &str| {
        let shown = covering(upper).into_iter().map(|prefix| bed.shown(prefix.as_str(), &[], None)).collect();
        verify_as(&bed, upper, &deep, Evidence::Latest, &bed.absent(&deep, shown))
    };
    let refused = all("hdl:1").unwrap_err();
    assert!(refused.contains("more than 32 prefixes below hdl:1 cover"), "{refused}");
    assert!(all("hdl:1.1.1.1.1.1.1.1").is_ok());
}
