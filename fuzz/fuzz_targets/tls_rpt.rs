//! An SMTP TLS report without anything around it, by the whole way to its log lines.
#![no_main]

use std::sync::Arc;

use dmarc_shipper_fuzz::{limits, somewhere, tls_report};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tls_report(|| bytes, &limits(), Arc::new(somewhere())));
