//! Client of a witness over HTTP (C2SP tlog-witness).
//!
//! A cosignature in a reply has to verify with the witness's key. The size in a conflict is not signed: the caller asks
//! again from that size, and believes the reply to that.

use std::time::Duration;

use ureq::{Agent, Body, http::Response};

use crate::tlog::{
    note::{Cosignature, VerifierKey, verify_cosigned},
    witness::{AddCheckpoint, origin_hash},
};

/// Maximum time for a request.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of bytes read of a reply: a checkpoint with 100 cosignatures.
const REPLY_BYTES_MAX: u64 = 64 << 10;
/// Maximum number of characters quoted of a refusal.
const REASON_CHARACTERS_MAX: usize = 200;

/// Client of one witness, with its URL and key.
#[derive(Clone, Debug)]
pub struct WitnessClient {
    key: VerifierKey,
    url: String,
    agent: Agent,
}

/// Reply of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessReply {
    /// The witness cosigned the checkpoint.
    Cosigned(Box<Cosignature>),
    /// The witness's last cosigned size is not the old size of the request.
    Holds {
        /// The witness's size.
        size: u64,
    },
    /// The proof does not show that the witness's last checkpoint is a beginning of the new one.
    Inconsistent,
    /// The witness does not know the log.
    UnknownLog,
    /// The witness refused for another reason.
    Refused {
        /// HTTP status.
        status: u16,
        /// The witness's message.
        reason: String,
    },
}

/// Failure to get a reply from a witness.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessClientError {
    /// The witness cannot be reached.
    #[error("cannot reach the witness {witness} at {url}: {reason}")]
    Unreachable {
        /// Name of the witness.
        witness: String,
        /// URL of the witness.
        url: String,
        /// Reason given by the system.
        reason: String,
    },
    /// The reply is not one of this witness.
    #[error("what answers at {url} is not the witness {witness}: {reason}")]
    Protocol {
        /// Name of the witness.
        witness: String,
        /// URL of the witness.
        url: String,
        /// The fault of the reply.
        reason: String,
    },
}

impl WitnessClient {
    /// A client of the witness with this key at this submission prefix.
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

    /// Requests a cosignature. Waits for a few seconds at most.
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

    /// The last checkpoint of a log that the witness cosigned, under the same prefix, if the witness serves it. Nothing
    /// is verified.
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

    /// The witness's own cosignature in a reply; those of other keys are ignored.
    fn cosignature(&self, checkpoint: &str, lines: &str) -> Result<Cosignature, WitnessClientError> {
        // The checkpoint's older signatures are no part of the reply.
        let (text, _) = checkpoint.rsplit_once("\n\n").unwrap_or((checkpoint, ""));
        let text = format!("{text}\n");
        let verified = verify_cosigned(format!("{text}\n{lines}").as_bytes(), &self.key);
        let verified = verified.map_err(|error| self.wrong(&error.to_string()))?;
        // A reply with an empty line in it would move the end of the text, and the signature would cover another text.
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
