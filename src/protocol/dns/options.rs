//! What a responder is told about itself.

use super::cookie::CookieSecrets;
use crate::cache::pool::Budget;

/// The longest name of this node that goes into answers, in octets: a character-string.
pub const IDENTITY_OCTETS_MAX: usize = 255;

/// The settings of a responder.
#[derive(Clone, Debug)]
pub struct ResponderOptions {
    /// The node's name for NSID (RFC 5001) and `id.server` (RFC 4892), at most [`IDENTITY_OCTETS_MAX`] octets; empty to
    /// give none.
    pub identity: String,
    /// How much memory cached answers may take.
    pub cache: Budget,
    /// The longest UDP response to a client without a valid cookie, in octets: at most [`super::UDP_PAYLOAD_OCTETS_MAX`].
    pub without_cookie_octets_max: u16,
    /// What cookies are made and verified with (RFC 9018).
    pub cookies: CookieSecrets,
}
