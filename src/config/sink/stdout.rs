//! `type: stdout`: lines on standard output.

use super::kind_options::SinkOptions;
use crate::config::{decode::View, kinds::KindOptions, options::options, units::Size, url::Urls};

options! {
    /// `type: stdout`. Only data is written to stdout; everything else to stderr.
    #[derive(Debug, Clone)]
    pub struct Stdout: Default {
        /// Maximum size of a line; larger events are shrunk. Container runtimes split lines of more than 16 KiB.
        pub max_line_bytes: u32 as Size<u32, 480, 1_048_576> = 16_000,
    }
}

impl SinkOptions for Stdout {
    fn destination(&self) -> String {
        String::new()
    }

    fn shown(&self) -> String {
        String::new()
    }

    fn exclusive(&self) -> Option<(&'static str, String)> {
        Some(("type", "stdout".to_owned()))
    }

    fn takes_arrays(&self) -> bool {
        false
    }

    fn prints(&self) -> bool {
        true
    }
}

impl KindOptions for Stdout {
    const URLS: Urls = Urls {
        schemes: &["stdout"],
        examples: "stdout:",
        read: |url, node| {
            if !url.place.trim_start_matches('/').is_empty() {
                return Err(url.problem("has a name after stdout:, which has none; write stdout: alone"));
            }
            url.options(node)?;
            Ok(None)
        },
    };

    fn is_sensible(&self, _: &View<'_>) -> bool {
        true
    }
}
