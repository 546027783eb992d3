//! The SHA-256 of what passes by.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

use sha2::{Digest, Sha256};

/// Hashes the bytes that are taken from `source`, and counts them.
pub struct Hashed<R> {
    source: R,
    hash: Sha256,
    failed: bool,
    count: Rc<Cell<u64>>,
}

impl<R: BufRead> Hashed<R> {
    pub fn new(source: R) -> Self {
        Self { source, hash: Sha256::new(), failed: false, count: Rc::default() }
    }

    /// The number of bytes taken so far, to be looked at while they are.
    pub fn count(&self) -> Rc<Cell<u64>> {
        self.count.clone()
    }

    /// Takes what is left, and gives the hash of all that came, and the error that ended it if none was seen before.
    pub fn finish(mut self) -> ([u8; 32], Option<io::Error>) {
        let mut failure = None;
        while !self.failed {
            match self.fill_buf() {
                Ok([]) => break,
                Ok(available) => {
                    let length = available.len();
                    self.consume(length);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failure = Some(error),
            }
        }
        (self.hash.finalize().into(), failure)
    }
}

impl<R: BufRead> BufRead for Hashed<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let filled = self.source.fill_buf();
        self.failed |= filled.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        filled
    }

    fn consume(&mut self, amount: usize) {
        // What was filled is filled still: the source gives the same again until it is consumed.
        if let Ok(available) = self.source.fill_buf() {
            self.hash.update(&available[..amount.min(available.len())]);
        }
        self.count.set(self.count.get() + amount as u64);
        self.source.consume(amount);
    }
}

impl<R: BufRead> Read for Hashed<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(into)?;
        self.consume(read);
        Ok(read)
    }
}
