//! What a session asks at its outset, all at once: how the server builds names, which of the folders that are written in the
//! configuration there are, and what is in the one that is read first.

use std::collections::BTreeMap;

use async_imap::imap_proto::{MailboxDatum, Response, Status};
use jiff::Timestamp;

use super::{
    ahead::{Ahead, Early},
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

/// Names that were asked about before it was known which of them is meant: on the wire, and whether there is such a
/// folder.
#[derive(Debug, Default)]
pub struct Foreseen(BTreeMap<String, bool>);

impl Foreseen {
    /// `None`: nobody asked.
    pub fn is_there(&self, wire: &str) -> Option<bool> {
        self.0.get(wire).copied()
    }

    /// One was made meanwhile.
    pub fn is_made(&mut self, wire: &str) {
        self.0.insert(wire.into(), true);
    }
}

/// What the server said.
#[derive(Debug)]
pub struct Outset {
    pub naming: Naming,
    pub foreseen: Foreseen,
    /// What is in the folder that was to be read first, if it could be selected.
    pub selected: Option<Selected>,
    /// What was told of its mails, where that was asked.
    pub census: Option<Census>,
}

/// The folder that is read first.
#[derive(Debug, Clone)]
pub struct First {
    pub folder: Folder,
    /// Its mails are counted at once, however many there are, and some of them are asked for before they are known.
    pub census: Option<Ahead>,
}

pub async fn outset(
    session: &mut Session,
    config: &Imap,
    first: Option<&First>,
    dry_run: bool,
) -> Result<Outset, Fault> {
    let names = names(config);
    // RFC 2342 where it is offered; else RFC 3501 section 6.3.8, where an empty name asks for the delimiter.
    let mut commands: Vec<Command> = vec!["LIST \"\" \"\"".into()];
    if session.offers("NAMESPACE") {
        commands.push("NAMESPACE".into());
    }
    commands.extend(names.iter().map(|name| format!("LIST \"\" {}", Folder::of(name).quoted()).into()));
    let mut selecting = first.map(|first| Selecting::new(first.folder.clone(), dry_run));
    let select_at = commands.len();
    commands.extend(selecting.as_ref().map(|selecting| selecting.command().into()));
    let mut census = None;
    if let Some(ahead) = first.and_then(|first| first.census.as_ref()) {
        // One after the other, nothing would be spared.
        let early = if session.pipelines() { ahead.begin() } else { None };
        commands.push(Command::new(CENSUS, Asked::FOLDER));
        commands.extend(early.as_ref().map(Early::command));
        census = Some(Census::with(early));
    }
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
    // One that says no has a delimiter all the same, and names that can't exist are not there.
    let outcomes = outcomes.await?;
    let selected = match (selecting, outcomes.get(select_at)) {
        // What is wrong with the folder is told when it is its turn.
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

/// What follows the word NAMESPACE, as the guard lets it through; `None` where the text is a refusal's.
fn of_namespace(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(' ')?;
    word.eq_ignore_ascii_case("ESPACE").then_some(rest)
}

/// All names on the wire under which the folders of the configuration may be there, on any server.
fn names(config: &Imap) -> std::collections::BTreeSet<String> {
    let now = Timestamp::now().as_second();
    let targets = [&config.archive_folder, &config.quarantine_folder].into_iter().flatten();
    let targets = targets.map(|pattern| folder::at(pattern, now));
    let read = config.folder.iter().filter(|name| !name.is_pattern()).map(ToString::to_string);
    let written = targets.chain(read).filter(|name| special_use(name).is_none() && !name.eq_ignore_ascii_case("INBOX"));
    let meant = |name: String| ['/', '.'].map(|delimiter| Naming::guessed(Some(delimiter)).meant(&name));
    written.flat_map(meant).flatten().map(|name| to_utf7(&name)).collect()
}
