//! First commands of a session, pipelined: asks for the server's naming scheme, for the existence of the configured
//! folders, and for the content of the folder that is read first.

use std::collections::{BTreeMap, BTreeSet};

use async_imap::imap_proto::{MailboxDatum, Response, Status};
use jiff::Timestamp;

use super::{
    mailbox::{Folder, Listed, PendingSelect, Prelisted, Selected},
    search::{FULL_LISTING, FullListing},
};
use crate::{
    config::{
        folder::{self, special_use},
        source::Imap,
    },
    source::imap::{
        error::Fault,
        wire::{
            mailbox_name::{Naming, to_utf7},
            response_limits::Allowance,
            session::{Command, Session},
        },
    },
};

/// Responses to the first commands.
#[derive(Debug)]
pub struct Startup {
    pub naming: Naming,
    pub prelisted: Prelisted,
    /// SELECT of the folder to be read first, if it succeeded.
    pub selected: Option<Selected>,
    /// All mails of that folder, if they were requested.
    pub full_listing: Option<FullListing>,
}

/// The folder that is read first.
#[derive(Debug, Clone)]
pub struct FirstFolder {
    pub folder: Folder,
    /// True if the session requests a listing of all its mails, however many they are.
    pub full_listing: bool,
}

/// Pipelines the first commands of a session.
pub async fn startup(
    session: &mut Session,
    config: &Imap,
    first: Option<&FirstFolder>,
    dry_run: bool,
) -> Result<Startup, Fault> {
    let names = names(config);
    // NAMESPACE (RFC 2342) if it is offered; also LIST with an empty name, which returns the delimiter (RFC 3501 section
    // 6.3.8).
    let mut commands: Vec<Command> = vec!["LIST \"\" \"\"".into()];
    if session.offers("NAMESPACE") {
        commands.push("NAMESPACE".into());
    }
    commands.extend(names.iter().map(|name| format!("LIST \"\" {}", Folder::of(name).quoted()).into()));
    let mut selecting = first.map(|first| PendingSelect::new(first.folder.clone(), dry_run));
    let select_at = commands.len();
    commands.extend(selecting.as_ref().map(|selecting| selecting.command().into()));
    let mut full_listing = first.is_some_and(|first| first.full_listing).then(FullListing::default);
    commands.extend(full_listing.is_some().then(|| Command::new(FULL_LISTING, Allowance::FOLDER)));
    let mut namespaces = None;
    let mut delimiter = None;
    let mut prelisted: BTreeMap<String, bool> = names.into_iter().map(|name| (name, false)).collect();
    let outcomes = session.commands(commands, |response| match response {
        Response::Data { status: Status::No, outcome } if namespaces.is_none() => {
            namespaces = outcome.information.as_deref().and_then(of_namespace).and_then(Naming::from_namespaces);
        }
        Response::MailboxData(MailboxDatum::List(data)) => {
            let listed = Listed::from(data);
            delimiter = delimiter.or(listed.delimiter);
            if let Some(is_there) = prelisted.get_mut(&listed.name) {
                *is_there |= listed.selectable;
            }
        }
        other => {
            if let Some(full_listing) = &mut full_listing {
                full_listing.on_response(other);
            }
            if let Some(selecting) = &mut selecting {
                selecting.on_response(other);
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
    Ok(Startup {
        naming: namespaces.unwrap_or_else(|| Naming::guessed(delimiter)),
        prelisted: Prelisted(prelisted),
        selected,
        full_listing,
    })
}

/// Returns the text after the word NAMESPACE, as rewritten by the guard; `None` if it is the text of a NO.
fn of_namespace(text: &str) -> Option<&str> {
    let (word, rest) = text.split_once(' ')?;
    word.eq_ignore_ascii_case("ESPACE").then_some(rest)
}

/// Returns all names in the protocol under which the configured folders may exist, on any server.
fn names(config: &Imap) -> BTreeSet<String> {
    let now = Timestamp::now().as_second();
    let targets = [&config.archive_folder, &config.quarantine_folder].into_iter().flatten();
    let targets = targets.map(|pattern| folder::at(pattern, now));
    let read = config.folder.iter().filter(|name| !name.is_pattern()).map(ToString::to_string);
    let written = targets.chain(read).filter(|name| special_use(name).is_none() && !name.eq_ignore_ascii_case("INBOX"));
    let meant = |name: String| ['/', '.'].map(|delimiter| Naming::guessed(Some(delimiter)).meant(&name));
    written.flat_map(meant).flatten().map(|name| to_utf7(&name)).collect()
}
