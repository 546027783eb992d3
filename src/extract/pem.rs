//! Finds the base64 text in a PEM file (RFC 7468).

use std::ops::Range;

use memchr::memmem;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// Returns the range of the base64 text between the first two of the lines that enclose it; the second may be missing.
pub(super) fn body(text: &[u8]) -> Option<Range<usize>> {
    let label = memmem::find(text, BEGIN)?;
    let begin = label + memchr::memchr(b'\n', &text[label..])? + 1;
    let end = memmem::find(&text[begin..], END).map_or(text.len(), |length| begin + length);
    Some(begin..end)
}
