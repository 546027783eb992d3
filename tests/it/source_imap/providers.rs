//! Providers whose servers can't be installed, scripted as they are documented and reported to behave.

use std::{fs, time::Duration};

use dmarc_shipper::{
    config::{
        oauth::Tokens,
        source::{After, Credentials, Imap, Watch},
    },
    source::Verdict,
};

use super::{
    driver::{Driver, config, password},
    scripted::{Act, Scripted},
    search::search,
};

fn archiving(server: &Scripted) -> Imap {
    Imap {
        host: "127.0.0.1".into(),
        credentials: password("secret"),
        archive_folder: Some("Done".into()),
        ..config(server.port)
    }
}

/// iCloud returns nothing for FETCH RFC822, and has no MOVE.
#[tokio::test]
async fn icloud_s_mails_come_whole_and_are_copied_and_expunged() {
    let server = Scripted::start(2, |_, command| match command.contains("RFC822)") || command.contains("RFC822 ") {
        true => Act::Say("* 1 FETCH (UID 1 RFC822 \"\")\r\n* 2 FETCH (UID 2 RFC822 \"\")\r\nTAG OK done\r\n".into()),
        false => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = "IMAP4 IMAP4rev1 SASL-IR AUTH=ATOKEN AUTH=PLAIN UIDPLUS IDLE QUOTA");
    let (pass, seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().settled, 2);
    assert!(seen.iter().all(|seen| seen.content.as_ref().unwrap().ends_with(b"body\r\n")), "{seen:?}");
    let state = server.state.lock().unwrap();
    assert_eq!((&state.copied[..], state.mails.len(), state.moved.len()), (&[1, 2][..], 0, 0));
}

/// Yahoo has no IDLE, and accepts no command line over 1,000 octets.
#[tokio::test]
async fn yahoo_is_polled_with_short_lines() {
    let server = Scripted::start(0, |_, command| match command {
        "IDLE" => Act::Say("TAG BAD unknown command\r\n".into()),
        _ if command.len() > 990 => Act::SayAndHangUp("* BAD line too long\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    server.set(|state| {
        state.capabilities = "IMAP4rev1 ID MOVE NAMESPACE UIDPLUS LITERAL+ OBJECTID AUTH=PLAIN SASL-IR";
        // UIDs with gaps, so that sets are long.
        state.mails =
            (1..=1000).map(|number| (4_000_000_000 + 2 * number, b"Subject: r\r\n\r\n\r\n".to_vec())).collect();
    });
    let poll_interval = Duration::from_millis(200);
    let mut driver = Driver::new(Imap { watch: Watch::Idle, poll_interval, ..archiving(&server) });
    driver.once = false;
    let stop = driver.stop.clone();
    let (mut taken, arrivals) = (0, server.state.clone());
    let run = driver.run(move |_| {
        taken += 1;
        match taken {
            1000 => drop(arrivals.lock().unwrap().mails.insert(4_100_000_000, b"Subject: new\r\n\r\n\r\n".to_vec())),
            1001 => stop.cancel(),
            _ => {}
        }
        Verdict::Archive
    });
    run.await.0.unwrap();
    let state = server.state.lock().unwrap();
    assert_eq!((state.moved.len(), state.mails.len(), state.sessions), (1001, 0, 1));
    assert!(!state.commands.iter().any(|command| command == "IDLE"));
}

/// Capabilities of Microsoft 365 before the login.
const MICROSOFT: &str = "IMAP4 IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT IDLE NAMESPACE";

/// Microsoft 365 accepts only tokens, refuses CHARSET, does not know keywords, sends broken BODYSTRUCTUREs, opens no
/// mailbox at times, and throttles.
#[tokio::test]
async fn exchange_online_throttling_and_expiry_in_one_run_lose_no_mail() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "t0ken").unwrap();
    let (mut opened, mut throttled) = (0, false);
    let server = Scripted::start(3, move |_, command| match command {
        _ if command.starts_with("LOGIN") => Act::Say("TAG NO LOGIN failed.\r\n".into()),
        _ if command.contains("CHARSET") => {
            Act::Say("TAG NO [BADCHARSET (US-ASCII)] The specified charset is not supported.\r\n".into())
        }
        _ if command.contains("BODYSTRUCTURE") || command.contains("ENVELOPE") => {
            Act::Say("* 1 FETCH (BODYSTRUCTURE (\"text\" \"plain\" NIL NIL NIL))\r\nTAG OK done\r\n".into())
        }
        _ if command.contains("KEYWORD") || command.contains("$Dmarc") => Act::Say("TAG BAD unknown\r\n".into()),
        _ if command.starts_with("SELECT") => {
            opened += 1;
            match opened {
                1 => Act::Say("TAG BAD User is authenticated but not connected.\r\n".into()),
                _ => Act::Say(
                    "* 3 EXISTS\r\n* FLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)\r\n\
                     * OK [PERMANENTFLAGS (\\Seen \\Answered \\Flagged \\Deleted \\Draft $MDNSent)] ok\r\n\
                     * OK [UIDVALIDITY 7] ok\r\nTAG OK [READ-WRITE] SELECT completed.\r\n"
                        .into(),
                ),
            }
        }
        _ if command.contains("BODY.PEEK") && !std::mem::replace(&mut throttled, true) => {
            Act::Say("TAG BAD Request is throttled. Suggested Backoff Time: 1100 milliseconds\r\n".into())
        }
        _ => Act::Honest,
    })
    .await;
    server.set(|state| state.capabilities = MICROSOFT);
    let search = search("SUBJECT \"1\" NOT FROM other.example");
    for (after, archive_folder) in [(After::Seen, None), (After::Archive, Some("Done".into()))] {
        let credentials = Credentials::Token(Tokens::File(token.clone()));
        let config = Imap { credentials, search: search.clone(), after, archive_folder, ..archiving(&server) };
        // Without a ledger, the source would mark mails that stay.
        let driver = Driver { forgets: true, ..Driver::new(config) };
        let (pass, seen) = driver.run(|_| Verdict::Archive).await;
        let pass = pass.unwrap();
        assert_eq!((seen.len(), pass.settled, pass.unsettled), (3, 3, 0), "{after:?}");
        assert!(seen.iter().all(|seen| seen.content.is_ok()));
    }
    let state = server.state.lock().unwrap();
    assert_eq!(state.moved, [1, 2, 3]);
    assert!(state.commands.iter().any(|sent| sent.contains("SUBJECT")));
}
