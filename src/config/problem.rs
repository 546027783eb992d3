//! Problems of a configuration: all of them at once, each with position, key and expected value.

use std::fmt;

use super::node::At;

/// All problems, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    problems: Vec<Problem>,
}

/// One problem. Never quotes a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(crate) at: At,
    /// Full key, such as `sinks.siem.tls.ca_file`; empty for the file as a whole.
    pub key: String,
    /// The value found and the value expected: lower case, no full stop.
    pub message: String,
}

impl Problems {
    pub(crate) fn new(file: &str, mut problems: Vec<Problem>) -> Self {
        problems.sort_by(|a, b| a.at.cmp(&b.at));
        Self { file: file.to_owned(), problems }
    }

    pub(crate) fn one(file: &str, problem: Problem) -> Self {
        Self { file: file.to_owned(), problems: vec![problem] }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter()
    }
}

impl Problem {
    pub(crate) fn new(at: At, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { at, key: key.into(), message: message.into() }
    }
}

/// One line per problem: `file:line:column: key: message`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match &problem.at {
                At::File => write!(f, "{}: ", self.file)?,
                At::Line { line, column } => write!(f, "{}:{line}:{column}: ", self.file)?,
                At::Argument(argument) => write!(f, "{argument}: ")?,
            }
            if !problem.key.is_empty() {
                write!(f, "{}: ", problem.key.escape_debug())?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
