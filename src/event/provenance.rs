//! Provenance of events.

use std::sync::Arc;

use jiff::Timestamp;

use crate::extract::MailAuth;

/// Provenance of a document: the mail or file that it came in, and the time. Shared by all its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    pub tenant: Option<String>,
    /// The source's name in the configuration.
    pub source: String,
    /// Folder of the mailbox, or path of the file.
    pub mailbox: Option<String>,
    pub mail_uid: Option<u32>,
    /// UIDVALIDITY of the mailbox; not a field, but part of the `event_id` of mails that were not fetched.
    pub uid_validity: Option<u32>,
    pub mail_message_id: Option<String>,
    pub mail_from: Option<String>,
    /// RFC 3339, UTC.
    pub mail_date: Option<String>,
    /// Authentication results of trusted mail servers about the sender; `None` if there are none.
    pub mail_auth: Option<Arc<MailAuth>>,
    /// The declared name of the attachment or file; data, never a path to follow.
    pub attachment: Option<String>,
    pub ingest: Timestamp,
}

impl Provenance {
    /// Provenance of a source and a time only, without a mail or file.
    pub fn of(source: impl Into<String>, ingest: Timestamp) -> Self {
        Self {
            tenant: None,
            source: source.into(),
            mailbox: None,
            mail_uid: None,
            uid_validity: None,
            mail_message_id: None,
            mail_from: None,
            mail_date: None,
            mail_auth: None,
            attachment: None,
            ingest,
        }
    }
}
