use dmarc_shipper::{
    config::{
        source::{Auth, Imap, Security, WithoutReport},
        tls::Tls,
    },
    limits::Limits,
    source::{SourceError, Verdict},
    trouble::{Reason, Trouble},
};

use super::driver::{Driver, Server, archiving, config, folders, mail, password};
use crate::support::dovecot::{Options, USER};

fn unreadable() -> Verdict {
    Verdict::Quarantine(Trouble::new(Reason::CorruptGzip, "a stream that ends too early"))
}

/// Runs a source that can't succeed, and returns the error.
async fn failure(config: Imap) -> SourceError {
    Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err()
}

#[tokio::test]
async fn mails_are_read_over_tls_and_archived() {
    let server = Server::filled(3);
    let (pass, seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled), (3, 3, 0));
    let contents: Vec<Vec<u8>> = seen.into_iter().map(|seen| seen.content.unwrap()).collect();
    assert_eq!(contents, [mail(1), mail(2), mail(3)]);
    assert!(server.mailbox().names("INBOX").is_empty());
    assert_eq!(server.mailbox().names("Processed").len(), 3);
    assert!(server.mailbox().names("Processed").iter().all(|name| !name.contains("2,S")), "a mail was marked as read");
}

#[tokio::test]
async fn starttls_and_plain_text_work_with_either_way_to_log_in_and_any_password() {
    let text = "pa\"ss \\wörd";
    let server = Server::with(&Options { users: vec![(USER, text)], ..Options::default() });
    server.fill(1);
    let ca_file = Some(server.ca.file());
    let config = |port| Imap { credentials: password(text), ..config(port) };
    let starttls = Imap {
        security: Security::Starttls,
        tls: Tls { ca_file, ..Tls::default() },
        ..config(server.dovecot.imap_port)
    };
    for config in [
        Imap { auth: Auth::Plain, ..starttls.clone() },
        Imap { auth: Auth::Login, ..starttls },
        Imap { auth: Auth::Login, ..config(server.dovecot.imap_port) },
    ] {
        let (pass, _) = Driver::new(config).run(|_| Verdict::Archive).await;
        assert_eq!(pass.unwrap().settled, 1);
    }
    assert_eq!(server.mailbox().names("INBOX").len(), 1, "without an archive folder, mails stay");
}

#[tokio::test]
async fn a_wrong_password_is_refused_with_the_servers_words_and_without_the_password() {
    let server = Server::start();
    let wrong = Imap { credentials: password("hunter2-not-it"), ..archiving(&server) };
    let error = failure(wrong).await;
    assert!(matches!(error, SourceError::AuthenticationRefused(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("Authentication failed") && !text.contains("hunter2"), "{text}");
}

#[tokio::test]
async fn untrusted_certificates_and_wrong_host_names_are_refused() {
    let server = Server::start();
    let stranger = Imap { tls: Tls::default(), ..archiving(&server) };
    let text = failure(stranger).await.to_string();
    assert!(text.contains("tls.ca_file"), "{text}");
    let other_name = Imap { host: "127.0.0.1".into(), ..archiving(&server) };
    let error = failure(other_name).await;
    assert!(matches!(error, SourceError::Unreachable(_)) && error.to_string().contains("tls.server_name"), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_named_with_those_that_exist() {
    let server = Server::start();
    server.mailbox().deliver("Other", &mail(1));
    let error = failure(Imap { folder: folders(&["Reports/In"]), ..archiving(&server) }).await;
    assert!(matches!(error, SourceError::Configuration(_)), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("Reports/In") && text.contains("INBOX") && text.contains("Other"), "{text}");
}

#[tokio::test]
async fn folders_are_made_with_the_servers_delimiter_however_they_are_written() {
    for separator in ['/', '.'] {
        for written in ["Reports/Gelesene Entwürfe", "Reports.Gelesene Entwürfe"] {
            let server = Server::with(&Options { separator, ..Options::default() });
            server.fill(1);
            let config = Imap { archive_folder: Some(written.into()), ..archiving(&server) };
            Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
            assert_eq!(server.mailbox().names("Reports.Gelesene Entw&APw-rfe").len(), 1, "{written} with {separator}");
        }
    }
}

#[tokio::test]
async fn a_folder_that_exists_as_written_is_used_as_it_is() {
    let server = Server::with(&Options { separator: '.', ..Options::default() });
    server.fill(1);
    server.mailbox().deliver("Old.Done", &mail(9));
    let config = Imap { archive_folder: Some("Old.Done".into()), ..archiving(&server) };
    Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!(server.mailbox().names("Old.Done").len(), 2);
}

#[tokio::test]
async fn folders_are_created_below_inbox_where_the_namespace_says_so() {
    let server = Server::with(&Options {
        separator: '.',
        extra: "namespace inbox {\n  prefix = INBOX.\n}\n".into(),
        ..Options::default()
    });
    server.fill(1);
    let pass = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!(pass.settled, 1);
    assert_eq!(server.mailbox().names("Processed").len(), 1);
    // The folder is found under that name the next time.
    server.mailbox().deliver("INBOX", &mail(2));
    Driver::new(archiving(&server)).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!(server.mailbox().names("Processed").len(), 2);
}

#[tokio::test]
async fn verdicts_move_mails_to_the_configured_folders() {
    let server = Server::filled(4);
    let config = Imap {
        quarantine_folder: Some("Unreadable".into()),
        without_report: WithoutReport::Delete,
        ..archiving(&server)
    };
    let (pass, _) = Driver::new(config)
        .run(|seen| match seen.uid {
            1 => Verdict::Archive,
            2 => unreadable(),
            3 => Verdict::WithoutReport,
            _ => Verdict::Leave,
        })
        .await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled), (4, 3, 0));
    assert_eq!(server.mailbox().names("Processed").len(), 1);
    assert_eq!(server.mailbox().names("Unreadable").len(), 1);
    assert_eq!(server.mailbox().names("INBOX").len(), 1);
}

/// Starts a Dovecot with fewer capabilities than it has.
fn without_move(capability: &'static str) -> Server {
    Server::with(&Options { capability: Some(capability), ..Options::default() })
}

#[tokio::test]
async fn without_move_mails_are_copied_and_expunged() {
    let server = without_move("IMAP4rev1 LITERAL+ IDLE NAMESPACE UIDPLUS");
    server.fill(3);
    let (pass, _) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().settled, 3);
    assert!(server.mailbox().names("INBOX").is_empty());
    assert_eq!(server.mailbox().names("Processed").len(), 3);
    assert!(server.dovecot.commands().iter().all(|command| !command.starts_with("UID MOVE")));
}

#[tokio::test]
async fn without_uidplus_nothing_is_expunged_and_marked_mails_are_not_read_again() {
    let server = without_move("IMAP4rev1 LITERAL+ IDLE NAMESPACE");
    server.fill(3);
    for expected in [3, 0] {
        let (pass, _) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
        assert_eq!(pass.unwrap().settled, expected);
        assert_eq!(server.mailbox().names("Processed").len(), 3);
        assert_eq!(server.mailbox().names("INBOX").iter().filter(|name| name.contains('T')).count(), 3);
    }
    assert!(server.dovecot.commands().iter().all(|command| !command.contains("EXPUNGE")));
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let server = Server::filled(3);
    let mut driver = Driver::new(archiving(&server));
    driver.dry_run = true;
    let (pass, seen) = driver.run(|_| Verdict::Archive).await;
    assert_eq!((pass.unwrap().settled, seen.len()), (0, 3));
    assert_eq!(server.mailbox().names("INBOX").len(), 3);
    assert!(!server.mailbox().has_folder("Processed"));
}

#[tokio::test]
async fn remembered_mails_are_not_fetched_again() {
    let server = Server::filled(4);
    let mut driver = Driver::new(config(server.dovecot.imap_port));
    driver.remembered = [1, 3].into();
    let (pass, seen) = driver.run(|_| Verdict::WithoutReport).await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.remembered), (2, 2));
    assert_eq!(seen.iter().map(|seen| seen.uid).collect::<Vec<_>>(), [2, 4]);
}

#[tokio::test]
async fn no_more_mails_than_asked_for_are_taken_in_one_run() {
    let server = Server::filled(5);
    let config = Imap { max_messages_per_run: Some(2), ..archiving(&server) };
    let (pass, _) = Driver::new(config).run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().taken, 2);
    assert_eq!(server.mailbox().names("INBOX").len(), 3);
}

#[tokio::test]
async fn mail_over_mail_bytes_is_not_fetched() {
    let server = Server::filled(1);
    server.mailbox().deliver("INBOX", &[mail(2), vec![b'x'; 5000]].concat());
    let config = Imap { quarantine_folder: Some("Unreadable".into()), ..archiving(&server) };
    let mut driver = Driver::new(config);
    driver.limits = Limits { mail_bytes: 4000, ..Limits::default() };
    let (_, seen) = driver
        .run(|seen| match &seen.content {
            Ok(_) => Verdict::Archive,
            Err(trouble) => Verdict::Quarantine(trouble.clone()),
        })
        .await;
    assert_eq!(seen.iter().filter(|seen| seen.content.is_err()).count(), 1);
    let trouble = seen.iter().find_map(|seen| seen.content.as_ref().err()).unwrap();
    assert_eq!((trouble.reason, trouble.limit.unwrap().value), (Reason::MailTooLarge, 4000));
    assert_eq!(server.mailbox().names("Unreadable").len(), 1);
}

#[tokio::test]
async fn two_hundred_mails_take_a_handful_of_commands() {
    let server = Server::filled(200);
    let (pass, seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    assert_eq!((pass.unwrap().settled, seen.len()), (200, 200));
    assert_eq!(server.mailbox().names("Processed").len(), 200);
    let commands = server.dovecot.commands();
    let count = |word: &str| commands.iter().filter(|command| command.starts_with(word)).count();
    assert_eq!((count("UID SEARCH"), count("UID FETCH"), count("UID MOVE")), (0, 2, 1), "{commands:?}");
}

#[tokio::test]
async fn a_budget_smaller_than_the_mailbox_is_enough() {
    let server = Server::start();
    for number in 1..=20 {
        server.mailbox().deliver("INBOX", &[mail(number), vec![b'x'; 3000]].concat());
    }
    let mut driver = Driver::new(archiving(&server));
    driver.budget = 2000;
    let (pass, _) = driver.run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().settled, 20);
}

#[tokio::test]
async fn continuous_run_finds_new_mails_and_settles_all_before_it_stops() {
    let server = std::sync::Arc::new(Server::start());
    server.fill(2);
    let config = Imap { poll_interval: std::time::Duration::from_millis(200), ..archiving(&server) };
    let mut driver = Driver::new(config);
    driver.once = false;
    let (stop, delivery) = (driver.stop.clone(), server.clone());
    let mut taken = 0;
    let (pass, seen) = driver
        .run(move |_| {
            taken += 1;
            match taken {
                2 => delivery.mailbox().deliver("INBOX", &mail(3)),
                3 => stop.cancel(),
                _ => {}
            }
            Verdict::Archive
        })
        .await;
    pass.unwrap();
    assert_eq!(seen.len(), 3);
    assert_eq!(server.mailbox().names("Processed").len(), 3);
}
