//! Every cap on what anyone can mail in, with its default and the reason for it.

use crate::config::{form::Whole, options::options, units::Size};

/// No option takes more than a TiB.
const TIB: u64 = 1 << 40;

options! {
    /// What one mail may cost. Sizes in bytes; each field is the setting `limits.<field>`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Limits: Default {
        /// Providers refuse mails above 25 to 50 MiB; a larger one is not fetched.
        pub mail_bytes: u64 as Size<u64, 1_024, TIB> = 64 << 20,
        /// Reports come in one to three parts; a digest of forwarded ones in some dozens.
        pub mail_parts: u64 as Whole<u64, 1, 1_000_000> = 256,
        /// A forwarded mail with a zip that holds a gzip is three deep.
        pub nesting: u64 as Whole<u64, 1, 100> = 5,
        /// Reporters send one report in an archive, a few send a handful.
        pub archive_entries: u64 as Whole<u64, 1, 1_000_000> = 256,
        /// The largest reports seen inflate to some 90 MB; ten times that.
        pub document_bytes: u64 as Size<u64, 1_024, TIB> = 1 << 30,
        /// All that one mail may inflate to.
        pub mail_inflated_bytes: u64 as Size<u64, 1_024, TIB> = 2 << 30,
        /// Report XML deflates by 10 to 60; deflate itself can reach 1,032.
        pub inflation_ratio: u64 as Whole<u64, 1, 1_000_000> = 1000,
        /// The schema is six deep; wrappers add one or two.
        pub xml_depth: u64 as Whole<u64, 8, 1_000> = 32,
        /// The longest honest text is a comment of some kilobytes; longer ones fail the document.
        pub xml_token_bytes: u64 as Size<u64, 1_024, 1_073_741_824> = 64 << 10,
        /// Ten times the largest report seen.
        pub rows: u64 as Whole<u64, 1, 1_000_000_000> = 10_000_000,
        /// Signatures and SPF results kept of one row; more are counted and named in a warning.
        pub auth_results: u64 as Whole<u64, 1, 10_000> = 64,
    }
}
