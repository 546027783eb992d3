//! Repairs: everything that was corrected or left out so that a document could be parsed, as a closed list of codes.

/// Repairs made, each kind once with a count; at most [`KINDS`] kinds, with a short detail each.
#[derive(Debug, Clone, Default)]
pub struct Warnings {
    seen: Vec<Seen>,
    more: u64,
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
        }
    }

    /// Adds the repairs noted elsewhere.
    pub fn add(&mut self, other: Warnings) {
        self.more += other.more;
        for seen in other.seen {
            self.note(seen.repair, &seen.detail);
            if let Some(ours) = self.seen.iter_mut().find(|ours| ours.repair == seen.repair) {
                ours.times += seen.times - 1;
            }
        }
    }

    /// Notes a repair whose occurrences can't be counted.
    pub fn once(&mut self, repair: Repair) {
        if !self.seen.iter().any(|seen| seen.repair == repair) {
            self.note(repair, "");
        }
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

macro_rules! repairs {
    ($($name:ident = $code:literal, $explanation:literal;)*) => {
        /// Kinds of repairs; codes are only ever added.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Repair { $(#[doc = $explanation] $name,)* }

        impl Repair {
            /// Code that a warning starts with.
            pub fn code(self) -> &'static str {
                match self { $(Repair::$name => $code,)* }
            }

            fn explanation(self) -> &'static str {
                match self { $(Repair::$name => $explanation,)* }
            }
        }
    };
}

repairs! {
    UnknownEncoding = "unknown_encoding", "the declared encoding is unknown or wrong, read as UTF-8";
    InvalidBytes = "invalid_bytes", "bytes that are invalid in the document's encoding were replaced";
    ForbiddenCharacters = "forbidden_characters", "characters that are not allowed in XML were removed";
    LeadingJunk = "leading_junk", "text before the first element was skipped";
    StrayLessThan = "stray_less_than", "a < that is not part of a tag was read as text";
    StrayAmpersand = "stray_ampersand", "an & that is not part of an entity was read as text";
    BrokenTag = "broken_tag", "a tag that is not closed or quoted correctly was repaired";
    TextShortened = "text_shortened", "a text that is too long was truncated";
    Wrapped = "wrapped", "the feedback element is inside another element";
    WrappedObject = "wrapped_object", "the report is inside another JSON object";
    MissingClose = "missing_close", "an end tag is missing or broken, the element was closed where another began or ended";
    UnmatchedClose = "unmatched_close", "an end tag without a start tag was skipped";
    StrayText = "stray_text", "text between elements was skipped";
    Repeated = "repeated", "a single-valued element is repeated with another value, the first was kept";
    SecondPolicy = "second_policy", "more than one policy_published, the first was kept";
    SeveralRows = "several_rows", "a record has several rows, each was read as a separate record";
    TooManyResults = "too_many_results", "more than 64 results of one kind in a record, the first were kept";
    ExtensionsShortened = "extensions_shortened", "more elements outside the schema than the maximum, the first were kept";
    TooManyErrors = "too_many_errors", "more error texts in the metadata than the maximum, the first were kept";
    EmptyRecord = "empty_record", "a record without address, count, domain and result was skipped";
    SkippedRecord = "skipped_record", "a record or row in an unexpected place was skipped";
    SecondReport = "second_report", "another feedback element after the first was skipped";
    TrailingJunk = "trailing_junk", "data after the end of the report was skipped";
    ControlCharacters = "control_characters", "control characters in a string were replaced by spaces";
    WrongType = "wrong_type", "a value of an unexpected JSON type was skipped";
    ListShortened = "list_shortened", "a list with too many entries was truncated";
    FoldedWrong = "folded_wrong", "a line that is not a field was skipped";
    NoFeedbackType = "no_feedback_type", "Feedback-Type is missing, the report was recognised by its other fields";
    Prose = "prose", "the report has no machine-readable part, its fields were read from the human-readable part";
    DamagedAfterEnd = "damaged_after_end", "the report is complete, but its container is damaged";
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
    fn a_quoted_detail_is_cut_short() {
        let mut warnings = Warnings::default();
        warnings.note(Repair::UnmatchedClose, &"x".repeat(5000));
        assert!(warnings.texts()[0].len() < 200);
    }
}
