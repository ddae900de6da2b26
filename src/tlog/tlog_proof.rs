//! The file format of a proof (C2SP tlog-proof, version 1):
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>            left out when there is nothing
//! index <decimal>
//! <base64 hash>             one a line, the leaf's sibling first
//!
//! <checkpoint with its signatures, to the end>
//! ```
//!
//! Each proof has one spelling: a file that is parsed and written again has the same bytes. The log's own rules give
//! the meaning of `extra`; nothing in a file is believed before it is verified.

use data_encoding::BASE64;

use super::{Hash, hash, merkle::PATH_HASHES_MAX, note::CHECKPOINT_BYTES_MAX, number};

/// Maximum length of a file, in bytes: a record of 1 MiB is 1.8 MiB after base64 twice.
pub const PROOF_BYTES_MAX: usize = 4 << 20;

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Content of a proof file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TlogProof {
    /// Data of the log, by its own rules; empty for none.
    pub extra: Vec<u8>,
    /// The index of the entry.
    pub index: u64,
    /// The inclusion path, from the leaf's sibling to the child of the root.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// Error of a file that is no proof.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlogProofError {
    /// The file is too long.
    #[error("the file has {bytes} bytes; a proof has {PROOF_BYTES_MAX} at most")]
    TooLong {
        /// Length of the file, in bytes.
        bytes: usize,
    },
    /// The file is not UTF-8.
    #[error("the file is not text")]
    NotText,
    /// A line breaks a rule.
    #[error("line {line} of the file: {what}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// The rule that is broken.
        what: &'static str,
    },
}

impl TlogProof {
    /// Parses a file.
    ///
    /// # Errors
    ///
    /// [`TlogProofError`] with the line and the rule.
    pub fn parse(file: &[u8]) -> Result<Self, TlogProofError> {
        if file.len() > PROOF_BYTES_MAX {
            return Err(TlogProofError::TooLong { bytes: file.len() });
        }
        let text = std::str::from_utf8(file).map_err(|_| TlogProofError::NotText)?;
        let mut lines = Lines { rest: text, line: 0 };
        if lines.next()? != HEADER {
            return Err(lines.bad("it is not `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = lines.next()?;
        let mut extra = Vec::new();
        if let Some(encoded) = line.strip_prefix("extra ") {
            extra = BASE64.decode(encoded.as_bytes()).map_err(|_| lines.bad("`extra` is not base64"))?;
            if extra.is_empty() {
                return Err(lines.bad("`extra` is empty"));
            }
            line = lines.next()?;
        }
        let index = line.strip_prefix("index ").and_then(number);
        let index = index.ok_or_else(|| lines.bad("it is not `index` and a number"))?;
        let mut path = Vec::new();
        loop {
            match lines.next()? {
                "" => break,
                _ if path.len() == PATH_HASHES_MAX => return Err(lines.bad("it is one hash more than a tree is high")),
                line => path.push(hash(line).ok_or_else(|| lines.bad("it is not a hash in base64"))?),
            }
        }
        if lines.rest.is_empty() || lines.rest.len() > CHECKPOINT_BYTES_MAX {
            return Err(lines.bad("no checkpoint follows, or one that is too long"));
        }
        Ok(Self { extra, index, path, checkpoint: lines.rest.into() })
    }

    /// Writes the file.
    pub fn write(&self) -> String {
        let mut file = format!("{HEADER}\n");
        if !self.extra.is_empty() {
            file += &format!("extra {}\n", BASE64.encode(&self.extra));
        }
        file += &format!("index {}\n", self.index);
        for hash in &self.path {
            file += &(BASE64.encode(&hash.0) + "\n");
        }
        file + "\n" + &self.checkpoint
    }
}

/// True if a file begins with the header of a proof.
pub fn is_proof(file: &[u8]) -> bool {
    file.strip_prefix(HEADER.as_bytes()).is_some_and(|rest| rest.starts_with(b"\n"))
}

struct Lines<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a str, TlogProofError> {
        self.line += 1;
        let (line, rest) = self.rest.split_once('\n').ok_or_else(|| self.bad("it has no end"))?;
        self.rest = rest;
        Ok(line)
    }

    fn bad(&self, what: &'static str) -> TlogProofError {
        TlogProofError::Line { line: self.line, what }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FILE: &str = "c2sp.org/tlog-proof@v1\nextra AAEC\nindex 73894\n\
        gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\nB95lDa8R83lS8n0eG+o0buTxRKQTYFi//1U8anccXmA=\n\n\
        example.com/fancylog\n109482\n";

    #[test]
    fn a_file_is_taken_apart_and_written_again() {
        let proof = TlogProof::parse(FILE.as_bytes()).unwrap();
        assert_eq!((proof.extra.as_slice(), proof.index, proof.path.len()), (&[0, 1, 2][..], 73_894, 2));
        assert_eq!(proof.checkpoint, "example.com/fancylog\n109482\n");
        assert_eq!(proof.write(), FILE);
        assert!(is_proof(FILE.as_bytes()));
        let least = "c2sp.org/tlog-proof@v1\nindex 0\n\nx";
        assert_eq!(TlogProof::parse(least.as_bytes()).unwrap().write(), least);
    }

    #[test]
    fn the_rest_is_refused_with_the_line() {
        for (from, to, line) in [
            ("@v1", "@v2", 1),
            ("@v1\n", "@v1\r\n", 1),
            ("extra AAEC", "extra AAE", 2),
            ("extra AAEC", "extra ", 2),
            ("extra AAEC\n", "extra AAEC\nextra AAEC\n", 3),
            ("index 73894", "index 073894", 3),
            ("index 73894", "index +73894", 3),
            ("index 73894", "index 18446744073709551616", 3),
            ("index 73894\n", "", 3),
            ("gSKy", "gSK", 4),
            ("PlQ=", "PlR=", 4),
            ("\n\nexample", "\nexample", 6),
            ("\n\nexample.com/fancylog\n109482\n", "\n\n", 6),
        ] {
            assert!(FILE.contains(from), "{from}");
            match TlogProof::parse(FILE.replacen(from, to, 1).as_bytes()) {
                Err(TlogProofError::Line { line: found, .. }) => assert_eq!(found, line, "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
        let high = format!("{HEADER}\nindex 0\n{}\nx", "gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=\n".repeat(65));
        assert!(matches!(TlogProof::parse(high.as_bytes()), Err(TlogProofError::Line { line: 67, .. })));
        assert!(matches!(TlogProof::parse(&vec![b'x'; PROOF_BYTES_MAX + 1]), Err(TlogProofError::TooLong { .. })));
        assert_eq!(TlogProof::parse(&[0xff]), Err(TlogProofError::NotText));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            extra: Vec<u8>,
            index: u64,
            path in prop::collection::vec(any::<[u8; 32]>(), 0..65),
            checkpoint in "[a-z\n]{1,50}",
        ) {
            let proof = TlogProof { extra, index, path: path.into_iter().map(Hash).collect(), checkpoint };
            prop_assert_eq!(TlogProof::parse(proof.write().as_bytes()), Ok(proof));
        }

        #[test]
        fn what_is_read_has_one_spelling(at in 0..FILE.len(), byte: u8) {
            let mut file = FILE.as_bytes().to_vec();
            file[at] = byte;
            if let Ok(proof) = TlogProof::parse(&file) {
                let written = proof.write();
                prop_assert_eq!(written.as_bytes(), &file[..]);
            }
        }
    }
}
