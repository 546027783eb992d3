//! Limit on the size of a mail or file.

use crate::trouble::{Reason, Trouble};

/// Returns the trouble of a mail or file over `limits.mail_bytes`.
pub(super) fn too_large(what: &str, limit: u64) -> Trouble {
    Trouble::over(Reason::MailTooLarge, format_args!("{what}, in bytes,"), "limits.mail_bytes", limit)
}
