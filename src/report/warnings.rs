//! Repairs: everything that was corrected or left out so that a document could be parsed, as a closed list of codes.
//!
//! Each code declares whether it leaves something of the report out. The outcome of a document follows from that alone: see
//! [`Warnings::left_out`].

use crate::trouble::{Reason, Trouble};

/// Repairs made, each kind once with a count; at most [`KINDS`] kinds, with a short detail each.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    seen: Vec<Seen>,
    more: u64,
    /// Number of those of `more` that left something out.
    more_left_out: u64,
}

/// Maximum number of kinds; more in one place are noise.
const KINDS: usize = 16;
/// Maximum number of characters of the reporter's text that a warning quotes.
const QUOTED: usize = 80;

#[derive(Debug, Clone)]
struct Seen {
    repair: Repair,
    detail: String,
    times: u64,
}

impl Warnings {
    /// Counts one repair; `detail` (an element's name, an error) is kept from the first of its kind, and may be empty.
    pub fn note(&mut self, repair: Repair, detail: &str) {
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.repair == repair) {
            seen.times += 1;
        } else if self.seen.len() < KINDS {
            self.seen.push(Seen { repair, detail: detail.chars().take(QUOTED).collect(), times: 1 });
        } else {
            self.more += 1;
            self.more_left_out += u64::from(repair.effect() == Effect::LeftOut);
        }
    }

    /// Adds the repairs noted elsewhere.
    pub fn add(&mut self, other: Warnings) {
        self.more += other.more;
        self.more_left_out += other.more_left_out;
        for seen in other.seen {
            self.note(seen.repair, &seen.detail);
            if let Some(ours) = self.seen.iter_mut().find(|ours| ours.repair == seen.repair) {
                ours.times += seen.times - 1;
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.more == 0
    }

    /// True if a repair of that kind was noted.
    pub fn has(&self, repair: Repair) -> bool {
        self.seen.iter().any(|seen| seen.repair == repair)
    }

    /// Notes a repair whose occurrences can't be counted.
    pub fn once(&mut self, repair: Repair) {
        if !self.has(repair) {
            self.note(repair, "");
        }
    }

    /// The trouble of a document of which something was left out, by any of these repairs.
    pub fn left_out(&self) -> Option<Trouble> {
        let seen = self.seen.iter().filter(|seen| seen.repair.effect() == Effect::LeftOut).map(Seen::text);
        let more = (self.more_left_out > 0).then(|| format!("{} of other kinds", self.more_left_out));
        let texts: Vec<String> = seen.chain(more).collect();
        let detail = || format!("not everything in the report was shipped: {}", texts.join("; "));
        (!texts.is_empty()).then(|| Trouble::new(Reason::LeftOut, detail()))
    }

    /// Formats each kind as `code: explanation: detail, n times`, in order of first occurrence.
    pub fn texts(&self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("more_repairs: {} of other kinds", self.more));
        self.seen.iter().map(Seen::text).chain(more).collect()
    }
}

impl Seen {
    fn text(&self) -> String {
        let mut text = format!("{}: {}", self.repair.code(), self.repair.explanation());
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        if self.times > 1 {
            text.push_str(&format!(", {} times", self.times));
        }
        text
    }
}

/// Effect of a repair on the content of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Everything that was told was read, though not as it was written.
    Corrected,
    /// Something that was told is in no event.
    LeftOut,
}

macro_rules! repairs {
    ($($name:ident = $code:literal, $effect:ident, $explanation:literal;)*) => {
        /// Kinds of repairs; codes are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Repair { $(#[doc = $explanation] $name,)* }

        impl Repair {
            #[cfg(test)]
            const ALL: &'static [Repair] = &[$(Repair::$name,)*];

            /// Code that a warning starts with.
            pub fn code(self) -> &'static str {
                match self { $(Repair::$name => $code,)* }
            }

            /// Effect on the report.
            pub fn effect(self) -> Effect {
                match self { $(Repair::$name => Effect::$effect,)* }
            }

            fn explanation(self) -> &'static str {
                match self { $(Repair::$name => $explanation,)* }
            }
        }
    };
}

repairs! {
    UnknownEncoding = "unknown_encoding", Corrected, "the declared encoding is unknown or wrong, read as UTF-8";
    InvalidBytes = "invalid_bytes", Corrected, "bytes that are invalid in the document's encoding were replaced";
    ForbiddenCharacters = "forbidden_characters", Corrected, "characters that are not allowed in XML were removed";
    LeadingJunk = "leading_junk", LeftOut, "text before the first element was skipped";
    StrayLessThan = "stray_less_than", Corrected, "a < that is not part of a tag was read as text";
    StrayAmpersand = "stray_ampersand", Corrected, "an & that is not part of an entity was read as text";
    BrokenTag = "broken_tag", Corrected, "a tag that is not closed or quoted correctly was repaired";
    TextShortened = "text_shortened", LeftOut, "a text that is too long was truncated";
    Wrapped = "wrapped", Corrected, "the feedback element is inside another element";
    WrappedObject = "wrapped_object", Corrected, "the report is inside another JSON object";
    MissingClose = "missing_close", Corrected, "an end tag is missing or broken, the element was closed where another began or ended";
    UnmatchedClose = "unmatched_close", Corrected, "an end tag without a start tag was skipped";
    OtherSpelling = "other_spelling", Corrected, "the name of an element is not spelt as in the schema, it was read all the same";
    UnknownWrapper = "unknown_wrapper", Corrected, "elements of the schema are in an element that is not in it, they were read all the same";
    RenamedElement = "renamed_element", Corrected, "an unknown element was read as the one of the schema that has its children";
    AttributeValue = "attribute_value", Corrected, "an attribute was read as the element of its name";
    ReasonText = "reason_text", Corrected, "a reason without elements was read as its type, or as its comment";
    StrayText = "stray_text", Corrected, "text between elements was skipped";
    Repeated = "repeated", LeftOut, "a single-valued element is repeated with another value, the first was kept";
    SecondPolicy = "second_policy", LeftOut, "more than one policy_published, the first was kept";
    SeveralRows = "several_rows", Corrected, "a record has several rows, each was read as a separate record";
    TooManyResults = "too_many_results", LeftOut, "more than 64 results of one kind in a record, the first were kept";
    ExtensionsShortened = "extensions_shortened", LeftOut, "more elements outside the schema than the maximum, the first were kept";
    TooManyErrors = "too_many_errors", LeftOut, "more error texts in the metadata than the maximum, the first were kept";
    EmptyRecord = "empty_record", LeftOut, "a record without address, count, domain and result was skipped";
    SkippedRecord = "skipped_record", LeftOut, "a record or row in an unexpected place was skipped";
    SecondReport = "second_report", LeftOut, "another feedback element after the first was skipped";
    TrailingJunk = "trailing_junk", LeftOut, "data after the end of the report was skipped";
    ControlCharacters = "control_characters", Corrected, "control characters in a string were replaced by spaces";
    WrongType = "wrong_type", LeftOut, "a value of an unexpected JSON type was skipped";
    ListShortened = "list_shortened", LeftOut, "a list with too many entries was truncated";
    FoldedWrong = "folded_wrong", LeftOut, "a line that is not a field was skipped";
    NoFeedbackType = "no_feedback_type", Corrected, "Feedback-Type is missing, the report was recognised by its other fields";
    Prose = "prose", Corrected, "the report has no machine-readable part, its fields were read from the human-readable part";
    DamagedAfterEnd = "damaged_after_end", Corrected, "the report is complete, but its container has a wrong checksum";
    UnreadAfterEnd = "unread_after_end", LeftOut, "the report is complete, but what follows it could not be read";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_warnings_are_merged_with_a_count() {
        let mut warnings = Warnings::default();
        warnings.note(Repair::Repeated, "count");
        warnings.note(Repair::StrayAmpersand, "");
        warnings.note(Repair::Repeated, "dkim");
        let texts = warnings.texts();
        assert_eq!(texts.len(), 2);
        assert!(texts[0].starts_with("repeated: ") && texts[0].ends_with(": count, 2 times"), "{texts:?}");
        assert_eq!(texts[1], "stray_ampersand: an & that is not part of an entity was read as text");
    }

    #[test]
    fn warnings_of_document_and_row_are_merged_by_kind() {
        let (mut ours, mut theirs) = (Warnings::default(), Warnings::default());
        ours.note(Repair::TextShortened, "");
        theirs.note(Repair::TextShortened, "org_name");
        theirs.note(Repair::TextShortened, "email");
        ours.add(theirs);
        assert_eq!(ours.texts(), ["text_shortened: a text that is too long was truncated, 3 times"]);
    }

    #[test]
    fn what_was_left_out_is_told_also_beyond_the_kinds_that_are_listed() {
        let mut warnings = Warnings::default();
        warnings.note(Repair::StrayAmpersand, "");
        assert_eq!(warnings.left_out(), None);
        warnings.note(Repair::TooManyResults, "");
        warnings.note(Repair::TooManyResults, "");
        let trouble = warnings.left_out().unwrap();
        assert_eq!(trouble.reason, Reason::LeftOut);
        assert!(trouble.detail.ends_with("the first were kept, 2 times"), "{trouble}");
        let mut all = Warnings::default();
        Repair::ALL.iter().for_each(|repair| all.note(*repair, ""));
        let beyond = Repair::ALL[KINDS..].iter().filter(|repair| repair.effect() == Effect::LeftOut).count();
        let mut merged = Warnings::default();
        merged.add(all);
        assert!(merged.left_out().unwrap().detail.ends_with(&format!("; {beyond} of other kinds")), "{merged:?}");
    }

    #[test]
    fn a_quoted_detail_is_cut_short() {
        let mut warnings = Warnings::default();
        warnings.note(Repair::UnmatchedClose, &"x".repeat(5000));
        assert!(warnings.texts()[0].len() < 200);
    }
}
