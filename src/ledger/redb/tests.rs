//! Tests of the ledger in redb: files, corruption, full disks, expiry. What every ledger does is in `ledger/tests.rs`.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use jiff::SignedDuration;
use redb::{Database, StorageBackend, backends::InMemoryBackend};
use tokio::sync::oneshot;

use super::{database::Store, *};
use crate::ledger::record::{Delivery, PlaceVerdict, Progress};

impl BlockingLedger {
    /// Returns when and where a document was shipped.
    fn document(&self, key: &DocumentKey) -> Result<Option<Shipped>, LedgerError> {
        Ok(self.claim(key, &[], None)?.shipped)
    }

    /// Returns the number of processes that died over a mail.
    fn deaths(&self, place: &Place) -> u32 {
        self.attempts(place).map_or(0, |failures| failures.deaths)
    }

    /// Returns whether a place is known.
    fn knows(&self, place: &Place) -> bool {
        self.known(std::slice::from_ref(place)).unwrap()[0].is_known
    }
}

fn document(n: u8) -> DocumentKey {
    DocumentKey { tenant: None, sha256: [n; 32] }
}

fn shipped(at: Timestamp) -> Shipped {
    Shipped {
        first_shipped: at,
        last_seen: at,
        org: Some("Grüße \"Org\"".into()),
        report_id: None,
        rows: 7,
        mail: "rua/INBOX/12".into(),
    }
}

fn mail(folder: &str, uid_validity: u32, uid: u32) -> Place {
    mail_of("rua@example.com@imap.example.com:993", folder, uid_validity, uid)
}

fn mail_of(account: &str, folder: &str, uid_validity: u32, uid: u32) -> Place {
    Place::Imap { source: "rua".into(), account: account.into(), folder: folder.into(), uid_validity, uid }
}

/// A document that was delivered to one sink.
fn delivered(n: u8, shipped: Shipped) -> (DocumentKey, Shipped, Arc<[SinkKey]>) {
    (document(n), shipped, [sink("siem")].into())
}

fn sink(name: &str) -> SinkKey {
    SinkKey::new(name)
}

/// Returns the deliveries of a document to these sinks.
fn deliveries(ledger: &BlockingLedger, n: u8, sinks: &[&str]) -> Vec<Delivery> {
    let sinks: Vec<_> = sinks.iter().map(|name| sink(name)).collect();
    ledger.claim(&document(n), &sinks, None).unwrap().deliveries
}

fn commit(now: Timestamp) -> Commit {
    Commit::at(now)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let data_dir = root.path().join("data");
    let ledger = BlockingLedger::open(&data_dir).unwrap();
    let batch = Commit {
        documents: vec![delivered(1, shipped(at(1000)))],
        places: vec![(mail("INBOX", 1, 2), PlaceVerdict::WithoutReport)],
        ..commit(at(1000))
    };
    ledger.commit(&batch).unwrap();
    drop(ledger);

    let ledger = BlockingLedger::open(&data_dir).unwrap();
    assert_eq!(ledger.document(&document(1)).unwrap(), Some(shipped(at(1000))));
    assert_eq!(ledger.document(&document(2)).unwrap(), None);
    assert!(ledger.knows(&mail("INBOX", 1, 2)));
    let mode = fs::metadata(data_dir.join("ledger.redb")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn tenants_share_no_documents() {
    let ledger = BlockingLedger::in_memory();
    let of = |tenant: Option<&str>| DocumentKey { tenant: tenant.map(Into::into), sha256: [1; 32] };
    ledger
        .commit(&Commit { documents: vec![(of(Some("a")), shipped(at(1)), [sink("siem")].into())], ..commit(at(1)) })
        .unwrap();
    assert!(ledger.document(&of(Some("a"))).unwrap().is_some());
    for other in [None, Some(""), Some("b")] {
        assert_eq!(ledger.document(&of(other)).unwrap(), None, "{other:?}");
    }
}

#[test]
fn places_are_told_apart_by_every_part_of_them() {
    let ledger = BlockingLedger::in_memory();
    let file = |source: &str, path: &str, part, size, mtime| Place::File {
        source: source.into(),
        path: path.into(),
        part,
        size,
        mtime,
    };
    let known = [mail("INBOX", 1, 2), file("in", "a/b", 0, 5, -1)];
    let places = known.iter().map(|place| (place.clone(), PlaceVerdict::Shipped)).collect();
    ledger.commit(&Commit { places, ..commit(at(1)) }).unwrap();
    assert!(known.iter().all(|place| ledger.knows(place)));
    let stdin = Place::Stdin { source: "in".into() };
    ledger.commit(&Commit { places: vec![(stdin.clone(), PlaceVerdict::Shipped)], ..commit(at(1)) }).unwrap();
    for other in [
        stdin,
        mail("INBOX", 2, 2),
        mail("INBOX", 1, 3),
        mail("INBOX/x", 1, 2),
        mail_of("rua@example.com@imap.example.net:993", "INBOX", 1, 2),
        mail_of("ruf@example.com@imap.example.com:993", "INBOX", 1, 2),
        file("in", "a/b", 1, 5, -1),
        file("in", "a/b", 0, 6, -1),
        file("in", "a/b", 0, 5, 0),
        file("ina", "/b", 0, 5, -1),
    ] {
        assert!(!ledger.knows(&other), "{other:?}");
    }
}

#[test]
fn what_is_not_seen_again_expires() {
    let ledger = BlockingLedger::in_memory();
    let start = Timestamp::now() - days(300);
    let batch = Commit {
        documents: vec![delivered(1, shipped(start)), delivered(2, shipped(start))],
        places: vec![(mail("gone", 1, 1), PlaceVerdict::Shipped), (mail("kept", 1, 1), PlaceVerdict::Shipped)],
        ..commit(start)
    };
    ledger.commit(&batch).unwrap();
    ledger.commit(&Commit { seen_again: vec![document(2), document(3)], ..commit(Timestamp::now()) }).unwrap();
    assert!(ledger.knows(&mail("kept", 1, 1)), "a sight");

    let on_day = |day| ledger.expire(start + days(day), 400).unwrap();
    assert_eq!((1..=400).map(on_day).sum::<u64>(), 0);
    assert_eq!(on_day(401), 2);
    assert_eq!(ledger.document(&document(1)).unwrap(), None);
    let seen_again = ledger.document(&document(2)).unwrap().unwrap();
    assert_eq!(seen_again.first_shipped.as_second(), start.as_second());
    assert!(seen_again.last_seen > start + days(299));
    assert_eq!(ledger.document(&document(3)).unwrap(), None, "never shipped");
    assert!(ledger.knows(&mail("kept", 1, 1)));
    assert!(!ledger.knows(&mail("gone", 1, 1)));
}

#[test]
fn sights_of_places_go_with_the_next_commit() {
    let root = tempfile::tempdir().unwrap();
    let long_ago = Timestamp::now() - days(399);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    ledger.commit(&Commit { places: vec![(mail("kept", 1, 1), PlaceVerdict::Shipped)], ..commit(long_ago) }).unwrap();
    assert!(ledger.knows(&mail("kept", 1, 1)));
    ledger.commit(&commit(Timestamp::now())).unwrap();
    drop(ledger);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    assert_eq!(ledger.expire(Timestamp::now() + days(10), 400).unwrap(), 0);
}

#[test]
fn a_ledger_of_another_version_is_refused_and_left_alone() {
    for version in [1, 3] {
        let root = tempfile::tempdir().unwrap();
        drop(BlockingLedger::open(root.path()).unwrap());
        let path = root.path().join("ledger.redb");
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
        transaction.open_table(meta).unwrap().insert("schema", version).unwrap();
        transaction.commit().unwrap();
        drop(database);

        let refused = BlockingLedger::open(root.path()).unwrap_err();
        assert!(matches!(refused, LedgerError::OtherVersion { found, known: 2, .. } if found == version), "{refused}");
        assert!(BlockingLedger::open_copy(root.path()).is_err());
        let names = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.filter(|name| name.starts_with("ledger")).collect::<Vec<_>>(), ["ledger.redb"]);
    }
}

/// Regression: after a `mv` over the ledger, writes went to a file without a name, and were lost with the process.
#[test]
fn a_ledger_that_was_replaced_by_another_file_is_noticed_and_that_file_is_written() {
    let (root, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ship = |ledger: &BlockingLedger, n| {
        ledger.commit(&Commit { documents: vec![delivered(n, shipped(at(1)))], ..commit(at(1)) }).unwrap();
    };
    ship(&BlockingLedger::open(other.path()).unwrap(), 1);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    ship(&ledger, 2);
    let path = |root: &tempfile::TempDir| root.path().join("ledger.redb");
    fs::rename(path(&other), path(&root)).unwrap();
    ship(&ledger, 3);
    drop(ledger);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    let known = [1, 2, 3].map(|n| ledger.document(&document(n)).unwrap().is_some());
    assert_eq!(known, [true, false, true]);
}

#[test]
fn one_process_has_it_open_and_a_dry_run_is_told_so() {
    let root = tempfile::tempdir().unwrap();
    assert_eq!(BlockingLedger::open_copy(root.path()).unwrap().1, View::Missing);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "reading makes nothing");

    let ledger = BlockingLedger::open(root.path()).unwrap();
    ledger.commit(&Commit { documents: vec![delivered(1, shipped(at(1)))], ..commit(at(1)) }).unwrap();
    assert!(matches!(BlockingLedger::open(root.path()), Err(LedgerError::Locked { .. })));
    let (view, how) = BlockingLedger::open_copy(root.path()).unwrap();
    assert_eq!((view.document(&document(1)).unwrap(), how), (None, View::Locked));
    drop(ledger);

    let (view, how) = BlockingLedger::open_copy(root.path()).unwrap();
    assert_eq!(how, View::Copy);
    assert!(view.document(&document(1)).unwrap().is_some());
    view.commit(&Commit { documents: vec![delivered(2, shipped(at(2)))], ..commit(at(2)) }).unwrap();
    assert!(view.document(&document(2)).unwrap().is_some());
    let ledger = BlockingLedger::open(root.path()).unwrap();
    assert_eq!(ledger.document(&document(2)).unwrap(), None, "the view is a copy");
}

#[test]
fn a_corrupt_ledger_is_set_aside_and_a_new_one_started() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("ledger.redb");
    let ledger = BlockingLedger::open(root.path()).unwrap();
    let documents = (0..200).map(|n| delivered(n, shipped(at(1)))).collect();
    ledger.commit(&Commit { documents, ..commit(at(1)) }).unwrap();
    drop(ledger);
    let whole = fs::read(&path).unwrap();

    let mut broken = vec![b"not a database, but long enough to be one ".repeat(500), whole[..whole.len() / 2].to_vec()];
    broken.push(whole[..100].to_vec());
    for page in 0..whole.len().min(16 * 4096) / 4096 {
        let mut flipped = whole.clone();
        flipped[page * 4096..(page + 1) * 4096].iter_mut().for_each(|byte| *byte ^= 0x55);
        broken.push(flipped);
    }
    let mut set_aside = 0;
    for (case, bytes) in broken.iter().enumerate() {
        fs::write(&path, bytes).unwrap();
        let view = BlockingLedger::open_copy(root.path());
        assert!(fs::read(&path).unwrap() == *bytes, "reading changes nothing");
        let ledger = BlockingLedger::open(root.path()).unwrap_or_else(|error| panic!("case {case}: {error}"));
        let aside: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains("ledger.redb.corrupt-"))
            .collect();
        // A damaged page that holds no data goes unnoticed.
        let known = ledger.document(&document(1)).unwrap();
        assert_eq!(known.is_none(), aside.len() == 1, "case {case}");
        assert_eq!(matches!(view, Err(LedgerError::Corrupt { .. })), aside.len() == 1, "case {case}");
        for path in aside {
            assert_eq!(fs::read(&path).unwrap().len(), bytes.len(), "case {case}");
            fs::remove_file(path).unwrap();
            set_aside += 1;
        }
    }
    assert!(set_aside > 3, "{set_aside} of {}", broken.len());
}

#[test]
fn a_full_disk_costs_the_commit_alone_and_the_ledger_goes_on_when_there_is_room() {
    let Some(disk) = crate::small_disk::SmallDisk::mount(2048) else { return };
    let ledger = BlockingLedger::open(disk.path()).unwrap();
    let batch = |from: u8| Commit {
        documents: (from..from + 60)
            .map(|n| delivered(n, Shipped { mail: "x".repeat(9000), ..shipped(at(1)) }))
            .collect(),
        ..commit(at(1))
    };
    ledger.commit(&batch(0)).unwrap();
    let filler = disk.fill();
    let refused = ledger.commit(&Commit {
        documents: (60..=255).map(|n| delivered(n, Shipped { mail: "y".repeat(9000), ..shipped(at(1)) })).collect(),
        ..commit(at(1))
    });
    assert!(matches!(refused, Err(LedgerError::Io { .. })), "{refused:?}");
    fs::remove_file(filler).unwrap();
    assert!(ledger.document(&document(1)).unwrap().is_some());
    assert_eq!(ledger.document(&document(61)).unwrap(), None, "all of a commit or nothing");
    ledger.commit(&batch(60)).unwrap();
    assert!(ledger.document(&document(61)).unwrap().is_some());
}

#[test]
fn documents_are_listed_with_their_tenant_and_hash_until_the_ledger_is_reset() {
    let ledger = BlockingLedger::in_memory();
    let tenant = DocumentKey { tenant: Some("süd".into()), sha256: [3; 32] };
    let documents = vec![delivered(1, shipped(at(1))), (tenant, shipped(at(2)), [sink("siem"), sink("file")].into())];
    ledger.commit(&Commit { documents: documents.clone(), ..commit(at(2)) }).unwrap();
    let listed = |ledger: &BlockingLedger| {
        let mut listed: Vec<(DocumentKey, Shipped)> = Vec::new();
        while let [next] = &ledger.documents(listed.last().map(|(key, _)| key), 1).unwrap()[..] {
            listed.push(next.clone());
        }
        listed
    };
    let known: Vec<_> = documents.into_iter().map(|(key, shipped, _)| (key, shipped)).collect();
    assert_eq!(listed(&ledger), known);
    assert_eq!(ledger.reset().unwrap(), 2);
    assert_eq!(listed(&ledger), []);
}

#[test]
fn progress_is_kept_for_each_sink_until_the_document_is_shipped_there() {
    let root = tempfile::tempdir().unwrap();
    let progress = |sinks: &[(&str, u64)]| Commit {
        progress: sinks.iter().map(|(name, rows)| (document(1), sink(name), Progress::of(*rows))).collect(),
        ..commit(at(1))
    };
    let ledger = BlockingLedger::open(root.path()).unwrap();
    ledger.commit(&progress(&[("siem", 1000), ("file", 500)])).unwrap();
    ledger.commit(&progress(&[("siem", 2000)])).unwrap();
    drop(ledger);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    let sinks = ["siem", "file", "new"];
    assert_eq!(deliveries(&ledger, 1, &sinks), [Delivery::Rows(2000), Delivery::Rows(500), Delivery::Rows(0)]);
    assert_eq!(deliveries(&ledger, 2, &["siem"]), [Delivery::Rows(0)]);
    ledger.commit(&Commit { documents: vec![delivered(1, shipped(at(3)))], ..commit(at(3)) }).unwrap();
    assert_eq!(deliveries(&ledger, 1, &sinks), [Delivery::Done, Delivery::Rows(500), Delivery::Rows(0)]);
}

/// Regression: the mailboxes of two routes had the same report, and the second sink never got it.
#[test]
fn a_document_is_known_at_the_sinks_that_have_it_and_at_no_other() {
    let ledger = BlockingLedger::in_memory();
    ledger.commit(&Commit { documents: vec![delivered(1, shipped(at(1)))], ..commit(at(1)) }).unwrap();
    assert_eq!(deliveries(&ledger, 1, &["siem", "file"]), [Delivery::Done, Delivery::Rows(0)]);
    let to_file = (document(1), shipped(at(5)), [sink("file")].into());
    ledger.commit(&Commit { documents: vec![to_file], ..commit(at(5)) }).unwrap();
    assert_eq!(deliveries(&ledger, 1, &["siem", "file"]), [Delivery::Done; 2]);
    let known = ledger.document(&document(1)).unwrap().unwrap();
    assert_eq!((known.first_shipped, known.last_seen), (at(1), at(5)));
}

#[test]
fn a_document_that_another_program_shipped_is_known_at_every_sink() {
    let ledger = BlockingLedger::in_memory();
    let imported = (document(1), shipped(at(1)), [SinkKey::EVERY].into());
    ledger.commit(&Commit { documents: vec![imported], ..commit(at(1)) }).unwrap();
    assert_eq!(deliveries(&ledger, 1, &["siem", "file"]), [Delivery::Done; 2]);
}

#[test]
fn progress_counts_for_the_same_version_only() {
    assert_eq!(Progress::of(1000).arrived(), 1000);
    assert_eq!(Progress { rows: 1000, by: "0.0.9".into() }.arrived(), 0);
}

#[test]
fn a_name_stays_with_the_first_document_under_it() {
    let ledger = BlockingLedger::in_memory();
    let name = |tenant, id| ReportName::new(tenant, &[Some("org"), Some("example.com"), Some(id), None]);
    let names = |n: u8| Commit { names: vec![(name(None, "7"), [n; 32])], ..commit(at(1)) };
    ledger.commit(&names(1)).unwrap();
    ledger.commit(&names(2)).unwrap();
    let named = |name: ReportName| ledger.claim(&document(1), &[], Some(&name)).unwrap().named;
    assert_eq!(named(name(None, "7")), Some([1; 32]));
    assert_eq!(named(name(None, "8")), None);
    assert_eq!(named(name(Some("a"), "7")), None, "tenants share no names");
}

#[test]
fn a_value_that_is_missing_makes_another_name_than_an_empty_one() {
    let name = |told: &[Option<&str>]| ReportName::new(None, told);
    assert_ne!(name(&[None, Some("a")]), name(&[Some(""), Some("a")]));
    assert_ne!(name(&[Some("a"), Some("bc")]), name(&[Some("ab"), Some("c")]));
}

#[test]
fn a_mail_that_was_being_read_when_the_process_died_is_counted() {
    let root = tempfile::tempdir().unwrap();
    let (killer, other) = (mail("INBOX", 1, 7), mail("INBOX", 1, 8));
    for died in 1..=3 {
        let ledger = BlockingLedger::open(root.path()).unwrap();
        assert_eq!(ledger.deaths(&killer), died - 1);
        let (mut one, mut two) = (ledger.bookmark(), ledger.bookmark());
        one.begin(&other);
        one.end();
        two.begin(&killer);
        std::mem::forget((one, two));
    }
    let ledger = BlockingLedger::open(root.path()).unwrap();
    assert_eq!((ledger.deaths(&killer), ledger.deaths(&other)), (3, 0));
    let mode = fs::metadata(root.path().join("reading")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

/// A sink that is down for hours must not make a mail look dangerous.
#[test]
fn a_process_that_dies_while_it_waits_for_a_sink_does_not_count_against_the_mail() {
    let root = tempfile::tempdir().unwrap();
    let ledger = BlockingLedger::open(root.path()).unwrap();
    let mut bookmark = ledger.bookmark();
    bookmark.begin(&mail("INBOX", 1, 7));
    bookmark.pause();
    drop((ledger, bookmark));
    assert_eq!(BlockingLedger::open(root.path()).unwrap().deaths(&mail("INBOX", 1, 7)), 0);
}

#[test]
fn attempts_are_forgotten_once_the_mail_was_read() {
    let root = tempfile::tempdir().unwrap();
    let killer = mail("INBOX", 1, 7);
    BlockingLedger::open(root.path()).unwrap().bookmark().begin(&killer);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    assert_eq!(ledger.deaths(&killer), 1);
    ledger.commit(&Commit { read: vec![killer.clone(), mail("INBOX", 1, 8)], ..commit(at(1)) }).unwrap();
    assert_eq!(ledger.deaths(&killer), 0);
    drop(ledger);
    assert_eq!(BlockingLedger::open(root.path()).unwrap().deaths(&killer), 0);
}

/// Regression: each single run went through all entries.
#[test]
fn nothing_expires_within_a_day_of_the_last_time() {
    let ledger = BlockingLedger::in_memory();
    let begin = at(1_793_534_400);
    ledger.commit(&commit(begin)).unwrap();
    ledger.commit(&Commit { documents: vec![delivered(1, shipped(begin - days(500)))], ..commit(begin) }).unwrap();
    let hours = |hours| ledger.expire(begin + SignedDuration::from_hours(hours), 400).unwrap();
    assert_eq!((hours(23), hours(24), hours(25)), (0, 1, 0));
}

/// Without the step, a clock that jumps ahead for an hour would make every report new again.
#[test]
fn a_clock_that_jumps_ahead_makes_nothing_forgotten() {
    let ledger = BlockingLedger::in_memory();
    let begin = at(1_000_000_000);
    ledger.expire(begin, 400).unwrap();
    ledger.commit(&Commit { documents: vec![delivered(1, shipped(begin))], ..commit(begin) }).unwrap();
    assert_eq!(ledger.expire(begin + days(3650), 400).unwrap(), 0);
    assert_eq!(ledger.expire(begin + days(3), 400).unwrap(), 0);
    let forgotten: u64 = (4..=405).map(|day| ledger.expire(begin + days(day), 400).unwrap()).sum();
    assert_eq!(forgotten, 1, "time that really passes counts");
}

/// Regression: the first expiry believed any clock; a service expires for the first time a day after its start.
#[test]
fn the_first_commit_says_from_when_on_time_passes_unless_the_clock_was_not_set_yet() {
    let today = at(1_793_534_400);
    let expired = |first| {
        let ledger = BlockingLedger::in_memory();
        ledger.commit(&commit(first)).unwrap();
        ledger.commit(&Commit { documents: vec![delivered(1, shipped(today))], ..commit(today) }).unwrap();
        let ahead = ledger.expire(today + days(3650), 400).unwrap();
        (ahead, ledger.expire(today + days(1), 400).unwrap())
    };
    assert_eq!(expired(today), (0, 0));
    assert_eq!(expired(at(1000)), (0, 0), "1970 is no beginning: the next commit is");
}

/// Regression: a read used a page that its transaction did not hold any more, and a commit freed it.
#[test]
fn what_is_read_while_others_write_breaks_neither() {
    let ledger = BlockingLedger::in_memory();
    let batch = |second| Commit { documents: vec![delivered(1, shipped(at(second)))], ..commit(at(second)) };
    ledger.commit(&batch(0)).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..20_000).for_each(|_| assert!(ledger.document(&document(1)).unwrap().is_some())));
        }
        (1..2000).for_each(|second| ledger.commit(&batch(second)).unwrap());
    });
}

fn unfinished(uid: u32, is_oldest: bool, is_at_fault: bool) -> Unfinished {
    Unfinished { place: mail("INBOX", 1, uid), is_oldest, is_at_fault }
}

#[test]
fn mails_that_were_not_delivered_are_counted_over_processes_until_they_are() {
    let root = tempfile::tempdir().unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for _ in 0..2 {
        let ledger = BlockingLedger::open(root.path()).unwrap();
        let mails = [unfinished(7, true, true), unfinished(8, false, false)];
        ledger.note_unfinished(&mails, "siem, disk", now).unwrap();
    }
    let ledger = BlockingLedger::open(root.path()).unwrap();
    let [guilty, other] = [7, 8].map(|uid| ledger.attempts(&mail("INBOX", 1, uid)).unwrap());
    assert_eq!((guilty.passes, &*guilty.sinks, guilty.deaths), (2, "siem, disk", 0));
    assert_eq!((other.passes, &*other.sinks, other.last), (0, "", now));
    assert!(guilty.last > other.last, "the oldest comes last");
    assert_eq!(ledger.attempts(&mail("INBOX", 1, 9)), None);
    // A mail that arrives, or makes progress, has no failures any more.
    let read = vec![mail("INBOX", 1, 7)];
    ledger.commit(&Commit { read, ..Commit::at(now) }).unwrap();
    assert_eq!(ledger.attempts(&mail("INBOX", 1, 7)), None);
    drop(ledger);
    let ledger = BlockingLedger::open(root.path()).unwrap();
    assert_eq!(ledger.attempts(&mail("INBOX", 1, 7)), None);
    assert!(ledger.attempts(&mail("INBOX", 1, 8)).is_some());
}

#[test]
fn deaths_that_an_earlier_version_counted_are_known() {
    let failures = super::rows::failures_of(5, &3_u32.to_be_bytes()).unwrap();
    assert_eq!((failures.deaths, failures.passes, &*failures.sinks), (3, 0, ""));
    assert_eq!(super::rows::failures_of(5, &[0, 0]), None);
}

/// A disk that hangs at its next access after [`Gate::close`], until it is told to go on.
#[derive(Debug)]
struct SlowDisk {
    memory: InMemoryBackend,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate(Mutex<Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>>);

impl Gate {
    /// Returns what tells when the disk hangs, and what lets it go on.
    fn close(&self) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
        let ((hangs, is_hanging), (go_on, goes_on)) = (oneshot::channel(), mpsc::channel());
        *self.0.lock().unwrap() = Some((hangs, goes_on));
        (is_hanging, go_on)
    }

    fn is_open(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }

    fn pass(&self) {
        let closed = self.0.lock().unwrap().take();
        if let Some((hangs, goes_on)) = closed {
            hangs.send(()).unwrap();
            goes_on.recv_timeout(Duration::from_secs(10)).expect("the runtime goes on while the disk hangs");
        }
    }
}

impl StorageBackend for SlowDisk {
    fn len(&self) -> io::Result<u64> {
        self.memory.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.gate.pass();
        self.memory.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.memory.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.gate.pass();
        self.memory.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.memory.write(offset, data)
    }
}

/// On a runtime with one thread: what else runs there must be able to end the wait.
#[tokio::test]
async fn a_disk_that_hangs_does_not_hold_up_the_runtime() {
    let gate: Arc<Gate> = Arc::default();
    let disk = SlowDisk { memory: InMemoryBackend::new(), gate: gate.clone() };
    let ledger = RedbLedger::of(BlockingLedger::of(Store::on(disk, Path::new("slow")).unwrap()));
    // More than the cache of redb holds.
    let places: Arc<[Place]> = (0..4_000).map(|uid| mail(&"x".repeat(2_000), 1, uid)).collect();
    let left = places.iter().map(|place| (place.clone(), PlaceVerdict::Shipped)).collect();
    ledger.commit(Arc::new(Commit { places: left, ..commit(at(1)) })).await.unwrap();

    let (is_hanging, go_on) = gate.close();
    let other = tokio::spawn(async move {
        is_hanging.await.unwrap();
        go_on.send(()).unwrap();
    });
    assert!(ledger.known(places).await.unwrap().iter().all(|status| status.is_known));
    assert!(gate.is_open(), "the disk was read");
    other.await.unwrap();

    let (is_hanging, go_on) = gate.close();
    let other = tokio::spawn(async move {
        is_hanging.await.unwrap();
        go_on.send(()).unwrap();
    });
    ledger.commit(Arc::new(commit(at(2)))).await.unwrap();
    assert!(gate.is_open(), "the disk was synced");
    other.await.unwrap();
}
