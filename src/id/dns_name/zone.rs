//! Names of zones as people write them: what a zone may be called, and its labels.
//!
//! A zone is a host name (RFC 1123 section 2.1, and `_`) short enough to leave room for the names of identifiers below it.

use super::label::LABEL_OCTETS_MAX;

/// Why a text cannot be the name of a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// The root, or nothing at all.
    #[error("zone `{zone}` has no labels; give a name such as `id.example.com.`")]
    NoLabels {
        /// The text.
        zone: String,
    },
    /// A label is empty or too long (RFC 1035 section 2.3.4).
    #[error("zone `{zone}`: label `{label}` takes {} octets; a label takes 1 to {LABEL_OCTETS_MAX}", label.len())]
    LabelLength {
        /// The text.
        zone: String,
        /// The label.
        label: String,
    },
    /// A label holds a character that host names do not have (RFC 1123 section 2.1).
    #[error(
        "zone `{zone}`: label `{label}` holds other than letters, digits, `-` and `_`, or a `-` at its beginning or end"
    )]
    Label {
        /// The text.
        zone: String,
        /// The label.
        label: String,
    },
    /// The name leaves too little room for the names of identifiers.
    #[error("zone `{zone}` takes {octets} octets on the wire; the limit is {ZONE_OCTETS_MAX}")]
    TooLong {
        /// The text.
        zone: String,
        /// Its length.
        octets: usize,
    },
}

/// The longest name of a zone, in octets on the wire with the root octet.
pub const ZONE_OCTETS_MAX: usize = 120;

const _: () = assert!(ZONE_OCTETS_MAX <= super::ZONE_OCTETS_MAX, "the index knows no hashes for longer zones");

/// Checks the name of a zone, with or without the dot at its end, and gives its labels in lower case.
///
/// # Errors
///
/// The [`ZoneError`] of the first rule that is broken.
pub fn labels(zone: &str) -> Result<Vec<String>, ZoneError> {
    let zone_shown = || zone.chars().take(260).flat_map(char::escape_debug).collect::<String>();
    let name = zone.strip_suffix('.').unwrap_or(zone);
    if name.is_empty() {
        return Err(ZoneError::NoLabels { zone: zone_shown() });
    }
    let octets = octets(name.split('.'));
    if octets > ZONE_OCTETS_MAX {
        return Err(ZoneError::TooLong { zone: zone_shown(), octets });
    }
    let check = |label: &str| {
        let shown = || label.escape_debug().to_string();
        if !(1..=LABEL_OCTETS_MAX).contains(&label.len()) {
            return Err(ZoneError::LabelLength { zone: zone_shown(), label: shown() });
        }
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !label.bytes().all(fits) || label.starts_with('-') || label.ends_with('-') {
            return Err(ZoneError::Label { zone: zone_shown(), label: shown() });
        }
        Ok(label.to_ascii_lowercase())
    };
    name.split('.').map(check).collect()
}

/// The length of a name on the wire, in octets with the root octet.
pub fn octets<'a>(labels: impl Iterator<Item = &'a str>) -> usize {
    labels.map(|label| label.len() + 1).sum::<usize>() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken() {
        for zone in ["id.test.", "id.test", "ID.Test."] {
            assert_eq!(labels(zone).unwrap(), ["id", "test"]);
        }
        assert_eq!(octets(["id", "test"].into_iter()), 9);
        assert!(labels(&format!("{}.{}", "a".repeat(63), "b".repeat(54))).is_ok());
    }

    #[test]
    fn refused() {
        let check = |zone: &str, message: &str| assert_eq!(labels(zone).unwrap_err().to_string(), message);
        check("", "zone `` has no labels; give a name such as `id.example.com.`");
        check(".", "zone `.` has no labels; give a name such as `id.example.com.`");
        check("a..b", "zone `a..b`: label `` takes 0 octets; a label takes 1 to 63");
        let long = "a".repeat(64);
        check(&long, &format!("zone `{long}`: label `{long}` takes 64 octets; a label takes 1 to 63"));
        let rule = "holds other than letters, digits, `-` and `_`, or a `-` at its beginning or end";
        check("id.te st", &format!("zone `id.te st`: label `te st` {rule}"));
        check("-id.test", &format!("zone `-id.test`: label `-id` {rule}"));
        let long = ["a".repeat(60), "b".repeat(58)].join(".");
        check(&long, &format!("zone `{long}` takes 121 octets on the wire; the limit is 120"));
    }
}
