//! Reading through the buffer of a reader.

use std::io::{self, BufRead};

/// `read` for a reader that implements [`BufRead`] natively.
pub(super) fn read_buffered(input: &mut impl BufRead, into: &mut [u8]) -> io::Result<usize> {
    let buffer = input.fill_buf()?;
    let amount = buffer.len().min(into.len());
    into[..amount].copy_from_slice(&buffer[..amount]);
    input.consume(amount);
    Ok(amount)
}
