//! Steps of the two hot paths, one by one: `cargo bench --bench core`.

use std::{hint::black_box, net::IpAddr, sync::Arc};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use touchmark::{
    cache::{Boarded, Cache},
    entry::{Draft, EntryKind, Place, Principal, Statement, leaf_hash},
    id::{Identifier, Key, dns_name},
    ledger::Position,
    protocol::dns::{
        cookie::CookieSecrets,
        dnssec::{
            Denied, RrSet, Signer,
            denial::Existence,
            key_ring::KeyRing,
            keys::{self, Algorithm},
        },
    },
    record::{Permissions, Value, Values},
    server::datagram::rate::{AnswerClass, RateLimiter, RateLimits},
    store::{
        Applied, IndexChange, PlacedChange, PositionIndex as _,
        local::{LocalIndex, LocalOptions},
    },
};

/// Octets of `id.test.` on the wire.
const ZONE_OCTETS: usize = 9;
/// Identifiers in the index of the store benchmark.
const INDEXED: u64 = 200_000;

const WRITTEN: [(&str, &str); 6] = [
    ("handle", "88.118.8/JXDY2106023"),
    ("oid", "urn:oid:1.3.6.1.4.1.32473.5.41200"),
    ("digital link", "https://id.gs1.org/01/09506000134352/10/ABC/21/123456789"),
    ("element string", "(01)09506000134352(21)123456789"),
    ("epc urn", "urn:epc:id:sgtin:9506000.013435.123456789"),
    ("uri", "https://example.com/parts/6205-2RS?lot=7"),
];

fn identifiers(c: &mut Criterion) {
    let mut group = c.benchmark_group("identifier");
    for (form, text) in WRITTEN {
        group.bench_function(format!("parse {form}"), |b| b.iter(|| Identifier::parse(black_box(text))));
    }
    for (form, text) in &WRITTEN[..3] {
        let Ok(identifier) = Identifier::parse(text) else { continue };
        group.bench_function(format!("DNS name of {form}"), |b| {
            b.iter(|| dns_name::name_of(black_box(&identifier), ZONE_OCTETS))
        });
        let name = dns_name::name_of(&identifier, ZONE_OCTETS);
        let labels: Vec<&[u8]> = name.labels().map(str::as_bytes).collect();
        group.bench_function(format!("read DNS name of {form}"), |b| {
            b.iter(|| dns_name::parse(black_box(&labels), ZONE_OCTETS))
        });
    }
    group.finish();
}

fn values() -> Values {
    let data = ["Ball bearing 6205-2RS", "6205-2RSH-00000001", "000000000001", "https://example.com/p/0001"];
    let kinds = ["NAME", "PART_NUMBER", "SERIAL", "URL"];
    let value = |(index, (kind, data)): (u32, (&str, &'static str))| {
        Some(Value {
            index,
            kind: kind.parse().ok()?,
            data: data.into(),
            ttl: Value::TTL_SECONDS_DEFAULT,
            timestamp: 0,
            permissions: Permissions::DEFAULT,
            references: Vec::new(),
        })
    };
    let values = (1..).zip(kinds.into_iter().zip(data)).filter_map(value).collect();
    Values::new(values).unwrap_or_default()
}

fn entries(c: &mut Criterion) {
    let Ok(identifier) = Identifier::parse("88.118.8/JXDY2106023") else { return };
    let values = values();
    let statement = Statement {
        kind: EntryKind::Create,
        identifier: &identifier,
        principal: &Principal::LOOPBACK,
        values: &values,
        edges: &[],
        outputs: None,
        request: None,
        erasure: None,
    };
    let place = Place { index: 7, time_ms: 1_763_820_000_000, version: 1, previous: None, has_edges: false };
    let mut group = c.benchmark_group("entry of four values");
    group.bench_function("salts and commitments", |b| b.iter(|| Draft::new(black_box(&statement), [7; 32])));
    if let Ok(draft) = Draft::new(&statement, [7; 32]) {
        let mut text = Vec::new();
        group.bench_function("text and leaf hash", |b| {
            b.iter(|| {
                text.clear();
                draft.put_text(&mut text, black_box(&place));
                leaf_hash(&text)
            })
        });
    }
    group.finish();
}

fn key(number: u64) -> Key {
    let text = format!("88.118.8/{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Identifier::parse(&text).map_or_else(|_| Key::from_bytes([]), |identifier| identifier.key().clone())
}

fn cache(c: &mut Criterion) {
    let cache: Arc<Cache<Key, u64>> = Arc::new(Cache::new(64_usize << 20, |key, _| key.as_bytes().len() + 64));
    let keys: Vec<Key> = (0..10_000).map(key).collect();
    let get = |key: &Key| match cache.board(key) {
        Boarded::First(pilot) => pilot.land(1),
        hit => _ = black_box(hit),
    };
    keys.iter().for_each(get);
    let mut next = 0;
    c.bench_function("cache hit", |b| {
        b.iter(|| {
            next = (next + 1) % keys.len();
            get(&keys[next])
        })
    });
}

fn store(c: &mut Criterion) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let Ok(store) = LocalIndex::open(&directory.path().join("index"), LocalOptions::default()) else { return };
    let mut group = c.benchmark_group("index");
    group.throughput(Throughput::Elements(1_000));
    let mut number = 0;
    group.bench_function("apply 1,000 fresh keys", |b| {
        b.iter(|| {
            let change = |number: u64| PlacedChange {
                change: IndexChange {
                    index: number,
                    key: key(number),
                    superseded: None,
                    name_hash: None,
                    request: None,
                    edges: Vec::new(),
                },
                position: Position(number),
                superseded: None,
            };
            let changes = (number..number + 1_000).map(change).collect();
            number += 1_000;
            store.apply(changes, Applied { entries: number, next: Position(number) })
        })
    });
    group.throughput(Throughput::Elements(1));
    let mut next = 0;
    group.bench_function("look up a key that is there", |b| {
        b.iter(|| {
            next = (next + 7_919) % number.clamp(1, INDEXED);
            store.latest(&key(next))
        })
    });
    group.bench_function("look up a key that is not", |b| {
        b.iter(|| {
            next += 1;
            store.latest(&key(u64::MAX - next))
        })
    });
    group.finish();
    let _ = store.close();
}

fn cookies(c: &mut Criterion) {
    const NOW_SECONDS: u64 = 1_763_820_000;
    let secrets = CookieSecrets::new([1; 16], Some([2; 16]));
    let old = CookieSecrets::new([2; 16], None);
    let mut group = c.benchmark_group("DNS cookie");
    for (version, address) in [("IPv4", IpAddr::from([192, 0, 2, 1])), ("IPv6", IpAddr::from([0x20; 16]))] {
        let made = secrets.response_option([7; 8], address, NOW_SECONDS);
        group.bench_function(format!("make, {version}"), |b| {
            b.iter(|| secrets.response_option(black_box([7; 8]), black_box(address), NOW_SECONDS))
        });
        let made_before = old.response_option([7; 8], address, NOW_SECONDS);
        for (what, option) in [("verify", made), ("verify with the second secret", made_before)] {
            group.bench_function(format!("{what}, {version}"), |b| {
                b.iter(|| secrets.verify(Some(black_box(&option)), black_box(address), NOW_SECONDS))
            });
        }
    }
    group.finish();
}

fn rate_limits(c: &mut Criterion) {
    let limits = RateLimits { responses_per_second: 200, ..RateLimits::default() };
    let limiter = RateLimiter::new(limits, [7; 16]);
    let mut group = c.benchmark_group("rate limit");
    let mut count = 0u64;
    group.bench_function("one client, one name, in debt", |b| {
        b.iter(|| {
            count += 1;
            limiter.check(black_box(IpAddr::from([192, 0, 2, 1])), AnswerClass::Positive, 1, count >> 13)
        })
    });
    group.bench_function("one client, a million names", |b| {
        b.iter(|| {
            count += 1;
            let name_hash = count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
            limiter.check(black_box(IpAddr::from([192, 0, 2, 1])), AnswerClass::Positive, name_hash, count >> 13)
        })
    });
    group.bench_function("a million IPv6 clients", |b| {
        b.iter(|| {
            count += 1;
            let network = count.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 44;
            let client = IpAddr::from((0x2001_0db8_u128 << 96 | u128::from(network) << 72).to_be_bytes());
            limiter.check(black_box(client), AnswerClass::NxDomain, 1, count >> 13)
        })
    });
    group.bench_function("a client without limits", |b| {
        b.iter(|| limiter.check(black_box(IpAddr::from([127, 0, 0, 1])), AnswerClass::Positive, 1, 1))
    });
    group.finish();
}

fn signatures(c: &mut Criterion) {
    let owner = b"\x0agb120-3169\x01_\x03lsn\x041000\x0288\x03hdl\x02id\x04test\x00";
    let set =
        RrSet { owner, kind: 16, ttl: 3_600, rdatas: &[b"\x06NAME 1\x07Gearbox", b"\x05URL 4\x13https://example.com"] };
    let (apex, now) = (b"\x02id\x04test\x00", 1_763_820_000);
    let mut group = c.benchmark_group("signature");
    for algorithm in Algorithm::ALL {
        let Ok(key) = keys::Key::generate(algorithm) else { return };
        let Ok(ring) = KeyRing::new("id.test.", key, now) else { return };
        let signer = Signer::new(ring);
        group.bench_function(format!("{algorithm} of two TXT records"), |b| {
            b.iter(|| signer.rrsigs(black_box(&set), apex, now))
        });
        group.bench_function(format!("{algorithm} of a name that does not exist"), |b| {
            let denied = Denied { owner: black_box(owner), apex, existence: Existence::Missing };
            b.iter(|| signer.denial(denied, 60, now))
        });
    }
    group.finish();
}

criterion_group!(benches, identifiers, entries, cache, store, cookies, rate_limits, signatures);
criterion_main!(benches);
