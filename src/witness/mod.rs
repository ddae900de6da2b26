//! A witness: cosigns the checkpoints of other logs, and never two that contradict each other (C2SP tlog-witness).
//!
//! ```text
//! DIR/lock                       locked by the process that has the directory open
//! DIR/promises                   the witness's verifier key, then the origins that it ever cosigned, one a line
//! DIR/<hex SHA-256 of origin>    the last cosigned checkpoint, with the log's signatures and the witness's own
//! ```
//!
//! Always: a cosigned checkpoint is durable before its cosignature leaves: it is written beside the old one, synced,
//! renamed over it, and the directory synced. Requests about one log are handled one after the other, from the
//! judgement to the disk, so that a slow request cannot undo the promise of a fast one. Only state that is known to be
//! durable is served; after a failed write the witness refuses the log until it is restarted. A missing or damaged file
//! stops the start, and so does a key that was used with another directory: a witness that has forgotten may contradict
//! itself. Deliberately absent: HTTP (`server::http::witness`); the judgement itself ([`crate::tlog::witness`]).

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    ledger::write_secret,
    tlog::{
        merkle::TreeHead,
        note::{CosignerKey, KeyType, VerifierKey, verify_cosigned},
        witness::{AddCheckpoint, Refusal, judge, origin_hash},
    },
};

/// Maximum number of logs of a witness.
pub const LOGS_MAX: usize = 10_000;
/// Name of the file with the witness's key and the logs that it cosigned; no hash of an origin has this name.
const PROMISES: &str = "promises";
/// Time for which the same checkpoint gets the same cosignature again, without a write, in seconds: anyone can send a
/// public checkpoint as often as they like.
const REPEAT_S: u64 = 10;

/// An open witness, with its key and its memory.
#[derive(Debug)]
pub struct Witness {
    key: CosignerKey,
    directory: PathBuf,
    logs: HashMap<String, Log>,
    /// The origins in the file `promises`.
    promised: Mutex<BTreeSet<String>>,
    lock: File,
}

/// The key file of a witness, and the means to make a new key.
#[derive(Clone, Copy, Debug)]
pub struct KeyFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// The witness's name, for a new key.
    pub name: &'a str,
    /// 32 random bytes, for a new key.
    pub seed: [u8; 32],
}

#[derive(Debug)]
struct Log {
    keys: Vec<VerifierKey>,
    path: PathBuf,
    /// Locked from the judgement of a request until its result is durable.
    memory: Mutex<Memory>,
}

/// State of the file of one log, as far as the witness knows it.
#[derive(Debug)]
enum Memory {
    /// The file is durable, with this checkpoint, or there is none.
    Durable(Option<Cosigned>),
    /// A write failed: the new file may be durable, or the old one may return after a power loss.
    Unknown {
        /// The checkpoint that is promised in either case.
        before: Option<Cosigned>,
    },
}

/// A cosigned checkpoint.
#[derive(Clone, Debug)]
struct Cosigned {
    head: TreeHead,
    /// The signed text.
    text: Vec<u8>,
    /// The text with the log's signatures and the witness's own.
    note: Vec<u8>,
    /// The witness's own signature line.
    line: String,
    /// The time of the cosignature, in seconds since 1970 UTC.
    time: u64,
}

impl Cosigned {
    /// True if this cosignature can answer a request for the same text at `time`.
    fn stands_for(&self, text: &[u8], time: u64) -> bool {
        self.text == text && time.checked_sub(self.time).is_some_and(|age| age < REPEAT_S)
    }
}

impl Memory {
    fn latest(&self) -> Option<&Cosigned> {
        match self {
            Self::Durable(latest) | Self::Unknown { before: latest } => latest.as_ref(),
        }
    }
}

/// Failure to open a witness.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A file operation failed.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("{} is in use by another witness; two would not know what the other one cosigned", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// The content of a file is not what the witness wrote.
    #[error(
        "{} is not a checkpoint of the log `{origin}` that this witness cosigned; what it promised is not known any more. \
         Restore the file; if that is impossible, start with a new key under a new name", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The log of the file.
        origin: String,
    },
    /// The file of a cosigned log is missing.
    #[error(
        "{} is missing, and this witness has cosigned the log `{origin}`; what it promised is not known any more. Restore the \
         file; if that is impossible, start with a new key under a new name", path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The log of the file.
        origin: String,
    },
    /// The key exists, and the directory does not belong to it.
    #[error(
        "the key {} was made before, and {} does not remember what was cosigned with it. Give the state directory that belongs to \
         the key; if that is lost, start with a new key under a new name", key.display(), path.display()
    )]
    Forgotten {
        /// The key file.
        key: PathBuf,
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to another key.
    #[error("{} is what the witness {witness} remembers, and {} is not its key", path.display(), key.display())]
    OtherWitness {
        /// The directory.
        path: PathBuf,
        /// The verifier key of the witness to which the directory belongs.
        witness: Box<VerifierKey>,
        /// The key file.
        key: PathBuf,
    },
    /// The list of promises is damaged.
    #[error(
        "{} is not the list of logs that a witness keeps. Restore the file; if that is impossible, start with a new key under a new \
         name in a new directory", path.display()
    )]
    List {
        /// The file.
        path: PathBuf,
    },
    /// The key file holds no key.
    #[error("{} holds no key of a witness", path.display())]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The name is not valid for a key.
    #[error("`{name}` cannot name a witness: 1 to 255 printable ASCII characters without spaces and +")]
    Name {
        /// The name.
        name: String,
    },
    /// A key given for a log is that of a witness.
    #[error("{name} is the key of a witness; give keys of logs")]
    NotALog {
        /// The key's name.
        name: String,
    },
    /// More logs than the limit.
    #[error("{count} logs; the limit is {LOGS_MAX}")]
    TooMany {
        /// Number of logs.
        count: usize,
    },
}

fn failed<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> WitnessError + 'a {
    move |source| WitnessError::Io { what, path: path.into(), source }
}

fn read_key(path: &Path) -> Result<Option<CosignerKey>, WitnessError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let key = text.strip_suffix('\n').and_then(CosignerKey::parse);
            key.map(Some).ok_or_else(|| WitnessError::Key { path: path.into() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(WitnessError::Key { path: path.into() }),
        Err(error) => Err(failed("cannot read", path)(error)),
    }
}

/// The key of a witness, and the origins that it ever cosigned. A new key is made only with a directory without
/// promises, and an existing one used only with the directory that it was made with.
fn open_key(directory: &Path, file: KeyFile<'_>) -> Result<(CosignerKey, BTreeSet<String>), WitnessError> {
    let other = |witness: VerifierKey| WitnessError::OtherWitness {
        path: directory.into(),
        witness: Box::new(witness),
        key: file.path.into(),
    };
    match (read_key(file.path)?, promises(directory)?) {
        (Some(key), Some((owner, origins))) if owner == *key.verifier() => Ok((key, origins)),
        (Some(_), None) => Err(WitnessError::Forgotten { key: file.path.into(), path: directory.into() }),
        (None, Some((owner, origins))) if !origins.is_empty() => Err(other(owner)),
        (Some(_), Some((owner, _))) => Err(other(owner)),
        (None, _) => {
            let name = file.name;
            let origins = BTreeSet::new();
            let key = CosignerKey::new(name, file.seed).ok_or_else(|| WitnessError::Name { name: name.into() })?;
            // The key is written last: it never exists without the directory that knows it.
            write_promises(directory, key.verifier(), &origins).map_err(failed("cannot write to", directory))?;
            // A bare name has no parent; the absolute path has one, which can be synced.
            let path = std::path::absolute(file.path).map_err(failed("cannot find", file.path))?;
            write_secret(&path, &key.encode()).map_err(failed("cannot write", &path))?;
            Ok((key, origins))
        }
    }
}

/// The key of a directory, and the origins that were cosigned with it; `None` for a new directory.
fn promises(directory: &Path) -> Result<Option<(VerifierKey, BTreeSet<String>)>, WitnessError> {
    let path = directory.join(PROMISES);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Err(WitnessError::List { path }),
        Err(error) => return Err(failed("cannot read", &path)(error)),
    };
    let mut lines = text.strip_suffix('\n').unwrap_or_default().split('\n');
    let key = lines.next().and_then(|key| key.parse().ok());
    let key = key.ok_or(WitnessError::List { path })?;
    Ok(Some((key, lines.map(str::to_owned).collect())))
}

fn write_promises(directory: &Path, key: &VerifierKey, origins: &BTreeSet<String>) -> io::Result<()> {
    let path = directory.join(PROMISES);
    let lines = origins.iter().map(|origin| format!("{origin}\n"));
    let text: String = std::iter::once(format!("{key}\n")).chain(lines).collect();
    fs::rename(written_beside(&path, text.as_bytes())?, &path)?;
    sync(directory)
}

impl Witness {
    /// Opens the key and the memory of a witness, or creates both. Several keys of one name are keys of one log.
    ///
    /// # Errors
    ///
    /// [`WitnessError`].
    pub fn open(directory: &Path, key: KeyFile<'_>, log_keys: Vec<VerifierKey>) -> Result<Self, WitnessError> {
        fs::create_dir_all(directory).map_err(failed("cannot create", directory))?;
        let path = directory.join("lock");
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(failed("cannot open", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(WitnessError::Locked { path: directory.into() }),
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock", &path)(error)),
        }
        let mut logs = known_logs(directory, log_keys)?;
        let (key, promised) = open_key(directory, key)?;
        for (origin, log) in &mut logs {
            let latest = remembered(origin, log, key.verifier())?;
            if latest.is_none() && promised.contains(origin) {
                return Err(WitnessError::Missing { path: log.path.clone(), origin: origin.clone() });
            }
            *log.memory.get_mut().unwrap_or_else(PoisonError::into_inner) = Memory::Durable(latest);
        }
        // The process that wrote these files may have ended before the directory was synced.
        sync(directory).map_err(failed("cannot sync", directory))?;
        let witness = Self { key, directory: directory.into(), logs, promised: Mutex::new(promised), lock };
        // A crash may have come between the first checkpoint of a log and its entry in the list.
        for (origin, _) in witness.logs().filter(|(_, size)| size.is_some()) {
            witness.list(origin).map_err(failed("cannot write to", directory))?;
        }
        Ok(witness)
    }

    /// The key that verifies the witness's cosignatures.
    pub fn key(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The known logs, with their last cosigned sizes.
    pub fn logs(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.logs.iter().map(|(origin, log)| {
            let memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
            (origin.as_str(), memory.latest().map(|cosigned| cosigned.head.size))
        })
    }

    /// Answers a request to cosign, at a time in seconds since 1970 UTC: with a signature line, or a refusal. May wait
    /// for the disk.
    ///
    /// # Errors
    ///
    /// The cosigned checkpoint could not be written; then nothing is promised. If the outcome of the write is unknown,
    /// all later requests about the log are errors, too.
    pub fn add_checkpoint(&self, body: &[u8], time: u64) -> io::Result<Result<String, Refusal>> {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A checkpoint's first line is its origin.
        let origin = request.checkpoint.lines().next().unwrap_or_default();
        let Some(log) = self.logs.get(origin) else { return Ok(Err(Refusal::UnknownOrigin)) };
        let mut memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Memory::Durable(latest) = &*memory else {
            return Err(io::Error::other(format!(
                "what is on the disk for the log `{origin}` is not known since an error; start the witness again"
            )));
        };
        let verified = match judge(&request, &log.keys, latest.as_ref().map(|cosigned| cosigned.head)) {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Some(again) = latest.as_ref().filter(|cosigned| cosigned.stands_for(&verified.text, time)) {
            return Ok(Ok(again.line.clone()));
        }
        let line = self.key.cosign(&verified.text, time);
        let signatures = format!("\n{}{line}", verified.log_lines);
        let note = [verified.text.as_slice(), signatures.as_bytes()].concat();
        let temporary = written_beside(&log.path, &note)?;
        // From here on an error leaves the state of the disk unknown.
        let before = latest.clone();
        *memory = Memory::Unknown { before };
        fs::rename(&temporary, &log.path)?;
        sync(&self.directory)?;
        self.list(origin)?;
        *memory = Memory::Durable(Some(Cosigned {
            head: verified.head,
            text: verified.text,
            note,
            line: line.clone(),
            time,
        }));
        Ok(Ok(line))
    }

    /// Adds a log to the list of promises, before its first cosignature leaves the witness.
    fn list(&self, origin: &str) -> io::Result<()> {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        if !promised.contains(origin) {
            let mut more = promised.clone();
            more.insert(origin.to_owned());
            write_promises(&self.directory, self.key(), &more)?;
            *promised = more;
        }
        Ok(())
    }

    /// The last cosigned checkpoint, durable, of the log whose origin has this hash ([`origin_hash`]).
    pub fn latest(&self, hash: &str) -> Option<Vec<u8>> {
        let log = self.logs.values().find(|log| log.path.file_name().is_some_and(|name| name == hash))?;
        let memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.latest().map(|cosigned| cosigned.note.clone())
    }
}

/// Writes and syncs a temporary file to be renamed to `path`; returns its name.
fn written_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let temporary = path.with_extension("new");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(temporary)
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

impl Drop for Witness {
    fn drop(&mut self) {
        // Closing the file is not enough: a child process that is just being started has it open, too.
        let _ = self.lock.unlock();
    }
}

/// The logs of these keys, with the paths of their files.
fn known_logs(directory: &Path, log_keys: Vec<VerifierKey>) -> Result<HashMap<String, Log>, WitnessError> {
    let mut logs: HashMap<String, Log> = HashMap::new();
    for log_key in log_keys {
        if log_key.kind() != KeyType::Log {
            return Err(WitnessError::NotALog { name: log_key.name().into() });
        }
        let origin = log_key.name().to_owned();
        let path = directory.join(origin_hash(&origin));
        let empty = || Log { keys: Vec::new(), path, memory: Mutex::new(Memory::Durable(None)) };
        let log = logs.entry(origin).or_insert_with(empty);
        if !log.keys.contains(&log_key) {
            log.keys.push(log_key);
        }
    }
    if logs.len() > LOGS_MAX {
        return Err(WitnessError::TooMany { count: logs.len() });
    }
    Ok(logs)
}

/// The last cosigned checkpoint of a log, from its file.
fn remembered(origin: &str, log: &Log, own: &VerifierKey) -> Result<Option<Cosigned>, WitnessError> {
    let path = &log.path;
    let note = match fs::read(path) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot read", path)(error)),
    };
    // The log may have changed its key since; the witness has not, so its own signature is the one to check.
    let damaged = || WitnessError::Damaged { path: path.clone(), origin: origin.into() };
    let cosigned = verify_cosigned(&note, own).map_err(|_| damaged())?;
    let own = cosigned.cosignatures.into_iter().next().filter(|_| cosigned.origin == origin).ok_or_else(damaged)?;
    Ok(Some(Cosigned { head: cosigned.head, text: cosigned.text, note, line: own.line, time: own.time }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::{Hash, LedgerKey, node_hash, note::verify_checkpoint as verify};

    fn log(origin: &str) -> LedgerKey {
        LedgerKey::new(origin, [1; 32]).unwrap()
    }

    fn open(directory: &Path) -> Result<Witness, WitnessError> {
        let path = directory.join("key");
        let key = KeyFile { path: &path, name: "witness.test", seed: [3; 32] };
        let keys = ["a.test", "b.test"].map(|origin| log(origin).verifier_key().parse().unwrap());
        Witness::open(&directory.join("state"), key, keys.into())
    }

    fn leaves(count: u8) -> Hash {
        let [a, b, c] = [1, 2, 3].map(|leaf| Hash([leaf; 32]));
        let two = node_hash(a, b);
        [a, two, node_hash(two, c)][usize::from(count) - 1]
    }

    fn request(origin: &str, old_size: u64, proof: &[u8], size: u8) -> Vec<u8> {
        let checkpoint = log(origin).sign(u64::from(size), leaves(size)).unwrap().note.to_string();
        let proof = proof.iter().map(|&leaf| Hash([leaf; 32])).collect();
        AddCheckpoint { old_size, proof, checkpoint }.write().into_bytes()
    }

    #[test]
    fn what_was_cosigned_is_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path()).unwrap();
        let ask = |witness: &Witness, body: &[u8]| witness.add_checkpoint(body, 77).unwrap();
        assert!(ask(&witness, &request("a.test", 0, &[], 2)).is_ok());
        assert_eq!(ask(&witness, &request("a.test", 0, &[], 3)), Err(Refusal::Conflict { size: 2 }));
        assert_eq!(ask(&witness, &request("c.test", 0, &[], 3)), Err(Refusal::UnknownOrigin));
        assert!(matches!(open(directory.path()), Err(WitnessError::Locked { .. })));
        drop(witness);
        let witness = open(directory.path()).unwrap();
        assert_eq!(ask(&witness, &request("a.test", 0, &[], 3)), Err(Refusal::Conflict { size: 2 }));
        let line = ask(&witness, &request("a.test", 2, &[3], 3)).unwrap();
        assert!(ask(&witness, &request("b.test", 0, &[], 1)).is_ok(), "logs do not know of each other");
        let note = witness.latest(&origin_hash("a.test")).unwrap();
        assert!(String::from_utf8(note.clone()).unwrap().ends_with(&line));
        let keys = [log("a.test").verifier_key().parse().unwrap(), witness.key().clone()];
        let verified = verify(&note, &keys).unwrap();
        assert_eq!((verified.head.size, verified.cosignatures[0].time), (3, 77));
        assert_eq!(witness.latest("../key"), None);
        assert_eq!(witness.latest(&origin_hash("c.test")), None);
    }

    #[test]
    fn after_an_error_at_the_rename_nothing_more_is_promised() {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path()).unwrap();
        witness.add_checkpoint(&request("a.test", 0, &[], 2), 77).unwrap().unwrap();
        let hash = origin_hash("a.test");
        let (path, aside) = (directory.path().join("state").join(&hash), directory.path().join("aside"));
        let note = witness.latest(&hash);
        // Nothing can be renamed over a directory.
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(witness.add_checkpoint(&request("a.test", 2, &[3], 3), 77).is_err());
        fs::remove_dir(&path).unwrap();
        assert!(witness.add_checkpoint(&request("a.test", 2, &[3], 3), 77).is_err(), "not before it is started again");
        assert_eq!(witness.latest(&hash), note, "what it promised before stands, and is not read from the file");
        assert!(witness.add_checkpoint(&request("b.test", 0, &[], 1), 77).unwrap().is_ok(), "others go on");
        drop(witness);
        fs::rename(&aside, &path).unwrap();
        let witness = open(directory.path()).unwrap();
        assert_eq!(witness.latest(&hash), note);
        assert!(witness.add_checkpoint(&request("a.test", 2, &[3], 3), 77).unwrap().is_ok());
    }

    #[test]
    fn the_same_again_costs_no_disk() {
        let directory = tempfile::tempdir().unwrap();
        let ask =
            |witness: &Witness, time| witness.add_checkpoint(&request("a.test", 2, &[], 2), time).unwrap().unwrap();
        let witness = open(directory.path()).unwrap();
        let first = witness.add_checkpoint(&request("a.test", 0, &[], 2), 77).unwrap().unwrap();
        let path = directory.path().join("state").join(origin_hash("a.test"));
        let note = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!([ask(&witness, 77), ask(&witness, 76 + REPEAT_S)], [first.clone(), first.clone()]);
        assert!(!path.exists(), "nothing was written");
        fs::write(&path, &note).unwrap();
        drop(witness);
        let witness = open(directory.path()).unwrap();
        assert_eq!(ask(&witness, 78), first);
        // The clock went on, or back.
        for time in [77 + REPEAT_S, 76] {
            assert_ne!(ask(&witness, time), first);
        }
    }

    #[test]
    fn strange_signatures_are_not_remembered() {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path()).unwrap();
        let mut body = request("a.test", 0, &[], 2);
        // A line under the witness's own name and key id that is wrong.
        let forged = CosignerKey::new("witness.test", [3; 32]).unwrap().cosign(b"something else\n", 1);
        body.extend_from_slice(forged.as_bytes());
        assert!(witness.add_checkpoint(&body, 77).unwrap().is_ok());
        drop(witness);
        assert!(open(directory.path()).is_ok());
    }

    #[test]
    fn a_witness_that_forgot_does_not_start() {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path()).unwrap();
        witness.add_checkpoint(&request("a.test", 0, &[], 2), 77).unwrap().unwrap();
        drop(witness);
        let path = directory.path().join("state").join(origin_hash("a.test"));
        let note = fs::read(&path).unwrap();
        let refused = |note: &[u8]| {
            fs::write(&path, note).unwrap();
            matches!(open(directory.path()), Err(WitnessError::Damaged { .. }))
        };
        for at in 0..note.len() {
            let mut flipped = note.clone();
            flipped[at] ^= 1;
            // The log's own signature does not count here: the witness checked it before it cosigned.
            if !refused(&flipped) {
                let line = String::from_utf8_lossy(&note[..at]).matches('\n').count();
                assert_eq!(line, 4, "byte {at}");
            }
        }
        assert!(refused(b""));
        // The cosigned checkpoint of another log does not replace it.
        fs::write(&path, &note).unwrap();
        fs::copy(&path, directory.path().join("state").join(origin_hash("b.test"))).unwrap();
        assert!(matches!(open(directory.path()), Err(WitnessError::Damaged { .. })));
        assert!(matches!(read_key(&path), Err(WitnessError::Key { .. })));
    }

    #[test]
    fn a_witness_without_its_memory_does_not_start() {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path()).unwrap();
        witness.add_checkpoint(&request("a.test", 0, &[], 2), 77).unwrap().unwrap();
        drop(witness);
        let (state, key, aside) =
            (directory.path().join("state"), directory.path().join("key"), directory.path().join("aside"));
        let without = |file: &Path| {
            fs::rename(file, &aside).unwrap();
            let refused = open(directory.path()).map(drop).unwrap_err();
            if file == state {
                fs::remove_dir_all(&state).unwrap();
            }
            fs::rename(&aside, file).unwrap();
            refused
        };
        let lost = without(&state.join(origin_hash("a.test")));
        assert!(matches!(&lost, WitnessError::Missing { origin, .. } if origin == "a.test"), "{lost}");
        for file in [state.clone(), state.join(PROMISES)] {
            assert!(matches!(without(&file), WitnessError::Forgotten { .. }), "{file:?}");
        }
        assert!(matches!(without(&key), WitnessError::OtherWitness { .. }), "a new key begins with a new directory");
        let own = fs::read(&key).unwrap();
        fs::write(&key, CosignerKey::new("v.test", [4; 32]).unwrap().encode() + "\n").unwrap();
        assert!(matches!(open(directory.path()), Err(WitnessError::OtherWitness { .. })));
        fs::write(&key, own).unwrap();
        let list = fs::read_to_string(state.join(PROMISES)).unwrap();
        fs::write(state.join(PROMISES), "nonsense\n").unwrap();
        assert!(matches!(open(directory.path()), Err(WitnessError::List { .. })));
        // The program ended between a first checkpoint and the list, or between the directory and the key.
        fs::write(state.join(PROMISES), list.replace("a.test\n", "")).unwrap();
        drop(open(directory.path()).unwrap());
        assert_eq!(fs::read_to_string(state.join(PROMISES)).unwrap(), list);
        let unborn = tempfile::tempdir().unwrap();
        drop(open(unborn.path()).unwrap());
        fs::remove_file(unborn.path().join("key")).unwrap();
        assert!(open(unborn.path()).is_ok());
    }

    /// The race of the document: a slow request about a small tree, a fast one about a large tree.
    #[test]
    fn requests_about_one_log_never_cross() {
        let directory = tempfile::tempdir().unwrap();
        let witness = open(directory.path()).unwrap();
        let bodies = [request("a.test", 0, &[], 1), request("a.test", 0, &[], 2), request("a.test", 0, &[], 3)];
        let answers: Vec<_> = std::thread::scope(|scope| {
            let asked: Vec<_> = bodies.iter().map(|body| scope.spawn(|| witness.add_checkpoint(body, 1))).collect();
            asked.into_iter().map(|asked| asked.join().unwrap().unwrap()).collect()
        });
        let cosigned: Vec<usize> = (0..3).filter(|&at| answers[at].is_ok()).collect();
        assert_eq!(cosigned.len(), 1, "all ask from nothing: {answers:?}");
        let note = witness.latest(&origin_hash("a.test")).unwrap();
        let own = witness.key().clone();
        let kept = verify_cosigned(&note, &own).unwrap();
        assert_eq!(kept.head.size as usize, cosigned[0] + 1);
    }
}
