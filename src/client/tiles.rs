//! Client of a log over HTTP, as C2SP tlog-tiles serves it: checkpoint, tiles of hashes, bundles of entries.

use std::time::Duration;

use ureq::{Agent, Error};

use super::ClientError;
use crate::tlog::tiles::{TILE_WIDTH, Tile, TilePath};

/// Maximum time for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of bytes read of a reply: 256 entries of 65,535 bytes, and their lengths.
const REPLY_BYTES_MAX: u64 = 256 * (2 + 65_535);
/// Number of tries of a request.
const TRIES: u32 = 3;
/// Delay before the second try; twice as long before the third.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Client of one log, usable from any thread.
#[derive(Clone, Debug)]
pub struct TileClient {
    base: String,
    agent: Agent,
}

impl TileClient {
    /// A client of the log whose checkpoint is at `<base>/checkpoint`.
    pub fn new(base: &str) -> Self {
        let agent = Agent::config_builder().timeout_global(Some(REQUEST_TIMEOUT)).build().into();
        Self { base: base.trim_end_matches('/').into(), agent }
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn checkpoint(&self) -> Result<Vec<u8>, ClientError> {
        self.found("checkpoint")
    }

    /// The first `width` hashes of a tile, 32 bytes each.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn hashes(&self, level: usize, tile: u64, width: usize) -> Result<Vec<u8>, ClientError> {
        let path = |tile| u8::try_from(level).map(|level| TilePath::Hashes { level, tile }).ok();
        let mut bytes = self.tile(tile, width, path)?;
        bytes.truncate(32 * width);
        Ok(bytes)
    }

    /// The first `width` entries of a bundle, each behind its length as 16 bits, big-endian.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn entries(&self, bundle: u64, width: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = self.tile(bundle, width, |tile| Some(TilePath::Entries(tile)))?;
        let mut end = 0;
        for _ in 0..width {
            let Some(len) = bytes.get(end..).and_then(|rest| rest.first_chunk()) else { return Ok(bytes) };
            end += 2 + usize::from(u16::from_be_bytes(*len));
        }
        bytes.truncate(end);
        Ok(bytes)
    }

    /// A tile. A partial one may have become full since, and the partial one removed: then the full one is read.
    fn tile(&self, index: u64, width: usize, path: impl Fn(Tile) -> Option<TilePath>) -> Result<Vec<u8>, ClientError> {
        let url = |width| Some(format!("tile/{}", path(Tile::new(index, width)?)?));
        let none = || ClientError::Log { url: self.base.clone(), reason: format!("no tile has {width} items") };
        let asked = u16::try_from(width).ok().and_then(url).ok_or_else(none)?;
        match url(TILE_WIDTH) {
            Some(full) if width < usize::from(TILE_WIDTH) => match self.get(&asked)? {
                Some(bytes) => Ok(bytes),
                None => self.found(&full),
            },
            _ => self.found(&asked),
        }
    }

    fn found(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let missing =
            || ClientError::Log { url: format!("{}/{path}", self.base), reason: "there is no such thing".into() };
        self.get(path)?.ok_or_else(missing)
    }

    /// Sends a request, and retries errors that may pass; `None` if the log has no such resource.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, ClientError> {
        let url = format!("{}/{path}", self.base);
        let mut failed = String::new();
        for tried in 0..TRIES {
            if tried > 0 {
                std::thread::sleep(RETRY_PAUSE * tried);
            }
            let answer = self.agent.get(&url).call();
            let read =
                answer.and_then(|mut answer| answer.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_vec());
            match read {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Error::StatusCode(404 | 410)) => return Ok(None),
                // Not retried: only server errors, too many requests and broken connections may pass.
                Err(Error::StatusCode(status)) if status < 500 && status != 429 => {
                    return Err(ClientError::Log { url, reason: format!("the answer is HTTP status {status}") });
                }
                Err(error) => failed = error.to_string(),
            }
        }
        Err(ClientError::Log { url, reason: failed })
    }
}
