//! Names of name servers, made from their addresses.
//!
//! ```text
//! 192.0.2.1      192-0-2-1.ns.<zone>
//! 2001:db8::1    2001-db8-0-0-0-0-0-1.ns.<zone>
//! ```
//!
//! A delegation has addresses and no names, and an NS record needs a name: it is made of the address, in the zone of
//! the delegating node, beside all names of identifiers. The four numbers of an IPv4 address and the eight of an IPv6
//! address are written in one way only, so that an address has one name and a name one address.

use std::{fmt::Write as _, net::IpAddr};

use super::{
    answer::{RecordPlace, WireAnswer},
    wire::{kind, pointer, put_label},
    zone::{NAME_SERVER_LABEL, ZONE_TTL_SECONDS},
};

/// Separator of the numbers of an address.
const SEPARATOR: char = '-';

/// The first label of the name of an address.
pub(super) fn label(address: IpAddr) -> String {
    let mut label = String::new();
    let mut put = |number: std::fmt::Arguments<'_>| {
        if !label.is_empty() {
            label.push(SEPARATOR);
        }
        // Writing to a string cannot fail.
        let _ = label.write_fmt(number);
    };
    match address {
        IpAddr::V4(address) => address.octets().iter().for_each(|octet| put(format_args!("{octet}"))),
        IpAddr::V6(address) => address.segments().iter().for_each(|segment| put(format_args!("{segment:x}"))),
    }
    label
}

/// The address that a label stands for, in any case of letters; `None` if the label stands for none.
pub(super) fn address(label: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(label).ok()?.to_ascii_lowercase();
    let count = text.split(SEPARATOR).count();
    let address = match count {
        4 => numbers::<u8, 4>(&text, |number| number.parse().ok())?.into(),
        8 => numbers::<u16, 8>(&text, |number| u16::from_str_radix(number, 16).ok())?.into(),
        _ => return None,
    };
    // No leading zeros, no sign.
    (self::label(address) == text).then_some(address)
}

fn numbers<T: Copy + Default, const COUNT: usize>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<[T; COUNT]> {
    let mut numbers = [T::default(); COUNT];
    let mut words = text.split(SEPARATOR);
    for number in &mut numbers {
        *number = read(words.next()?)?;
    }
    Some(numbers)
}

/// The type of the records of an address.
pub(super) fn kind_of(address: IpAddr) -> u16 {
    if address.is_ipv4() { kind::A } else { kind::AAAA }
}

/// Writes the octets of an address.
pub(super) fn put_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend(address.octets()),
        IpAddr::V6(address) => out.extend(address.octets()),
    }
}

/// Adds the records of addresses whose type is wanted.
pub(super) fn push_addresses(
    answer: &mut WireAnswer,
    place: RecordPlace,
    addresses: &[IpAddr],
    wanted: impl Fn(u16) -> bool,
) {
    for &address in addresses {
        let kind = kind_of(address);
        if wanted(kind) {
            answer.push_at(place, kind, ZONE_TTL_SECONDS, |out| put_address(out, address));
        }
    }
}

/// Writes the name of an address, with a pointer to the zone at an offset in the message.
pub(super) fn put_name(out: &mut Vec<u8>, address: IpAddr, zone_offset: usize) {
    put_labels(out, address);
    out.extend_from_slice(&pointer(zone_offset));
}

/// The name of an address in full.
pub(super) fn name(address: IpAddr, zone: &[u8]) -> Vec<u8> {
    let mut name = Vec::new();
    put_labels(&mut name, address);
    name.extend_from_slice(zone);
    name
}

fn put_labels(out: &mut Vec<u8>, address: IpAddr) {
    for label in [label(address).as_bytes(), NAME_SERVER_LABEL] {
        // At most 39 octets.
        put_label(out, label);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_ways() {
        for (shown, expected) in [
            ("192.0.2.1", "192-0-2-1"),
            ("2001:db8::1", "2001-db8-0-0-0-0-0-1"),
            ("::", "0-0-0-0-0-0-0-0"),
            ("::ffff:192.0.2.1", "0-0-0-0-0-ffff-c000-201"),
        ] {
            let parsed: IpAddr = shown.parse().unwrap();
            assert_eq!(label(parsed), expected);
            assert_eq!(address(expected.to_uppercase().as_bytes()), Some(parsed));
        }
        for label in
            ["", "ns", "1-2-3", "1-2-3-256", "01-2-3-4", "+1-2-3-4", "1-2-3-4-5", "0-0-0-0-0-0-0-00", "g-0-0-0-0-0-0-0"]
        {
            assert_eq!(address(label.as_bytes()), None, "{label}");
        }
    }

    proptest! {
        #[test]
        fn an_address_has_one_label(v4: [u8; 4], v6: [u16; 8]) {
            for shown in [IpAddr::from(v4), IpAddr::from(v6)] {
                prop_assert_eq!(address(label(shown).as_bytes()), Some(shown));
            }
        }

        #[test]
        fn any_label_is_read_or_not(octets in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(shown) = address(&octets) {
                prop_assert_eq!(label(shown).into_bytes(), octets.to_ascii_lowercase());
            }
        }
    }
}
