//! Pipelined commands of which some fail, and data that is valid only for a short time.

use std::collections::BTreeSet;

use dmarc_shipper::{
    config::source::Imap,
    source::{Pass, SourceError, Verdict},
};

use super::{
    driver::{Driver, Seen, folders},
    scripted::{Act, CENSUS, Scripted},
    servers::goes_on_until,
    with_scripts::{fetched, scripted},
};

/// Number of mails whose UIDs have gaps, so that several commands are needed for all of them.
const GAPPED: u32 = 600;

/// `hook` is passed each command, and the number of commands of its kind so far, including this one.
async fn gapped(mut hook: impl FnMut(&str, usize) -> Act + Send + 'static) -> Scripted {
    let server = Scripted::start(0, move |state, command| {
        let verb = |command: &str| command.split(' ').take(2).collect::<Vec<_>>().join(" ");
        let times = state.commands.iter().filter(|sent| verb(sent) == verb(command)).count();
        hook(command, times)
    })
    .await;
    server.set(|state| state.mails = (1..=GAPPED).map(|n| (2 * n, b"Subject: x\r\n\r\nbody\r\n".to_vec())).collect());
    server
}

async fn archive_all(server: &Scripted) -> (Result<Pass, SourceError>, Vec<Seen>) {
    Driver::new(scripted(server)).run(|_| Verdict::Archive).await
}

fn sent(server: &Scripted) -> Vec<String> {
    server.state.lock().unwrap().commands.clone()
}

#[tokio::test]
async fn refused_fetch_among_pipelined_ones_loses_and_repeats_no_mail() {
    let mut whole = 0;
    let server = gapped(move |command, _| {
        whole += usize::from(fetched(command).is_some());
        match fetched(command).is_some() && whole == 2 {
            true => Act::Say("TAG NO not now\r\n".into()),
            false => Act::Honest,
        }
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    assert!(sent(&server).iter().filter(|command| fetched(command).is_some()).count() > 3);
    assert_eq!((pass.unwrap().settled, seen.len()), (u64::from(GAPPED), GAPPED as usize));
    assert_eq!(seen.iter().map(|seen| seen.uid).collect::<BTreeSet<_>>().len(), GAPPED as usize);
}

/// If mails stay in the folder, a census would list all that were handled before.
#[tokio::test]
async fn full_listing_is_requested_only_where_mails_are_moved_away() {
    for (archive_folder, censuses) in [(Some("Done".to_owned()), 1), (None, 0)] {
        let server = Scripted::start(2, |_, _| Act::Honest).await;
        let pass = Driver::new(Imap { archive_folder, ..scripted(&server) }).run(|_| Verdict::Archive).await.0;
        assert_eq!(
            (pass.unwrap().settled, server.count(CENSUS), server.count("UID SEARCH UNDELETED")),
            (2, censuses, 1)
        );
    }
}

/// Census of four mails, of which one is flagged \Deleted and one has the keyword of handled mails; in no particular
/// order.
const COUNTED: &str = "* 4 FETCH (FLAGS ($dmarcshipped) UID 4 RFC822.SIZE 20)\r\n\
                       * 1 FETCH (UID 1 FLAGS (\\Seen) RFC822.SIZE 20)\r\n\
                       * 2 FETCH (UID 2 FLAGS (\\DELETED) RFC822.SIZE 20)\r\n\
                       * 3 FETCH (UID 3 FLAGS ())\r\n";

#[tokio::test]
async fn full_listing_replaces_search_and_skips_deleted_and_marked_mails() {
    let server = Scripted::start(4, |_, command| match command {
        CENSUS => Act::Say(format!("{COUNTED}TAG OK done\r\n")),
        _ => Act::Honest,
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    let uids: BTreeSet<u32> = seen.iter().map(|seen| seen.uid).collect();
    assert_eq!((pass.unwrap().settled, uids), (2, [1, 3].into()));
    // The census had no size for the third mail.
    let sized = |set: &str| server.count(&format!("UID FETCH {set} (UID RFC822.SIZE)"));
    assert_eq!((server.count("UID SEARCH UNDELETED"), sized("3"), sized("1")), (0, 1, 0));
}

#[tokio::test]
async fn full_listing_that_misses_a_mail_is_followed_by_search() {
    for missing in ["", "* 5 FETCH (UID 5 RFC822.SIZE 20)\r\n", "* 5 FETCH (FLAGS () RFC822.SIZE 20)\r\n"] {
        let server = Scripted::start(5, move |_, command| match command {
            CENSUS => Act::Say(format!("{COUNTED}{missing}TAG OK done\r\n")),
            _ => Act::Honest,
        })
        .await;
        assert_eq!(archive_all(&server).await.0.unwrap().settled, 5, "{missing}");
        assert_eq!(server.count("UID SEARCH UNDELETED"), 1, "{missing}");
    }
}

/// A server that is slow with many mails would be slow again in each session.
#[tokio::test]
async fn only_the_first_session_requests_a_full_listing() {
    let server = Scripted::start(2, |state, command| match fetched(command).is_some() && state.sessions < 3 {
        true => Act::SayAndHangUp(String::new()),
        false => Act::Honest,
    })
    .await;
    let pass = archive_all(&server).await.0.unwrap();
    let sessions = server.state.lock().unwrap().sessions;
    assert_eq!((pass.settled, sessions, server.count(CENSUS)), (2, 3, 1));
}

/// The response that broke the session might be sent again each time.
#[tokio::test]
async fn session_lost_before_the_full_listing_is_followed_by_one_without() {
    let server = Scripted::start(2, |state, command| match command.starts_with("LOGIN") && state.sessions == 1 {
        true => Act::SayAndHangUp(String::new()),
        false => Act::Honest,
    })
    .await;
    let state = server.state.clone();
    goes_on_until(scripted(&server), move || state.lock().unwrap().moved.len() == 2, |_| Verdict::Archive).await;
    assert_eq!((server.count(CENSUS), server.count("UID SEARCH UNDELETED")), (0, 1));
}

/// Regression: mails that had been moved before the session broke were moved once more.
#[tokio::test]
async fn mails_moved_before_the_session_broke_are_not_moved_again() {
    let server = gapped(|command, times| match command.starts_with("UID MOVE") && times == 2 {
        true => Act::SayAndHangUp(String::new()),
        false => Act::Honest,
    })
    .await;
    let pass = archive_all(&server).await.0.unwrap();
    assert_eq!((pass.settled, pass.unsettled), (u64::from(GAPPED), 0));
    let moves: Vec<String> = sent(&server).into_iter().filter(|command| command.starts_with("UID MOVE")).collect();
    assert_eq!(moves.iter().filter(|command| **command == moves[0]).count(), 1, "{moves:?}");
}

/// Fails unless in every pass the command right before a SEARCH was a SELECT, apart from commands of no lasting effect.
fn assert_searched_after_select(sent: &[String]) {
    let brief = ["LIST", "CREATE", "SUBSCRIBE", CENSUS];
    let lasting = |command: &&String| !brief.iter().any(|brief| command.starts_with(brief));
    let lasting: Vec<&String> = sent.iter().filter(lasting).collect();
    let before_searches = lasting.windows(2).filter(|pair| pair[1].starts_with("UID SEARCH UNDELETED"));
    let befores: Vec<&String> = before_searches.map(|pair| pair[0]).collect();
    assert!(befores.len() > 2, "{sent:?}");
    assert!(befores.iter().all(|before| before.starts_with("SELECT")), "{befores:?}");
}

/// Runs until several passes were made, of which the first archives the only mail.
async fn several_passes(server: &Scripted, folder: &str) -> Vec<String> {
    let config = Imap { folder: folders(&[folder]), ..scripted(server) };
    let state = server.state.clone();
    let searches = move || {
        let state = state.lock().unwrap();
        state.commands.iter().filter(|sent| sent.starts_with("UID SEARCH UNDELETED")).count()
    };
    goes_on_until(config, move || searches() > 3, |_| Verdict::Archive).await;
    sent(server)
}

/// Regression: the number of mails in the folder was not updated in the next pass.
#[tokio::test]
async fn every_pass_selects_the_folder_again() {
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    assert_searched_after_select(&several_passes(&server, "Reports").await);
}

/// Regression: the same, for a session that was opened in the middle of a pass.
#[tokio::test]
async fn first_responses_of_a_reconnected_session_are_not_reused_in_the_next_pass() {
    let server = Scripted::start(1, |state, command| match fetched(command).is_some() && state.sessions == 1 {
        true => Act::SayAndHangUp(String::new()),
        false => Act::Honest,
    })
    .await;
    assert_searched_after_select(&several_passes(&server, "INBOX").await);
}

/// Regression: any NO with parentheses in its text was taken for the NAMESPACE response.
#[tokio::test]
async fn status_text_is_not_taken_for_a_namespace_response() {
    let server = Scripted::start(1, |_, command| match command {
        "LIST \"\" \"\"" => {
            let note = "* NO almost full ((\"Old/\" \"/\")) of all\r\n";
            Act::Say(format!("{note}* LIST (\\Noselect) \"/\" \"\"\r\nTAG OK done\r\n"))
        }
        _ => Act::Honest,
    })
    .await;
    server.set(|state| (state.missing, state.capabilities) = (Some("Done"), "IMAP4rev1 MOVE UIDPLUS NAMESPACE"));
    assert_eq!(archive_all(&server).await.0.unwrap().settled, 1);
    assert_eq!(server.count("CREATE \"Done\""), 1);
}
