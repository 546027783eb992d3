//! Where settled mails go: folders that are found or made at the start, or, where their name holds a date, when the first
//! mail of that day goes there.

use jiff::Timestamp;

use super::{
    fault::Fault,
    mailbox::{Folder, find, make, trash},
    name::Naming,
    session::Session,
    settle::{Action, deletes},
};
use crate::config::{folder, source::Imap};

/// The folders that mails are moved to.
#[derive(Debug, Clone)]
pub struct Targets {
    naming: Naming,
    /// Folders that are read: moved there, mails would be read again for ever.
    sources: Vec<Folder>,
    archive: Option<Target>,
    quarantine: Option<Target>,
    /// Where deleting only takes a mail out of its folder.
    trash: Option<Folder>,
}

#[derive(Debug, Clone)]
struct Target {
    setting: &'static str,
    pattern: String,
    /// As last found or made: the pattern's name at that time, and the folder.
    found: Option<(String, Folder)>,
}

impl Targets {
    /// Finds the folders of the configuration, and makes those that are missing and need no date, unless `dry_run`.
    pub async fn find(
        session: &mut Session,
        config: &Imap,
        naming: Naming,
        sources: &[Folder],
        dry_run: bool,
    ) -> Result<Self, Fault> {
        // Gmail takes \Deleted for "take this label off", and keeps the mail among all others.
        let keeps_deleted = session.offers("X-GM-EXT-1") && session.offers("MOVE");
        let trash = match deletes(config) && keeps_deleted {
            true => Some(trash(session, &naming).await?).filter(|trash| !sources.contains(trash)),
            false => None,
        };
        let target = |setting, pattern: &Option<String>| {
            pattern.as_ref().map(|pattern| Target { setting, pattern: pattern.clone(), found: None })
        };
        let mut targets = Self {
            naming,
            sources: sources.to_vec(),
            archive: target("archive_folder", &config.archive_folder),
            quarantine: target("quarantine_folder", &config.quarantine_folder),
            trash,
        };
        let Self { naming, sources, archive, quarantine, .. } = &mut targets;
        for target in [archive, quarantine].into_iter().flatten() {
            let may_make = !dry_run && !folder::has_date(&target.pattern);
            target.look(session, naming, sources, may_make).await?;
        }
        Ok(targets)
    }

    /// The folder that `action` moves mails to, made where it is missing; `None` where it moves them to none.
    pub async fn of(&mut self, session: &mut Session, action: Action) -> Result<Option<Folder>, Fault> {
        let target = match action {
            Action::Archive => &mut self.archive,
            Action::Quarantine => &mut self.quarantine,
            Action::Delete => return Ok(self.trash.clone()),
            Action::Stay(_) => return Ok(None),
        };
        let Some(target) = target else { return Err(Fault::Configuration("no folder is set to move them to".into())) };
        target.look(session, &self.naming, &self.sources, true).await
    }

    pub fn delimiter(&self) -> Option<char> {
        self.naming.delimiter
    }
}

impl Target {
    /// `None` where it is not there and not to be made.
    async fn look(
        &mut self,
        session: &mut Session,
        naming: &Naming,
        sources: &[Folder],
        may_make: bool,
    ) -> Result<Option<Folder>, Fault> {
        let name = folder::at(&self.pattern, Timestamp::now().as_second());
        if let Some((found, folder)) = &self.found
            && *found == name
        {
            return Ok(Some(folder.clone()));
        }
        let folder = match find(session, &name, naming).await? {
            Some(folder) => folder,
            None if may_make => make(session, self.setting, &name, naming).await?,
            None => return Ok(None),
        };
        if sources.contains(&folder) {
            let setting = self.setting;
            return Err(Fault::Configuration(format!("{setting} {name:?} is the folder that mails are read from")));
        }
        self.found = Some((name, folder.clone()));
        Ok(Some(folder))
    }
}
