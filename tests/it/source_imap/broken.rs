//! Connections that end at any point, and faults of mails and of servers.

use std::time::Duration;

use dmarc_shipper::{
    config::source::Imap,
    source::{Pass, SourceError, Verdict},
    trouble::Reason,
};

use super::{
    driver::{Driver, Seen, config},
    scripted::{Act, Fault, Scripted, asked, body},
};

fn archiving(server: &Scripted) -> Imap {
    Imap {
        host: "127.0.0.1".into(),
        archive_folder: Some("Done".into()),
        quarantine_folder: Some("Bad".into()),
        ..config(server.port)
    }
}

fn decide(seen: &Seen) -> Verdict {
    match &seen.content {
        Ok(_) => Verdict::Archive,
        Err(trouble) => Verdict::Quarantine(trouble.clone()),
    }
}

/// Ways in which a command can fail.
const WAYS: [(&str, Fault); 7] = [
    ("NO", || Act::Say("TAG NO not now\r\n".into())),
    ("BAD", || Act::Say("TAG BAD not now\r\n".into())),
    ("the connection ends before it is done", || Act::SayAndHangUp(String::new())),
    ("the connection ends when it is done", || Act::HangUp),
    ("the connection ends before the tagged line", || Act::HangUpUnfinished),
    ("the connection ends after an untagged line", || Act::SayAndHangUp("* OK still here\r\n".into())),
    ("the connection ends in a literal", || Act::SayAndHangUp("* 1 FETCH (UID 1 BODY[] {500}\r\nSubj".into())),
];

/// Lets the command with this number fail; the next run must complete the work. True if the run sent that many commands.
async fn fails_at(number: usize, (name, way): (&str, Fault)) -> bool {
    let server = Scripted::start(3, move |state, command| match state.commands.len() == number {
        true if command != "LOGOUT" => way(),
        _ => Act::Honest,
    })
    .await;
    let (result, _) = Driver::new(archiving(&server)).run(decide).await;
    let what = format!("{name} at command {number}: {result:?} after {:?}", server.state.lock().unwrap().commands);
    let is_whole = matches!(result, Ok(Pass { settled: 3, unsettled: 0, .. }));
    match result {
        Ok(pass) => assert!(is_whole || pass.unsettled > 0, "{what}"),
        // Before the first listing, the fault is fatal: a single run fails at once.
        Err(error) => {
            assert!(matches!(error, SourceError::Unreachable(_) | SourceError::AuthenticationRefused(_)), "{what}");
            let sent = &server.state.lock().unwrap().commands;
            assert!(!sent.iter().any(|command| command.contains("BODY.PEEK")), "{what}");
        }
    }
    let was_met = server.state.lock().unwrap().commands.len() >= number;
    if !is_whole {
        Driver::new(archiving(&server)).run(decide).await.0.unwrap();
    }
    assert_eq!(server.state.lock().unwrap().moved, [1, 2, 3], "{what}");
    assert_eq!(server.count("UID MOVE 1:3 \"Bad\""), 0, "{what}");
    was_met
}

#[tokio::test]
async fn any_command_may_fail_in_any_way_and_every_mail_is_moved_once() {
    let runs = (1..=16).flat_map(|number| WAYS.map(|way| tokio::spawn(fails_at(number, way))));
    let mut met = 0;
    for run in runs.collect::<Vec<_>>() {
        met += usize::from(run.await.unwrap());
    }
    assert!(met >= 10 * WAYS.len(), "only {met} runs came to the command that fails");
}

#[tokio::test]
async fn a_connection_may_end_in_the_greeting() {
    for greeting in ["", "* O", "* OK ready"] {
        let server = Scripted::start(1, |_, _| Act::Honest).await;
        server.set(|state| state.greeting = greeting);
        let error = Driver::new(archiving(&server)).run(decide).await.0.unwrap_err();
        assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("closed"), "{error}");
    }
}

#[tokio::test]
async fn mail_that_breaks_each_session_is_bisected_and_quarantined() {
    let server = Scripted::start(1, |_, command| match command.contains("BODY.PEEK") {
        true => Act::SayAndHangUp("* 1 FETCH (UID 1 BODY[] {500}\r\nSubj".into()),
        false => Act::Honest,
    })
    .await;
    let (pass, seen) = Driver::new(archiving(&server)).run(decide).await;
    assert_eq!(pass.unwrap().settled, 1);
    assert_eq!(seen[0].content.as_ref().unwrap_err().reason, Reason::AttemptsExhausted);
    assert_eq!((server.count("UID FETCH 1 (UID BODY"), server.count("UID MOVE 1 \"Bad\"")), (3, 1));
}

/// Regression: the delay grew with each of these mails, until no time was left to decide on any of them.
#[tokio::test]
async fn several_mails_that_break_sessions_are_quarantined_if_others_arrive() {
    let server = Scripted::start(8, |state, command| {
        let wanted = command.strip_prefix("UID FETCH ").filter(|rest| rest.contains("BODY.PEEK"));
        let uids = wanted.map(|rest| asked(state, rest.split(' ').next().unwrap())).unwrap_or_default();
        match uids.iter().position(|uid| (3..=7).contains(uid)) {
            Some(bad) => Act::SayAndHangUp(uids[..bad].iter().map(|uid| body(state, *uid)).collect()),
            None => Act::Honest,
        }
    })
    .await;
    let mut driver = Driver::new(archiving(&server));
    driver.give_up_after = Duration::from_secs(12);
    let (pass, seen) = driver.run(decide).await;
    let unread = seen.iter().filter(|seen| seen.content.is_err()).count();
    assert_eq!((pass.unwrap().settled, seen.len(), unread), (8, 8, 5));
}

#[tokio::test]
async fn server_is_at_fault_if_no_mail_can_be_fetched() {
    for answer in ["TAG NO [SERVERBUG] storage is gone\r\n", "* 1 FETCH (UID 1 FLAGS ())\r\nTAG OK that's all\r\n"] {
        let server = Scripted::start(2, move |_, command| match command.contains("BODY.PEEK") {
            true => Act::Say(answer.into()),
            false => Act::Honest,
        })
        .await;
        let (pass, seen) = Driver::new(archiving(&server)).run(decide).await;
        let pass = pass.unwrap();
        assert_eq!((seen.len(), pass.settled, pass.unsettled), (0, 0, 2), "{answer}");
        assert_eq!(server.count("UID MOVE"), 0);
    }
}

#[tokio::test]
async fn a_server_that_ends_every_session_that_fetches_is_given_up_and_no_mail_quarantined() {
    let server = Scripted::start(2, |_, command| match command.contains("BODY.PEEK") {
        true => Act::HangUp,
        false => Act::Honest,
    })
    .await;
    let mut driver = Driver::new(archiving(&server));
    driver.give_up_after = Duration::from_secs(2);
    let (result, seen) = driver.run(decide).await;
    assert!(matches!(result, Err(SourceError::Unreachable(_))), "{result:?}");
    assert_eq!((seen.len(), server.count("UID MOVE")), (0, 0));
}

#[tokio::test]
async fn server_lost_half_way_quarantines_no_mail() {
    let mut fetches = 0;
    let server = Scripted::start(300, move |_, command| {
        fetches += usize::from(command.contains("BODY.PEEK"));
        match command.contains("BODY.PEEK") && fetches > 1 {
            true => Act::Say("TAG NO [SERVERBUG] storage is gone\r\n".into()),
            false => Act::Honest,
        }
    })
    .await;
    let mut driver = Driver::new(archiving(&server));
    // A quarter of it is one batch: the first 200 mails.
    driver.budget = 17_200;
    let (pass, seen) = driver.run(decide).await;
    let pass = pass.unwrap();
    assert_eq!((seen.len(), pass.settled, pass.unsettled), (200, 200, 100));
    let state = server.state.lock().unwrap();
    assert_eq!((state.mails.len(), state.moved.len()), (100, 200));
}

#[tokio::test]
async fn stalled_fetch_costs_its_session_and_not_the_run() {
    let server = Scripted::start(3, |state, command| {
        let set = command.strip_prefix("UID FETCH ").and_then(|rest| rest.strip_suffix(" (UID BODY.PEEK[])"));
        match set.is_some_and(|set| asked(state, set).contains(&2)) {
            // The rest of the literal never arrives.
            true => Act::Say("* 2 FETCH (UID 2 BODY[] {500}\r\nSubj".into()),
            false => Act::Honest,
        }
    })
    .await;
    let config = Imap { read_timeout: Duration::from_millis(300), ..archiving(&server) };
    let (pass, seen) = Driver::new(config).run(decide).await;
    assert_eq!(pass.unwrap().settled, 3);
    let stalled = seen.iter().find(|seen| seen.uid == 2).unwrap().content.as_ref().unwrap_err();
    assert!(stalled.reason == Reason::AttemptsExhausted && stalled.detail.contains("read_timeout"), "{stalled}");
}

#[tokio::test]
async fn non_ascii_status_text_after_a_code_is_harmless() {
    let server = Scripted::start(2, |_, command| match command.contains("BODY.PEEK") {
        true => Act::Say(
            "* OK [ALERT]été\r\n* 1 FETCH (UID 1 BODY[] {2}\r\nhi)\r\n* 2 FETCH (UID 2 BODY[] {2}\r\nho)\r\nTAG OK [X]é\r\n"
                .into(),
        ),
        false => Act::Honest,
    })
    .await;
    let (pass, _) = Driver::new(archiving(&server)).run(decide).await;
    assert_eq!((pass.unwrap().settled, server.state.lock().unwrap().sessions), (2, 1));
}
