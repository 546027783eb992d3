//! Several folders in one source.

use std::{sync::Arc, time::Duration};

use dmarc_shipper::{
    config::source::Imap,
    source::{SourceError, Verdict},
};

use super::{
    driver::{Driver, Seen, Server, archiving, config, folders, mail},
    scripted::{Act, Scripted},
};
use crate::support::dovecot::Options;

fn where_from(seen: &[Seen]) -> Vec<(&str, u32)> {
    seen.iter().map(|seen| (&*seen.folder, seen.uid)).collect()
}

#[tokio::test]
async fn folders_are_read_in_turn_and_uids_are_per_folder() {
    let server = Server::filled(2);
    server.mailbox().deliver("Junk", &mail(3));
    let config = Imap { folder: folders(&["Junk", "INBOX"]), ..archiving(&server) };
    let (pass, seen) = Driver::new(config).run(|_| Verdict::Archive).await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.settled), (3, 3));
    assert_eq!(where_from(&seen), [("Junk", 1), ("INBOX", 1), ("INBOX", 2)]);
    assert_eq!(server.mailbox().names("Processed").len(), 3);
}

#[tokio::test]
async fn a_pattern_stands_for_the_folders_that_there_are_but_those_that_mails_are_moved_to() {
    for (separator, pattern) in [('/', "Reports/*"), ('.', "Reports/*"), ('.', "Reports.*"), ('/', "Reports/%")] {
        let server = Server::with(&Options { separator, ..Options::default() });
        server.fill(1);
        for (number, folder) in ["Reports.a", "Reports.Entw&APw-rfe"].into_iter().enumerate() {
            server.mailbox().deliver(folder, &mail(number));
        }
        let config = Imap {
            folder: folders(&[pattern, "INBOX"]),
            archive_folder: Some("Reports/Done".into()),
            quarantine_folder: Some("Reports/Bad".into()),
            ..archiving(&server)
        };
        let (_, seen) = Driver::new(config.clone()).run(|_| Verdict::Archive).await;
        let level = |name: &str| format!("Reports{separator}{name}");
        assert_eq!(
            seen.into_iter().map(|seen| seen.folder).collect::<Vec<_>>(),
            [level("Entwürfe"), level("a"), "INBOX".into()],
            "{pattern} with {separator}"
        );
        assert_eq!(server.mailbox().names("Reports.Done").len(), 3);
        let (pass, _) = Driver::new(config).run(|_| Verdict::Archive).await;
        assert_eq!(pass.unwrap().taken, 0, "{pattern} with {separator}");
    }
}

#[tokio::test]
async fn folder_created_later_is_found_by_a_later_pass() {
    let server = Arc::new(Server::start());
    server.mailbox().deliver("Reports.a", &mail(1));
    let config = Imap {
        folder: folders(&["Reports/*", "Later"]),
        poll_interval: Duration::from_millis(200),
        ..archiving(&server)
    };
    let mut driver = Driver::new(config);
    driver.once = false;
    let (stop, delivery) = (driver.stop.clone(), server.clone());
    let mut taken = 0;
    let (pass, mut seen) = driver
        .run(move |_| {
            taken += 1;
            match taken {
                1 => {
                    delivery.mailbox().deliver("Reports.b", &mail(2));
                    delivery.mailbox().deliver("Later", &mail(3));
                }
                3 => stop.cancel(),
                _ => {}
            }
            Verdict::Archive
        })
        .await;
    pass.unwrap();
    seen.sort_by(|a, b| a.folder.cmp(&b.folder));
    assert_eq!(where_from(&seen), [("Later", 1), ("Reports/a", 1), ("Reports/b", 1)]);
}

#[tokio::test]
async fn missing_folder_is_skipped_unless_all_are_missing() {
    let server = Server::filled(1);
    let config = Imap { folder: folders(&["Nowhere", "INBOX"]), ..archiving(&server) };
    assert_eq!(Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap().settled, 1);
    let config = Imap { folder: folders(&["Nowhere", "Neverland"]), ..archiving(&server) };
    let error = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Configuration(_)) && error.to_string().contains("Nowhere"), "{error}");
}

#[tokio::test]
async fn a_folder_that_mails_are_moved_to_is_not_read_under_any_name() {
    let server = Server::start();
    let config = Imap {
        folder: folders(&["INBOX", "Reports/Done"]),
        archive_folder: Some("Reports.Done".into()),
        ..archiving(&server)
    };
    let error = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Configuration(_)) && error.to_string().contains("archive_folder"), "{error}");
}

fn scripted(server: &Scripted, names: &[&str]) -> Imap {
    Imap {
        host: "127.0.0.1".into(),
        folder: folders(names),
        archive_folder: Some("Done".into()),
        ..config(server.port)
    }
}

/// Returns a server that refuses SELECT of the folder Bad this many times.
async fn selecting_badly(times: usize) -> Scripted {
    Scripted::start(2, move |state, command| {
        let tries = state.commands.iter().filter(|command| command.contains("SELECT \"Bad\"")).count();
        match command.starts_with("SELECT \"Bad\"") && tries <= times {
            true => Act::Say("TAG NO [UNAVAILABLE] index is locked\r\n".into()),
            false => Act::Honest,
        }
    })
    .await
}

#[tokio::test]
async fn folder_that_can_not_be_selected_is_retried_after_the_others() {
    let server = selecting_badly(1).await;
    let (pass, seen) = Driver::new(scripted(&server, &["Bad", "INBOX"])).run(|_| Verdict::Leave).await;
    assert_eq!(pass.unwrap().taken, 4);
    assert_eq!(where_from(&seen), [("INBOX", 1), ("INBOX", 2), ("Bad", 1), ("Bad", 2)]);
}

#[tokio::test]
async fn single_run_fails_after_give_up_after_if_a_folder_can_never_be_selected() {
    let server = selecting_badly(usize::MAX).await;
    let mut driver = Driver::new(scripted(&server, &["Bad", "INBOX"]));
    driver.give_up_after = Duration::from_millis(500);
    let (result, seen) = driver.run(|_| Verdict::Leave).await;
    let error = result.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("index is locked"), "{error}");
    assert_eq!(where_from(&seen), [("INBOX", 1), ("INBOX", 2)], "the others were read first");
}

#[tokio::test]
async fn session_lost_in_the_second_folder_resumes_there() {
    let server = Scripted::start(2, |state, command| {
        let selected = state.commands.iter().rev().find(|command| command.starts_with("SELECT"));
        let in_second = selected.is_some_and(|command| command.contains("Second"));
        match command.contains("BODY.PEEK") && in_second && state.sessions == 1 {
            true => Act::SayAndHangUp(String::new()),
            false => Act::Honest,
        }
    })
    .await;
    let (pass, seen) = Driver::new(scripted(&server, &["INBOX", "Second"])).run(|_| Verdict::Leave).await;
    assert_eq!(pass.unwrap().taken, 4);
    assert_eq!(where_from(&seen), [("INBOX", 1), ("INBOX", 2), ("Second", 1), ("Second", 2)]);
    let commands = server.state.lock().unwrap().commands.clone();
    let after = commands.iter().rposition(|command| command.starts_with("LOGIN")).unwrap();
    assert!(!commands[after..].iter().any(|command| command.contains("SELECT \"INBOX\"")), "{commands:?}");
}
