//! Signatures against the examples of the RFCs and against another implementation.

use data_encoding::BASE64;
use hickory_proto::{
    dnssec::{
        Verifier as _,
        rdata::{DNSKEY, DNSSECRData, DS, RRSIG},
    },
    rr::{RData, Record, RecordType},
    serialize::binary::{BinDecodable as _, BinDecoder},
};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::{
    key_ring::{Haste, PUBLISH_SECONDS, RETIRE_SECONDS},
    keys::{
        Algorithm,
        tests::{RFC6605, RFC8080, key, two_keys},
    },
    *,
};

const APEX: &[u8] = b"\x02id\x04test\x00";
const NOW: u32 = 1_763_820_000;

fn signer(algorithm: Algorithm) -> Signer {
    let [key, _] = two_keys(algorithm);
    Signer::new(KeyRing::new("id.test.", key, NOW).unwrap())
}

/// RFC 6605 section 6.1: ECDSA signatures differ each time, so the signature in the RFC is verified over our bytes.
#[test]
fn rfc6605_section_6_1() {
    let key = key(Algorithm::EcdsaP256Sha256, RFC6605);
    let validity = Validity { inception: 1_281_607_479, expiration: 1_284_026_679 };
    let set = RrSet { owner: b"\x03WWW\x07example\x03net\x00", kind: 1, ttl: 3_600, rdatas: &[&[192, 0, 2, 1]] };
    let (mut message, head_octets) = message(&set, b"\x07example\x03net\x00", validity);
    stamp(&mut message, &key);
    assert_eq!(message[..2], [0, 1]);
    assert_eq!(message[2..4], [13, 3]);
    assert_eq!(head_octets, 18 + 13);
    let signature = "qx6wLYqmh+l9oCKTN6qIc+bw6ya+KJ8oMz0YP107epXAyGmt+3SNruPFKG7tZoLBLlUzGGus7ZwmwWep666VCw==";
    let point = [&[4], &key.dnskey()[4..]].concat();
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    public.verify(&message, &BASE64.decode(signature.as_bytes()).unwrap()).unwrap();
    let [one, other] = [(); 2].map(|()| key.sign(&message).unwrap().as_ref().to_vec());
    for own in [&one, &other] {
        public.verify(&message, own).unwrap();
    }
    assert_ne!(one, other);
}

/// RFC 8080 section 6.1 with erratum 4935: Ed25519 gives exactly these signatures.
#[test]
fn rfc8080_section_6_1() {
    let validity = Validity { inception: 1_438_207_200, expiration: 1_440_021_600 };
    let apex = b"\x07example\x03com\x00";
    let table = [
        (RFC8080[0], "oL9krJun7xfBOIWcGHi7mag5/hdZrKWw15jPGrHpjQeRAvTdszaPD+QLs3fx8A4M3e23mRZ9VrbpMngwcrqNAg=="),
        (RFC8080[1], "zXQ0bkYgQTEFyfLyi9QoiY6D8ZdYo4wyUhVioYZXFdT410QPRITQSqJSnzQoSm5poJ7gD7AQR0O7KuI5k2pcBg=="),
    ];
    for (secret, signature) in table {
        let key = key(Algorithm::Ed25519, secret);
        // The name of the exchange is lower-cased, and so is the owner.
        let mx: &[u8] = b"\x00\x0a\x04MAIL\x07example\x03com\x00";
        let set = RrSet { owner: b"\x07EXAMPLE\x03com\x00", kind: 15, ttl: 3_600, rdatas: &[mx] };
        let made = rrsigs(&set, apex, [&key].into_iter(), validity).unwrap();
        assert_eq!(made.len(), 1);
        let head = [
            &[0, 15, 15, 2, 0, 0, 14, 16][..],
            &validity.expiration.to_be_bytes(),
            &validity.inception.to_be_bytes(),
            &key.tag().to_be_bytes(),
            apex,
        ];
        assert_eq!(made[0][..18 + 13], head.concat());
        assert_eq!(BASE64.encode(&made[0][18 + 13..]), signature);
    }
}

/// A record as the other implementation reads it from the wire.
fn read(owner: &[u8], kind: u16, ttl: u32, rdata: &[u8]) -> Record {
    let octets = u16::try_from(rdata.len()).unwrap();
    let fixed = [&kind.to_be_bytes()[..], &[0, 1], &ttl.to_be_bytes(), &octets.to_be_bytes()].concat();
    let wire = [owner, &fixed, rdata].concat();
    Record::read(&mut BinDecoder::new(&wire)).unwrap()
}

fn read_dnskey(rdata: &[u8]) -> DNSKEY {
    match read(APEX, kind::DNSKEY, 0, rdata).data {
        RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)) => dnskey,
        other => panic!("{other}"),
    }
}

fn read_rrsig(owner: &[u8], rdata: &[u8]) -> RRSIG {
    match read(owner, kind::RRSIG, 0, rdata).data {
        RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) => rrsig,
        other => panic!("{other}"),
    }
}

/// Signs a set, verifies every signature with the published key that it names, and returns the key tags.
fn verify(signer: &Signer, set: &RrSet<'_>, now_unix: u32) -> Vec<u16> {
    verify_each(signer, set, signer.rrsigs(set, APEX, now_unix).unwrap(), now_unix)
}

fn verify_each(signer: &Signer, set: &RrSet<'_>, rrsigs: Vec<Vec<u8>>, now_unix: u32) -> Vec<u16> {
    let records: Vec<Record> = set.rdatas.iter().map(|rdata| read(set.owner, set.kind, set.ttl, rdata)).collect();
    let dnskeys: Vec<DNSKEY> = signer.dnskeys().into_iter().map(read_dnskey).collect();
    let check = |rdata: Vec<u8>| {
        let rrsig = read_rrsig(set.owner, &rdata);
        let input = rrsig.input();
        assert_eq!(input.type_covered, RecordType::from(set.kind));
        assert_eq!(input.original_ttl, set.ttl);
        assert_eq!(input.signer_name.to_string(), "id.test.");
        assert_eq!(input.sig_inception.get(), now_unix - 3_600);
        assert_eq!(input.sig_expiration.get(), now_unix + 604_800);
        let dnskey = dnskeys.iter().find(|dnskey| dnskey.calculate_key_tag().unwrap() == input.key_tag).unwrap();
        assert!(dnskey.zone_key() && dnskey.secure_entry_point() && !dnskey.revoke());
        dnskey.verify_rrsig(&records[0].name, records[0].dns_class, &rrsig, records.iter()).unwrap();
        let mut other = records.clone();
        other.push(read(set.owner, set.kind, set.ttl, set.rdatas[0]));
        dnskey.verify_rrsig(&other[0].name, other[0].dns_class, &rrsig, other.iter()).unwrap_err();
        input.key_tag
    };
    rrsigs.into_iter().map(check).collect()
}

#[test]
fn another_implementation_verifies_every_set() {
    let owner: &[u8] = b"\x0eGB120-3169-001\x01_\x03lsn\x041000\x0288\x03hdl\x02iD\x04test\x00";
    let soa = [&b"\x02Ns\x02id\x04test\x00\x0ahostmaster\x02id\x04test\x00"[..], &[0; 20]].concat();
    let naptr: &[u8] = b"\x00\x64\x00\x01\x01u\x08EPC+html\x08!^.*$!A!\x00";
    type Set<'a> = (&'a [u8], u16, &'a [&'a [u8]]);
    let sets: [Set<'_>; 8] = [
        (owner, 16, &[b"\x06NAME 1\x07Gearbox"]),
        (owner, 16, &[b"\x06URL  4\x03b:c", b"\x06NAME 1\x07Gearbox", b"\x06NAME 2\x02Ge", b"\x06NAME 1\x07Gearboy"]),
        (owner, 35, &[naptr]),
        (owner, 256, &[b"\x00\x01\x00\x00https://A.example/", b"\x00\x01\x00\x00https://a.example/"]),
        (owner, 65_280, &[b"\x0a\x00\xff"]),
        (APEX, 6, &[&soa]),
        (APEX, 2, &[b"\x02nS\x02id\x04test\x00"]),
        (b"\x01*\x02id\x04test\x00", 1, &[&[127, 0, 0, 1]]),
    ];
    for algorithm in Algorithm::ALL {
        let signer = signer(algorithm);
        let tag = signer.ring().active(NOW).key.tag();
        for (owner, kind, rdatas) in sets {
            assert_eq!(verify(&signer, &RrSet { owner, kind, ttl: 300, rdatas }, NOW), [tag], "{algorithm} {kind}");
        }
        for existence in [Existence::Missing, Existence::Types(&[]), Existence::Types(&[16, 65_280])] {
            let SignedRecord { rdata, rrsigs } =
                signer.denial(Denied { owner, apex: APEX, existence }, 60, NOW).unwrap();
            let set = RrSet { owner, kind: kind::NSEC, ttl: 60, rdatas: &[&rdata] };
            assert_eq!(verify_each(&signer, &set, rrsigs, NOW), [tag]);
        }
    }
}

#[test]
fn the_apex_follows_the_roll() {
    let before = signer(Algorithm::EcdsaP256Sha256);
    let [_, key] = two_keys(Algorithm::EcdsaP256Sha256);
    let roll = before.ring().roll(key, NOW).unwrap();
    let (active, finish) = (NOW + PUBLISH_SECONDS, NOW + PUBLISH_SECONDS + RETIRE_SECONDS);
    let after = Signer::new(roll.finish(Haste::Wait, finish).unwrap().0);
    let rolling = Signer::new(roll);
    let tags: Vec<u16> = rolling.ring().keys(NOW).map(|(key, _)| key.key.tag()).collect();
    let [old, new] = [tags[0], tags[1]];
    // The ring, the time, tags of the keys that sign data, tags of the keys that sign the key sets, tag of the DS at
    // the parent.
    let table = [
        (&before, NOW, vec![old], vec![old], old),
        (&rolling, NOW, vec![old], vec![old, new], old),
        (&rolling, active, vec![new], vec![old, new], new),
        (&after, finish, vec![new], vec![new], new),
    ];
    for (row, (signer, now, data, keys, wanted)) in table.into_iter().enumerate() {
        let text = RrSet { owner: APEX, kind: 16, ttl: 60, rdatas: &[b"\x01a"] };
        assert_eq!(verify(signer, &text, now), data, "row {row}");
        let dnskeys = signer.dnskeys();
        let set = RrSet { owner: APEX, kind: kind::DNSKEY, ttl: DNSKEY_TTL_SECONDS, rdatas: &dnskeys };
        assert_eq!(verify(signer, &set, now), keys, "row {row}");
        let cds = signer.cds(APEX, now);
        let rdatas: Vec<&[u8]> = cds.iter().map(Vec::as_slice).collect();
        let set = RrSet { owner: APEX, kind: kind::CDS, ttl: DNSKEY_TTL_SECONDS, rdatas: &rdatas };
        assert_eq!(verify(signer, &set, now), keys, "row {row}");
        assert_eq!(cds[0][..2], wanted.to_be_bytes(), "row {row}");
        let cdnskeys = signer.cdnskeys(now);
        assert_eq!(read_dnskey(cdnskeys[0]).calculate_key_tag().unwrap(), wanted, "row {row}");
        // The CDS is a DS of the CDNSKEY.
        let RData::DNSSEC(DNSSECRData::DS(ds)) = read(APEX, 43, 0, &cds[0]).data else { panic!() };
        let covers: &DS = &ds;
        assert!(covers.covers(&read(APEX, 1, 0, &[0; 4]).name, &read_dnskey(cdnskeys[0])).unwrap(), "row {row}");
    }
}

/// Every zone of a node has its own cached SOA record: another apex does not get that of the first.
#[test]
fn the_soa_is_signed_once_for_each_serial() {
    const FIRST: SoaVersion = SoaVersion { serial: 1, ttl: 3_600 };
    let signer = signer(Algorithm::Ed25519);
    let rdata = |serial: u32| [&b"\x00\x00"[..], &serial.to_be_bytes(), &[0; 16]].concat();
    let first = signer.soa(APEX, FIRST, NOW, || rdata(1)).unwrap();
    let set = RrSet { owner: APEX, kind: kind::SOA, ttl: 3_600, rdatas: &[&first.rdata] };
    verify_each(&signer, &set, first.rrsigs.clone(), NOW);
    let homed: &[u8] = b"\x0288\x03hdl\x02id\x04test\x00";
    assert!(signer.kept_soa(homed, FIRST, NOW).is_none());
    let second = signer.soa(homed, FIRST, NOW, || rdata(1)).unwrap();
    let signer_name = |record: &SignedRecord| read_rrsig(APEX, &record.rrsigs[0]).input().signer_name.to_string();
    assert_eq!([signer_name(&first), signer_name(&second)], ["id.test.", "88.hdl.id.test."]);
    // Serial, TTL, seconds later, whether the record is the same.
    let table = [
        (1, 3_600, 0, true),
        (1, 3_600, SIGNATURE_KEEP_SECONDS - 1, true),
        (2, 3_600, 0, false),
        (1, 60, 0, false),
        (1, 3_600, SIGNATURE_KEEP_SECONDS, false),
        (1, 3_600, u32::MAX, false),
    ];
    for (serial, ttl, later, same) in table {
        let kept = signer.soa(APEX, FIRST, NOW, || rdata(1)).unwrap();
        let (now, version) = (NOW.wrapping_add(later), SoaVersion { serial, ttl });
        assert_eq!(signer.kept_soa(APEX, version, now).is_some(), same, "{serial} {ttl} {later}");
        let next = signer.soa(APEX, version, now, || rdata(serial)).unwrap();
        assert_eq!(Arc::ptr_eq(&kept, &next), same, "{serial} {ttl} {later}");
        assert!(Arc::ptr_eq(&next, &signer.soa(APEX, version, now, || unreachable!()).unwrap()));
    }
}

/// Questions for the SOA records of many zones do not make all of them be signed again.
#[test]
fn one_signed_soa_makes_room_for_another() {
    const VERSION: SoaVersion = SoaVersion { serial: 1, ttl: 3_600 };
    let signer = signer(Algorithm::Ed25519);
    let apexes: Vec<Vec<u8>> =
        (0..KEPT_SOAS_MAX + 10).map(|number| format!("\x04{number:04}\x04test\0").into_bytes()).collect();
    for apex in &apexes {
        signer.soa(apex, VERSION, NOW, || vec![0; 22]).unwrap();
        assert!(signer.kept_soa(apex, VERSION, NOW).is_some());
    }
    let kept = || apexes.iter().filter(|apex| signer.kept_soa(apex, VERSION, NOW).is_some()).count();
    assert_eq!(kept(), KEPT_SOAS_MAX);
    // A cached SOA record is replaced in its own place.
    let last = apexes.last().unwrap();
    signer.soa(last, VERSION, NOW + SIGNATURE_KEEP_SECONDS, || vec![0; 22]).unwrap();
    assert_eq!(kept(), KEPT_SOAS_MAX - 1, "its age is another one");
}

#[test]
fn an_empty_set_has_no_signature() {
    let set = RrSet { owner: APEX, kind: 16, ttl: 60, rdatas: &[] };
    assert!(signer(Algorithm::Ed25519).rrsigs(&set, APEX, NOW).unwrap().is_empty());
}
