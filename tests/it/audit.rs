//! Data directories that are damaged, rolled back, cut off, or in use: `fsck` finds a flipped bit anywhere; a start
//! repairs what can be derived from the ledger, and refuses everything else with a clear message.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use tempfile::TempDir;
use touchmark::{
    app::{FsckReport, Node, fsck, rebuild},
    config::Config,
    protocol::grpc::pb::{self, EdgeType},
};

use crate::support::*;

/// Number of bits flipped in total.
const FLIPS: usize = 320;
/// Minimum number of bits flipped in each file.
const FLIPS_PER_FILE: usize = 5;

/// A configuration whose index is merged into its blocks as it grows.
fn small(data: &Path) -> Config {
    let mut config = config(data);
    config.index.overlay_entries_max = 128;
    config
}

fn check(data: &Path) -> Result<FsckReport, String> {
    fsck(data, &mut |_| {}).map_err(|error| error.to_string())
}

/// Error with which a node refuses to start on a directory.
async fn refusal(data: &Path) -> String {
    match Node::start(&small(data)).await {
        Ok(_) => panic!("the node started"),
        Err(error) => error.to_string(),
    }
}

fn identifier(number: usize) -> String {
    match number % 4 {
        0 => format!("88.118.{}/Part-{number}", number % 7),
        1 => format!("urn:oid:1.3.6.1.4.1.{number}"),
        2 => format!("https://id.gs1.org/01/09506000134352/21/{number}"),
        _ => format!("https://maker.example/passport/{number}"),
    }
}

/// Commands of all kinds: every scheme, every change, edges, request ids, private values.
fn commands(numbers: std::ops::Range<usize>) -> Vec<pb::Command> {
    let mut commands = Vec::new();
    for number in numbers {
        let id = identifier(number);
        let values = vec![
            value(1, "NAME", format!("part {number}")),
            pb::Value { permissions: Some(0b1100), ..value(2, "COST", vec![number as u8; number % 300]) },
        ];
        let edges = match number % 5 {
            0 => vec![edge(EdgeType::MadeOf, &identifier(number + 1)), edge(EdgeType::PackedIn, "88.118/box")],
            _ => vec![],
        };
        commands.push(request(format!("first {number}"), create_with_edges(&id, values, edges)));
        match number % 6 {
            1 => commands.push(replace(&id, vec![value(1, "NAME", "replaced")])),
            2 => commands.push(merge(&id, vec![value(3, "MORE", "merged")], vec![2])),
            3 => commands.push(retire(&id)),
            4 => commands.push(request(format!("second {number}"), merge(&id, vec![value(1, "NAME", "x")], vec![]))),
            _ => {}
        }
    }
    commands
}

/// Writes commands in batches of several sizes.
async fn write(running: &Running, commands: Vec<pb::Command>) {
    for (number, batch) in commands.chunks(37).enumerate() {
        if number % 3 == 0 {
            for command in batch {
                running.apply(command.clone()).await.unwrap();
            }
        } else {
            let outcomes = running.apply_batch(batch.to_vec()).await.unwrap();
            assert!(outcomes.iter().all(|outcome| outcome.receipt().version > 0));
        }
    }
}

/// A directory with a few hundred records, closed cleanly after two runs.
async fn sound() -> TempDir {
    let directory = directory();
    for numbers in [0..200, 200..300] {
        let running = Running::with(&small(directory.path())).await.unwrap();
        write(&running, commands(numbers)).await;
        running.stop().await;
    }
    directory
}

/// Every file below a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for item in fs::read_dir(directory).unwrap() {
        let path = item.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let (item, target) = item.map(|item| (item.path(), to.join(item.file_name()))).unwrap();
        if item.is_dir() {
            copy(&item, &target);
        } else {
            fs::copy(&item, &target).unwrap();
        }
    }
}

/// A copy of a directory, to experiment on.
fn image(of: &Path) -> TempDir {
    let copied = directory();
    copy(of, copied.path());
    copied
}

fn flip(file: &Path, bit: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).unwrap();
}

/// Bits to flip: some in every file, more in long files, and most of them where a byte is not zero.
fn plan(directory: &Path, rng: &mut StdRng) -> Vec<(PathBuf, u64)> {
    let files: Vec<_> = files(directory).into_iter().filter(|file| fs::metadata(file).unwrap().len() > 0).collect();
    let mut plan = Vec::new();
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(bytes.len(), |last| last + 1);
        // Short files get five; the number grows with the length.
        let count = FLIPS_PER_FILE * (1 + bytes.len().checked_ilog2().unwrap_or(0).saturating_sub(6) as usize);
        for number in 0..count {
            let end = if number % 3 == 2 { bytes.len() } else { used };
            plan.push((file.clone(), rng.random_range(0..end as u64 * 8)));
        }
    }
    while plan.len() < FLIPS {
        let file = &files[rng.random_range(0..files.len())];
        plan.push((file.clone(), rng.random_range(0..fs::metadata(file).unwrap().len() * 8)));
    }
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_anywhere_is_found() {
    let sound = sound().await;
    let before = check(sound.path()).unwrap();
    assert!(before.sealed && before.torn_bytes == 0 && before.signed == before.entries, "{before:?}");
    assert_eq!((before.identifiers, before.index_entries), (300, 300));
    let seed = rand::random();
    println!("seed {seed}");
    let plan = plan(sound.path(), &mut StdRng::seed_from_u64(seed));
    let (work, mut missed) = (image(sound.path()), Vec::new());
    let restore = |path: &Path| {
        // Opening the index writes to the index; files that `fsck` only reads are restored by the caller.
        fs::remove_dir_all(work.path().join("index")).unwrap();
        copy(&sound.path().join("index"), &work.path().join("index"));
        fs::copy(sound.path().join("index.seal"), work.path().join("index.seal")).unwrap();
        let name = path.strip_prefix(sound.path()).unwrap();
        fs::copy(path, work.path().join(name)).unwrap();
    };
    for (number, (path, bit)) in plan.iter().enumerate() {
        let name = path.strip_prefix(sound.path()).unwrap();
        flip(&work.path().join(name), *bit);
        match check(work.path()) {
            Err(sentence) => assert!(sentence.len() > 20, "{sentence}"),
            Ok(_) => missed.push(format!("{} byte {} bit {}", name.display(), bit / 8, bit % 8)),
        }
        restore(path);
        if number % 40 == 0 {
            assert_eq!(check(work.path()).unwrap(), before, "after {} was put back", name.display());
        }
    }
    println!("{} bits flipped in {} files", plan.len(), files(sound.path()).len());
    assert!(missed.is_empty(), "seed {seed}: not found: {missed:#?}");
    assert_eq!(check(work.path()).unwrap(), before);
}

/// After a crash there is no seal: the ledger is checked all the same, and bytes behind its end are reported.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_ledger_is_found_after_a_crash() {
    let directory = directory();
    let running = Running::with(&small(directory.path())).await.unwrap();
    write(&running, commands(0..200)).await;
    let crashed = image(directory.path());
    running.stop().await;
    let before = check(image(crashed.path()).path()).unwrap();
    assert!(!before.sealed && before.torn_bytes == 0, "{before:?}");
    assert_eq!((before.identifiers, before.index_entries), (200, 200));
    let seed = rand::random();
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let plan = plan(crashed.path(), &mut rng);
    let mut flipped = 0;
    for (path, bit) in plan.into_iter().filter(|(path, _)| !path.starts_with(crashed.path().join("index"))) {
        let work = image(crashed.path());
        let name = path.strip_prefix(crashed.path()).unwrap();
        flip(&work.path().join(name), bit);
        match check(work.path()) {
            Err(_) => {}
            Ok(report) => assert!(report.torn_bytes > 0, "seed {seed}: {} bit {bit} is not found", name.display()),
        }
        flipped += 1;
    }
    println!("{flipped} bits flipped");
    assert!(flipped >= 50);
}

/// Every record of a copy of the directory, over gRPC.
async fn contents(data: &Path) -> Vec<pb::Record> {
    let running = Running::with(&small(data)).await.unwrap();
    let records = running.export("").await;
    running.stop().await;
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_made_again() {
    let sound = sound().await;
    let before = contents(sound.path()).await;
    assert_eq!(before.len(), 300);

    let deleted = image(sound.path());
    fs::remove_dir_all(deleted.path().join("index")).unwrap();
    assert_eq!(contents(deleted.path()).await, before);
    assert!(check(deleted.path()).unwrap().sealed);

    let rebuilt = image(sound.path());
    let mut reports = Vec::new();
    let report = rebuild(rebuilt.path(), &mut |progress| reports.push(progress)).unwrap();
    assert_eq!(report.entries, check(rebuilt.path()).unwrap().entries);
    assert!(reports.is_sorted_by_key(|progress| progress.done), "{reports:?}");
    assert!(reports.last().is_some_and(|last| last.done == last.total));
    assert!(check(rebuilt.path()).unwrap().sealed);
    assert_eq!(contents(rebuilt.path()).await, before);

    let garbage = image(sound.path());
    for file in files(&garbage.path().join("index")) {
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, bytes.iter().map(|byte| byte ^ 0x5a).collect::<Vec<_>>()).unwrap();
    }
    assert!(check(garbage.path()).is_err());
    assert_eq!(contents(garbage.path()).await, before);
    assert!(check(garbage.path()).unwrap().sealed);

    // The index of another ledger.
    let foreign = image(sound.path());
    let other = directory();
    let running = Running::with(&small(other.path())).await.unwrap();
    write(&running, commands(1_000..1_020)).await;
    running.stop().await;
    fs::remove_dir_all(foreign.path().join("index")).unwrap();
    copy(&other.path().join("index"), &foreign.path().join("index"));
    assert!(check(foreign.path()).is_err());
    assert_eq!(contents(foreign.path()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_is_derived_again() {
    let sound = sound().await;
    let (before, report) = (contents(sound.path()).await, check(sound.path()).unwrap());
    let tree = |of: &TempDir, level: u32| of.path().join("ledger/tree").join(level.to_string());
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("deleted", |file| fs::remove_file(file).unwrap()),
        ("emptied", |file| fs::write(file, "").unwrap()),
        ("cut", |file| fs::OpenOptions::new().write(true).open(file).unwrap().set_len(32).unwrap()),
        ("too long", |file| {
            fs::OpenOptions::new().append(true).open(file).unwrap().write_all(&[7; 64]).unwrap();
        }),
        ("overwritten", |file| fs::write(file, vec![1; fs::metadata(file).unwrap().len() as usize]).unwrap()),
    ];
    for level in [0, 1] {
        for (about, harm) in harms {
            let harmed = image(sound.path());
            harm(&tree(&harmed, level));
            if about != "cut" || level == 0 {
                assert!(check(image(harmed.path()).path()).is_err(), "level {level} {about}");
            }
            assert_eq!(contents(harmed.path()).await, before, "level {level} {about}");
            let after = check(harmed.path()).unwrap();
            assert_eq!((after.root, after.entries), (report.root.clone(), report.entries), "level {level} {about}");
        }
    }
    let deleted = image(sound.path());
    fs::remove_dir_all(deleted.path().join("ledger/tree")).unwrap();
    assert_eq!(contents(deleted.path()).await, before);
    assert_eq!(check(deleted.path()).unwrap().root, report.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_refused() {
    let sound = sound().await;
    fs::write(sound.path().join("FORMAT"), "touchmark data 9\n").unwrap();
    for sentence in [
        refusal(sound.path()).await,
        check(sound.path()).unwrap_err(),
        rebuild(sound.path(), &mut |_| {}).unwrap_err().to_string(),
    ] {
        assert!(sentence.contains("`touchmark data 9`") && sentence.contains("`touchmark data 1`"), "{sentence}");
    }
    fs::remove_file(sound.path().join("FORMAT")).unwrap();
    assert!(refusal(sound.path()).await.contains("no FORMAT file"));
    let missing = sound.path().join("missing");
    assert!(check(&missing).unwrap_err().contains("missing"));
    assert!(!missing.exists());
}

/// Without its key or its signed head, a node cannot know what the ledger has signed: it does not start under a new
/// key.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_or_signed_head_is_refused() {
    let sound = sound().await;
    for name in ["ledger/key", "ledger/signed_head"] {
        let (harmed, file) = (image(sound.path()), Path::new(name).file_name().unwrap().to_str().unwrap());
        fs::remove_file(harmed.path().join(name)).unwrap();
        // A refused start does not make the next start pass.
        for _ in 0..2 {
            let sentence = refusal(harmed.path()).await;
            assert!(sentence.contains(file) && sentence.contains("is missing"), "{sentence}");
        }
        assert!(check(harmed.path()).unwrap_err().contains("is missing"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time() {
    let directory = directory();
    let running = Running::start(directory.path()).await;
    running.apply(create("88.1/a", vec![])).await.unwrap();
    for sentence in [
        refusal(directory.path()).await,
        check(directory.path()).unwrap_err(),
        rebuild(directory.path(), &mut |_| {}).unwrap_err().to_string(),
    ] {
        assert!(sentence.contains("in use by another process"), "{sentence}");
    }
    running.apply(create("88.1/b", vec![])).await.unwrap();
    running.stop().await;
    assert_eq!(check(directory.path()).unwrap().entries, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_second_history_is_signed() {
    let sound = sound().await;
    let older = image(sound.path());
    let running = Running::with(&small(sound.path())).await.unwrap();
    write(&running, commands(300..340)).await;
    running.stop().await;
    let report = check(sound.path()).unwrap();
    for whole in [true, false] {
        let restored = image(sound.path());
        fs::remove_dir_all(restored.path().join("ledger/segments")).unwrap();
        copy(&older.path().join("ledger/segments"), &restored.path().join("ledger/segments"));
        if whole {
            for name in ["ledger/tree", "index"] {
                fs::remove_dir_all(restored.path().join(name)).unwrap();
                copy(&older.path().join(name), &restored.path().join(name));
            }
            fs::copy(older.path().join("index.seal"), restored.path().join("index.seal")).unwrap();
        }
        for _ in 0..2 {
            let sentence = refusal(restored.path()).await;
            assert!(sentence.contains(&format!("signed {}", report.entries)), "{sentence}");
            assert!(sentence.contains("refusing to sign a second history"), "{sentence}");
        }
        assert!(check(restored.path()).is_err());
        // With the newest copy restored, the node starts.
        fs::remove_dir_all(restored.path().join("ledger")).unwrap();
        copy(&sound.path().join("ledger"), &restored.path().join("ledger"));
        assert_eq!(contents(restored.path()).await.len(), 340);
        assert_eq!(check(restored.path()).unwrap().root, report.root);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_is_refused() {
    let sound = sound().await;
    let lost = image(sound.path());
    fs::remove_file(lost.path().join("ledger/key")).unwrap();
    assert!(check(lost.path()).unwrap_err().contains("ledger/key is missing"));
    assert!(refusal(lost.path()).await.contains("ledger/key is missing"));
    let other = directory();
    Running::start(other.path()).await.stop().await;
    fs::copy(other.path().join("ledger/key"), lost.path().join("ledger/key")).unwrap();
    assert!(refusal(lost.path()).await.contains("holds no checkpoint signed with this ledger's key"));
    fs::copy(sound.path().join("ledger/key"), lost.path().join("ledger/key")).unwrap();
    assert_eq!(contents(lost.path()).await.len(), 300);
}

/// Damage in front of valid frames is no torn tail: nothing is cut off, and the node does not start.
#[tokio::test(flavor = "multi_thread")]
async fn damage_is_not_cut_away() {
    let sound = sound().await;
    fs::remove_dir_all(sound.path().join("index")).unwrap();
    let segment = files(&sound.path().join("ledger/segments")).remove(0);
    flip(&segment, 8 * 200);
    let before = fs::read(&segment).unwrap();
    let sentence = refusal(sound.path()).await;
    assert!(sentence.contains("no whole frame at offset 32"), "{sentence}");
    assert!(fs::read(&segment).unwrap() == before);
    flip(&segment, 8 * 200);
    assert_eq!(contents(sound.path()).await.len(), 300);
}

/// A frame that was cut off by a crash is found, reported and cut, and the ledger continues.
#[tokio::test]
async fn a_torn_tail_is_cut_and_said() {
    let sound = sound().await;
    let longer = image(sound.path());
    let running = Running::with(&small(longer.path())).await.unwrap();
    write(&running, commands(300..310)).await;
    running.stop().await;
    let [old, new] = [&sound, &longer].map(|of| files(&of.path().join("ledger/segments")).remove(0));
    let (before, after) = (fs::read(&old).unwrap(), fs::read(&new).unwrap());
    let start = before.iter().zip(&after).position(|(before, after)| before != after).unwrap();
    assert_eq!(&after[start..start + 4], b"TMF1");
    let entries = check(sound.path()).unwrap().entries;
    for torn_bytes in [1, 4, 63, 64, 65, 200] {
        let torn = image(sound.path());
        let segment = files(&torn.path().join("ledger/segments")).remove(0);
        let file = fs::OpenOptions::new().write(true).open(&segment).unwrap();
        file.write_all_at(&after[start..start + torn_bytes], start as u64).unwrap();
        let sealed = check(torn.path()).unwrap_err();
        assert!(sealed.contains("closed cleanly") && sealed.contains("follow its last entry"), "{sealed}");
        // A crash leaves no seal.
        let _ = fs::remove_file(torn.path().join("index.seal"));
        let report = check(torn.path()).unwrap();
        assert!((1..=torn_bytes as u64).contains(&report.torn_bytes), "{report:?}");
        assert_eq!(report.entries, entries);

        let log = torn.path().with_extension("log");
        let subscriber =
            tracing_subscriber::fmt().with_writer(Arc::new(fs::File::create(&log).unwrap())).with_ansi(false).finish();
        let logging = tracing::subscriber::set_default(subscriber);
        let running = Running::with(&small(torn.path())).await.unwrap();
        drop(logging);
        let said = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        assert!(said.contains("cut off before it was acknowledged"), "{said}");
        assert!(said.contains(&format!("bytes={}", report.torn_bytes)), "{said}");
        assert_eq!(running.entries(), entries);
        write(&running, commands(300..310)).await;
        running.stop().await;
        assert_eq!(check(torn.path()).unwrap().torn_bytes, 0);
        assert_eq!(contents(torn.path()).await.len(), 310);
    }
}
