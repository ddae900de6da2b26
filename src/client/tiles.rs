//! A log over HTTP, as C2SP tlog-tiles serves it: checkpoint, tiles of hashes, bundles of entries.

use std::time::Duration;

use ureq::{Agent, Error};

use super::ClientError;

/// The longest that one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest reply that is read, in bytes: 256 entries of 65,535 bytes, and their lengths.
const REPLY_BYTES_MAX: u64 = 256 * (2 + 65_535);
/// Hashes of a full tile, and entries of a full bundle.
const TILE_WIDTH: usize = 256;
/// How often a request is tried.
const TRIES: u32 = 3;
/// How long to wait before the second try; twice as long before the third.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Reads one log, from any thread.
#[derive(Clone, Debug)]
pub struct TileClient {
    base: String,
    agent: Agent,
}

impl TileClient {
    /// Reads the log whose checkpoint lies at `<base>/checkpoint`.
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
        let mut bytes = self.tile(&format!("tile/{level}/{}", tile_path(tile)), width)?;
        bytes.truncate(32 * width);
        Ok(bytes)
    }

    /// The first `width` entries of a bundle, each behind its length as 16 bits, big-endian.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub fn entries(&self, bundle: u64, width: usize) -> Result<Vec<u8>, ClientError> {
        let mut bytes = self.tile(&format!("tile/entries/{}", tile_path(bundle)), width)?;
        let mut end = 0;
        for _ in 0..width {
            let Some(len) = bytes.get(end..).and_then(|rest| rest.first_chunk()) else { return Ok(bytes) };
            end += 2 + usize::from(u16::from_be_bytes(*len));
        }
        bytes.truncate(end);
        Ok(bytes)
    }

    /// A tile; one that is not full may be full by now, and its part gone.
    fn tile(&self, path: &str, width: usize) -> Result<Vec<u8>, ClientError> {
        if width < TILE_WIDTH
            && let Some(bytes) = self.get(&format!("{path}.p/{width}"))?
        {
            return Ok(bytes);
        }
        self.found(path)
    }

    fn found(&self, path: &str) -> Result<Vec<u8>, ClientError> {
        let missing =
            || ClientError::Log { url: format!("{}/{path}", self.base), reason: "there is no such thing".into() };
        self.get(path)?.ok_or_else(missing)
    }

    /// Asks, and asks again when the answer may come later; `None` when there is no such thing.
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
                Err(Error::StatusCode(status)) if status < 500 && status != 429 => {
                    return Err(ClientError::Log { url, reason: format!("the answer is HTTP status {status}") });
                }
                Err(error) => failed = error.to_string(),
            }
        }
        Err(ClientError::Log { url, reason: failed })
    }
}

/// The number of a tile in a path: groups of three digits, all but the last with an `x` before it (C2SP tlog-tiles).
fn tile_path(number: u64) -> String {
    let mut path = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_tiles() {
        assert_eq!([0, 67, 999, 1_000].map(tile_path), ["000", "067", "999", "x001/000"]);
        assert_eq!(tile_path(1_234_067), "x001/x234/067");
    }
}
