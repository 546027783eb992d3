//! Heuristics for mails that were meant as reports, whose damaged or unsupported attachments are then reported instead of
//! ignored.

use super::{header::Header, mime::Part};

/// Words of report subjects, in lower case (RFC 9990 section 4, RFC 8460 section 5.3, and common prefixes).
const SUBJECTS: &[&str] = &["report domain:", "report-id", "dmarc", "tls-rpt", "tlsrpt"];

/// Words in the local parts of reporters' addresses.
const SENDERS: &[&str] = &["dmarc", "tlsrpt", "tls-rpt"];

/// Endings of the names of reports and of what they are packed into, in lower case.
const ENDINGS: &[&str] = &[".xml", ".json", ".gz", ".gzip", ".zip", ".tar", ".tgz", ".zlib", ".z"];

/// Parts of the content types of these.
const TYPES: &[&str] =
    &["text/xml", "application/xml", "json", "gzip", "zip", "tlsrpt", "feedback-report", "x-tar", "x-compress"];

/// Files that macOS and Windows add to archives on their own, in lower case.
const CLUTTER: &[&str] = &[".ds_store", "thumbs.db", "desktop.ini"];

/// True if a mail's header marks it as a report.
pub(super) fn header(header: &Header) -> bool {
    let envelope = header.envelope.as_deref();
    let subject = envelope.and_then(|envelope| envelope.subject.as_deref()).unwrap_or_default();
    let sender = envelope.and_then(|envelope| envelope.from.as_deref()).unwrap_or_default();
    let local_part = sender.rsplit_once('@').map_or(sender, |(local_part, _)| local_part);
    contains(subject, SUBJECTS) || contains(local_part, SENDERS) || is_report_type(header)
}

/// True if a mail's header is that of a report itself, and not of a mail about reports.
pub(super) fn is_certain(header: &Header) -> bool {
    let subject = header.envelope.as_deref().and_then(|envelope| envelope.subject.as_deref()).unwrap_or_default();
    let subject = subject.trim_start().to_ascii_lowercase();
    let has_type = matches!(header.report_type.as_deref(), Some("feedback-report" | "tlsrpt"));
    (subject.starts_with("report domain:") && subject.contains("submitter:")) || (has_type && is_report_type(header))
}

/// True if a mail's part is marked as a report.
pub(super) fn part(part: &Part) -> bool {
    is_report_type(&part.header) || part.header.name.as_deref().is_some_and(name)
}

/// True if an attachment or archive member is named like a report: `receiver!domain!begin!end…` (RFC 9990 section 4), or
/// with `dmarc` in it.
pub(super) fn name(name: &str) -> bool {
    let mut fields = name.split('!').skip(2);
    let begins_with_digit =
        |field: Option<&str>| field.is_some_and(|field| field.starts_with(|c: char| c.is_ascii_digit()));
    let shaped = begins_with_digit(fields.next()) && begins_with_digit(fields.next());
    shaped || contains(name, &["dmarc"])
}

/// True if a file is named like a report or like what one is packed into. A mail is not: its content decides.
pub(super) fn file(path: &str) -> bool {
    let path = path.trim().to_ascii_lowercase();
    name(&path) || ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// True if an attachment is named or typed like a report, or says nothing of what it is.
pub(super) fn attachment(part: &Header) -> bool {
    let kind = part.kind.as_str();
    match &part.name {
        Some(name) if file(name) => true,
        None if matches!(kind, "" | "application/octet-stream") => true,
        _ => TYPES.iter().any(|word| kind.contains(word)),
    }
}

/// True for the name that Outlook gives to a message.
pub(super) fn is_outlook_message(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".msg")
}

/// True for a directory, and for a file that a system adds to archives on its own.
pub(super) fn is_clutter(path: &str) -> bool {
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path).to_ascii_lowercase();
    let in_mac = path.split(['/', '\\']).any(|folder| folder == "__MACOSX");
    path.ends_with('/') || in_mac || file.starts_with("._") || CLUTTER.contains(&file.as_str())
}

/// True if the content type is that of a report. Bounces and receipts are multipart/report too, but have another
/// `report-type`.
fn is_report_type(header: &Header) -> bool {
    match header.kind.as_str() {
        "multipart/report" => matches!(header.report_type.as_deref(), None | Some("feedback-report" | "tlsrpt")),
        "message/feedback-report" => true,
        kind => kind.starts_with("application/tlsrpt"),
    }
}

fn contains(text: &str, words: &[&str]) -> bool {
    let text = text.to_ascii_lowercase();
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn report_file_names_are_recognised() {
        for report in [
            "google.com!example.com!1614902400!1614988799.zip",
            "!example.com!1538204542!1538463818.xml",
            "a!b!1!2!99.xml.gz",
            "DMARC_2024.zip",
        ] {
            assert!(name(report), "{report}");
        }
        for other in ["invoice.xml", "wow!so!great!.zip", "a!b!c!d.xml", "2024!05!06.zip"] {
            assert!(!name(other), "{other}");
        }
    }
}
