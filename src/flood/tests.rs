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
    Sender::claimed(Some(&format!("reports@{name}")))
}

fn setting(result: Result<(), Trouble>) -> Option<&'static str> {
    result.err().and_then(|trouble| trouble.limit).map(|limit| limit.setting)
}

/// Reads a mail that costs `cost`, as the pipeline does.
fn read(flood: &mut Flood, sender: &Sender, cost: Cost) -> Result<(), Trouble> {
    flood.mail(sender, cost.bytes)?;
    let admitted = flood.admits(sender, &cost);
    flood.charge(sender, &cost, admitted.is_err());
    admitted
}

fn bytes(bytes: u64) -> Cost {
    Cost { bytes, ..Cost::default() }
}

fn rows(rows: u64) -> Cost {
    Cost { bytes: 1, rows, ..Cost::default() }
}

/// Cost of the largest ordinary mail, as a part of a day's quota.
fn part(limits: &Limits) -> Cost {
    Cost {
        bytes: limits.sender_bytes_per_day / PARTS,
        inflated_bytes: limits.sender_inflated_bytes_per_day / PARTS,
        rows: limits.sender_rows_per_day / PARTS,
        event_bytes: limits.sender_event_bytes_per_day / PARTS,
    }
}

#[test]
fn u_labels_and_a_labels_are_one_sender() {
    let of = |from: &str| Sender::claimed(Some(from));
    for from in ["a@bücher.example", "b@news.BÜCHER.example", "c@mail.xn--bcher-kva.example"] {
        assert_eq!(of(from), Sender::claimed(Some("x@xn--bcher-kva.example")), "{from}");
    }
    assert_ne!(of("a@bücher.example"), of("a@bucher.example"));
}

#[test]
fn subdomains_share_the_quota_of_their_organisation_and_invalid_names_one_quota() {
    let of = |from: &str| Sender::claimed(Some(from));
    assert_eq!(of("noreply@Mail.Example.co.uk."), of("x@example.co.uk"));
    assert_ne!(of("x@a.co.uk"), of("x@b.co.uk"));
    for from in [None, Some("nobody"), Some("x@"), Some(&*format!("x@{}.example", "a".repeat(300)))] {
        assert_eq!(Sender::claimed(from), Sender::claimed(None), "{from:?}");
    }
}

#[test]
fn a_sender_over_its_mails_is_deferred_and_others_are_not() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 2);
    let (greedy, other) = (sender("greedy.example"), sender("other.example"));
    assert!(flood.mail(&greedy, 1).is_ok() && flood.mail(&greedy, 1).is_ok());
    let trouble = flood.mail(&greedy, 1).unwrap_err();
    assert_eq!(
        trouble.detail,
        "the number of mails from greedy.example today (UTC) exceeds 2; the mail is left for another day; raise \
         limits.sender_mails_per_day to read more per day"
    );
    assert!(flood.mail(&other, 1).is_ok());
}

#[test]
fn a_mail_that_does_not_fit_is_deferred_and_one_that_fits_is_still_read() {
    let mut flood = flood(|limits| (limits.sender_bytes_per_day, limits.sender_rows_per_day) = (2048, 100));
    let sender = sender("a.example");
    assert_eq!(setting(read(&mut flood, &sender, bytes(2000))), None);
    assert_eq!(setting(read(&mut flood, &sender, bytes(49))), Some("limits.sender_bytes_per_day"));
    assert_eq!(setting(read(&mut flood, &sender, bytes(40))), None);
    assert_eq!(setting(read(&mut flood, &sender, rows(101))), Some("limits.sender_rows_per_day"));
}

#[test]
fn large_mails_do_not_use_the_quota_of_ordinary_ones() {
    let limits = Limits::default();
    let (mut flood, sender) = (flood(|_| {}), sender("google.com"));
    let part = part(&limits);
    let large = [
        Cost { bytes: limits.mail_bytes, ..part },
        Cost { inflated_bytes: limits.mail_inflated_bytes, ..part },
        Cost { rows: limits.rows, ..part },
        Cost { event_bytes: limits.mail_event_bytes, ..part },
    ];
    let read_of_large = (0..10_000).filter(|at| read(&mut flood, &sender, large[at % 4]).is_ok()).count();
    assert!((1..100).contains(&read_of_large), "{read_of_large}");
    // The largest flood that is harmless, and as many mails of the real sender.
    for _ in 0..2_000 {
        assert_eq!(read(&mut flood, &sender, part), Ok(()));
    }
}

#[test]
fn the_first_large_mail_of_a_day_is_read_whatever_it_costs() {
    let (mut flood, sender) = (flood(|limits| limits.sender_rows_per_day = 10), sender("a.example"));
    for day in 0..3 {
        flood.turn_to(at(NOON + day * DAY));
        assert_eq!(flood.inflatable(&sender, 1, 77), 77);
        assert_eq!(read(&mut flood, &sender, rows(1_000_000)), Ok(()));
        assert_eq!(setting(read(&mut flood, &sender, rows(1))), Some("limits.sender_rows_per_day"));
    }
}

#[test]
fn inflation_is_limited_by_the_larger_remaining_quota() {
    let (mut flood, sender) = (flood(|limits| limits.sender_inflated_bytes_per_day = 2_000_000), sender("a.example"));
    let inflated = |inflated_bytes| Cost { bytes: 1, inflated_bytes, ..Cost::default() };
    assert_eq!(read(&mut flood, &sender, inflated(1_500_000)), Ok(()));
    assert_eq!(flood.inflatable(&sender, 1, 3_000_000), 500_000);
    assert_eq!(flood.inflatable(&sender, 1, 300), 300);
    // Bytes inflated of a mail that exceeded its limit are charged.
    flood.charge(&sender, &inflated(500_001), true);
    assert_eq!(flood.inflatable(&sender, 1, 3_000_000), 1_000);
    assert_eq!(read(&mut flood, &sender, inflated(1_000)), Ok(()));
    let trouble = flood.inflates_too_far(&sender);
    assert_eq!(
        (trouble.reason, setting(Err(trouble))),
        (Reason::SenderOverLimit, Some("limits.sender_inflated_bytes_per_day"))
    );
}

/// Otherwise a backlog that returns each day would gradually use up the pool of ordinary mails.
#[test]
fn deferred_mails_use_no_quota() {
    let limits = Limits::default();
    let (mut flood, sender, part) = (flood(|_| {}), sender("google.com"), part(&limits));
    assert_eq!(read(&mut flood, &sender, Cost { rows: limits.rows, ..part }), Ok(()));
    for _ in 0..50_000 {
        flood.charge(&sender, &part, true);
    }
    for _ in 0..2_000 {
        assert_eq!(read(&mut flood, &sender, part), Ok(()));
    }
}

#[test]
fn authenticated_and_unauthenticated_senders_have_separate_quotas() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 1);
    let (real, forged) = (Sender::authenticated("google.com"), Sender::claimed(Some("x@google.com")));
    assert!(flood.mail(&forged, 1).is_ok() && flood.mail(&forged, 1).is_err());
    assert!(flood.mail(&real, 1).is_ok());
    // Forged names don't crowd out authenticated ones either.
    for number in 0..SENDERS + 10 {
        flood.mail(&sender(&format!("d{number}.example")), 1).ok();
    }
    let late = |is_authenticated| Sender::of("late.example", is_authenticated);
    assert!(flood.mail(&late(false), 1).is_err() && flood.mail(&late(true), 1).is_ok());
}

#[test]
fn quotas_reset_daily_and_deferred_senders_are_reported() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 1);
    let sender = sender("a.example");
    let mail = |flood: &mut Flood| {
        let admitted = flood.mail(&sender, 1);
        flood.charge(&sender, &bytes(u64::from(admitted.is_ok())), admitted.is_err());
        admitted.is_ok()
    };
    assert_eq!((0..4).filter(|_| mail(&mut flood)).count(), 1);
    assert_eq!(flood.turn_to(at(NOON + DAY / 2 - 1)), []);
    assert!(!mail(&mut flood));
    assert_eq!(flood.turn_to(at(NOON + DAY / 2)), [("a.example".to_owned(), 4)]);
    assert!(mail(&mut flood));
    assert_eq!(flood.end_day(), []);
}

#[test]
fn senders_over_the_table_size_share_one_quota() {
    let mut flood = flood(|limits| limits.sender_mails_per_day = 2);
    for number in 0..SENDERS + 2 {
        flood.mail(&sender(&format!("d{number}.example")), 1).ok();
    }
    assert_eq!(flood.claimed.senders.len(), SENDERS);
    assert!(flood.mail(&sender("d0.example"), 1).is_ok());
    let trouble = flood.mail(&sender("late.example"), 1).unwrap_err();
    assert!(trouble.detail.contains("from all later senders of the day"), "{trouble}");
    flood.charge(&sender("late.example"), &Cost::default(), true);
    assert_eq!(flood.end_day(), [(OTHERS.to_owned(), 1)]);
}

#[test]
fn sender_over_limit_is_reported_once_a_day_with_a_count() {
    let mut flood = flood(|_| {});
    let (one, other) = (sender("one.example"), sender("other.example"));
    let mut tell = |sender, second| flood.error(Reason::SenderOverLimit, Some(sender), at(second));
    let silent = Telling::HeldBack { is_news: false };
    assert_eq!([tell(&one, NOON), tell(&one, NOON)], [Telling::Now { held_back: 0 }, silent]);
    assert_eq!(tell(&one, NOON + 2 * HOUR), silent);
    assert_eq!(tell(&other, NOON), Telling::Now { held_back: 2 });
    flood.turn_to(at(NOON + DAY));
    assert_eq!(flood.error(Reason::SenderOverLimit, Some(&one), at(NOON + DAY)), Telling::Now { held_back: 0 });
    // Other errors of the same sender are independent.
    assert_eq!(flood.error(Reason::Empty, Some(&one), at(NOON + DAY)), Telling::Now { held_back: 0 });
}

#[test]
fn sender_over_limit_is_reported_later_if_errors_per_hour_was_reached() {
    let mut flood = flood(|limits| limits.errors_per_hour = 1);
    let one = sender("one.example");
    assert_eq!(flood.error(Reason::Empty, None, at(NOON)), Telling::Now { held_back: 0 });
    assert_eq!(flood.error(Reason::SenderOverLimit, Some(&one), at(NOON)), Telling::HeldBack { is_news: true });
    assert_eq!(flood.error(Reason::SenderOverLimit, Some(&one), at(NOON + HOUR)), Telling::Now { held_back: 1 });
}

#[test]
fn reaching_errors_per_hour_is_reported_once() {
    let mut flood = flood(|limits| limits.errors_per_hour = 2);
    let mut news = 0;
    for second in 0..10 {
        let telling = flood.error(Reason::Empty, None, at(NOON + second));
        assert_eq!(matches!(telling, Telling::Now { .. }), second < 2);
        news += u32::from(telling == Telling::HeldBack { is_news: true });
    }
    assert_eq!((news, flood.held_back()), (1, 8));
    // A clock that is set back starts a new hour too.
    assert_eq!(flood.error(Reason::Empty, None, at(NOON - HOUR)), Telling::Now { held_back: 8 });
    assert_eq!(flood.held_back(), 0);
}

#[derive(Debug, Clone)]
enum Step {
    Mail(u8, Cost),
    Error(Option<u8>, bool),
    Later(i64),
}

/// Cost of a mail in units of a 2,000th of a quota, up to a hundred times an ordinary one.
fn cost() -> impl Strategy<Value = Cost> {
    let item = || prop_oneof![4 => 0..=1u64, 1 => 0..100u64];
    let cost = |(bytes, inflated_bytes, rows, event_bytes)| Cost { bytes, inflated_bytes, rows, event_bytes };
    (item(), item(), item(), item()).prop_map(cost)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u8>(), cost()).prop_map(|(sender, cost)| Step::Mail(sender % 4, cost)),
        2 => (any::<Option<u8>>(), any::<bool>()).prop_map(|(sender, over)| Step::Error(sender.map(|s| s % 4), over)),
        1 => (0..40_000i64).prop_map(Step::Later),
    ]
}

proptest! {
    #[test]
    fn quotas_hold_and_every_error_is_reported_or_counted(
        steps in prop::collection::vec(step(), 1..400),
    ) {
        let share = Cost { bytes: PARTS, inflated_bytes: PARTS, rows: PARTS, event_bytes: PARTS };
        let mut flood = flood(|limits| limits.errors_per_hour = 3);
        flood.per_day = share;
        let mut second = NOON;
        let mut large: HashMap<(i64, u8), (u64, Cost)> = HashMap::new();
        let (mut errors, mut told, mut told_as_held_back) = (0, HashMap::<i64, u64>::new(), 0);
        for step in steps {
            match step {
                Step::Mail(who, cost) => {
                    let result = read(&mut flood, &sender(&format!("{who}.example")), cost);
                    if cost.is_ordinary(&share) {
                        prop_assert_eq!(result, Ok(()));
                    } else if result.is_ok() {
                        let (mails, sum) = large.entry((second / DAY, who)).or_default();
                        (*mails, *sum) = (*mails + 1, sum.and(&cost));
                    }
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
        prop_assert!(large.values().all(|(mails, sum)| *mails == 1 || sum.exceeds(&share).is_none()));
        prop_assert!(told.values().all(|told| *told <= 3));
        prop_assert_eq!(told.values().sum::<u64>() + told_as_held_back + flood.held_back(), errors);
    }
}
