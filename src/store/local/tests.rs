//! Guarantees of the local index beyond the contract: it reopens with what was durable, or fails to open with a reason.

use std::{
    fs,
    sync::{Arc, Mutex, atomic::AtomicU64, mpsc},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::store::{
    index_contract::{self as contract, answers_alike, any_changes, change, key, model, numbered, same_as_model, upto},
    memory::MemoryIndex,
};

/// So small that everything happens all the time.
fn tiny() -> LocalOptions {
    LocalOptions {
        sled_cache_bytes: 1 << 20,
        block_cache_bytes: 1 << 14,
        overlay_entries_max: 50,
        overlay_age_max: Duration::from_millis(20),
        block_entries_max: 4,
        ..LocalOptions::default()
    }
}

fn open(directory: &TempDir, options: LocalOptions) -> LocalIndex {
    LocalIndex::open(directory.path(), options).unwrap()
}

fn check_contract(options: fn() -> LocalOptions) {
    let mut directories = Vec::new();
    contract::check(&mut || {
        let directory = tempfile::tempdir().unwrap();
        let store = open(&directory, options());
        directories.push(directory);
        Box::new(store)
    });
}

#[test]
fn keeps_the_contract_in_the_overlay() {
    check_contract(LocalOptions::default);
}

#[test]
fn keeps_the_contract_while_merging_all_the_time() {
    check_contract(tiny);
}

#[test]
fn keeps_the_contract_with_every_change_merged() {
    check_contract(|| LocalOptions { overlay_entries_max: 1, ..tiny() });
}

#[test]
fn opens_with_everything_after_close() {
    let directory = tempfile::tempdir().unwrap();
    let changes: Vec<_> = (0..2_000).map(|entry| numbered(entry, entry % 700)).collect();
    let store = open(&directory, tiny());
    store.apply(changes.clone(), upto(2_000)).unwrap();
    store.close().unwrap();
    assert_eq!(store.durable(), upto(2_000));
    assert!(matches!(store.latest(&changes[0].change.key), Err(StoreError::Engine { .. })));
    assert!(matches!(store.apply(vec![], upto(2_000)), Err(StoreError::Engine { .. })));
    for options in [tiny(), LocalOptions::default()] {
        let store = open(&directory, options);
        assert_eq!(store.durable(), upto(2_000));
        same_as_model(&store, &model(&changes), 700);
        store.close().unwrap();
    }
}

#[test]
fn opens_with_what_was_durable_after_a_drop() {
    let directory = tempfile::tempdir().unwrap();
    let changes: Vec<_> = (0..2_000).map(|entry| numbered(entry, entry % 700)).collect();
    for applied in [500, 1_000, 1_500, 2_000] {
        let store = open(&directory, tiny());
        let from = store.durable().entries as usize;
        for change in &changes[from..applied] {
            store.apply(vec![change.clone()], upto(change.position.0 + 1)).unwrap();
        }
        let durable = store.durable();
        drop(store);
        let store = open(&directory, tiny());
        assert!(store.durable().entries >= durable.entries.max(from as u64));
        let from = store.durable().entries as usize;
        store.apply(changes[from..applied].to_vec(), upto(applied as u64)).unwrap();
        same_as_model(&store, &model(&changes[..applied]), 700);
    }
}

#[test]
fn changes_do_not_stay_in_the_overlay_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, LocalOptions { overlay_entries_max: 1_000, ..tiny() });
    store.apply(vec![change("a", 0)], upto(1)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.durable() != upto(1) {
        assert!(Instant::now() < deadline, "not merged by age");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(store.latest(&key("a")), Ok(Some(Position(0))));
}

#[test]
fn marks_only_after_the_hook_and_keeps_its_error() {
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let before_mark: BeforeMark = Box::new({
        let seen = Arc::clone(&seen);
        move |mark| {
            seen.lock().unwrap().push(mark.entries);
            if mark.entries < 2 { Ok(()) } else { Err(std::io::Error::other("no space")) }
        }
    });
    let store = open(&directory, LocalOptions { overlay_entries_max: 1, before_mark, ..tiny() });
    store.apply(vec![change("a", 0)], upto(1)).unwrap();
    let mut entry = 1;
    let refused = loop {
        store.apply(vec![change("b", entry)], upto(entry + 1)).unwrap();
        if let Err(error) = store.ready() {
            break error;
        }
        entry += 1;
    };
    assert!(refused.to_string().contains("no space"), "{refused}");
    assert_eq!(store.durable(), upto(1));
    assert_eq!(store.latest(&key("a")), Ok(Some(Position(0))), "reads go on");
    assert!(store.latest(&key("b")).unwrap().is_some());
    assert_eq!(store.close(), Err(refused));
    assert_eq!(open(&directory, tiny()).durable(), upto(1));
    assert_eq!(seen.lock().unwrap()[0], 1);
}

#[test]
fn apply_waits_for_a_slow_merge() {
    let directory = tempfile::tempdir().unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let before_mark: BeforeMark = Box::new(move |_| {
        let _ = wait.lock().unwrap().recv();
        Ok(())
    });
    let store = open(&directory, LocalOptions { overlay_entries_max: 10, before_mark, ..tiny() });
    let applied = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for entry in 0..100 {
                store.apply(vec![change([entry], u64::from(entry))], upto(u64::from(entry) + 1)).unwrap();
                applied.fetch_add(1, Ordering::Relaxed);
            }
        });
        thread::sleep(Duration::from_millis(200));
        assert!(applied.load(Ordering::Relaxed) <= 20, "no more than two overlays");
        drop(go);
    });
    assert_eq!(applied.load(Ordering::Relaxed), 100);
}

#[test]
fn a_second_process_is_kept_out_and_let_in_later() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory, tiny());
    assert!(matches!(LocalIndex::open(directory.path(), tiny()), Err(StoreError::Engine { .. })));
    drop(store);
    open(&directory, tiny());
}

#[test]
fn an_unknown_record_or_none_beside_blocks_is_damage() {
    let directory = tempfile::tempdir().unwrap();
    let blocks = Blocks::open(directory.path(), CacheBytes { sled: 1 << 20, blocks: 0 }).unwrap();
    // Whole records of the formats before: their indexes know too little, and are made again.
    let earlier = [1u8, 2].map(|format| {
        let body = [format, 1, 1];
        [&body[..], &crc32c::crc32c(&body).to_be_bytes()].concat()
    });
    let unknown = [vec![], b"\x03\x01\x01".to_vec(), b"\x03\x01\x01\0\0\0\0".to_vec()];
    for record in unknown.into_iter().chain(earlier) {
        blocks.put_meta(record).unwrap();
        assert!(matches!(read_mark(&blocks), Err(StoreError::Damaged { .. })));
    }
    drop(blocks);
    let directory = tempfile::tempdir().unwrap();
    let blocks = Blocks::open(directory.path(), CacheBytes { sled: 1 << 20, blocks: 0 }).unwrap();
    blocks.put(b"\x01", b"no block".to_vec()).unwrap();
    assert!(matches!(read_mark(&blocks), Err(StoreError::Damaged { .. })));
    write_mark(&blocks, upto(1)).unwrap();
    blocks.close().unwrap();
    let store = open(&directory, tiny());
    let error = store.latest(&key("a")).unwrap_err().to_string();
    assert!(error.contains("block of \\x01: checksum"), "{error}");
    assert!(store.scan(&KeyPrefix::from_bytes(&b""[..]), None, 1).is_err());
    assert!(store.close().is_err(), "the merge thread saw it too");
}

/// Leftovers of a split that a crash cut short count for nothing.
#[test]
fn what_a_cut_merge_leaves_behind_counts_for_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let written = |entries: &[(&str, u64)]| {
        let mut writer = block::BlockWriter::new();
        entries.iter().for_each(|(key, position)| writer.push(&keys::latest(key.as_bytes()), Position(*position)));
        writer.finish()
    };
    let blocks = Blocks::open(directory.path(), CacheBytes { sled: 1 << 20, blocks: 0 }).unwrap();
    blocks.put(keys::LOWEST, written(&[("a", 1), ("m", 2), ("n", 3), ("z", 4)])).unwrap();
    blocks.put(b"\x01n", written(&[("o", 5)])).unwrap();
    write_mark(&blocks, upto(6)).unwrap();
    blocks.close().unwrap();
    let expected = vec![(key("a"), Position(1)), (key("m"), Position(2)), (key("o"), Position(5))];
    let store = open(&directory, tiny());
    for again in 0..2 {
        assert_eq!(store.scan(&KeyPrefix::from_bytes(&b""[..]), None, 10).as_ref(), Ok(&expected));
        assert_eq!(store.latest(&key("n")), Ok(None));
        assert_eq!(store.latest(&key("z")), Ok(None));
        store.apply(vec![change("a", 1)], upto(7 + again)).unwrap();
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn damaged_files_give_errors_or_right_answers() {
    let directory = tempfile::tempdir().unwrap();
    let changes: Vec<_> = (0..3_000).map(|entry| numbered(entry, entry)).collect();
    let store = open(&directory, LocalOptions { overlay_age_max: Duration::from_secs(60), ..tiny() });
    store.apply(changes.clone(), upto(3_000)).unwrap();
    store.close().unwrap();
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        names.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let (db, whole) = files.iter().find(|(path, _)| path.ends_with("db")).unwrap();
    let flips = (0..24).map(|nth| {
        let at = whole.len() * nth / 24 + 77;
        let mut bytes = whole.clone();
        bytes[at..].iter_mut().take(8).for_each(|byte| *byte ^= 0x55);
        bytes
    });
    let cuts = [0, 1, 1_000, whole.len() / 3, whole.len() / 2, whole.len() - 5_000].map(|len| whole[..len].to_vec());
    for bytes in flips.chain(cuts) {
        files.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        fs::write(db, &bytes).unwrap();
        let Ok(store) = LocalIndex::open(directory.path(), tiny()) else { continue };
        // What it says to hold, it holds; the rest is applied again.
        let from = store.durable().entries as usize;
        for change in &changes[..from] {
            if let Ok(found) = store.latest(&change.change.key) {
                assert_eq!(found, Some(change.position));
            }
        }
        let _ = store.apply(changes[from..].to_vec(), upto(3_000));
        let _ = store.close();
    }
}

/// An event in the life of a store in the model test.
#[derive(Clone, Copy, Debug)]
enum Then {
    GoOn,
    Close,
    Drop,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn answers_as_the_model_through_closes_and_drops(
        changes in any_changes(400),
        steps in proptest::collection::vec(
            (0..120usize, proptest::sample::select(&[Then::GoOn, Then::Close, Then::Drop][..])), 1..8),
        overlay_entries_max in 1..80usize,
        block_entries_max in 2..10usize,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let options = || LocalOptions { overlay_entries_max, block_entries_max, ..tiny() };
        let mut store = open(&directory, options());
        let mut applied = 0;
        for (count, then) in steps {
            let end = (applied + count).min(changes.len());
            store.apply(changes[applied..end].to_vec(), upto(end as u64)).unwrap();
            applied = end;
            let model = MemoryIndex::new();
            model.apply(changes[..applied].to_vec(), upto(applied as u64)).unwrap();
            answers_alike(&store, &model, &changes[..applied]);
            match then {
                Then::GoOn => continue,
                Then::Close => store.close().unwrap(),
                Then::Drop => {}
            }
            drop(store);
            store = open(&directory, options());
            let durable = store.durable().entries as usize;
            prop_assert!(durable <= applied && (durable == applied || !matches!(then, Then::Close)));
            store.apply(changes[durable..applied].to_vec(), upto(applied as u64)).unwrap();
            answers_alike(&store, &model, &changes[..applied]);
        }
    }
}
