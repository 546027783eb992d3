//! Mails that are moved while a move of others is under way: nothing is left to fetch, and verdicts arrive one by one.

use std::{sync::Arc, time::Duration};

use dmarc_shipper::{
    config::source::Imap,
    source::{Pass, SourceError, Verdict},
};
use tokio::time::sleep;

use super::{
    driver::{Driver, Seen, Server, archiving},
    scripted::{Act, Scripted, State, asked, body, honest},
    with_scripts::scripted,
};
use crate::support::{
    delivery::{assert_rows, times_told},
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, stdout},
};

/// Leaves the first move unanswered; `answer` returns the response to both moves once the second one has arrived.
async fn holding(mails: u32, mut answer: impl FnMut(&mut State, [&str; 2]) -> Act + Send + 'static) -> Scripted {
    Scripted::start(mails, move |state, command| match (command.starts_with("UID MOVE"), &moves(state)[..]) {
        (true, [_]) => Act::Silent,
        (true, [first, second]) => answer(state, [first, second]),
        _ => Act::Honest,
    })
    .await
}

fn in_turn(state: &mut State, [first, second]: [&str; 2]) -> Act {
    Act::Say(format!("{}HELD OK done\r\n{}TAG OK done\r\n", honest(state, first), honest(state, second)))
}

fn moves(state: &State) -> Vec<String> {
    state.commands.iter().filter(|sent| sent.starts_with("UID MOVE")).cloned().collect()
}

fn moves_of(server: &Scripted) -> Vec<String> {
    moves(&server.state.lock().unwrap())
}

/// Archives all mails; the verdict on the last one is given only when the others are being moved.
async fn last_alongside(server: &Scripted) -> (Result<Pass, SourceError>, Vec<Seen>) {
    let mails = server.state.lock().unwrap().mails.len();
    run_alongside(Driver::new(scripted(server)), mails, is_moving(server)).await
}

/// Like [`last_alongside`]; `is_moving` tells if the others are being moved.
async fn run_alongside(
    driver: Driver,
    mails: usize,
    is_moving: impl Fn() -> bool + Clone + Send + Sync + 'static,
) -> (Result<Pass, SourceError>, Vec<Seen>) {
    let mut seen = 0;
    let verdict = move |_: &Seen| {
        seen += 1;
        let (is_last, is_moving) = (seen == mails, is_moving.clone());
        async move {
            while is_last && !is_moving() {
                sleep(Duration::from_millis(2)).await;
            }
            Verdict::Archive
        }
    };
    driver.run_slowly(verdict).await
}

fn is_moving(server: &Scripted) -> impl Fn() -> bool + Clone + Send + Sync + 'static {
    let state = server.state.clone();
    move || !moves(&state.lock().unwrap()).is_empty()
}

#[track_caller]
fn assert_settled(pass: Result<Pass, SourceError>, settled: u64, unsettled: u64) {
    let pass = pass.unwrap();
    assert_eq!((pass.settled, pass.unsettled), (settled, unsettled));
}

fn move_of(set: &str) -> String {
    format!("UID MOVE {set} \"Done\"")
}

#[tokio::test]
async fn last_verdict_is_pipelined_behind_the_moves_before_it() {
    let server = holding(3, in_turn).await;
    let (pass, seen) = last_alongside(&server).await;
    assert_settled(pass, 3, 0);
    assert_eq!((seen.len(), moves_of(&server)), (3, vec![move_of("1:2"), move_of("3")]));
}

#[tokio::test]
async fn without_pipelining_a_move_waits_for_the_end_of_the_one_before() {
    let server =
        Scripted::start(3, |state, command| match command.starts_with("UID MOVE") && moves(state).len() == 1 {
            true => Act::Silent,
            false => Act::Honest,
        })
        .await;
    let driver = Driver::new(Imap { pipelining: false, ..scripted(&server) });
    let watch = async {
        while !is_moving(&server)() {
            sleep(Duration::from_millis(2)).await;
        }
        // The last verdict is given at once, and a command without pipelining would be sent at once too.
        sleep(Duration::from_millis(500)).await;
        let so_far = moves_of(&server);
        server.tell(&format!("{}HELD OK done\r\n", honest(&mut server.state.lock().unwrap(), &move_of("1:2"))));
        so_far
    };
    let ((pass, _), so_far) = tokio::join!(run_alongside(driver, 3, is_moving(&server)), watch);
    assert_settled(pass, 3, 0);
    assert_eq!((so_far, moves_of(&server)), (vec![move_of("1:2")], vec![move_of("1:2"), move_of("3")]));
}

#[tokio::test]
async fn session_lost_between_two_tagged_responses_repeats_only_the_second_move() {
    let server =
        holding(3, |state, [first, _]| Act::SayAndHangUp(format!("{}HELD OK done\r\n", honest(state, first)))).await;
    let (pass, seen) = last_alongside(&server).await;
    assert_settled(pass, 3, 0);
    assert_eq!((seen.len(), moves_of(&server)), (3, vec![move_of("1:2"), move_of("3"), move_of("3")]));
}

#[tokio::test]
async fn two_moves_with_lost_responses_are_found_done() {
    for lost in ["", "* 1 FETCH (UID 1 INTERNALDATE NIL BODY[] {2}\r\nhi)\r\n"] {
        let server = holding(3, move |state, moves| {
            moves.iter().for_each(|command| drop(honest(state, command)));
            // The parser panics at an invalid date.
            Act::SayAndHangUp(lost.into())
        })
        .await;
        let (pass, seen) = last_alongside(&server).await;
        assert_settled(pass, 3, 0);
        assert_eq!((seen.len(), server.state.lock().unwrap().moved.as_slice()), (3, &[1, 2, 3][..]), "{lost}");
    }
}

#[tokio::test]
async fn uidvalidity_change_during_two_moves_relists_the_folder() {
    let server = holding(3, |state, _| {
        state.uid_validity = 8;
        state.mails = (11..=13).map(|uid| (uid, b"mail".to_vec())).collect();
        Act::SayAndHangUp(String::new())
    })
    .await;
    let (pass, seen) = last_alongside(&server).await;
    assert_settled(pass, 3, 3);
    assert_eq!((seen.len(), server.state.lock().unwrap().moved.as_slice()), (6, &[11, 12, 13][..]));
}

#[tokio::test]
async fn stop_during_moves_still_settles_all_mails_handed_over() {
    let server = holding(3, in_turn).await;
    let driver = Driver { once: false, ..Driver::new(scripted(&server)) };
    let (stop, is_moving) = (driver.stop.clone(), is_moving(&server));
    let stops_then = move || is_moving().then(|| stop.cancel()).is_some();
    let (pass, _) = run_alongside(driver, 3, stops_then).await;
    assert_settled(pass, 3, 0);
    assert_eq!(moves_of(&server), [move_of("1:2"), move_of("3")]);
}

#[tokio::test]
async fn a_move_that_is_refused_beside_another_leaves_its_own_mails_only() {
    let first_is_refused = holding(3, |state, [_, second]| {
        Act::Say(format!("HELD NO [OVERQUOTA] full\r\n{}TAG OK done\r\n", honest(state, second)))
    });
    let second_is_refused = holding(3, |state, [first, _]| {
        Act::Say(format!("{}HELD OK done\r\nTAG NO [OVERQUOTA] full\r\n", honest(state, first)))
    });
    for (server, settled, moved) in [(first_is_refused.await, 1, &[3][..]), (second_is_refused.await, 2, &[1, 2])] {
        let (pass, seen) = last_alongside(&server).await;
        assert_settled(pass, settled, 3 - settled);
        assert_eq!((seen.len(), server.state.lock().unwrap().moved.as_slice()), (3, moved));
    }
}

/// Like Dovecot, which sends EXPUNGE responses only when it has nothing else to do.
#[tokio::test]
async fn expunges_reported_at_the_last_move_need_no_search() {
    let server = holding(3, |state, [first, second]| {
        Act::Say(format!("HELD OK done\r\n{}{}TAG OK done\r\n", honest(state, first), honest(state, second)))
    })
    .await;
    let (pass, _) = last_alongside(&server).await;
    assert_settled(pass, 3, 0);
    assert_eq!(server.count("UID SEARCH UID"), 0);
}

/// The second move reports as many EXPUNGEs as it has mails, but of other mails.
#[tokio::test]
async fn moves_with_too_few_expunge_responses_are_verified() {
    for moved in ["UID MOVE 1:2", "UID MOVE 3"] {
        let server =
            holding(3, |state, _| Act::Say(format!("HELD OK done\r\n{}TAG OK done\r\n", honest(state, moved)))).await;
        let (pass, _) = last_alongside(&server).await;
        let settled = server.state.lock().unwrap().moved.len() as u64;
        assert_settled(pass, settled, 3 - settled);
        assert!(server.count("UID SEARCH UID") > 0);
    }
}

#[tokio::test]
async fn expunge_by_a_refused_move_is_not_counted_for_another_move() {
    let server = holding(2, |state, [_, second]| {
        Act::Say(format!("{}TAG NO [OVERQUOTA] full now\r\nHELD OK done\r\n", honest(state, second)))
    })
    .await;
    let (pass, _) = last_alongside(&server).await;
    assert_settled(pass, 1, 1);
    assert_eq!(server.state.lock().unwrap().moved, [2]);
}

/// Regression: the result of the SEARCH was misread if mails had been moved in another order than that of their UIDs.
#[tokio::test]
async fn mail_left_by_a_move_is_noticed_though_higher_uids_were_moved_first() {
    let server = Scripted::start(3, |state, command| match command.split(' ').collect::<Vec<_>>()[..] {
        ["UID", "FETCH", set, "(UID", "BODY.PEEK[])"] => {
            let bodies: String = asked(state, set).into_iter().rev().map(|uid| body(state, uid)).collect();
            Act::Say(format!("{bodies}TAG OK done\r\n"))
        }
        ["UID", "MOVE", ..] if moves(state).len() == 1 => Act::Silent,
        ["UID", "MOVE", ..] => Act::Say("HELD OK done\r\nTAG OK done\r\n".into()),
        _ => Act::Honest,
    })
    .await;
    let (pass, _) = last_alongside(&server).await;
    assert_settled(pass, 0, 3);
    assert_eq!(moves_of(&server), [move_of("2:3"), move_of("1")]);
}

#[tokio::test]
async fn moves_confirmed_by_expunge_need_no_search_on_dovecot() {
    let server = Arc::new(Server::filled(700));
    let dovecot = server.clone();
    let is_moving = move || dovecot.dovecot.commands().iter().any(|command| command.starts_with("UID MOVE"));
    let (pass, seen) = run_alongside(Driver::new(archiving(&server)), 700, is_moving).await;
    assert_settled(pass, 700, 0);
    assert_eq!((seen.len(), server.mailbox().count("INBOX"), server.mailbox().count("Processed")), (700, 0, 700));
    let commands = server.dovecot.commands();
    assert!(commands.iter().filter(|command| command.starts_with("UID MOVE")).count() > 1, "{commands:?}");
    assert!(!commands.iter().any(|command| command.starts_with("UID SEARCH UID")), "{commands:?}");
}

/// A pipe holds some of the reports; the rest is read only when the first mails are being moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn session_lost_between_two_moves_ships_each_row_once() {
    let server =
        holding(0, |state, [first, _]| Act::SayAndHangUp(format!("{}HELD OK done\r\n", honest(state, first)))).await;
    let (batch, workplace) = (Batch::generate(11, 40, 5..=10, 0), Workplace::new());
    server.set(|state| state.mails = (1..).zip(batch.mails.iter().cloned()).collect());
    let mut running = workplace.once(&workplace.config(server.source(), stdout())).start_unread();
    eventually(LONG, "the first mails are being moved", || (!moves_of(&server).is_empty()).then_some(()));
    running.read_on();
    let events = running.finish().exited(0).events();
    assert_rows(&batch, &events);
    assert!(times_told(&events).values().all(|times| *times == 1));
    let state = server.state.lock().unwrap();
    assert_eq!((state.mails.len(), state.moved.len(), state.sessions), (0, batch.mails.len(), 2));
}
