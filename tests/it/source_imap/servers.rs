//! The same tests against every available IMAP server: Dovecot with two storage formats, with either delimiter, and
//! limited to the capabilities of older servers; Cyrus; Courier. All results are verified over IMAP, as seen by another
//! client.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use dmarc_shipper::{
    config::source::{After, Imap as Config},
    source::{Pass, Verdict},
    trouble::{Reason, Trouble},
};
use jiff::Timestamp;
use serde_json::json;

use super::driver::{Driver, Seen, config, folders, mail};
use crate::support::{
    ca::Ca,
    courier::Courier,
    cyrus::Cyrus,
    dovecot::{Dovecot, Options, PASSWORD, USER},
    imap::Imap,
    process::Finished,
    relay::{Relay, Way},
    reports::Batch,
    wait::{LONG, eventually},
    workplace::{Workplace, stdout, with},
};

/// A kind of server, and its characteristics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Maildir, delimiter `/`, all capabilities.
    Dovecot,
    /// sdbox, delimiter `.`, all folders below `INBOX.`.
    DovecotDbox,
    /// IMAP4rev1 and nothing else: no MOVE, UIDPLUS, LITERAL+, NAMESPACE, SPECIAL-USE.
    DovecotBare,
    /// UIDPLUS but no MOVE, like iCloud.
    DovecotNoMove,
    Cyrus,
    Courier,
}

/// A server with one empty mailbox.
pub struct Mailserver {
    pub kind: Kind,
    pub port: u16,
    /// The server runs until this is dropped.
    _running: Box<dyn Any + Send + Sync>,
}

impl Kind {
    /// True if settled mails are expunged from the folder, and not only flagged \Deleted.
    fn expunges(self) -> bool {
        self != Kind::DovecotBare
    }

    /// Returns the server's name of a folder that the user writes with `/`.
    fn name(self, written: &str) -> String {
        match self {
            Kind::Dovecot | Kind::DovecotBare | Kind::DovecotNoMove => written.to_owned(),
            Kind::DovecotDbox | Kind::Cyrus | Kind::Courier => format!("INBOX.{}", written.replace('/', ".")),
        }
    }
}

impl Mailserver {
    pub fn start(kind: Kind) -> Self {
        let dovecot = |options: Options| -> (u16, Box<dyn Any + Send + Sync>) {
            let ca = Ca::new();
            let dovecot = Dovecot::with(&ca.server_named("localhost"), &options);
            (dovecot.imap_port, Box::new((dovecot, ca)))
        };
        let (port, running) = match kind {
            Kind::Dovecot => dovecot(Options::default()),
            Kind::DovecotDbox => dovecot(Options {
                separator: '.',
                extra: "mail_location = sdbox:~/sdbox\nnamespace inbox {\n  prefix = INBOX.\n}\n".into(),
                ..Options::default()
            }),
            Kind::DovecotBare => dovecot(Options { capability: Some("IMAP4rev1"), ..Options::default() }),
            Kind::DovecotNoMove => {
                dovecot(Options { capability: Some("IMAP4rev1 UIDPLUS LITERAL+"), ..Options::default() })
            }
            Kind::Cyrus => {
                let cyrus = Cyrus::start();
                (cyrus.port, Box::new(cyrus) as Box<_>)
            }
            Kind::Courier => {
                let courier = Courier::start();
                (courier.port, Box::new(courier) as Box<_>)
            }
        };
        Self { kind, port, _running: running }
    }

    /// Connects another client, and logs in.
    pub fn client(&self) -> Imap {
        self.client_of(USER)
    }

    pub fn client_of(&self, user: &str) -> Imap {
        let mut client = Imap::connect(self.port);
        client.login_as(user);
        client
    }

    /// Delivers mails with these numbers into INBOX.
    fn deliver(&self, numbers: impl IntoIterator<Item = usize>) {
        let mut client = self.client();
        numbers.into_iter().for_each(|number| client.append("INBOX", &mail(number)));
    }

    /// Returns the subjects of the mails in a folder that are not flagged \Deleted, sorted; empty if the folder does not
    /// exist. `written` is the name as a user writes it.
    fn subjects(&self, written: &str) -> Vec<String> {
        let name = if written == "INBOX" { "INBOX".to_owned() } else { self.kind.name(written) };
        self.subjects_in(&name, "UNDELETED")
    }

    fn subjects_in(&self, name: &str, criteria: &str) -> Vec<String> {
        let mut client = self.client();
        if !client.tries(&format!("EXAMINE \"{name}\"")).lines().last().unwrap().starts_with("x OK") {
            return Vec::new();
        }
        let found = client.does(&format!("UID SEARCH {criteria}"));
        let uids: Vec<&str> =
            found.lines().find_map(|line| line.strip_prefix("* SEARCH")).unwrap().split(' ').collect();
        let mut subjects: Vec<String> = uids
            .iter()
            .filter(|uid| !uid.trim().is_empty())
            .map(|uid| {
                let header = client.does(&format!("UID FETCH {} BODY.PEEK[HEADER.FIELDS (SUBJECT)]", uid.trim()));
                header.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().trim().to_owned()
            })
            .collect();
        subjects.sort();
        subjects
    }

    /// Returns the number of mails in a folder that are not flagged \Deleted.
    fn unmarked(&self, name: &str) -> usize {
        let mut client = self.client();
        client.does(&format!("EXAMINE \"{name}\""));
        let found = client.does("SEARCH UNDELETED");
        found.lines().find_map(|line| line.strip_prefix("* SEARCH")).unwrap().split_whitespace().count()
    }

    fn is_subscribed(&self, written: &str) -> bool {
        self.client().does("LSUB \"\" *").contains(&self.kind.name(written))
    }

    pub fn config(&self) -> Config {
        Config {
            archive_folder: Some("Processed".into()),
            quarantine_folder: Some("Unreadable".into()),
            ..config(self.port)
        }
    }
}

fn unreadable() -> Verdict {
    Verdict::Quarantine(Trouble::new(Reason::CorruptGzip, "a stream that ends too early"))
}

fn reports(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    let mut subjects: Vec<String> = numbers.into_iter().map(|number| format!("report {number}")).collect();
    subjects.sort();
    subjects
}

async fn archive(config: Config) -> (Pass, Vec<Seen>) {
    let (pass, seen) = Driver::new(config).run(|_| Verdict::Archive).await;
    (pass.unwrap(), seen)
}

/// Mails are archived and quarantined into folders that are created and subscribed to, and none is marked as read.
async fn ships_archives_and_quarantines(kind: Kind) {
    let server = Mailserver::start(kind);
    server.deliver(1..=4);
    let (pass, seen) = Driver::new(server.config())
        .run(|seen| {
            if String::from_utf8_lossy(seen.content.as_ref().unwrap()).contains("report 3") {
                unreadable()
            } else {
                Verdict::Archive
            }
        })
        .await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled, seen.len()), (4, 4, 0, 4));
    assert!(seen.iter().any(|seen| seen.content.as_ref().unwrap() == &mail(1)), "a mail was changed on its way");
    assert_eq!(server.subjects("INBOX"), reports([]));
    assert_eq!(server.subjects("Processed"), reports([1, 2, 4]));
    assert_eq!(server.subjects("Unreadable"), reports([3]));
    assert!(server.subjects_in(&kind.name("Processed"), "SEEN").is_empty(), "a mail was marked as read");
    assert!(server.is_subscribed("Processed") && server.is_subscribed("Unreadable"));
    let left = server.subjects_in("INBOX", "ALL").len();
    assert_eq!(left, if kind.expunges() { 0 } else { 4 }, "without UIDPLUS, others' mails could be expunged too");
    // The folders are found again by the next run, and nothing is shipped twice.
    server.deliver([5]);
    let (pass, _) = archive(server.config()).await;
    assert_eq!((pass.taken, pass.settled), (1, 1));
    assert_eq!(server.subjects("Processed"), reports([1, 2, 4, 5]));
}

/// Folder names may have levels, dates and non-ASCII characters, whichever delimiter the user writes.
async fn names_folders_its_own_way(kind: Kind) {
    let server = Mailserver::start(kind);
    let today = || Timestamp::now().strftime("%Y/%m").to_string();
    for (number, written, wire) in [
        (1, "Reports/Gelesene Entwürfe", "Reports/Gelesene Entw&APw-rfe"),
        (2, "Reports.R&D", "Reports/R&-D"),
        (3, "日本語/%Y/%m", "&ZeVnLIqe-/DATE"),
        (4, "INBOX/Below", "INBOX/Below"),
    ] {
        server.deliver([number]);
        let before = today();
        let (pass, _) = archive(Config { archive_folder: Some(written.into()), ..server.config() }).await;
        assert_eq!((pass.settled, pass.unsettled), (1, 0), "{written}");
        let found = [before, today()].iter().any(|date| {
            let name = wire.replace("DATE", date);
            let name = if number == 4 && kind.name("x") != "x" { name.replace('/', ".") } else { kind.name(&name) };
            server.subjects_in(&name, "UNDELETED") == reports([number])
        });
        assert!(found, "{written}: {}", server.client().does("LIST \"\" *"));
    }
    assert!(server.is_subscribed("Reports/R&-D"));
}

/// `after`: delete removes mails, seen marks them as read, keep leaves them unchanged; none is read again.
async fn settles_as_after_says(kind: Kind) {
    let server = Mailserver::start(kind);
    let after = |after| Config { archive_folder: None, after, ..server.config() };
    server.deliver(1..=3);
    let (pass, _) = archive(after(After::Delete)).await;
    assert_eq!((pass.settled, pass.unsettled), (3, 0));
    assert_eq!(server.subjects("INBOX"), reports([]));
    assert_eq!(server.subjects_in("INBOX", "ALL").len(), if kind.expunges() { 0 } else { 3 });

    server.deliver([4, 5]);
    for (wanted, seen) in [(After::Keep, reports([])), (After::Seen, reports([4, 5]))] {
        let (pass, _) = archive(after(wanted)).await;
        assert_eq!((pass.taken, pass.settled, pass.unsettled), (2, 2, 0), "{wanted:?}");
        assert_eq!(server.subjects("INBOX"), reports([4, 5]), "{wanted:?}");
        assert_eq!(server.subjects_in("INBOX", "UNDELETED SEEN"), seen, "{wanted:?}");
    }
}

/// Without a ledger, mails that stay get a keyword, and are skipped by the next run.
async fn marks_what_stays(kind: Kind) {
    let server = Mailserver::start(kind);
    let config = Config { archive_folder: None, quarantine_folder: None, after: After::Keep, ..server.config() };
    let forgetful = || Driver { forgets: true, ..Driver::new(config.clone()) };
    server.deliver(1..=3);
    let verdicts = [Verdict::Archive, unreadable(), Verdict::WithoutReport];
    let next = AtomicU32::new(0);
    let (pass, _) = forgetful().run(move |_| verdicts[next.fetch_add(1, Ordering::Relaxed) as usize].clone()).await;
    let pass = pass.unwrap();
    assert_eq!((pass.taken, pass.settled, pass.unsettled), (3, 3, 0));
    server.deliver([4]);
    for expected in [1, 0] {
        let (pass, _) = forgetful().run(|_| Verdict::Archive).await;
        assert_eq!(pass.unwrap().taken, expected);
    }
    assert_eq!(server.subjects_in("INBOX", "UNSEEN KEYWORD $DmarcShipped"), reports(1..=4));
    // A dry run skips marked mails too; shipping again ignores the marks.
    let (_, seen) = Driver { dry_run: true, ..forgetful() }.run(|_| Verdict::Archive).await;
    assert_eq!(seen.len(), 0);
    let (pass, _) = Driver { ships_again: true, ..forgetful() }.run(|_| Verdict::Archive).await;
    assert_eq!(pass.unwrap().taken, 4);
    assert_eq!(server.subjects("INBOX"), reports(1..=4));
}

/// Another client deletes mails and even the archive folder while a run is under way.
async fn bears_with_another_client(kind: Kind) {
    let server = Arc::new(Mailserver::start(kind));
    server.deliver(1..=6);
    archive(server.config()).await;
    server.deliver(7..=12);
    let (other, begun) = (server.clone(), AtomicU32::new(0));
    let (pass, seen) = Driver::new(server.config())
        .run(move |_| {
            if begun.fetch_add(1, Ordering::Relaxed) == 0 {
                let mut client = other.client();
                client.does("SELECT INBOX");
                let found = client.does("UID SEARCH UNDELETED");
                let uids: Vec<&str> =
                    found.lines().next().unwrap().trim_start_matches("* SEARCH ").split(' ').collect();
                client.does(&format!("UID STORE {},{} +FLAGS (\\Deleted)", uids[1].trim(), uids[4].trim()));
                client.does("EXPUNGE");
                client.does(&format!("DELETE \"{}\"", other.kind.name("Processed")));
            }
            Verdict::Archive
        })
        .await;
    let mut pass = pass.unwrap();
    assert_eq!(seen.len(), 6, "all were fetched before");
    if pass.unsettled > 0 {
        // A server may refuse a command for a set of which some mails are gone.
        pass = archive(server.config()).await.0;
    }
    assert_eq!(pass.unsettled, 0);
    assert_eq!(server.subjects("INBOX"), reports([]));
    let archived = server.subjects("Processed");
    assert_eq!(archived, reports([7, 9, 10, 12]), "the archive was made again");
}

/// Runs a source until another client finds that a condition is met.
pub async fn goes_on_until(
    config: Config,
    done: impl Fn() -> bool + Send + 'static,
    each: impl FnMut(&Seen) -> Verdict + Send + 'static,
) -> Vec<Seen> {
    let config = Config { poll_interval: Duration::from_millis(200), ..config };
    let driver = Driver { once: false, ..Driver::new(config) };
    let stop = driver.stop.clone();
    let watcher = tokio::task::spawn_blocking(move || {
        let waited = std::panic::catch_unwind(AssertUnwindSafe(|| {
            eventually(LONG / 2, "all is settled", || done().then_some(()))
        }));
        stop.cancel();
        waited.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let (pass, seen) = driver.run(each).await;
    watcher.await.unwrap();
    pass.unwrap();
    seen
}

/// A mail that could not be moved is not handed over again by the same process, and is moved in a later pass.
async fn refused_settles_are_retried_by_the_next_pass(kind: Kind) {
    let server = Arc::new(Mailserver::start(kind));
    server.deliver(1..=3);
    let mut refusals = 3;
    let relay = Relay::start(server.port, move |command| {
        let moves = command.starts_with("UID MOVE") || command.starts_with("UID COPY");
        refusals -= i32::from(moves && refusals > 0);
        if moves && refusals > 0 { Way::Refuse("NO [OVERQUOTA] no room for more") } else { Way::Pass }
    });
    let watched = server.clone();
    let done = move || watched.subjects("Processed") == reports(1..=3) && watched.subjects("INBOX") == reports([]);
    let config = Config { port: relay.port, ..server.config() };
    let seen = goes_on_until(config, done, |_| Verdict::Archive).await;
    assert_eq!(seen.len(), 3, "each mail was handed over once");
}

/// UIDVALIDITY change: a folder that is deleted and created again gives known UIDs to other mails, of which none is missed
/// or mistaken.
async fn recreated_folder_with_new_uidvalidity_is_relisted(kind: Kind) {
    let server = Arc::new(Mailserver::start(kind));
    let folder = kind.name("Reports");
    let fill = {
        let (server, folder) = (server.clone(), folder.clone());
        move |numbers: std::ops::RangeInclusive<usize>| {
            let mut client = server.client();
            client.does(&format!("CREATE \"{folder}\""));
            numbers.for_each(|number| client.append(&folder, &mail(number)));
        }
    };
    fill(1..=2);
    let config = Config { folder: folders(&["Reports"]), archive_folder: None, after: After::Keep, ..server.config() };
    let (taken, other) = (Arc::new(AtomicU32::new(0)), server.clone());
    let seen_so_far = taken.clone();
    let done = move || {
        if seen_so_far.load(Ordering::Relaxed) == 2 {
            // More than a second later: Dovecot derives UIDVALIDITY from the time.
            std::thread::sleep(Duration::from_millis(1100));
            other.client().does(&format!("DELETE \"{folder}\""));
            fill(3..=5);
            seen_so_far.store(100, Ordering::Relaxed);
        }
        seen_so_far.load(Ordering::Relaxed) == 103
    };
    let seen = goes_on_until(config, done, move |_| {
        taken.fetch_add(1, Ordering::Relaxed);
        Verdict::Archive
    })
    .await;
    let subjects: Vec<&[u8]> = seen.iter().map(|seen| &seen.content.as_ref().unwrap()[..]).collect();
    assert_eq!(subjects, [mail(1), mail(2), mail(3), mail(4), mail(5)]);
}

/// UIDs with gaps make long sets, which are split before servers would refuse the line.
async fn settles_many_scattered_mails(kind: Kind) {
    const MAILS: usize = 600;
    let server = Mailserver::start(kind);
    server.deliver(1..=MAILS);
    let mut client = server.client();
    client.does("SELECT INBOX");
    let odd: Vec<String> = (1..=MAILS).step_by(2).map(|number| number.to_string()).collect();
    odd.chunks(100).for_each(|some| {
        client.does(&format!("STORE {} +FLAGS.SILENT (\\Deleted)", some.join(",")));
    });
    client.does("EXPUNGE");
    let relay = Relay::start(server.port, |_| Way::Pass);
    let (pass, seen) = archive(Config { port: relay.port, ..server.config() }).await;
    assert_eq!((seen.len(), pass.settled, pass.unsettled), (MAILS / 2, MAILS as u64 / 2, 0));
    assert!(relay.commands().iter().all(|command| command.len() < 1000), "{:?}", relay.commands());
    let answer = client.does(&format!("STATUS \"{}\" (MESSAGES)", kind.name("Processed")));
    assert!(answer.contains(&format!("MESSAGES {}", MAILS / 2)), "{answer}");
}

/// The connection is cut at each step of settling, before or after the server has executed it: nothing is lost, nothing is
/// handed over twice, and all mails are settled in the end.
async fn survives_a_cut_at_each_step(kind: Kind) {
    let server = Mailserver::start(kind);
    let steps = [("UID MOVE", ""), ("UID COPY", ""), ("UID STORE", ""), ("UID EXPUNGE", "")];
    let listing = [("SELECT", ""), ("UID FETCH", "(UID FLAGS"), ("UID SEARCH", "")];
    let listing = listing.into_iter().chain([("UID FETCH", "BODY.PEEK[])")]);
    let steps = steps.into_iter().chain(listing);
    let ways = steps.flat_map(|step| [(step, Way::CutBefore), (step, Way::CutAfter)]);
    for (round, ((step, of), way)) in ways.enumerate() {
        let numbers = (10 * round + 1)..=(10 * round + 2);
        server.deliver(numbers.clone());
        let mut cut = false;
        let relay = Relay::start(server.port, move |command| {
            let now = command.starts_with(step) && command.contains(of) && !cut;
            cut |= now;
            match (step, of) {
                _ if now => way,
                // With a census there is no SEARCH: it is refused.
                ("UID SEARCH", _) if command.contains("(UID FLAGS") => Way::Refuse("BAD what?"),
                _ => Way::Pass,
            }
        });
        let (pass, seen) = archive(Config { port: relay.port, ..server.config() }).await;
        let is_sent = |command: &String| command.starts_with(step) && command.contains(of);
        assert!(!step.ends_with("FETCH") || relay.commands().iter().any(is_sent), "{of} was not sent");
        assert_eq!((seen.len(), pass.unsettled), (2, 0), "{step} {way:?}");
        assert_eq!(server.subjects("INBOX"), reports([]), "{step} {way:?}");
        let mut archived = server.subjects("Processed");
        archived.retain(|subject| numbers.clone().any(|number| *subject == format!("report {number}")));
        if (step, way) == ("UID COPY", Way::CutAfter) {
            // Nothing tells that the mails were copied: better twice in the archive than not at all.
            archived.dedup();
        }
        assert_eq!(archived, reports(numbers), "{step} {way:?}");
    }
}

/// After NO or BAD to a command of settling, the mail stays where it was, and the next run settles it.
async fn bears_a_refusal_of_each_step(kind: Kind) {
    let server = Mailserver::start(kind);
    for (round, (step, answer)) in ["UID MOVE", "UID COPY", "UID STORE", "UID EXPUNGE", "CREATE", "SUBSCRIBE"]
        .into_iter()
        .flat_map(|step| [(step, "NO not today"), (step, "BAD what?")])
        .enumerate()
    {
        server.deliver([round]);
        let relay = Relay::start(
            server.port,
            move |command| {
                if command.starts_with(step) { Way::Refuse(answer) } else { Way::Pass }
            },
        );
        let config = Config { archive_folder: Some(format!("Round{round}/%Y")), port: relay.port, ..server.config() };
        let (pass, _) = archive(config.clone()).await;
        let is_harmless = relay.count(step) == 0 || step == "SUBSCRIBE";
        assert_eq!(
            (pass.taken, pass.settled, pass.unsettled),
            if is_harmless { (1, 1, 0) } else { (1, 0, 1) },
            "{step} {answer}"
        );
        archive(Config { port: server.port, ..config }).await;
        assert_eq!(server.subjects("INBOX"), reports([]), "{step} {answer}");
        let mut archived = server.subjects(&Timestamp::now().strftime(&format!("Round{round}/%Y")).to_string());
        if ["UID STORE", "UID EXPUNGE"].contains(&step) {
            archived.dedup(); // the second run does not know that the first one copied the mail
        }
        assert_eq!(archived, reports([round]), "{step} {answer}");
    }
}

/// After a restart, a report whose mail could not be moved, or is to stay, is not shipped again, and the mail is settled
/// when possible; with a ledger, and with the keyword if there is none.
fn ships_nothing_twice_over_restarts(kind: Kind) {
    let (server, batch) = (Mailserver::start(kind), Batch::generate(7, 3, 1..=2, 0));
    let mut client = server.client();
    let mut deliver = || batch.mails.iter().for_each(|mail| client.append("INBOX", mail));
    let refuses = Arc::new(AtomicBool::new(true));
    let refused = refuses.clone();
    let relay = Relay::start(server.port, move |command| {
        let moves = command.starts_with("UID MOVE") || command.starts_with("UID COPY");
        if moves && refused.load(Ordering::Relaxed) { Way::Refuse("NO [OVERQUOTA] full") } else { Way::Pass }
    });
    let source = json!({"type": "imap", "host": "localhost", "port": relay.port, "security": "none", "user": USER,
        "password": PASSWORD});
    let rows =
        |finished: &Finished| finished.events().iter().filter(|event| event["event_type"] == "dmarc_aggregate").count();

    deliver();
    let (workplace, all) = (Workplace::new(), batch.row_count());
    let archiving = workplace.config(with(source.clone(), json!({"archive_folder": "Processed"})), stdout());
    let blocked = workplace.once(&archiving).run().says(&["OVERQUOTA", "raise its quota"]);
    assert_eq!((rows(&blocked), server.unmarked("INBOX")), (all, 3));
    refuses.store(false, Ordering::Relaxed);
    let freed = workplace.once(&archiving).exits(0);
    assert_eq!((rows(&freed), server.unmarked("INBOX")), (0, 0));

    deliver();
    for data_dir in [true, false] {
        let workplace = Workplace::new();
        let mut keeping = workplace.config(with(source.clone(), json!({"after": "keep"})), stdout());
        if !data_dir {
            keeping.as_object_mut().unwrap().remove("data_dir");
        }
        assert_eq!(rows(&workplace.once(&keeping).exits(0)), all);
        let fetched = relay.count("UID FETCH");
        assert_eq!(rows(&workplace.once(&keeping).exits(0)), 0);
        assert_eq!(relay.count("UID FETCH"), fetched, "kept mails are not even fetched");
    }
}

macro_rules! against {
    ($($module:ident: $kind:expr,)*) => {
        $(mod $module {
            use super::*;

            #[tokio::test]
            async fn ships_archives_and_quarantines() {
                super::ships_archives_and_quarantines($kind).await;
            }

            #[tokio::test]
            async fn names_folders_its_own_way() {
                super::names_folders_its_own_way($kind).await;
            }

            #[tokio::test]
            async fn settles_as_after_says() {
                super::settles_as_after_says($kind).await;
            }

            #[tokio::test]
            async fn marks_what_stays() {
                super::marks_what_stays($kind).await;
            }

            #[tokio::test]
            async fn bears_with_another_client() {
                super::bears_with_another_client($kind).await;
            }

            #[tokio::test]
            async fn refused_settles_are_retried_by_the_next_pass() {
                super::refused_settles_are_retried_by_the_next_pass($kind).await;
            }

            #[tokio::test]
            async fn recreated_folder_with_new_uidvalidity_is_relisted() {
                super::recreated_folder_with_new_uidvalidity_is_relisted($kind).await;
            }

            #[tokio::test]
            async fn settles_many_scattered_mails() {
                super::settles_many_scattered_mails($kind).await;
            }

            #[test]
            fn ships_nothing_twice_over_restarts() {
                super::ships_nothing_twice_over_restarts($kind);
            }

            #[tokio::test]
            async fn survives_a_cut_at_each_step() {
                super::survives_a_cut_at_each_step($kind).await;
            }

            #[tokio::test]
            async fn bears_a_refusal_of_each_step() {
                super::bears_a_refusal_of_each_step($kind).await;
            }
        })*
    };
}

against! {
    dovecot: Kind::Dovecot,
    dovecot_dbox: Kind::DovecotDbox,
    dovecot_bare: Kind::DovecotBare,
    dovecot_without_move: Kind::DovecotNoMove,
    cyrus: Kind::Cyrus,
    courier: Kind::Courier,
}
