//! `search`: IMAP SEARCH criteria (RFC 3501 section 6.4.4) for the mails of a folder to read, without those that need a
//! CHARSET, which Microsoft 365 refuses. Checked here, so that a server never gets criteria that it can't understand.

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};

use super::{form::Form, near::nearest, units::size};

/// Maximum length of the criteria in a command, in octets: servers limit lines to 1,000, and the criteria follow a range of
/// mails.
const MOST_OCTETS: usize = 800;
/// Maximum nesting of parentheses, NOTs and ORs.
const DEEPEST: usize = 20;
/// Maximum age, in days: a hundred years.
const OLDEST_DAYS: u32 = 36_500;

const FLAGS: &[&str] =
    &["ALL", "ANSWERED", "FLAGGED", "NEW", "OLD", "RECENT", "SEEN", "UNANSWERED", "UNFLAGGED", "UNSEEN"];
const DAYS: &[&str] = &["BEFORE", "ON", "SENTBEFORE", "SENTON", "SENTSINCE", "SINCE"];
const TEXTS: &[&str] = &["BCC", "BODY", "CC", "FROM", "SUBJECT", "TEXT", "TO"];
const SIZES: &[&str] = &["LARGER", "SMALLER"];
const KEYWORDS: &[&str] = &["KEYWORD", "UNKEYWORD"];
const OTHERS: &[&str] = &["HEADER", "NOT", "OR"];

/// Criteria, all of which a mail must match; an empty list matches every mail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    written: String,
    criteria: Vec<Criterion>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Criterion {
    Flag(&'static str),
    Day(&'static str, Day),
    Text(&'static str, String),
    Size(&'static str, u32),
    Keyword(&'static str, String),
    Header(String, String),
    Not(Box<Criterion>),
    Or(Box<Criterion>, Box<Criterion>),
    All(Vec<Criterion>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Day {
    Date(Date),
    /// Number of days before the search.
    Ago(u32),
}

impl Search {
    /// True if every mail matches.
    pub fn is_everything(&self) -> bool {
        self.criteria.is_empty()
    }

    /// Formats the criteria for a SEARCH command at time `now`; empty if every mail matches.
    pub fn criteria(&self, now: Timestamp) -> String {
        joined(&self.criteria, now.to_zoned_datetime(TimeZone::UTC).date())
    }
}

impl Form for Search {
    type Value = Search;

    fn expected() -> String {
        "IMAP search criteria, such as UNSEEN SINCE 7d FROM google.com".to_owned()
    }

    fn kind() -> String {
        "IMAP search criteria".to_owned()
    }

    fn parse(text: &str) -> Result<Search, String> {
        let tokens = tokens(text)?;
        let mut reader = Reader { tokens: &tokens, depth: 0 };
        let criteria = reader.all(false)?;
        let search = Search { written: text.to_owned(), criteria };
        let octets = search.criteria(Timestamp::now()).len();
        if octets > MOST_OCTETS {
            return Err(format!(
                "makes a command of {octets} bytes, but servers accept {MOST_OCTETS}; use fewer criteria"
            ));
        }
        Ok(search)
    }

    fn written(value: &Search) -> String {
        value.written.clone()
    }
}

fn joined(criteria: &[Criterion], today: Date) -> String {
    criteria.iter().map(|criterion| criterion.shown(today)).collect::<Vec<_>>().join(" ")
}

impl Criterion {
    fn shown(&self, today: Date) -> String {
        match self {
            Self::Flag(key) => (*key).to_owned(),
            Self::Day(key, day) => format!("{key} {}", day.on(today).strftime("%-d-%b-%Y")),
            Self::Text(key, text) => format!("{key} {}", quoted(text)),
            Self::Size(key, octets) => format!("{key} {octets}"),
            Self::Keyword(key, keyword) => format!("{key} {keyword}"),
            Self::Header(name, text) => format!("HEADER {} {}", quoted(name), quoted(text)),
            Self::Not(criterion) => format!("NOT {}", criterion.shown(today)),
            Self::Or(one, other) => format!("OR {} {}", one.shown(today), other.shown(today)),
            Self::All(criteria) => format!("({})", joined(criteria, today)),
        }
    }
}

impl Day {
    fn on(self, today: Date) -> Date {
        match self {
            Self::Date(date) => date,
            Self::Ago(days) => today.saturating_sub(i64::from(days).days()),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Word(String),
    Quoted(String),
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    if let Some(odd) = text.chars().find(|c| !(' '..='~').contains(c)) {
        return Err(format!("contains {odd:?}; expected ASCII, since not every server supports other characters"));
    }
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        rest = match first {
            '(' | ')' => {
                tokens.push(if first == '(' { Token::Open } else { Token::Close });
                &rest[1..]
            }
            '"' => {
                let (text, after) = quotation(&rest[1..])?;
                tokens.push(Token::Quoted(text));
                after
            }
            _ => {
                let end = rest.find([' ', '(', ')', '"']).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                &rest[end..]
            }
        }
        .trim_start();
    }
    Ok(tokens)
}

/// Returns the text before the closing quotation mark, unescaped, and the text after it.
fn quotation(text: &str) -> Result<(String, &str), String> {
    let mut content = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((content, &text[at + 1..])),
            '\\' => content.extend(characters.next().map(|(_, escaped)| escaped)),
            other => content.push(other),
        }
    }
    Err(format!("has no closing quotation mark after \"{text}"))
}

struct Reader<'t> {
    tokens: &'t [Token],
    depth: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<&'t Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    /// Reads criteria up to the end, or to the closing parenthesis.
    fn all(&mut self, inside: bool) -> Result<Vec<Criterion>, String> {
        let mut criteria = Vec::new();
        loop {
            match self.tokens.first() {
                None if inside => return Err("has an opening bracket without a closing one".to_owned()),
                None => return Ok(criteria),
                Some(Token::Close) if inside => {
                    self.next();
                    return match criteria.is_empty() {
                        true => Err("has empty brackets".to_owned()),
                        false => Ok(criteria),
                    };
                }
                Some(_) => criteria.push(self.one("a criterion")?),
            }
        }
    }

    /// Reads one criterion; `after` is the expected element, for the message.
    fn one(&mut self, after: &str) -> Result<Criterion, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("nests brackets, NOT and OR more than {DEEPEST} levels deep"));
        }
        let criterion = match self.next() {
            None => Err(format!("ends where {after} was expected")),
            Some(Token::Open) => self.all(true).map(Criterion::All),
            Some(Token::Close) => Err("has a closing bracket without an opening one".to_owned()),
            Some(Token::Quoted(text)) => Err(format!("has the text {text:?} where a word such as FROM was expected")),
            Some(Token::Word(word)) => self.after(word),
        };
        self.depth -= 1;
        criterion
    }

    fn after(&mut self, word: &str) -> Result<Criterion, String> {
        let upper = word.to_ascii_uppercase();
        let among = |keys: &[&'static str]| keys.iter().copied().find(|key| *key == upper);
        if let Some(key) = among(FLAGS) {
            return Ok(Criterion::Flag(key));
        }
        if let Some(key) = among(DAYS) {
            return Ok(Criterion::Day(key, day(key, &self.text(key)?)?));
        }
        if let Some(key) = among(TEXTS) {
            return Ok(Criterion::Text(key, self.text(key)?));
        }
        if let Some(key) = among(SIZES) {
            let text = self.text(key)?;
            let octets = size(&text).and_then(|octets| u32::try_from(octets).ok());
            let octets = octets.ok_or_else(|| format!("has {text:?} after {key}; expected a size, such as 64KiB"))?;
            return Ok(Criterion::Size(key, octets));
        }
        if let Some(key) = among(KEYWORDS) {
            let keyword = self.text(key)?;
            let is_atom = !keyword.is_empty() && !keyword.contains(|c| " (){%*\"\\]".contains(c));
            return match is_atom {
                true => Ok(Criterion::Keyword(key, keyword)),
                false => Err(format!("has {keyword:?} after {key}; expected a keyword, such as $Reported")),
            };
        }
        match upper.as_str() {
            "HEADER" => Ok(Criterion::Header(self.text("HEADER")?, self.text("HEADER and a header's name")?)),
            "NOT" => Ok(Criterion::Not(Box::new(self.one("a criterion after NOT")?))),
            "OR" => {
                let one = self.one("two criteria after OR")?;
                Ok(Criterion::Or(Box::new(one), Box::new(self.one("a second criterion after OR")?)))
            }
            "DELETED" | "UNDELETED" => Err(format!("has {upper}, but mails marked as deleted are never read")),
            _ => Err(unknown(word)),
        }
    }

    fn text(&mut self, after: &str) -> Result<String, String> {
        match self.next() {
            Some(Token::Word(text) | Token::Quoted(text)) => Ok(text.clone()),
            Some(Token::Open | Token::Close) => {
                Err(format!("has a bracket after {after}; quote texts that contain one"))
            }
            None => Err(format!("ends after {after}; expected a value")),
        }
    }
}

fn unknown(word: &str) -> String {
    let known: Vec<String> =
        [FLAGS, DAYS, TEXTS, SIZES, KEYWORDS, OTHERS].concat().iter().map(|key| key.to_ascii_lowercase()).collect();
    match nearest(word, known.iter().map(String::as_str)) {
        Some(key) => format!("has the unknown criterion {word:?}; did you mean {}?", key.to_ascii_uppercase()),
        None => format!("has the unknown criterion {word:?}; known are {}", known.join(", ").to_ascii_uppercase()),
    }
}

/// Parses a day: `1-Nov-2026`, `2026-11-01` or `7d`.
fn day(key: &str, text: &str) -> Result<Day, String> {
    let ago = || text.strip_suffix(['d', 'D'])?.parse().ok().filter(|days| *days <= OLDEST_DAYS).map(Day::Ago);
    let date = || {
        let date = Date::strptime("%d-%b-%Y", text).or_else(|_| Date::strptime("%Y-%m-%d", text));
        date.ok().map(Day::Date)
    };
    ago().or_else(date).ok_or_else(|| {
        format!("has {text:?} after {key}; expected a day such as 1-Nov-2026, 2026-11-01, or 7d for 7 days ago")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-25T23:30:00Z".parse().unwrap()
    }

    fn criteria(text: &str) -> String {
        Search::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).criteria(now())
    }

    #[test]
    fn search_criteria_become_imap_search_keys() {
        for (written, asked) in [
            ("", ""),
            ("unseen", "UNSEEN"),
            (
                r#"UNSEEN SINCE 7d FROM google.com SUBJECT "Report Domain""#,
                r#"UNSEEN SINCE 18-Nov-2026 FROM "google.com" SUBJECT "Report Domain""#,
            ),
            ("SINCE 1-Nov-2026 BEFORE 2026-12-01", "SINCE 1-Nov-2026 BEFORE 1-Dec-2026"),
            ("or from a (from b not seen)", r#"OR FROM "a" (FROM "b" NOT SEEN)"#),
            (r#"HEADER X-Tag "a \"b\" \\c""#, r#"HEADER "X-Tag" "a \"b\" \\c""#),
            ("LARGER 64KiB SMALLER 10MB", "LARGER 65536 SMALLER 10000000"),
            ("UNKEYWORD $Reported", "UNKEYWORD $Reported"),
            ("NOT(OR SEEN FLAGGED)", "NOT (OR SEEN FLAGGED)"),
        ] {
            assert_eq!(criteria(written), asked, "{written}");
        }
    }

    #[test]
    fn search_ages_are_relative_to_the_day_of_the_search() {
        let search = Search::parse("SINCE 1d").unwrap();
        assert_eq!(search.criteria(now()), "SINCE 24-Nov-2026");
        assert_eq!(search.criteria("2026-11-27T00:00:00Z".parse().unwrap()), "SINCE 26-Nov-2026");
    }

    #[test]
    fn invalid_search_criteria_are_refused_with_a_suggestion() {
        for (written, said) in [
            ("UNSEN", "did you mean UNSEEN?"),
            ("FORM google.com", "did you mean FROM?"),
            ("SINCE yesterday", "expected a day such as 1-Nov-2026"),
            ("SINCE 31-Feb-2026", "expected a day such as"),
            ("SINCE", "ends after SINCE"),
            ("SINCE 4000000000d", "expected a day such as"),
            ("FROM (a)", "a bracket after FROM"),
            ("NOT", "a criterion after NOT"),
            ("OR SEEN", "a second criterion after OR"),
            ("(SEEN", "without a closing one"),
            ("SEEN)", "without an opening one"),
            ("()", "empty brackets"),
            ("\"Report\"", "where a word such as FROM"),
            ("SUBJECT \"Report", "no closing quotation mark"),
            ("FROM müller", "expected ASCII"),
            ("SEEN\r\nS1 LOGOUT", "expected ASCII"),
            ("LARGER big", "expected a size"),
            ("KEYWORD \"a b\"", "expected a keyword"),
            ("DELETED", "never read"),
        ] {
            let error = Search::parse(written).unwrap_err();
            assert!(error.contains(said), "{written}: {error}");
        }
    }

    #[test]
    fn search_length_and_nesting_are_limited() {
        assert!(Search::parse(&"NOT ".repeat(100_000)).unwrap_err().contains("levels deep"));
        assert!(Search::parse(&"(".repeat(100_000)).unwrap_err().contains("levels deep"));
        assert!(Search::parse(&"SEEN ".repeat(300)).unwrap_err().contains("use fewer criteria"));
    }
}
