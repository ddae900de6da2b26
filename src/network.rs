//! A network: an address and the number of its leading bits that count.
//!
//! An IPv4 address written as an IPv6 one (`::ffff:192.0.2.1`, as a dual-stack socket reports it) is the IPv4 address,
//! in networks and in lookups. No IPv4 network contains an IPv6 address, and the reverse.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    str::FromStr,
};

use crate::id::excerpt;

/// Length of an address, in bits.
const IPV4_BITS: u8 = 32;
const IPV6_BITS: u8 = 128;
/// Length of the prefix that all IPv4-mapped IPv6 addresses share, in bits.
const MAPPED_BITS: u8 = IPV6_BITS - IPV4_BITS;
const MAPPED_PREFIX: u128 = 0xffff << IPV4_BITS;

/// A range of addresses that have their first bits in common, such as `192.0.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    first: IpAddr,
    prefix_length: u8,
}

/// Error of parsing a [`Network`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The text before the slash is no address.
    #[error("network `{network}`: `{address}` is not an address; give 192.0.2.0/24 or 2001:db8::/32")]
    Address {
        /// The text.
        network: String,
        /// The part before the slash.
        address: String,
    },
    /// The text behind the slash is no prefix length of this address family.
    #[error("network `{network}`: `{length}` is not a prefix length; it is {} to {} here", range.start(), range.end())]
    Length {
        /// The text.
        network: String,
        /// The part behind the slash.
        length: String,
        /// Allowed lengths.
        range: RangeInclusive<u8>,
    },
    /// The address has bits set behind its prefix.
    #[error("network `{network}` has bits set behind its prefix; {meant} has none")]
    HostBits {
        /// The text.
        network: String,
        /// The network that the address is in.
        meant: Network,
    },
}

impl Network {
    /// The network of this length that contains an address. A longer length than the address has counts as the
    /// address's.
    pub fn of(address: IpAddr, prefix_length: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let prefix_length = prefix_length.min(IPV4_BITS);
                Self { first: IpAddr::V4((address.to_bits() & ipv4_mask(prefix_length)).into()), prefix_length }
            }
            IpAddr::V6(address) => {
                let prefix_length = prefix_length.min(IPV6_BITS);
                Self { first: IpAddr::V6((address.to_bits() & mask(prefix_length)).into()), prefix_length }
            }
        }
    }

    /// True if an address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) & ipv4_mask(self.prefix_length) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) & mask(self.prefix_length) == 0
            }
            _ => false,
        }
    }

    /// The first address, as the bits of an IPv6 address. Networks of one length with equal bits are equal.
    pub fn first_bits(&self) -> u128 {
        match self.first {
            IpAddr::V4(first) => MAPPED_PREFIX | u128::from(first.to_bits()),
            IpAddr::V6(first) => first.to_bits(),
        }
    }
}

/// The loopback networks.
pub fn loopback() -> [Network; 2] {
    [Network::of(Ipv4Addr::LOCALHOST.into(), 8), Network::of(Ipv6Addr::LOCALHOST.into(), 128)]
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `192.0.2.0/24` or `2001:db8::/32`; an address without a length is a network of one address.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (written, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let refused = || NetworkError::Address { network: excerpt(text), address: excerpt(written) };
        let address: IpAddr = written.parse().map_err(|_| refused())?;
        let range = match (address, address.to_canonical()) {
            (IpAddr::V4(_), _) => 0..=IPV4_BITS,
            (IpAddr::V6(_), IpAddr::V4(_)) => MAPPED_BITS..=IPV6_BITS,
            (IpAddr::V6(_), IpAddr::V6(_)) => 0..=IPV6_BITS,
        };
        let prefix_length = match length {
            None => *range.end(),
            Some(length) => read_length(length).filter(|length| range.contains(length)).ok_or_else(|| {
                NetworkError::Length { network: excerpt(text), length: excerpt(length), range: range.clone() }
            })?,
        };
        let network = Self::of(address, prefix_length - range.start());
        if network.first != address.to_canonical() {
            return Err(NetworkError::HostBits { network: excerpt(text), meant: network });
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_length)
    }
}

/// Reads a prefix length: digits only, since `parse` accepts a leading plus.
fn read_length(text: &str) -> Option<u8> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Mask of the first bits of 32.
const fn ipv4_mask(bits: u8) -> u32 {
    mask(MAPPED_BITS + bits) as u32
}

/// Mask of the first bits of 128.
const fn mask(bits: u8) -> u128 {
    match bits {
        0 => 0,
        1..IPV6_BITS => u128::MAX << (IPV6_BITS - bits),
        _ => u128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    #[test]
    fn written_and_shown() {
        for (written, shown) in [
            ("192.0.2.0/24", "192.0.2.0/24"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8::/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("::/0", "::/0"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ] {
            assert_eq!(network(written).to_string(), shown);
            assert_eq!(network(shown), network(written));
        }
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        let advice = "give 192.0.2.0/24 or 2001:db8::/32";
        for (text, message) in [
            ("", format!("network ``: `` is not an address; {advice}")),
            ("localhost/8", format!("network `localhost/8`: `localhost` is not an address; {advice}")),
            ("192.0.2/24", format!("network `192.0.2/24`: `192.0.2` is not an address; {advice}")),
            ("192.0.2.0/33", "network `192.0.2.0/33`: `33` is not a prefix length; it is 0 to 32 here".into()),
            ("192.0.2.0/", "network `192.0.2.0/`: `` is not a prefix length; it is 0 to 32 here".into()),
            ("192.0.2.0/+8", "network `192.0.2.0/+8`: `+8` is not a prefix length; it is 0 to 32 here".into()),
            ("::/129", "network `::/129`: `129` is not a prefix length; it is 0 to 128 here".into()),
            ("::/1/2", "network `::/1/2`: `1/2` is not a prefix length; it is 0 to 128 here".into()),
            (
                "::ffff:1.2.3.4/24",
                "network `::ffff:1.2.3.4/24`: `24` is not a prefix length; it is 96 to 128 here".into(),
            ),
            ("192.0.2.1/24", "network `192.0.2.1/24` has bits set behind its prefix; 192.0.2.0/24 has none".into()),
            ("2001:db8::/16", "network `2001:db8::/16` has bits set behind its prefix; 2001::/16 has none".into()),
        ] {
            assert_eq!(text.parse::<Network>().unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn contents() {
        for (written, address, inside) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.7", true),
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.0", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8:0:ff00::/56", "2001:db8:0:ffab::1", true),
            ("2001:db8:0:ff00::/56", "2001:db8:0:feab::1", false),
        ] {
            assert_eq!(network(written).contains(address.parse().unwrap()), inside, "{address} in {written}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*|[0-9a-f:.]{0,20}/[0-9]{0,4}") {
            if let Ok(network) = text.parse::<Network>() {
                prop_assert_eq!(network.to_string().parse(), Ok(network));
            }
        }

        #[test]
        fn an_address_is_in_its_own_network(v4: [u8; 4], v6: [u8; 16], length: u8, flipped in 0u8..128) {
            for (address, bits) in [(IpAddr::from(v4), IPV4_BITS), (IpAddr::from(v6), IPV6_BITS)] {
                let network = Network::of(address, length);
                prop_assert!(network.contains(address));
                prop_assert_eq!(network.to_string().parse(), Ok(network));
                // Another address: inside if the flipped bit stands behind the prefix.
                let flip = |other: u128| 1u128 << (bits - 1 - flipped % bits) ^ other;
                let other = match address {
                    IpAddr::V4(address) => IpAddr::V4((flip(address.to_bits().into()) as u32).into()),
                    IpAddr::V6(address) => IpAddr::V6(flip(address.to_bits()).into()),
                };
                prop_assert_eq!(network.contains(other), flipped % bits >= length.min(bits));
            }
        }
    }
}
