//! Throttling: servers that ask for fewer requests.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dmarc_shipper::{
    config::source::Imap,
    source::{Pass, SourceError, Verdict},
};

use super::{
    driver::{Driver, Seen, config},
    scripted::{Act, CENSUS, Scripted, State},
};

async fn archive_all(server: &Scripted) -> (Result<Pass, SourceError>, Vec<Seen>) {
    let config = Imap { host: "127.0.0.1".into(), archive_folder: Some("Done".into()), ..config(server.port) };
    let mut driver = Driver::new(config);
    driver.max_attempts = 1;
    driver.run(|_| Verdict::Archive).await
}

/// Time without requests after the server had asked for a pause.
type Pause = Arc<Mutex<Option<Duration>>>;

/// Answers the first command with this prefix with `answer`; the pause is the time until the next command.
fn throttling(
    command: &'static str,
    answer: &'static str,
) -> (Pause, impl FnMut(&mut State, &str) -> Act + Send + 'static) {
    let pause = Arc::new(Mutex::new(None));
    let (told, mut throttled) = (pause.clone(), None::<Instant>);
    let hook = move |_: &mut State, sent: &str| match throttled {
        // Pipelined with SELECT.
        Some(_) if sent == CENSUS => Act::Honest,
        None if sent.starts_with(command) => {
            throttled = Some(Instant::now());
            Act::Say(answer.into())
        }
        None => Act::Honest,
        Some(since) => {
            told.lock().unwrap().get_or_insert(since.elapsed());
            Act::Honest
        }
    };
    (pause, hook)
}

#[tokio::test]
async fn suggested_backoff_time_is_respected_and_no_mail_is_blamed() {
    for command in ["UID FETCH 1:2 (UID BODY", "UID MOVE", "SELECT", "LOGIN"] {
        let answer = "TAG BAD Request is throttled. Suggested Backoff Time: 1700 milliseconds\r\n";
        let (pause, hook) = throttling(command, answer);
        let server = Scripted::start(2, hook).await;
        let (pass, seen) = archive_all(&server).await;
        let pass = pass.unwrap();
        assert_eq!((pass.taken, pass.settled, pass.unsettled), (2, 2, 0), "{command}");
        assert!(seen.iter().all(|seen| seen.content.is_ok()), "{command}");
        assert!(pause.lock().unwrap().unwrap() >= Duration::from_millis(1700), "{command}: {pause:?}");
    }
}

#[tokio::test]
async fn single_run_ends_at_once_if_the_backoff_time_exceeds_give_up_after() {
    let answer = "TAG NO Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n";
    let (_, hook) = throttling("UID FETCH 1:2 (UID BODY", answer);
    let server = Scripted::start(2, hook).await;
    let error = archive_all(&server).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("299961"), "{error}");
}

#[tokio::test]
async fn throttling_without_a_time_is_retried_with_backoff() {
    for answer in [
        "TAG NO [LIMIT] UID FETCH Rate limit hit.\r\n",
        "TAG NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\r\n",
        "* BYE [THROTTLED] come back later\r\n",
    ] {
        let (_, mut hook) = throttling("UID FETCH 1:2 (UID BODY", answer);
        let server = Scripted::start(2, move |state, command| match hook(state, command) {
            Act::Say(text) if text.starts_with("* BYE") => Act::SayAndHangUp(text),
            act => act,
        })
        .await;
        let pass = archive_all(&server).await.0.unwrap();
        assert_eq!((pass.taken, pass.settled, pass.unsettled), (2, 2, 0), "{answer}");
    }
}
