//! Exit codes, after sysexits(3): for an init system, a CronJob or a person to act on.

/// Exit code of the process. If several apply, the worst is returned, in the order of `rank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// The command line is wrong.
    Usage = 64,
    /// `parse`, a `file` source or `--strict`: some input could not be read in full.
    Data = 65,
    /// An input file does not exist or can't be read.
    NoInput = 66,
    /// A peer can't be reached.
    Unavailable = 69,
    /// A fault in the program itself.
    Internal = 70,
    /// An output file can't be created.
    CannotCreate = 73,
    /// Writing failed.
    Io = 74,
    /// Something is undelivered; it is left where it was, and the next run tries again.
    Undelivered = 75,
    /// A peer refused the credentials.
    AuthenticationRefused = 77,
    /// The configuration is wrong.
    Configuration = 78,
}

impl Exit {
    /// Severity: problems that a person must fix rank above those that a retry may fix.
    fn rank(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Data => 1,
            Exit::NoInput => 2,
            Exit::Undelivered => 3,
            Exit::Unavailable => 4,
            Exit::Io => 5,
            Exit::CannotCreate => 6,
            Exit::AuthenticationRefused => 7,
            Exit::Configuration => 8,
            Exit::Usage => 9,
            Exit::Internal => 10,
        }
    }

    /// Returns the worse of the two.
    pub fn or_worse(self, other: Exit) -> Exit {
        if other.rank() > self.rank() { other } else { self }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        (exit as u8).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_that_need_a_person_rank_above_those_that_a_retry_fixes() {
        assert_eq!(Exit::Undelivered.or_worse(Exit::Configuration), Exit::Configuration);
        assert_eq!(Exit::AuthenticationRefused.or_worse(Exit::Undelivered), Exit::AuthenticationRefused);
        assert_eq!(Exit::Done.or_worse(Exit::Data), Exit::Data);
        assert_eq!(Exit::Done.or_worse(Exit::Done), Exit::Done);
    }
}
