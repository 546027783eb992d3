//! Resolves the configured folders to mailboxes: those that are read, and the target folders of settled mails, which are
//! found or created at the start of a session or, if their name contains a date, when the first mail of that date is
//! moved.

use jiff::Timestamp;

use super::mailbox::{Folder, Prelisted, find, list, make, missing, trash};
use crate::{
    config::{
        folder::{self, FolderName},
        source::Imap,
    },
    source::imap::{
        error::Fault,
        plan::settle_queue::{Action, deletes},
        wire::{
            mailbox_name::{Naming, to_utf7},
            session::Session,
        },
    },
};

/// Target folders of settled mails.
#[derive(Debug, Clone)]
pub struct TargetFolders {
    naming: Naming,
    archive: Option<Target>,
    quarantine: Option<Target>,
    /// Trash folder, if deleting requires a move there because \Deleted only removes a mail from its folder (Gmail).
    trash: Option<Folder>,
}

#[derive(Debug, Clone)]
struct Target {
    setting: &'static str,
    pattern: String,
    /// Name that the pattern had at the last lookup, and the folder that was found or created.
    found: Option<(String, Folder)>,
}

impl TargetFolders {
    /// Looks up the configured folders, and creates missing ones whose names contain no date, unless `dry_run`.
    pub async fn find(
        session: &mut Session,
        config: &Imap,
        naming: Naming,
        prelisted: &mut Prelisted,
        dry_run: bool,
    ) -> Result<Self, Fault> {
        let trash = match deletes(config) && keeps_deleted(session) {
            true => Some(trash(session, &naming).await?),
            false => None,
        };
        let target = |setting, pattern: &Option<String>| {
            pattern.as_ref().map(|pattern| Target { setting, pattern: pattern.clone(), found: None })
        };
        let mut targets = Self {
            naming,
            archive: target("archive_folder", &config.archive_folder),
            quarantine: target("quarantine_folder", &config.quarantine_folder),
            trash,
        };
        let Self { naming, archive, quarantine, .. } = &mut targets;
        for target in [archive, quarantine].into_iter().flatten() {
            let may_make = !dry_run && !folder::has_date(&target.pattern);
            target.resolve(session, naming, prelisted, may_make).await?;
        }
        Ok(targets)
    }

    /// Returns the folder that `action` moves mails to, created if it is missing; `None` if the action moves no mails.
    /// `read`: the folders that mails are read from; a mail moved to one of these would be read again forever.
    pub async fn of(
        &mut self,
        session: &mut Session,
        action: Action,
        read: &[Folder],
    ) -> Result<Option<Folder>, Fault> {
        let target = match action {
            Action::Archive => &mut self.archive,
            Action::Quarantine => &mut self.quarantine,
            // In the trash folder itself, a mail is deleted permanently.
            Action::Delete => return Ok(self.trash.clone().filter(|trash| !read.contains(trash))),
            Action::Stay(_) => return Ok(None),
        };
        let Some(target) = target else { return Err(Fault::Configuration("no target folder is configured".into())) };
        let folder = target.resolve(session, &self.naming, &mut Prelisted::default(), true).await?;
        match folder.as_ref().filter(|folder| read.contains(folder)) {
            Some(folder) => {
                let (setting, name) = (target.setting, folder.shown());
                Err(Fault::Configuration(format!("{setting} {name:?} is the folder that mails are read from")))
            }
            None => Ok(folder),
        }
    }

    /// Returns the archive folder, if it is known already, without a lookup or CREATE.
    pub fn archive(&self, read: &[Folder]) -> Option<Folder> {
        let target = self.archive.as_ref()?;
        target.known(&target.name()).filter(|folder| !read.contains(folder)).cloned()
    }

    pub fn naming(&self) -> &Naming {
        &self.naming
    }

    /// Returns the setting whose folder currently is `folder`, if any.
    pub fn role(&self, folder: &Folder) -> Option<&'static str> {
        let targets = [&self.archive, &self.quarantine];
        let named = targets.into_iter().flatten().find(|target| target.is(folder));
        named.map(|target| target.setting)
    }

    /// True if mails are, were or will be moved to `folder`: if the configured name contains a date, all folders whose
    /// names begin with the part before it.
    pub fn covers(&self, folder: &Folder) -> bool {
        self.role(folder).is_some()
            || [&self.archive, &self.quarantine].into_iter().flatten().any(|target| {
                let beginning = target.pattern.split('%').next().unwrap_or_default();
                !beginning.is_empty()
                    && folder::has_date(&target.pattern)
                    && self.naming.meant(beginning).iter().any(|name| folder.begins_with(name))
            })
    }

    pub fn delimiter(&self) -> Option<char> {
        self.naming.delimiter
    }
}

/// True if \Deleted does not delete: Gmail then only removes the label of the folder, and keeps the mail in All Mail.
pub fn keeps_deleted(session: &Session) -> bool {
    session.offers("X-GM-EXT-1") && session.offers("MOVE")
}

impl Target {
    fn is(&self, folder: &Folder) -> bool {
        self.found.as_ref().is_some_and(|(_, found)| found == folder)
    }

    /// Returns the name with today's date filled in.
    fn name(&self) -> String {
        folder::at(&self.pattern, Timestamp::now().as_second())
    }

    /// Returns the folder with this name, if it was found or created already.
    fn known(&self, name: &str) -> Option<&Folder> {
        self.found.as_ref().filter(|(found, _)| found == name).map(|(_, folder)| folder)
    }

    /// Looks up the folder, and creates it if it is missing and `may_make`; `None` if it is missing otherwise.
    async fn resolve(
        &mut self,
        session: &mut Session,
        naming: &Naming,
        prelisted: &mut Prelisted,
        may_make: bool,
    ) -> Result<Option<Folder>, Fault> {
        let name = self.name();
        if let Some(folder) = self.known(&name) {
            return Ok(Some(folder.clone()));
        }
        let folder = match find(session, &name, naming, prelisted).await? {
            Some(folder) => folder,
            None if may_make => {
                let made = make(session, self.setting, &name, naming).await?;
                prelisted.created(made.wire());
                made
            }
            None => return Ok(None),
        };
        self.found = Some((name, folder.clone()));
        Ok(Some(folder))
    }
}

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
    targets: &TargetFolders,
    prelisted: &Prelisted,
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
        let folder = find(session, name.as_str(), naming, prelisted).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_archive_folder_is_used_unless_it_is_read_or_of_another_date() {
        let (pattern, folder) = ("Done %Y", Folder::of("Done"));
        let today = folder::at(pattern, Timestamp::now().as_second());
        let archive = |found: Option<&str>, read: &[Folder]| {
            let found = found.map(|name| (name.to_owned(), folder.clone()));
            let target = Target { setting: "archive_folder", pattern: pattern.into(), found };
            let naming = Naming::guessed(None);
            TargetFolders { naming, archive: Some(target), quarantine: None, trash: None }.archive(read)
        };
        assert_eq!(archive(Some(&today), &[Folder::of("INBOX")]), Some(folder.clone()));
        assert_eq!(archive(Some(&today), std::slice::from_ref(&folder)), None);
        assert_eq!(archive(Some("Done 1999"), &[]), None);
        assert_eq!(archive(None, &[]), None);
    }
}
