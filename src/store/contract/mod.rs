//! The contracts of this room, each run on every implementation: engines ([`entries`]) and the indexes of positions
//! that two of them are made of ([`positions`]).

pub(crate) mod entries;
pub(crate) mod positions;
