//! Cached answers, their expiry, and their keys.

use super::{
    answer::{AnswerHead, WireAnswer},
    plan::{Age, Origin},
    request::Question,
    topics::NameStamp,
    wire::NAME_OCTETS_MAX,
};
use crate::cache::stamped::Kept;

/// An answer in the cache.
#[derive(Debug)]
pub(super) struct CachedAnswer {
    pub(super) answer: WireAnswer,
    pub(super) stamp: NameStamp,
    pub(super) expiry: Expiry,
}

/// Expiry of a cached answer, apart from a change that invalidates it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expiry {
    /// The answer does not expire.
    Never,
    /// The answer holds signatures or keys: it expires with their signer, and at an age.
    WithSigner(SignerStamp),
    /// The answer is another node's: it expires with its TTL.
    AtTime(Lifetime),
}

/// Signer of the signatures or keys in an answer, and the time for which the answer may be kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignerStamp {
    pub(super) generation: u32,
    /// Seconds since 1970 UTC, mod 2^32.
    pub(super) made_at: u32,
    pub(super) keep_seconds: u32,
}

/// Lifetime of another node's answer, in seconds since 1970 UTC.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub(super) made_at: u64,
    pub(super) expires_at: u64,
}

impl Lifetime {
    /// Age of the answer; `None` when it has expired.
    fn age(self, now_unix: u64) -> Option<Age> {
        let seconds = |from: u64, to: u64| u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX);
        let left_seconds = seconds(now_unix, self.expires_at);
        (left_seconds > 0).then(|| Age { kept_seconds: seconds(self.made_at, now_unix), left_seconds })
    }
}

impl Expiry {
    /// Source of the answer, given the current generation of the signer; `None` when the answer has expired.
    pub(super) fn origin(self, generation: u32, now_unix: u64) -> Option<Origin> {
        match self {
            Self::Never => Some(Origin::Ours),
            Self::WithSigner(stamp) => {
                let age_seconds = (now_unix as u32).wrapping_sub(stamp.made_at);
                (stamp.generation == generation && age_seconds < stamp.keep_seconds).then_some(Origin::Ours)
            }
            Self::AtTime(lifetime) => lifetime.age(now_unix).map(|age| Origin::Others(Some(age))),
        }
    }
}

/// A cache hit without its records, which are copied straight into the output.
pub(super) struct CacheHit {
    pub(super) head: AnswerHead,
    pub(super) origin: Origin,
}

impl Kept for CachedAnswer {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.answer.records().len()
    }
}

/// Variant of the answer to a question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variant {
    /// True for an answer with signatures.
    pub(super) is_signed: bool,
    /// True for an answer of other nodes where this node would otherwise refer to them.
    pub(super) is_recursive: bool,
}

/// Key of the cache: the name in lower case, the type and the variant.
pub(super) struct CacheKey {
    octets: [u8; Self::OCTETS_MAX],
    len: usize,
}

impl CacheKey {
    /// The longest name, a type and a variant.
    const OCTETS_MAX: usize = NAME_OCTETS_MAX + 2 + 1;

    pub(super) fn new(question: Question<'_>, variant: Variant) -> Self {
        let name = question.name();
        let mut octets = [0; Self::OCTETS_MAX];
        // A question that was read has a name of at most 255 octets.
        octets[..name.len()].copy_from_slice(name);
        // Length octets are below `A`, so that lower-casing leaves them as they are.
        octets[..name.len()].make_ascii_lowercase();
        octets[name.len()..name.len() + 2].copy_from_slice(&question.kind().to_be_bytes());
        octets[name.len() + 2] = u8::from(variant.is_signed) | u8::from(variant.is_recursive) << 1;
        Self { octets, len: name.len() + 3 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.octets[..self.len]
    }
}
