//! Fetching message bodies: small mails in batches, so that latency is paid once per batch, large ones with partial FETCH,
//! so that the buffer for a response never holds more than one part.

use std::collections::BTreeSet;

use async_imap::imap_proto::{AttributeValue, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    search::{Candidate, present, uid},
    settle::PipelinedMoves,
};
use crate::source::imap::{
    error::Fault,
    wire::{
        response_limits::Allowance,
        session::{Command, Session, all},
        uid_set::sets,
    },
};

/// Maximum number of mails in a batch.
pub const BATCH_MAILS: usize = 2_000;
/// Maximum size of a batch in bytes, unless a single mail is larger.
pub const BATCH_BYTES: u64 = 8 << 20;
/// Size in bytes above which a mail is fetched in parts, and the size of each part.
const PART_BYTES: u64 = 1 << 20;
/// Tolerance in bytes for RFC822.SIZE, which may be off by line ends and headers that the server adds; a larger difference
/// means another mail, or a false size.
const SLACK_BYTES: u64 = 64 << 10;
/// Tolerance in bytes for a whole batch: some servers give no correct size of any mail.
const BATCH_SLACK_BYTES: u64 = 4 << 20;

/// Fetches the mails of one batch and sends each to `mails` as it arrives. Flags are not changed: BODY.PEEK does not set
/// \Seen. Mails expunged meanwhile are skipped; returns those that did not arrive though they are in the folder. Moves are
/// pipelined with it (`moves`).
///
/// `mails` needs no bound of its own: the bytes of the batch are reserved.
pub async fn fetch(
    session: &mut Session,
    batch: &[Candidate],
    mail_bytes: u64,
    mails: &UnboundedSender<(u32, Bytes)>,
    moves: &mut PipelinedMoves,
) -> Result<Vec<u32>, Fault> {
    let (small, large): (Vec<Candidate>, Vec<Candidate>) = batch.iter().partition(|mail| mail.size <= PART_BYTES);
    let mut missing = at_once(session, &small, mail_bytes, mails, moves).await?;
    for mail in large {
        match in_parts(session, mail, mail_bytes).await? {
            // If the process is stopping, the receiver is gone; the batch is still read to its end.
            Some(content) => drop(mails.send((mail.uid, content))),
            None => missing.push(mail.uid),
        }
    }
    missing.sort_unstable();
    present(session, &missing).await
}

/// Fetches small mails with pipelined commands. Returns the UIDs that did not arrive, sorted; also those that arrived
/// after the room that was reserved according to the sizes was used up: they are fetched again in smaller batches.
async fn at_once(
    session: &mut Session,
    batch: &[Candidate],
    mail_bytes: u64,
    mails: &UnboundedSender<(u32, Bytes)>,
    moves: &mut PipelinedMoves,
) -> Result<Vec<u32>, Fault> {
    let uids: Vec<u32> = batch.iter().map(|mail| mail.uid).collect();
    let mut room = expected(batch.iter().map(|mail| mail.size).sum(), BATCH_SLACK_BYTES);
    let largest = batch.iter().map(|mail| mail.size).max().unwrap_or_default();
    let literal = expected(largest, SLACK_BYTES).min(mail_bytes);
    let mut rest = batch;
    let commands: Vec<Command> = sets(&uids)
        .iter()
        .map(|set| {
            let (mails, others) = rest.split_at(set.uids.len());
            rest = others;
            let bytes = expected(mails.iter().map(|mail| mail.size).sum(), BATCH_SLACK_BYTES);
            let asked = Allowance::contents(mails.len(), bytes, literal);
            Command::new(format!("UID FETCH {} (UID BODY.PEEK[])", set.text), asked)
        })
        .collect();
    let mut wanted: BTreeSet<u32> = uids.into_iter().collect();
    let fetches = commands.len();
    let commands = stream::iter(commands).chain(moves.commands());
    let mut outcomes = Vec::new();
    let fetched = session
        .pipeline(
            commands,
            |_| None,
            |response| {
                if let Some((uid, _, content)) = body(response)
                    && let Some(left) = room.checked_sub(content.len() as u64)
                    && wanted.remove(&uid)
                {
                    room = left;
                    let _ = mails.send((uid, Bytes::copy_from_slice(content)));
                }
            },
            &mut outcomes,
        )
        .await;
    moves.completed(&mut outcomes, fetches);
    fetched?;
    all(outcomes.into_iter().flatten().collect())?;
    Ok(wanted.into_iter().collect())
}

/// Fetches one mail in parts. A part that is shorter than requested is the last one; RFC822.SIZE is only a hint. `None` if
/// the mail did not arrive.
async fn in_parts(session: &mut Session, mail: Candidate, mail_bytes: u64) -> Result<Option<Bytes>, Fault> {
    let most = expected(mail.size, SLACK_BYTES).min(mail_bytes);
    let mut content = Vec::with_capacity(usize::try_from(mail.size.min(most)).unwrap_or_default());
    loop {
        let offset = content.len() as u64;
        let mut part = Part::Missing;
        let command = format!("UID FETCH {} (UID BODY.PEEK[]<{offset}.{PART_BYTES}>)", mail.uid);
        // A server without partial FETCH may send the whole mail as the first part.
        let asked = Allowance::contents(1, if offset == 0 { most } else { PART_BYTES }, most);
        let fetched = session.command(Command::new(command, asked), |response| {
            if let Some((uid, origin, piece)) = body(response)
                && uid == mail.uid
                && part == Part::Missing
            {
                part = Part::of(origin, piece.len() as u64, offset);
                if part != Part::Unexpected {
                    content.extend_from_slice(piece);
                }
            }
        });
        match fetched.await {
            // Some servers refuse a part that starts at the end of the mail.
            Err(Fault::Refused { .. }) if offset >= mail.size => return Ok(Some(content.into())),
            other => other?,
        };
        if content.len() as u64 > most {
            // The size given by the server is wrong: fail, so that the mail is fetched again with more room.
            let announced = mail.size.saturating_mul(2).min(mail_bytes).max(content.len() as u64);
            return Err(Fault::Oversize { announced, allowed: most });
        }
        match part {
            Part::Last => return Ok(Some(content.into())),
            Part::Missing if offset > 0 && offset >= mail.size => return Ok(Some(content.into())),
            Part::Missing => return Ok(None),
            Part::Unexpected => {
                return Err(Fault::Unintelligible("the server sent a part of a mail that was not requested".into()));
            }
            Part::Full => {}
        }
    }
}

/// Result of fetching one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Missing,
    /// As long as requested: more parts follow.
    Full,
    Last,
    /// Not the requested part.
    Unexpected,
}

impl Part {
    /// Classifies a piece of `bytes` bytes. `origin`: the origin octet in the response, if any. Servers without partial
    /// FETCH send the whole mail.
    fn of(origin: Option<u32>, bytes: u64, offset: u64) -> Self {
        match origin {
            None if offset == 0 && bytes > PART_BYTES => Self::Last,
            _ if origin.is_some_and(|origin| u64::from(origin) != offset) || bytes > PART_BYTES => Self::Unexpected,
            None if offset > 0 => Self::Unexpected,
            _ if bytes < PART_BYTES => Self::Last,
            _ => Self::Full,
        }
    }
}

/// Returns the UID of a FETCH response, the origin octet if it is a partial body, and the body.
pub fn body<'r>(response: &'r Response<'_>) -> Option<(u32, Option<u32>, &'r [u8])> {
    let Response::Fetch(_, attributes) = response else { return None };
    let uid = uid(attributes)?;
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::BodySection { section: None, index, data: Some(data) } => Some((uid, *index, &**data)),
        _ => None,
    })
}

/// Returns the maximum number of bytes to accept for a size given by the server.
fn expected(size: u64, slack: u64) -> u64 {
    size.saturating_add(size / 5).saturating_add(slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_fetches_are_classified_by_length_and_origin() {
        for (origin, bytes, offset, part) in [
            (Some(0), PART_BYTES, 0, Part::Full),
            (Some(0), 10, 0, Part::Last),
            (Some(1 << 20), 0, PART_BYTES, Part::Last),
            // The whole mail, from a server without partial FETCH.
            (None, 3 * PART_BYTES, 0, Part::Last),
            (None, 10, 0, Part::Last),
            // The first part again: assembled, it would make a different mail.
            (Some(0), PART_BYTES, PART_BYTES, Part::Unexpected),
            (None, PART_BYTES, PART_BYTES, Part::Unexpected),
            (Some(0), 2 * PART_BYTES, 0, Part::Unexpected),
        ] {
            assert_eq!(Part::of(origin, bytes, offset), part, "{bytes} bytes at {origin:?}, asked for {offset}");
        }
    }
}
