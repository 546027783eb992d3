//! Folders on the server: finding them under whatever name the user wrote, making them, selecting them.

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

/// Folders listed when the one to read is not there.
const SHOWN_FOLDERS: usize = 20;
/// Folders of one pattern. Those of a pattern in the configuration are all looked through in each pass, and some is
/// remembered of each.
const MOST_FOLDERS: usize = 10_000;

/// A folder, by its name on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(String);

/// What SELECT or EXAMINE said.
#[derive(Debug, Clone, Copy)]
pub struct Selected {
    pub uid_validity: u32,
    /// The UID that the next mail to come will have, where that was told.
    pub uid_next: Option<u32>,
    pub exists: u32,
    pub read_only: bool,
    /// Mails can be marked with [`KEYWORD`].
    pub takes_keyword: bool,
    /// Some may be.
    pub knows_keyword: bool,
}

impl Folder {
    /// Of a name on the wire. INBOX is the one name that has no case (RFC 3501 section 5.1).
    pub fn of(name: &str) -> Self {
        Self(if name.eq_ignore_ascii_case("INBOX") { "INBOX".into() } else { name.into() })
    }

    /// The one folder that every mailbox has, under a name that is the same everywhere.
    pub fn always(name: &FolderName) -> Option<Self> {
        name.as_str().eq_ignore_ascii_case("INBOX").then(|| Self::of(name.as_str()))
    }

    pub fn wire(&self) -> &str {
        &self.0
    }

    /// As a command carries it.
    pub fn quoted(&self) -> String {
        quoted(&self.0)
    }

    /// Whether the name on the wire begins with this one, as people read it.
    pub fn begins_with(&self, name: &str) -> bool {
        self.0.starts_with(&to_utf7(name))
    }

    /// As people read it.
    pub fn shown(&self) -> String {
        from_utf7(&self.0)
    }
}

/// A SELECT that is under way, or EXAMINE where nothing may be changed.
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
            uid_next: self.uid_next,
            // Each mail has a UID below the next one's, whatever the server claims.
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

/// CREATE, and SUBSCRIBE so that mail programs show it. Servers should make the levels above too (RFC 3501 section
/// 6.3.3); for those that don't, they are made one by one.
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
            _ => {} // it was there before, or the last one says what is wrong
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
        _ => Ok(()), // a matter of looks
    }
}

/// Under any name that may be meant; or the one that the server marks with the use that was written.
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

/// Makes a folder that [`find`] did not find.
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

/// What it means that the server makes no such folder.
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

/// What was written, or the name of the folder that the server marks with the use that was.
pub(super) async fn named<'w>(session: &mut Session, written: &'w str, naming: &Naming) -> Result<Cow<'w, str>, Fault> {
    Ok(match special_use(written) {
        Some((special_use, below)) => marked(session, special_use, below, naming).await?.into(),
        None => written.into(),
    })
}

/// The name of the folder with a use (RFC 6154), and of a level `below` it.
async fn marked(
    session: &mut Session,
    special_use: &str,
    below: Option<&str>,
    naming: &Naming,
) -> Result<String, Fault> {
    let is_marked = |folder: &Listed| folder.special_use.is_some();
    let mut listed = list_with(session, "LIST \"\" \"*\"", is_marked).await?;
    if listed.is_empty() && session.offers("SPECIAL-USE") && session.offers("LIST-EXTENDED") {
        // Servers may tell it only to those who ask.
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

/// The folder that deleted mails go to, on Gmail.
pub async fn trash(session: &mut Session, naming: &Naming) -> Result<Folder, Fault> {
    match marked(session, "\\Trash", None, naming).await {
        Ok(name) => Ok(Folder(to_utf7(&name))),
        Err(Fault::Configuration(text)) => Err(Fault::Configuration(format!(
            "mails are deleted on Gmail by moving them to its trash, but {text}; let IMAP show the label Trash, in Gmail's settings"
        ))),
        Err(fault) => Err(fault),
    }
}

/// A folder as LIST tells it.
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

/// The first folders that are listed and wanted, one more than there may be.
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
        // Some names can't exist on some servers, and they say so instead of finding nothing.
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
