//! gs1
use super::{Identifier, Refusal};
pub(super) fn from_element_string(_t: &str) -> Result<Identifier, Refusal> {
    Err(Refusal::new(0, "x"))
}
pub(super) fn from_epc_urn(_t: &str) -> Result<Identifier, Refusal> {
    Err(Refusal::new(0, "x"))
}
pub(super) fn from_url(_t: &str) -> Result<Option<Identifier>, Refusal> {
    Ok(None)
}
