//! Folders on the server: finding them under whatever name the user wrote, making them, selecting them.

use async_imap::imap_proto::{MailboxDatum, NameAttribute, Response, ResponseCode};

use super::{
    fault::Fault,
    name::{below_inbox, from_utf7, quoted, to_utf7, translated, unquoted},
    session::Session,
};
use crate::config::source::Imap;

/// Folders listed when the one to read is not there.
const SHOWN_FOLDERS: usize = 20;

/// A folder, by its name on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder(String);

/// The folders that mails are moved to.
#[derive(Debug, Clone)]
pub struct Folders {
    pub archive: Option<Folder>,
    pub quarantine: Option<Folder>,
}

impl Folders {
    /// The setting that names `folder`, if mails are moved to it.
    pub fn role(&self, folder: &Folder) -> Option<&'static str> {
        let roles = [("archive_folder", &self.archive), ("quarantine_folder", &self.quarantine)];
        roles.into_iter().find(|(_, target)| target.as_ref() == Some(folder)).map(|(setting, _)| setting)
    }
}

/// What SELECT or EXAMINE said.
#[derive(Debug, Clone, Copy)]
pub struct Selected {
    pub uid_validity: u32,
    pub exists: u32,
    pub read_only: bool,
}

impl Folder {
    /// Of a name on the wire. INBOX is the one name that has no case (RFC 3501 section 5.1).
    pub fn of(name: &str) -> Self {
        Self(if name.eq_ignore_ascii_case("INBOX") { "INBOX".into() } else { name.into() })
    }

    /// As a command carries it.
    pub fn quoted(&self) -> String {
        quoted(&self.0)
    }

    /// As people read it.
    pub fn shown(&self) -> String {
        from_utf7(&self.0)
    }
}

/// Finds the folders that mails are moved to; makes those that are not there, unless `dry_run`.
pub async fn find_targets(session: &mut Session, config: &Imap, dry_run: bool) -> Result<Folders, Fault> {
    let delimiter = delimiter(session).await?;
    let mut targets = [None, None];
    let settings = [("archive_folder", &config.archive_folder), ("quarantine_folder", &config.quarantine_folder)];
    for (target, (setting, written)) in targets.iter_mut().zip(settings) {
        let Some(written) = written else { continue };
        *target = Some(match find(session, written, delimiter).await? {
            Some(folder) => folder,
            None if dry_run => Folder(to_utf7(&translated(written, delimiter))),
            None => make(session, setting, written, delimiter).await?,
        });
    }
    let [archive, quarantine] = targets;
    Ok(Folders { archive, quarantine })
}

/// EXAMINE where nothing may be changed, SELECT otherwise.
pub async fn select(session: &mut Session, folder: &Folder, read_only: bool) -> Result<Selected, Fault> {
    let (mut uid_validity, mut exists) = (None, 0);
    let verb = if read_only { "EXAMINE" } else { "SELECT" };
    let command = format!("{verb} {}", folder.quoted());
    let outcome = session.command(&command, |response| match response {
        Response::Data { outcome, .. } => {
            if let Some(ResponseCode::UidValidity(value)) = outcome.code {
                uid_validity = Some(value);
            }
        }
        Response::MailboxData(MailboxDatum::Exists(count)) => exists = *count,
        _ => {}
    });
    let outcome = outcome.await?;
    let uid_validity = uid_validity.ok_or_else(|| {
        Fault::Lost(format!(
            "{} gives no UIDVALIDITY for {}, so mails have no lasting name",
            session.host(),
            folder.shown()
        ))
    })?;
    Ok(Selected { uid_validity, exists, read_only: outcome.answer.code.as_deref() == Some("READ-ONLY") })
}

/// CREATE, and SUBSCRIBE so that mail programs show it.
pub async fn create(session: &mut Session, folder: &Folder) -> Result<(), Fault> {
    match session.command(&format!("CREATE {}", folder.quoted()), |_| ()).await {
        Err(Fault::Refused { answer, .. }) if answer.code.as_deref() == Some("ALREADYEXISTS") => {}
        other => drop(other?),
    }
    match session.command(&format!("SUBSCRIBE {}", folder.quoted()), |_| ()).await {
        Err(fault) if !fault.leaves_session() => Err(fault),
        _ => Ok(()), // a matter of looks
    }
}

/// As written, else with the server's delimiter, else either below INBOX.
pub async fn find(session: &mut Session, written: &str, delimiter: Option<char>) -> Result<Option<Folder>, Fault> {
    if written.eq_ignore_ascii_case("INBOX") {
        return Ok(Some(Folder("INBOX".into())));
    }
    let mut names = vec![written.to_owned()];
    let translated = translated(written, delimiter);
    if translated != written {
        names.push(translated);
    }
    let below: Vec<String> = names.iter().filter_map(|name| below_inbox(name, delimiter)).collect();
    for name in names.into_iter().chain(below) {
        let wire = to_utf7(&name);
        if list(session, &wire).await?.iter().any(|listed| listed.name == wire && listed.selectable) {
            return Ok(Some(Folder(wire)));
        }
    }
    Ok(None)
}

async fn make(session: &mut Session, setting: &str, written: &str, delimiter: Option<char>) -> Result<Folder, Fault> {
    let name = translated(written, delimiter);
    let mut refused = None;
    for name in std::iter::once(name.clone()).chain(below_inbox(&name, delimiter)) {
        let folder = Folder(to_utf7(&name));
        match create(session, &folder).await {
            Ok(()) => {
                tracing::info!(host = session.host(), "made the folder {name} for {setting}");
                return Ok(folder);
            }
            Err(Fault::Refused { answer, .. }) => refused = refused.or(Some(answer)),
            Err(fault) => return Err(fault),
        }
    }
    let answer = refused.unwrap_or_default();
    let text = format!("can't make the folder {name:?} for {setting}: {}", answer.shown());
    Err(if answer.is_temporary() { Fault::Lost(text) } else { Fault::Configuration(text) })
}

pub async fn missing(session: &mut Session, written: &str) -> Fault {
    let listed = match list(session, "*").await {
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

/// A folder as LIST tells it.
pub struct Listed {
    pub name: String,
    delimiter: Option<char>,
    pub selectable: bool,
}

pub async fn list(session: &mut Session, pattern: &str) -> Result<Vec<Listed>, Fault> {
    let mut found = Vec::new();
    let command = format!("LIST \"\" {}", quoted(pattern));
    let listing = session.command(&command, |response| {
        if let Response::MailboxData(MailboxDatum::List(data)) = response {
            let barred = data.name_attributes.iter().any(|attribute| match attribute {
                NameAttribute::NoSelect => true,
                NameAttribute::Extension(name) => name.eq_ignore_ascii_case("\\NonExistent"),
                _ => false,
            });
            found.push(Listed {
                name: unquoted(&data.name),
                delimiter: data.delimiter.as_deref().and_then(|text| unquoted(text).chars().next()),
                selectable: !barred,
            });
        }
    });
    match listing.await {
        // Some names can't exist on some servers, and they say so instead of finding nothing.
        Err(Fault::Refused { .. }) => Ok(Vec::new()),
        Err(fault) => Err(fault),
        Ok(_) => Ok(found),
    }
}

/// RFC 3501 section 6.3.8: an empty name asks for the delimiter.
pub async fn delimiter(session: &mut Session) -> Result<Option<char>, Fault> {
    Ok(list(session, "").await?.first().and_then(|root| root.delimiter))
}
