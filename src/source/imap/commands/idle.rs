//! IDLE (RFC 2177): waits for new mail. Implemented on our own session, because async-imap reports a connection that ends
//! during IDLE as an interrupted wait.

use std::time::Duration;

use async_imap::imap_proto::{MailboxDatum, Response, Status};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::search::has_newer;
use crate::source::imap::{
    error::{Answer, Fault},
    wire::{
        response_limits::Allowance,
        session::{Session, out_of_step, status_text},
    },
};

/// Duration of the first IDLE. A mail that arrived between the last SEARCH and IDLE, and that the server did not report,
/// is found after it.
const FIRST: Duration = Duration::from_secs(30);
/// Range of durations of later ones: some firewalls and NAT devices drop a connection that is silent for ten minutes.
const SHORTEST: Duration = Duration::from_secs(300);
const LONGEST: Duration = Duration::from_secs(540);
/// Delay before a further report of new mail is followed up, after one that turned out false; doubled each time, up to
/// `LONGEST_PAUSE`. Mails that don't match the criteria cause such reports, and so does a server that lies.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Reason why an IDLE ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The server reported new mail (EXISTS).
    News,
    Time,
    /// The session is needed for something else.
    Asked,
}

/// Waits in the selected folder until mails above UID `newest` match `criteria` (true), or until `end` (false). Each IDLE
/// is preceded by a SEARCH: a server does not report mail that arrived before IDLE.
pub async fn watch(
    session: &mut Session,
    newest: u32,
    criteria: &str,
    mut end: oneshot::Receiver<()>,
) -> Result<bool, Fault> {
    let (mut most, mut pause) = (FIRST, Duration::ZERO);
    loop {
        if has_newer(session, newest, criteria).await? {
            return Ok(true);
        }
        pause = match idle(session, most, pause, &mut end).await? {
            Woken::Asked => return Ok(false),
            Woken::News => (pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            Woken::Time => Duration::ZERO,
        };
        most = rand::random_range(SHORTEST..=LONGEST);
    }
}

/// Runs one IDLE of at most `most`. A report of new mail ends it, but not before `pause` has passed.
async fn idle(
    session: &mut Session,
    most: Duration,
    pause: Duration,
    end: &mut oneshot::Receiver<()>,
) -> Result<Woken, Fault> {
    session.grant(Allowance::LITTLE);
    let tag = session.begin("IDLE").await?;
    let mut has_news = false;
    loop {
        match session.read(|response| classify(response, &tag)).await? {
            IdleResponse::Begun => break,
            IdleResponse::News => has_news = true,
            IdleResponse::Other => {}
            IdleResponse::Done(done) => return Err(early_end(session, done)),
        }
    }
    session.revoke(Allowance::LITTLE);
    let wait = Allowance::news(most);
    session.grant(wait);
    let begin = Instant::now();
    let woken = loop {
        // Reading is cancel-safe: the received part of a response is kept for the next read.
        tokio::select! {
            biased;
            _ = &mut *end => break Woken::Asked,
            () = sleep_until(begin + most) => break Woken::Time,
            () = sleep_until(begin + pause), if has_news => break Woken::News,
            received = session.read(|response| classify(response, &tag)) => match received? {
                IdleResponse::News => has_news = true,
                IdleResponse::Begun | IdleResponse::Other => {}
                IdleResponse::Done(done) => return Err(early_end(session, done)),
            },
        };
    };
    session.revoke(wait);
    session.grant(Allowance::LITTLE);
    session.write(b"DONE\r\n").await?;
    loop {
        match session.read(|response| classify(response, &tag)).await? {
            IdleResponse::Done(Some((true, _))) => {
                session.revoke(Allowance::LITTLE);
                return Ok(woken);
            }
            IdleResponse::Done(done) => return Err(early_end(session, done)),
            // Mail that is reported now is found by the next SEARCH.
            IdleResponse::Begun | IdleResponse::News | IdleResponse::Other => {}
        }
    }
}

enum IdleResponse {
    /// Continuation request: the server has entered IDLE.
    Begun,
    News,
    Other,
    /// Tagged response: true if it was OK. `None`: its tag belongs to no command that was sent.
    Done(Option<(bool, Answer)>),
}

fn classify(response: &Response<'_>, tag: &str) -> IdleResponse {
    match response {
        Response::Continue(_) => IdleResponse::Begun,
        Response::MailboxData(MailboxDatum::Exists(_)) => IdleResponse::News,
        Response::Done { tag: done, status, outcome } => {
            IdleResponse::Done((done.0 == tag).then(|| (*status == Status::Ok, status_text(outcome))))
        }
        _ => IdleResponse::Other,
    }
}

/// Returns the fault for a tagged response before DONE: a refusal, or a protocol violation.
fn early_end(session: &Session, done: Option<(bool, Answer)>) -> Fault {
    match done {
        Some((false, answer)) => session.refused("IDLE".into(), answer),
        _ => out_of_step("the end of IDLE before DONE"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, duplex};

    use std::sync::Arc;

    use super::*;
    use crate::{
        config::{Format, parse, source::SourceConfig},
        source::imap::wire::auth::credentials::Account,
    };

    /// Returns a session with a server that answers each SEARCH with the next of `found`, and each IDLE with a
    /// continuation request. The task returns the commands, with the time at which each arrived.
    fn session(found: Vec<&'static str>) -> (Session, tokio::task::JoinHandle<Vec<(Duration, String)>>) {
        let text = "{sources: {a: {type: imap, host: h, user: u, password: p}}, sinks: {o: {type: stdout}}}";
        let loaded = parse(text, Format::Yaml, "test.yaml").unwrap();
        let Some(SourceConfig::Imap(config)) = loaded.config.sources.get("a") else { panic!("it is a mailbox") };
        let (here, there) = duplex(4096);
        (Session::over(config, Arc::new(Account::new(config)), Box::new(here)), tokio::spawn(serve(there, found)))
    }

    async fn serve(stream: DuplexStream, found: Vec<&'static str>) -> Vec<(Duration, String)> {
        let (begin, mut commands) = (Instant::now(), Vec::new());
        let (read, mut write) = tokio::io::split(stream);
        let (mut lines, mut found, mut idle) = (BufReader::new(read).lines(), found.into_iter(), String::new());
        while let Ok(Some(line)) = lines.next_line().await {
            let (tag, command) = line.split_once(' ').unwrap_or(("", &line));
            commands.push((begin.elapsed(), command.to_owned()));
            let answer = match command {
                "IDLE" => {
                    idle = tag.to_owned();
                    "+ idling\r\n".to_owned()
                }
                "DONE" => format!("{idle} OK done\r\n"),
                _ => match found.next() {
                    Some(uids) => format!("* SEARCH {uids}\r\n{tag} OK done\r\n"),
                    None => return commands,
                },
            };
            write.write_all(answer.as_bytes()).await.unwrap();
        }
        commands
    }

    #[tokio::test(start_paused = true)]
    async fn idle_is_renewed_after_some_minutes_and_a_search_follows_each() {
        // The range n:* always includes the last mail, even if its UID is below n.
        let (mut session, server) = session(vec!["7", "", "7", "8"]);
        let (_end, ended) = oneshot::channel();
        assert_eq!(watch(&mut session, 7, "UNSEEN", ended).await, Ok(true));
        drop(session);
        let commands = server.await.unwrap();
        let searches: Vec<Duration> = commands
            .iter()
            .filter(|(_, command)| command == "UID SEARCH UID 8:* UNDELETED UNSEEN")
            .map(|(at, _)| *at)
            .collect();
        assert_eq!(searches.len(), 4, "{commands:?}");
        let pauses: Vec<Duration> = searches.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(pauses[0], FIRST);
        assert!(pauses[1..].iter().all(|pause| (SHORTEST..=LONGEST).contains(pause)), "{pauses:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_the_session_is_wanted() {
        let (mut session, server) = session(vec![""]);
        let (end, ended) = oneshot::channel::<()>();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            drop(end);
        });
        assert_eq!(watch(&mut session, 7, "", ended).await, Ok(false));
        drop(session);
        assert_eq!(server.await.unwrap().last(), Some(&(Duration::from_secs(9), "DONE".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_ends_is_an_error_and_not_an_end_of_the_wait() {
        // The server closes the connection at the second SEARCH.
        let (mut session, _server) = session(vec![""]);
        let (_end, ended) = oneshot::channel();
        let fault = watch(&mut session, 7, "", ended).await.unwrap_err();
        assert!(matches!(fault, Fault::Lost(_)), "{fault:?}");
    }
}
