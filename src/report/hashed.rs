//! A reader that computes the SHA-256 of the bytes read through it.

use std::{
    cell::Cell,
    io::{self, BufRead, Read},
    rc::Rc,
};

use sha2::{Digest, Sha256};

/// Hashes and counts the bytes that are consumed from `source`.
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

    /// Returns the number of bytes consumed so far, as a shared counter that can be read meanwhile.
    pub fn count(&self) -> Rc<Cell<u64>> {
        self.count.clone()
    }

    /// Consumes the rest of the source. Returns the hash of all its bytes, and the error that ended it unless that was
    /// returned before.
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
        // The buffer is unchanged: the source returns the same bytes until they are consumed.
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
