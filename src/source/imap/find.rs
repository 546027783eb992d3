//! Resolves the configured folders: looks up names, and expands patterns (RFC 3501 section 6.3.8) to existing names.

use super::{
    fault::Fault,
    mailbox::{Folder, find, list, missing},
    name::{Naming, to_utf7},
    outset::Foreseen,
    session::Session,
    targets::Targets,
};
use crate::config::folder::FolderName;

/// Result of a folder lookup; `folder` is `None` if it does not exist.
#[derive(Debug)]
pub struct Found {
    pub name: String,
    pub folder: Option<Folder>,
}

/// Returns the folders that `wanted` stands for, each once, in its order. Fails if no pattern is wanted and none of the
/// names exists.
pub async fn find_wanted(
    session: &mut Session,
    wanted: &[FolderName],
    targets: &Targets,
    foreseen: &Foreseen,
) -> Result<Vec<Found>, Fault> {
    let naming = targets.naming();
    let mut found: Vec<Found> = Vec::new();
    for name in wanted {
        if name.is_pattern() {
            for folder in matching(session, name.as_str(), naming).await? {
                let known = found.iter().any(|found| found.folder.as_ref() == Some(&folder));
                if !known && !targets.covers(&folder) {
                    found.push(Found { name: folder.shown(), folder: Some(folder) });
                }
            }
            continue;
        }
        let folder = find(session, name.as_str(), naming, foreseen).await?;
        if let Some(setting) = folder.as_ref().and_then(|folder| targets.role(folder)) {
            return Err(Fault::Configuration(format!("{setting} is the folder {name}, which mails are read from")));
        }
        found.push(Found { name: name.to_string(), folder });
    }
    let has_pattern = wanted.iter().any(FolderName::is_pattern);
    match &found[..] {
        [first, ..] if !has_pattern && found.iter().all(|found| found.folder.is_none()) => {
            Err(missing(session, &first.name).await)
        }
        _ => Ok(found),
    }
}

/// Lists the folders that match a pattern. Tries the pattern as written, then with the server's delimiter, then both below
/// INBOX, and returns the matches of the first one that has any.
async fn matching(session: &mut Session, pattern: &str, naming: &Naming) -> Result<Vec<Folder>, Fault> {
    for pattern in naming.meant(pattern) {
        let listed = list(session, &to_utf7(&pattern)).await?;
        let mut folders: Vec<Folder> =
            listed.into_iter().filter(|listed| listed.selectable).map(|listed| Folder::of(&listed.name)).collect();
        if !folders.is_empty() {
            folders.sort_unstable_by_key(Folder::quoted);
            return Ok(folders);
        }
    }
    Ok(Vec::new())
}
