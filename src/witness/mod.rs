//! A witness for others: it cosigns what logs show it, and never two things that contradict each other (C2SP tlog-witness).
//!
//! ```text
//! DIR/lock                       held by whoever has the directory open
//! DIR/promises                   the witness's verifier key, then the origin of every log that it ever cosigned, one a line
//! DIR/<hex SHA-256 of origin>    the checkpoint that was cosigned last, with the log's signatures and the witness's own
//! ```
//!
//! What always holds: a cosigned checkpoint is on the disk before anyone gets the cosignature: it is written beside the old one,
//! synced, renamed over it, and the directory synced. Requests about one log are judged one after the other, from the
//! judgement to the disk, so that no slower one takes back what a faster one promised. What it shows is what it knows to be on the
//! disk; when it cannot know, it refuses the log until it is started again. A file that is missing, or not what the witness
//! wrote, stops it at start, and so does a key that was used with another directory: a witness that has forgotten may
//! contradict itself. Deliberately absent: HTTP
//! (`server::http::witness`); the judgement itself ([`crate::tlog::witness`]).

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

/// The most logs that a witness knows.
pub const LOGS_MAX: usize = 10_000;
/// The file that names the witness and the logs that it cosigned. No hash of an origin is called so.
const PROMISES: &str = "promises";
/// For how long the same checkpoint gets the same cosignature again, without the disk, in seconds. Anyone can send a public
/// checkpoint as often as they like.
const REPEAT_S: u64 = 10;

/// A witness with its memory open.
#[derive(Debug)]
pub struct Witness {
    key: CosignerKey,
    directory: PathBuf,
    logs: HashMap<String, Log>,
    /// The origins in the file `promises`.
    promised: Mutex<BTreeSet<String>>,
    lock: File,
}

/// Where the key of a witness is, or how it is made.
#[derive(Clone, Copy, Debug)]
pub struct KeyFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// The witness's name, when the key is made.
    pub name: &'a str,
    /// 32 random bytes, for when the key is made.
    pub seed: [u8; 32],
}

#[derive(Debug)]
struct Log {
    keys: Vec<VerifierKey>,
    path: PathBuf,
    /// Locked from judging a request until its result is on the disk.
    memory: Mutex<Memory>,
}

/// What a witness knows of its file about a log.
#[derive(Debug)]
enum Memory {
    /// The file is on the disk, with this in it.
    Durable(Option<Cosigned>),
    /// A newer file may be on the disk, or come back as the older one after a power cut.
    Unknown {
        /// What is promised in any case.
        before: Option<Cosigned>,
    },
}

/// A checkpoint that was cosigned.
#[derive(Clone, Debug)]
struct Cosigned {
    head: TreeHead,
    /// What was signed.
    text: Vec<u8>,
    /// The text with the log's signatures and the witness's own.
    note: Vec<u8>,
    /// The witness's own signature line.
    line: String,
    /// The time in it, in seconds since 1970 UTC.
    time: u64,
}

impl Cosigned {
    /// Whether its cosignature still says all that one of this text would say now.
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

/// Why a witness cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The file system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the directory open.
    #[error("{} is in use by another witness; two would not know what the other one cosigned", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file is not what the witness wrote there.
    #[error(
        "{} is not a checkpoint of the log `{origin}` that this witness cosigned; what it promised is not known any more. \
         Restore the file; if that is impossible, start with a new key under a new name", path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The log that it belongs to.
        origin: String,
    },
    /// A file is not there any more.
    #[error(
        "{} is missing, and this witness has cosigned the log `{origin}`; what it promised is not known any more. Restore the \
         file; if that is impossible, start with a new key under a new name", path.display()
    )]
    Missing {
        /// Which file.
        path: PathBuf,
        /// The log that it belongs to.
        origin: String,
    },
    /// The key was used, and not with this directory.
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
        /// The verifier key of the witness that it belongs to.
        witness: Box<VerifierKey>,
        /// The key file.
        key: PathBuf,
    },
    /// The list of promises is none.
    #[error(
        "{} is not the list of logs that a witness keeps. Restore the file; if that is impossible, start with a new key under a new \
         name in a new directory", path.display()
    )]
    List {
        /// Which file.
        path: PathBuf,
    },
    /// The key file holds no key.
    #[error("{} holds no key of a witness", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
    },
    /// No key can have this name.
    #[error("`{name}` cannot name a witness: 1 to 255 printable ASCII characters without spaces and +")]
    Name {
        /// The name.
        name: String,
    },
    /// A witness knows logs by keys of logs.
    #[error("{name} is the key of a witness; give keys of logs")]
    NotALog {
        /// The key's name.
        name: String,
    },
    /// There are too many logs.
    #[error("{count} logs; the limit is {LOGS_MAX}")]
    TooMany {
        /// How many.
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

/// The key of a witness, and the origins that it ever cosigned. A key is made only with a directory that nothing was promised with,
/// and used only with the directory that it was made with.
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
            let (name, origins) = (file.name, BTreeSet::new());
            let key = CosignerKey::new(name, file.seed).ok_or_else(|| WitnessError::Name { name: name.into() })?;
            // The key comes last: it is never there without the directory that knows it.
            write_promises(directory, key.verifier(), &origins).map_err(failed("cannot write to", directory))?;
            // A bare name has no parent, which is synced with it.
            let path = std::path::absolute(file.path).map_err(failed("cannot find", file.path))?;
            write_secret(&path, &key.encode()).map_err(failed("cannot write", &path))?;
            Ok((key, origins))
        }
    }
}

/// The key that a directory belongs to, and the origins that were cosigned with it; `None` where no witness was.
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
    /// Opens the key and the memory of a witness, or makes both. Several keys of one name are keys of one log.
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
        // Whoever wrote these files may have ended before their names were on the disk.
        sync(directory).map_err(failed("cannot sync", directory))?;
        let witness = Self { key, directory: directory.into(), logs, promised: Mutex::new(promised), lock };
        // It may have ended after it wrote a first checkpoint, and before it listed the log.
        for (origin, _) in witness.logs().filter(|(_, size)| size.is_some()) {
            witness.list(origin).map_err(failed("cannot write to", directory))?;
        }
        Ok(witness)
    }

    /// The key that others verify its cosignatures with.
    pub fn key(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// The logs that it knows, with the sizes that it cosigned last.
    pub fn logs(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.logs.iter().map(|(origin, log)| {
            let memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
            (origin.as_str(), memory.latest().map(|cosigned| cosigned.head.size))
        })
    }

    /// Answers a request to cosign, at a time in seconds since 1970 UTC: gives a signature line, or says why not. It may wait for
    /// the disk.
    ///
    /// # Errors
    ///
    /// When the cosigned checkpoint could not be written; nothing was promised then. When it is not known whether it was, all later
    /// requests about the log are errors, too.
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
        // From here on an error says nothing of what is on the disk.
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

    /// Puts a log on the list of those that were cosigned, before anyone hears of its first cosignature.
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

    /// The last cosigned checkpoint of the log whose origin has this hash ([`origin_hash`]). It is on the disk.
    pub fn latest(&self, hash: &str) -> Option<Vec<u8>> {
        let log = self.logs.values().find(|log| log.path.file_name().is_some_and(|name| name == hash))?;
        let memory = log.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.latest().map(|cosigned| cosigned.note.clone())
    }
}

/// Writes a file that is to be renamed to `path`, and gives its name.
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
        // Closing the file is not enough: a child process that is being started at this moment has it open, too.
        let _ = self.lock.unlock();
    }
}

/// The logs with these keys, and where each is remembered.
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

/// What a witness cosigned last, from its file.
fn remembered(origin: &str, log: &Log, own: &VerifierKey) -> Result<Option<Cosigned>, WitnessError> {
    let path = &log.path;
    let note = match fs::read(path) {
        Ok(note) => note,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("cannot read", path)(error)),
    };
    // The log may have another key by now; the witness has its own.
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
            // The log's own signature says nothing here: the witness checked it before it cosigned.
            if !refused(&flipped) {
                let line = String::from_utf8_lossy(&note[..at]).matches('\n').count();
                assert_eq!(line, 4, "byte {at}");
            }
        }
        assert!(refused(b""));
        // What another log cosigned stands in for nothing.
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
