//! Mailboxes ("folders"): LIST, CREATE and SELECT, by the names that users write in the configuration.

use std::borrow::Cow;

use async_imap::imap_proto::{MailboxDatum, MailboxListData, NameAttribute, Response, ResponseCode};

use super::{
    budget::Asked,
    fault::{Answer, Fault},
    flight::Command,
    name::{Naming, from_utf7, levels_above, quoted, to_utf7, unquoted},
    outset::Foreseen,
    session::{Outcome, Session},
    settle::KEYWORD,
};
use crate::config::folder::{FolderName, special_use};

/// Maximum number of folders shown in the error if a configured folder does not exist.
const SHOWN_FOLDERS: usize = 20;
/// Maximum number of folders that match one pattern. Each pass reads all folders that a configured pattern matches, and
/// keeps some state of each.
const MOST_FOLDERS: usize = 10_000;

/// A folder, by its mailbox name in the protocol (modified UTF-7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(String);

/// Result of SELECT or EXAMINE.
#[derive(Debug, Clone, Copy)]
pub struct Selected {
    pub uid_validity: u32,
    pub exists: u32,
    pub read_only: bool,
    /// True if mails can be marked with [`KEYWORD`] (PERMANENTFLAGS).
    pub takes_keyword: bool,
    /// True if some mail may be marked with it (FLAGS).
    pub knows_keyword: bool,
}

impl Folder {
    /// Creates a folder from a name in the protocol. INBOX is the only case-insensitive name (RFC 3501 section 5.1).
    pub fn of(name: &str) -> Self {
        Self(if name.eq_ignore_ascii_case("INBOX") { "INBOX".into() } else { name.into() })
    }

    /// Returns INBOX if `name` is that: the one folder that every account has, with the same name on all servers.
    pub fn always(name: &FolderName) -> Option<Self> {
        name.as_str().eq_ignore_ascii_case("INBOX").then(|| Self::of(name.as_str()))
    }

    pub fn wire(&self) -> &str {
        &self.0
    }

    /// Returns the name as a quoted string.
    pub fn quoted(&self) -> String {
        quoted(&self.0)
    }

    /// True if the folder's name begins with `name`, which is in plain text.
    pub fn begins_with(&self, name: &str) -> bool {
        self.0.starts_with(&to_utf7(name))
    }

    /// Returns the decoded name, for people.
    pub fn shown(&self) -> String {
        from_utf7(&self.0)
    }
}

/// A SELECT under way, or an EXAMINE if nothing may be changed.
pub struct Selecting {
    folder: Folder,
    read_only: bool,
    uid_validity: Option<u32>,
    uid_next: Option<u32>,
    exists: u32,
    takes_keyword: bool,
    knows_keyword: bool,
}

impl Selecting {
    pub fn new(folder: Folder, read_only: bool) -> Self {
        Self {
            folder,
            read_only,
            uid_validity: None,
            uid_next: None,
            exists: 0,
            takes_keyword: false,
            knows_keyword: false,
        }
    }

    pub fn command(&self) -> String {
        let verb = if self.read_only { "EXAMINE" } else { "SELECT" };
        format!("{verb} {}", self.folder.quoted())
    }

    pub fn hear(&mut self, response: &Response<'_>) {
        let is_ours = |flag: &str| flag.eq_ignore_ascii_case(KEYWORD);
        match response {
            Response::Data { outcome, .. } => match &outcome.code {
                Some(ResponseCode::UidValidity(value)) => self.uid_validity = Some(*value),
                Some(ResponseCode::UidNext(value)) => self.uid_next = Some(*value),
                Some(ResponseCode::PermanentFlags(flags)) => {
                    self.takes_keyword = flags.iter().any(|flag| flag == "\\*" || is_ours(flag));
                }
                _ => {}
            },
            Response::MailboxData(MailboxDatum::Exists(count)) => self.exists = *count,
            Response::MailboxData(MailboxDatum::Flags(flags)) => {
                self.knows_keyword = flags.iter().any(|flag| is_ours(flag));
            }
            _ => {}
        }
    }

    pub fn end(self, outcome: &Outcome, host: &str) -> Result<Selected, Fault> {
        let uid_validity = self.uid_validity.ok_or_else(|| {
            Fault::Lost(format!(
                "{host} gives no UIDVALIDITY for {}, so mails have no lasting name",
                self.folder.shown()
            ))
        })?;
        Ok(Selected {
            uid_validity,
            // Each mail has a UID below UIDNEXT, whatever EXISTS claims.
            exists: self.exists.min(self.uid_next.map_or(u32::MAX, |next| next.saturating_sub(1))),
            read_only: outcome.answer.code.as_deref() == Some("READ-ONLY"),
            takes_keyword: self.takes_keyword,
            knows_keyword: self.knows_keyword,
        })
    }
}

pub async fn select(session: &mut Session, folder: &Folder, read_only: bool) -> Result<Selected, Fault> {
    let mut selecting = Selecting::new(folder.clone(), read_only);
    let outcome = session.command(selecting.command(), |response| selecting.hear(response)).await?;
    selecting.end(&outcome, session.host())
}

/// Creates a folder (CREATE), and subscribes to it (SUBSCRIBE) so that mail clients show it. Servers should create the
/// parent levels too (RFC 3501 section 6.3.3); for those that don't, these are created one by one.
pub async fn create(session: &mut Session, folder: &Folder, delimiter: Option<char>) -> Result<(), Fault> {
    let refused = match create_one(session, folder).await {
        Err(fault) if fault.leaves_session() => fault,
        other => return other,
    };
    let above: Vec<Folder> = levels_above(&folder.0, delimiter).map(|name| Folder(name.into())).collect();
    if above.is_empty() {
        return Err(refused);
    }
    for folder in above {
        match create_one(session, &folder).await {
            Err(fault) if !fault.leaves_session() => return Err(fault),
            _ => {} // it existed already, or the last CREATE tells what is wrong
        }
    }
    create_one(session, folder).await.map_err(|fault| if fault.leaves_session() { refused } else { fault })
}

async fn create_one(session: &mut Session, folder: &Folder) -> Result<(), Fault> {
    match session.command(format!("CREATE {}", folder.quoted()), |_| ()).await {
        Err(Fault::Refused { answer, .. }) if answer.code.as_deref() == Some("ALREADYEXISTS") => {}
        other => drop(other?),
    }
    match session.command(format!("SUBSCRIBE {}", folder.quoted()), |_| ()).await {
        Err(fault) if !fault.leaves_session() => Err(fault),
        _ => Ok(()), // cosmetic: a mail client may not show it
    }
}

/// Finds a folder under any name that `written` may mean, or by its special use, if that is written.
pub async fn find(
    session: &mut Session,
    written: &str,
    naming: &Naming,
    foreseen: &Foreseen,
) -> Result<Option<Folder>, Fault> {
    if written.eq_ignore_ascii_case("INBOX") {
        return Ok(Some(Folder("INBOX".into())));
    }
    for name in naming.meant(&named(session, written, naming).await?) {
        let wire = to_utf7(&name);
        let is_there = match foreseen.is_there(&wire) {
            Some(is_there) => is_there,
            None => list(session, &wire).await?.iter().any(|listed| listed.name == wire && listed.selectable),
        };
        if is_there {
            return Ok(Some(Folder(wire)));
        }
    }
    Ok(None)
}

/// Creates a folder that [`find`] did not find.
pub async fn make(session: &mut Session, setting: &str, written: &str, naming: &Naming) -> Result<Folder, Fault> {
    let mut refused = None;
    for name in naming.to_make(&named(session, written, naming).await?) {
        let folder = Folder(to_utf7(&name));
        match create(session, &folder, naming.delimiter).await {
            Ok(()) => {
                tracing::info!(host = session.host(), "made the folder {name} for {setting}");
                return Ok(folder);
            }
            Err(Fault::Refused { answer, .. }) => refused = refused.or(Some(answer)),
            Err(fault) => return Err(fault),
        }
    }
    Err(not_made(setting, written, &refused.unwrap_or_default()))
}

/// Returns the fault for a refused CREATE: temporary, or a configuration error.
pub(super) fn not_made(setting: &str, written: &str, answer: &Answer) -> Fault {
    let text = format!("can't make the folder {written:?} for {setting}: {}", answer.shown());
    if answer.is_temporary() { Fault::Lost(text) } else { Fault::Configuration(text) }
}

pub async fn missing(session: &mut Session, written: &str) -> Fault {
    let listed = match list_with(session, "LIST \"\" \"*\"", |_| true).await {
        Ok(listed) => listed,
        Err(fault) => return fault,
    };
    let more = if listed.len() > SHOWN_FOLDERS { ", …" } else { "" };
    let names: Vec<String> = listed.iter().take(SHOWN_FOLDERS).map(|folder| from_utf7(&folder.name)).collect();
    Fault::Configuration(format!(
        "there is no folder {written:?} on {}; there are: {}{more}",
        session.host(),
        super::fault::plain_to(&names.join(", "), 1000)
    ))
}

/// Returns the written name, or the name of the folder with the special use that is written instead.
pub(super) async fn named<'w>(session: &mut Session, written: &'w str, naming: &Naming) -> Result<Cow<'w, str>, Fault> {
    Ok(match special_use(written) {
        Some((special_use, below)) => marked(session, special_use, below, naming).await?.into(),
        None => written.into(),
    })
}

/// Returns the name of the folder with a special use (RFC 6154), or of the level `below` it.
async fn marked(
    session: &mut Session,
    special_use: &str,
    below: Option<&str>,
    naming: &Naming,
) -> Result<String, Fault> {
    let is_marked = |folder: &Listed| folder.special_use.is_some();
    let mut listed = list_with(session, "LIST \"\" \"*\"", is_marked).await?;
    if listed.is_empty() && session.offers("SPECIAL-USE") && session.offers("LIST-EXTENDED") {
        // Servers may return special uses only if asked for them.
        listed = list_with(session, "LIST \"\" \"*\" RETURN (SPECIAL-USE)", is_marked).await?;
    }
    let is_wanted = |folder: &&Listed| folder.is_for(special_use) && folder.selectable;
    let Some(found) = listed.iter().find(is_wanted) else {
        let host = session.host();
        let marked: Vec<String> = listed.iter().map(Listed::shown_with_use).collect();
        let there_are = match marked[..] {
            [] => "it marks no folder with a use".to_owned(),
            _ => format!("it marks {}", super::fault::plain_to(&marked.join(", "), 1000)),
        };
        return Err(Fault::Configuration(format!("{host} marks no folder as {special_use}; {there_are}")));
    };
    let name = from_utf7(&found.name);
    Ok(match below {
        Some(below) => format!("{name}{}{}", naming.delimiter.unwrap_or('/'), naming.translated(below)),
        None => name,
    })
}

/// Returns Gmail's trash folder.
pub async fn trash(session: &mut Session, naming: &Naming) -> Result<Folder, Fault> {
    match marked(session, "\\Trash", None, naming).await {
        Ok(name) => Ok(Folder(to_utf7(&name))),
        Err(Fault::Configuration(text)) => Err(Fault::Configuration(format!(
            "mails are deleted on Gmail by moving them to its trash, but {text}; let IMAP show the label Trash, in Gmail's settings"
        ))),
        Err(fault) => Err(fault),
    }
}

/// One LIST response.
pub struct Listed {
    pub name: String,
    pub delimiter: Option<char>,
    pub selectable: bool,
    special_use: Option<String>,
}

impl Listed {
    pub fn from(data: &MailboxListData<'_>) -> Self {
        let barred = data.name_attributes.iter().any(|attribute| match attribute {
            NameAttribute::NoSelect => true,
            NameAttribute::Extension(name) => name.eq_ignore_ascii_case("\\NonExistent"),
            _ => false,
        });
        Self {
            name: unquoted(&data.name),
            delimiter: data.delimiter.as_deref().and_then(|text| unquoted(text).chars().next()),
            selectable: !barred,
            special_use: data.name_attributes.iter().find_map(use_of),
        }
    }

    fn is_for(&self, special_use: &str) -> bool {
        self.special_use.as_ref().is_some_and(|told| told.eq_ignore_ascii_case(special_use))
    }

    fn shown_with_use(&self) -> String {
        format!("{:?} as {}", from_utf7(&self.name), self.special_use.as_deref().unwrap_or_default())
    }
}

pub async fn list(session: &mut Session, pattern: &str) -> Result<Vec<Listed>, Fault> {
    let found = list_with(session, &format!("LIST \"\" {}", quoted(pattern)), |_| true).await?;
    if found.len() > MOST_FOLDERS {
        let host = session.host();
        return Err(Fault::Flooded(format!(
            "{host} lists more than {MOST_FOLDERS} folders for {:?}; a narrower pattern in folder is needed",
            from_utf7(pattern)
        )));
    }
    Ok(found)
}

/// Returns the listed folders that satisfy `is_wanted`; at most [`MOST_FOLDERS`] and one more, so that the caller sees an
/// excess.
async fn list_with(
    session: &mut Session,
    command: &str,
    is_wanted: impl Fn(&Listed) -> bool + Send + Sync,
) -> Result<Vec<Listed>, Fault> {
    let mut found = Vec::new();
    let listing = session.command(Command::new(command, Asked::NAMES), |response| {
        if let Response::MailboxData(MailboxDatum::List(data)) = response {
            let listed = Listed::from(data);
            if found.len() <= MOST_FOLDERS && is_wanted(&listed) {
                found.push(listed);
            }
        }
    });
    match listing.await {
        // Some servers answer NO to a name that can't exist there, instead of an empty list.
        Err(Fault::Refused { .. }) => Ok(Vec::new()),
        Err(fault) => Err(fault),
        Ok(_) => Ok(found),
    }
}

fn use_of(attribute: &NameAttribute<'_>) -> Option<String> {
    let name = match attribute {
        NameAttribute::All => "\\All",
        NameAttribute::Archive => "\\Archive",
        NameAttribute::Drafts => "\\Drafts",
        NameAttribute::Flagged => "\\Flagged",
        NameAttribute::Junk => "\\Junk",
        NameAttribute::Sent => "\\Sent",
        NameAttribute::Trash => "\\Trash",
        _ => return None,
    };
    Some(name.to_owned())
}
