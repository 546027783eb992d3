//! Every cap on what anyone can mail in, with its default and the reason for it.

/// What one mail may cost. Sizes in bytes; each field is the setting `limits.<field>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Providers refuse mails above 25 to 50 MiB; a larger one is not fetched.
    pub mail_bytes: u64,
    /// Reports come in one to three parts; a digest of forwarded ones in some dozens.
    pub mail_parts: u64,
    /// A forwarded mail with a zip that holds a gzip is three deep.
    pub nesting: u64,
    /// Reporters send one report in an archive, a few send a handful.
    pub archive_entries: u64,
    /// The largest reports seen inflate to some 90 MB; ten times that.
    pub document_bytes: u64,
    /// All that one mail may inflate to.
    pub mail_inflated_bytes: u64,
    /// Report XML deflates by 10 to 60; deflate itself can reach 1,032.
    pub inflation_ratio: u64,
    /// The schema is six deep; wrappers add one or two.
    pub xml_depth: u64,
    /// The longest honest text is a comment of some kilobytes; longer ones fail the document.
    pub xml_token_bytes: u64,
    /// Ten times the largest report seen.
    pub rows: u64,
    /// Signatures and SPF results kept of one row; more are counted and named in a warning.
    pub auth_results: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            mail_bytes: 64 << 20,
            mail_parts: 256,
            nesting: 5,
            archive_entries: 256,
            document_bytes: 1 << 30,
            mail_inflated_bytes: 2 << 30,
            inflation_ratio: 1000,
            xml_depth: 32,
            xml_token_bytes: 64 << 10,
            rows: 10_000_000,
            auth_results: 64,
        }
    }
}
