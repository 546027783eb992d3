//! A file that someone pointed at, by the whole way to its log lines.
#![no_main]

use dmarc_shipper::extract::Origin;
use dmarc_shipper_fuzz::through;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| through(bytes, Origin::File { name: "x" }));
