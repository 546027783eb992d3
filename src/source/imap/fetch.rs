//! Finding mails: UIDs and sizes.

use std::collections::HashSet;

use super::{fault::Fault, session::Session, uids::sets};
use async_imap::imap_proto::{AttributeValue, MailboxDatum, Response};

/// Mails per SEARCH: keeps its response, one line, far below what the guard takes for one.
const SEARCHED_AT_ONCE: u32 = 5_000;
/// Taken for the size of a mail whose size isn't told.
const UNTOLD_BYTES: u64 = 64 << 10;

/// A mail to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub uid: u32,
    /// As the server told it, bytes.
    pub size: u64,
}

/// UIDs of all mails in the folder that meet `criteria` and are not marked as deleted, sorted.
///
/// By ranges of sequence numbers, from the top: what is expunged meanwhile moves mails down, into a range still to come,
/// so that none is missed. New ones wait for the next pass.
pub async fn list(session: &mut Session, exists: u32, criteria: &str) -> Result<Vec<u32>, Fault> {
    let wanted = undeleted(criteria);
    let mut uids = Vec::new();
    let mut top = exists;
    while top > SEARCHED_AT_ONCE {
        let bottom = top - SEARCHED_AT_ONCE + 1;
        uids.extend(search(session, &format!("{bottom}:{top} {wanted}")).await?);
        top = bottom - 1;
    }
    let rest = if top == exists { wanted } else { format!("1:{top} {wanted}") };
    uids.extend(search(session, &rest).await?);
    uids.sort_unstable();
    uids.dedup();
    Ok(uids)
}

/// Whether there are mails that meet `criteria` above this UID.
pub async fn has_newer(session: &mut Session, newest: u32, criteria: &str) -> Result<bool, Fault> {
    let Some(first) = newest.checked_add(1) else { return Ok(false) };
    // `n:*` always has the last mail in it, also where its UID is below n.
    let found = search(session, &format!("UID {first}:* {}", undeleted(criteria))).await?;
    Ok(found.into_iter().any(|uid| uid >= first))
}

fn undeleted(criteria: &str) -> String {
    format!("UNDELETED {criteria}").trim_end().to_owned()
}

/// Those of `uids` that are in the folder, deleted or not; both sorted.
pub async fn present(session: &mut Session, uids: &[u32]) -> Result<Vec<u32>, Fault> {
    let mut found = Vec::new();
    for (set, asked) in sets(uids) {
        let there = search(session, &format!("UID {set}")).await?;
        found.extend(there.into_iter().filter(|uid| asked.binary_search(uid).is_ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// Never with a CHARSET: Microsoft 365 refuses it, and nothing here needs one.
async fn search(session: &mut Session, criteria: &str) -> Result<Vec<u32>, Fault> {
    let mut uids = Vec::new();
    session
        .command(&format!("UID SEARCH {criteria}"), |response| {
            if let Response::MailboxData(MailboxDatum::Search(found)) = response {
                uids.extend(found);
            }
        })
        .await?;
    Ok(uids)
}

/// Those of `uids` that are still there with their sizes, sorted by UID. A size that isn't told is guessed.
pub async fn sizes(session: &mut Session, uids: &[u32]) -> Result<Vec<Candidate>, Fault> {
    let mut found = Vec::new();
    for (set, asked) in sets(uids) {
        session
            .command(&format!("UID FETCH {set} (UID RFC822.SIZE)"), |response| {
                let Response::Fetch(_, attributes) = response else { return };
                let size = attributes.iter().find_map(|attribute| match attribute {
                    AttributeValue::Rfc822Size(size) => Some(u64::from(*size)),
                    _ => None,
                });
                if let (Some(uid), Some(size)) = (uid(attributes), size)
                    && asked.binary_search(&uid).is_ok()
                {
                    found.push(Candidate { uid, size });
                }
            })
            .await?;
    }
    let told: HashSet<u32> = found.iter().map(|candidate| candidate.uid).collect();
    let untold: Vec<u32> = uids.iter().copied().filter(|uid| !told.contains(uid)).collect();
    found.extend(present(session, &untold).await?.into_iter().map(|uid| Candidate { uid, size: UNTOLD_BYTES }));
    found.sort_unstable_by_key(|candidate| candidate.uid);
    found.dedup_by_key(|candidate| candidate.uid);
    Ok(found)
}

pub fn uid(attributes: &[AttributeValue<'_>]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })
}
