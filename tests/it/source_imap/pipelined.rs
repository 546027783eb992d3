//! What is sent together, with a server that makes some of it fail, and what holds only for a moment.

use std::collections::BTreeSet;

use dmarc_shipper::{
    config::source::Imap,
    source::{Pass, SourceError, Verdict},
};

use super::{
    driver::{Driver, Seen, folders},
    scripted::{Act, Scripted},
    servers::goes_on_until,
    with_scripts::scripted,
};

/// Mails with gaps between their numbers, so that commands for all of them are several.
const GAPPED: u32 = 600;

/// `hook` is asked about each command, with how many of its kind there were, this one included.
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
async fn a_fetch_refused_among_others_costs_no_mail_and_brings_none_twice() {
    let server = gapped(|command, times| match command.starts_with("UID FETCH") && command.contains("BODY") {
        // The first asks for sizes.
        true if times == 3 => Act::Say("TAG NO not now\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    let (pass, seen) = archive_all(&server).await;
    assert_eq!((pass.unwrap().settled, seen.len()), (u64::from(GAPPED), GAPPED as usize));
    assert_eq!(seen.iter().map(|seen| seen.uid).collect::<BTreeSet<_>>().len(), GAPPED as usize);
}

/// They were asked for in every pass, of all that had been dealt with.
#[tokio::test]
async fn sizes_come_with_the_list_only_where_mails_do_not_stay() {
    for (archive_folder, times) in [(Some("Done".to_owned()), 1), (None, 0)] {
        let server = Scripted::start(2, |_, _| Act::Honest).await;
        let pass = Driver::new(Imap { archive_folder, ..scripted(&server) }).run(|_| Verdict::Archive).await.0;
        assert_eq!((pass.unwrap().settled, server.count("UID FETCH 1:* (UID RFC822.SIZE)")), (2, times));
    }
}

/// What had been moved before the session broke was forgotten, and moved once more.
#[tokio::test]
async fn what_was_moved_before_the_session_broke_is_not_moved_again() {
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

/// In every pass, all that came before a search was a SELECT: nothing that lasted.
fn assert_searched_after_select(sent: &[String]) {
    let lasting = |command: &&String| !["LIST", "CREATE", "SUBSCRIBE"].iter().any(|brief| command.starts_with(brief));
    let lasting: Vec<&String> = sent.iter().filter(lasting).collect();
    let before_searches = lasting.windows(2).filter(|pair| pair[1].starts_with("UID SEARCH UNDELETED"));
    let befores: Vec<&String> = before_searches.map(|pair| pair[0]).collect();
    assert!(befores.len() > 2, "{sent:?}");
    assert!(befores.iter().all(|before| before.starts_with("SELECT")), "{befores:?}");
}

/// Goes on until several passes have been made, of which the first archives the one mail.
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

/// The number of mails, as told once, was believed in the next pass too.
#[tokio::test]
async fn a_folder_is_selected_anew_in_every_pass() {
    let server = Scripted::start(1, |_, _| Act::Honest).await;
    assert_searched_after_select(&several_passes(&server, "Reports").await);
}

/// As was what a session was told that began in the middle of a pass.
#[tokio::test]
async fn what_a_session_that_took_over_from_a_lost_one_was_told_is_asked_again_in_the_next_pass() {
    let server = Scripted::start(1, |state, command| match command.contains("BODY") && state.sessions == 1 {
        true => Act::SayAndHangUp(String::new()),
        false => Act::Honest,
    })
    .await;
    assert_searched_after_select(&several_passes(&server, "INBOX").await);
}

/// Any refusal with such brackets was taken for it.
#[tokio::test]
async fn what_a_server_says_for_people_is_not_its_namespace() {
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
