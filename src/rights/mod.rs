//! Rights to read, write, mirror, and have walks made. Every rule stands here, and front ends ask.
//!
//! | rule | function | until there are permits |
//! |---|---|---|
//! | reading values of a record | [`view`] under [`Rights`] | values with the permission public-read |
//! | writing and exporting | [`may_write`] | callers on loopback addresses |
//! | mirroring the ledger, non-public values included | [`may_mirror`] | callers of the networks of `allow` in `[mirror]` |
//! | recursive walks | [`may_walk`] | callers of the networks of `allow` in `[recursion]` |
//!
//! Always: a caller whose address is unknown has the rights of everybody and no more. The room is pure: it does no I/O,
//! keeps no state, and knows no transport. A denial is returned as a value ([`Denied`]), worded for the caller.
//!
//! Deliberately absent: limits on the load of one caller (`server`, [`crate::resolver::Desk`]), and permits.

use std::net::IpAddr;

use crate::{
    entry::Principal,
    network::Network,
    record::{Permissions, ValueView, Values},
};

/// A caller of a front end: the principal that it has shown to be, and its address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The principal; `None` for an anonymous caller.
    pub principal: Option<Principal>,
    /// The address; `None` if the transport does not tell it.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// An anonymous caller.
    pub fn anonymous(address: Option<IpAddr>) -> Self {
        Self { principal: None, address }
    }

    /// Rights of the caller to read. Until there are permits, no principal has more than everybody.
    pub fn rights(&self) -> Rights {
        Rights::PUBLIC
    }
}

/// Rights to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Public,
}

impl Rights {
    /// The rights of everybody. Only answers under these are cached.
    pub const PUBLIC: Self = Self { scope: Scope::Public };

    /// True if a value with these permissions may be read.
    pub fn may_read(self, permissions: Permissions) -> bool {
        match self.scope {
            Scope::Public => permissions.public_read(),
        }
    }
}

/// Values of a record, owned or as they lie in a ledger entry.
pub trait ValueList {
    /// The number of values.
    fn count(&self) -> usize;

    /// Removes the values whose permissions do not pass.
    fn keep(&mut self, pass: impl Fn(Permissions) -> bool);
}

impl ValueList for Values {
    fn count(&self) -> usize {
        self.len()
    }

    fn keep(&mut self, pass: impl Fn(Permissions) -> bool) {
        self.retain_permitted(pass);
    }
}

impl ValueList for Vec<ValueView<'_>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn keep(&mut self, pass: impl Fn(Permissions) -> bool) {
        self.retain(|value| pass(value.permissions));
    }
}

/// The readable part of a record's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<V> {
    /// The values that may be read.
    pub values: V,
    /// Number of values that may not be read.
    pub withheld: usize,
}

impl<V: ValueList> View<V> {
    /// True if the record has values, and none of them may be read.
    pub fn is_denied(&self) -> bool {
        self.withheld > 0 && self.values.count() == 0
    }
}

/// The view of a record's values under these rights. All values that leave the node pass through here, once.
pub fn view<V: ValueList>(mut values: V, rights: Rights) -> View<V> {
    let all = values.count();
    values.keep(|permissions| rights.may_read(permissions));
    let withheld = all - values.count();
    View { values, withheld }
}

/// A right that the caller does not have, in a sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// The rule, and the address of the caller.
    pub reason: String,
}

impl Denied {
    fn of(rule: &str, what: &str, address: Option<IpAddr>) -> Self {
        let address = address.map_or_else(|| "an unknown address".into(), |address| address.to_string());
        Self { reason: format!("{rule}, and this {what} came from {address}") }
    }
}

/// The principal of a caller that may write and export: until there are permits, one on a loopback address.
///
/// # Errors
///
/// [`Denied`] for every other caller.
pub fn may_write(address: Option<IpAddr>) -> Result<Principal, Denied> {
    match address {
        Some(address) if address.to_canonical().is_loopback() => Ok(Principal::LOOPBACK),
        address => Err(Denied::of("writes and exports are accepted from loopback addresses only", "call", address)),
    }
}

/// Checks that a caller may mirror the ledger: its address is in these networks.
///
/// # Errors
///
/// [`Denied`] for every other caller.
pub fn may_mirror(mirrors: &[Network], address: Option<IpAddr>) -> Result<(), Denied> {
    match is_within(mirrors, address) {
        true => Ok(()),
        false => Err(Denied::of("mirrors are served to the networks of `allow` in [mirror] only", "request", address)),
    }
}

/// True if a recursive node walks for a caller: its address is in these networks. Other callers get the referral.
pub fn may_walk(allow: &[Network], address: Option<IpAddr>) -> bool {
    is_within(allow, address)
}

fn is_within(networks: &[Network], address: Option<IpAddr>) -> bool {
    address.is_some_and(|address| networks.iter().any(|network| network.contains(address)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Value;

    fn values(permissions: &[u32]) -> Values {
        let value = |(index, bits): (u32, &u32)| Value {
            index,
            kind: "N".parse().unwrap(),
            data: b"x".to_vec().into(),
            ttl: 60,
            timestamp: 0,
            permissions: Permissions::from_bits(*bits).unwrap(),
            references: Vec::new(),
        };
        Values::new((1..).zip(permissions).map(value).collect()).unwrap()
    }

    #[test]
    fn what_is_seen_of_values() {
        // The permissions of the values; which of them are seen; whether that is a denial.
        for (permissions, seen, denied) in [
            (&[][..], &[][..], false),
            (&[0b1110, 0b1100, 0b0010], &[1, 3], false),
            (&[0b1100, 0b0001], &[], true),
            (&[0b1110], &[1], false),
        ] {
            let owned = values(permissions);
            let lying = view(owned.iter().map(Value::view).collect::<Vec<_>>(), Rights::PUBLIC);
            assert_eq!(lying.values.iter().map(|value| value.index).collect::<Vec<_>>(), seen, "{permissions:?}");
            assert_eq!((lying.withheld, lying.is_denied()), (permissions.len() - seen.len(), denied));
            let viewed = view(owned, Rights::PUBLIC);
            assert_eq!(viewed.values.iter().map(|value| value.index).collect::<Vec<_>>(), seen, "{permissions:?}");
            assert_eq!(viewed.is_denied(), denied, "{permissions:?}");
        }
    }

    #[test]
    fn who_may_do_what() {
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (from, writes) in [("127.0.0.1", true), ("::1", true), ("::ffff:127.0.0.9", true), ("192.0.2.1", false)] {
            assert_eq!(may_write(address(from)).is_ok(), writes, "{from}");
        }
        let denied = may_write(None).unwrap_err().to_string();
        assert_eq!(
            denied,
            "writes and exports are accepted from loopback addresses only, and this call came from an unknown address"
        );
        let networks = ["192.0.2.0/24".parse().unwrap()];
        assert!(may_mirror(&networks, address("192.0.2.7")).is_ok() && may_walk(&networks, address("192.0.2.7")));
        assert!(!may_walk(&networks, address("192.0.3.7")) && !may_walk(&networks, None));
        assert_eq!(
            may_mirror(&networks, address("192.0.3.7")).unwrap_err().to_string(),
            "mirrors are served to the networks of `allow` in [mirror] only, and this request came from 192.0.3.7"
        );
    }
}
