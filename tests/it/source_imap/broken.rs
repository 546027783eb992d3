//! Connections that end anywhere, and mails and servers that are at fault.

use std::time::Duration;

use dmarc_shipper::{
    config::source::Imap,
    source::{SourceError, Verdict},
    trouble::Reason,
};

use super::{
    driver::{Driver, Seen, config},
    scripted::{Act, Scripted, asked},
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

/// Ends the connection at the command of this number, before or after doing what it says. Whether it came to that.
async fn ends_at(number: usize, done: bool) -> bool {
    let server = Scripted::start(3, move |state, command| match state.commands.len() {
        _ if command == "LOGOUT" => Act::Honest,
        commands if commands == number && done => Act::HangUp,
        commands if commands == number => Act::SayAndHangUp(String::new()),
        _ => Act::Honest,
    })
    .await;
    let (result, _) = Driver::new(archiving(&server)).run(decide).await;
    let state = server.state.lock().unwrap();
    match result {
        Ok(pass) => {
            assert_eq!((pass.taken, pass.settled, pass.unsettled), (3, 3, 0), "command {number}, done: {done}");
            assert_eq!(state.moved, [1, 2, 3], "command {number}, done: {done}: {:?}", state.commands);
        }
        // Nothing can be worked with before the first list; a single run says so at once.
        Err(error) => {
            assert!(matches!(error, SourceError::Unreachable(_)), "{error}");
            assert!(!state.commands.iter().any(|command| command.contains("FETCH")), "{number}: {:?}", state.commands);
        }
    }
    state.sessions > 1 || state.commands.len() == number
}

#[tokio::test]
async fn a_connection_may_end_at_any_command_and_every_mail_is_read_and_moved_once() {
    let runs = (1..=16).flat_map(|number| [(number, false), (number, true)]);
    let all: Vec<_> = runs.map(|(number, done)| tokio::spawn(ends_at(number, done))).collect();
    let mut reached = 0;
    for run in all {
        reached += usize::from(run.await.unwrap());
    }
    assert!(reached >= 20, "only {reached} runs came to the command at which the connection ends");
}

#[tokio::test]
async fn a_mail_that_breaks_each_session_is_quarantined_without_being_fetched() {
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

#[tokio::test]
async fn where_no_mail_can_be_fetched_it_is_the_servers_fault_and_none_is_quarantined() {
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
async fn a_server_that_breaks_down_half_way_costs_no_mail_its_place() {
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
async fn a_stalled_mail_costs_its_session_and_not_the_run() {
    let server = Scripted::start(3, |state, command| {
        let set = command.strip_prefix("UID FETCH ").and_then(|rest| rest.strip_suffix(" (UID BODY.PEEK[])"));
        match set.is_some_and(|set| asked(state, set).contains(&2)) {
            // The rest of it never comes.
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
async fn text_that_is_not_ascii_right_after_a_code_ends_nothing() {
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

#[tokio::test]
async fn no_and_bad_to_any_command_leave_the_mails_where_they_are() {
    for command in ["CAPABILITY", "LOGIN", "LIST", "SELECT", "UID SEARCH", "UID FETCH", "UID MOVE", "LOGOUT"] {
        for answer in ["TAG NO no\r\n", "TAG BAD bad\r\n"] {
            let server = Scripted::start(2, move |_, sent| match sent.starts_with(command) {
                true => Act::Say(answer.into()),
                false => Act::Honest,
            })
            .await;
            let mut driver = Driver::new(archiving(&server));
            driver.give_up_after = Duration::from_millis(300);
            let (result, _) = driver.run(decide).await;
            let left = server.state.lock().unwrap().mails.len();
            match (command, result) {
                // Names are taken as they are written where nobody can look them up.
                ("LOGOUT" | "LIST", Ok(pass)) => assert_eq!((pass.settled, left), (2, 0), "{command} {answer}"),
                ("UID MOVE", Ok(pass)) => assert_eq!((pass.settled, pass.unsettled, left), (0, 2, 2)),
                (_, Ok(pass)) => panic!("{command} {answer}: {pass:?}"),
                (_, Err(_)) => assert_eq!(left, 2, "{command} {answer}"),
            }
        }
    }
}
