//! Waiting for new mail: IDLE (RFC 2177), written on our own session, since async-imap takes a connection that ends in it
//! for a wait that was broken off.

use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Response, Status};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::{
    fault::Fault,
    fetch::has_newer,
    session::{Session, Step, out_of_step},
};

/// The first wait. A mail that came between the last SEARCH and IDLE, and that the server then didn't tell of, is found
/// after it.
const FIRST: Duration = Duration::from_secs(30);
/// Later ones end between these: some boxes on the way forget a connection that is silent for ten minutes.
const SHORTEST: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(540);

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The server told of mail.
    News,
    Time,
    /// The session is wanted for something else.
    Asked,
}

/// Waits in the selected folder until there are mails above `newest` that meet `criteria` (true), or until `end` (false).
/// Before every wait it looks for itself: nobody tells of what came before.
pub async fn watch(
    session: &mut Session,
    newest: u32,
    criteria: &str,
    mut end: oneshot::Receiver<()>,
) -> Result<bool, Fault> {
    let mut most = FIRST;
    loop {
        if has_newer(session, newest, criteria).await? {
            return Ok(true);
        }
        if idle(session, most, &mut end).await? == Woken::Asked {
            return Ok(false);
        }
        most = rand::random_range(SHORTEST..=LONGEST);
    }
}

async fn idle(session: &mut Session, most: Duration, end: &mut oneshot::Receiver<()>) -> Result<Woken, Fault> {
    let tag = session.begin("IDLE").await?;
    let mut woken = None;
    loop {
        match session.read(|response| heard(response, &tag)).await? {
            Heard::Begun => break,
            Heard::News => woken = Some(Woken::News),
            Heard::Other => {}
            Heard::Step(step) => return Err(ended(session, step)),
        }
    }
    session.bear(most + session.silence());
    let until = Instant::now() + most;
    let woken = loop {
        if let Some(woken) = woken {
            break woken;
        }
        // Reading is cancel-safe: what came of a response waits for the next read.
        woken = tokio::select! {
            biased;
            _ = &mut *end => Some(Woken::Asked),
            () = sleep_until(until) => Some(Woken::Time),
            heard = session.read(|response| heard(response, &tag)) => match heard? {
                Heard::News => Some(Woken::News),
                Heard::Begun | Heard::Other => None,
                Heard::Step(step) => return Err(ended(session, step)),
            },
        };
    };
    session.bear(session.silence());
    session.write(b"DONE\r\n").await?;
    loop {
        match session.read(|response| heard(response, &tag)).await? {
            Heard::Step(Step::Done(true, _)) => return Ok(woken),
            Heard::Step(step) => return Err(ended(session, step)),
            // News that comes now is found by the next SEARCH.
            Heard::Begun | Heard::News | Heard::Other => {}
        }
    }
}

enum Heard {
    /// The server waits with us.
    Begun,
    News,
    Other,
    /// A tagged line.
    Step(Step),
}

fn heard(response: &Response<'_>, tag: &str) -> Heard {
    match response {
        Response::Continue(_) => Heard::Begun,
        Response::MailboxData(MailboxDatum::Exists(_)) => Heard::News,
        Response::Done { tag: done, status, outcome } => Heard::Step(match done.0 == tag {
            true => Step::Done(*status == Status::Ok, super::session::told(outcome)),
            false => Step::Stray,
        }),
        _ => Heard::Other,
    }
}

/// A tagged line before DONE: refused, or out of step.
fn ended(session: &Session, step: Step) -> Fault {
    match step {
        Step::Done(false, answer) => session.refused("IDLE".into(), answer),
        _ => out_of_step("the end of IDLE before it was asked for"),
    }
}
