//! First commands of a session, pipelined: asks for the server's naming scheme, for the existence of the configured
//! folders, and for the content of the folder that is read first.

use std::collections::BTreeMap;

use async_imap::imap_proto::{MailboxDatum, Response, Status};
use jiff::Timestamp;

use super::{
    budget::Asked,
    fault::Fault,
    fetch::{CENSUS, Census},
    flight::Command,
    mailbox::{Folder, Listed, Selected, Selecting},
    name::{Naming, to_utf7},
    session::Session,
};
use crate::config::{
    folder::{self, special_use},
    source::Imap,
};

/// Existence of the folders that the configured names may stand for, by their names in the protocol. They are looked up
/// before the naming scheme is known.
#[derive(Debug, Default)]
pub struct Foreseen(BTreeMap<String, bool>);

impl Foreseen {
    /// Returns true if the folder exists; `None` if it was not looked up.
    pub fn is_there(&self, wire: &str) -> Option<bool> {
        self.0.get(wire).copied()
    }

    /// Records that the folder was created meanwhile.
    pub fn is_made(&mut self, wire: &str) {
        self.0.insert(wire.into(), true);
    }
}

/// Responses to the first commands.
#[derive(Debug)]
pub struct Outset {
    pub naming: Naming,
    pub foreseen: Foreseen,
    /// SELECT of the folder to be read first, if it succeeded.
    pub selected: Option<Selected>,
    /// Census of that folder, if one was requested.
    pub census: Option<Census>,
}

/// The folder that is read first.
#[derive(Debug, Clone)]
pub struct First {
    pub folder: Folder,
    /// True if the session requests a census of its mails, however many they are.
    pub census: bool,
}

pub async fn outset(
    session: &mut Session,
    config: &Imap,
    first: Option<&First>,
    dry_run: bool,
) -> Result<Outset, Fault> {
    let names = names(config);
    // NAMESPACE (RFC 2342) if it is offered; also LIST with an empty name, which returns the delimiter (RFC 3501 section
    // 6.3.8).
    let mut commands: Vec<Command> = vec!["LIST \"\" \"\"".into()];
    if session.offers("NAMESPACE") {
        commands.push("NAMESPACE".into());
    }
    commands.extend(names.iter().map(|name| format!("LIST \"\" {}", Folder::of(name).quoted()).into()));
    let mut selecting = first.map(|first| Selecting::new(first.folder.clone(), dry_run));
    let select_at = commands.len();
    commands.extend(selecting.as_ref().map(|selecting| selecting.command().into()));
    let mut census = first.is_some_and(|first| first.census).then(Census::default);
    commands.extend(census.is_some().then(|| Command::new(CENSUS, Asked::FOLDER)));
    let mut namespaces = None;
    let mut delimiter = None;
    let mut foreseen: BTreeMap<String, bool> = names.into_iter().map(|name| (name, false)).collect();
    let outcomes = session.flight(commands, |response| match response {
        Response::Data { status: Status::No, outcome } if namespaces.is_none() => {
            namespaces = outcome.information.as_deref().and_then(of_namespace).and_then(Naming::told);
        }
        Response::MailboxData(MailboxDatum::List(data)) => {
            let listed = Listed::from(data);
            delimiter = delimiter.or(listed.delimiter);
            if let Some(is_there) = foreseen.get_mut(&listed.name) {
                *is_there |= listed.selectable;
            }
        }
        other => {
            if let Some(census) = &mut census {
                census.hear(other);
            }
            if let Some(selecting) = &mut selecting {
                selecting.hear(other);
            }
        }
    });
    // NO to NAMESPACE or LIST is no error: the other one still gives a delimiter, and a name that can't exist does not
    // exist.
    let outcomes = outcomes.await?;
    let selected = match (selecting, outcomes.get(select_at)) {
        // An error of this SELECT is reported when the folder is read.
        (Some(selecting), Some(Ok(outcome))) => selecting.end(outcome, session.host()).ok(),
        _ => None,
    };
    Ok(Outset {
        naming: namespaces.unwrap_or_else(|| Naming::guessed(delimiter)),
        foreseen: Foreseen(foreseen),
        selected,
        census,
    })
}

/// Returns the text after the word NAMESPACE, as rewritten by the guard; `None` if it is the text of a NO.
fn of_namespace(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(' ')?;
    word.eq_ignore_ascii_case("ESPACE").then_some(rest)
}

/// Returns all names in the protocol under which the configured folders may exist, on any server.
fn names(config: &Imap) -> std::collections::BTreeSet<String> {
    let now = Timestamp::now().as_second();
    let targets = [&config.archive_folder, &config.quarantine_folder].into_iter().flatten();
    let targets = targets.map(|pattern| folder::at(pattern, now));
    let read = config.folder.iter().filter(|name| !name.is_pattern()).map(ToString::to_string);
    let written = targets.chain(read).filter(|name| special_use(name).is_none() && !name.eq_ignore_ascii_case("INBOX"));
    let meant = |name: String| ['/', '.'].map(|delimiter| Naming::guessed(Some(delimiter)).meant(&name));
    written.flat_map(meant).flatten().map(|name| to_utf7(&name)).collect()
}
