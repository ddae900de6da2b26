//! A full disk: writes are refused with a clear message, reads go on, and nothing acknowledged is lost. Once there is
//! room again, writes go on without a restart.
//!
//! Needs root to mount a small file system; skipped otherwise.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tonic::Code;
use touchmark::{
    app,
    client::dns::{self, Said},
    config::Config,
    id::Identifier,
    protocol::grpc::pb::{self, answer::Outcome as Answer},
};

use crate::{
    http_support::get,
    required,
    support::{Outcome, Running, config, create, directory, value},
};

/// Size of the file system.
const SIZE: &str = "size=48m";
/// The smallest overlay, so that the index merges as often as possible.
const OVERLAY_ENTRIES: usize = 1_024;
/// Time in which a node has to accept writes again after there is room.
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// A file system in memory, unmounted when dropped.
struct Small {
    mount: TempDir,
}

impl Small {
    /// Mounts it; `None` without the right to mount, and the test is skipped.
    fn mount() -> Option<Self> {
        let mount = directory();
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(mount.path()).output();
        let mounted = output.is_ok_and(|output| output.status.success());
        required::is_met("root", mounted).then_some(Self { mount })
    }

    fn path(&self) -> &Path {
        self.mount.path()
    }

    /// Writes until there is no room left; returns the file that takes the room.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.path().join("filler");
        let mut file = File::create(&path).unwrap();
        for chunk in [1 << 20, 4_096, 1] {
            let zeros = vec![0; chunk];
            let error = loop {
                if let Err(error) = file.write_all(&zeros) {
                    break error;
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Lazily: a failed test may still have open files there.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A node on a small disk, and everything that it acknowledged.
struct Disk {
    node: Running,
    small: Small,
    config: Config,
    acknowledged: BTreeMap<String, String>,
}

impl Disk {
    async fn start(small: Small, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&small.path().join("data"));
        change(&mut config);
        let node = Running::with(&config).await.unwrap();
        Self { node, small, config, acknowledged: BTreeMap::new() }
    }

    /// Writes one batch of records, each `bytes` long, and returns the refusals. Refused records must not be found.
    async fn write(&mut self, name: &str, count: usize, bytes: usize) -> Vec<pb::Refusal> {
        let data = |number: usize| format!("{number}-{}", "x".repeat(bytes));
        let identifier = |number: usize| format!("88.118/{name}-{number}");
        let record = |number: usize| create(&identifier(number), vec![value(1, "N", data(number))]);
        let outcomes = self.node.apply_batch((0..count).map(record).collect()).await.unwrap();
        let (mut refusals, mut refused) = (Vec::new(), None);
        for (number, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Outcome::Receipt(_) => {
                    self.acknowledged.insert(identifier(number), data(number));
                }
                Outcome::Refusal(refusal) => {
                    refused.get_or_insert_with(|| identifier(number));
                    refusals.push(refusal);
                }
            }
        }
        if let Some(refused) = refused {
            let shown = self.node.resolve(&refused).await;
            assert!(matches!(shown, Answer::NotFound(_)), "refused and there: {shown:?}");
        }
        refusals
    }

    /// Writes until a batch is refused; returns a refusal.
    async fn write_until_refused(&mut self, name: &str, count: usize, bytes: usize) -> pb::Refusal {
        for turn in 0..10_000 {
            if let Some(refusal) = self.write(&format!("{name}{turn}"), count, bytes).await.pop() {
                return refusal;
            }
        }
        panic!("{name}: the disk is not full");
    }

    /// Everything acknowledged resolves over gRPC, and some of it over DNS.
    async fn check(&self) {
        let acknowledged: Vec<_> = self.acknowledged.iter().collect();
        for chunk in acknowledged.chunks(1_000) {
            let identifiers: Vec<String> = chunk.iter().map(|(identifier, _)| (*identifier).clone()).collect();
            for (answer, (identifier, data)) in self.node.resolve_batch(&identifiers).await.into_iter().zip(chunk) {
                let Answer::Found(record) = answer else { panic!("{identifier}: {answer:?}") };
                assert_eq!(record.values[0].data, data.as_bytes(), "{identifier}");
            }
        }
        for (identifier, data) in acknowledged.iter().step_by(acknowledged.len() / 10 + 1) {
            let name = Identifier::parse(identifier).unwrap();
            let said = dns::resolve(&name, &self.config.zone, self.node.node.dns_addr()).await;
            let Ok(Said::Found(record)) = said else { panic!("{identifier}: {said:?}") };
            assert_eq!(record.values[0].data, data.as_bytes(), "{identifier}");
        }
    }

    /// Status and body of `/readyz`.
    fn ready(&self) -> (u16, String) {
        let reply = tokio::task::block_in_place(|| get(self.node.node.http_addr().unwrap(), "/readyz"));
        (reply.status, reply.text().to_owned())
    }

    /// Registers the first record of an accepted batch once more.
    async fn write_known(&self, name: &str) -> pb::Refusal {
        let outcomes = self.node.apply_batch(vec![create(&format!("88.118/{name}-0"), vec![])]).await.unwrap();
        outcomes[0].refusal().clone()
    }

    /// Sends a batch until it is accepted: none of it was written before.
    async fn recover(&mut self, name: &str, count: usize) {
        let began = Instant::now();
        loop {
            let refusals = self.write(name, count, 30).await;
            let Some(refusal) = refusals.first() else { return };
            is_full(refusal);
            assert!(began.elapsed() < RECOVERY_TIMEOUT, "there is room, and still: {}", refusal.message);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops the node, checks the directory, starts a node again.
    async fn restart(self) -> Self {
        let Self { node, small, config, acknowledged } = self;
        node.stop().await;
        let report = app::fsck(&config.data, &mut |_| {}).unwrap();
        assert!(report.sealed && report.torn_bytes == 0, "{report:?}");
        let node = Running::with(&config).await.unwrap();
        Self { node, small, config, acknowledged }
    }
}

fn is_full(refusal: &pb::Refusal) {
    assert_eq!(Code::from_i32(refusal.code), Code::Unavailable, "{refusal:?}");
    assert!(refusal.message.to_lowercase().contains("no space left on"), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_refused_reads_go_on_and_nothing_is_lost() {
    let Some(small) = Small::mount() else { return };
    let mut disk = Disk::start(small, |_| {}).await;
    for turn in 0..5 {
        assert_eq!(disk.write(&format!("before{turn}"), 100, 300).await, []);
    }
    for round in 0..3 {
        let filler = disk.small.fill();
        // The segment has room reserved; first a large batch no longer fits, then a small one.
        for bytes in [60_000, 100] {
            is_full(&disk.write_until_refused(&format!("full{round}-{bytes}-"), 20, bytes).await);
        }
        is_full(&disk.write_until_refused(&format!("single{round}-"), 1, 10).await);
        let (status, said) = disk.ready();
        assert!(status == 503 && said.to_lowercase().contains("no space left on"), "{status} {said}");
        disk.check().await;
        fs::remove_file(filler).unwrap();
        disk.recover(&format!("after{round}-"), 1).await;
        assert_eq!(disk.ready(), (200, "ok\n".into()));
        disk.check().await;
    }
    let disk = disk.restart().await;
    disk.check().await;
    disk.node.stop().await;
}

/// The index merges while the disk is full: entries that cannot be written stay in memory and are merged later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_survives_a_full_disk() {
    let Some(small) = Small::mount() else { return };
    let mut disk = Disk::start(small, |config| config.index.overlay_entries_max = OVERLAY_ENTRIES).await;
    for round in 0..3 {
        let filler = disk.small.fill();
        // Room for the ledger, but not for the index.
        File::options()
            .write(true)
            .open(&filler)
            .unwrap()
            .set_len(fs::metadata(&filler).unwrap().len() - (600 << 10))
            .unwrap();
        is_full(&disk.write_until_refused(&format!("full{round}-"), 500, 30).await);
        disk.check().await;
        fs::remove_file(filler).unwrap();
        for turn in 0..3 {
            disk.recover(&format!("after{round}-{turn}-"), 1_000).await;
        }
        disk.check().await;
    }
    let disk = disk.restart().await;
    disk.check().await;
    disk.node.stop().await;
}

/// The merge of the index fails at the last entry that the ledger has room for; afterwards a create is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_is_written_once() {
    let Some(small) = Small::mount() else { return };
    let mut disk = Disk::start(small, |config| config.index.overlay_entries_max = OVERLAY_ENTRIES).await;
    assert_eq!(disk.write("before", OVERLAY_ENTRIES - 24, 30).await, []);
    let filler = disk.small.fill();
    is_full(&disk.write_until_refused("full", 1, 30).await);
    // 1,024 leaf hashes fill their pages just as 1,024 entries fill the overlay.
    assert_eq!(disk.node.entries(), OVERLAY_ENTRIES as u64);
    tokio::time::sleep(Duration::from_millis(500)).await;
    fs::remove_file(filler).unwrap();
    disk.recover("again", 1).await;
    let refusal = disk.write_known("again").await;
    assert!(refusal.message.contains("is already registered"), "{refusal:?}");
    assert_eq!(disk.node.entries(), OVERLAY_ENTRIES as u64 + 1);
    let disk = disk.restart().await;
    disk.check().await;
    disk.node.stop().await;
}
