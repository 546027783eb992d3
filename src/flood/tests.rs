use proptest::prelude::*;

use super::*;

const NOON: i64 = 1_793_534_400; // 2026-11-01T12:00:00Z

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn flood(change: impl FnOnce(&mut Limits)) -> Flood {
    let mut limits = Limits::default();
    change(&mut limits);
    let mut flood = Flood::new(&limits);
    flood.turn_to(at(NOON));
    flood
}

fn sender(name: &str) -> Sender {
    Sender::of(Some(&format!("reports@{name}")))
}

fn setting(result: Result<(), Trouble>) -> Option<&'static str> {
    result.err().and_then(|trouble| trouble.limit).map(|limit| limit.setting)
}

#[test]
fn subdomains_share_with_their_organisation_and_rubbish_with_rubbish() {
    let of = |from: &str| Sender::of(Some(from));
    assert_eq!(of("noreply@Mail.Example.co.uk."), of("x@example.co.uk"));
    assert_ne!(of("x@a.co.uk"), of("x@b.co.uk"));
    for from in [None, Some("nobody"), Some("x@"), Some(&*format!("x@{}.example", "a".repeat(300)))] {
        assert_eq!(Sender::of(from), Sender::of(None), "{from:?}");
    }
}

#[test]
fn a_sender_over_its_mails_is_turned_away_and_others_are_not() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 2);
    let (greedy, other) = (sender("greedy.example"), sender("other.example"));
    assert!(flood.mail(&greedy, 1).is_ok() && flood.mail(&greedy, 1).is_ok());
    let trouble = flood.mail(&greedy, 1).unwrap_err();
    assert_eq!(
        trouble.detail,
        "the number of mails from greedy.example today (UTC) exceeds 2; raise limits.sender_mails_per_day to read it"
    );
    assert!(flood.mail(&other, 1).is_ok());
}

#[test]
fn what_does_not_fit_is_turned_away_and_what_fits_still_comes_in() {
    let mut flood = flood(|limits| (limits.sender_bytes_per_day, limits.sender_rows_per_day) = (2048, 100));
    let sender = sender("a.example");
    assert_eq!(setting(flood.mail(&sender, 2000)), None);
    assert_eq!(setting(flood.mail(&sender, 49)), Some("limits.sender_bytes_per_day"));
    assert_eq!(setting(flood.mail(&sender, 48)), None);
    assert_eq!(setting(flood.rows(&sender, 90)), None);
    assert_eq!(setting(flood.rows(&sender, u64::MAX)), Some("limits.sender_rows_per_day"));
    assert_eq!(setting(flood.rows(&sender, 10)), None);
    flood.give_back(&sender, 90);
    assert_eq!(setting(flood.rows(&sender, 90)), None);
}

#[test]
fn a_new_day_makes_shares_whole_and_tells_who_was_turned_away() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 1);
    let sender = sender("a.example");
    for _ in 0..4 {
        flood.mail(&sender, 1).ok();
    }
    assert_eq!(flood.turn_to(at(NOON + DAY / 2 - 1)), []);
    assert!(flood.mail(&sender, 1).is_err());
    assert_eq!(flood.turn_to(at(NOON + DAY / 2)), [("a.example".to_owned(), 4)]);
    assert!(flood.mail(&sender, 1).is_ok());
    assert_eq!(flood.end_day(), []);
}

#[test]
fn more_senders_than_are_remembered_share_what_one_has() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 2);
    for number in 0..SENDERS + 10 {
        flood.mail(&sender(&format!("d{number}.example")), 1).ok();
    }
    assert_eq!(flood.senders.len(), SENDERS);
    assert!(flood.mail(&sender("d0.example"), 1).is_ok());
    let trouble = flood.mail(&sender("late.example"), 1).unwrap_err();
    assert!(trouble.detail.contains("from all later senders of the day"), "{trouble}");
    assert_eq!(flood.end_day(), [(OTHERS.to_owned(), 9)]);
}

#[test]
fn that_a_sender_is_over_its_share_is_told_once_a_day_with_the_rest_counted() {
    let mut flood = flood(|_| {});
    let (one, other) = (sender("one.example"), sender("other.example"));
    let mut tell = |sender, second| flood.error(Reason::SenderOverLimit, Some(sender), at(second));
    let silent = Telling::HeldBack { is_news: false };
    assert_eq!([tell(&one, NOON), tell(&one, NOON)], [Telling::Now { held_back: 0 }, silent]);
    assert_eq!(tell(&one, NOON + 2 * HOUR), silent);
    assert_eq!(tell(&other, NOON), Telling::Now { held_back: 2 });
    flood.turn_to(at(NOON + DAY));
    assert_eq!(flood.error(Reason::SenderOverLimit, Some(&one), at(NOON + DAY)), Telling::Now { held_back: 0 });
    // Another trouble of the same sender has nothing to do with it.
    assert_eq!(flood.error(Reason::Empty, Some(&one), at(NOON + DAY)), Telling::Now { held_back: 0 });
}

#[test]
fn a_sender_over_its_share_is_told_later_when_the_hour_had_no_room() {
    let mut flood = flood(|limits| limits.errors_per_hour = 1);
    let one = sender("one.example");
    assert_eq!(flood.error(Reason::Empty, None, at(NOON)), Telling::Now { held_back: 0 });
    assert_eq!(flood.error(Reason::SenderOverLimit, Some(&one), at(NOON)), Telling::HeldBack { is_news: true });
    assert_eq!(flood.error(Reason::SenderOverLimit, Some(&one), at(NOON + HOUR)), Telling::Now { held_back: 1 });
}

#[test]
fn an_hour_without_room_is_news_once() {
    let mut flood = flood(|limits| limits.errors_per_hour = 2);
    let mut news = 0;
    for second in 0..10 {
        let telling = flood.error(Reason::Empty, None, at(NOON + second));
        assert_eq!(matches!(telling, Telling::Now { .. }), second < 2);
        news += u32::from(telling == Telling::HeldBack { is_news: true });
    }
    assert_eq!((news, flood.held_back()), (1, 8));
    // A clock that is set back begins another hour too.
    assert_eq!(flood.error(Reason::Empty, None, at(NOON - HOUR)), Telling::Now { held_back: 8 });
    assert_eq!(flood.held_back(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Mail(u8, u64),
    Rows(u8, u64),
    Error(Option<u8>, bool),
    Later(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<u8>(), 0..40u64).prop_map(|(sender, bytes)| Step::Mail(sender % 4, bytes)),
        (any::<u8>(), 0..40u64).prop_map(|(sender, rows)| Step::Rows(sender % 4, rows)),
        (any::<Option<u8>>(), any::<bool>()).prop_map(|(sender, over)| Step::Error(sender.map(|s| s % 4), over)),
        (0..40_000i64).prop_map(Step::Later),
    ]
}

proptest! {
    #[test]
    fn no_share_is_exceeded_and_every_error_is_told_or_counted(steps in prop::collection::vec(step(), 1..200)) {
        let mut flood = flood(|limits| {
            (limits.sender_mails_per_day, limits.sender_bytes_per_day) = (5, 100);
            (limits.sender_rows_per_day, limits.errors_per_hour) = (60, 3);
        });
        let mut second = NOON;
        let mut let_in: HashMap<(i64, u8), (u64, u64, u64)> = HashMap::new();
        let (mut errors, mut told, mut told_as_held_back) = (0, HashMap::<i64, u64>::new(), 0);
        for step in steps {
            match step {
                Step::Mail(who, bytes) => if flood.mail(&sender(&format!("{who}.example")), bytes).is_ok() {
                    let spent = let_in.entry((second / DAY, who)).or_default();
                    (spent.0, spent.1) = (spent.0 + 1, spent.1 + bytes);
                }
                Step::Rows(who, rows) => if flood.rows(&sender(&format!("{who}.example")), rows).is_ok() {
                    let_in.entry((second / DAY, who)).or_default().2 += rows;
                }
                Step::Error(who, over) => {
                    errors += 1;
                    let reason = if over { Reason::SenderOverLimit } else { Reason::Empty };
                    let who = who.map(|who| sender(&format!("{who}.example")));
                    if let Telling::Now { held_back } = flood.error(reason, who.as_ref(), at(second)) {
                        *told.entry(second / HOUR).or_default() += 1;
                        told_as_held_back += held_back;
                    }
                }
                Step::Later(seconds) => {
                    second += seconds;
                    flood.turn_to(at(second));
                }
            }
        }
        prop_assert!(let_in.values().all(|(mails, bytes, rows)| *mails <= 5 && *bytes <= 100 && *rows <= 60));
        prop_assert!(told.values().all(|told| *told <= 3));
        prop_assert_eq!(told.values().sum::<u64>() + told_as_held_back + flood.held_back(), errors);
    }
}
