//! Standard input and output, checked for being closed when the process was started.
//!
//! Before `main`, Rust's runtime opens /dev/null in place of each of the descriptors 0, 1 and 2 that is closed, so that no
//! file or socket gets such a number. From then on a closed stdout accepts everything and reports no error: mails would be
//! archived although nobody got their lines. It can't be detected any more either: /dev/null open for reading and writing
//! is also what Python's `subprocess.DEVNULL` and daemon(3) give a program on purpose. So the descriptors are checked
//! before the runtime starts.
//!
//! `std::io::stdout` and `stdin` are banned for the same reason (.clippy.toml): they treat EBADF, such as that of a stdout
//! open for reading only, as success.

use std::{
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, BorrowedFd},
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::{
    fs::{FileType, OFlags, fcntl_getfl, fstat, major, minor},
    io::{Errno, fcntl_getfd},
    stdio::{stdin, stdout},
};

static STDIN_CLOSED: AtomicBool = AtomicBool::new(false);
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

/// Called by the loader before `main`, and so before the start of Rust's runtime.
#[used]
#[allow(
    unsafe_code,
    reason = "a function that only asks the kernel and sets two flags needs nothing that main sets up"
)]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = note_what_is_closed;

extern "C" fn note_what_is_closed() {
    for (closed, descriptor) in [(&STDIN_CLOSED, stdin()), (&STDOUT_CLOSED, stdout())] {
        closed.store(fcntl_getfd(descriptor) == Err(Errno::BADF), Ordering::Relaxed);
    }
}

/// Returns standard output, unbuffered, under a descriptor of its own.
///
/// # Errors
///
/// It was closed when the process started, or nothing can be written to it.
pub fn output() -> io::Result<File> {
    usable(&STDOUT_CLOSED, stdout(), OFlags::RDONLY, "open for reading only")
}

/// Returns standard input, unbuffered, under a descriptor of its own.
///
/// # Errors
///
/// It was closed when the process started, or nothing can be read from it.
pub fn input() -> io::Result<File> {
    usable(&STDIN_CLOSED, stdin(), OFlags::WRONLY, "open for writing only")
}

fn usable(closed: &AtomicBool, descriptor: BorrowedFd<'_>, wrong: OFlags, so: &str) -> io::Result<File> {
    if closed.load(Ordering::Relaxed) {
        return Err(io::Error::other("it was closed when the program was started"));
    }
    if fcntl_getfl(descriptor)?.intersection(OFlags::RWMODE) == wrong {
        return Err(io::Error::other(format!("it is {so}")));
    }
    Ok(descriptor.try_clone_to_owned()?.into())
}

/// Prints all of `text` on standard output.
///
/// # Errors
///
/// It can't be written, in full or at all.
pub fn print(text: &str) -> io::Result<()> {
    output()?.write_all(text.as_bytes())
}

/// True for /dev/null, which discards what is written.
pub fn discards(output: impl AsFd) -> bool {
    fstat(output).is_ok_and(|of| {
        FileType::from_raw_mode(of.st_mode) == FileType::CharacterDevice
            && (major(of.st_rdev), minor(of.st_rdev)) == (1, 3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dev_null_counts_as_discarding() {
        let opened = |path| File::options().write(true).open(path).unwrap();
        assert!(discards(opened("/dev/null")));
        assert!(!discards(opened("/dev/zero")) && !discards(tempfile::tempfile().unwrap()));
        assert!(!discards(io::pipe().unwrap().1));
    }
}
