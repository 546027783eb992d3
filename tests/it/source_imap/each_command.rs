//! NO, BAD and the end of the connection, at every command that a single run sends, and at every position in its response.
//! In all cases, the program reports the fault with the right exit code, and after the next run every mail is archived and
//! every row was shipped once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use super::scripted::{Act, Scripted};
use crate::support::{
    ca::Ca,
    delivery::{assert_rows, times_told},
    process::{Finished, ndjson},
    reports::Batch,
    workplace::{Workplace, with},
};

use Fault::{Bad, EofAfterUntagged, EofAtOnce, EofBeforeTagged, EofInLiteral, No};
use When::{Leaving, Listing, Once, Opening, Outset, Working};

/// A command, the conditions under which a run sends it, and the effect of NO and BAD.
#[derive(Clone, Copy)]
struct Case {
    command: &'static str,
    capabilities: &'static str,
    when: When,
    /// Exit codes if the command is refused once, and if it is always refused.
    refused: [i32; 2],
    /// The archive folder does not exist.
    makes_folder: bool,
    starttls: bool,
    dry_run: bool,
    /// The mails are larger than the parts in which large mails are fetched.
    large: bool,
}

/// Phase of a run in which a command is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Before the first session is open: a single run does not wait for a second one.
    Opening,
    Listing,
    /// One of the pipelined first commands of a session, which is retried with fewer of them.
    Outset,
    /// Sent in the first session only.
    Once,
    Working,
    /// After all work is done.
    Leaving,
}

/// Fault in place of the normal response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    No,
    Bad,
    /// The connection ends before the response begins.
    EofAtOnce,
    EofAfterUntagged,
    EofInLiteral,
    /// The server has carried out the command and sent all of the response but the tagged line.
    EofBeforeTagged,
}

impl Fault {
    fn act(self) -> Act {
        match self {
            No => Act::Say("TAG NO not today\r\n".into()),
            Bad => Act::Say("TAG BAD not today\r\n".into()),
            EofAtOnce => Act::SayAndHangUp(String::new()),
            EofAfterUntagged => Act::SayAndHangUp("* OK still here\r\n".into()),
            EofInLiteral => Act::SayAndHangUp("* 1 FETCH (UID 1 BODY[] {500}\r\nSubj".into()),
            EofBeforeTagged => Act::HangUpUnfinished,
        }
    }

    fn is_refusal(self) -> bool {
        matches!(self, No | Bad)
    }
}

impl Case {
    /// `command`: prefix of the command; after `UID FETCH`, a part of it.
    fn of(command: &'static str, when: When, refused: [i32; 2]) -> Self {
        Self {
            command,
            capabilities: "IMAP4rev1 MOVE UIDPLUS AUTH=PLAIN SASL-IR",
            when,
            refused,
            makes_folder: false,
            starttls: false,
            dry_run: false,
            large: false,
        }
    }

    fn offering(self, capabilities: &'static str) -> Self {
        Self { capabilities, ..self }
    }

    fn is(&self, sent: &str) -> bool {
        match self.command.strip_prefix("UID FETCH ") {
            Some(asked) => sent.starts_with("UID FETCH ") && sent.contains(asked),
            None => sent.starts_with(self.command),
        }
    }

    fn codes(&self, fault: Fault, always: bool) -> &[i32] {
        match (self.when, fault) {
            (_, No | Bad) => &self.refused[usize::from(always)..][..1],
            (Leaving | Once, _) => &[0],
            // The data that arrived before may have been all that was needed.
            (Working, EofBeforeTagged) if always => &[0, 69],
            (Listing, _) if !always => &[0, 69],
            (Outset, _) if !always => &[0],
            (Working, _) if !always => &[0],
            _ => &[69],
        }
    }

    /// Runs all faults, each met once and always.
    fn holds(&self) {
        thread::scope(|scope| {
            for fault in [No, Bad, EofAtOnce, EofAfterUntagged, EofInLiteral, EofBeforeTagged] {
                for always in [false, true] {
                    scope.spawn(move || self.meets(fault, always));
                }
            }
        });
    }

    fn meets(&self, fault: Fault, always: bool) {
        let command = self.command;
        let most = if always { usize::MAX } else { 1 };
        let times = Arc::new(AtomicUsize::new(most));
        let site = Site::start(self, fault, times.clone());
        let run = site.run(self.dry_run);
        let code = run.status.code().unwrap();
        let what = format!("{fault:?} to {command}, always {always}: exit code {code}, {}", run.stderr);
        assert!(self.codes(fault, always).contains(&code), "{what}");
        assert!(times.swap(0, Ordering::Relaxed) < most, "the command was never sent; {what}");
        assert!(!run.stderr.contains("bug"), "{what}");
        let reason = if fault.is_refusal() { "not today" } else { "localhost closed the connection" };
        assert!(code == 0 || run.stderr.contains(reason), "{what}");
        assert!(code != 0 || self.dry_run || site.left() == 0, "{what}");

        let next = site.run(false);
        assert_eq!(next.status.code(), Some(0), "after {what}; then {}", next.stderr);
        site.all_is_settled(&what);
    }
}

struct Site {
    server: Scripted,
    batch: Batch,
    workplace: Workplace,
    config: Value,
    /// The server's runtime.
    _runtime: Runtime,
    _ca: Ca,
}

impl Site {
    /// Starts a server with two reports, at which this fault occurs `times` times.
    fn start(case: &Case, fault: Fault, times: Arc<AtomicUsize>) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let case = *case;
        let server = runtime.block_on(Scripted::start(0, move |_, sent| {
            let left = |times: usize| times.checked_sub(1);
            match case.is(sent) && times.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok() {
                true => fault.act(),
                false => Act::Honest,
            }
        }));
        let mut batch = Batch::generate(3, 2, 2..=3, 0);
        if case.large {
            batch.mails.iter_mut().for_each(enlarge);
        }
        let (ca, workplace) = (Ca::new(), Workplace::new());
        server.set(|state| {
            state.mails = (1..).zip(batch.mails.iter().cloned()).collect();
            state.capabilities = case.capabilities;
            state.missing = case.makes_folder.then_some("Done");
            state.identity = Some(ca.server());
        });
        let security = if case.starttls { "starttls" } else { "none" };
        let source = with(server.source(), json!({"security": security, "tls": {"ca_file": ca.file()}}));
        let sink = json!({"type": "file", "path": workplace.path("out.ndjson")});
        let config = with(workplace.config(source, sink), json!({"give_up_after": "1s"}));
        Self { server, batch, workplace, config, _runtime: runtime, _ca: ca }
    }

    fn run(&self, dry: bool) -> Finished {
        let options: &[&str] = if dry { &["--dry-run", "--config"] } else { &["--config"] };
        self.workplace.shipper(&[&["run", "--once"], options].concat(), &self.config).run()
    }

    /// Returns the number of mails that are not settled.
    fn left(&self) -> usize {
        let state = self.server.state.lock().unwrap();
        state.mails.keys().filter(|uid| !state.deleted.contains(uid)).count()
    }

    fn all_is_settled(&self, what: &str) {
        assert_eq!(self.left(), 0, "{what}");
        let state = self.server.state.lock().unwrap();
        let (moved, mut copied) = (state.moved.clone(), state.copied.clone());
        copied.sort_unstable();
        copied.dedup(); // a mail is copied again if the response to COPY was lost
        assert_eq!([moved, copied].concat(), [1, 2], "{what}");
        let events = ndjson(&self.workplace.read("out.ndjson"));
        assert_rows(&self.batch, &events);
        assert!(times_told(&events).values().all(|times| *times == 1), "{what}");
    }
}

/// Makes a mail longer than two parts.
fn enlarge(mail: &mut Vec<u8>) {
    let text = std::str::from_utf8(mail).unwrap();
    let line = "An aggregate report is attached.\r\n";
    *mail = text.replacen(line, &line.repeat(70_000), 1).into_bytes();
}

macro_rules! faults_at {
    ($($name:ident: $case:expr;)*) => { $(#[test] fn $name() { $case.holds(); })* };
}

const NO_MOVE: &str = "IMAP4rev1 UIDPLUS";

faults_at! {
    capability: Case::of("CAPABILITY", Opening, [69, 69]);
    starttls: Case {
        starttls: true,
        ..Case::of("STARTTLS", Opening, [69, 69]).offering("IMAP4rev1 MOVE UIDPLUS STARTTLS")
    };
    login: Case::of("LOGIN", Opening, [77, 77]).offering("IMAP4rev1 MOVE UIDPLUS");
    authenticate: Case::of("AUTHENTICATE", Opening, [77, 77]);
    // Without the naming scheme, names are used as written.
    namespace: Case::of("NAMESPACE", Outset, [0, 0]).offering("IMAP4rev1 MOVE UIDPLUS NAMESPACE");
    list: Case::of("LIST", Outset, [0, 0]);
    // It is retried with another name.
    create: Case { makes_folder: true, ..Case::of("CREATE", Working, [0, 78]) };
    // Cosmetic: the next session finds that the folder exists.
    subscribe: Case { makes_folder: true, ..Case::of("SUBSCRIBE", Once, [0, 0]) };
    // The first SELECT is among the first commands of a session; it is repeated when the folder is read.
    select: Case::of("SELECT", Outset, [0, 69]);
    examine: Case { dry_run: true, ..Case::of("EXAMINE", Outset, [0, 69]) };
    search: Case::of("UID SEARCH", Listing, [69, 69]);
    census: Case::of("UID FETCH (UID FLAGS RFC822.SIZE)", Once, [0, 0]);
    sizes: Case::of("UID FETCH (UID RFC822.SIZE)", Working, [0, 69]);
    bodies: Case::of("UID FETCH BODY.PEEK[])", Working, [0, 75]);
    parts: Case { large: true, ..Case::of("UID FETCH .1048576>", Working, [0, 75]) };
    moving: Case::of("UID MOVE", Working, [75, 75]);
    copying: Case::of("UID COPY", Working, [75, 75]).offering(NO_MOVE);
    marking: Case::of("UID STORE", Working, [75, 75]).offering(NO_MOVE);
    expunging: Case::of("UID EXPUNGE", Working, [75, 75]).offering(NO_MOVE);
    logout: Case::of("LOGOUT", Leaving, [0, 0]);
}
