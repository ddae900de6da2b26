//! A witness over HTTP (C2SP tlog-witness).
//!
//! A reply is believed as far as it proves itself: a cosignature has to verify with the witness's key. The size that it says it
//! holds proves nothing; whoever acts on it asks again from there.

use std::time::Duration;

use ureq::{Agent, Body, http::Response};

use crate::proof::{
    note::{Cosignature, VerifierKey, verify_cosigned},
    witness::{AddCheckpoint, origin_hash},
};

/// How long a request may take in all.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest reply that is read, in bytes: a checkpoint with 100 cosignatures.
const REPLY_BYTES_MAX: u64 = 64 << 10;
/// How much of a refusal is repeated, in characters.
const REASON_CHARACTERS_MAX: usize = 200;

/// Where a witness is, and its key.
#[derive(Clone, Debug)]
pub struct WitnessClient {
    key: VerifierKey,
    url: String,
    agent: Agent,
}

/// What a witness says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessReply {
    /// It cosigned the checkpoint.
    Cosigned(Box<Cosignature>),
    /// It holds another size than the one that it was asked from.
    Holds {
        /// Which.
        size: u64,
    },
    /// What it holds is no beginning of the checkpoint, as far as the proof shows.
    Inconsistent,
    /// It does not know the log.
    UnknownLog,
    /// It refuses for another reason.
    Refused {
        /// The status code of HTTP.
        status: u16,
        /// Its words.
        reason: String,
    },
}

/// Why a witness said nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessClientError {
    /// Nobody answers.
    #[error("cannot reach the witness {witness} at {url}: {reason}")]
    Unreachable {
        /// Its name.
        witness: String,
        /// Where it should be.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// What answers is not this witness.
    #[error("what answers at {url} is not the witness {witness}: {reason}")]
    Protocol {
        /// Its name.
        witness: String,
        /// Where it should be.
        url: String,
        /// What was wrong.
        reason: String,
    },
}

impl WitnessClient {
    /// Speaks to the witness with this key under this submission prefix.
    pub fn new(key: VerifierKey, url: &str) -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("touchmark/", env!("CARGO_PKG_VERSION")));
        Self { key, url: url.trim_end_matches('/').into(), agent: config.build().into() }
    }

    /// The witness's key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Asks for a cosignature. It waits, but not longer than a few seconds.
    ///
    /// # Errors
    ///
    /// [`WitnessClientError`].
    pub fn add_checkpoint(&self, request: &AddCheckpoint) -> Result<WitnessReply, WitnessClientError> {
        let sent = self.agent.post(format!("{}/add-checkpoint", self.url)).send(request.write());
        let (status, text) = self.read(sent)?;
        Ok(match status {
            200 => WitnessReply::Cosigned(Box::new(self.cosignature(&request.checkpoint, &text)?)),
            404 => WitnessReply::UnknownLog,
            409 => {
                let size = text.strip_suffix('\n').and_then(|size| size.parse().ok());
                WitnessReply::Holds { size: size.ok_or_else(|| self.wrong("409 without a size"))? }
            }
            422 => WitnessReply::Inconsistent,
            status => WitnessReply::Refused { status, reason: excerpt(&text) },
        })
    }

    /// The last checkpoint of a log that the witness cosigned, where it tells, under the same prefix. It is verified with nothing.
    ///
    /// # Errors
    ///
    /// [`WitnessClientError`].
    pub fn latest(&self, origin: &str) -> Result<Option<String>, WitnessClientError> {
        let got = self.agent.get(format!("{}/{}/checkpoint", self.url, origin_hash(origin))).call();
        let (status, text) = self.read(got)?;
        Ok((status == 200).then_some(text))
    }

    fn read(&self, got: Result<Response<Body>, ureq::Error>) -> Result<(u16, String), WitnessClientError> {
        let unreachable = |error: ureq::Error| WitnessClientError::Unreachable {
            witness: self.key.name().into(),
            url: self.url.clone(),
            reason: error.to_string(),
        };
        let mut response = got.map_err(unreachable)?;
        let status = response.status().as_u16();
        let text = response.body_mut().with_config().limit(REPLY_BYTES_MAX).read_to_string();
        Ok((status, text.map_err(unreachable)?))
    }

    /// The witness's own cosignature, out of what it replied; those of other keys are ignored.
    fn cosignature(&self, checkpoint: &str, lines: &str) -> Result<Cosignature, WitnessClientError> {
        // Signatures that the checkpoint had before are not what the witness said now.
        let (text, _) = checkpoint.rsplit_once("\n\n").unwrap_or((checkpoint, ""));
        let verified = verify_cosigned(format!("{text}\n\n{lines}").as_bytes(), &self.key);
        let verified = verified.map_err(|error| self.wrong(&error.to_string()))?;
        verified.cosignatures.into_iter().next().ok_or_else(|| self.wrong("it sent no cosignature"))
    }

    fn wrong(&self, reason: &str) -> WitnessClientError {
        WitnessClientError::Protocol { witness: self.key.name().into(), url: self.url.clone(), reason: reason.into() }
    }
}

fn excerpt(text: &str) -> String {
    text.trim()
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(REASON_CHARACTERS_MAX)
        .collect()
}
