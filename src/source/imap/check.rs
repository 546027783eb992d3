//! A look at an account, step by step, for `check`. No mail is touched: folders are opened to be read, and for writing only
//! where that can't take \Recent from a mail.

use std::sync::Arc;

use async_imap::imap_proto::{MailboxDatum, Response, StatusAttribute, rfc4314::AclRight};
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::{
    auth::Account,
    fault::Fault,
    find::{Found, find_wanted},
    mailbox::{self, Folder, Selected},
    name::{Naming, levels_above, to_utf7},
    outset::{Foreseen, Outset, outset},
    session::Session,
    targets::{self, Targets},
};
use crate::{
    config::{
        folder,
        source::{After, Imap, WithoutReport},
    },
    net::tls::Encryption,
    source::SourceError,
};

/// What the folders begin with that are made and deleted again, to see whether the account may make any.
pub const TEMPORARY: &str = "dmarc-shipper-check-";

/// A connection that is not logged in yet.
pub struct Guest {
    config: Imap,
    session: Session,
}

/// A session that is logged in.
pub struct Visit {
    config: Imap,
    session: Session,
    naming: Naming,
    foreseen: Foreseen,
    /// The session broke, or a command was dropped half-way: nothing more can be asked.
    over: bool,
}

/// What was learnt of a folder.
#[derive(Debug)]
pub struct Look {
    pub mails: u32,
    pub uid_validity: u32,
    /// What is needed there and not allowed; `None`: the server does not tell.
    pub lacking: Option<Vec<Right>>,
    pub opened: Opened,
}

/// What a SELECT said, which tells more than EXAMINE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// Nothing has to be known.
    NotNeeded,
    /// It holds mails that are \Recent, which a SELECT would take from them.
    HasRecent,
    ReadOnly,
    Writable {
        takes_keyword: bool,
    },
}

/// What an account may be allowed to do in a folder (RFC 4314 section 2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    Insert,
    MarkSeen,
    SetKeywords,
    Delete,
    Expunge,
}

impl Guest {
    /// Encrypts, where the connection is to be from its first byte on.
    pub async fn over(config: &Imap, tcp: TcpStream) -> Result<Self, SourceError> {
        let session = Session::over_tcp(config, Arc::new(Account::new(config)), tcp).await?;
        Ok(Self { config: config.clone(), session })
    }

    /// Hears the greeting, and encrypts, where that comes after it.
    pub async fn greeted(self) -> Result<Self, SourceError> {
        let Self { config, session } = self;
        let session = session.greeted(&config).await?;
        Ok(Self { config, session })
    }

    pub fn encryption(&self) -> Option<Encryption> {
        self.session.encryption()
    }

    /// Logs in; and by which method, `None` where the server knew us already.
    pub async fn log_in(self) -> Result<(Visit, Option<&'static str>), SourceError> {
        let Self { config, mut session } = self;
        let method = session.log_in(&config).await?;
        let Outset { naming, foreseen, .. } = outset(&mut session, &config, None, true).await?;
        Ok((Visit { config, session, naming, foreseen, over: false }, method))
    }
}

impl Visit {
    pub fn offers(&self, capability: &str) -> bool {
        self.session.offers(capability)
    }

    /// Whether nothing more can be asked.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The folders that are read. Errors as `run` has them: a single one that is not there, one that mails are moved to.
    pub async fn folders(&mut self) -> Result<Vec<Found>, SourceError> {
        self.over = true;
        let found = async {
            let (session, naming, foreseen) = (&mut self.session, &self.naming, &mut self.foreseen);
            let targets = match Targets::find(session, &self.config, naming.clone(), foreseen, true).await {
                // What is wrong with these is told by itself.
                Err(Fault::Configuration(_)) => {
                    let none = Imap {
                        archive_folder: None,
                        quarantine_folder: None,
                        after: After::Keep,
                        without_report: WithoutReport::Keep,
                        ..self.config.clone()
                    };
                    Targets::find(session, &none, naming.clone(), foreseen, true).await?
                }
                targets => targets?,
            };
            find_wanted(session, &self.config.folder, &targets, foreseen).await
        };
        let found = found.await;
        self.noted(found)
    }

    /// Whether mails are deleted by moving them to a folder.
    pub fn moves_to_trash(&self) -> bool {
        targets::keeps_deleted(&self.session)
    }

    /// The folder that deleted mails go to.
    pub async fn trash(&mut self) -> Result<String, SourceError> {
        self.over = true;
        let trash = mailbox::trash(&mut self.session, &self.naming).await;
        self.noted(trash).map(|trash| trash.shown())
    }

    /// The folder that `pattern` means now; `None` where it is not there.
    pub async fn find(&mut self, pattern: &str) -> Result<Option<Folder>, SourceError> {
        self.over = true;
        let found = mailbox::find(&mut self.session, &today(pattern), &self.naming, &self.foreseen).await;
        self.noted(found)
    }

    /// Looks at a folder, and at whether what is needed may be done there.
    pub async fn look(&mut self, folder: &Folder, needed: &[Right]) -> Result<Look, SourceError> {
        self.over = true;
        let look = look(&mut self.session, folder, needed).await;
        self.noted(look)
    }

    /// Makes and deletes a folder beside the one that is missing, to see whether `run` can make that. Returns its name if
    /// it could not be deleted. Not to be dropped half-way.
    pub async fn make_and_delete(&mut self, setting: &str, pattern: &str) -> Result<Option<String>, SourceError> {
        self.over = true;
        let tried = make_and_delete(&mut self.session, setting, &today(pattern), &self.naming).await;
        self.noted(tried)
    }

    pub async fn log_out(self) {
        if !self.over {
            self.session.log_out().await;
        }
    }

    fn noted<T>(&mut self, result: Result<T, Fault>) -> Result<T, SourceError> {
        self.over = result.as_ref().is_err_and(|fault| !leaves_session(fault));
        Ok(result?)
    }
}

impl Right {
    /// What the account may not do without it.
    pub fn what(self) -> &'static str {
        match self {
            Right::Insert => "put mails into it (i)",
            Right::MarkSeen => "mark mails as read (s)",
            Right::SetKeywords => "mark mails with keywords (w)",
            Right::Delete => "mark mails as deleted (t)",
            Right::Expunge => "expunge mails (e)",
        }
    }

    fn is_among(self, rights: &[AclRight]) -> bool {
        let any = |of: &[AclRight]| of.iter().any(|right| rights.contains(right));
        match self {
            Right::Insert => any(&[AclRight::Insert]),
            Right::MarkSeen => any(&[AclRight::Seen]),
            Right::SetKeywords => any(&[AclRight::Write]),
            // Both were one right before RFC 4314.
            Right::Delete => any(&[AclRight::DeleteMessage, AclRight::OldDelete]),
            Right::Expunge => any(&[AclRight::Expunge, AclRight::OldDelete]),
        }
    }
}

/// A folder that is not there ends nothing.
fn leaves_session(fault: &Fault) -> bool {
    fault.leaves_session() || matches!(fault, Fault::Configuration(_))
}

fn today(pattern: &str) -> String {
    folder::at(pattern, Timestamp::now().as_second())
}

async fn look(session: &mut Session, folder: &Folder, needed: &[Right]) -> Result<Look, Fault> {
    let (mut lacking, mut recent) = (None, None);
    if !needed.is_empty() {
        recent = Some(recent_mails(session, folder).await?);
        if session.offers("ACL") {
            lacking = lacking_rights(session, folder, needed).await?;
        }
    }
    let Selected { exists, uid_validity, .. } = mailbox::select(session, folder, true).await?;
    let opened = match recent {
        None => Opened::NotNeeded,
        Some(1..) => Opened::HasRecent,
        Some(0) => match mailbox::select(session, folder, false).await? {
            Selected { read_only: true, .. } => Opened::ReadOnly,
            Selected { takes_keyword, .. } => Opened::Writable { takes_keyword },
        },
    };
    Ok(Look { mails: exists, uid_validity, lacking, opened })
}

/// How many mails are \\Recent; where the server does not tell, some may be.
async fn recent_mails(session: &mut Session, folder: &Folder) -> Result<u32, Fault> {
    let mut recent = 1;
    let command = format!("STATUS {} (RECENT)", folder.quoted());
    let asked = session.command(command, |response| {
        if let Response::MailboxData(MailboxDatum::Status { status, .. }) = response {
            let told = status.iter().find_map(|told| match told {
                StatusAttribute::Recent(count) => Some(*count),
                _ => None,
            });
            recent = told.unwrap_or(recent);
        }
    });
    match asked.await {
        Err(fault) if !fault.leaves_session() => Err(fault),
        _ => Ok(recent),
    }
}

async fn lacking_rights(session: &mut Session, folder: &Folder, needed: &[Right]) -> Result<Option<Vec<Right>>, Fault> {
    let mut lacking = None;
    let command = format!("MYRIGHTS {}", folder.quoted());
    let asked = session.command(command, |response| {
        if let Response::MyRights(told) = response {
            lacking = Some(needed.iter().copied().filter(|right| !right.is_among(&told.rights)).collect());
        }
    });
    match asked.await {
        Err(fault) if !fault.leaves_session() => Err(fault),
        _ => Ok(lacking),
    }
}

async fn make_and_delete(
    session: &mut Session,
    setting: &str,
    written: &str,
    naming: &Naming,
) -> Result<Option<String>, Fault> {
    let mut refused = None;
    for name in naming.to_make(&mailbox::named(session, written, naming).await?) {
        let folder = beside(session, &to_utf7(&name), naming.delimiter).await?;
        match session.command(format!("CREATE {}", folder.quoted()), |_| ()).await {
            Ok(_) => {
                let deleted = session.command(format!("DELETE {}", folder.quoted()), |_| ()).await;
                return match deleted {
                    Ok(_) => Ok(None),
                    Err(_) => Ok(Some(folder.shown())),
                };
            }
            Err(Fault::Refused { answer, .. }) => refused = refused.or(Some(answer)),
            Err(fault) => return Err(fault),
        }
    }
    Err(mailbox::not_made(setting, written, &refused.unwrap_or_default()))
}

/// A name that nobody has, where the first level of `missing` would be made that is not there.
async fn beside(session: &mut Session, missing: &str, delimiter: Option<char>) -> Result<Folder, Fault> {
    let mut first = missing;
    for level in levels_above(missing, delimiter) {
        if !mailbox::list(session, level).await?.iter().any(|listed| listed.name == level) {
            first = level;
            break;
        }
    }
    let above = delimiter.and_then(|delimiter| first.rfind(delimiter)).map_or("", |end| &first[..=end]);
    Ok(Folder::of(&format!("{above}{TEMPORARY}{:08x}", rand::random::<u32>())))
}
