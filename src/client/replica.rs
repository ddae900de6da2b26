//! The stream of entries from a primary to a mirror (`protocol::replica`).
//!
//! Every wait is bounded: the primary sends a heartbeat each second, so that a silence of a few seconds ends the
//! stream. The length of every record is checked before the record is read. The content of records is untrusted here,
//! and verified by the mirror.

use std::{
    io::{self, BufReader, Read},
    time::{Duration, Instant},
};

use ureq::{Agent, Body, http::Response};

use crate::protocol::replica::{BadRecord, HEAD_BYTES, PATH, Record};

/// Maximum time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum silence of the primary, which sends a heartbeat each second.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time for one whole record, and for a refusal, however slowly the bytes drip in.
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of bytes read of a refusal.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;
/// Maximum number of characters quoted of a refusal.
const REFUSAL_CHARACTERS_MAX: usize = 300;
/// Maximum time for the checkpoint.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum length of a checkpoint, in bytes: one with 100 cosignatures.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;
/// Bytes read from the connection at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Client of one primary.
#[derive(Clone, Debug)]
pub struct ReplicaClient {
    base: String,
    agent: Agent,
}

/// Reason for which there is no stream, or it ended.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The primary cannot be reached, or the connection broke.
    #[error("cannot reach the primary at {url}: {reason}")]
    Unreachable {
        /// URL of the primary.
        url: String,
        /// Reason given by the system.
        reason: String,
    },
    /// The primary has fewer entries than were asked for.
    #[error("the primary at {url} has fewer entries than this mirror: {reason}")]
    Shorter {
        /// URL of the primary.
        url: String,
        /// The primary's message.
        reason: String,
    },
    /// The primary refuses.
    #[error("the primary at {url} refuses with HTTP status {status}: {reason}")]
    Refused {
        /// URL of the primary.
        url: String,
        /// HTTP status.
        status: u16,
        /// The primary's message.
        reason: String,
    },
    /// The stream is not one of a primary.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

impl ReplicaClient {
    /// A client of the primary whose checkpoint is at `<base>/checkpoint`.
    pub fn new(base: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(CONNECT_TIMEOUT))
            .timeout_per_read(Some(SILENCE_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("touchmark/", env!("CARGO_PKG_VERSION")));
        Self { base: base.trim_end_matches('/').into(), agent: config.build().into() }
    }

    /// Opens the stream from an entry on, with whole entries below the prefixes in `only`; everywhere if that is empty.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`].
    pub fn open(&self, from: u64, only: &[String]) -> Result<ReplicaStream, ReplicaError> {
        let url = format!("{}/{PATH}", self.base);
        let mut request = self.agent.get(&url).query("from", from.to_string());
        for prefix in only {
            request = request.query("only", prefix);
        }
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        match response.status().as_u16() {
            200 => {}
            409 => return Err(ReplicaError::Shorter { url: self.base.clone(), reason: refusal(response) }),
            status => {
                return Err(ReplicaError::Refused { url: self.base.clone(), status, reason: refusal(response) });
            }
        }
        let reader: Box<dyn Read + Send> = Box::new(response.into_body().into_reader());
        Ok(ReplicaStream { url: self.base.clone(), reader: BufReader::with_capacity(BUFFER_BYTES, reader) })
    }

    /// The checkpoint that the primary publishes. Waits for a few seconds at most.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`].
    pub fn checkpoint(&self) -> Result<Vec<u8>, ReplicaError> {
        let request = self.agent.get(format!("{}/checkpoint", self.base));
        let response = request.config().timeout_global(Some(CHECKPOINT_TIMEOUT)).build().call();
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if status != 200 {
            return Err(ReplicaError::Refused { url: self.base.clone(), status, reason: refusal(response) });
        }
        let read = response.body_mut().with_config().limit(CHECKPOINT_BYTES_MAX).read_to_vec();
        read.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> ReplicaError {
        ReplicaError::Unreachable { url: self.base.clone(), reason: error.to_string() }
    }
}

/// The detail of a refusal (RFC 9457), or its text.
fn refusal(mut response: Response<Body>) -> String {
    let mut bytes = Vec::new();
    let _ = Dripping::new(response.body_mut().as_reader()).take(REFUSAL_BYTES_MAX).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let detail = text.split_once("\"detail\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(detail, _)| detail);
    let shown = detail.unwrap_or(text.trim()).chars();
    shown.map(|letter| if letter.is_control() { ' ' } else { letter }).take(REFUSAL_CHARACTERS_MAX).collect()
}

/// An open stream.
pub struct ReplicaStream {
    url: String,
    reader: BufReader<Box<dyn Read + Send>>,
}

impl ReplicaStream {
    /// The next record. Waits for a few seconds at most.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`]; the stream has ended then.
    pub fn record(&mut self) -> Result<Record, ReplicaError> {
        let mut reader = Dripping::new(&mut self.reader);
        let url = &self.url;
        let mut fill = |bytes: &mut [u8]| reader.read_exact(bytes).map_err(|error| ended(url, &error));
        let mut head = [0; HEAD_BYTES];
        fill(&mut head)?;
        let mut bytes = vec![0; Record::len_of(head)?];
        fill(&mut bytes)?;
        Ok(Record::of(head, bytes)?)
    }
}

fn ended(url: &str, error: &io::Error) -> ReplicaError {
    let reason = match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ended the stream".into(),
        _ => error.to_string(),
    };
    ReplicaError::Unreachable { url: url.into(), reason }
}

/// A reader that fails after [`RECORD_TIMEOUT`], while the one below fails only in complete silence.
struct Dripping<R> {
    reader: R,
    until: Instant,
}

impl<R> Dripping<R> {
    fn new(reader: R) -> Self {
        Self { reader, until: Instant::now() + RECORD_TIMEOUT }
    }
}

impl<R: Read> Read for Dripping<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.until {
            let what = format!("it took longer than {} s for one record", RECORD_TIMEOUT.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, what));
        }
        self.reader.read(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drips_ends() {
        let mut reader = Dripping { until: Instant::now(), ..Dripping::new(&b"abc"[..]) };
        assert_eq!(reader.read(&mut [0; 2]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut bytes = [0; 3];
        Dripping::new(&b"abc"[..]).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"abc");
    }
}
