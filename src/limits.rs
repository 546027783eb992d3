//! Every cap on what anyone can mail in, with its default and the reason for it.

use crate::config::{form::Whole, options::options, units::Size};

/// No option takes more than a TiB.
const TIB: u64 = 1 << 40;

options! {
    /// What one mail may cost, and what one sender in a day. Sizes in bytes; each field is the setting `limits.<field>`.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Limits: Default {
        /// Size of a mail or file, and of all archives inside the archives of one; a larger mail is not fetched. Providers
        /// refuse mails above 25 to 50 MiB.
        pub mail_bytes: u64 as Size<u64, 1_024, TIB> = 64 << 20,
        /// Parts of a mail, with those of the mails in it. Reports come in one to three parts; a digest of forwarded ones in
        /// some dozens.
        pub mail_parts: u64 as Whole<u64, 1, 1_000_000> = 256,
        /// Depth of mails and archives inside each other. A forwarded mail with a zip that holds a gzip is three deep.
        pub nesting: u64 as Whole<u64, 1, 100> = 5,
        /// Members of all archives of a mail. Reporters send one report in an archive, a few send a handful.
        pub archive_entries: u64 as Whole<u64, 1, 1_000_000> = 256,
        /// Size of one report, decompressed. The largest seen have some 90 MB; this is ten times that.
        pub document_bytes: u64 as Size<u64, 1_024, TIB> = 1 << 30,
        /// Size of all that comes out of the compressed parts of one mail: two reports of the largest size.
        pub mail_inflated_bytes: u64 as Size<u64, 1_024, TIB> = 2 << 30,
        /// How many times its size a compressed stream may inflate to, once it is past 1 MiB. Reports deflate by 10 to 60;
        /// deflate itself reaches 1,032, with nothing but one letter.
        pub inflation_ratio: u64 as Whole<u64, 1, 1_000_000> = 1000,
        /// Depth of XML elements inside each other. A report is six deep; wrappers add one or two.
        pub xml_depth: u64 as Whole<u64, 8, 1_000> = 32,
        /// Size of one XML tag with all its attributes, of whatever number: a larger one is refused, and so is a document
        /// that goes on for sixteen times as much without a tag. Text between tags is read up to it, and 4 KiB of that are
        /// kept: longer texts are shortened, with a warning. The longest honest tag declares a dozen namespaces in a
        /// kilobyte, the longest text is a comment of a few.
        pub xml_token_bytes: u64 as Size<u64, 1_024, 1_073_741_824> = 64 << 10,
        /// Rows of one report; those before the limit are shipped. Ten times the largest report seen.
        pub rows: u64 as Whole<u64, 1, 1_000_000_000> = 10_000_000,
        /// Size of the events of one report, as JSON, estimated from above; the rows before the limit are shipped. The largest
        /// reports seen come to 400 MB; this is ten times that.
        pub document_event_bytes: u64 as Size<u64, 65_536, TIB> = 4 << 30,
        /// Size of the events of all reports in one mail: two of the largest size. A report that goes beyond it is not begun.
        pub mail_event_bytes: u64 as Size<u64, 65_536, TIB> = 8 << 30,
        /// How many times the size of a report, decompressed, its events may take, once they are past 1 MiB; the rows before
        /// the limit are shipped. Events repeat what the head of the report says: those of real reports take 1.0 to 5.6 times
        /// its size, and some 20 where a row is an address and a count and nothing else.
        pub event_expansion: u64 as Whole<u64, 1, 1_000_000> = 64,
        /// Signatures, and SPF results, kept of one row; more are counted and named in a warning of the row. A mail rarely
        /// has more than five signatures.
        pub auth_results: u64 as Whole<u64, 1, 10_000> = 64,
        /// Mails of one sending domain (the organisational domain of the From address) that a source reads in a UTC day;
        /// further ones stay in the mailbox for the next day, or the next run, with one `ingest_error` for sender and day.
        /// Google and Microsoft send a mail a day for each domain: this is twenty times what a company with 5,000 domains
        /// gets from each. It is the day of reading that counts: raise it for a first run over the mails of many years.
        pub sender_mails_per_day: u64 as Whole<u64, 1, 1_000_000_000_000> = 100_000,
        /// Size of these mails together; one that doesn't fit is left for the next day. 40 KiB for each of 100,000 mails; most
        /// have less than 10. Of this and the next three settings a mail is ordinary that needs no more than a 2,000th of
        /// each, and a sender has as much again for the others, its large mails: they can't use up what ordinary ones need.
        pub sender_bytes_per_day: u64 as Size<u64, 1_024, TIB> = 4 << 30,
        /// Size of all that comes out of their compressed parts: 10,000,000 rows of 1,000 bytes, and some more. It takes a
        /// core some minutes to read.
        pub sender_inflated_bytes_per_day: u64 as Size<u64, 1_024, { 1 << 50 }> = 16 << 30,
        /// Rows of all their reports. A report whose rows don't fit into what is left is not begun, and its mail is left for
        /// the next day. One report of `limits.rows`, or a hundred rows for each of 100,000 mails.
        pub sender_rows_per_day: u64 as Whole<u64, 1, 1_000_000_000_000> = 10_000_000,
        /// Size of the events of all their reports, as JSON, estimated from above: 10,000,000 rows of 2 KiB, and some more.
        pub sender_event_bytes_per_day: u64 as Size<u64, 65_536, { 1 << 50 }> = 32 << 30,
        /// `ingest_error` events of one source in an hour (UTC). Further ones are held back and counted: the next that is
        /// told, or the last one as the program ends, carries their number as `suppressed`. Their mails are quarantined as
        /// ever. Honest reporters do not send a thousand broken reports in a day.
        pub errors_per_hour: u64 as Whole<u64, 1, 1_000_000_000> = 1_000,
    }
}
