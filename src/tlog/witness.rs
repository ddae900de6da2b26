//! Requests to witnesses, and the decision of a witness (C2SP tlog-witness, `add-checkpoint`).
//!
//! ```text
//! old <size>
//! <base64 hash>             one a line: the consistency proof
//!
//! <checkpoint>
//! ```
//!
//! [`judge`] is all of a witness but its memory: given the last cosigned checkpoint, it decides whether the witness may
//! cosign the next one. The caller (`crate::witness`) has to store a cosigned checkpoint before its cosignature leaves,
//! and to judge the requests of one log one after the other.

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use super::{
    Hash, empty_root, hash,
    merkle::{TreeHead, is_consistent},
    note::{CHECKPOINT_BYTES_MAX, CheckpointError, VerifiedCheckpoint, VerifierKey, verify_checkpoint},
    number,
};

/// Maximum number of lines of a consistency proof in a request (C2SP tlog-witness).
pub const PROOF_LINES_MAX: usize = 63;
/// Maximum length of a request, in bytes.
pub const REQUEST_BYTES_MAX: usize = CHECKPOINT_BYTES_MAX + 64 + PROOF_LINES_MAX * 45;
/// Content type of a response with the size that a witness holds.
pub const SIZE_CONTENT_TYPE: &str = "text/x.tlog.size";

/// A request to cosign a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct AddCheckpoint {
    /// Size of the checkpoint that the witness cosigned last, as far as the log knows.
    pub old_size: u64,
    /// Consistency proof from that size to the checkpoint.
    pub proof: Vec<Hash>,
    /// The checkpoint, with the log's signature.
    pub checkpoint: String,
}

/// Refusal of a witness to cosign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is malformed.
    #[error("{what}")]
    Malformed {
        /// The rule that is broken.
        what: &'static str,
    },
    /// The log is unknown.
    #[error("this witness does not know the log")]
    UnknownOrigin,
    /// No known key of the log signed the checkpoint.
    #[error("no key that this witness knows of the log signed the checkpoint")]
    NotSigned,
    /// The witness cosigned another size last.
    #[error("{size}")]
    Conflict {
        /// Size that it cosigned last.
        size: u64,
    },
    /// The tree that the witness cosigned last is not shown to be a beginning of the new one.
    #[error("the consistency proof does not lead from what this witness cosigned last to the checkpoint")]
    Inconsistent,
}

impl Refusal {
    /// HTTP status code.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed { .. } => 400,
            Self::NotSigned => 403,
            Self::UnknownOrigin => 404,
            Self::Conflict { .. } => 409,
            Self::Inconsistent => 422,
        }
    }
}

impl AddCheckpoint {
    /// Parses a request.
    ///
    /// # Errors
    ///
    /// [`Refusal::Malformed`].
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let malformed = |what| Refusal::Malformed { what };
        if body.len() > REQUEST_BYTES_MAX {
            return Err(malformed("the request is too long"));
        }
        let text = std::str::from_utf8(body).map_err(|_| malformed("the request is not text"))?;
        let (first, mut rest) = text.split_once('\n').ok_or_else(|| malformed("the first line has no end"))?;
        let old_size = first.strip_prefix("old ").and_then(number);
        let old_size = old_size.ok_or_else(|| malformed("the first line is not `old` and a size"))?;
        let mut proof = Vec::new();
        loop {
            let (line, behind) = rest.split_once('\n').ok_or_else(|| malformed("no empty line ends the proof"))?;
            rest = behind;
            match line {
                "" => break,
                _ if proof.len() == PROOF_LINES_MAX => return Err(malformed("the proof has more than 63 lines")),
                line => proof.push(hash(line).ok_or_else(|| malformed("a line of the proof is not a hash"))?),
            }
        }
        Ok(Self { old_size, proof, checkpoint: rest.into() })
    }

    /// The body of the request.
    pub fn write(&self) -> String {
        let proof: String = self.proof.iter().map(|hash| BASE64.encode(&hash.0) + "\n").collect();
        format!("old {}\n{proof}\n{}", self.old_size, self.checkpoint)
    }
}

/// Decides whether a witness may cosign; `log_keys` are the known keys of the log, `latest` is the tree that the
/// witness cosigned last. The witness then has to remember the head of the checkpoint returned.
///
/// # Errors
///
/// [`Refusal`].
pub fn judge(
    request: &AddCheckpoint,
    log_keys: &[VerifierKey],
    latest: Option<TreeHead>,
) -> Result<VerifiedCheckpoint, Refusal> {
    let verified = verify_checkpoint(request.checkpoint.as_bytes(), log_keys).map_err(|error| match error {
        CheckpointError::Note | CheckpointError::Text => Refusal::Malformed { what: "there is no checkpoint" },
        CheckpointError::EmptyRoot => Refusal::Inconsistent,
        CheckpointError::Signature { .. } | CheckpointError::NotSigned { .. } => Refusal::NotSigned,
    })?;
    if request.old_size > verified.head.size {
        return Err(Refusal::Malformed { what: "the old size is larger than that of the checkpoint" });
    }
    let latest = latest.unwrap_or_else(|| TreeHead { size: 0, root: empty_root() });
    if request.old_size != latest.size {
        return Err(Refusal::Conflict { size: latest.size });
    }
    if is_consistent(latest, verified.head, &request.proof) { Ok(verified) } else { Err(Refusal::Inconsistent) }
}

/// File-safe name of a log: SHA-256 of its origin in hexadecimal.
pub fn origin_hash(origin: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(origin))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tlog::LedgerKey;

    const BODY: &str = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\nexample.com/behind-the-sofa\n20852163\n";

    fn log(seed: u8) -> LedgerKey {
        LedgerKey::new("log.test", [seed; 32]).unwrap()
    }

    fn node(left: Hash, right: Hash) -> Hash {
        crate::tlog::node_hash(left, right)
    }

    /// Heads of a tree of made-up leaves, with 1, 2 and 3 leaves.
    fn heads() -> [TreeHead; 3] {
        let [a, b, c] = [1, 2, 3].map(|leaf| Hash([leaf; 32]));
        let roots = [a, node(a, b), node(node(a, b), c)];
        [0, 1, 2].map(|at| TreeHead { size: at as u64 + 1, root: roots[at] })
    }

    fn request(old_size: u64, proof: &[u8], head: TreeHead) -> AddCheckpoint {
        let checkpoint = log(1).sign(head.size, head.root).unwrap().note.to_string();
        AddCheckpoint { old_size, proof: proof.iter().map(|&leaf| Hash([leaf; 32])).collect(), checkpoint }
    }

    #[test]
    fn a_request_is_taken_apart_and_written_again() {
        let request = AddCheckpoint::parse(BODY.as_bytes()).unwrap();
        assert_eq!((request.old_size, request.proof.len()), (20_852_014, 2));
        assert_eq!(request.checkpoint, "example.com/behind-the-sofa\n20852163\n");
        assert_eq!(request.write(), BODY);
        for (from, to) in [("old ", "new "), ("old 2", "old 02"), ("PlRN", "Pl"), ("\n\n", "\n"), ("kaw=", "kax=")] {
            let changed = BODY.replacen(from, to, 1);
            assert!(matches!(AddCheckpoint::parse(changed.as_bytes()), Err(Refusal::Malformed { .. })), "{from}");
        }
        let line = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
        assert!(AddCheckpoint::parse(format!("old 0\n{}\n", line.repeat(63)).as_bytes()).is_ok());
        assert!(AddCheckpoint::parse(format!("old 0\n{}\n", line.repeat(64)).as_bytes()).is_err());
        assert!(AddCheckpoint::parse(&[0xff]).is_err());
    }

    #[test]
    fn the_replies_of_the_document() {
        let keys = [log(1).verifier_key().parse().unwrap()];
        let [one, two, three] = heads();
        let other = TreeHead { root: Hash([9; 32]), ..two };
        let empty = TreeHead { size: 0, root: empty_root() };
        let table: [(&str, AddCheckpoint, Option<TreeHead>, u16); 14] = [
            ("the first of a log", request(0, &[], two), None, 200),
            ("an empty tree", request(0, &[], empty), None, 200),
            ("behind an empty tree", request(0, &[], two), Some(empty), 200),
            ("a tree that grew", request(2, &[3], three), Some(two), 200),
            ("from one leaf", request(1, &[2], two), Some(one), 200),
            ("the same again", request(2, &[], two), Some(two), 200),
            ("an empty tree with leaves", request(0, &[], TreeHead { root: one.root, ..empty }), None, 422),
            ("a proof from nothing", request(0, &[1], two), None, 422),
            ("a wrong proof", request(2, &[4], three), Some(two), 422),
            ("no proof", request(2, &[], three), Some(two), 422),
            ("another root", request(2, &[], other), Some(two), 422),
            ("an old size that is not the last", request(0, &[], three), Some(two), 409),
            ("a size that came back", request(1, &[2], two), Some(three), 409),
            ("an old size above the new one", request(3, &[], two), Some(three), 400),
        ];
        for (case, request, latest, status) in table {
            let found = judge(&request, &keys, latest).map_or_else(Refusal::status, |_| 200);
            assert_eq!(found, status, "{case}");
        }
        assert_eq!(judge(&request(0, &[], three), &keys, Some(two)), Err(Refusal::Conflict { size: 2 }));
        let stranger = [log(2).verifier_key().parse().unwrap()];
        assert_eq!(judge(&request(0, &[], two), &stranger, None), Err(Refusal::NotSigned));
        let mut forged = request(0, &[], two);
        forged.checkpoint = forged.checkpoint.replace("\n2\n", "\n3\n");
        assert_eq!(judge(&forged, &keys, None), Err(Refusal::NotSigned));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, text in "(old [0-9]{1,3}\n)?([A-Za-z=]{44}\n|\n){0,5}") {
            let _ = AddCheckpoint::parse(&bytes);
            if let Ok(request) = AddCheckpoint::parse(text.as_bytes()) {
                prop_assert_eq!(request.write(), text);
            }
        }
    }
}
