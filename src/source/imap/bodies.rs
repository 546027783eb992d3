//! Getting whole mails: small ones in batches, so that latency is paid per batch, large ones in parts, so that what holds a
//! response holds no more than a part.

use std::collections::BTreeSet;

use async_imap::imap_proto::{AttributeValue, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    along::Along,
    budget::Asked,
    fault::Fault,
    fetch::{Candidate, present, uid},
    flight::{Command, all},
    session::Session,
    uids::sets,
};

/// Mails below which one batch stays.
pub const BATCH_MAILS: usize = 2_000;
/// Bytes of mail below which one batch stays, unless one mail is larger.
pub const BATCH_BYTES: u64 = 8 << 20;
/// Mails above this size are fetched in parts of it, bytes.
const PART_BYTES: u64 = 1 << 20;
/// A server's RFC822.SIZE may be off by line ends and headers it adds; more than this is another mail, or a lie.
const SLACK_BYTES: u64 = 64 << 10;
/// The same for a batch: some servers tell no true size of any mail.
const BATCH_SLACK_BYTES: u64 = 4 << 20;

/// Fetches the mails of one batch, and sends each to `mails` as it comes. Leaves them as they are: PEEK sets no \Seen.
/// What is gone meanwhile does not come; returns those that did not come though they are there. Moves go `along`.
///
/// `mails` needs no bound of its own: the bytes of the batch are reserved.
pub async fn bodies(
    session: &mut Session,
    batch: &[Candidate],
    mail_bytes: u64,
    mails: &UnboundedSender<(u32, Bytes)>,
    along: &mut Along,
) -> Result<Vec<u32>, Fault> {
    let (small, large): (Vec<Candidate>, Vec<Candidate>) = batch.iter().partition(|mail| mail.size <= PART_BYTES);
    let mut missing = at_once(session, &small, mail_bytes, mails, along).await?;
    for mail in large {
        match in_parts(session, mail, mail_bytes).await? {
            // Nobody listens any more when the process is stopping; the batch is read to its end all the same.
            Some(content) => drop(mails.send((mail.uid, content))),
            None => missing.push(mail.uid),
        }
    }
    missing.sort_unstable();
    present(session, &missing).await
}

/// Returns those that did not come, sorted; also those that did when more had come than was told, and was reserved: they
/// come again in smaller batches.
async fn at_once(
    session: &mut Session,
    batch: &[Candidate],
    mail_bytes: u64,
    mails: &UnboundedSender<(u32, Bytes)>,
    along: &mut Along,
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
            let asked = Asked::contents(mails.len(), bytes, literal);
            Command::new(format!("UID FETCH {} (UID BODY.PEEK[])", set.text), asked)
        })
        .collect();
    let mut wanted: BTreeSet<u32> = uids.into_iter().collect();
    let fetches = commands.len();
    let commands = stream::iter(commands).chain(along.commands());
    let mut outcomes = Vec::new();
    let flown = session
        .fly(
            commands,
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
    along.ended(&mut outcomes, fetches);
    flown?;
    all(outcomes.into_iter().flatten().collect())?;
    Ok(wanted.into_iter().collect())
}

/// A part that is shorter than asked for is the last; what size the server told is only a hint. `None`: it did not come.
async fn in_parts(session: &mut Session, mail: Candidate, mail_bytes: u64) -> Result<Option<Bytes>, Fault> {
    let most = expected(mail.size, SLACK_BYTES).min(mail_bytes);
    let mut content = Vec::with_capacity(usize::try_from(mail.size.min(most)).unwrap_or_default());
    loop {
        let offset = content.len() as u64;
        let mut part = Part::Missing;
        let command = format!("UID FETCH {} (UID BODY.PEEK[]<{offset}.{PART_BYTES}>)", mail.uid);
        // The first part may be all of it, from a server that knows no parts.
        let asked = Asked::contents(1, if offset == 0 { most } else { PART_BYTES }, most);
        let fetched = session.command(Command::new(command, asked), |response| {
            if let Some((uid, origin, piece)) = body(response)
                && uid == mail.uid
                && part == Part::Missing
            {
                part = Part::of(origin, piece.len() as u64, offset);
                if part != Part::Stray {
                    content.extend_from_slice(piece);
                }
            }
        });
        match fetched.await {
            // Some servers refuse a part that begins where the mail ends.
            Err(Fault::Refused { .. }) if offset >= mail.size => return Ok(Some(content.into())),
            other => other?,
        };
        if content.len() as u64 > most {
            // What was told of its size is wrong: to be tried again with more room.
            let announced = mail.size.saturating_mul(2).min(mail_bytes).max(content.len() as u64);
            return Err(Fault::Oversize { announced, allowed: most });
        }
        match part {
            Part::Last => return Ok(Some(content.into())),
            Part::Missing if offset > 0 && offset >= mail.size => return Ok(Some(content.into())),
            Part::Missing => return Ok(None),
            Part::Stray => {
                return Err(Fault::Unintelligible("the server sent another part of a mail than was asked for".into()));
            }
            Part::Full => {}
        }
    }
}

/// What came of asking for a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Missing,
    /// As long as was asked for: more is to come.
    Full,
    Last,
    /// Not what was asked for.
    Stray,
}

impl Part {
    /// `origin`: what the server says that the piece begins at. Servers that know no parts send the whole mail.
    fn of(origin: Option<u32>, bytes: u64, offset: u64) -> Self {
        match origin {
            None if offset == 0 && bytes > PART_BYTES => Self::Last,
            _ if origin.is_some_and(|origin| u64::from(origin) != offset) || bytes > PART_BYTES => Self::Stray,
            None if offset > 0 => Self::Stray,
            _ if bytes < PART_BYTES => Self::Last,
            _ => Self::Full,
        }
    }
}

/// The UID of a FETCH response, the offset of its text where it is a part, and the text.
pub fn body<'r>(response: &'r Response<'_>) -> Option<(u32, Option<u32>, &'r [u8])> {
    let Response::Fetch(_, attributes) = response else { return None };
    let uid = uid(attributes)?;
    attributes.iter().find_map(|attribute| match attribute {
        AttributeValue::BodySection { section: None, index, data: Some(data) } => Some((uid, *index, &**data)),
        _ => None,
    })
}

/// The most that may come where this size was told.
fn expected(told: u64, slack: u64) -> u64 {
    told.saturating_add(told / 5).saturating_add(slack)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_by_their_length_and_what_is_not_asked_for_is_refused() {
        for (origin, bytes, offset, part) in [
            (Some(0), PART_BYTES, 0, Part::Full),
            (Some(0), 10, 0, Part::Last),
            (Some(1 << 20), 0, PART_BYTES, Part::Last),
            // The whole mail, from a server that knows no parts.
            (None, 3 * PART_BYTES, 0, Part::Last),
            (None, 10, 0, Part::Last),
            // The same part again: assembled, it would be another mail.
            (Some(0), PART_BYTES, PART_BYTES, Part::Stray),
            (None, PART_BYTES, PART_BYTES, Part::Stray),
            (Some(0), 2 * PART_BYTES, 0, Part::Stray),
        ] {
            assert_eq!(Part::of(origin, bytes, offset), part, "{bytes} bytes at {origin:?}, asked for {offset}");
        }
    }
}
