//! A witness over HTTP (C2SP tlog-witness).
//!
//! A reply is believed as far as it proves itself: a cosignature has to verify with the witness's key. The size that it says it
//! holds proves nothing; whoever acts on it asks again from there.

use std::time::Duration;

use ureq::{Agent, Body, http::Response};

use crate::tlog::{
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
        let text = format!("{text}\n");
        let verified = verify_cosigned(format!("{text}\n{lines}").as_bytes(), &self.key);
        let verified = verified.map_err(|error| self.wrong(&error.to_string()))?;
        // A reply with an empty line in it would move the end of the text, and the signature would be one of something else.
        let cosignature = verified.cosignatures.into_iter().next().filter(|_| verified.text == text.as_bytes());
        cosignature.ok_or_else(|| self.wrong("it cosigned something else"))
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

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;
    use crate::tlog::{Hash, LedgerKey, note::CosignerKey};

    /// A witness that gives one reply, whatever it is asked.
    fn replying(reply: String) -> WitnessClient {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            // The body ends as a checkpoint does.
            let (mut asked, mut byte) = (Vec::new(), [0]);
            while !(asked.ends_with(b"=\n") && asked.windows(4).any(|end| end == b"\r\n\r\n")) {
                connection.read_exact(&mut byte).unwrap();
                asked.push(byte[0]);
            }
            connection.write_all(reply.as_bytes()).unwrap();
        });
        WitnessClient::new(key().verifier().clone(), &format!("http://{address}/w/"))
    }

    fn key() -> CosignerKey {
        CosignerKey::new("w.test", [3; 32]).unwrap()
    }

    fn http(status: &str, body: &str) -> String {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
    }

    #[test]
    fn replies_are_told_apart() {
        let log = LedgerKey::new("log.test", [1; 32]).unwrap();
        let note = log.sign(1, Hash([1; 32])).unwrap().note;
        let text = note.split_inclusive('\n').take(3).collect::<String>();
        let request = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint: note.as_ref().into() };
        let other = CosignerKey::new("v.test", [4; 32]).unwrap();
        let ask = |reply: String| replying(reply).add_checkpoint(&request);
        let cosigned = other.cosign(text.as_bytes(), 5) + &key().cosign(text.as_bytes(), 7);
        let Ok(WitnessReply::Cosigned(cosignature)) = ask(http("200 OK", &cosigned)) else { panic!() };
        assert_eq!((cosignature.time, &cosignature.line), (7, &key().cosign(text.as_bytes(), 7)));
        assert_eq!(ask(http("409 Conflict", "12\n")), Ok(WitnessReply::Holds { size: 12 }));
        assert_eq!(ask(http("404 Not Found", "")), Ok(WitnessReply::UnknownLog));
        assert_eq!(ask(http("422 Unprocessable", "no")), Ok(WitnessReply::Inconsistent));
        let refused = |status| Ok(WitnessReply::Refused { status, reason: "go away".into() });
        assert_eq!(ask(http("403 Forbidden", "go\naway\n")), refused(403));
        assert_eq!(ask(http("400 Bad Request", " go away")), refused(400));
        assert_eq!(ask(http("302 Found", "go away")), refused(302));
        let elsewhere = format!("{text}more\n\n{}", key().cosign(format!("{text}\n{text}more\n").as_bytes(), 7));
        for reply in [
            http("200 OK", &other.cosign(text.as_bytes(), 5)),
            http("200 OK", &key().cosign(b"something else\n", 5)),
            http("200 OK", &elsewhere),
            http("200 OK", ""),
            http("409 Conflict", "12"),
            http("409 Conflict", "many\n"),
        ] {
            assert!(matches!(ask(reply.clone()), Err(WitnessClientError::Protocol { .. })), "{reply}");
        }
        for reply in ["nonsense\r\n\r\n".into(), http("200 OK", &"x".repeat(REPLY_BYTES_MAX as usize + 1))] {
            assert!(matches!(ask(reply), Err(WitnessClientError::Unreachable { .. })));
        }
    }
}
