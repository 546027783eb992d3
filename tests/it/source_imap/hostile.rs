//! Hostile servers that never stop sending, or claim mails that do not exist: each session ends with a named fault, at a
//! bounded cost.

use std::time::{Duration, Instant};

use dmarc_shipper::{
    config::source::{Imap, Watch},
    source::{Pass, SourceError, Verdict},
};
use tokio::{io::AsyncWriteExt, net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    driver::{Driver, Seen, config, folders},
    scripted::{Act, CENSUS, Scripted, State, census, honest},
    with_scripts::scripted,
};
use crate::support::wait::LONG;

/// `read_timeout`; a server has five times this for a command.
const SILENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(20);
/// Maximum bytes of a flood that the client and the sockets in between may accept.
const TAKEN: usize = 32 << 20;
/// The same for a flood after a command that allows only a small response.
const FEW_TAKEN: usize = 12 << 20;

fn impatient(server: &Scripted) -> Imap {
    Imap { read_timeout: SILENCE, ..scripted(server) }
}

async fn once(config: Imap) -> (Result<Pass, SourceError>, Vec<Seen>) {
    once_within(config, Duration::from_secs(2)).await
}

async fn once_within(config: Imap, give_up_after: Duration) -> (Result<Pass, SourceError>, Vec<Seen>) {
    Driver { give_up_after, ..Driver::new(config) }
        .run(|seen| match &seen.content {
            Ok(_) => Verdict::Archive,
            Err(trouble) => Verdict::Quarantine(trouble.clone()),
        })
        .await
}

/// Runs against a server that does `act` instead of answering commands with this prefix.
async fn instead_of(command: &'static str, act: fn() -> Act) -> (Result<Pass, SourceError>, Vec<Seen>, Scripted) {
    let server = Scripted::start(3, move |_, sent| if sent.starts_with(command) { act() } else { Act::Honest }).await;
    let (result, seen) = once(impatient(&server)).await;
    (result, seen, server)
}

const COMMANDS: [&str; 8] = [
    "CAPABILITY",
    "LOGIN",
    "LIST",
    "SELECT",
    "UID SEARCH UNDELETED",
    "UID FETCH 1:3 (UID RFC",
    "UID FETCH",
    "UID MOVE",
];

#[tokio::test]
async fn slow_responses_time_out_at_each_command() {
    let runs = COMMANDS.map(|command| {
        tokio::spawn(async move {
            let begin = Instant::now();
            let (result, _, server) = instead_of(command, || Act::Drip("* OK still here\r\n".into(), PAUSE)).await;
            println!("{command}: {:?} {result:?}", begin.elapsed());
            assert!(server.count(command) > 0, "{command} was never sent");
            match result {
                Err(error) => assert!(error.to_string().contains("bytes of a response in"), "{command}: {error}"),
                Ok(pass) => assert!(pass.unsettled > 0 || pass.settled == 3, "{command}: {pass:?}"),
            }
        })
    });
    for run in runs {
        run.await.unwrap();
    }
}

#[tokio::test]
async fn slow_greeting_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"* OK ").await.unwrap();
        while stream.write_all(b"x").await.is_ok() {
            sleep(PAUSE).await;
        }
    });
    let config = Imap { host: "127.0.0.1".into(), read_timeout: SILENCE, ..config(port) };
    let error = once(config).await.0.unwrap_err();
    assert!(error.to_string().contains("bytes of a response in"), "{error}");
}

/// Regression: memory grew by 3 MB/s, and a core was busy, for as long as the server liked.
#[tokio::test]
async fn flood_of_any_response_ends_the_session_at_each_command() {
    let long = format!("* OK {}\r\n", "x".repeat(1000));
    let floods = [
        &long,
        "* OK [ALERT] look out\r\n",
        "* 7 FETCH (UID 7 RFC822.SIZE 500 FLAGS ())\r\n",
        "* LIST () \"/\" \"box\"\r\n",
        "* SEARCH 1 2 3 4294967295\r\n",
        "* 1 EXPUNGE\r\n",
        "* 4294967295 EXISTS\r\n",
    ];
    let commands = ["CAPABILITY", "LIST", "SELECT", "UID SEARCH UNDELETED"].map(|command| (command, &*long));
    for (command, flood) in floods.map(|flood| ("LOGIN", flood)).into_iter().chain(commands) {
        let text = flood.repeat(1000);
        let server = Scripted::start(3, move |_, sent| match sent.starts_with(command) {
            true => Act::Flood(text.clone()),
            false => Act::Honest,
        })
        .await;
        let config = Imap { read_timeout: Duration::from_secs(20), ..scripted(&server) };
        let error = once(config).await.0.unwrap_err();
        assert!(error.to_string().contains("unsolicited responses"), "{command}, {flood}: {error}");
        let State { flooded, sessions, .. } = &*server.state.lock().unwrap();
        assert!(*flooded < TAKEN * *sessions as usize, "{command}, {flood}: {flooded} bytes");
    }
}

/// Regression: the response was read for as long as 150,000 mails may take, whatever EXISTS said.
#[tokio::test]
async fn a_list_of_more_mails_than_the_folder_holds_ends_the_session() {
    let server = Scripted::start(3, |_, sent| match sent {
        CENSUS => Act::Flood("* 7 FETCH (UID 7 RFC822.SIZE 500 FLAGS ())\r\n".repeat(1000)),
        _ => Act::Honest,
    })
    .await;
    let config = Imap { read_timeout: Duration::from_secs(20), pipelining: false, ..scripted(&server) };
    let (result, seen) = once(config).await;
    assert_eq!((result.unwrap().settled, seen.len()), (3, 3), "they are listed by other means");
    let State { flooded, .. } = &*server.state.lock().unwrap();
    assert!(*flooded < FEW_TAKEN, "{flooded} bytes");
}

#[tokio::test]
async fn flood_during_fetch_quarantines_no_mail() {
    let server = Scripted::start(3, |_, sent| match sent.starts_with("UID FETCH 1:3 (UID BODY") {
        true => Act::Flood(format!("* OK {}\r\n", "x".repeat(1000))),
        false => Act::Honest,
    })
    .await;
    // Longer than a busy machine takes for the flood.
    let (result, seen) = once_within(impatient(&server), LONG).await;
    assert_eq!((seen.len(), result.unwrap().settled), (3, 3), "they come one by one");
    assert!(server.state.lock().unwrap().flooded < TAKEN);
}

#[tokio::test]
async fn slow_link_may_take_longer_than_read_timeout_for_a_mail() {
    let mail = vec![b'x'; 300_000];
    let listener = Scripted::start(1, |_, _| Act::Honest).await;
    listener.set(|state| drop(state.mails.insert(1, mail)));
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = relay.local_addr().unwrap().port();
    let to = listener.port;
    tokio::spawn(async move {
        while let Ok((client, _)) = relay.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await.ok() });
            tokio::spawn(async move {
                let mut piece = [0; 4096];
                while let Ok(length @ 1..) = tokio::io::AsyncReadExt::read(&mut from_server, &mut piece).await {
                    sleep(PAUSE).await;
                    if to_client.write_all(&piece[..length]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let begin = Instant::now();
    let (pass, seen) = once(Imap { port, ..impatient(&listener) }).await;
    assert!(begin.elapsed() > SILENCE * 5, "{:?} is no slow link", begin.elapsed());
    assert_eq!((pass.unwrap().settled, seen[0].content.as_ref().unwrap().len()), (1, 300_000));
    assert_eq!(listener.state.lock().unwrap().sessions, 1);
}

/// Regression: 858,994 commands were prepared for it, in 70 MB, and sent.
#[tokio::test]
async fn false_exists_count_is_bounded_at_a_million_mails() {
    let claims = |uid_next: &'static str| {
        move |_: &mut State, command: &str| match command {
            select if select.starts_with("SELECT") => {
                Act::Say(format!("* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] it is\r\n{uid_next}TAG OK done\r\n"))
            }
            search if search.starts_with("UID SEARCH ") && search.ends_with(" UNDELETED") => {
                Act::Say("* SEARCH 1 2 3\r\nTAG OK done\r\n".into())
            }
            _ => Act::Honest,
        }
    };
    let server = Scripted::start(3, claims("")).await;
    let pass = once(impatient(&server)).await.0.unwrap();
    assert_eq!((pass.settled, pass.unsettled), (3, u64::from(u32::MAX) - (1 << 20)), "the rest is not said to be done");
    assert_eq!(server.count("UID SEARCH"), (1_usize << 20).div_ceil(5000));
    let server = Scripted::start(3, claims("* OK [UIDNEXT 4] next\r\n")).await;
    let pass = once(impatient(&server)).await.0.unwrap();
    assert_eq!((pass.settled, pass.unsettled, server.count("UID SEARCH")), (3, 0, 1), "UIDs come no further than 3");
}

#[tokio::test]
async fn unsolicited_uid_ranges_are_not_expanded() {
    const STRAY: &str = "* VANISHED 1:4294967295\r\n* OK [COPYUID 7 1:4294967295 1:4294967295] moved\r\n\
                         * 4294967295 FETCH (UID 4294967295 RFC822.SIZE 4294967295 FLAGS ())\r\n";
    let server = Scripted::start(3, |state, command| match command {
        CENSUS => Act::Say(census(state) + "TAG OK done\r\n"),
        "LOGOUT" => Act::Honest,
        command => Act::Say(STRAY.to_owned() + &honest(state, command) + "TAG OK done\r\n"),
    })
    .await;
    let (pass, seen) = once(impatient(&server)).await;
    let pass = pass.unwrap();
    assert_eq!((seen.len(), pass.settled), (3, 3), "{pass:?}");
}

#[tokio::test]
async fn endless_capability_or_folder_list_is_refused() {
    let server = Scripted::start(1, |_, command| match command {
        "CAPABILITY" => Act::Say(format!("* CAPABILITY IMAP4rev1{}\r\nTAG OK done\r\n", " X".repeat(100_000))),
        _ => Act::Honest,
    })
    .await;
    let error = once(impatient(&server)).await.0.unwrap_err();
    assert!(error.to_string().contains("more than 512 capabilities"), "{error}");

    let server = Scripted::start(1, |_, command| match command {
        "LIST \"\" \"*\"" => {
            let listed: String = (0..10_001).map(|n| format!("* LIST () \"/\" \"box{n}\"\r\n")).collect();
            Act::Say(listed + "TAG OK done\r\n")
        }
        _ => Act::Honest,
    })
    .await;
    let error = once(Imap { folder: folders(&["*"]), ..scripted(&server) }).await.0.unwrap_err();
    assert!(error.to_string().contains("more than 10000 folders"), "{error}");
}

/// Runs a source that uses IDLE for this time.
async fn waits(server: &Scripted, time: Duration) {
    goes_on(Imap { watch: Watch::Idle, read_timeout: Duration::from_secs(20), ..scripted(server) }, time).await;
}

async fn goes_on(config: Imap, time: Duration) {
    let mut driver = Driver::new(config);
    driver.once = false;
    driver.stop = CancellationToken::new();
    let stop = driver.stop.clone();
    tokio::spawn(async move {
        sleep(time).await;
        stop.cancel();
    });
    driver.run(|_| Verdict::Archive).await.0.unwrap();
}

/// Regression: it took 85 % of a core.
#[tokio::test]
async fn backoff_grows_for_a_server_that_floods_idle() {
    let server = Scripted::start(1, |state, command| {
        state.capabilities = "IMAP4rev1 MOVE UIDPLUS IDLE";
        match command {
            "IDLE" => Act::Flood(format!("+ idling\r\n* 4 EXISTS\r\n* OK {}\r\n", "x".repeat(1000))),
            _ => Act::Honest,
        }
    })
    .await;
    waits(&server, Duration::from_secs(8)).await;
    let State { flooded, sessions, .. } = &*server.state.lock().unwrap();
    assert!((2..=6).contains(sessions), "{sessions} sessions");
    assert!(*flooded < TAKEN * *sessions as usize, "{flooded} bytes");
}

/// Regression: each poll counted as a success, so the client logged in once per second forever.
#[tokio::test]
async fn backoff_grows_for_a_server_that_hangs_up_in_idle() {
    let server = Scripted::start(1, |state, command| {
        state.capabilities = "IMAP4rev1 MOVE UIDPLUS IDLE";
        if command == "IDLE" { Act::HangUp } else { Act::Honest }
    })
    .await;
    let config = Imap { watch: Watch::Idle, poll_interval: Duration::from_secs(1), ..scripted(&server) };
    goes_on(config, Duration::from_secs(10)).await;
    let sessions = server.state.lock().unwrap().sessions;
    assert!((3..=6).contains(&sessions), "{sessions} sessions");
}

/// Regression: each report was followed by two commands, as fast as the server sent them.
#[tokio::test]
async fn backoff_grows_for_false_exists_in_idle() {
    for lie in ["UID SEARCH", "IDLE"] {
        let server = Scripted::start(1, move |state, command| {
            state.capabilities = "IMAP4rev1 MOVE UIDPLUS IDLE";
            match command {
                "IDLE" => Act::SayUnfinished("+ idling\r\n* 4 EXISTS\r\n".into()),
                "DONE" => Act::Say("HELD OK done\r\n".into()),
                search if lie == "UID SEARCH" && search.starts_with("UID SEARCH UID ") => {
                    Act::Say("* SEARCH 99\r\nTAG OK done\r\n".into())
                }
                _ => Act::Honest,
            }
        })
        .await;
        waits(&server, Duration::from_secs(6)).await;
        let (searches, waits) = (server.count("UID SEARCH"), server.count("IDLE"));
        assert!(searches <= 12 && waits <= 6, "{lie}: {searches} searches, {waits} waits");
    }
}
