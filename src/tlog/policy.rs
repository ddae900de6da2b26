//! Trust policies of auditors: logs, witnesses, and the number of cosignatures required (C2SP tlog-policy).
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> <number|any|all> <name>...
//! quorum <name|none>
//! ```
//!
//! A name is defined once, before its use, and stands in one group at most, so that a witness counts once. Names are
//! octets, as the document says. A key of an unsupported type refuses the file: a policy understood only in part is not
//! a policy.

use std::collections::HashMap;

use super::note::{CheckpointError, KeyError, KeyType, VerifiedCheckpoint, VerifierKey, verify_checkpoint};

/// Maximum length of a policy, in bytes.
pub const POLICY_BYTES_MAX: usize = 256 << 10;
/// Maximum number of logs, of witnesses and of groups (C2SP tlog-policy recommends 32 at least).
pub const POLICY_LINES_MAX: usize = 256;

/// A trust policy.
#[derive(Clone, Debug)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

#[derive(Clone, Debug)]
struct Witness {
    name: Vec<u8>,
    key: VerifierKey,
}

#[derive(Clone, Debug)]
struct Group {
    threshold: usize,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug)]
enum Member {
    Witness(usize),
    Group(usize),
}

#[derive(Clone, Copy, Debug)]
enum Quorum {
    None,
    Of(Member),
}

/// A checkpoint that a policy accepts.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The checkpoint.
    pub checkpoint: VerifiedCheckpoint,
    /// Witnesses that cosigned, by their names in the policy, with the times in seconds since 1970 UTC.
    pub witnesses: Vec<(String, u64)>,
}

/// Error of a checkpoint that a policy does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// A signature is missing or wrong.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Too few of the witnesses cosigned.
    #[error("the checkpoint has {count} cosignatures of the policy's witnesses; that is not the quorum")]
    Quorum {
        /// Number of cosignatures.
        count: usize,
    },
}

/// Error of a text that is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is too long.
    #[error("the policy has {bytes} bytes; the limit is {POLICY_BYTES_MAX}")]
    TooLong {
        /// Length of the text, in bytes.
        bytes: usize,
    },
    /// A line breaks a rule.
    #[error("line {line} of the policy: {rule}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The rule that is broken.
        rule: LineError,
    },
    /// No line gives the quorum.
    #[error("the policy has no `quorum` line; `quorum none` asks for no witness")]
    NoQuorum,
    /// The key of a log was expected.
    #[error("{name} is the key of a witness; give the key of the log")]
    NoLog {
        /// The key's name.
        name: String,
    },
}

/// The rule that a line of a policy breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A control character in the line.
    #[error("it holds a control character")]
    Control,
    /// The line begins with none of the four keywords.
    #[error("it begins with none of `log`, `witness`, `group`, `quorum`")]
    Keyword,
    /// Words are missing, or there are too many.
    #[error("it has too few words, or too many")]
    Words,
    /// The key is malformed, or of an unsupported type.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key of a witness in place of one of a log, or the reverse.
    #[error("the key is of the wrong type: logs have type 0x01, witnesses 0x04")]
    KeyType,
    /// The same key stands in an earlier line.
    #[error("the same key stands in an earlier line")]
    Duplicate,
    /// The name is defined already, or is `none`.
    #[error("the name is taken")]
    Name,
    /// The name is not defined in an earlier line.
    #[error("`{name}` is not defined in an earlier line")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The name is a member of two groups, or of one twice.
    #[error("`{name}` is a member of a group already")]
    Twice {
        /// The name.
        name: String,
    },
    /// The threshold is not a number from 1 to that of the members.
    #[error("the group asks for {threshold} of {members} members")]
    Threshold {
        /// The threshold as written.
        threshold: String,
        /// Number of members.
        members: usize,
    },
    /// A second quorum.
    #[error("there is a `quorum` already")]
    SecondQuorum,
    /// Too many lines of a kind.
    #[error("the policy has more than {POLICY_LINES_MAX} lines of this kind")]
    TooMany,
}

impl Policy {
    /// A policy that trusts one log, and requires no witness.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoLog`] if the key is that of a witness.
    pub fn of_log(key: VerifierKey) -> Result<Self, PolicyError> {
        let nobody = Self { logs: Vec::new(), witnesses: Vec::new(), groups: Vec::new(), quorum: Quorum::None };
        nobody.and_log(key)
    }

    /// Adds a trusted log.
    ///
    /// # Errors
    ///
    /// [`PolicyError::NoLog`] if the key is that of a witness.
    pub fn and_log(mut self, key: VerifierKey) -> Result<Self, PolicyError> {
        if key.kind() != KeyType::Log {
            return Err(PolicyError::NoLog { name: key.name().into() });
        }
        self.logs.push(key);
        Ok(self)
    }

    /// Parses a policy file.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] with the line and the rule.
    pub fn parse(file: &[u8]) -> Result<Self, PolicyError> {
        if file.len() > POLICY_BYTES_MAX {
            return Err(PolicyError::TooLong { bytes: file.len() });
        }
        let mut parser = Parser::default();
        for (line, number) in file.split(|&byte| byte == b'\n').zip(1..) {
            parser.line(line).map_err(|rule| PolicyError::Line { line: number, rule })?;
        }
        let quorum = parser.quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Self { logs: parser.logs, witnesses: parser.witnesses, groups: parser.groups, quorum })
    }

    /// Verifies a checkpoint against the policy.
    ///
    /// # Errors
    ///
    /// [`PolicyRefusal`] with the reason.
    pub fn check(&self, note: &[u8]) -> Result<Accepted, PolicyRefusal> {
        let keys = self.logs.iter().chain(self.witnesses.iter().map(|witness| &witness.key));
        let checkpoint = verify_checkpoint(note, keys)?;
        let time = |witness: &Witness| {
            let made = checkpoint.cosignatures.iter().find(|cosignature| cosignature.key == witness.key);
            made.map(|cosignature| cosignature.time)
        };
        let times: Vec<Option<u64>> = self.witnesses.iter().map(time).collect();
        let name = |witness: &Witness| String::from_utf8_lossy(&witness.name).into_owned();
        let found = self.witnesses.iter().zip(&times).filter_map(|(witness, time)| Some((name(witness), (*time)?)));
        let witnesses: Vec<(String, u64)> = found.collect();
        let met = match self.quorum {
            Quorum::None => true,
            Quorum::Of(member) => self.witnessed(member, &times),
        };
        if met { Ok(Accepted { checkpoint, witnesses }) } else { Err(PolicyRefusal::Quorum { count: witnesses.len() }) }
    }

    /// True if a witness, or enough members of a group, cosigned. The recursion ends: groups name earlier ones only.
    fn witnessed(&self, member: Member, times: &[Option<u64>]) -> bool {
        match member {
            Member::Witness(index) => times.get(index).is_some_and(Option::is_some),
            Member::Group(index) => self.groups.get(index).is_some_and(|group| {
                let count = group.members.iter().filter(|&&member| self.witnessed(member, times)).count();
                count >= group.threshold
            }),
        }
    }
}

/// A policy while its lines are read.
#[derive(Default)]
struct Parser {
    logs: Vec<VerifierKey>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<Quorum>,
    names: HashMap<Vec<u8>, Member>,
    /// Names that are members of a group.
    used: Vec<Vec<u8>>,
}

impl Parser {
    fn line(&mut self, line: &[u8]) -> Result<(), LineError> {
        if line.iter().any(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            return Err(LineError::Control);
        }
        let blank = |&byte: &u8| byte == b' ' || byte == b'\t';
        let words: Vec<&[u8]> = line.split(blank).filter(|word| !word.is_empty()).collect();
        let Some((&keyword, rest)) = words.split_first().filter(|(first, _)| !first.starts_with(b"#")) else {
            return Ok(());
        };
        match (keyword, rest) {
            (b"log", [key] | [key, _]) => self.log(key),
            (b"witness", [name, key] | [name, key, _]) => self.witness(name, key),
            (b"group", [name, threshold, members @ ..]) if !members.is_empty() => self.group(name, threshold, members),
            (b"quorum", [name]) => self.set_quorum(name),
            (b"log" | b"witness" | b"group" | b"quorum", _) => Err(LineError::Words),
            _ => Err(LineError::Keyword),
        }
    }

    fn log(&mut self, text: &[u8]) -> Result<(), LineError> {
        let key = key(text, KeyType::Log)?;
        if self.logs.iter().any(|other| other.public_key() == key.public_key()) {
            return Err(LineError::Duplicate);
        }
        has_room(&self.logs)?;
        self.logs.push(key);
        Ok(())
    }

    fn witness(&mut self, name: &[u8], text: &[u8]) -> Result<(), LineError> {
        let key = key(text, KeyType::Cosigner)?;
        if self.witnesses.iter().any(|other| other.key.public_key() == key.public_key()) {
            return Err(LineError::Duplicate);
        }
        has_room(&self.witnesses)?;
        self.define(name, Member::Witness(self.witnesses.len()))?;
        self.witnesses.push(Witness { name: name.into(), key });
        Ok(())
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], names: &[&[u8]]) -> Result<(), LineError> {
        has_room(&self.groups)?;
        let mut members = Vec::with_capacity(names.len());
        for &name in names {
            members.push(self.member(name)?);
            if self.used.iter().any(|used| used == name) {
                return Err(LineError::Twice { name: shown(name) });
            }
            self.used.push(name.into());
        }
        let number = |text: &[u8]| super::number(std::str::from_utf8(text).ok()?)?.try_into().ok();
        let threshold = match threshold {
            b"any" => Some(1),
            b"all" => Some(members.len()),
            text => number(text).filter(|count| (1..=members.len()).contains(count)),
        }
        .ok_or_else(|| LineError::Threshold { threshold: shown(threshold), members: members.len() })?;
        self.define(name, Member::Group(self.groups.len()))?;
        self.groups.push(Group { threshold, members });
        Ok(())
    }

    fn set_quorum(&mut self, name: &[u8]) -> Result<(), LineError> {
        if self.quorum.is_some() {
            return Err(LineError::SecondQuorum);
        }
        self.quorum = Some(if name == NONE { Quorum::None } else { Quorum::Of(self.member(name)?) });
        Ok(())
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), LineError> {
        if name == NONE || self.names.contains_key(name) {
            return Err(LineError::Name);
        }
        self.names.insert(name.into(), member);
        Ok(())
    }

    fn member(&self, name: &[u8]) -> Result<Member, LineError> {
        self.names.get(name).copied().ok_or_else(|| LineError::Unknown { name: shown(name) })
    }
}

/// The name of a quorum without witnesses.
const NONE: &[u8] = b"none";

fn has_room<T>(lines: &[T]) -> Result<(), LineError> {
    if lines.len() < POLICY_LINES_MAX { Ok(()) } else { Err(LineError::TooMany) }
}

fn key(text: &[u8], kind: KeyType) -> Result<VerifierKey, LineError> {
    let key: VerifierKey = String::from_utf8_lossy(text).parse()?;
    if key.kind() == kind { Ok(key) } else { Err(LineError::KeyType) }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::note::CosignerKey, *};
    use crate::tlog::{Hash, LedgerKey};

    fn witness(seed: u8) -> CosignerKey {
        CosignerKey::new(&format!("w{seed}.test"), [seed; 32]).unwrap()
    }

    fn log() -> LedgerKey {
        LedgerKey::new("log.test", [9; 32]).unwrap()
    }

    /// A checkpoint, cosigned by the witnesses with these seeds.
    fn cosigned(seeds: &[u8]) -> String {
        let note = log().sign(5, Hash([1; 32])).unwrap().note.to_string();
        let text = verify_checkpoint(note.as_bytes(), [&log().verifier_key().parse().unwrap()]).unwrap().text;
        seeds.iter().fold(note, |note, &seed| note + &witness(seed).cosign(&text, 1_000 + u64::from(seed)))
    }

    fn policy(lines: &str) -> String {
        let mut text = format!("# The example of the document.\nlog {} https://log.test/\n\n", log().verifier_key());
        for seed in 1..=6 {
            text += &format!("witness\tX{seed}  {} \n", witness(seed).verifier());
        }
        text + lines
    }

    const EXAMPLE: &str = "group X 2 X1 X2 X3\ngroup Y any X4 X5 X6\n  # both\ngroup X-and-Y all X Y\nquorum X-and-Y\n";

    #[test]
    fn quorums() {
        let table: [(&str, &[u8], bool); 12] = [
            (EXAMPLE, &[1, 2, 4], true),
            (EXAMPLE, &[3, 1, 6, 5], true),
            (EXAMPLE, &[1, 4], false),
            (EXAMPLE, &[1, 2, 3], false),
            (EXAMPLE, &[], false),
            ("quorum none", &[], true),
            ("quorum X2\n", &[2], true),
            ("quorum X2\n", &[1, 3], false),
            ("group G all X1 X2\nquorum G\n", &[1], false),
            ("group G all X1 X2\nquorum G\n", &[2, 1], true),
            ("group G any X1 X2\nquorum G\n", &[7], false),
            ("group G 1 X1\nquorum G\n", &[1], true),
        ];
        for (lines, seeds, met) in table {
            let accepted = Policy::parse(policy(lines).as_bytes()).unwrap().check(cosigned(seeds).as_bytes());
            match accepted {
                Ok(accepted) => {
                    assert!(met, "{lines}: {seeds:?}");
                    let known = seeds.iter().filter(|&&seed| seed <= 6).count();
                    assert_eq!(accepted.witnesses.len(), known);
                    assert!(accepted.witnesses.iter().all(|(name, time)| format!("X{}", time - 1_000) == *name));
                }
                Err(refusal) => assert!(!met && matches!(refusal, PolicyRefusal::Quorum { .. }), "{lines}: {refusal}"),
            }
        }
    }

    #[test]
    fn one_log_alone() {
        let key: VerifierKey = log().verifier_key().parse().unwrap();
        let alone = Policy::of_log(key.clone()).unwrap();
        assert_eq!(alone.check(cosigned(&[1]).as_bytes()).unwrap().checkpoint.log_keys, [key]);
        assert!(matches!(Policy::of_log(witness(1).verifier().clone()), Err(PolicyError::NoLog { .. })));
        let nobody = Policy::parse(b"quorum none").unwrap();
        assert!(matches!(nobody.check(cosigned(&[]).as_bytes()), Err(PolicyRefusal::Checkpoint(_))));
    }

    #[test]
    fn lines_that_break_a_rule() {
        let key = witness(1).verifier().to_string();
        let log_key = log().verifier_key().to_owned();
        let is = |lines: &str, expected: &dyn Fn(&LineError) -> bool| match Policy::parse(policy(lines).as_bytes()) {
            Err(PolicyError::Line { line: 10, rule }) => assert!(expected(&rule), "{lines}: {rule}"),
            other => panic!("{lines}: {other:?}"),
        };
        is("quorom none", &|rule| *rule == LineError::Keyword);
        is("quorum", &|rule| *rule == LineError::Words);
        is("quorum none none", &|rule| *rule == LineError::Words);
        is("group G any", &|rule| *rule == LineError::Words);
        is("quorum X9", &|rule| matches!(rule, LineError::Unknown { .. }));
        is("group none any X1", &|rule| *rule == LineError::Name);
        is("group X1 any X2", &|rule| *rule == LineError::Name);
        is("group G any none", &|rule| matches!(rule, LineError::Unknown { .. }));
        is("group G any G", &|rule| matches!(rule, LineError::Unknown { .. }));
        is("group G any X1 X1", &|rule| matches!(rule, LineError::Twice { .. }));
        for threshold in ["0", "3", "02", "+1", "some"] {
            is(&format!("group G {threshold} X1 X2"), &|rule| matches!(rule, LineError::Threshold { .. }));
        }
        is(&format!("witness Z {key}"), &|rule| *rule == LineError::Duplicate);
        is(&format!("log {log_key}"), &|rule| *rule == LineError::Duplicate);
        is(&format!("log {key}"), &|rule| *rule == LineError::KeyType);
        is(&format!("witness Z {log_key}"), &|rule| *rule == LineError::KeyType);
        is("log x", &|rule| matches!(rule, LineError::Key(_)));
        is("quorum none\r", &|rule| *rule == LineError::Control);
        let second = Policy::parse(policy("quorum none\nquorum none").as_bytes());
        assert!(matches!(second, Err(PolicyError::Line { line: 11, rule: LineError::SecondQuorum })));
        let twice = Policy::parse(policy("group G any X1\ngroup H any X1").as_bytes());
        assert!(matches!(twice, Err(PolicyError::Line { line: 11, rule: LineError::Twice { .. } })));
        assert!(matches!(Policy::parse(policy("").as_bytes()), Err(PolicyError::NoQuorum)));
        assert!(matches!(Policy::parse(&vec![b'\n'; POLICY_BYTES_MAX + 1]), Err(PolicyError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(
            bytes: Vec<u8>,
            lines in "((log|witness|group|quorum|#)( (none|any|all|[0-9]|X[1-6]|G)){0,4}\n){0,5}",
        ) {
            let _ = Policy::parse(&bytes);
            if let Ok(policy) = Policy::parse(policy(&lines).as_bytes()) {
                let _ = policy.check(cosigned(&[1, 2]).as_bytes());
            }
        }
    }
}
