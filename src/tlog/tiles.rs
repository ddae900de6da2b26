//! Paths of tiles and entry bundles (C2SP tlog-tiles, "Merkle Tree" and "Log entries"), read strictly.
//!
//! ```text
//! tile/<L>/<N>[.p/<W>]            hashes of level L
//! tile/entries/<N>[.p/<W>]        entries
//! ```
//!
//! L is 0 to 63, N stands in groups of three digits, all but the last with an `x` before them (1234067 is
//! `x001/x234/067`), W is 1 to 255. A tile has exactly one path: other spellings are refused, so that a cache stores a
//! tile once. Deliberately absent: which tiles exist (`ledger`).

use std::fmt;

/// Number of hashes in a full tile, and of entries in a full bundle.
pub const TILE_WIDTH: u16 = 256;
/// Maximum level in a path.
pub const LEVEL_MAX: u8 = 63;

/// A parsed path of a tile or an entry bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TilePath {
    /// Hashes of subtrees of 256^level leaves.
    Hashes {
        /// 0 to [`LEVEL_MAX`].
        level: u8,
        /// The tile.
        tile: Tile,
    },
    /// Entries.
    Entries(Tile),
}

/// A tile or bundle of its level: the first `width` of the 256 items from 256·`index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tile {
    index: u64,
    width: u16,
}

impl Tile {
    /// A tile of 1 to [`TILE_WIDTH`] items; `None` for any other width.
    pub fn new(index: u64, width: u16) -> Option<Self> {
        (1..=TILE_WIDTH).contains(&width).then_some(Self { index, width })
    }

    /// Index of the tile in its level.
    pub fn index(self) -> u64 {
        self.index
    }

    /// Number of items; [`TILE_WIDTH`] for a full tile.
    pub fn width(self) -> u16 {
        self.width
    }

    fn parse(groups: &str) -> Option<Self> {
        let (groups, width) = match groups.split_once(".p/") {
            Some((groups, width)) => (groups, decimal(width, u64::from(TILE_WIDTH) - 1)?),
            None => (groups, u64::from(TILE_WIDTH)),
        };
        let mut index = 0u64;
        let mut groups = groups.split('/').peekable();
        let mut is_first = true;
        while let Some(group) = groups.next() {
            let digits = if groups.peek().is_some() { group.strip_prefix('x')? } else { group };
            // Leading groups of zeros would be a second spelling.
            let is_padding = is_first && groups.peek().is_some() && digits == "000";
            if digits.len() != 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) || is_padding {
                return None;
            }
            index = index.checked_mul(1_000)?.checked_add(digits.parse().ok()?)?;
            is_first = false;
        }
        Self::new(index, u16::try_from(width).ok()?)
    }
}

impl TilePath {
    /// Parses the path behind `tile/`; `None` for any other spelling than the one path of a tile.
    pub fn parse(path: &str) -> Option<Self> {
        let (head, groups) = path.split_once('/')?;
        let tile = Tile::parse(groups)?;
        match head {
            "entries" => Some(Self::Entries(tile)),
            "0" => Some(Self::Hashes { level: 0, tile }),
            level => Some(Self::Hashes { level: u8::try_from(decimal(level, LEVEL_MAX.into())?).ok()?, tile }),
        }
    }
}

/// Parses a number from 1 to `max` without leading zeros.
fn decimal(digits: &str, max: u64) -> Option<u64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    let number = if plain { digits.parse().ok()? } else { return None };
    (1..=max).contains(&number).then_some(number)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups = Vec::new();
        let mut rest = self.index;
        loop {
            groups.push(rest % 1_000);
            rest /= 1_000;
            if rest == 0 {
                break;
            }
        }
        while let Some(group) = groups.pop() {
            match groups.is_empty() {
                true => write!(f, "{group:03}")?,
                false => write!(f, "x{group:03}/")?,
            }
        }
        match self.width {
            TILE_WIDTH => Ok(()),
            width => write!(f, ".p/{width}"),
        }
    }
}

impl fmt::Display for TilePath {
    /// The path behind `tile/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hashes { level, tile } => write!(f, "{level}/{tile}"),
            Self::Entries(tile) => write!(f, "entries/{tile}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_that_are_tiles() {
        let hashes = |level, index, width| TilePath::Hashes { level, tile: Tile { index, width } };
        let table = [
            ("0/000", hashes(0, 0, 256)),
            ("0/x001/x234/067", hashes(0, 1_234_067, 256)),
            ("1/000.p/17", hashes(1, 0, 17)),
            ("63/x001/000.p/255", hashes(63, 1_000, 255)),
            ("0/x018/x446/x744/x073/x709/x551/615", hashes(0, u64::MAX, 256)),
            ("entries/x273/112.p/1", TilePath::Entries(Tile { index: 273_112, width: 1 })),
        ];
        for (path, expected) in table {
            assert_eq!(TilePath::parse(path), Some(expected), "{path}");
            assert_eq!(expected.to_string(), path);
        }
    }

    #[test]
    fn paths_that_are_none() {
        let table = [
            "",
            "0",
            "0/",
            "/000",
            "00/000",
            "01/000",
            "64/000",
            "-1/000",
            "+1/000",
            "x/000",
            "data/000",
            "8/0/000",
            "0/0",
            "0/00",
            "0/0000",
            "0/x000/000",
            "0/x000/001",
            "0/001/002",
            "0/x001",
            "0/x001/x002",
            "0/X001/002",
            "0/x1/002",
            "0/x001//002",
            "0/000/",
            "0/000.p",
            "0/000.p/",
            "0/000.p/0",
            "0/000.p/01",
            "0/000.p/256",
            "0/000.p/999999999999999999999",
            "0/000.p/+1",
            "0/000.p/1/",
            "0/000.p/1.p/1",
            "0/x001.p/1/002",
            "0/٠٠٠",
            "0/x018/x446/x744/x073/x709/x551/616",
            "0/x001/x000/x000/x000/x000/x000/x000/000",
            "entries/",
            "entries/x001",
        ];
        for path in table {
            assert_eq!(TilePath::parse(path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(level in 0..=LEVEL_MAX, index: u64, width in 1..=TILE_WIDTH) {
            let tile = Tile::new(index, width).unwrap();
            for path in [TilePath::Hashes { level, tile }, TilePath::Entries(tile)] {
                prop_assert_eq!(TilePath::parse(&path.to_string()), Some(path));
            }
        }

        #[test]
        fn what_is_read_is_written_the_same(path in "(entries|[0-9]{1,2})(/x?[0-9]{3}){1,4}(\\.p/[0-9]{1,3})?|.{0,24}") {
            if let Some(parsed) = TilePath::parse(&path) {
                prop_assert_eq!(parsed.to_string(), path);
            }
        }
    }
}
