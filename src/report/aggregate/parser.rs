//! Parses an aggregate report (XML): its rows one at a time, and the elements outside the records.

use std::collections::VecDeque;
use std::io::BufRead;
use std::mem::take;
use std::rc::Rc;

use quick_xml::events::BytesStart;

use super::elements::{Draft, Node};
use super::extension::ExtensionRoom;
use super::open_elements::{Element, Place, Tree, Wrapper, attributes, unprefixed_attributes, without_end_tag};
use super::report::{Aggregate, Row, Text};
use super::text_room::{Part, TextRoom};
use crate::limits::{AUTH_RESULTS, Limits};
use crate::report::scanned::after_end;
use crate::report::values::{self, blank_trimmed, is_blank};
use crate::report::warnings::{Repair, Warnings};
use crate::report::weight::Weight;
use crate::report::xml::{Token, Xml};
use crate::trouble::{Reason, Trouble};

/// Streaming parser of a report; holds one record.
pub struct Document<'a, R> {
    xml: Xml<R>,
    reading: Reading<'a>,
}

/// Parser state.
struct Reading<'a> {
    limits: &'a Limits,
    phase: Phase,
    tree: Tree,
    /// Text of the current element, without leading white space.
    text: String,
    draft: Draft,
    policy_seen: bool,
    /// Rows of the current record that were followed by another `row`.
    earlier: Vec<Row<'static>>,
    /// True once the current record has a `row`.
    row_seen: bool,
    /// True if that row holds identifiers or results itself, so that no other row of the record shares them.
    row_is_whole: bool,
    /// Number of rows that the current record has yielded.
    rows_of_record: u64,
    in_record: bool,
    room: TextRoom,
    warnings: Warnings,
    record_warnings: Warnings,
    /// Repairs within all records so far.
    warnings_of_records: Warnings,
    /// Room for extensions outside the records, and for those of the current record.
    extension_room: ExtensionRoom,
    record_extension_room: ExtensionRoom,
    /// True until something of the current extension is kept.
    is_bare: bool,
    /// Complete rows that are not yet returned, each with the data that it shares with other rows of its record.
    ready: VecDeque<(Row<'static>, Option<Rc<Row<'static>>>)>,
    /// Number of rows that have become ready.
    rows: u64,
    /// Number of rows without data, which are not returned.
    skipped: u64,
    /// Estimated size of the events of these rows.
    weight: Weight<'a>,
    /// Number of start and end tags so far.
    tags: u64,
    failure: Option<Trouble>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    /// Before `feedback`, with the name of the first element if there was one.
    Before(Option<String>),
    Inside,
    After,
}

/// Maximum number of bytes kept of a text; the longest useful one is a comment of some sentences.
const TEXT: usize = 4 << 10;
/// Maximum number of error texts kept of the metadata.
pub const ERRORS: usize = 16;
/// Maximum number of tags in a report, and the number allowed in addition per row, which usually has 40: a gigabyte of empty
/// elements compresses to a megabyte, and would take most of a minute to parse.
const TAGS: u64 = 1 << 20;
const TAGS_PER_ROW: u64 = 1 << 10;
/// Maximum number of tags and texts after a report that are searched for another one; there are none in real reports.
const TOKENS_AFTER_END: u64 = TAGS;
/// Maximum number of rows of one record that are held until the record ends and its shared data is known; the schema allows
/// one.
const ROWS_OF_RECORD: usize = 64;

impl<'a, R: BufRead> Document<'a, R> {
    pub fn new(source: R, limits: &'a Limits) -> Self {
        let reading = Reading {
            limits,
            phase: Phase::Before(None),
            tree: Tree::default(),
            text: String::new(),
            draft: Draft::default(),
            policy_seen: false,
            earlier: Vec::new(),
            row_seen: false,
            row_is_whole: false,
            rows_of_record: 0,
            in_record: false,
            room: TextRoom::new(),
            warnings: Warnings::default(),
            record_warnings: Warnings::default(),
            warnings_of_records: Warnings::default(),
            extension_room: ExtensionRoom::default(),
            record_extension_room: ExtensionRoom::default(),
            is_bare: false,
            ready: VecDeque::new(),
            rows: 0,
            skipped: 0,
            weight: Weight::new(limits),
            tags: 0,
            failure: None,
        };
        Self { xml: Xml::new(source, limits), reading }
    }

    /// Returns the next complete row; `None` after `</feedback>`. An error ends the document, too.
    pub fn next_row(&mut self) -> Result<Option<Row<'static>>, Trouble> {
        loop {
            if let Some((row, shared)) = self.reading.ready.pop_front() {
                return Ok(Some(match shared {
                    Some(shared) => with_shared(row, &shared),
                    None => row,
                }));
            }
            if let Some(failure) = &self.reading.failure {
                return Err(failure.clone());
            }
            if self.reading.phase == Phase::After {
                return Ok(None);
            }
            let taken = self.xml.next().and_then(|token| self.reading.take(token));
            if let Err(trouble) = taken {
                self.reading.failure = Some(trouble);
            }
        }
    }

    /// Reads on after the report, up to another report.
    pub fn read_rest(&mut self) {
        let warnings = &mut self.reading.warnings;
        for _ in 0..TOKENS_AFTER_END {
            match self.xml.next() {
                Ok(Token::Eof) => return,
                // End tag of an element that wraps the report.
                Ok(Token::End(_)) => {}
                Ok(Token::Text(text)) if text.trim().is_empty() => {}
                Ok(Token::Start { tag, .. }) if is_feedback(&tag) => return warnings.note(Repair::SecondReport, ""),
                Ok(_) => warnings.once(Repair::TrailingJunk),
                Err(trouble) => return warnings.note(after_end(&trouble), &trouble.detail),
            }
        }
        warnings.note(Repair::UnreadAfterEnd, "too many tags");
    }

    /// Size of the events of the rows so far, in bytes; an upper bound.
    pub fn event_bytes(&self) -> u64 {
        self.reading.weight.total()
    }

    /// Returns everything outside the rows, as far as it was read.
    pub fn finish(self) -> Finished {
        let Reading { draft, warnings: own, warnings_of_records, record_warnings, mut weight, skipped, .. } =
            self.reading;
        let mut report = draft.report;
        let mut repairs = self.xml.warnings();
        repairs.add(own);
        report.warnings = repairs.texts();
        report.warnings.iter().for_each(|warning| weight.head(warning));
        repairs.add(warnings_of_records);
        repairs.add(record_warnings);
        let has_more = repairs.has(Repair::SecondReport);
        Finished { report, repairs, has_more, skipped, event_bytes: weight.total() }
    }
}

/// Result of reading a whole document, without its rows.
pub struct Finished {
    pub report: Aggregate,
    /// All repairs, also those within the rows.
    pub repairs: Warnings,
    /// True if another report follows.
    pub has_more: bool,
    /// Number of rows without data, which were not returned.
    pub skipped: u64,
    /// Size of the events of the other rows, in bytes; an upper bound.
    pub event_bytes: u64,
}

impl Reading<'_> {
    fn take(&mut self, token: Token) -> Result<(), Trouble> {
        self.tags += u64::from(matches!(token, Token::Start { .. } | Token::End(_)));
        self.weight.read(match &token {
            Token::Start { tag, .. } => tag.len() + "<>".len(),
            Token::End(tag) => tag.len() + "</>".len(),
            Token::Text(text) => text.len(),
            Token::Character(_) => "&lt;".len(),
            Token::Eof => 0,
        });
        if self.tags > TAGS + TAGS_PER_ROW.saturating_mul(self.rows) {
            let what = format!("there are {} tags and only {} whole rows; expected a report", self.tags, self.rows);
            return Err(Trouble::new(Reason::XmlMalformed, what));
        }
        match (token, &self.phase) {
            (Token::Start { tag, empty }, Phase::Before(_)) => self.start_before(&tag, empty),
            (Token::Start { tag, empty }, _) => self.start(&tag, empty),
            (Token::End(tag), _) => {
                self.end(tag.local_name().into_inner());
                Ok(())
            }
            (Token::Text(text), Phase::Inside) => {
                self.text(&text);
                Ok(())
            }
            (Token::Character(c), Phase::Inside) => {
                self.text(c.encode_utf8(&mut [0; 4]));
                Ok(())
            }
            (Token::Text(_) | Token::Character(_), _) => Ok(()),
            (Token::Eof, Phase::Before(first)) => Err(not_a_report(first.as_deref())),
            (Token::Eof, _) => {
                let what = format!(
                    "the document ends inside <{}> after {} whole rows; expected </feedback>",
                    self.tree.top_name().chars().take(40).collect::<String>(),
                    self.rows
                );
                Err(Trouble::new(Reason::XmlTruncated, what))
            }
        }
    }

    fn start_before(&mut self, tag: &BytesStart, empty: bool) -> Result<(), Trouble> {
        let name = tag.local_name().into_inner();
        if is_feedback(tag) {
            if self.tree.depth() > 0 {
                self.warnings.note(Repair::Wrapped, self.tree.top_name());
            }
            self.draft.report.xml_namespace = self.tree.namespace(tag).map(Into::into);
            self.tree.declare(tag);
            self.tree.push(Element::known("feedback", Node::Feedback));
            self.phase = if empty { Phase::After } else { Phase::Inside };
            return Ok(());
        }
        if let Phase::Before(first @ None) = &mut self.phase {
            *first = Some(name.chars().take(40).collect());
        }
        if empty {
            return Ok(());
        }
        self.tree.declare(tag);
        self.tree.push(Element::around(name));
        match &self.phase {
            Phase::Before(first) if self.too_deep() => Err(not_a_report(first.as_deref())),
            _ => Ok(()),
        }
    }

    fn start(&mut self, tag: &BytesStart, empty: bool) -> Result<(), Trouble> {
        let name = tag.local_name().into_inner();
        let own = self.draft.report.xml_namespace.as_deref();
        let is_foreign = self.tree.is_foreign(tag, own);
        if is_feedback(tag) && !is_foreign && self.tree.top().is_in_schema() && self.has_begun() {
            let what =
                format!("another report begins inside <{}> after {} whole rows", self.tree.top_name(), self.rows);
            return Err(Trouble::new(Reason::XmlTruncated, what + "; expected </feedback>"));
        }
        let mut element = match self.tree.top() {
            _ if is_foreign => Element::unknown(name),
            Node::Unknown if self.tree.is_of_report(tag, own) => self.place_in_unknown(name),
            _ => self.place(name),
        };
        if element.node.is_in_schema() && !element.name.eq_ignore_ascii_case(name) {
            self.note(Repair::OtherSpelling, name);
        }
        // Within an extension a `record` is anything; a `row` that was not read is told.
        if name.eq_ignore_ascii_case("row")
            && !is_foreign
            && matches!((element.node, self.tree.top()), (Node::Unknown, Node::Unknown))
        {
            self.note_top(Repair::SkippedRecord);
            self.skipped += 1;
            element.node = Node::Skipped;
        }
        if matches!(self.tree.top(), Node::Reason) {
            self.end_reason_text();
        }
        element.node = self.enter(element.node);
        if matches!(element.node, Node::Unknown) {
            let own = self.draft.report.xml_namespace.as_deref();
            element.namespace = self.tree.namespace(tag).filter(|namespace| Some(namespace.as_str()) != own);
        }
        self.tree.declare(tag);
        self.tree.push(element);
        if matches!(self.tree.top(), Node::Unknown) {
            self.is_bare = true;
            attributes(tag).for_each(|(name, value)| self.keep_extension(Some(name), &value));
        } else if !tag.attributes_raw().is_empty() && self.tree.top().has_attributes() {
            unprefixed_attributes(tag).for_each(|(name, value)| self.attribute(name, value));
        }
        if self.too_deep() {
            let what = format!("the nesting of elements after {} whole rows", self.rows);
            return Err(Trouble::over(Reason::XmlTooDeep, what, "limits.xml_depth", self.limits.xml_depth));
        }
        if empty {
            self.leave();
        }
        Ok(())
    }

    /// True if the report has a row, or what names it: a `feedback` element within it is then another report.
    fn has_begun(&self) -> bool {
        let Aggregate { report_id, policy, .. } = &self.draft.report;
        self.rows > 0 || report_id.is_some() || policy.domain.is_some()
    }

    /// Finds the position of a new element, and closes the elements before it that lack an end tag.
    fn place(&mut self, name: &str) -> Element {
        let Place { element, unclosed, .. } = self.tree.place(name);
        self.close(unclosed);
        element
    }

    /// Like [`Reading::place`], within an element that is not in the schema.
    fn place_in_unknown(&mut self, name: &str) -> Element {
        let Place { element, unclosed, wrapper } = self.tree.place_in_unknown(name);
        match wrapper {
            Wrapper::No => {
                self.close(unclosed);
                element
            }
            Wrapper::Unknown => {
                self.note_top(Repair::UnknownWrapper);
                self.keep_text();
                element
            }
            Wrapper::Renamed(node) => {
                self.note_top(Repair::RenamedElement);
                self.keep_text();
                let node = self.enter(node);
                self.tree.rename_top(node);
                self.place(name)
            }
        }
    }

    fn close(&mut self, unclosed: usize) {
        for _ in 0..unclosed {
            self.note_top(Repair::MissingClose);
            self.leave();
        }
    }

    /// Reads an attribute of the innermost element as the text element of its name.
    fn attribute(&mut self, name: &str, value: String) {
        if let Some((name, Node::Text(place))) = self.tree.top().child(name) {
            self.note(Repair::AttributeValue, name);
            self.text = value;
            self.fill(place, name);
        }
    }

    fn end(&mut self, name: &str) {
        let ended = self.tree.ended_by(name);
        if ended == 0 {
            self.note(Repair::UnmatchedClose, name);
        }
        self.close(ended.saturating_sub(1));
        if ended > 0 {
            self.leave();
        }
    }

    fn text(&mut self, text: &str) {
        let owner = match (self.tree.text_owner(), self.tree.top()) {
            (Some(owner), _) => &owner.name,
            (None, Node::Unknown | Node::Reason) => self.tree.top_name(),
            (None, Node::Skipped) => return,
            (None, _) if text.trim().is_empty() => return,
            (None, _) => return self.note_top(Repair::StrayText),
        };
        let text = if self.text.is_empty() { text.trim_start_matches(is_blank) } else { text };
        let mut room = TEXT.saturating_sub(self.text.len()).min(text.len());
        if room < text.len() {
            while !text.is_char_boundary(room) {
                room -= 1;
            }
            let name = owner.to_owned();
            // Text whose excess is only white space was not shortened.
            if !text[room..].trim_matches(is_blank).is_empty() {
                self.note(Repair::TextShortened, &name);
            }
        }
        self.text.push_str(&text[..room]);
    }

    /// Enters an element. Returns how it is treated, which may differ from `node`.
    fn enter(&mut self, node: Node) -> Node {
        let full = match node {
            Node::Reason => self.draft.row.reasons.len() >= AUTH_RESULTS,
            Node::Dkim => self.draft.row.dkim_auth.len() >= AUTH_RESULTS,
            Node::Spf => self.draft.row.spf_auth.len() >= AUTH_RESULTS,
            _ => false,
        };
        if full {
            self.note(Repair::TooManyResults, "");
            self.cut(node);
            return Node::Skipped;
        }
        match node {
            Node::Policy if self.policy_seen => {
                self.note(Repair::SecondPolicy, "");
                return Node::Skipped;
            }
            Node::Policy => self.policy_seen = true,
            Node::Record => self.in_record = true,
            Node::Row if self.row_seen => self.begin_another_row(),
            Node::Row => self.row_seen = true,
            Node::Text(_) | Node::Reason => self.text.clear(),
            Node::Identifiers | Node::AuthResults => self.row_is_whole |= self.tree.is_in_row(),
            Node::Unknown if self.tree.text_owner().is_some() => return Node::Skipped,
            Node::Unknown => match self.tree.top() {
                Node::Skipped => return Node::Skipped,
                Node::Unknown => self.keep_text(),
                _ => self.text.clear(),
            },
            _ => {}
        }
        node
    }

    /// Marks results as incomplete: a list of results, or the one that `node` is.
    fn cut(&mut self, node: Node) {
        match node {
            Node::Dkim => self.draft.row.dkim_is_cut = true,
            Node::Spf => self.draft.row.spf_is_cut = true,
            _ => {}
        }
    }

    /// Reads the text of a reason that is not in an element, as in `<reason>sampled_out</reason>`.
    fn end_reason_text(&mut self) {
        let text = take(&mut self.text);
        let told = blank_trimmed(&text);
        if told.is_empty() {
            return;
        }
        self.note(Repair::ReasonText, told);
        let (kind, comment) = match &self.draft.reason.kind {
            Some(_) => ("", told),
            None => values::reason(told),
        };
        self.text = kind.to_owned();
        self.fill(|d| &mut d.reason.kind, "type");
        self.text = comment.to_owned();
        self.fill(|d| &mut d.reason.comment, "comment");
    }

    /// Keeps the text of the current extension so far.
    fn keep_text(&mut self) {
        let text = take(&mut self.text);
        let told = blank_trimmed(&text);
        if !told.is_empty() {
            self.keep_extension(None, told);
        }
        self.is_bare = false;
    }

    /// Keeps a text of the innermost element, which is an extension, or one of its attributes.
    fn keep_extension(&mut self, attribute: Option<&str>, value: &str) {
        let (kept, room, warnings) = if self.in_record {
            (&mut self.draft.row.extensions, &mut self.record_extension_room, &mut self.record_warnings)
        } else {
            (&mut self.draft.report.extensions, &mut self.extension_room, &mut self.warnings)
        };
        let tree = &self.tree;
        let path_bytes = tree.path_bytes() + attribute.map_or(0, |name| name.len() + 1);
        let path = || tree.path() + &attribute.map_or(String::new(), |name| format!("@{name}"));
        room.keep(kept, (path_bytes, path), tree.top_namespace(), value, warnings);
        self.is_bare = false;
    }

    /// Leaves the innermost element.
    fn leave(&mut self) {
        match self.tree.top() {
            Node::Unknown => self.end_extension(),
            Node::Reason => self.end_reason_text(),
            _ => {}
        }
        let Some(element) = self.tree.pop() else { return };
        let draft = &mut self.draft;
        match element.node {
            Node::Text(place) => self.fill(place, &element.name),
            Node::Reason => keep_unless_empty(&mut draft.row.reasons, take(&mut draft.reason)),
            Node::Dkim => keep_unless_empty(&mut draft.row.dkim_auth, take(&mut draft.dkim)),
            Node::Spf => keep_unless_empty(&mut draft.row.spf_auth, take(&mut draft.spf)),
            Node::Record => self.end_record(),
            Node::Feedback => self.phase = Phase::After,
            _ => {}
        }
    }

    /// An empty extension is kept, too: its presence may be its whole meaning.
    fn end_extension(&mut self) {
        let is_bare = take(&mut self.is_bare);
        if is_bare && blank_trimmed(&self.text).is_empty() {
            self.keep_extension(None, "");
        }
        self.keep_text();
    }

    fn fill(&mut self, place: fn(&mut Draft) -> &mut Text<'static>, name: &str) {
        let (text, repair) = without_end_tag(blank_trimmed(&self.text), name);
        let whole = blank_trimmed(text);
        let part = match (self.in_record, self.tree.top()) {
            (false, _) => Part::Head,
            (true, Node::Reason | Node::Dkim | Node::Spf) => Part::Result,
            (true, _) => Part::Record,
        };
        let text = self.room.fitting(part, whole);
        let field = place(&mut self.draft);
        let (repeated, shortened) = match field.as_deref() {
            Some(first) => (first != whole && first != text && !whole.is_empty(), false),
            None => (false, text.len() < whole.len()),
        };
        if field.is_none() && !text.is_empty() {
            *field = Some(text.to_owned().into());
            self.room.take(part, text);
            if part == Part::Head {
                self.weight.head(text);
            }
        }
        if name == "envelope_from" {
            self.draft.row.has_null_sender = whole.is_empty() && self.draft.row.envelope_from.is_none();
        }
        self.text.clear();
        if shortened {
            self.note(Repair::TextShortened, name);
            if ["domain", "result", "scope"].contains(&name) {
                self.cut(self.tree.top());
            }
        }
        if repeated {
            self.note(Repair::Repeated, name);
        }
        if let Some(repair) = repair {
            self.note(repair, name);
        }
        if let Some(error) = self.draft.error.take() {
            if self.draft.report.errors.len() < ERRORS {
                self.draft.report.errors.push(error.into_owned());
            } else {
                self.note(Repair::TooManyErrors, "");
            }
        }
    }

    /// Holds the rows of a record until its end, since the data that they share may follow the last of them. The number held
    /// is bounded.
    fn begin_another_row(&mut self) {
        self.note(Repair::SeveralRows, "");
        if self.row_is_whole {
            self.end_record();
            self.in_record = true;
            self.row_seen = true;
            return;
        }
        let row = &mut self.draft.row;
        let earlier = Row {
            source_ip: row.source_ip.take(),
            count: row.count.take(),
            disposition: row.disposition.take(),
            dkim: row.dkim.take(),
            spf: row.spf.take(),
            reasons: take(&mut row.reasons),
            ..Row::default()
        };
        if earlier.is_blank() {
            return self.skip();
        }
        self.earlier.push(earlier);
        if self.earlier.len() >= ROWS_OF_RECORD || self.room.is_short() {
            self.give_earlier();
        }
    }

    fn give_earlier(&mut self) {
        if self.earlier.is_empty() {
            return;
        }
        let shared = Rc::new(self.draft.row.clone());
        for row in take(&mut self.earlier) {
            self.room.give_back(&row);
            self.give(row, Some(shared.clone()));
        }
    }

    fn end_record(&mut self) {
        self.give_earlier();
        let row = take(&mut self.draft.row);
        let says_nothing = if self.rows_of_record > 0 { row.is_blank() } else { row.says_nothing() };
        if says_nothing {
            self.skip();
        } else {
            self.give(row, None);
        }
        self.warnings_of_records.add(take(&mut self.record_warnings));
        self.record_extension_room = ExtensionRoom::default();
        self.in_record = false;
        self.row_seen = false;
        self.row_is_whole = false;
        self.rows_of_record = 0;
        self.room.end_record();
    }

    /// Skips a row without data.
    fn skip(&mut self) {
        self.skipped += 1;
        self.warnings.note(Repair::EmptyRecord, "");
    }

    fn give(&mut self, mut row: Row<'static>, shared: Option<Rc<Row<'static>>>) {
        self.rows_of_record += 1;
        if self.failure.is_some() {
            return;
        }
        if self.rows >= self.limits.rows {
            let limit = self.limits.rows;
            self.failure = Some(Trouble::over(Reason::TooManyRows, "the number of rows", "limits.rows", limit));
            return;
        }
        row.index = self.rows;
        row.warnings = self.record_warnings.texts();
        let weighed = match &shared {
            Some(shared) => self.weight.row(&with_shared(row.clone(), shared)),
            None => self.weight.row(&row),
        };
        if let Err(trouble) = weighed {
            self.failure = Some(trouble);
            return;
        }
        self.rows += 1;
        self.ready.push_back((row, shared));
    }

    fn too_deep(&self) -> bool {
        self.tree.depth() as u64 > self.limits.xml_depth
    }

    fn note(&mut self, repair: Repair, detail: &str) {
        let warnings = if self.in_record { &mut self.record_warnings } else { &mut self.warnings };
        warnings.note(repair, detail);
    }

    fn note_top(&mut self, repair: Repair) {
        let warnings = if self.in_record { &mut self.record_warnings } else { &mut self.warnings };
        warnings.note(repair, self.tree.top_name());
    }
}

/// Completes a row with the data that is shared by all rows of its record.
fn with_shared<'a>(row: Row<'a>, shared: &Row<'a>) -> Row<'a> {
    Row {
        index: row.index,
        source_ip: row.source_ip,
        count: row.count,
        disposition: row.disposition,
        dkim: row.dkim,
        spf: row.spf,
        reasons: row.reasons,
        warnings: row.warnings,
        ..shared.clone()
    }
}

/// Keeps an entry unless it is empty.
pub fn keep_unless_empty<T: Default + PartialEq>(entries: &mut Vec<T>, entry: T) {
    if entry != T::default() {
        entries.push(entry);
    }
}

fn is_feedback(tag: &BytesStart) -> bool {
    tag.local_name().into_inner().eq_ignore_ascii_case("feedback")
}

fn not_a_report(first: Option<&str>) -> Trouble {
    let found = first.map_or("no element".to_owned(), |name| format!("<{name}> but no <feedback>"));
    Trouble::new(Reason::NotAReport, format!("the document has {found}; expected an aggregate report"))
}
