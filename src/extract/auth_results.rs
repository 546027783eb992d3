//! `Authentication-Results` (RFC 8601): what the user's own mail servers found when they checked who sent a mail.
//!
//! Anyone can write such a field into a mail. Only those that begin with an authserv-id that the user trusts are looked at, and
//! of each of these ids only the topmost field: a server adds its field above all that came with the mail, so whatever stands
//! below may be the sender's, and not every server removes what arrives under its own name. A field in which a comment or a
//! quoted string does not end, or that is too long, says nothing, but is its server's topmost one all the same: parts of it are
//! the sender's words, who must not get it out of the way. ARC-Authentication-Results are other servers' words, and not read.

/// A longer field is not read to its end. Those of servers have some hundred bytes.
pub(super) const FIELD_BYTES: usize = 8 << 10;
/// Results kept of one field; all events of the mail repeat them. Reporters sign once or twice.
const RESULTS: usize = 16;
/// The longest result of RFC 8601 has 9 letters.
const RESULT_BYTES: usize = 32;
/// A domain name has at most 253 bytes (RFC 1035 section 2.3.4).
const DOMAIN_BYTES: usize = 253;

/// The results of trusted servers for one mail, in the order of its fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MailAuth {
    pub results: Vec<AuthResult>,
}

/// One result of SPF, DKIM or DMARC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthResult {
    pub method: AuthMethod,
    /// In lower case: `pass`, `fail`, `none`, …
    pub result: String,
    /// In lower case: of SPF the domain of MAIL FROM, or HELO without one; of DKIM the signer's; of DMARC that of From.
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

    /// Properties that tell the domain that was authenticated, the best one first (RFC 8601 section 2.7).
    fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Spf => &["smtp.mailfrom", "smtp.helo"],
            Self::Dkim => &["header.d", "header.i"],
            Self::Dmarc => &["header.from"],
        }
    }
}

impl MailAuth {
    /// From the values of a mail's `Authentication-Results` fields, the topmost first. `trusted` are authserv-ids in lower
    /// case; an empty one stands for fields without an id. `None`: no trusted server has said anything.
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

    /// The organisational domain that the mail was authenticated for: that of From with DMARC, else of the first signature
    /// that passed, else of the envelope's sender by SPF. `None` when nothing passed.
    pub fn authenticated_domain(&self) -> Option<&str> {
        let passed = |method| self.passed().find(|passed| passed.method == method);
        let domain =
            [AuthMethod::Dmarc, AuthMethod::Dkim, AuthMethod::Spf].into_iter().find_map(passed)?.domain.as_deref()?;
        Some(psl::domain_str(domain).unwrap_or(domain))
    }

    /// Results that vouch for a domain.
    pub fn passed(&self) -> impl Iterator<Item = &AuthResult> {
        self.results.iter().filter(|told| told.result == "pass" && told.domain.is_some())
    }
}

/// One field, as far as it is understood.
#[derive(Debug)]
struct Field {
    /// The authserv-id in lower case; empty where the field has none, as those of Microsoft 365.
    server: String,
    results: Vec<AuthResult>,
}

impl Field {
    /// `None`: it names no server, and is no result either.
    fn parse(field: &str) -> Option<Self> {
        let start = &field[..field.floor_char_boundary(FIELD_BYTES)];
        let (tokens, ends_well) = tokens(start);
        let is_whole = ends_well && start.len() == field.len();
        let first = tokens.split(is_end).next()?;
        let (server, before) = match first {
            // No id: the field begins with a result.
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
        // One From, one DMARC result: a second one came in with something that the server quoted.
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

/// `method[/version]=result` and after it `ptype.property=value` pairs; other words are passed over.
fn result(segment: &[Token]) -> Option<AuthResult> {
    let [Token::Word(method), Token::Equals, Token::Word(result), properties @ ..] = segment else { return None };
    if result.len() > RESULT_BYTES {
        return None;
    }
    let method = method.split('/').next()?;
    let method = AuthMethod::ALL.into_iter().find(|known| known.as_str().eq_ignore_ascii_case(method))?;
    let value_of = |property: &&str| {
        (0..properties.len()).find_map(|at| match properties.get(at..)? {
            // Without a value the next property's name stands there.
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

/// The domain of an address, or what is one already.
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
    /// Letters and quoted strings without anything between them, without the quotes.
    Word(String),
}

/// A field without comments and white space, up to its end, or up to a comment or a quoted string that does not end or was
/// not begun: then false.
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

/// The rest of a quoted string, behind its first quote (RFC 5322 section 3.2.4).
fn quoted(letters: &mut impl Iterator<Item = char>, word: &mut String) -> Option<()> {
    loop {
        match letters.next()? {
            '"' => return Some(()),
            '\\' => word.push(letters.next()?),
            letter => word.push(letter),
        }
    }
}

/// The rest of a comment, with those in it (RFC 5322 section 3.2.2).
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
