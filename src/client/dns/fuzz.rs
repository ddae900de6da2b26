//! Fuzzing of replies over DNS: any bytes behind the head of a reply that fits the question, and a referral in them.

use super::{
    packet::{Question, Recursion},
    referral,
};
use crate::{id::Identifier, record::Delegation};

const NAME: &str = "x._.118.88.hdl.id.test.";
const ZONE: &str = "id.test.";
const IDENTIFIER: &str = "88.118/x";
/// Octets of a message before its flags, and up to where its question begins (RFC 1035 section 4.1.1).
const ID_OCTETS: usize = 2;
const HEADER_OCTETS: usize = 12;

/// Reads flags, counts and records as a reply. True if they are one.
pub(crate) fn reply(bytes: &[u8]) -> bool {
    let Some(question) = Question::new(NAME, Recursion::Unwanted) else { return false };
    // The question's id is random, so the input gets that id, and the question itself.
    let asked = &question.message()[HEADER_OCTETS..question.message().len() - crate::protocol::dns::wire::OPT_OCTETS];
    let head = bytes.len().min(HEADER_OCTETS - ID_OCTETS);
    let message = [&question.message()[..ID_OCTETS], &bytes[..head], asked, &bytes[head..]].concat();
    let _ = question.read(bytes);
    let Some(response) = question.read(&message) else { return false };
    let Ok(identifier) = Identifier::parse(IDENTIFIER) else { return false };
    if let Ok(Some(referral)) = referral::read(&response.referral, &identifier, ZONE) {
        assert!(referral.prefix.covers(identifier.key()));
        assert!(referral.delegation.ttl_seconds() <= Delegation::TTL_SECONDS_MAX);
    }
    true
}

/// Valid inputs: an answer, an error with a reason (RFC 8914), a referral with glue.
pub(crate) fn replies() -> Vec<Vec<u8>> {
    let head = |flags: u16, counts: [u8; 3]| {
        let [answers, authorities, additionals] = counts;
        [&flags.to_be_bytes()[..], &[0, 1, 0, answers, 0, authorities, 0, additionals]].concat()
    };
    let record = b"\xc0\x0c\xff\x00\x00\x01\x00\x00\x00\x3c\x00\x04data";
    let error = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x0d\x00\x0f\x00\x09\x00\x12not you";
    let name = b"\x03118\x0288\x03hdl\x02id\x04test\x00";
    let server = b"\x09127-0-0-1\x02ns\x02id\x04test\x00";
    let ns = [name.as_slice(), b"\x00\x02\x00\x01\x00\x00\x00\x3c\x00", &[server.len() as u8], server].concat();
    let glue = [server.as_slice(), b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"].concat();
    vec![
        [head(0x8400, [1, 0, 0]).as_slice(), record].concat(),
        [head(0x8405, [0, 0, 1]).as_slice(), error].concat(),
        [head(0x8000, [0, 1, 1]).as_slice(), &ns, &glue].concat(),
    ]
}
