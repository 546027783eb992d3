//! Simulated passes: the order in which mails are read, and the one that is blamed.

use std::collections::BTreeMap;

use super::*;

fn place(uid: u32) -> Place {
    Place::Imap { source: "rua".into(), account: "a@b:1".into(), folder: "INBOX".into(), uid_validity: 1, uid }
}

fn uid(place: &Place) -> u32 {
    let Place::Imap { uid, .. } = place else { panic!("{place}") };
    *uid
}

/// Time of the stall of a pass with this number.
fn at(pass: i64) -> Timestamp {
    Timestamp::from_second(pass).unwrap()
}

/// Mails for one sink that takes all of them, except the guilty one and what is in flight with it.
#[derive(Default)]
struct Mailbox {
    /// By UID, the last stall at which the mail was in flight.
    mails: BTreeMap<u32, Option<Timestamp>>,
    counted: BTreeMap<u32, u32>,
    passes: i64,
}

impl Mailbox {
    /// Simulates a pass of the sources and the settlement. Returns the mails that arrived, in order.
    fn pass(&mut self, guilty: &[u32]) -> Vec<u32> {
        self.passes += 1;
        let (mut flights, mut arrived, mut flying) = (Flights::default(), Vec::new(), Vec::new());
        let mut order: Vec<(Option<Timestamp>, u32)> = self.mails.iter().map(|(uid, since)| (*since, *uid)).collect();
        order.sort_unstable();
        for (since, uid) in order {
            let is_held_up = |flying: &[u32]| flying.iter().any(|uid| guilty.contains(uid));
            if !flights.may_open(&[0].into(), since) {
                if is_held_up(&flying) {
                    break;
                }
                land(&mut flights, &mut flying, &mut arrived);
                assert!(flights.may_open(&[0].into(), since));
            }
            let others_arrived = since.map(|_| vec![!arrived.is_empty()]);
            flights.open(uid.into(), place(uid), [0].into(), others_arrived);
            flying.push(uid);
        }
        if !flying.iter().any(|uid| guilty.contains(uid)) {
            land(&mut flights, &mut flying, &mut arrived);
        }
        self.mails.retain(|uid, _| !arrived.contains(uid));
        for Unfinished { place, is_oldest, is_at_fault } in flights.unfinished(&[0]) {
            let since = Timestamp::from_microsecond(at(self.passes).as_microsecond() + i64::from(is_oldest)).unwrap();
            self.mails.insert(uid(&place), Some(since));
            *self.counted.entry(uid(&place)).or_default() += u32::from(is_at_fault);
        }
        self.counted.retain(|_, times| *times > 0);
        arrived
    }
}

fn land(flights: &mut Flights, flying: &mut Vec<u32>, arrived: &mut Vec<u32>) {
    flying.iter().for_each(|uid| flights.remove((*uid).into()));
    arrived.append(flying);
}

fn of(uids: std::ops::RangeInclusive<u32>) -> Mailbox {
    Mailbox { mails: uids.map(|uid| (uid, None)).collect(), ..Mailbox::default() }
}

#[test]
fn the_guilty_one_is_found_in_few_passes_wherever_it_lies_and_no_other_is_counted() {
    for guilty in [1, 2, 3, 500, 777, 999, 1000] {
        let mut mailbox = of(1..=1000);
        while mailbox.counted.get(&guilty) < Some(&3) {
            mailbox.pass(&[guilty]);
            assert!(mailbox.passes <= 16, "{guilty}: {mailbox:?}", mailbox = mailbox.mails.len());
            // A new mail arrives, without which the guilty one could not be distinguished from an outage.
            mailbox.mails.insert(2000 + u32::try_from(mailbox.passes).unwrap(), None);
        }
        assert_eq!(mailbox.counted, [(guilty, 3)].into());
        assert!(mailbox.mails.len() <= 2, "all others have arrived: {:?}", mailbox.mails);
    }
}

#[test]
fn several_guilty_ones_do_not_hide_behind_each_other() {
    let (mut mailbox, guilty) = (of(1..=100), [7, 8, 50]);
    while mailbox.counted.values().min() < Some(&3) || mailbox.counted.len() < 3 {
        mailbox.pass(&guilty);
        assert!(mailbox.passes <= 60, "{:?}", mailbox.counted);
        mailbox.mails.insert(2000 + u32::try_from(mailbox.passes).unwrap(), None);
    }
    assert!(mailbox.counted.keys().all(|uid| guilty.contains(uid)), "{:?}", mailbox.counted);
}

#[test]
fn honest_mails_go_first_once_the_first_of_all_has_held_them_up() {
    let mut mailbox = of(1..=6);
    assert_eq!(mailbox.pass(&[1]), [0; 0]);
    assert_eq!(mailbox.pass(&[1]), [2, 3, 4, 5, 6]);
    assert_eq!(mailbox.counted, [(1, 1)].into());
}

#[test]
fn an_outage_makes_nobody_guilty_and_costs_little_afterwards() {
    let mut mailbox = of(1..=1000);
    let all: Vec<u32> = (1..=1000).collect();
    for _ in 0..10 {
        assert_eq!(mailbox.pass(&all), [0; 0]);
    }
    assert_eq!(mailbox.counted, BTreeMap::new());
    assert_eq!(mailbox.pass(&[]).len(), 1000);
    let mut flights = Flights::default();
    let mut groups = 0;
    for uid in 1..=1000 {
        if !flights.may_open(&[0].into(), Some(at(1))) {
            groups += 1;
            (1..uid).for_each(|uid| flights.remove(uid.into()));
            assert!(flights.may_open(&[0].into(), Some(at(1))));
        }
        flights.open(uid.into(), place(uid), [0].into(), Some(vec![true]));
    }
    assert_eq!(groups, 9, "1, 2, 4 and so on");
}

/// Opens one suspect by itself; returns true if it is at fault when the sinks `owing` stall.
fn is_at_fault(sinks: &[usize], others_arrived: &[bool], owing: &[usize], advances: bool) -> bool {
    let mut flights = Flights::default();
    assert!(flights.may_open(&sinks.into(), Some(at(1))));
    flights.open(1, place(1), sinks.into(), Some(others_arrived.to_vec()));
    if advances {
        flights.advance(1);
    }
    flights.unfinished(owing)[0].is_at_fault
}

#[test]
fn a_mail_is_at_fault_only_at_sinks_that_took_others_and_only_if_it_came_no_further() {
    assert!(is_at_fault(&[0], &[true], &[0], false));
    assert!(!is_at_fault(&[0], &[true], &[0], true));
    assert!(!is_at_fault(&[0], &[false], &[0], false));
    assert!(!is_at_fault(&[0, 1], &[true, false], &[1], false), "the sink that it waits for is away");
    assert!(!is_at_fault(&[0, 1], &[true, false], &[0, 1], false));
    assert!(is_at_fault(&[0, 1], &[true, false], &[0], false), "the other has taken it");
    assert!(is_at_fault(&[0], &[true, false], &[0, 1], false), "the other is not its own");
}

#[test]
fn who_shares_no_sink_with_a_suspect_need_not_wait_for_it() {
    let mut flights = Flights::default();
    assert!(flights.may_open(&[0].into(), Some(at(1))));
    flights.open(1, place(1), [0].into(), Some(vec![true, true]));
    assert!(flights.may_open(&[1].into(), None) && flights.may_open(&[1].into(), Some(at(2))));
    assert!(!flights.may_open(&[0, 1].into(), None) && !flights.may_open(&[0].into(), Some(at(2))));
    flights.remove(1);
    assert!(flights.may_open(&[0, 1].into(), None));
}

#[test]
fn a_suspect_waits_until_nothing_else_is_in_flight_and_a_mail_that_is_none_is_never_at_fault() {
    let mut flights = Flights::default();
    flights.open(1, place(1), [0].into(), None);
    assert!(!flights.may_open(&[0].into(), Some(at(1))) && flights.may_open(&[0].into(), None));
    assert_eq!(flights.unfinished(&[0]), [Unfinished { place: place(1), is_oldest: true, is_at_fault: false }]);
}
