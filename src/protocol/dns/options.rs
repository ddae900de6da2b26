//! Settings of a responder.

use super::cookie::CookieSecrets;
use crate::cache::pool::Budget;

/// Maximum length of the node's name in answers, in octets: one character-string.
pub const IDENTITY_OCTETS_MAX: usize = 255;

/// The settings of a responder.
#[derive(Clone, Debug)]
pub struct ResponderOptions {
    /// The node's name for NSID (RFC 5001) and `id.server` (RFC 4892), at most [`IDENTITY_OCTETS_MAX`] octets; empty to
    /// give none.
    pub identity: String,
    /// Memory for cached answers.
    pub cache: Budget,
    /// Maximum length of a UDP response to a client without a valid cookie, in octets: at most
    /// [`super::UDP_PAYLOAD_OCTETS_MAX`].
    pub without_cookie_octets_max: u16,
    /// Secrets that make and verify cookies (RFC 9018).
    pub cookies: CookieSecrets,
}
