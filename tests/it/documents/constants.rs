//! Values of named constants, read from the sources: `const NAME: T = …;`, and fields in `impl Default for T`.
//!
//! A name is `owner::NAME` or `owner::field`. The owner is the type whose `impl` block holds the constant, or the file
//! (`handle` for `id/handle.rs`, `grpc` for `protocol/grpc/mod.rs`), so that a name outlives a move of the file.
//! Constants are read and not imported, because most bounds are private to their modules.

use crate::tidy::{self, Source};

/// The value of a constant; times in milliseconds.
pub type Value = i128;

/// An expression, and the file in which its names are looked up first.
#[derive(Clone)]
struct Found {
    file: usize,
    expression: String,
}

pub struct Constants {
    sources: Vec<Source>,
}

impl Constants {
    /// Reads the constants of `src`, without those of tests.
    pub fn read() -> Self {
        let mut sources = tidy::sources("src");
        sources.retain(|source| !source.only_tests);
        Self { sources }
    }

    /// Returns the value of `owner::NAME`.
    pub fn value(&self, name: &str) -> Result<Value, String> {
        let (owner, name) = name.rsplit_once("::").ok_or_else(|| format!("{name} has no owner"))?;
        self.evaluate(&self.find(Some(owner), name, None)?)
    }

    /// The only definition of a name. Without an owner, a definition in the same file has precedence.
    fn find(&self, owner: Option<&str>, name: &str, from: Option<usize>) -> Result<Found, String> {
        let mut found = Vec::new();
        for (file, source) in self.sources.iter().enumerate() {
            for (at, expression) in definitions(&source.code, name) {
                if owner.is_none_or(|owner| owners(source, at).iter().any(|own| own == owner)) {
                    found.push(Found { file, expression });
                }
            }
        }
        if owner.is_none() && found.len() > 1 {
            found.retain(|found| Some(found.file) == from);
        }
        let owner = owner.unwrap_or_default();
        match <[Found; 1]>::try_from(found) {
            Ok([found]) => Ok(found),
            Err(found) => Err(format!("{owner}::{name} is defined {} times in src; it has to be once", found.len())),
        }
    }

    fn evaluate(&self, found: &Found) -> Result<Value, String> {
        let mut parser = Parser { constants: self, file: found.file, rest: &found.expression };
        let value = parser.expression(0)?;
        match parser.rest.trim() {
            "" => Ok(value),
            rest => Err(format!("cannot evaluate {}: {rest:?} is left", found.expression)),
        }
    }
}

/// Positions and expressions of the definitions of a name in a file.
fn definitions(code: &str, name: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(&format!("const {name}: ")) {
        let (Some(equals), Some(end)) = (code[at..].find(" = "), code[at..].find(';')) else { continue };
        if equals < end {
            found.push((at, code[at + equals + 3..at + end].to_owned()));
        }
    }
    for (at, _) in code.match_indices("impl Default for ") {
        let end = tidy::block_end(code, at + code[at..].find('{').unwrap_or_default());
        let field = [format!("{{ {name}: "), format!(", {name}: "), format!(" {name}: ")];
        let Some(start) = field.iter().find_map(|field| Some(at + code[at..end].find(field)? + field.len())) else {
            continue;
        };
        let expression = &code[start..end];
        let mut depth = 0_i32;
        let stop = expression.find(|character| {
            depth += i32::from(character == '(') - i32::from(character == ')');
            matches!(character, ',' | '}') && depth == 0
        });
        found.push((at, expression[..stop.unwrap_or(expression.len())].trim().to_owned()));
    }
    found
}

/// Possible owners of a definition at `at`.
fn owners(source: &Source, at: usize) -> Vec<String> {
    let path: Vec<&str> = source.path.trim_end_matches(".rs").split('/').collect();
    let file = path.iter().rev().find(|part| **part != "mod").map(|part| (*part).to_owned());
    // An `impl` block that is open at this place; the `impl` of a default begins here.
    let code = &source.code;
    let begun = code[..at].rfind("\nimpl").map(|line| line + 1);
    let start = if code[at..].starts_with("impl ") { Some(at) } else { begun };
    let own = start.and_then(|start| {
        let open = start + code[start..].find('{')?;
        let name = code[start..open].split_whitespace().last()?.to_owned();
        (tidy::block_end(code, open) > at).then_some(name)
    });
    // A constant of a type has no other owner than the type.
    own.map_or_else(|| file.into_iter().collect(), |own| vec![own])
}

/// Constant expressions, as far as bounds use them: integers, names, `+ - * / <<`, parentheses, `as`,
/// `Duration::from_…`.
struct Parser<'a> {
    constants: &'a Constants,
    file: usize,
    rest: &'a str,
}

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let taken = rest.strip_prefix(token);
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    fn word(&mut self) -> String {
        let rest = self.rest.trim_start();
        let end = rest.find(|character: char| !character.is_alphanumeric() && !matches!(character, '_' | ':'));
        let (word, rest) = rest.split_at(end.unwrap_or(rest.len()));
        self.rest = rest;
        word.to_owned()
    }

    fn expression(&mut self, weakest: usize) -> Result<Value, String> {
        const OPERATORS: [(&str, usize); 5] = [("<<", 0), ("+", 1), ("-", 1), ("*", 2), ("/", 2)];
        let mut left = self.operand()?;
        loop {
            let next = OPERATORS
                .iter()
                .find(|(token, strength)| *strength >= weakest && self.rest.trim_start().starts_with(token));
            let Some((token, strength)) = next else { return Ok(left) };
            self.take(token);
            let right = self.expression(strength + 1)?;
            let value = match *token {
                "<<" => u32::try_from(right).ok().and_then(|bits| left.checked_shl(bits)),
                "+" => left.checked_add(right),
                "-" => left.checked_sub(right),
                "*" => left.checked_mul(right),
                _ => left.checked_div(right),
            };
            left = value.ok_or_else(|| format!("{left} {token} {right} has no value"))?;
        }
    }

    fn operand(&mut self) -> Result<Value, String> {
        let mut value = if self.take("(") {
            let value = self.expression(0)?;
            self.take(")");
            value
        } else {
            self.named()?
        };
        while self.take("as ") {
            self.word();
        }
        self.rest = self.rest.trim_start();
        if self.rest.starts_with("..") {
            value = 0;
        }
        Ok(value)
    }

    fn named(&mut self) -> Result<Value, String> {
        let word = self.word();
        if let Ok(number) = word.replace('_', "").parse() {
            return Ok(number);
        }
        let names: Vec<&str> = word.split("::").collect();
        match names[..] {
            ["Duration", unit] if self.take("(") => {
                let value = self.expression(0)?;
                self.take(")");
                match unit {
                    "from_secs" => Ok(1_000 * value),
                    "from_millis" => Ok(value),
                    _ => Err(format!("{word} is not known")),
                }
            }
            [.., owner, name] => self.constants.evaluate(&self.constants.find(Some(owner), name, None)?),
            [name] => self.constants.evaluate(&self.constants.find(None, name, Some(self.file))?),
            [] => Err("nothing where a value should be".into()),
        }
    }
}
