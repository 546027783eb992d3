//! Fast reader of clean aggregate reports: those that are written as the schema says, and need no repair.
//!
//! It gives the same result as [`Document`](super::Document), or none: at the first irregularity the document is left to that
//! reader, from its beginning. So there are no errors, no warnings and no extensions here.

mod cursor;

use std::io::BufRead;

use memchr::memmem;

use super::parser::{ERRORS, keep_unless_empty};
use super::report::{Aggregate, DkimAuth, Override, Policy, Row, SpfAuth, Text, owned};
use super::text_room::{HEAD, RESULTS};
use crate::limits::{AUTH_RESULTS, Limits};
use crate::report::encoding::Utf8;
use crate::report::warnings::Warnings;
use crate::report::weight::Weight;
use crate::report::xml::may_be_forbidden;
pub use cursor::Unclean;
use cursor::{Cursor, Read, Tag};

/// Reads a document through a window of decoded text, which holds at least the next record as a whole.
pub struct Clean<'l, R> {
    source: Utf8<R>,
    window: String,
    /// Position in the window up to which the document was read.
    at: usize,
    ended: bool,
    phase: Phase,
    limits: &'l Limits,
    /// `None` in the second reading of a document, which the first one has weighed.
    weight: Option<Weight<'l>>,
    head: Head,
    rows: u64,
    record_end: memmem::Finder<'static>,
}

/// The head of a report: everything outside the records.
#[derive(Default)]
struct Head {
    report: Aggregate,
    has_metadata: bool,
    has_policy: bool,
    /// Bytes of its elements.
    bytes: usize,
}

#[derive(PartialEq, Eq)]
enum Phase {
    Before,
    Inside,
    After,
}

/// Number of bytes by which the window grows.
const READ: usize = 32 << 10;
/// Maximum size of a record or of what is outside the records, in bytes, so that the limits on their texts hold.
const ELEMENT: usize = RESULTS;

impl<'l, R: BufRead> Clean<'l, R> {
    pub fn new(source: R, limits: &'l Limits, is_weighed: bool) -> Self {
        Self {
            source: Utf8::new(source),
            window: String::new(),
            at: 0,
            ended: false,
            phase: Phase::Before,
            limits,
            weight: is_weighed.then(|| Weight::new(limits)),
            head: Head::default(),
            rows: 0,
            record_end: memmem::Finder::new("</record>"),
        }
    }

    /// Returns the next row; `None` at the end of the document.
    pub fn next_row(&mut self) -> Read<Option<Row<'_>>> {
        while self.phase != Phase::After && !self.holds_an_end() {
            self.read_on()?;
        }
        let mut cursor = Cursor::new(&self.window, self.at);
        if self.phase == Phase::Before {
            self.head.report.xml_namespace = cursor.root()?;
            self.phase = Phase::Inside;
        }
        while self.phase == Phase::Inside {
            let begin = cursor.at();
            match cursor.tag()? {
                Tag::Start("record") => {
                    let row = Row { index: self.rows, ..record(&mut cursor)? };
                    let too_many = self.rows >= self.limits.rows || cursor.at() - begin > ELEMENT;
                    if too_many || row.says_nothing() {
                        return Err(Unclean);
                    }
                    if let Some(weight) = &mut self.weight {
                        weight.read(cursor.counted());
                        weight.row(&row).map_err(|_| Unclean)?;
                    }
                    self.rows += 1;
                    self.at = cursor.at();
                    return Ok(Some(row));
                }
                Tag::End("feedback") => {
                    self.phase = Phase::After;
                    self.at = cursor.at();
                }
                tag => {
                    self.head.element(tag, &mut cursor)?;
                    self.head.bytes += cursor.at() - begin;
                    if self.head.bytes > HEAD {
                        return Err(Unclean);
                    }
                    if let Some(weight) = &mut self.weight {
                        weight.heads(&self.head.report);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Reads on after the last row. Returns the report without its rows, and the estimated size of its events.
    pub fn finish(mut self) -> Read<(Aggregate, u64)> {
        self.expect_end()?;
        Ok((self.head.report, self.weight.map_or(0, |weight| weight.total())))
    }

    /// True if the next record is in the window as a whole, or the rest of the report.
    fn holds_an_end(&self) -> bool {
        let rest = &self.window.as_bytes()[self.at..];
        self.record_end.find(rest).is_some() || memmem::find(rest, b"</feedback>").is_some()
    }

    fn read_on(&mut self) -> Read<()> {
        if self.ended || self.window.len() - self.at > ELEMENT + READ {
            return Err(Unclean);
        }
        self.window.drain(..std::mem::take(&mut self.at));
        let (before, mut warnings) = (self.window.len(), Warnings::default());
        while !self.ended && self.window.len() < before + READ {
            self.ended = !self.source.read(&mut self.window, &mut warnings).map_err(|_| Unclean)?;
        }
        if may_be_forbidden(&self.window.as_bytes()[before..]) || !warnings.is_empty() { Err(Unclean) } else { Ok(()) }
    }

    /// Reads on after the report.
    fn expect_end(&mut self) -> Read<()> {
        loop {
            if !self.window.as_bytes()[self.at..].iter().all(u8::is_ascii_whitespace) {
                return Err(Unclean);
            }
            self.at = self.window.len();
            if self.ended {
                return Ok(());
            }
            self.read_on()?;
        }
    }
}

impl Head {
    fn element(&mut self, tag: Tag<'_>, cursor: &mut Cursor<'_>) -> Read<()> {
        let report = &mut self.report;
        let mut errors = Vec::new();
        match tag {
            Tag::Start("report_metadata") if !std::mem::replace(&mut self.has_metadata, true) => {
                let names = ["org_name", "email", "extra_contact_info", "report_id", "generator"];
                let mut range = None;
                let texts = texts(cursor, "report_metadata", names, |cursor, name| match name {
                    "date_range" if range.is_none() => {
                        range = Some(texts(cursor, name, ["begin", "end"], nothing)?);
                        Ok(())
                    }
                    "error" if errors.len() < ERRORS => {
                        errors.extend(cursor.value(name)?);
                        Ok(())
                    }
                    _ => Err(Unclean),
                })?;
                [report.org_name, report.email, report.extra_contact_info, report.report_id, report.generator] =
                    texts.map(owned);
                [report.begin, report.end] = range.unwrap_or_default().map(owned);
                report.errors = errors.into_iter().map(String::from).collect();
            }
            Tag::Start("policy_published") if !std::mem::replace(&mut self.has_policy, true) => {
                let names = ["domain", "adkim", "aspf", "p", "sp", "np", "pct", "fo", "testing", "discovery_method"];
                let [domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method] =
                    texts(cursor, "policy_published", names, nothing)?.map(owned);
                report.policy = Policy { domain, adkim, aspf, p, sp, np, pct, fo, testing, discovery_method };
            }
            Tag::Start("version") if report.version.is_none() => report.version = owned(cursor.value("version")?),
            _ => return Err(Unclean),
        }
        Ok(())
    }
}

fn record<'w>(cursor: &mut Cursor<'w>) -> Read<Row<'w>> {
    let mut record = Row::default();
    let (mut has_row, mut has_identifiers, mut has_results) = (false, false, false);
    let first = |seen: &mut bool| !std::mem::replace(seen, true);
    texts(cursor, "record", [], |cursor, name| match name {
        "row" if first(&mut has_row) => row(cursor, &mut record),
        "identifiers" if first(&mut has_identifiers) => identifiers(cursor, &mut record),
        "auth_results" if first(&mut has_results) => auth_results(cursor, &mut record),
        _ => Err(Unclean),
    })?;
    Ok(record)
}

fn row<'w>(cursor: &mut Cursor<'w>, row: &mut Row<'w>) -> Read<()> {
    let mut evaluated = None;
    let mut reasons = Vec::new();
    [row.source_ip, row.count] = texts(cursor, "row", ["source_ip", "count"], |cursor, name| match name {
        "policy_evaluated" if evaluated.is_none() => {
            evaluated = Some(texts(cursor, name, ["disposition", "dkim", "spf"], |cursor, name| match name {
                "reason" => {
                    let [kind, comment] = texts(cursor, name, ["type", "comment"], nothing)?;
                    keep(&mut reasons, Override { kind, comment })
                }
                _ => Err(Unclean),
            })?);
            Ok(())
        }
        _ => Err(Unclean),
    })?;
    [row.disposition, row.dkim, row.spf] = evaluated.unwrap_or_default();
    row.reasons = reasons;
    Ok(())
}

fn identifiers<'w>(cursor: &mut Cursor<'w>, row: &mut Row<'w>) -> Read<()> {
    let mut sender = None;
    let names = ["header_from", "envelope_to"];
    [row.header_from, row.envelope_to] = texts(cursor, "identifiers", names, |cursor, name| match name {
        "envelope_from" if sender.is_none() => {
            sender = Some(cursor.value(name)?);
            Ok(())
        }
        _ => Err(Unclean),
    })?;
    row.has_null_sender = matches!(sender, Some(None));
    row.envelope_from = sender.flatten();
    Ok(())
}

fn auth_results<'w>(cursor: &mut Cursor<'w>, row: &mut Row<'w>) -> Read<()> {
    texts(cursor, "auth_results", [], |cursor, name| match name {
        "dkim" => {
            let names = ["domain", "selector", "result", "human_result"];
            let [domain, selector, result, human_result] = texts(cursor, name, names, nothing)?;
            keep(&mut row.dkim_auth, DkimAuth { domain, selector, result, human_result })
        }
        "spf" => {
            let names = ["domain", "scope", "result", "human_result"];
            let [domain, scope, result, human_result] = texts(cursor, name, names, nothing)?;
            keep(&mut row.spf_auth, SpfAuth { domain, scope, result, human_result })
        }
        _ => Err(Unclean),
    })?;
    Ok(())
}

/// Reads the content of the element `container`, whose start tag was read, to its end tag: returns the texts of the elements
/// with these `names`, and passes on the names of others to `other` with the cursor behind their start tags.
fn texts<'w, const N: usize>(
    cursor: &mut Cursor<'w>,
    container: &str,
    names: [&str; N],
    mut other: impl FnMut(&mut Cursor<'w>, &'w str) -> Read<()>,
) -> Read<[Text<'w>; N]> {
    let mut texts = [const { None }; N];
    let mut seen = [false; N];
    loop {
        let (name, is_empty) = match cursor.tag()? {
            Tag::End(name) if name == container => return Ok(texts),
            Tag::Start(name) => (name, false),
            Tag::Empty(name) => (name, true),
            Tag::End(_) => return Err(Unclean),
        };
        match names.iter().position(|known| *known == name) {
            Some(at) if !std::mem::replace(&mut seen[at], true) => {
                if !is_empty {
                    texts[at] = cursor.value(name)?;
                }
            }
            None if !is_empty => other(cursor, name)?,
            _ => return Err(Unclean),
        }
    }
}

fn nothing(_: &mut Cursor<'_>, _: &str) -> Read<()> {
    Err(Unclean)
}

/// Keeps an entry of a list that has room for it.
fn keep<T: Default + PartialEq>(entries: &mut Vec<T>, entry: T) -> Read<()> {
    if entries.len() >= AUTH_RESULTS {
        return Err(Unclean);
    }
    keep_unless_empty(entries, entry);
    Ok(())
}
