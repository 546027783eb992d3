use std::time::Duration;

use dmarc_shipper::{
    config::source::{Auth, Imap, Security},
    source::{Pass, SourceError, Verdict},
    trouble::Reason,
};

use super::{
    driver::{Driver, Seen, config, password},
    idle::take,
    scripted::{Act, Scripted, State, asked, body},
    servers::goes_on_until,
};

pub fn scripted(server: &Scripted) -> Imap {
    Imap {
        host: "127.0.0.1".into(),
        auth: Auth::Login,
        // The scripted server reads lines only; an ASCII password needs no literal.
        credentials: password("secret"),
        archive_folder: Some("Done".into()),
        ..config(server.port)
    }
}

async fn archive_all(server: &Scripted) -> (Result<Pass, SourceError>, Vec<Seen>) {
    Driver::new(scripted(server))
        .run(|seen| match &seen.content {
            Ok(_) => Verdict::Archive,
            Err(_) => Verdict::Leave,
        })
        .await
}

fn uids(seen: &[Seen]) -> Vec<u32> {
    let mut uids: Vec<u32> = seen.iter().map(|seen| seen.uid).collect();
    uids.sort_unstable();
    uids
}

/// Returns the UID set of a command that fetches whole mails.
pub fn fetched(command: &str) -> Option<&str> {
    command.strip_prefix("UID FETCH ")?.strip_suffix(" (UID BODY.PEEK[])")
}

/// Answers each FETCH of mail 2 with `answer`, after the mails before it.
fn broken_at_two(answer: &'static str) -> impl FnMut(&mut State, &str) -> Act + Send {
    move |state, command| match fetched(command).map(|set| asked(state, set)) {
        Some(wanted) if wanted.contains(&2) => {
            let before: String = wanted.iter().take_while(|uid| **uid < 2).map(|uid| body(state, *uid)).collect();
            Act::SayAndHangUp(before + answer)
        }
        _ => Act::Honest,
    }
}

#[tokio::test]
async fn bye_greeting_is_reported_with_its_text() {
    let server = Scripted::start(0, |_, _| Act::Honest).await;
    server.set(|state| state.greeting = "* BYE too many connections\r\n");
    let error = archive_all(&server).await.0.unwrap_err();
    assert!(
        matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("too many connections"),
        "{error}"
    );
}

#[tokio::test]
async fn no_password_is_sent_where_logins_are_disabled() {
    let server = Scripted::start(0, |_, _| Act::Honest).await;
    server.set(|state| state.capabilities = "IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2");
    let error = archive_all(&server).await.0.unwrap_err();
    assert!(matches!(error, SourceError::AuthenticationRefused(_)) && error.to_string().contains("XOAUTH2"), "{error}");
    assert_eq!(server.count("LOGIN"), 0);
}

#[tokio::test]
async fn temporary_login_failure_is_no_refused_password() {
    let server = Scripted::start(0, |_, command| match command.starts_with("LOGIN") {
        true => Act::Say("TAG NO [UNAVAILABLE] directory is down\r\n".into()),
        false => Act::Honest,
    });
    let error = archive_all(&server.await).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("directory is down"), "{error}");
}

#[tokio::test]
async fn data_injected_between_starttls_and_the_handshake_ends_the_session() {
    let server = Scripted::start(0, |_, command| match command {
        "STARTTLS" => Act::Say("TAG OK begin\r\n* OK [ALERT] injected\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4rev1 STARTTLS");
    let config = Imap { security: Security::Starttls, ..scripted(&server) };
    let error = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(error.to_string().contains("between STARTTLS and the handshake"), "{error}");
    assert_eq!(server.count("LOGIN"), 0);
}

#[tokio::test]
async fn a_server_without_starttls_gets_no_password_in_plain_text() {
    let server = Scripted::start(0, |_, _| Act::Honest).await;
    let config = Imap { security: Security::Starttls, ..scripted(&server) };
    let error = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(error.to_string().contains("offers no STARTTLS"), "{error}");
    assert_eq!(server.count("LOGIN"), 0);
}

#[tokio::test]
async fn connection_lost_during_fetch_loses_no_mail() {
    let server = Scripted::start(3, |state, command| match fetched(command) {
        Some(_) if state.sessions == 1 => Act::SayAndHangUp(body(state, 1) + "* 2 FETCH (UID 2 BODY[] {500}\r\nSubj"),
        _ => Act::Honest,
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    assert_eq!(pass.unwrap().settled, 3);
    assert_eq!(uids(&seen), [1, 2, 3], "each mail came once");
}

/// Of three mails, the second can't be fetched because of `answer`: it is handed over unread, after three attempts.
async fn gives_up_on_the_second(answer: &'static str) {
    let server = Scripted::start(3, broken_at_two(answer)).await;
    let (pass, seen) = archive_all(&server).await;
    let pass = pass.unwrap();
    assert_eq!((uids(&seen), pass.settled, pass.unsettled), (vec![1, 2, 3], 2, 0), "{answer}");
    let given_up = seen.iter().find(|seen| seen.uid == 2).unwrap();
    assert_eq!(given_up.content.as_ref().unwrap_err().reason, Reason::AttemptsExhausted, "{answer}");
    assert_eq!(server.count("UID FETCH 2 (UID BODY"), 3, "{answer}");
}

#[tokio::test]
async fn mail_that_ends_every_session_is_given_up_and_others_are_read() {
    gives_up_on_the_second("* 2 FETCH (UID 2 BODY[] {500}\r\nSubj").await;
}

#[tokio::test]
async fn oversized_literal_is_refused_before_it_is_buffered_and_others_are_read() {
    let server = Scripted::start(3, broken_at_two("* 2 FETCH (UID 2 BODY[] {4294967295}\r\nSubj")).await;
    let (pass, seen) = archive_all(&server).await;
    assert_eq!((uids(&seen), pass.unwrap().settled), (vec![1, 2, 3], 2));
    let refused = seen.iter().find(|seen| seen.uid == 2).unwrap();
    assert_eq!(refused.content.as_ref().unwrap_err().reason, Reason::MailTooLarge);
}

#[tokio::test]
async fn mail_larger_than_its_rfc822_size_is_read() {
    let server = Scripted::start(2, |state, command| match command.ends_with("(UID RFC822.SIZE)") {
        true => {
            state.mails.insert(2, vec![b'x'; 200_000]);
            Act::Say("* 1 FETCH (UID 1 RFC822.SIZE 20)\r\n* 2 FETCH (UID 2 RFC822.SIZE 20)\r\nTAG OK done\r\n".into())
        }
        false => Act::Honest,
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    assert_eq!(pass.unwrap().settled, 2);
    assert_eq!(seen.iter().find(|seen| seen.uid == 2).unwrap().content.as_ref().unwrap().len(), 200_000);
}

#[tokio::test]
async fn a_response_that_is_not_imap_costs_one_mail() {
    gives_up_on_the_second("what is this?\r\n").await;
}

#[tokio::test]
async fn a_response_that_the_parser_panics_at_costs_one_mail() {
    gives_up_on_the_second("* 2 FETCH (UID 2 INTERNALDATE NIL BODY[] {2}\r\nhi)\r\nTAG OK done\r\n").await;
}

#[tokio::test]
async fn withheld_mail_is_distinguished_from_an_expunged_one() {
    let server = Scripted::start(3, |state, command| match fetched(command).map(|set| asked(state, set)) {
        Some(wanted) => {
            let sent: String = wanted.into_iter().filter(|uid| *uid != 2).map(|uid| body(state, uid)).collect();
            Act::Say(sent + "TAG OK done\r\n")
        }
        None => Act::Honest,
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    let pass = pass.unwrap();
    assert_eq!((uids(&seen), pass.settled, pass.unsettled), (vec![1, 2, 3], 2, 0));
    let withheld = seen.iter().find(|seen| seen.uid == 2).unwrap();
    assert!(withheld.content.as_ref().unwrap_err().detail.contains("does not send the mail"));
}

#[tokio::test]
async fn mail_expunged_before_fetch_is_no_error() {
    let server = Scripted::start(3, |state, command| {
        if fetched(command).is_some() {
            state.mails.remove(&2);
        }
        Act::Honest
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    let pass = pass.unwrap();
    assert_eq!((uids(&seen), pass.settled, pass.unsettled), (vec![1, 3], 2, 0));
}

#[tokio::test]
async fn partial_move_settles_the_moved_mails() {
    let server = Scripted::start(3, |state, command| match command.starts_with("UID MOVE") {
        true => {
            state.mails.remove(&1);
            Act::Say("* 1 EXPUNGE\r\nTAG NO [OVERQUOTA] the archive is full\r\n".into())
        }
        false => Act::Honest,
    })
    .await;
    let pass = archive_all(&server).await.0.unwrap();
    assert_eq!((pass.settled, pass.unsettled), (1, 2));
}

#[tokio::test]
async fn false_ok_to_a_move_is_detected() {
    let server = Scripted::start(2, |_, command| match command.starts_with("UID MOVE") {
        true => Act::Say("TAG OK done\r\n".into()),
        false => Act::Honest,
    })
    .await;
    let pass = archive_all(&server).await.0.unwrap();
    assert_eq!((pass.settled, pass.unsettled), (0, 2));
}

#[tokio::test]
async fn deleted_archive_folder_is_created_again() {
    let server = Scripted::start(1, |state, command| {
        let made = state.commands.iter().any(|command| command.starts_with("CREATE"));
        match command.starts_with("UID MOVE") && !made {
            true => Act::Say("TAG NO [TRYCREATE] no such folder\r\n".into()),
            false => Act::Honest,
        }
    })
    .await;
    let pass = archive_all(&server).await.0.unwrap();
    assert_eq!((pass.settled, server.count("CREATE")), (1, 1));
}

#[tokio::test]
async fn copied_mail_that_could_not_be_expunged_is_not_copied_again() {
    let server = Scripted::start(1, |state, command| match command {
        _ if command.starts_with("UID STORE") && state.sessions == 1 => Act::SayAndHangUp(String::new()),
        _ if command.starts_with("UID EXPUNGE") => {
            state.mails.clear();
            Act::Honest
        }
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4rev1 UIDPLUS");
    let pass = archive_all(&server).await.0.unwrap();
    assert_eq!((pass.settled, server.count("UID COPY"), server.count("UID STORE")), (1, 1, 2));
}

/// Regression: mails flagged \Deleted are not listed, and the pending action of a mail that was not listed was forgotten.
#[tokio::test]
async fn a_mail_that_could_not_be_expunged_is_expunged_by_the_next_pass() {
    let server = Scripted::start(1, |state, command| match command.starts_with("UID EXPUNGE") {
        true if state.commands.iter().filter(|sent| sent.starts_with("UID EXPUNGE")).count() == 1 => {
            Act::Say("TAG NO [INUSE] another client has it\r\n".into())
        }
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4rev1 UIDPLUS");
    let state = server.state.clone();
    let seen = goes_on_until(scripted(&server), move || state.lock().unwrap().mails.is_empty(), |_| Verdict::Archive);
    assert_eq!(seen.await.len(), 1);
    assert_eq!(server.count("UID COPY"), 1);
}

#[tokio::test]
async fn session_lost_during_moves_is_resumed() {
    let server = Scripted::start(3, |state, command| match command.starts_with("UID MOVE") && state.sessions == 1 {
        true => Act::HangUp,
        false => Act::Honest,
    })
    .await;
    let pass = archive_all(&server).await.0.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled), (3, 3, 0));
    assert_eq!(server.state.lock().unwrap().moved, [1, 2, 3]);
}

#[tokio::test]
async fn uidvalidity_change_relists_the_folder_and_moves_nothing_by_old_uids() {
    let server =
        Scripted::start(2, |state, command| match command.starts_with("UID MOVE") && state.uid_validity == 7 {
            true => {
                state.uid_validity = 8;
                state.mails = [(11, b"one".to_vec()), (12, b"two".to_vec())].into();
                Act::SayAndHangUp(String::new())
            }
            false => Act::Honest,
        })
        .await;
    let (pass, seen) = archive_all(&server).await;
    let pass = pass.unwrap();
    assert_eq!((uids(&seen), pass.settled, pass.unsettled), (vec![1, 2, 11, 12], 2, 2));
    assert_eq!(server.state.lock().unwrap().moved, [11, 12]);
}

/// The SELECT at the start of a session is current for the commands that follow at once, but not for a later pass.
#[tokio::test]
async fn uidvalidity_change_after_a_reconnect_relists_the_folder_in_the_next_pass() {
    let server = Scripted::start(1, |state, command| {
        if fetched(command).is_some() && state.sessions == 1 {
            return Act::SayAndHangUp(String::new());
        }
        if command.starts_with("UID MOVE") && state.uid_validity == 7 {
            state.moved.extend(state.mails.keys());
            state.uid_validity = 8;
            state.mails = [(1, b"another".to_vec())].into();
            return Act::Say("* 1 EXPUNGE\r\nTAG OK done\r\n".into());
        }
        Act::Honest
    })
    .await;
    let seen = take(Imap { poll_interval: Duration::from_millis(100), ..scripted(&server) }, 2).await;
    assert_eq!((uids(&seen), server.state.lock().unwrap().moved.as_slice()), (vec![1, 1], &[1, 1][..]));
    let state = server.state.lock().unwrap();
    let second = state.commands.iter().rposition(|command| command.starts_with("LOGIN")).unwrap();
    let selected = state.commands[second..].iter().filter(|command| command.starts_with("SELECT")).count();
    assert!(state.sessions == 2 && selected >= 2, "{:?}", state.commands);
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_the_read_timeout() {
    let server = Scripted::start(1, |_, command| match command.starts_with("SELECT") {
        true => Act::Silent,
        false => Act::Honest,
    })
    .await;
    let config = Imap { read_timeout: Duration::from_millis(200), ..scripted(&server) };
    let error = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("read_timeout"), "{error}");
}

#[tokio::test]
async fn a_single_run_gives_up_on_a_server_that_stays_away() {
    let server = Scripted::start(1, |_, command| match fetched(command) {
        Some(_) => Act::HangUp,
        None if command.starts_with("UID FETCH") => Act::HangUp,
        None => Act::Honest,
    })
    .await;
    let mut driver = Driver::new(scripted(&server));
    driver.give_up_after = Duration::from_secs(1);
    let error = driver.run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("closed"), "{error}");
}

#[tokio::test]
async fn continuous_run_waits_for_a_server_that_is_not_ready() {
    let server = Scripted::start(1, |state, command| match command {
        "CAPABILITY" if state.sessions == 1 => Act::SayAndHangUp("* BYE maintenance\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    let mut driver = Driver::new(scripted(&server));
    driver.once = false;
    let stop = driver.stop.clone();
    let (pass, _) = driver
        .run(move |_| {
            stop.cancel();
            Verdict::Archive
        })
        .await;
    assert_eq!(pass.unwrap().settled, 1);
    // LOGOUT is sent, and its response is not waited for.
    let logged_out = async {
        while server.count("LOGOUT") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), logged_out).await.unwrap();
}

#[tokio::test]
async fn large_folders_are_searched_in_parts() {
    let server = Scripted::start(0, |_, command| match command {
        _ if command.starts_with("SELECT") => {
            Act::Say("* 12000 EXISTS\r\n* OK [UIDVALIDITY 7] it is\r\nTAG OK done\r\n".into())
        }
        "UID SEARCH 7001:12000 UNDELETED" => Act::Say("* SEARCH 30\r\nTAG OK done\r\n".into()),
        "UID SEARCH 2001:7000 UNDELETED" => Act::Say("* SEARCH 20 30\r\nTAG OK done\r\n".into()),
        "UID SEARCH 1:2000 UNDELETED" => Act::Say("* SEARCH 10\r\nTAG OK done\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.mails = [10, 20, 30].map(|uid| (uid, b"mail".to_vec())).into());
    let (pass, seen) = archive_all(&server).await;
    assert_eq!((uids(&seen), pass.unwrap().settled), (vec![10, 20, 30], 3));
}
