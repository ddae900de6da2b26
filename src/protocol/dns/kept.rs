//! What is kept of answers, and what it is looked up by.

use super::{answer::OwnedAnswer, message::Question, topics::NameStamp};
use crate::cache::stamped::Kept;

/// An answer that is kept.
#[derive(Debug)]
pub(super) struct KeptAnswer {
    pub(super) answer: OwnedAnswer,
    pub(super) stamp: NameStamp,
    /// What else bounds an answer with signatures or keys in it.
    pub(super) signed: Option<SignedBy>,
    /// What else bounds an answer of others.
    pub(super) walked: Option<KeptFrom>,
}

/// Which signer an answer is of, and how long it may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedBy {
    pub(super) generation: u32,
    pub(super) made_at: u32,
    pub(super) keep_seconds: u32,
}

/// From when to when an answer counts, in seconds since 1970 UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeptFrom {
    pub(super) made_at: u64,
    pub(super) expires_at: u64,
}

/// How old an answer of others is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Age {
    /// For how many seconds it has been kept.
    pub(super) kept_seconds: u32,
    /// For how many more it may be.
    pub(super) left_seconds: u32,
}

impl KeptFrom {
    /// How old the answer is; `None` when its time is over.
    pub(super) fn age(self, now_unix: u64) -> Option<Age> {
        let seconds = |from: u64, to: u64| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        let (kept_seconds, left_seconds) = (seconds(self.made_at, now_unix), seconds(now_unix, self.expires_at));
        (left_seconds > 0).then_some(Age { kept_seconds, left_seconds })
    }
}

impl Kept for KeptAnswer {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.answer.records_octets()
    }
}

/// Which of the answers to a question is meant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    /// Whether signatures go with it.
    pub(super) is_signed: bool,
    /// Whether others were asked where the node would refer to them.
    pub(super) is_recursive: bool,
}

/// What is looked up: the name in lower case, the type, and which of the answers.
pub(super) struct CacheKey {
    octets: [u8; Self::OCTETS_MAX],
    len: usize,
}

impl CacheKey {
    /// The longest name, a type, and a variant.
    const OCTETS_MAX: usize = 255 + 2 + 1;

    pub(super) fn new(question: Question<'_>, variant: Variant) -> Self {
        let name = question.name();
        let mut octets = [0; Self::OCTETS_MAX];
        // A question that was read has a name of at most 255 octets.
        octets[..name.len()].copy_from_slice(name);
        // Length octets are no letters, so that they stay as they are.
        octets[..name.len()].make_ascii_lowercase();
        octets[name.len()..name.len() + 2].copy_from_slice(&question.kind().to_be_bytes());
        octets[name.len() + 2] = u8::from(variant.is_signed) | u8::from(variant.is_recursive) << 1;
        Self { octets, len: name.len() + 3 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}
