//! Parses the machine-readable part of a failure report: fields as in a mail header (RFC 5965 section 3, RFC 6591 section 3,
//! RFC 9991), or the fields of the text that some mail servers send instead.
//!
//! Of the original mail that the report is about, only From and Message-ID are read: all else is ignored, even if a reporter
//! puts it among the fields.

pub(in crate::report) mod report;

use std::io::BufRead;

use crate::report::encoding::Utf8;
use crate::report::hashed::Hashed;
use crate::report::scanned::{Report, Scan, after_end, late};
use crate::report::values::{blank_trimmed, keyword};
use crate::report::warnings::{Repair, Warnings};
use crate::report::weight;
use crate::trouble::{Reason, Trouble};

pub use report::Failure;

/// Maximum number of bytes read of a report. The fields take some kilobytes; only a canonicalised body in base64 can be
/// longer, and neither that nor anything after it is needed.
const HELD: u64 = 1 << 20;
/// Maximum number of bytes kept of a field.
const TEXT: usize = 4 << 10;
/// Maximum number of values kept of a field that may occur repeatedly.
const LIST: usize = 16;

/// Letters of the values of Feedback-Type that are not about authentication (RFC 5965 section 7.3, RFC 6430, and opt-out as
/// some write it), whatever other fields the report has.
const OTHER_TYPES: &[&str] = &["abuse", "fraud", "notspam", "optout", "optoutlist", "other", "virus"];

/// Beginnings of actions in human-readable text, and their Delivery-Result (RFC 6591 section 3.2.2).
const ACTIONS: &[(&str, &str)] = &[
    ("reject", "reject"),
    ("bounce", "reject"),
    ("refuse", "reject"),
    ("quarantine", "policy"),
    ("junk", "spam"),
    ("accept", "delivered"),
    ("deliver", "delivered"),
    ("pass", "delivered"),
];

/// Words for an identifier that is aligned, and for one that is not.
const ALIGNED: &[&str] = &["yes", "y", "true", "aligned", "pass", "passed", "ok", "1"];
const UNALIGNED: &[&str] =
    &["no", "n", "false", "none", "not aligned", "unaligned", "misaligned", "fail", "failed", "0"];

pub(in crate::report) fn scan(open: impl BufRead) -> Result<Scan, Trouble> {
    let mut source = Hashed::new(open);
    let mut warnings = Warnings::default();
    let mut drafted = Draft::default();
    for field in fields(&read(&mut source, &mut warnings)?, &mut warnings) {
        drafted.take(field, &mut warnings);
    }
    let mut report = drafted.finish(&mut warnings)?;
    let (read, count) = (source.count().get(), source.count());
    let (sha256, failure) = source.finish();
    if count.get() > HELD {
        warnings.note(Repair::TextShortened, "the report");
    }
    warnings.add(late(failure));
    report.warnings = warnings.texts();
    let event_bytes = weight::failure(read.min(HELD), &report.warnings);
    let report = Report::Failure(Box::new(report));
    Ok(Scan {
        sha256,
        report,
        rows: 1,
        skipped: 0,
        event_bytes,
        is_clean: false,
        held: None,
        has_more: false,
        damage: None,
        left_out: warnings.left_out(),
    })
}

fn read(source: impl BufRead, warnings: &mut Warnings) -> Result<String, Trouble> {
    let mut utf8 = Utf8::new(source.take(HELD));
    let mut text = String::new();
    loop {
        match utf8.read(&mut text, warnings) {
            Ok(true) => {}
            Ok(false) => return Ok(text),
            Err(error) if text.is_empty() => return Err(Trouble::from_io(&error, Reason::NotAReport)),
            Err(error) => {
                let trouble = Trouble::from_io(&error, Reason::NotAReport);
                warnings.note(after_end(&trouble), &trouble.detail);
                return Ok(text);
            }
        }
    }
}

/// A field: its name in lower case with hyphens for spaces, and its unfolded value.
struct Told {
    name: String,
    value: String,
}

fn fields(text: &str, warnings: &mut Warnings) -> Vec<Told> {
    let mut fields: Vec<Told> = Vec::new();
    let mut wanted = false;
    for line in text.lines() {
        if line.starts_with([' ', '\t']) && !line.trim().is_empty() {
            if let Some(field) = fields.last_mut().filter(|_| wanted) {
                append(&mut field.value, line, warnings);
            }
        } else if let Some((name, value)) = line.split_once(':').filter(|(name, _)| is_name(name)) {
            let name = name.trim().to_ascii_lowercase().replace(' ', "-");
            wanted = slot(&name).is_some();
            if wanted {
                let mut field = Told { name, value: String::new() };
                append(&mut field.value, value, warnings);
                fields.push(field);
            }
        } else if !line.trim().is_empty() {
            warnings.note(Repair::FoldedWrong, "");
        }
    }
    fields
}

fn is_name(name: &str) -> bool {
    (1..=40).contains(&name.trim().len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == ' ')
}

fn append(value: &mut String, more: &str, warnings: &mut Warnings) {
    let more = blank_trimmed(more);
    if !value.is_empty() && !more.is_empty() {
        value.push(' ');
    }
    let end = more.floor_char_boundary(TEXT.saturating_sub(value.len()));
    if end < more.len() {
        warnings.note(Repair::TextShortened, "");
    }
    value.push_str(more.get(..end).unwrap_or_default());
}

/// Parser state.
#[derive(Default)]
struct Draft {
    report: Failure,
    /// Fields of human-readable text: alignment of SPF and DKIM, and policy and action.
    spf_alignment: Option<String>,
    dkim_alignment: Option<String>,
    dmarc_results: Option<String>,
}

enum Slot {
    One(fn(&mut Draft) -> &mut Option<String>),
    Many(fn(&mut Draft) -> &mut Vec<String>),
}

fn slot(name: &str) -> Option<Slot> {
    Some(match name {
        "feedback-type" => Slot::One(|draft| &mut draft.report.feedback_type),
        "version" => Slot::One(|draft| &mut draft.report.version),
        "user-agent" => Slot::One(|draft| &mut draft.report.user_agent),
        "auth-failure" => Slot::One(|draft| &mut draft.report.auth_failure),
        "identity-alignment" => Slot::One(|draft| &mut draft.report.identity_alignment),
        "delivery-result" => Slot::One(|draft| &mut draft.report.delivery_result),
        "authentication-results" => Slot::Many(|draft| &mut draft.report.authentication_results),
        "original-mail-from" => Slot::One(|draft| &mut draft.report.original_mail_from),
        "original-rcpt-to" => Slot::Many(|draft| &mut draft.report.original_rcpt_to),
        "original-envelope-id" => Slot::One(|draft| &mut draft.report.original_envelope_id),
        "source-ip" | "sender-ip-address" => Slot::One(|draft| &mut draft.report.source_ip),
        "reported-domain" | "sender-domain" => Slot::One(|draft| &mut draft.report.reported_domain),
        "reporting-mta" => Slot::One(|draft| &mut draft.report.reporting_mta),
        "arrival-date" | "received-date" => Slot::One(|draft| &mut draft.report.arrival_date),
        "incidents" => Slot::One(|draft| &mut draft.report.incidents),
        "dkim-domain" => Slot::One(|draft| &mut draft.report.dkim_domain),
        "dkim-identity" => Slot::One(|draft| &mut draft.report.dkim_identity),
        "dkim-selector" => Slot::One(|draft| &mut draft.report.dkim_selector),
        "spf-dns" => Slot::Many(|draft| &mut draft.report.spf_dns),
        "from" => Slot::One(|draft| &mut draft.report.from),
        "message-id" => Slot::One(|draft| &mut draft.report.message_id),
        "spf-alignment" => Slot::One(|draft| &mut draft.spf_alignment),
        "dkim-alignment" => Slot::One(|draft| &mut draft.dkim_alignment),
        "dmarc-results" => Slot::One(|draft| &mut draft.dmarc_results),
        _ => return None,
    })
}

impl Draft {
    fn take(&mut self, Told { name, value }: Told, warnings: &mut Warnings) {
        if value.is_empty() {
            return;
        }
        match slot(&name) {
            Some(Slot::One(slot)) => match slot(self) {
                slot @ None => *slot = Some(value),
                // The report and the original mail may both have this field.
                Some(first) if *first != value && name != "message-id" && name != "from" => {
                    warnings.note(Repair::Repeated, &name);
                }
                Some(_) => {}
            },
            Some(Slot::Many(slot)) if slot(self).len() < LIST => slot(self).push(value),
            Some(Slot::Many(_)) => warnings.note(Repair::ListShortened, &name),
            None => {}
        }
    }

    fn finish(mut self, warnings: &mut Warnings) -> Result<Failure, Trouble> {
        let is_prose = self.spf_alignment.is_some() || self.dkim_alignment.is_some() || self.dmarc_results.is_some();
        if is_prose {
            warnings.note(Repair::Prose, "");
            self.understand_prose();
        }
        let report = self.report;
        let told = report.feedback_type.as_deref().map(keyword);
        let word = told.as_deref().and_then(|told| told.split(['(', ';', ',']).next());
        let letters: Option<String> = word.map(|word| word.chars().filter(char::is_ascii_alphabetic).collect());
        match letters.as_deref() {
            Some("authfailure") => {}
            Some(letters) if OTHER_TYPES.contains(&letters) => return Err(not_dmarc(told.as_deref())),
            _ if report.auth_failure.is_some() || report.identity_alignment.is_some() => {
                if told.is_none() && !is_prose {
                    warnings.note(Repair::NoFeedbackType, "");
                }
            }
            Some(_) => return Err(not_dmarc(told.as_deref())),
            None => return Err(Trouble::new(Reason::NotAReport, "neither Feedback-Type nor Auth-Failure found")),
        }
        Ok(report)
    }

    /// Derives fields from human-readable text, which mail servers send only for mails that failed DMARC.
    fn understand_prose(&mut self) {
        let told = [("spf", &self.spf_alignment), ("dkim", &self.dkim_alignment)];
        let mut aligned = Vec::new();
        for (name, word) in told.iter().filter_map(|(name, told)| Some((name, keyword(told.as_deref()?)))) {
            if ALIGNED.contains(&word.as_str()) {
                aligned.push((*name).to_owned());
            } else if !UNALIGNED.contains(&word.as_str()) {
                // No word of Identity-Alignment either, so that a warning names it.
                aligned.push(format!("{name}={word}"));
            }
        }
        // Without any, `none` is known only of both.
        if !aligned.is_empty() {
            self.report.identity_alignment.get_or_insert(aligned.join(","));
        } else if told.iter().all(|(_, told)| told.is_some()) {
            self.report.identity_alignment.get_or_insert("none".to_owned());
        }
        self.report.auth_failure.get_or_insert("dmarc".to_owned());
        // The action, which the policy and a comma may precede.
        if let Some(told) = self.dmarc_results.as_deref() {
            let action = keyword(told.rsplit_once(',').map_or(told, |(_, action)| action));
            let known = ACTIONS.iter().find(|(begin, _)| action.starts_with(begin));
            self.report.delivery_result.get_or_insert(known.map_or(action.clone(), |(_, result)| (*result).to_owned()));
        }
    }
}

fn not_dmarc(told: Option<&str>) -> Trouble {
    let told: String = told.unwrap_or_default().chars().take(40).collect();
    let detail = format!("the Feedback-Type is \"{told}\"; expected auth-failure");
    Trouble::new(Reason::NotDmarcFeedback, detail)
}
