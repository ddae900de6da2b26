//! The map against the trie by its definition, and every proof against the verifier.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::vindex::trie::{naive, value_of, verify_absence, verify_presence};

type Model = BTreeMap<Bytes32, Vec<u64>>;

fn key(number: u64) -> Bytes32 {
    Sha256::digest(number.to_be_bytes()).into()
}

fn root_of(model: &Model) -> Bytes32 {
    naive::root(&model.iter().map(|(key, indices)| (*key, value_of(indices))).collect::<Vec<_>>())
}

fn add(model: &mut Model, updates: &[Update]) {
    for update in updates {
        let indices = model.entry(update.key).or_default();
        if !indices.contains(&update.index) {
            indices.push(update.index);
        }
    }
}

fn check_proof(map: &Map, model: &Model, key: &Bytes32) {
    let root = map.root();
    match (map.prove(key, u64::MAX), model.get(key)) {
        (Found::Present { indices, proof }, Some(expected)) => {
            assert_eq!(indices, *expected);
            assert_eq!(verify_presence(&root, key, &value_of(&indices), &proof), Ok(()));
            assert!(verify_presence(&root, key, &value_of(&indices[1..]), &proof).is_err(), "a shorter list");
            assert!(verify_absence(&root, key, &proof).is_err());
            if indices.len() > 1 {
                let count_max = indices.len() as u64 - 1;
                assert_eq!(map.prove(key, count_max), Found::TooMany { count: count_max + 1 });
            }
        }
        (Found::Absent { proof }, None) => assert_eq!(verify_absence(&root, key, &proof), Ok(())),
        (found, expected) => panic!("{found:?}, {expected:?}"),
    }
}

/// Changes a map in each of the three ways, step by step, and compares all with the model after each step.
fn check(batches: &[Vec<Update>]) {
    let [mut prepared, mut now, mut later] = [(); 3].map(|()| Map::default());
    let mut model = Model::new();
    for batch in batches {
        add(&mut model, batch);
        let change = prepared.prepare(batch.clone());
        let root = change.root();
        prepared.apply(change);
        now.update(batch.clone(), Hashing::Now);
        later.update(batch.clone(), Hashing::Later);
        assert_eq!((root, prepared.root(), now.root()), (root_of(&model), root, root));
        assert_eq!((prepared.keys(), now.keys(), later.keys()), (model.len(), model.len(), model.len()));
    }
    later.rehash();
    assert_eq!(later.root(), root_of(&model));
    // Hashes left for later, then brought up to date by a change with hashes.
    let more: Vec<_> = (0..50).map(|number| Update { key: key(number * 977), index: 1 << 40 }).collect();
    later.update(more[..25].to_vec(), Hashing::Later);
    later.update(more[25..].to_vec(), Hashing::Now);
    for map in [&prepared, &now] {
        model.keys().copied().chain((0..100).map(|number| key(u64::MAX - number))).for_each(|key| {
            check_proof(map, &model, &key);
        });
    }
    add(&mut model, &more);
    assert_eq!(later.root(), root_of(&model));
}

fn update(key: Bytes32, index: u64) -> Update {
    Update { key, index }
}

#[test]
fn small_maps_are_as_defined() {
    check(&[]);
    check(&[vec![]]);
    check(&[vec![update(key(1), 0)]]);
    check(&[vec![update(key(1), 0), update(key(1), 0), update(key(1), 1)]]);
    check(&[vec![update(key(1), 0)], vec![update(key(1), 0)], vec![update(key(1), 7)], vec![update(key(1), 8)]]);
    assert_eq!(Map::default().root(), empty_hash());
}

/// Keys that agree in all bits but a few: empty halves everywhere, deep in a bucket, in a shard, above the shards.
#[test]
fn keys_that_lie_close_together() {
    let mut batch = Vec::new();
    for bit in [0, 3, 9, 10, 11, 13, 40, 254, 255] {
        let mut close = key(5);
        close[bit / 8] ^= 0x80 >> (bit % 8);
        batch.push(update(close, bit as u64));
    }
    check(&[batch.clone(), vec![update(key(5), 300)]]);
    check(&batch.into_iter().map(|update| vec![update]).collect::<Vec<_>>());
}

/// Enough keys in one shard that it doubles its buckets several times, also in one step.
#[test]
fn shards_grow() {
    let in_shard = |number: u64| {
        let mut key = key(number);
        (key[0], key[1]) = (0x55, 0x40 | key[1] & 0x3f);
        key
    };
    let updates: Vec<_> = (0..600).map(|number| update(in_shard(number), number)).collect();
    check(&updates.chunks(40).map(<[_]>::to_vec).collect::<Vec<_>>());
    check(&[updates[..5].to_vec(), updates[5..].to_vec()]);
    let mut last = updates;
    last.iter_mut().for_each(|update| (update.key[0], update.key[1]) = (0xff, update.key[1] | 0xc0));
    check(&[last]);
}

/// Verification of a proof: true if it is accepted.
type Verify = dyn Fn(&[u8]) -> bool;

#[test]
fn every_flipped_bit_of_a_proof_is_refused() {
    let mut map = Map::default();
    map.update((0..2_000).map(|number| update(key(number % 1_500), number)).collect(), Hashing::Now);
    let root = map.root();
    for number in [0, 1, 700, 1_499, 5_000, 5_001] {
        let key = key(number);
        let found = map.prove(&key, u64::MAX);
        let (verify, proof): (&Verify, _) = match &found {
            Found::Present { indices, proof } => {
                let value = value_of(indices);
                (&move |proof: &[u8]| verify_presence(&root, &key, &value, proof).is_ok(), proof)
            }
            Found::Absent { proof } => (&move |proof: &[u8]| verify_absence(&root, &key, proof).is_ok(), proof),
            Found::TooMany { .. } => panic!("{found:?}"),
        };
        assert!(verify(proof));
        for bit in 0..8 * proof.len() {
            let mut flipped = proof.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify(&flipped), "bit {bit} of the proof for {number}");
        }
        assert!(!verify(&proof[..proof.len() - 33]) && !verify(&[proof.as_slice(), &[0; 33]].concat()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn random_updates(sizes in prop::collection::vec(0..400_usize, 1..6), keys in 1..900_u64, seed: u64) {
        let mut index = 0;
        let batches: Vec<Vec<_>> = sizes.iter().map(|&size| (0..size).map(|_| {
            index += 1;
            update(key(u64::from_be_bytes(*key(seed ^ index).first_chunk().unwrap()) % keys), index / 2)
        }).collect()).collect();
        check(&batches);
    }
}
