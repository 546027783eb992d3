//! Prefetch: mails that are fetched together with the census, before it is known that they exist.

use dmarc_shipper::{
    config::source::Imap,
    limits::Limits,
    source::{Pass, Verdict},
};
use serde_json::json;

use super::{
    driver::{Driver, Seen, Server, archiving, mail},
    parts::large,
    scripted::{Act, CENSUS, Scripted, State, census, honest, is_ahead, literal},
    with_scripts::{fetched, scripted},
};
use crate::support::{
    ca::Ca,
    delivery::{assert_rows, deliver},
    dovecot::Dovecot,
    process::ndjson,
    reports::Batch,
    workplace::{Workplace, imaps, with},
};

/// Starts a server that answers the census; `ahead` returns the response to the prefetch.
async fn telling(mut ahead: impl FnMut(&State, &str) -> Act + Send + 'static) -> Scripted {
    Scripted::start(3, move |state, command| match command {
        CENSUS => Act::Say(census(state) + "TAG OK done\r\n"),
        _ if is_ahead(command) => ahead(state, command),
        _ => Act::Honest,
    })
    .await
}

/// Fails unless each mail was handed over whole and once, and was archived; returns the UID sets of the commands that
/// fetched whole mails.
async fn all_come(server: &Scripted, driver: Driver) -> Vec<String> {
    let mails = server.state.lock().unwrap().mails.clone();
    let (pass, mut seen) = driver.run(|_| Verdict::Archive).await;
    let count = mails.len() as u64;
    let Pass { taken, settled, unsettled, .. } = pass.unwrap();
    assert_eq!((taken, settled, unsettled), (count, count, 0));
    seen.sort_unstable_by_key(|seen| seen.uid);
    let came = seen.into_iter().map(|Seen { uid, content, .. }| (uid, content.unwrap()));
    assert_eq!(came.collect::<Vec<_>>(), mails.into_iter().collect::<Vec<_>>());
    sets_fetched(server)
}

/// Returns the UID sets of the commands that fetched whole mails.
fn sets_fetched(server: &Scripted) -> Vec<String> {
    let state = server.state.lock().unwrap();
    state.commands.iter().filter_map(|command| fetched(command)).map(str::to_owned).collect()
}

fn asked_ahead(server: &Scripted) -> Vec<String> {
    sets_ahead(&server.state.lock().unwrap().commands)
}

/// Returns the UID sets of the prefetches.
fn sets_ahead(commands: &[String]) -> Vec<String> {
    let ahead = commands.iter().filter(|command| is_ahead(command));
    ahead.filter_map(|command| command.split(' ').nth(2)).map(str::to_owned).collect()
}

#[tokio::test]
async fn small_mails_come_along_and_are_not_fetched_again() {
    let server = telling(|_, _| Act::Honest).await;
    assert!(all_come(&server, Driver::new(scripted(&server))).await.is_empty());
    assert_eq!((asked_ahead(&server), server.state.lock().unwrap().sessions), (vec!["1:512".into()], 1));
}

#[tokio::test]
async fn what_did_not_come_whole_or_was_not_asked_for_is_fetched() {
    let server = telling(|state, command| {
        let all = honest(&mut State { mails: state.mails.clone(), ..State::default() }, command);
        let lie = |uid: u32, bytes: &[u8]| literal(uid, "<0>", bytes);
        let (small, large) = (&state.mails[&3], &state.mails[&600]);
        // Of several responses for a mail, the last one counts.
        let lies = [
            lie(3, b""),
            lie(4, &small[1..]),
            lie(5, &[small, &b"x"[..]].concat()),
            lie(600, large),
            lie(2, &state.mails[&2]),
        ]
        .concat();
        Act::Say(format!("{all}{lies}* 1 FETCH (UID 6 BODY[]<0> NIL)\r\nTAG OK done\r\n"))
    })
    .await;
    server.set(|state| {
        let small = state.mails[&1].clone();
        state.mails.extend([4, 5, 600].map(|uid| (uid, small.clone())));
        // One byte more than is requested, and exactly as many: that mail may have been cut off there.
        state.mails.extend([(2, large(8_193)), (6, large(8_192))]);
    });
    assert_eq!(all_come(&server, Driver::new(scripted(&server))).await, ["2:6,600"]);
}

#[tokio::test]
async fn a_server_that_sends_whole_mails_for_parts_gets_another_session_without() {
    let server = telling(|state, _| {
        let whole = |uid: u32| literal(uid, "", &state.mails[&uid]);
        Act::Say(format!("{}{}TAG OK done\r\n", whole(1), whole(2)))
    })
    .await;
    server.set(|state| drop(state.mails.insert(2, large(70_000))));
    assert_eq!(all_come(&server, Driver::new(scripted(&server))).await, ["1:3"]);
    assert_eq!((asked_ahead(&server).len(), server.state.lock().unwrap().sessions), (1, 2));
}

/// Otherwise it would end each run, because it would be met in each first session.
#[tokio::test]
async fn a_response_that_the_parser_panics_at_costs_a_session_and_no_mail() {
    let server = telling(|_, _| Act::Say("* 1 FETCH (UID 1 INTERNALDATE NIL)\r\nTAG OK done\r\n".into())).await;
    assert_eq!(all_come(&server, Driver::new(scripted(&server))).await, ["1:3"]);
    assert_eq!(server.state.lock().unwrap().sessions, 2);
}

/// The server may be restarting.
#[tokio::test]
async fn a_session_that_breaks_over_them_is_tried_again_though_the_next_one_does_not_come_about() {
    let server = Scripted::start(3, |state, command| match command {
        CENSUS => Act::Say(census(state) + "TAG OK done\r\n"),
        _ if is_ahead(command) => Act::SayAndHangUp(String::new()),
        _ if command.starts_with("LOGIN") && state.sessions == 2 => Act::SayAndHangUp(String::new()),
        _ => Act::Honest,
    })
    .await;
    assert_eq!(all_come(&server, Driver::new(scripted(&server))).await, ["1:3"]);
    assert_eq!(server.state.lock().unwrap().sessions, 3);
}

/// Sizes are kept only of the first mails in the census.
#[tokio::test]
async fn they_are_taken_in_a_folder_of_very_many_mails_too() {
    let server = Scripted::start(16_900, |state, command| match command {
        CENSUS => {
            let told = |(uid, mail): (&u32, &Vec<u8>)| {
                let flags = if *uid > 3 { "$DmarcShipped" } else { "" };
                format!("* 1 FETCH (UID {uid} FLAGS ({flags}) RFC822.SIZE {})\r\n", mail.len())
            };
            Act::Say(state.mails.iter().rev().map(told).collect::<String>() + "TAG OK done\r\n")
        }
        _ => Act::Honest,
    })
    .await;
    let pass = Driver::new(scripted(&server)).run(|_| Verdict::Archive).await.0.unwrap();
    assert_eq!((pass.settled, sets_fetched(&server).len(), server.count("UID SEARCH UNDELETED")), (3, 0, 0));
}

#[tokio::test]
async fn what_is_told_of_a_census_that_is_not_believed_is_not_either() {
    let server = Scripted::start(3, |_, _| Act::Honest).await;
    assert_eq!(all_come(&server, Driver::new(scripted(&server))).await, ["1:3"]);
    assert_eq!(asked_ahead(&server).len(), 1);
}

#[tokio::test]
async fn as_many_are_asked_for_as_there_is_room_and_wish_for() {
    for (budget, most, asked) in [
        (16 << 20, None, Some("1:512")),
        (32 << 20, None, Some("1:768")),
        (64 << 20, None, Some("1:768")),
        (32 << 20, Some(3), Some("1:3")),
        (32_768, None, Some("1:1")),
        (32_767, None, None),
    ] {
        let server = telling(|_, _| Act::Honest).await;
        let config = Imap { max_messages_per_run: most, ..scripted(&server) };
        all_come(&server, Driver { budget, ..Driver::new(config) }).await;
        assert_eq!(asked_ahead(&server), Vec::from_iter(asked), "{budget}, {most:?}");
    }
}

#[tokio::test]
async fn none_are_asked_for_where_mails_stay_or_commands_go_one_by_one() {
    let server = telling(|_, _| Act::Honest).await;
    let one_by_one = Imap { pipelining: false, ..scripted(&server) };
    assert_eq!(all_come(&server, Driver::new(one_by_one)).await, ["1:3"]);
    let server = telling(|_, _| Act::Honest).await;
    let stay = Imap { archive_folder: None, ..scripted(&server) };
    assert_eq!(all_come(&server, Driver::new(stay)).await, ["1:3"]);
    assert!(asked_ahead(&server).is_empty());
}

/// An INBOX may contain other mails, which would be transferred in each run.
#[tokio::test]
async fn none_are_asked_for_where_it_is_forgotten_from_where_on() {
    let server = telling(|_, _| Act::Honest).await;
    let driver = Driver { forgets: true, ..Driver::new(scripted(&server)) };
    assert_eq!(all_come(&server, driver).await, ["1:3"]);
    assert!(asked_ahead(&server).is_empty());
}

/// Otherwise the mail would never arrive: it waits for the whole budget.
#[tokio::test]
async fn what_is_reserved_for_them_is_given_back() {
    let budget = 1 << 20;
    let server = telling(|_, _| Act::Honest).await;
    server.set(|state| drop(state.mails.insert(1, large(budget as usize + 1))));
    assert!(all_come(&server, Driver { budget, ..Driver::new(scripted(&server)) }).await.is_empty());
    assert!(server.count("UID FETCH 1 (UID BODY.PEEK[]<0.1048576>)") > 0);
}

#[tokio::test]
async fn one_over_the_limit_of_a_mail_is_refused_all_the_same() {
    let server = telling(|_, _| Act::Honest).await;
    server.set(|state| drop(state.mails.insert(2, large(5_000))));
    let limits = Limits { mail_bytes: 4_096, ..Limits::default() };
    let driver = Driver { limits, ..Driver::new(scripted(&server)) };
    let (pass, seen) = driver.run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().settled, 3);
    let refused: Vec<u32> = seen.iter().filter(|seen| seen.content.is_err()).map(|seen| seen.uid).collect();
    assert_eq!(refused, [2]);
}

#[tokio::test]
async fn a_session_that_breaks_afterwards_costs_none_of_them_a_second_fetch() {
    let server = Scripted::start(3, |state, command| match command {
        CENSUS => Act::Say(census(state) + "TAG OK done\r\n"),
        _ if command.starts_with("UID MOVE") && state.sessions == 1 => Act::SayAndHangUp(String::new()),
        _ => Act::Honest,
    })
    .await;
    assert!(all_come(&server, Driver::new(scripted(&server))).await.is_empty());
    assert_eq!(server.state.lock().unwrap().sessions, 2);
}

/// With a real server: mails of a usual size need no command of their own, and longer ones need one.
#[tokio::test]
async fn dovecot_sends_small_mails_along() {
    let server = Server::filled(20);
    server.mailbox().deliver("INBOX", &large(20_000));
    let (pass, seen) = Driver::new(archiving(&server)).run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().settled, 21);
    assert!(seen.iter().any(|seen| seen.content == Ok(large(20_000))));
    assert_eq!(seen.iter().filter(|seen| seen.content == Ok(mail(seen.uid as usize))).count(), 20);
    let commands = server.dovecot.commands();
    let fetches: Vec<&String> = commands.iter().filter(|command| command.starts_with("UID FETCH")).collect();
    assert_eq!(fetches, [CENSUS, "UID FETCH 1:512 (UID BODY.PEEK[]<0.8192>)", "UID FETCH 21 (UID BODY.PEEK[])"]);
}

#[test]
fn the_next_run_asks_from_where_the_last_one_came_to() {
    let (ca, batch, place) = (Ca::new(), Batch::generate(5, 7, 1..=1, 0), Workplace::new());
    let dovecot = Dovecot::start(&ca.server());
    let sink = json!({"type": "file", "path": place.path("out.ndjson")});
    // The mail stays, and has the highest listed UID until another one arrives.
    deliver(&dovecot, &[mail(1)]);
    for (mails, most) in [(&batch.mails[..3], 10), (&batch.mails[3..], 2), (&[], 1_000), (&[], 1_000), (&[], 1_000)] {
        deliver(&dovecot, mails);
        let source = with(imaps(&dovecot, &ca), json!({"max_messages_per_run": most}));
        place.once(&place.config(source, sink.clone())).exits(0);
    }
    assert_rows(&batch, &ndjson(&place.read("out.ndjson")));
    let commands = dovecot.commands();
    assert_eq!(sets_ahead(&commands), ["1:10", "5:6", "7:774", "9:776", "9:776"]);
    assert!(!commands.iter().any(|sent| fetched(sent).is_some()), "{commands:?}");
}
