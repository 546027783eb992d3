//! All limits on mailed input, which anyone can send, with their defaults and the reasons for them.

use crate::config::{form::Whole, options::options, units::Size};

/// Upper bound of most size options: one TiB.
const TIB: u64 = 1 << 40;

/// Maximum number of signatures, of SPF results, and of reasons kept of one row; more are counted and reported by a warning of
/// the row. A mail rarely has more than five signatures.
pub const AUTH_RESULTS: usize = 64;

/// Maximum size of the attachments of an Outlook message (.msg), in bytes, which are copied as it is read: its sectors are in any
/// order. Reports have some kilobytes; a report of a million rows has 10 MB and is not forwarded by hand.
pub const OUTLOOK_BYTES: usize = 1 << 20;

/// Maximum number of other files (a PDF, a readme) of one mail that are remembered until it is known whether a report is beside
/// them: ten times what a mail has. If there is none, the first are reported, and the mail is quarantined for these.
pub const OTHER_FILES: usize = 64;

options! {
    /// Limits per mail, and per sender and day. Sizes in bytes; each field is the setting `limits.<field>`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Limits: Default {
        /// Maximum size of a mail or file, and of all archives inside its archives together; a larger mail is not fetched.
        /// Providers refuse mails above 25 to 50 MiB.
        pub mail_bytes: u64 as Size<u64, 1_024, TIB> = 64 << 20,
        /// Maximum number of MIME parts of a mail, including those of nested mails. Reports have one to three parts; a
        /// digest of forwarded ones some dozens.
        pub mail_parts: u64 as Whole<u64, 1, 1_000_000> = 256,
        /// Maximum nesting of mails and archives. A forwarded mail with a zip that contains a gzip is three deep.
        pub nesting: u64 as Whole<u64, 1, 100> = 5,
        /// Maximum number of members of all archives of a mail. Reporters send one report per archive, a few send a handful.
        pub archive_entries: u64 as Whole<u64, 1, 1_000_000> = 256,
        /// Maximum size of one report, decompressed. The largest seen have some 90 MB; this is ten times that.
        pub document_bytes: u64 as Size<u64, 1_024, TIB> = 1 << 30,
        /// Maximum size of all decompressed data of one mail: two reports of the largest size.
        pub mail_inflated_bytes: u64 as Size<u64, 1_024, TIB> = 2 << 30,
        /// Maximum ratio of inflated to compressed size of a stream, checked beyond 1 MiB of output. Reports reach ratios of
        /// 10 to 60; deflate itself reaches 1,032, if all bytes are the same.
        pub inflation_ratio: u64 as Whole<u64, 1, 1_000_000> = 1000,
        /// Maximum nesting of XML elements. A report is six deep; wrappers add one or two.
        pub xml_depth: u64 as Whole<u64, 8, 1_000> = 32,
        /// Maximum size of one XML tag with all its attributes, however many: a larger one is refused, and so is a document
        /// that contains sixteen times as many bytes without a tag. Text between tags is read up to this size, and 4 KiB of
        /// it are kept: longer texts are shortened, with a warning. The longest valid tag declares a dozen namespaces in a
        /// kilobyte, the longest text is a comment of a few.
        pub xml_token_bytes: u64 as Size<u64, 1_024, 1_073_741_824> = 64 << 10,
        /// Maximum number of rows of one report; those before the limit are shipped. Ten times the largest report seen.
        pub rows: u64 as Whole<u64, 1, 1_000_000_000> = 10_000_000,
        /// Maximum size of the events of one report as JSON, estimated by an upper bound; the rows before the limit are
        /// shipped. Those of the largest reports seen have 400 MB; this is ten times that.
        pub document_event_bytes: u64 as Size<u64, 65_536, TIB> = 4 << 30,
        /// Maximum size of the events of all reports in one mail: two of the largest size. A report that would exceed it is
        /// not started.
        pub mail_event_bytes: u64 as Size<u64, 65_536, TIB> = 8 << 30,
        /// Maximum ratio of the size of a report's events to that of the report, decompressed, checked beyond 1 MiB of
        /// events; the rows before the limit are shipped. Each event repeats the head of the report: events of real reports
        /// have 1.0 to 5.6 times its size, and some 20 times if a row has only an address and a count.
        pub event_expansion: u64 as Whole<u64, 1, 1_000_000> = 64,
        /// Maximum number of mails of one sending domain (the organisational domain of the From address) that a source reads
        /// in a UTC day; further ones stay in the mailbox for the next day, or the next run, with one `ingest_error` per
        /// sender and day. Google and Microsoft send a mail a day for each domain: this is twenty times what a company with
        /// 5,000 domains gets from each. The day of reading counts: raise it for a first run over the mails of many years.
        pub sender_mails_per_day: u64 as Whole<u64, 1, 1_000_000_000_000> = 100_000,
        /// Maximum total size of these mails; one that doesn't fit is left for the next day. 40 KiB for each of 100,000
        /// mails; most have less than 10. A mail is ordinary if it needs at most a 2,000th of this and of each of the next
        /// three settings. Each sender has the same quotas again for all other, large mails, so that these can't use up the
        /// quotas of ordinary ones.
        pub sender_bytes_per_day: u64 as Size<u64, 1_024, TIB> = 4 << 30,
        /// Maximum size of all their decompressed data: 10,000,000 rows of 1,000 bytes, and some more. It takes a core some
        /// minutes to read.
        pub sender_inflated_bytes_per_day: u64 as Size<u64, 1_024, { 1 << 50 }> = 16 << 30,
        /// Maximum number of rows of all their reports. A report whose rows don't fit is not started, and its mail is left
        /// for the next day. One report of `limits.rows`, or a hundred rows for each of 100,000 mails.
        pub sender_rows_per_day: u64 as Whole<u64, 1, 1_000_000_000_000> = 10_000_000,
        /// Maximum size of the events of all their reports as JSON, estimated by an upper bound: 10,000,000 rows of 2 KiB,
        /// and some more.
        pub sender_event_bytes_per_day: u64 as Size<u64, 65_536, { 1 << 50 }> = 32 << 30,
        /// Maximum number of `ingest_error` events of one source per hour (UTC). Further ones are held back and counted: the
        /// next event, or the last one as the program ends, has their number as `suppressed`. Their mails are quarantined as
        /// usual. Real reporters do not send a thousand broken reports a day.
        pub errors_per_hour: u64 as Whole<u64, 1, 1_000_000_000> = 1_000,
    }
}
