//! Finding mails and getting them: UIDs, sizes, and whole mails in batches, so that latency is paid per batch.

use std::collections::HashSet;

use async_imap::imap_proto::{AttributeValue, MailboxDatum, Response};
use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::{fault::Fault, guard::NAME_BYTES, session::Session, uids::sets};

/// Mails per SEARCH: keeps its response, one line, far below what the guard takes for one.
const SEARCHED_AT_ONCE: u32 = 5_000;
/// A server's RFC822.SIZE may be off by line ends and headers it adds; more than this is another mail, or a lie.
const SLACK_BYTES: u64 = 64 << 10;

/// A mail to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    pub uid: u32,
    /// As the server told it, bytes.
    pub size: u64,
    /// Sessions that were lost while this mail alone was being fetched.
    pub attempts: u32,
}

/// Mails below which one batch stays.
pub const BATCH_MAILS: usize = 200;
/// Bytes of mail below which one batch stays, unless one mail is larger.
pub const BATCH_BYTES: u64 = 4 << 20;

/// UIDs of all mails in the folder that are not marked as deleted, nor with `keyword`, sorted.
///
/// By ranges of sequence numbers, from the top: what is expunged meanwhile moves mails down, into a range still to come,
/// so that none is missed. New ones wait for the next pass.
pub async fn list(session: &mut Session, exists: u32, keyword: Option<&str>) -> Result<Vec<u32>, Fault> {
    let mut uids = Vec::new();
    let wanted = keyword.map_or("UNDELETED".to_owned(), |keyword| format!("UNDELETED UNKEYWORD {keyword}"));
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
                    found.push(Candidate { uid, size, attempts: 0 });
                }
            })
            .await?;
    }
    let told: HashSet<u32> = found.iter().map(|candidate| candidate.uid).collect();
    let untold: Vec<u32> = uids.iter().copied().filter(|uid| !told.contains(uid)).collect();
    found.extend(present(session, &untold).await?.into_iter().map(|uid| Candidate {
        uid,
        size: SLACK_BYTES,
        attempts: 0,
    }));
    found.sort_unstable_by_key(|candidate| candidate.uid);
    found.dedup_by_key(|candidate| candidate.uid);
    Ok(found)
}

/// Fetches the mails of one batch, and sends each to `mails` as it comes. Leaves them as they are: PEEK sets no \Seen.
/// What is gone meanwhile does not come; returns those that did not come though they are there.
///
/// `mails` needs no bound of its own: the bytes of the batch are reserved.
pub async fn bodies(
    session: &mut Session,
    batch: &[Candidate],
    mail_bytes: u64,
    mails: &UnboundedSender<(u32, Bytes)>,
) -> Result<Vec<u32>, Fault> {
    let uids: Vec<u32> = batch.iter().map(|candidate| candidate.uid).collect();
    let largest = batch.iter().map(|candidate| candidate.size).max().unwrap_or_default();
    session.allow(expected(largest).min(mail_bytes));
    let fetched = bodies_of(session, uids, mails).await;
    session.allow(NAME_BYTES);
    fetched
}

async fn bodies_of(
    session: &mut Session,
    uids: Vec<u32>,
    mails: &UnboundedSender<(u32, Bytes)>,
) -> Result<Vec<u32>, Fault> {
    let mut wanted = uids.clone();
    for (set, _) in sets(&uids) {
        session
            .command(&format!("UID FETCH {set} (UID BODY.PEEK[])"), |response| {
                let Response::Fetch(_, attributes) = response else { return };
                let content = attributes.iter().find_map(|attribute| match attribute {
                    AttributeValue::BodySection { section: None, index: None, data: Some(data) } => Some(data),
                    _ => None,
                });
                if let (Some(uid), Some(content)) = (uid(attributes), content)
                    && let Ok(at) = wanted.binary_search(&uid)
                {
                    wanted.remove(at);
                    // Nobody listens any more when the process is stopping; the batch is read to its end all the same.
                    let _ = mails.send((uid, Bytes::copy_from_slice(content)));
                }
            })
            .await?;
    }
    present(session, &wanted).await
}

/// The most that a mail of this told size may have.
fn expected(size: u64) -> u64 {
    size.saturating_add(size / 5).saturating_add(SLACK_BYTES)
}

fn uid(attributes: &[AttributeValue<'_>]) -> Option<u32> {
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::Uid(uid) => Some(*uid),
        _ => None,
    })
}
