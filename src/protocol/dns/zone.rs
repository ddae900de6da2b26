//! The zone of a node: its name, checked, and the records that are its own.

use std::{borrow::Cow, fmt, net::IpAddr};

use super::wire::{self, pointer, put_label};
pub use crate::id::dns_name::zone::{ZONE_OCTETS_MAX, ZoneError, labels};

/// TTL of the records of the zone itself, in seconds.
pub(super) const ZONE_TTL_SECONDS: u32 = 3_600;
/// TTL of a negative answer, in seconds (RFC 2308 section 5): a registration shows within it.
pub(super) const NEGATIVE_TTL_SECONDS: u32 = 60;
/// First label of the name of the node.
pub(super) const NAME_SERVER_LABEL: &[u8] = b"ns";

/// The zone for which the node answers.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The name on the wire, in lower case, with the root octet.
    apex: Box<[u8]>,
    addresses: Vec<IpAddr>,
}

impl Zone {
    /// Default name of the zone.
    pub const DEFAULT: &str = "id.test.";

    /// Reads the name of a zone, with or without the dot at its end.
    ///
    /// # Errors
    ///
    /// [`ZoneError`] for the root, for labels that host names do not have, for more than [`ZONE_OCTETS_MAX`] octets.
    pub fn new(name: &str) -> Result<Self, ZoneError> {
        let mut apex = Vec::new();
        for label in labels(name)? {
            put_label(&mut apex, label.as_bytes());
        }
        apex.push(0);
        Ok(Self { apex: apex.into(), addresses: Vec::new() })
    }

    /// Sets the addresses of `ns.` + the zone. Unspecified ones (`0.0.0.0`, `::`) are of no use to a client and are
    /// dropped; if none is left, the name has no addresses, and the parent of the zone has to know them.
    #[must_use]
    pub fn with_addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().filter(|address| !address.is_unspecified()).collect();
        self
    }

    /// The name on the wire, in lower case, with the root octet.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// The name on the wire, in lower case, of the zone of this node whose apex stands at an offset in `name`; without
    /// an offset, the zone of the node itself.
    pub(super) fn apex_of<'a>(&'a self, name: &[u8], apex_at: Option<u16>) -> Cow<'a, [u8]> {
        match apex_at {
            None => Cow::Borrowed(self.apex()),
            Some(at) => Cow::Owned(name.get(usize::from(at)..).unwrap_or_default().to_ascii_lowercase()),
        }
    }

    /// The addresses of the node.
    pub(super) fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The length of the name on the wire, in octets with the root octet.
    pub fn octets(&self) -> usize {
        self.apex.len()
    }

    /// Offset of the zone in a name on the wire; `None` outside the zone.
    pub(super) fn offset_in(&self, name: &[u8]) -> Option<usize> {
        let before = name.len().checked_sub(self.apex.len())?;
        let mut at = 0;
        while at < before {
            at += 1 + usize::from(*name.get(at)?);
        }
        // Length octets are below `A`, so that the comparison takes them as they are.
        (at == before && name[at..].eq_ignore_ascii_case(&self.apex)).then_some(at)
    }

    /// Data of the NS record with its name in full, as signatures need it.
    pub(super) fn name_server_data(&self) -> Vec<u8> {
        let mut data = Vec::new();
        put_label(&mut data, NAME_SERVER_LABEL);
        data.extend_from_slice(&self.apex);
        data
    }

    /// Writes the name of the node, with a pointer to the apex at an offset in the message.
    pub(super) fn put_name_server(out: &mut Vec<u8>, apex_offset: usize) {
        put_label(out, NAME_SERVER_LABEL);
        out.extend_from_slice(&pointer(apex_offset));
    }
}

impl fmt::Display for Zone {
    /// The name, with the dot at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        wire::labels(&self.apex).try_for_each(|label| write!(f, "{}.", label.escape_ascii()))
    }
}
