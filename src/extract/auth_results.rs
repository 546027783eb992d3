//! `Authentication-Results` fields (RFC 8601): the results of the user's own mail servers when they checked the sender of a
//! mail.
//!
//! Anyone can write such a field into a mail. So only fields whose authserv-id the user trusts are read, and of each trusted
//! id only the topmost field: a server adds its field above everything that arrived with the mail, so the fields below may
//! be the sender's, and not every server removes incoming fields that carry its own id. A field with an unterminated comment
//! or quoted string, or one that is too long, yields no results but still counts as its server's topmost field: parts of it
//! may be quoted from the sender, who must not be able to disqualify it. ARC-Authentication-Results are written by other
//! servers and are not read.

use crate::domain_name::org_domain;

/// Maximum size of a field; of a longer one no result is used. Fields of real servers have some hundred bytes.
pub(super) const FIELD_BYTES: usize = 8 << 10;
/// Maximum number of results kept per field, since all events of the mail repeat them. Reporters sign once or twice.
const RESULTS: usize = 16;
/// Maximum length of a result; the longest of RFC 8601 has 9 letters.
const RESULT_BYTES: usize = 32;
/// Maximum length of a domain name (RFC 1035 section 2.3.4).
const DOMAIN_BYTES: usize = 253;

/// The results of trusted servers for one mail, in the order of the mail's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailAuth {
    pub results: Vec<AuthResult>,
}

/// One result of SPF, DKIM or DMARC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthResult {
    pub method: AuthMethod,
    /// Lower case: `pass`, `fail`, `none`, …
    pub result: String,
    /// Lower case. SPF: the domain of MAIL FROM, or else of HELO. DKIM: the signer's domain. DMARC: the domain of From.
    pub domain: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    Spf,
    Dkim,
    Dmarc,
}

impl AuthMethod {
    const ALL: [Self; 3] = [Self::Spf, Self::Dkim, Self::Dmarc];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spf => "spf",
            Self::Dkim => "dkim",
            Self::Dmarc => "dmarc",
        }
    }

    /// Properties that hold the authenticated domain, in order of preference (RFC 8601 section 2.7).
    fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Spf => &["smtp.mailfrom", "smtp.helo"],
            Self::Dkim => &["header.d", "header.i"],
            Self::Dmarc => &["header.from"],
        }
    }
}

impl MailAuth {
    /// Parses the values of a mail's `Authentication-Results` fields, the topmost first. `trusted` are authserv-ids in lower
    /// case; an empty one matches fields without an id. `None` if the mail has no field of a trusted server.
    pub(super) fn of(fields: &[String], trusted: &[String]) -> Option<Self> {
        let mut heard: Vec<String> = Vec::new();
        let mut auth = None;
        for field in fields.iter().filter_map(|field| Field::parse(field)) {
            if trusted.contains(&field.server) && !heard.contains(&field.server) {
                heard.push(field.server);
                auth.get_or_insert_with(Self::default).results.extend(field.results);
            }
        }
        auth
    }

    /// The organisational domain that the mail was authenticated for: that of From if DMARC passed, else of the first DKIM
    /// signature that passed, else of the envelope sender if SPF passed. `None` if nothing passed.
    pub fn authenticated_domain(&self) -> Option<&str> {
        let passed = |method| self.passed().find(|passed| passed.method == method);
        let domain =
            [AuthMethod::Dmarc, AuthMethod::Dkim, AuthMethod::Spf].into_iter().find_map(passed)?.domain.as_deref()?;
        Some(org_domain(domain).unwrap_or(domain))
    }

    /// Results that are `pass` and name a domain.
    pub fn passed(&self) -> impl Iterator<Item = &AuthResult> {
        self.results.iter().filter(|told| told.result == "pass" && told.domain.is_some())
    }
}

/// One parsed field.
#[derive(Debug)]
struct Field {
    /// The authserv-id in lower case; empty if the field has none, as in fields of Microsoft 365.
    server: String,
    results: Vec<AuthResult>,
}

impl Field {
    /// `None` if the field begins with neither an authserv-id nor a result.
    fn parse(field: &str) -> Option<Self> {
        let start = &field[..field.floor_char_boundary(FIELD_BYTES)];
        let (tokens, ends_well) = tokens(start);
        let is_whole = ends_well && start.len() == field.len();
        let first = tokens.split(is_end).next()?;
        let (server, before) = match first {
            // No authserv-id: the field begins with a result.
            [Token::Word(_), Token::Equals, ..] => (String::new(), 0),
            [Token::Word(id)] if !id.is_empty() => (id.to_ascii_lowercase(), 1),
            [Token::Word(id), Token::Word(version)] if !id.is_empty() && is_number(version) => {
                (id.to_ascii_lowercase(), 1)
            }
            _ => return None,
        };
        if !is_whole {
            return Some(Self { server, results: Vec::new() });
        }
        let segments = tokens.split(is_end).skip(before);
        let mut results: Vec<AuthResult> = segments.filter_map(result).take(RESULTS).collect();
        // A mail has one From and so one DMARC result: a second one came from text of the sender that the server quoted.
        if results.iter().filter(|told| told.method == AuthMethod::Dmarc).count() > 1 {
            results.retain(|told| told.method != AuthMethod::Dmarc);
        }
        Some(Self { server, results })
    }
}

fn is_end(token: &Token) -> bool {
    *token == Token::Semicolon
}

fn is_number(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Parses `method[/version]=result` and the `ptype.property=value` pairs after it; other words are skipped.
fn result(segment: &[Token]) -> Option<AuthResult> {
    let [Token::Word(method), Token::Equals, Token::Word(result), properties @ ..] = segment else { return None };
    if result.len() > RESULT_BYTES {
        return None;
    }
    let method = method.split('/').next()?;
    let method = AuthMethod::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(method))?;
    let value_of = |property: &&str| {
        (0..properties.len()).find_map(|at| match properties.get(at..)? {
            // The value is missing: the next word is the next property's name.
            [Token::Word(_), Token::Equals, Token::Word(_), Token::Equals, ..] => None,
            [Token::Word(name), Token::Equals, Token::Word(value), ..] if name.eq_ignore_ascii_case(property) => {
                domain(value)
            }
            _ => None,
        })
    };
    let domain = method.properties().iter().find_map(value_of);
    Some(AuthResult { method, result: result.to_ascii_lowercase(), domain })
}

/// Returns the domain of an address, or `value` itself if it is a domain.
fn domain(value: &str) -> Option<String> {
    let domain = value.rsplit_once('@').map_or(value, |(_, domain)| domain);
    let domain = domain.trim_end_matches('>').trim_end_matches('.').to_lowercase();
    let is_label = |label: &str| {
        !label.is_empty() && label.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_'))
    };
    (domain.len() <= DOMAIN_BYTES && domain.split('.').all(is_label)).then_some(domain)
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Semicolon,
    Equals,
    /// Adjacent characters and quoted strings, joined, without the quotes.
    Word(String),
}

/// Tokenizes a field without its comments and white space. Stops at an unterminated comment or quoted string, or at an
/// unmatched `)`, and then returns false.
fn tokens(field: &str) -> (Vec<Token>, bool) {
    let mut tokens = Vec::new();
    let is_whole = read_tokens(field, &mut tokens).is_some();
    (tokens, is_whole)
}

fn read_tokens(field: &str, tokens: &mut Vec<Token>) -> Option<()> {
    let mut letters = field.chars();
    let mut word: Option<String> = None;
    while let Some(letter) = letters.next() {
        match letter {
            '"' => quoted(&mut letters, word.get_or_insert_default())?,
            '(' | ')' | ';' | '=' => {
                tokens.extend(word.take().map(Token::Word));
                match letter {
                    '(' => comment(&mut letters)?,
                    ')' => return None,
                    ';' => tokens.push(Token::Semicolon),
                    _ => tokens.push(Token::Equals),
                }
            }
            _ if letter.is_ascii_whitespace() => tokens.extend(word.take().map(Token::Word)),
            _ if letter.is_control() => return None,
            _ => word.get_or_insert_default().push(letter),
        }
    }
    tokens.extend(word.map(Token::Word));
    Some(())
}

/// Reads the rest of a quoted string after its opening quote (RFC 5322 section 3.2.4).
fn quoted(letters: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match letters.next()? {
            '"' => return Some(()),
            '\\' => word.push(letters.next()?),
            letter => word.push(letter),
        }
    }
}

/// Skips the rest of a comment, including nested ones (RFC 5322 section 3.2.2).
fn comment(letters: &mut impl Iterator<Item = char>) -> Option<()> {
    let mut depth = 1_u32;
    while depth > 0 {
        match letters.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '\\' => drop(letters.next()?),
            _ => {}
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
