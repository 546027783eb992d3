//! UID MOVE pipelined with FETCH: mails are moved while others are still being fetched. The server holds back the last
//! mail of each FETCH.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use dmarc_shipper::{
    config::source::{After, Imap},
    source::{Pass, SourceError, Verdict},
};
use tokio::time::{Instant, sleep};

use super::{
    driver::{Driver, Seen},
    parts::{PART, large},
    scripted::{Act, Scripted, State, asked, body, honest},
    with_scripts::scripted,
};

/// More than the number of mails from which moves are pipelined, which is 256.
const MAILS: u32 = 301;
/// Enough time for a move that does not wait for the end of a FETCH.
const TIME_FOR_A_MOVE: Duration = Duration::from_millis(500);
/// Budget of which a quarter, a batch, is about 300 mails.
const A_FEW_BATCHES: u32 = 28_000;
/// Entry among the commands for a mail that was held back and then released without a move.
const RELEASED: &str = "the rest";

/// Server that holds back the last mail and the tagged line of each FETCH until a move arrives, or until there was time
/// for one.
struct Holding {
    mails: u32,
    server: Scripted,
    held: Arc<Mutex<Held>>,
}

struct Held {
    rest: Option<String>,
    /// Time of the last FETCH response or verdict.
    since: Instant,
}

impl Holding {
    /// `answer` returns the response to each move; it is passed the part of the FETCH response that was held back.
    async fn start(answer: impl FnMut(&mut State, &str, Option<String>) -> Act + Send + 'static) -> Self {
        Self::of(MAILS, answer).await
    }

    async fn of(mails: u32, mut answer: impl FnMut(&mut State, &str, Option<String>) -> Act + Send + 'static) -> Self {
        let held = Arc::new(Mutex::new(Held { rest: None, since: Instant::now() }));
        let hook = {
            let held = held.clone();
            move |state: &mut State, command: &str| match command.split(' ').collect::<Vec<_>>()[..] {
                ["UID", "FETCH", set, "(UID", "BODY.PEEK[])"] => {
                    let uids = asked(state, set);
                    let Some((last, others)) = uids.split_last() else { return Act::Honest };
                    *held.lock().unwrap() =
                        Held { rest: Some(body(state, *last) + "HELD OK done\r\n"), since: Instant::now() };
                    Act::SayUnfinished(others.iter().map(|uid| body(state, *uid)).collect())
                }
                ["UID", "MOVE", ..] => {
                    let rest = held.lock().unwrap().rest.take();
                    answer(state, command, rest)
                }
                _ => Act::Honest,
            }
        };
        Self { mails, server: Scripted::start(mails, hook).await, held }
    }

    fn set(&self, change: impl FnOnce(&mut State)) {
        self.server.set(change);
    }

    async fn archive_all(&self) -> (Result<Pass, SourceError>, Vec<Seen>) {
        self.run(self.driver()).await
    }

    fn driver(&self) -> Driver {
        Driver::new(self.config())
    }

    fn config(&self) -> Imap {
        Imap { quarantine_folder: Some("Bad".into()), ..scripted(&self.server) }
    }

    async fn run(&self, driver: Driver) -> (Result<Pass, SourceError>, Vec<Seen>) {
        let held = self.held.clone();
        let verdict = move |seen: &Seen| {
            held.lock().unwrap().since = Instant::now();
            match &seen.content {
                Ok(_) => Verdict::Archive,
                Err(trouble) => Verdict::Quarantine(trouble.clone()),
            }
        };
        tokio::select! {
            ended = driver.run(verdict) => ended,
            () = self.release() => unreachable!("it goes on for ever"),
        }
    }

    async fn release(&self) {
        loop {
            sleep(Duration::from_millis(10)).await;
            let mut held = self.held.lock().unwrap();
            if held.since.elapsed() > TIME_FOR_A_MOVE
                && let Some(rest) = held.rest.take()
            {
                self.set(|state| state.commands.push(RELEASED.into()));
                self.server.tell(&rest);
            }
        }
    }

    /// Returns the commands that fetched or changed whole mails, in short.
    fn transcript(&self) -> Vec<String> {
        let state = self.server.state.lock().unwrap();
        state.commands.iter().filter_map(|command| brief(command)).collect()
    }

    fn sessions(&self) -> u32 {
        self.server.state.lock().unwrap().sessions
    }

    /// Fails unless each mail was handed over once, whole, and is in the archive after a single move.
    #[track_caller]
    fn assert_archived(&self, (pass, seen): (Result<Pass, SourceError>, Vec<Seen>)) {
        self.assert_seen_once(&seen);
        let pass = pass.unwrap();
        let state = self.server.state.lock().unwrap();
        assert_eq!((pass.settled, pass.unsettled, state.mails.len()), (u64::from(self.mails), 0, 0));
        let moved: BTreeSet<&u32> = state.moved.iter().collect();
        assert_eq!((state.moved.len(), moved.len()), (self.mails as usize, self.mails as usize));
    }

    /// Fails unless each mail was handed over once, whole, and none was moved or taken for moved.
    #[track_caller]
    fn assert_left(&self, (pass, seen): (Result<Pass, SourceError>, Vec<Seen>)) {
        self.assert_seen_once(&seen);
        let pass = pass.unwrap();
        let state = self.server.state.lock().unwrap();
        assert_eq!((pass.settled, pass.unsettled), (0, u64::from(self.mails)));
        assert_eq!(state.mails.len(), self.mails as usize);
    }

    #[track_caller]
    fn assert_seen_once(&self, seen: &[Seen]) {
        let uids: BTreeSet<u32> = seen.iter().map(|seen| seen.uid).collect();
        assert_eq!((seen.len(), uids.len()), (self.mails as usize, self.mails as usize));
        let unread: Vec<&Seen> = seen.iter().filter(|seen| seen.content.is_err()).collect();
        assert!(unread.is_empty(), "{unread:?}");
    }
}

/// Returns a short form, such as `FETCH 1:301`, of a command for whole mails or one that changes mails.
fn brief(command: &str) -> Option<String> {
    match command.split(' ').collect::<Vec<_>>()[..] {
        ["UID", "FETCH", set, _, part] if part.starts_with("BODY") => Some(format!("FETCH {set}")),
        ["UID", verb @ ("MOVE" | "COPY" | "STORE" | "EXPUNGE"), set, ..] => Some(format!("{verb} {set}")),
        ["CREATE", ..] | ["the", "rest"] => Some(command.into()),
        _ => None,
    }
}

/// Returns the part of the FETCH response that was held back, followed by the response to a move.
fn in_turn(state: &mut State, command: &str, rest: Option<String>) -> Act {
    Act::Say(format!("{}{}TAG OK done\r\n", rest.unwrap_or_default(), honest(state, command)))
}

fn refused(rest: Option<String>, why: &str) -> Act {
    Act::Say(format!("{}TAG NO {why}\r\n", rest.unwrap_or_default()))
}

#[tokio::test]
async fn moves_are_pipelined_behind_a_fetch() {
    let holding = Holding::start(in_turn).await;
    holding.assert_archived(holding.archive_all().await);
    assert_eq!(holding.transcript(), ["FETCH 1:301", "MOVE 1:256", "MOVE 257:301"]);
    assert_eq!((holding.sessions(), holding.server.count("UID SEARCH UID")), (1, 0));
}

/// EXPUNGE responses are attributed to the FETCH, which is the oldest command under way: so the mails are searched for.
#[tokio::test]
async fn pipelined_move_that_completes_before_its_fetch_is_noticed() {
    let holding = Holding::start(|state, command, rest| {
        Act::Say(format!("{}TAG OK done\r\n{}", honest(state, command), rest.unwrap_or_default()))
    })
    .await;
    holding.assert_archived(holding.archive_all().await);
    assert_eq!((holding.sessions(), holding.transcript()[..2].join(", ")), (1, "FETCH 1:301, MOVE 1:256".into()));
}

#[tokio::test]
async fn refused_pipelined_move_is_retried_after_the_fetch() {
    for (why, until) in [("not now", "UID MOVE"), ("[TRYCREATE] there is none", "CREATE \"Done\"")] {
        let holding = Holding::start(move |state, command, rest| {
            let earlier = state.commands.iter().rev().skip(1);
            match earlier.filter(|sent| sent.starts_with(until)).count() {
                0 => refused(rest, why),
                _ => in_turn(state, command, rest),
            }
        })
        .await;
        holding.assert_archived(holding.archive_all().await);
        let transcript = holding.transcript();
        assert_eq!((holding.sessions(), &transcript[..2]), (1, &["FETCH 1:301".into(), "MOVE 1:256".to_owned()][..]));
        assert_eq!(transcript.contains(&"CREATE \"Done\"".into()), why.contains("TRYCREATE"), "{transcript:?}");
    }
}

#[tokio::test]
async fn mails_whose_move_is_refused_beside_a_fetch_and_after_it_are_reported() {
    let holding = Holding::start(|_, _, rest| refused(rest, "[OVERQUOTA] full")).await;
    holding.assert_left(holding.archive_all().await);
    assert_eq!(holding.sessions(), 1);
    assert!(holding.transcript()[1..].iter().filter(|sent| sent.starts_with("MOVE 1:")).count() == 2);
}

#[tokio::test]
async fn false_ok_to_a_pipelined_move_is_detected() {
    let holding = Holding::start(|_, _, rest| Act::Say(format!("{}TAG OK done\r\n", rest.unwrap_or_default()))).await;
    holding.assert_left(holding.archive_all().await);
    assert!(holding.server.count("UID SEARCH UID") > 0);
    assert!(holding.transcript()[1..].iter().filter(|sent| sent.starts_with("MOVE 1:")).count() == 2);
}

/// Otherwise the move would be repeated with each FETCH, and be refused each time.
#[tokio::test]
async fn failed_pipelined_move_is_verified_before_the_next_fetch() {
    for answer in ["TAG NO [OVERQUOTA] full\r\n", "TAG OK done\r\n"] {
        let holding = Holding::of(2 * MAILS, move |state, command, rest| match command.contains(" 1:256 ") {
            true => Act::Say(rest.unwrap_or_default() + answer),
            false => in_turn(state, command, rest),
        })
        .await;
        let driver = Driver { budget: A_FEW_BATCHES, ..holding.driver() };
        let (pass, seen) = holding.run(driver).await;
        holding.assert_seen_once(&seen);
        assert_eq!(pass.unwrap().unsettled, 256, "{answer}");
        assert_eq!(holding.transcript()[1..3], ["MOVE 1:256", "MOVE 1:256"], "{answer}");
    }
}

#[tokio::test]
async fn session_lost_after_a_pipelined_move_refetches_only_missing_mails() {
    let mut moves = 0;
    let holding = Holding::start(move |state, command, rest| {
        moves += 1;
        if moves == 1 { Act::HangUp } else { in_turn(state, command, rest) }
    })
    .await;
    holding.assert_archived(holding.archive_all().await);
    let fetches: Vec<String> = holding.transcript().into_iter().filter(|sent| sent.starts_with("FETCH")).collect();
    assert_eq!((holding.sessions(), fetches.join(", ")), (2, "FETCH 1:301, FETCH 301".into()));
}

/// The server closes the connection at a move, after or before it has carried it out.
const HANG_UPS: [fn() -> Act; 2] = [|| Act::HangUp, || Act::SayAndHangUp(String::new())];

/// Regression: the only mail that had not arrived was blamed for the end of the session, and quarantined unread.
#[tokio::test]
async fn session_lost_during_a_pipelined_move_blames_no_mail() {
    for hang_up in HANG_UPS {
        let holding = Holding::start(move |state, command, rest| match rest {
            Some(_) => hang_up(),
            None => in_turn(state, command, None),
        })
        .await;
        let driver = Driver { max_attempts: 1, ..holding.driver() };
        holding.assert_archived(holding.run(driver).await);
    }
}

/// Regression: each batch cost a session.
#[tokio::test]
async fn moves_are_not_pipelined_after_one_broke_the_session() {
    for hang_up in HANG_UPS {
        let holding = Holding::of(3 * MAILS, move |state, command, rest| match rest {
            Some(_) => hang_up(),
            None => in_turn(state, command, None),
        })
        .await;
        let driver = Driver { budget: A_FEW_BATCHES, ..holding.driver() };
        holding.assert_archived(holding.run(driver).await);
        assert_eq!(holding.sessions(), 2, "{:?}", holding.transcript());
    }
}

#[tokio::test]
async fn refused_fetch_beside_a_pipelined_move_loses_no_mail() {
    let mut is_refused = false;
    let holding = Holding::start(move |state, command, rest| match rest {
        Some(_) if !std::mem::replace(&mut is_refused, true) => {
            Act::Say(format!("HELD NO not now\r\n{}TAG OK done\r\n", honest(state, command)))
        }
        rest => in_turn(state, command, rest),
    })
    .await;
    holding.assert_archived(holding.archive_all().await);
    let transcript = holding.transcript();
    assert_eq!((holding.sessions(), &transcript[..2]), (1, &["FETCH 1:301".into(), "MOVE 1:256".to_owned()][..]));
    assert!(!transcript[2..].iter().any(|sent| sent.starts_with("MOVE 1:")), "{transcript:?}");
    assert_eq!(transcript.iter().filter(|sent| sent.starts_with("FETCH")).count(), 2, "{transcript:?}");
}

#[tokio::test]
async fn a_large_mail_comes_after_small_ones_that_were_moved_meanwhile() {
    let holding = Holding::start(in_turn).await;
    holding.set(|state| drop(state.mails.insert(MAILS, large(PART + 101))));
    let (pass, seen) = holding.archive_all().await;
    assert!(seen.iter().any(|seen| seen.uid == MAILS && seen.content == Ok(large(PART + 101))));
    holding.assert_archived((pass, seen));
    let transcript = holding.transcript();
    assert_eq!(transcript[..4], ["FETCH 1:300", "MOVE 1:256", "FETCH 301", "FETCH 301"]);
}

#[tokio::test]
async fn without_pipelining_a_move_waits_for_the_end_of_a_fetch() {
    let holding = Holding::start(in_turn).await;
    let driver = Driver::new(Imap { pipelining: false, ..holding.config() });
    holding.assert_archived(holding.run(driver).await);
    assert_eq!(holding.transcript()[..3], ["FETCH 1:301", RELEASED, "MOVE 1:256"]);
}

#[tokio::test]
async fn without_move_mails_are_copied_after_the_fetch() {
    let holding = Holding::start(in_turn).await;
    holding.set(|state| state.capabilities = "IMAP4rev1 UIDPLUS");
    let (pass, seen) = holding.archive_all().await;
    holding.assert_seen_once(&seen);
    assert_eq!(pass.unwrap().settled, u64::from(MAILS));
    let transcript = holding.transcript();
    assert_eq!(transcript[..3], ["FETCH 1:301", RELEASED, "COPY 1:256"], "{transcript:?}");
    let state = holding.server.state.lock().unwrap();
    assert_eq!((state.copied.len(), state.mails.len()), (MAILS as usize, 0));
}

#[tokio::test]
async fn mails_that_stay_are_marked_after_the_fetch() {
    for (after, marked) in [(After::Seen, true), (After::Keep, false)] {
        let holding = Holding::start(in_turn).await;
        let driver = Driver::new(Imap { after, ..holding.config() });
        let (pass, seen) = holding.run(driver).await;
        holding.assert_seen_once(&seen);
        assert_eq!(pass.unwrap().settled, u64::from(MAILS));
        let transcript = holding.transcript();
        assert_eq!(transcript[..2], ["FETCH 1:301", RELEASED]);
        assert!(transcript[2..].iter().all(|sent| sent.starts_with("STORE")), "{transcript:?}");
        assert_eq!(!transcript[2..].is_empty(), marked, "{transcript:?}");
    }
}

#[tokio::test]
async fn no_move_is_pipelined_to_a_dated_folder_that_does_not_exist_yet() {
    let holding = Holding::start(in_turn).await;
    let day = jiff::Timestamp::now().strftime("%Y").to_string();
    holding.set(|state| state.missing = Some(day.leak()));
    let driver = Driver::new(Imap { archive_folder: Some("Done/%Y".into()), ..holding.config() });
    holding.assert_archived(holding.run(driver).await);
    let transcript = holding.transcript();
    assert_eq!(transcript[..2], ["FETCH 1:301", RELEASED]);
    assert!(transcript[2].starts_with("CREATE \"Done/2"), "{transcript:?}");
}
