//! An aggregate report without anything around it, by the whole way to its log lines; and again in small pieces, which
//! must read the same, but for repairs of what follows the report: the guard sees as much of that as it is handed at once.
#![no_main]

use std::io::BufReader;

use dmarc_shipper_fuzz::{Document, limits};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = limits();
    let whole = Document::read(|| bytes, &limits);
    let piece = 1 + bytes.len() % 7;
    let pieces = Document::read(|| BufReader::with_capacity(piece, bytes), &limits);
    assert_eq!(whole.without_warnings(), pieces.without_warnings());
});
