//! The fields of a failure report, by the whole way to its log line.
#![no_main]

use std::sync::Arc;

use dmarc_shipper_fuzz::{failure_report, limits, somewhere};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| failure_report(|| bytes, &limits(), Arc::new(somewhere())));
