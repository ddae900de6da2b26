//! The stream of a primary, as a mirror takes it (`protocol::replica`).
//!
//! Every wait has a bound: the primary gives a sign of life each second, so that a silence of a few is an end. Every record has a
//! bound, which is checked before it is read. What a record says is believed by nobody here.

use std::{
    io::{self, BufReader, Read},
    time::{Duration, Instant},
};

use ureq::{Agent, Body, http::Response};

use crate::protocol::replica::{BadRecord, HEAD_BYTES, PATH, Record};

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the primary may say nothing: it gives a sign of life each second.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one record may take in all, and a refusal: however slowly it drips, whoever waits for it ends.
const RECORD_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest refusal that is read, in bytes.
const REFUSAL_BYTES_MAX: u64 = 64 << 10;
/// How much of a refusal is repeated, in characters.
const REFUSAL_CHARACTERS_MAX: usize = 300;
/// How long the checkpoint may take in all.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest checkpoint that is read, in bytes: one with 100 cosignatures.
const CHECKPOINT_BYTES_MAX: u64 = 64 << 10;
/// How much is read from the connection at once, in bytes.
const BUFFER_BYTES: usize = 256 << 10;

/// Where a primary's log is.
#[derive(Clone, Debug)]
pub struct ReplicaClient {
    base: String,
    agent: Agent,
}

/// Why there is no stream, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Nobody answers, or no longer.
    #[error("cannot reach the primary at {url}: {reason}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The primary has fewer entries than were asked for.
    #[error("the primary at {url} has fewer entries than this mirror: {reason}")]
    Shorter {
        /// Where it is.
        url: String,
        /// Its words.
        reason: String,
    },
    /// The primary refuses.
    #[error("the primary at {url} refuses with HTTP status {status}: {reason}")]
    Refused {
        /// Where it is.
        url: String,
        /// The status.
        status: u16,
        /// Its words.
        reason: String,
    },
    /// What comes is no stream of a primary.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

impl ReplicaClient {
    /// Speaks to the primary whose checkpoint lies at `<base>/checkpoint`.
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

    /// Opens the stream from an entry on, with the whole entries below some prefixes; with all of them when there are none.
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

    /// The checkpoint that the primary publishes. It waits, but not longer than a few seconds.
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

/// The sentence of a refusal (RFC 9457), or its text.
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
    /// The next record; waits for it, and not longer than a few seconds.
    ///
    /// # Errors
    ///
    /// [`ReplicaError`]; the stream is over then.
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

/// A reader that gives up after [`RECORD_TIMEOUT`], while the one below gives up only when nothing comes at all.
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
