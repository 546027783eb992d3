//! Listing mails: UIDs (SEARCH) and sizes (RFC822.SIZE).

use std::collections::{BTreeMap, HashMap};

use super::{
    budget::Asked,
    fault::Fault,
    flight::{Command, all},
    session::Session,
    settle::KEYWORD,
    uids::sets,
};
use async_imap::imap_proto::{AttributeValue, MailboxDatum, Response};

/// Maximum number of mails of one folder that a pass lists, newest first: memory and loops are not sized by a number that
/// a server merely claims. Equals 280 reports a day for ten years; if shipped mails are removed from the folder, the next
/// pass lists those beyond.
const MOST_LISTED: u32 = 1 << 20;
/// Mails per SEARCH: keeps the response, which is one line, far below the line limit of the guard.
const SEARCHED_AT_ONCE: u32 = 5_000;
/// Mails per request for sizes.
pub const SIZED_AT_ONCE: usize = 2_000;
/// Fetches all that decides which mails of the selected folder are listed, and their sizes.
pub const CENSUS: &str = "UID FETCH 1:* (UID FLAGS RFC822.SIZE)";
/// Number of mails whose sizes are kept from a census; others are requested when they are needed.
const CENSUS_SIZES: usize = 1 << 14;
const SIZES: &str = "(UID RFC822.SIZE)";
/// Size in bytes that is assumed for a mail if the server gives none.
const UNTOLD_BYTES: u64 = 64 << 10;

/// A mail to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub uid: u32,
    /// RFC822.SIZE, in bytes.
    pub size: u64,
}

/// The mails of a folder to process.
#[derive(Debug, Default)]
pub struct Listing {
    /// Sorted.
    pub uids: Vec<u32>,
    /// Sizes in bytes, as far as the listing gave them.
    pub sizes: HashMap<u32, u64>,
    /// Number of mails beyond the limit, which were not listed.
    pub beyond: u32,
}

/// Response to [`CENSUS`].
#[derive(Debug, Default)]
pub struct Census {
    /// UIDs, with true if [`KEYWORD`] is set. Mails flagged \Deleted are only counted.
    mails: BTreeMap<u32, bool>,
    sizes: HashMap<u32, u64>,
    deleted: u32,
}

impl Census {
    pub fn hear(&mut self, response: &Response<'_>) {
        let Response::Fetch(_, attributes) = response else { return };
        let flags = attributes.iter().find_map(|attribute| match attribute {
            AttributeValue::Flags(flags) => Some(flags),
            _ => None,
        });
        let (Some(uid), Some(flags)) = (uid(attributes), flags) else { return };
        let has = |wanted: &str| flags.iter().any(|flag| flag.eq_ignore_ascii_case(wanted));
        if has("\\Deleted") {
            self.deleted += 1;
            return;
        }
        self.mails.insert(uid, has(KEYWORD));
        if self.sizes.len() < CENSUS_SIZES {
            self.sizes.extend(size(response));
        }
    }

    /// Returns the mails to process; with `marked_too`, also those with the keyword. `None` unless the census covers all
    /// mails, `exists` of them.
    pub fn listing(self, exists: u32, marked_too: bool) -> Option<Listing> {
        let told = self.mails.len() as u64 + u64::from(self.deleted);
        let uids = self.mails.into_iter().filter(|(_, is_marked)| marked_too || !is_marked).map(|(uid, _)| uid);
        let listing = || Listing { uids: uids.collect(), sizes: self.sizes, beyond: 0 };
        (told == u64::from(exists)).then(listing)
    }
}

/// Lists all mails in the folder that match `criteria` and are not flagged \Deleted.
///
/// Searches ranges of sequence numbers, from the highest down: an EXPUNGE meanwhile shifts mails to lower numbers, into a
/// range still to be searched, so that none is missed. New mails wait for the next pass.
pub async fn list(session: &mut Session, exists: u32, criteria: &str) -> Result<Listing, Fault> {
    let wanted = undeleted(criteria);
    let mut commands = Vec::new();
    let beyond = exists.saturating_sub(MOST_LISTED);
    let mut top = exists;
    while top - beyond > SEARCHED_AT_ONCE {
        let bottom = top - SEARCHED_AT_ONCE + 1;
        commands.push(search(SEARCHED_AT_ONCE as usize, &format!("{bottom}:{top} {wanted}")));
        top = bottom - 1;
    }
    let rest = if top == exists { wanted } else { format!("{}:{top} {wanted}", beyond + 1) };
    commands.push(search((top - beyond) as usize, &rest));
    let mut uids = searched(session, commands).await?;
    uids.sort_unstable();
    uids.dedup();
    Ok(Listing { uids, beyond, ..Listing::default() })
}

/// True if mails above UID `newest` match `criteria`.
pub async fn has_newer(session: &mut Session, newest: u32, criteria: &str) -> Result<bool, Fault> {
    let Some(first) = newest.checked_add(1) else { return Ok(false) };
    // `n:*` always includes the last mail, even if its UID is below n.
    let newer = search(SEARCHED_AT_ONCE as usize, &format!("UID {first}:* {}", undeleted(criteria)));
    let found = searched(session, vec![newer]).await?;
    Ok(found.into_iter().any(|uid| uid >= first))
}

fn undeleted(criteria: &str) -> String {
    format!("UNDELETED {criteria}").trim_end().to_owned()
}

/// Returns those of `uids` that are in the folder, including mails flagged \Deleted; both sorted.
pub async fn present(session: &mut Session, uids: &[u32]) -> Result<Vec<u32>, Fault> {
    let commands = sets(uids).iter().map(|set| search(set.uids.len(), &format!("UID {}", set.text))).collect();
    let mut found = searched(session, commands).await?;
    found.retain(|uid| uids.binary_search(uid).is_ok());
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Returns a UID SEARCH that finds at most `mails` mails. Never with a CHARSET: Microsoft 365 refuses it, and nothing here
/// needs one.
fn search(mails: usize, criteria: &str) -> Command {
    Command::new(format!("UID SEARCH {criteria}"), Asked::mails(mails))
}

async fn searched(session: &mut Session, commands: Vec<Command>) -> Result<Vec<u32>, Fault> {
    let mut uids = Vec::new();
    let outcomes = session
        .flight(commands, |response| {
            if let Response::MailboxData(MailboxDatum::Search(found)) = response {
                uids.extend(found);
            }
        })
        .await?;
    all(outcomes)?;
    Ok(uids)
}

/// Returns those of `uids` that are still in the folder with their sizes, sorted by UID. A missing size is replaced by a
/// default.
pub async fn sizes(session: &mut Session, uids: &[u32]) -> Result<Vec<Candidate>, Fault> {
    let commands: Vec<Command> = sets(uids)
        .iter()
        .map(|set| Command::new(format!("UID FETCH {} {SIZES}", set.text), Asked::mails(set.uids.len())))
        .collect();
    let mut told: HashMap<u32, u64> = HashMap::new();
    let wanted = |(uid, _): &(u32, u64)| uids.binary_search(uid).is_ok();
    all(session.flight(commands, |response| told.extend(size(response).filter(wanted))).await?)?;
    let untold: Vec<u32> = uids.iter().copied().filter(|uid| !told.contains_key(uid)).collect();
    told.extend(present(session, &untold).await?.into_iter().map(|uid| (uid, UNTOLD_BYTES)));
    Ok(uids.iter().filter_map(|uid| Some(Candidate { uid: *uid, size: *told.get(uid)? })).collect())
}

fn size(response: &Response<'_>) -> Option<(u32, u64)> {
    let Response::Fetch(_, attributes) = response else { return None };
    let size = attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Rfc822Size(size) => Some(u64::from(*size)),
        _ => None,
    })?;
    Some((uid(attributes)?, size))
}

pub fn uid(attributes: &[AttributeValue<'_>]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })
}
