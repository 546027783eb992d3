//! Settling with servers that Debian has no package of: Gmail, Microsoft 365, full mailboxes; and folders given by their
//! special use.

use dmarc_shipper::{
    config::source::{After, Imap},
    source::{SourceError, Verdict},
};

use super::{
    driver::{Driver, Server, archiving, folders, mail},
    scripted::{Act, Scripted, State},
    servers::{Kind, Mailserver},
    with_scripts::scripted,
};
use crate::support::dovecot::Options;

/// LIST responses of Gmail.
const GMAIL: &str = "* LIST (\\HasNoChildren) \"/\" \"INBOX\"\r\n\
    * LIST (\\HasChildren \\Noselect) \"/\" \"[Gmail]\"\r\n\
    * LIST (\\All \\HasNoChildren) \"/\" \"[Gmail]/All Mail\"\r\n\
    * LIST (\\HasNoChildren \\Junk) \"/\" \"[Gmail]/Spam\"\r\n\
    * LIST (\\HasNoChildren \\Trash) \"/\" \"[Gmail]/Trash\"\r\n\
    TAG OK Success\r\n";

async fn gmail(mails: u32, listed: &'static str) -> Scripted {
    let server = Scripted::start(mails, move |_, command| match command {
        "LIST \"\" \"*\"" => Act::Say(listed.into()),
        "NAMESPACE" => Act::Say("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\nTAG OK Success\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4rev1 MOVE UIDPLUS NAMESPACE X-GM-EXT-1 SPECIAL-USE");
    server
}

#[tokio::test]
async fn mails_are_deleted_on_gmail_by_moving_them_to_its_trash() {
    let server = gmail(2, GMAIL).await;
    let config = Imap { archive_folder: None, after: After::Delete, ..scripted(&server) };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.count("UID MOVE 1:2 \"[Gmail]/Trash\"")), (2, 1));
    assert_eq!((server.count("UID STORE"), server.count("UID EXPUNGE")), (0, 0), "\\Deleted would only archive");
}

/// Regression: the folders being read were known to the first session only, so a later one moved a mail from the trash to
/// the trash.
#[tokio::test]
async fn mails_in_gmails_trash_are_deleted_for_good_by_a_second_session_too() {
    let mut hung_up = false;
    let server = Scripted::start(2, move |_, command| match command {
        "LIST \"\" \"*\"" => Act::Say(GMAIL.into()),
        _ if command.starts_with("LIST \"\" \"[Gmail]/Trash\"") => {
            Act::Say("* LIST (\\HasNoChildren \\Trash) \"/\" \"[Gmail]/Trash\"\r\nTAG OK Success\r\n".into())
        }
        _ if command.starts_with("UID FETCH") && !std::mem::replace(&mut hung_up, true) => Act::HangUp,
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4rev1 MOVE UIDPLUS X-GM-EXT-1 SPECIAL-USE");
    let folder = folders(&["\\Trash"]);
    let config = Imap { folder, archive_folder: None, after: After::Delete, ..scripted(&server) };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.count("UID MOVE"), server.count("UID EXPUNGE")), (2, 0, 1));
}

#[tokio::test]
async fn gmail_account_with_hidden_trash_is_refused_before_any_fetch() {
    let hidden = "* LIST (\\HasNoChildren \\Junk) \"/\" \"[Gmail]/Spam\"\r\nTAG OK Success\r\n";
    let server = gmail(2, hidden).await;
    let config = Imap { archive_folder: None, after: After::Delete, ..scripted(&server) };
    let (result, seen) = Driver::new(config).run(|_| Verdict::Archive).await;
    let error = result.unwrap_err();
    assert!(matches!(error, SourceError::Configuration(_)), "{error:?}");
    assert!(error.to_string().contains("let IMAP show the label Trash"), "{error}");
    assert!(seen.is_empty());
}

#[tokio::test]
async fn gmail_archives_into_the_folder_that_it_marks_as_all() {
    let server = gmail(1, GMAIL).await;
    let config = Imap { archive_folder: Some("\\All".into()), ..scripted(&server) };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.count("UID MOVE 1 \"[Gmail]/All Mail\"")), (1, 1));
}

#[tokio::test]
async fn unknown_special_use_is_refused_with_the_known_ones() {
    let server = gmail(1, GMAIL).await;
    let config = Imap { archive_folder: Some("\\Archive".into()), ..scripted(&server) };
    let error = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap_err();
    assert!(matches!(error, SourceError::Configuration(_)), "{error:?}");
    let text = error.to_string();
    for words in ["marks no folder as \\Archive", "\"[Gmail]/Spam\" as \\Junk", "\"[Gmail]/All Mail\" as \\All"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn special_uses_are_requested_with_list_extended() {
    let server = Scripted::start(1, |_, command| match command {
        "LIST \"\" \"*\"" => Act::Say("* LIST () \"/\" \"Old\"\r\nTAG OK done\r\n".into()),
        "LIST \"\" \"*\" RETURN (SPECIAL-USE)" => {
            Act::Say("* LIST (\\Archive) \"/\" \"Old\"\r\nTAG OK done\r\n".into())
        }
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4rev1 MOVE UIDPLUS SPECIAL-USE LIST-EXTENDED");
    let config = Imap { archive_folder: Some("\\archive/Reports".into()), ..scripted(&server) };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.count("UID MOVE 1 \"Old/Reports\"")), (1, 1));
}

#[tokio::test]
async fn dovecot_and_cyrus_find_folders_by_their_use_and_levels_below_them_are_made() {
    let dovecot = Server::with(&Options {
        extra: "namespace inbox {\n  mailbox Ablage {\n    special_use = \\Archive\n    auto = create\n  }\n\
                mailbox Spam {\n    special_use = \\Junk\n    auto = create\n  }\n}\n"
            .into(),
        ..Options::default()
    });
    dovecot.mailbox().deliver("Spam", &mail(1));
    let config =
        Imap { folder: folders(&["\\Junk"]), archive_folder: Some("\\Archive/Reports".into()), ..archiving(&dovecot) };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, dovecot.mailbox().count("Ablage/Reports")), (1, 1));

    let cyrus = Mailserver::start(Kind::Cyrus);
    let mut client = cyrus.client();
    client.does("CREATE INBOX.Ablage (USE (\\Archive))");
    client.append("INBOX", &mail(1));
    let config = Imap { archive_folder: Some("\\Archive".into()), ..cyrus.config() };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!(pass.settled, 1);
    assert!(client.does("STATUS INBOX.Ablage (MESSAGES)").contains("MESSAGES 1"));
}

#[tokio::test]
async fn folders_of_others_are_read_as_they_are_written() {
    let cyrus = Mailserver::start(Kind::Cyrus);
    let mut admin = cyrus.client_of("cyrus");
    admin.does("CREATE user.team@example.com");
    let reports = "user.team.Reports@example.com";
    admin.does(&format!("CREATE {reports}"));
    for reader in ["cyrus", "dmarc@example.com"] {
        admin.does(&format!("SETACL {reports} {reader} lrswitedn"));
    }
    admin.append(reports, &mail(1));
    for written in ["user.team.Reports", "user/team/Reports"] {
        let config = Imap { folder: folders(&[written]), archive_folder: None, after: After::Keep, ..cyrus.config() };
        let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
        assert_eq!(pass.taken, 1, "{written}");
    }
}

/// Microsoft 365: our keyword can't be set, and must not be searched for.
fn without_keywords(_: &mut State, command: &str) -> Act {
    match command.starts_with("SELECT") {
        true => Act::Say(
            "* 2 EXISTS\r\n* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)\r\n\
             * OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)] ok\r\n\
             * OK [UIDVALIDITY 7] ok\r\nTAG OK [READ-WRITE] SELECT completed.\r\n"
                .into(),
        ),
        false => Act::Honest,
    }
}

#[tokio::test]
async fn no_keyword_is_sent_to_a_server_that_takes_none() {
    let server = Scripted::start(2, without_keywords).await;
    for (after, stores) in [(After::Keep, 0), (After::Seen, 1)] {
        let config = Imap { archive_folder: None, after, ..scripted(&server) };
        let driver = Driver { forgets: true, ..Driver::new(config) };
        let pass = driver.run(|_| Verdict::Archive).await.0.unwrap();
        assert_eq!((pass.taken, pass.settled), (2, 2));
        assert_eq!(server.count("UID STORE 1:2 +FLAGS.SILENT (\\Seen)"), stores);
    }
    let state = server.state.lock().unwrap();
    assert!(state.commands.iter().all(|command| !command.contains("KEYWORD") && !command.contains("$Dmarc")));
}

#[tokio::test]
async fn each_missing_level_is_made_where_the_server_makes_none_by_itself() {
    let server = Scripted::start(1, |state, command| {
        let made = |name: &str| state.commands.iter().any(|sent| sent == &format!("CREATE \"{name}\""));
        match command {
            _ if command.starts_with("LIST") && command.ends_with("A/B/C\"") => Act::Say("TAG OK nothing\r\n".into()),
            "CREATE \"A/B/C\"" if !made("A/B") => Act::Say("TAG NO no such parent\r\n".into()),
            "CREATE \"A/B\"" if !made("A") => Act::Say("TAG NO no such parent\r\n".into()),
            _ => Act::Honest,
        }
    })
    .await;
    let config = Imap { archive_folder: Some("A/B/C".into()), ..scripted(&server) };
    let pass = Driver::new(config).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!(pass.settled, 1);
    assert_eq!((server.count("SUBSCRIBE"), server.count("UID MOVE 1 \"A/B/C\"")), (3, 1));
}

#[tokio::test]
async fn dated_target_folder_is_created_for_its_first_mail_and_again_when_the_date_changes() {
    let server = Scripted::start(2, |_, command| match command.starts_with("LIST") && command.contains("Done/") {
        true => Act::Say("TAG OK nothing\r\n".into()),
        false => Act::Honest,
    })
    .await;
    let config = Imap {
        archive_folder: Some("Done/%H%M%S".into()),
        quarantine_folder: Some("Unreadable/%Y".into()),
        max_messages_per_run: Some(1),
        poll_interval: std::time::Duration::from_millis(1500),
        ..scripted(&server)
    };
    let driver = Driver { once: false, ..Driver::new(config) };
    let stop = driver.stop.clone();
    let mut taken = 0;
    let verdict = move |_: &_| {
        taken += 1;
        if taken == 2 {
            stop.cancel();
        }
        Verdict::Archive
    };
    assert_eq!(driver.run(verdict).await.0.unwrap().settled, 1);
    assert_eq!(server.state.lock().unwrap().moved, [1, 2]);
    let state = server.state.lock().unwrap();
    let made: Vec<&String> = state.commands.iter().filter(|sent| sent.starts_with("CREATE")).collect();
    assert!(made.len() == 2 && made[0] != made[1] && made[0].starts_with("CREATE \"Done/"), "{made:?}");
}

#[tokio::test]
async fn mails_stay_in_a_mailbox_over_quota_until_there_is_room() {
    let server = Server::with(&Options {
        capability: Some("IMAP4rev1 UIDPLUS LITERAL+"),
        extra: "mail_plugins = quota\nplugin {\n  quota = count:User quota\n  quota_rule = *:messages=3\n  \
                quota_vsizes = yes\n}\nmailbox_list_index = yes\n"
            .into(),
        ..Options::default()
    });
    server.fill(3);
    let (pass, seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    let pass = pass.unwrap();
    assert_eq!((seen.len(), pass.settled, pass.unsettled), (3, 0, 3));
    assert_eq!((server.mailbox().count("INBOX"), server.mailbox().count("Processed")), (3, 0));
}
