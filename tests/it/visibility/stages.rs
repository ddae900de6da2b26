//! Identifiers that change during a run, and the stage that an answer shows.
//!
//! ```text
//! steady    version 1 - version 2 - version 3 - ...
//! passing   nothing - version 1 - ... - version 4 - retired - (the next identifier)
//! above     nothing - only a name below it - version 1 - ... - version 4 - (the next identifier)
//! ```
//!
//! Stages are numbers; later stages are greater. At the end of its life an identifier is replaced by that of the next
//! generation, whose name is asked for before anything is registered.

use touchmark::protocol::grpc::pb;

use crate::support::{create, replace, retire, value};

/// Number of identifiers that change at the same time, some of each kind.
pub const SUBJECTS: usize = 8;
/// Last version of an identifier that is replaced.
const VERSIONS: u32 = 4;
/// Stage of a retired identifier, later than any version.
pub const RETIRED: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq)]
enum Life {
    Steady,
    Passing,
    Above,
}

fn life(subject: usize) -> Life {
    match subject {
        0..2 => Life::Steady,
        2..5 => Life::Passing,
        _ => Life::Above,
    }
}

/// Generation and stage of a subject.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    pub subject: usize,
    pub generation: u32,
    pub stage: u32,
}

impl Position {
    pub fn first(subject: usize) -> Self {
        Self { subject, generation: 0, stage: 0 }
    }

    /// Generation and stage in one number.
    pub fn packed(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.stage)
    }

    pub fn unpacked(subject: usize, packed: u64) -> Self {
        Self { subject, generation: (packed >> 32) as u32, stage: packed as u32 }
    }

    pub fn identifier(self) -> String {
        let Self { subject, generation, .. } = self;
        match life(subject) {
            Life::Steady => format!("88.118/s{subject}"),
            Life::Passing => format!("88.118.{generation}/p{subject}"),
            Life::Above => format!("2.999.{subject}.{generation}"),
        }
    }

    /// The DNS name of the identifier (`protocol::dns`).
    pub fn name(self) -> String {
        let Self { subject, generation, .. } = self;
        match life(subject) {
            Life::Steady => format!("s{subject}._.118.88.hdl.id.test."),
            Life::Passing => format!("p{subject}._.{generation}.118.88.hdl.id.test."),
            Life::Above => format!("{generation}.{subject}.999.2.oid.id.test."),
        }
    }

    /// The version that a receipt names at this stage.
    pub fn version(self) -> u32 {
        match (life(self.subject), self.stage) {
            (Life::Above, 1) => 1,
            (Life::Above, stage) => stage - 1,
            (_, RETIRED) => VERSIONS + 1,
            (_, stage) => stage,
        }
    }

    /// The next stage, and the command that leads to it, if it needs one.
    pub fn next(self) -> (Option<pb::Command>, Self) {
        let identifier = self.identifier();
        let numbered = |number: u32| vec![value(1, "VERSION", number.to_string())];
        let following = Self { generation: self.generation + 1, stage: 0, ..self };
        let (command, stage) = match (life(self.subject), self.stage) {
            (Life::Steady | Life::Passing, 0) => (create(&identifier, numbered(1)), 1),
            (Life::Passing, RETIRED) => return (None, following),
            (Life::Passing, VERSIONS) => (retire(&identifier), RETIRED),
            (Life::Steady | Life::Passing, stage) => (replace(&identifier, numbered(stage + 1)), stage + 1),
            (Life::Above, 0) => (create(&format!("{identifier}.1"), numbered(1)), 1),
            (Life::Above, 1) => (create(&identifier, numbered(1)), 2),
            (Life::Above, stage) if stage > VERSIONS => return (None, following),
            (Life::Above, stage) => (replace(&identifier, numbered(stage)), stage + 1),
        };
        (Some(command), Self { stage, ..self })
    }
}

/// State that an answer shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Seen {
    /// There is no such name.
    NoName,
    /// The name exists without records, and was not retired.
    NoData,
    /// The name exists without records; without EDNS the answer does not tell whether it was retired.
    NoDataOrRetired,
    /// Nothing is registered; the answer does not tell whether there are names below, as over gRPC.
    NotFound,
    Retired,
    Version(u32),
}

impl Seen {
    /// The latest stage of a subject at which a right answer shows this state.
    pub fn stage(self, subject: usize) -> u32 {
        match (self, life(subject)) {
            (Self::NoName, _) | (Self::NotFound, Life::Steady | Life::Passing) => 0,
            (Self::NotFound | Self::NoData | Self::NoDataOrRetired, Life::Above) => 1,
            (Self::Retired | Self::NoDataOrRetired, Life::Passing) => RETIRED,
            (Self::Version(version), Life::Above) => version + 1,
            (Self::Version(version), _) => version,
            (seen, _) => panic!("{seen:?} about subject {subject}"),
        }
    }
}

#[test]
fn older_stages_are_told_from_newer_ones() {
    for subject in 0..SUBJECTS {
        let mut position = Position::first(subject);
        for _ in 0..VERSIONS + 4 {
            let (command, next) = position.next();
            let is_later = (next.generation, next.stage) > (position.generation, position.stage);
            assert!(is_later && Position::unpacked(subject, next.packed()) == next, "{position:?} {next:?}");
            // An earlier version is recognized as older.
            if command.is_some() && next.stage != RETIRED && next.version() > 1 {
                assert_eq!(Seen::Version(next.version()).stage(subject), next.stage);
                assert!(Seen::Version(next.version() - 1).stage(subject) < next.stage);
            }
            if next.stage > 0 {
                assert!(Seen::NoName.stage(subject) < next.stage);
            }
            position = next;
        }
    }
    // With only a name below it, the name has no data; with a version, it has.
    assert_eq!((Seen::NoData.stage(SUBJECTS - 1), Seen::Version(1).stage(SUBJECTS - 1)), (1, 2));
    assert!(Seen::Version(VERSIONS).stage(2) < Seen::Retired.stage(2));
}
