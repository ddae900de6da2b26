//! The keys of the signed zone in the data directory, `DIR/dnssec/keys`: generated at the first start, reloaded after a
//! command has changed them.
//!
//! The file holds all keys of the zone (format: `protocol::dns::dnssec::key_ring`), is readable by its owner alone, and
//! is always replaced as a whole, so that a roll happens or does not. A writer holds a lock on the folder; readers need
//! none. The commands work beside a running node, whose lock is another one.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    ledger::write_secret,
    protocol::dns::{
        ZoneError,
        dnssec::{
            key_ring::{Haste, KeyRing, RollError, ZoneKey},
            keys::{Algorithm, Key, NoRandomness},
        },
    },
};

/// The key file of a zone, as a node has it open.
#[derive(Debug)]
pub struct KeyStore {
    path: PathBuf,
    read: Stamp,
}

/// State of the file, to detect changes: inode, length, and time of the last change, in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, i64, i64);

/// Error of reading or changing the keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The key file does not exist.
    #[error("{} does not exist; `touchmark serve --dnssec` makes the keys of the zone when it starts", path.display())]
    Missing {
        /// Path of the file.
        path: PathBuf,
    },
    /// The file is not in the format of this program.
    #[error("{} holds no keys of this format", path.display())]
    Damaged {
        /// Path of the file.
        path: PathBuf,
    },
    /// The keys are those of another zone.
    #[error(
        "{} holds the keys of zone `{found}`, not of `{zone}`; move it away, and the next start makes new ones",
        path.display()
    )]
    OtherZone {
        /// Path of the file.
        path: PathBuf,
        /// Zone of the keys.
        found: String,
        /// Zone that was expected.
        zone: String,
    },
    /// The zone is no DNS name.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// A new key could not be generated.
    #[error("cannot make a key: {0}")]
    Make(#[from] NoRandomness),
    /// The roll cannot begin or finish now.
    #[error(transparent)]
    Roll(#[from] RollError),
    /// The file system failed.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// Operation that failed.
        what: &'static str,
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

impl KeysError {
    fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { what, path: path.into(), source }
    }
}

impl KeyStore {
    /// Reads the keys below a data directory; generates a first key with this algorithm if there is no file.
    ///
    /// # Errors
    ///
    /// [`KeysError`]; [`KeysError::OtherZone`] if the keys are those of another zone.
    pub fn open_or_create(data: &Path, zone: &str, algorithm: Algorithm) -> Result<(Self, KeyRing), KeysError> {
        let path = file(data);
        let opened = match read(&path) {
            Err(KeysError::Missing { .. }) => {
                create(&path, zone, algorithm)?;
                read(&path)?
            }
            opened => opened?,
        };
        let (ring, read) = opened;
        let normal = |zone: &str| zone.trim_end_matches('.').to_ascii_lowercase();
        if normal(ring.zone()) != normal(zone) {
            return Err(KeysError::OtherZone { path, found: ring.zone().into(), zone: zone.into() });
        }
        Ok((Self { path, read }, ring))
    }

    /// Reloads the keys if the file changed since the last call; `None` if it did not. An unchanged file costs one
    /// `stat`: a call per second is cheap.
    ///
    /// # Errors
    ///
    /// [`KeysError`]; the node keeps the keys read before, and the next call tries again.
    pub fn reload_if_changed(&mut self) -> Result<Option<KeyRing>, KeysError> {
        if stamp(&self.path)? == self.read {
            return Ok(None);
        }
        let (ring, read) = read(&self.path)?;
        self.read = read;
        Ok(Some(ring))
    }
}

/// Path of the key file of a data directory.
pub fn file(data: &Path) -> PathBuf {
    data.join("dnssec").join("keys")
}

/// Current time in seconds since 1970 UTC, as keys and signatures count it.
pub fn now_unix() -> u32 {
    // A clock before 1970 counts as 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs());
    // DNSSEC counts modulo 2^32 (RFC 4034 section 3.1.5), as does the cast.
    now as u32
}

/// Reads the keys below a data directory.
///
/// # Errors
///
/// [`KeysError`] if the file is missing or damaged, or cannot be read.
pub fn keys(data: &Path) -> Result<KeyRing, KeysError> {
    Ok(read(&file(data))?.0)
}

/// Begins a roll to a new key, of the algorithm of the old one if none is given.
///
/// # Errors
///
/// [`KeysError`]; [`KeysError::Roll`] if a roll is under way.
pub fn roll(data: &Path, algorithm: Option<Algorithm>) -> Result<KeyRing, KeysError> {
    let path = file(data);
    let _lock = lock(&path)?;
    let (ring, _) = read(&path)?;
    let now = now_unix();
    let algorithm = algorithm.unwrap_or_else(|| ring.active(now).key.algorithm());
    let rolled = with_new_key(&ring, algorithm, now)?;
    write(&path, &rolled)?;
    Ok(rolled)
}

/// Finishes the roll under way; returns the remaining keys and the dropped one.
///
/// # Errors
///
/// [`KeysError`]; [`KeysError::Roll`] if no roll is under way, or it is too early.
pub fn finish_roll(data: &Path, haste: Haste) -> Result<(KeyRing, ZoneKey), KeysError> {
    let path = file(data);
    let _lock = lock(&path)?;
    let (ring, _) = read(&path)?;
    let (left, dropped) = ring.finish(haste, now_unix())?;
    write(&path, &left)?;
    Ok((left, dropped))
}

/// Begins a roll to a newly generated key.
fn with_new_key(ring: &KeyRing, algorithm: Algorithm, now_unix: u32) -> Result<KeyRing, KeysError> {
    loop {
        match ring.roll(Key::generate(algorithm)?, now_unix) {
            // Another key has another tag.
            Err(RollError::SameTag { .. }) => {}
            rolled => return Ok(rolled?),
        }
    }
}

fn create(path: &Path, zone: &str, algorithm: Algorithm) -> Result<(), KeysError> {
    let ring = KeyRing::new(zone, Key::generate(algorithm)?, now_unix())?;
    let directory = path.parent().unwrap_or(path);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| KeysError::io("create", directory, error))?;
    let _lock = lock(path)?;
    if path.exists() {
        // Another process was first.
        return Ok(());
    }
    write(path, &ring)?;
    // The folder is new: its name must be durable, too.
    let parent = directory.parent().unwrap_or(directory);
    let synced = File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| KeysError::io("sync", parent, error))
}

/// Waits for the lock on the key folder; the lock is held until the file is dropped.
fn lock(path: &Path) -> Result<File, KeysError> {
    let directory = path.parent().unwrap_or(path);
    let locked = File::open(directory).and_then(|directory| directory.lock().map(|()| directory));
    locked.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeysError::Missing { path: path.into() },
        _ => KeysError::io("lock", directory, error),
    })
}

fn write(path: &Path, ring: &KeyRing) -> Result<(), KeysError> {
    write_secret(path, &ring.to_text()).map_err(|error| KeysError::io("write", path, error))
}

fn read(path: &Path) -> Result<(KeyRing, Stamp), KeysError> {
    // If the file is replaced between the two, the next check sees another stamp and reads again.
    let stamp = stamp(path)?;
    let bytes = std::fs::read(path).map_err(|error| KeysError::io("read", path, error))?;
    let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
    let ring = text.and_then(KeyRing::from_text).ok_or_else(|| KeysError::Damaged { path: path.into() })?;
    Ok((ring, stamp))
}

fn stamp(path: &Path) -> Result<Stamp, KeysError> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => KeysError::Missing { path: path.into() },
        _ => KeysError::io("read", path, error),
    })?;
    Ok(Stamp(metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const ALGORITHM: Algorithm = Algorithm::Ed25519;

    #[test]
    fn made_once_and_for_its_owner_alone() {
        let data = tempfile::tempdir().unwrap();
        let (_, made) = KeyStore::open_or_create(data.path(), "ID.test", ALGORITHM).unwrap();
        let (_, again) = KeyStore::open_or_create(data.path(), "id.test.", Algorithm::EcdsaP256Sha256).unwrap();
        assert_eq!(made.to_text(), again.to_text());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = file(data.path());
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let other = KeyStore::open_or_create(data.path(), "example.", ALGORITHM).unwrap_err();
        assert!(matches!(&other, KeysError::OtherZone { found, .. } if found == "id.test."), "{other}");
    }

    #[test]
    fn a_node_sees_what_a_command_changed() {
        let data = tempfile::tempdir().unwrap();
        assert!(matches!(keys(data.path()), Err(KeysError::Missing { .. })));
        assert!(matches!(roll(data.path(), None), Err(KeysError::Missing { .. })));
        let (mut store, first) = KeyStore::open_or_create(data.path(), "id.test.", ALGORITHM).unwrap();
        assert!(store.reload_if_changed().unwrap().is_none());
        let rolled = roll(data.path(), None).unwrap();
        let seen = store.reload_if_changed().unwrap().unwrap();
        assert_eq!(seen.to_text(), rolled.to_text());
        assert!(store.reload_if_changed().unwrap().is_none());
        assert!(matches!(roll(data.path(), None), Err(KeysError::Roll(RollError::UnderWay { .. }))));
        let early = finish_roll(data.path(), Haste::Wait);
        assert!(matches!(early, Err(KeysError::Roll(RollError::TooEarly { .. }))));
        assert!(store.reload_if_changed().unwrap().is_none());
        let (left, dropped) = finish_roll(data.path(), Haste::Now).unwrap();
        assert_eq!(dropped.key.tag(), first.active(now_unix()).key.tag());
        assert_eq!(store.reload_if_changed().unwrap().unwrap().to_text(), left.to_text());
        std::fs::write(file(data.path()), "no keys").unwrap();
        for _ in 0..2 {
            assert!(matches!(store.reload_if_changed(), Err(KeysError::Damaged { .. })));
        }
        std::fs::remove_file(file(data.path())).unwrap();
        assert!(matches!(store.reload_if_changed(), Err(KeysError::Missing { .. })));
    }

    #[test]
    fn a_roll_may_change_the_algorithm() {
        let data = tempfile::tempdir().unwrap();
        KeyStore::open_or_create(data.path(), "id.test.", ALGORITHM).unwrap();
        let rolled = roll(data.path(), Some(Algorithm::EcdsaP256Sha256)).unwrap();
        let algorithms: Vec<_> = rolled.keys(0).map(|(key, _)| key.key.algorithm().number()).collect();
        assert_eq!(algorithms, [15, 13]);
    }
}
