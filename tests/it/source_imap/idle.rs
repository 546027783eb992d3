//! IDLE: waiting for new mail.

use std::{sync::Arc, time::Duration};

use dmarc_shipper::{
    config::source::{Imap, Watch},
    source::Verdict,
};
use futures::future::join_all;

use super::{
    driver::{Driver, Seen, Server, archiving, config, folders, mail},
    scripted::{Act, Fault, Scripted, State},
};
use crate::support::wait::{LONG, eventually};

fn watching(server: &Scripted) -> Imap {
    Imap {
        host: "127.0.0.1".into(),
        archive_folder: Some("Done".into()),
        watch: Watch::Idle,
        poll_interval: Duration::from_secs(3600),
        ..config(server.port)
    }
}

/// Runs until this number of mails was handed over.
pub async fn take(config: Imap, mails: usize) -> Vec<Seen> {
    take_within(Duration::from_secs(60), config, mails).await
}

async fn take_within(within: Duration, config: Imap, mails: usize) -> Vec<Seen> {
    let mut driver = Driver { within, ..Driver::new(config) };
    driver.once = false;
    let stop = driver.stop.clone();
    let mut taken = 0;
    let (pass, seen) = driver
        .run(move |_| {
            taken += 1;
            if taken == mails {
                stop.cancel();
            }
            Verdict::Archive
        })
        .await;
    pass.unwrap();
    seen
}

async fn idling(mails: u32, hook: impl FnMut(&mut State, &str) -> Act + Send + 'static) -> Scripted {
    let server = Scripted::start(mails, hook).await;
    server.set(|state| state.capabilities = "IMAP4rev1 MOVE UIDPLUS IDLE");
    server
}

fn deliver(state: &mut State, uid: u32) {
    state.mails.insert(uid, b"Subject: new\r\n\r\nbody\r\n".to_vec());
}

/// Delivers into `folder` once the source is in IDLE.
async fn deliver_in_idle(server: Arc<Server>, folder: &'static str) {
    let delivery = tokio::task::spawn_blocking(move || {
        eventually(LONG, "the source is in IDLE", || {
            server.dovecot.commands().iter().any(|command| command == "IDLE").then_some(())
        });
        server.mailbox().deliver(folder, &mail(2));
    });
    delivery.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_of_a_real_server_reports_new_mail_at_once() {
    let server = Arc::new(Server::filled(1));
    let config = Imap { watch: Watch::Idle, poll_interval: Duration::from_secs(3600), ..archiving(&server) };
    let (seen, ()) = tokio::join!(take(config, 2), deliver_in_idle(server.clone(), "INBOX"));
    assert_eq!(seen.len(), 2);
    assert_eq!(server.mailbox().names("Processed").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_folders_are_polled_while_the_first_is_in_idle() {
    let server = Arc::new(Server::filled(1));
    server.mailbox().create_folder("Other");
    let config = Imap {
        folder: folders(&["INBOX", "Other"]),
        watch: Watch::Idle,
        poll_interval: Duration::from_secs(1),
        ..archiving(&server)
    };
    let (seen, ()) = tokio::join!(take(config, 2), deliver_in_idle(server.clone(), "Other"));
    assert_eq!(seen.iter().map(|seen| &*seen.folder).collect::<Vec<_>>(), ["INBOX", "Other"]);
}

#[tokio::test]
async fn mail_that_arrives_between_search_and_idle_is_found() {
    let server = idling(1, |state, command| match command {
        "IDLE" if state.moved.len() == 1 => {
            deliver(state, 2);
            Act::Say("* 1 EXISTS\r\n+ idling\r\n".into())
        }
        _ => Act::Honest,
    })
    .await;
    assert_eq!(take(watching(&server), 2).await.len(), 2);
}

#[tokio::test]
async fn mail_is_told_of_in_idle() {
    let server = Arc::new(idling(1, |_, _| Act::Honest).await);
    let teller = tokio::spawn({
        let server = server.clone();
        async move {
            while server.count("IDLE") == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            server.set(|state| deliver(state, 2));
            server.tell("* OK still here\r\n* 1 RECENT\r\n* 1 EXISTS\r\n");
        }
    });
    assert_eq!(take(watching(&server), 2).await.len(), 2);
    teller.await.unwrap();
}

#[tokio::test]
async fn connection_lost_in_idle_is_reopened_and_new_mail_is_read() {
    let server = idling(1, |state, command| match command {
        "IDLE" if state.sessions == 1 => {
            deliver(state, 2);
            Act::SayAndHangUp("+ idling\r\n".into())
        }
        _ => Act::Honest,
    })
    .await;
    assert_eq!(take(watching(&server), 2).await.len(), 2);
    assert_eq!(server.state.lock().unwrap().sessions, 2);
}

#[tokio::test]
async fn servers_without_idle_and_those_that_refuse_it_are_polled() {
    for (capabilities, attempts) in [("IMAP4rev1 MOVE UIDPLUS", 0), ("IMAP4rev1 MOVE UIDPLUS IDLE", 1)] {
        let mut listed = 0;
        let server = Scripted::start(1, move |state, command| match command {
            "IDLE" => Act::Say("TAG BAD not now\r\n".into()),
            "UID SEARCH UNDELETED" => {
                listed += 1;
                if listed == 3 {
                    deliver(state, 2);
                }
                Act::Honest
            }
            _ => Act::Honest,
        })
        .await;
        server.set(|state| state.capabilities = capabilities);
        let config = Imap { poll_interval: Duration::from_millis(200), ..watching(&server) };
        assert_eq!(take(config, 2).await.len(), 2);
        assert_eq!(server.count("IDLE"), attempts);
    }
}

#[tokio::test]
async fn a_single_run_never_waits() {
    let server = idling(1, |_, _| Act::Honest).await;
    let pass = Driver::new(watching(&server)).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, server.count("IDLE")), (1, 0));
}

/// The server answers IDLE or DONE with a fault.
#[tokio::test]
async fn mail_is_read_once_however_idle_ends() {
    let faults: [(&str, Fault); 9] = [
        ("IDLE", || Act::Say("TAG NO not now\r\n".into())),
        ("IDLE", || Act::SayAndHangUp(String::new())),
        ("IDLE", || Act::SayAndHangUp("* OK still here\r\n".into())),
        ("IDLE", || Act::SayAndHangUp("+ idling\r\n* 1 FETCH (UID 1 BODY[] {500}\r\nSubj".into())),
        ("IDLE", || Act::Say("+ idling\r\nTAG OK the end\r\n".into())),
        ("DONE", || Act::Say("TAG NO not now\r\n".into())),
        ("DONE", || Act::Say("TAG BAD not now\r\n".into())),
        ("DONE", || Act::SayAndHangUp(String::new())),
        ("DONE", || Act::SayAndHangUp("* 1 FETCH (UID 1 BODY[] {500}\r\nSubj".into())),
    ];
    let runs = faults.into_iter().enumerate().map(async |(number, (command, fault))| {
        let mut met = false;
        let server = idling(1, move |state, sent| match sent {
            _ if sent == command && !met => {
                met = true;
                deliver(state, 2);
                fault()
            }
            // So that the client ends IDLE with DONE.
            "IDLE" if !met => Act::Say("+ idling\r\n* 1 EXISTS\r\n".into()),
            _ => Act::Honest,
        })
        .await;
        // If the server refuses IDLE, the source polls.
        let config = Imap { poll_interval: Duration::from_secs(2), ..watching(&server) };
        let seen = take(config, 2).await;
        assert_eq!(seen.iter().map(|seen| seen.uid).collect::<Vec<_>>(), [1, 2], "fault {number} at {command}");
        assert_eq!(server.state.lock().unwrap().moved, [1, 2], "fault {number} at {command}");
    });
    join_all(runs).await;
}

/// If passes are some minutes apart, the session is kept with NOOP; if a NOOP fails, the next pass succeeds all the same.
#[tokio::test(start_paused = true)]
async fn failed_noop_loses_nothing() {
    let faults: [Fault; 6] = [
        || Act::Say("TAG NO not now\r\n".into()),
        || Act::Say("TAG BAD what?\r\n".into()),
        || Act::SayAndHangUp(String::new()),
        || Act::SayAndHangUp("* OK still here\r\n".into()),
        || Act::SayAndHangUp("* 1 FETCH (UID 1 BODY[] {500}\r\nSubj".into()),
        || Act::HangUpUnfinished,
    ];
    for (number, fault) in faults.into_iter().enumerate() {
        let server = Scripted::start(1, move |state, command| match command {
            "NOOP" => {
                deliver(state, 2);
                fault()
            }
            _ => Act::Honest,
        })
        .await;
        let config = Imap { watch: Watch::Poll, poll_interval: Duration::from_secs(300), ..watching(&server) };
        let seen = take_within(Duration::from_secs(3600), config, 2).await;
        assert_eq!(seen.iter().map(|seen| seen.uid).collect::<Vec<_>>(), [1, 2], "fault {number}");
        assert_eq!(server.state.lock().unwrap().moved, [1, 2], "fault {number}");
        assert!(server.count("NOOP") > 0);
    }
}
