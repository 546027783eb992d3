use std::{
    fs,
    io::Write,
    os::unix::fs::symlink,
    sync::Mutex,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    source::{PLACES_AT_ONCE, PlaceStatus, SourceContext},
    trouble::{Reason, Trouble},
};

/// Creates a folder with these files, each containing its own name.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

/// Returns the results of a walk: paths below the folder with `#part`, and the content read.
fn seen(path: &Path, limits: &Limits) -> Vec<(String, Result<String, Reason>)> {
    let below =
        |name: &str| name.strip_prefix(&*path.to_string_lossy()).unwrap_or(name).trim_start_matches('/').to_owned();
    walk("test".into(), path, limits)
        .map(|step| match step {
            Step::Unreadable(unreadable) => panic!("{unreadable:?}"),
            Step::Deleted => ("deleted".to_owned(), Ok(String::new())),
            Step::Found(found) => match found.read().unwrap() {
                (Place::File { path, part, .. }, content) => {
                    let name = if part == 0 { below(&path) } else { format!("{}#{part}", below(&path)) };
                    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
                    (name, content.map(text).map_err(|trouble| trouble.reason))
                }
                (place, _) => panic!("{place:?}"),
            },
        })
        .collect()
}

fn names(path: &Path) -> Vec<String> {
    seen(path, &Limits::default()).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn folders_are_walked_in_path_order() {
    let folder = folder(&["b.xml", "a/2.gz", "a/1.gz", "c/d/e.zip", ".hidden", ".git/config", "x.tmp", "y.part"]);
    let all = seen(folder.path(), &Limits::default());
    let wanted = ["a/1.gz", "a/2.gz", "b.xml", "c/d/e.zip"];
    assert_eq!(all, wanted.map(|name| (name.to_owned(), Ok(name.to_owned()))));
}

#[test]
fn maildir_cur_and_new_are_read_and_tmp_is_not() {
    let maildir = folder(&["cur/1:2,S", "new/2", "tmp/3", "dovecot-uidlist", ".index/cur/4"]);
    assert_eq!(names(maildir.path()), ["cur/1:2,S", "new/2"]);
    let places: Vec<Place> = walk("test".into(), maildir.path(), &Limits::default())
        .map(|step| match step {
            Step::Found(found) => found.place,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(places.iter().all(Place::is_in_mailbox));
}

/// Creates a Maildir in the folder.
fn maildir(folder: &Path, mails: &[&str]) {
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(folder.join(part)).unwrap();
    }
    for mail in mails {
        fs::write(folder.join(mail), mail).unwrap();
    }
}

/// Regression: folders of a Maildir were passed over, and nothing was said.
#[test]
fn the_folders_of_a_maildir_are_read() {
    let top = tempfile::tempdir().unwrap();
    maildir(top.path(), &["cur/1:2,S", "tmp/9"]);
    maildir(&top.path().join(".Reports"), &["cur/2:2,S", "new/3", "tmp/9"]);
    maildir(&top.path().join(".Reports.2026"), &["new/4"]);
    maildir(&top.path().join("by-file-system"), &["new/5"]);
    maildir(&top.path().join("by-file-system/deeper"), &["new/6"]);
    fs::create_dir_all(top.path().join(".cache/cur")).unwrap();
    fs::write(top.path().join(".cache/cur/7"), "no Maildir").unwrap();
    fs::write(top.path().join("subscriptions"), "Reports").unwrap();
    let all = [
        "cur/1:2,S",
        ".Reports/cur/2:2,S",
        ".Reports/new/3",
        ".Reports.2026/new/4",
        "by-file-system/new/5",
        "by-file-system/deeper/new/6",
    ];
    assert_eq!(names(top.path()), all);
    // Above the Maildir, the same folders are found.
    let above = tempfile::tempdir().unwrap();
    maildir(&above.path().join("ann/.Reports"), &["new/1"]);
    maildir(&above.path().join(".Reports"), &["new/2"]);
    assert_eq!(names(above.path()), [".Reports/new/2", "ann/.Reports/new/1"]);
}

/// Regression: mails that are marked as deleted were read.
#[test]
fn mails_of_a_maildir_that_are_marked_as_deleted_are_not_read() {
    let top = tempfile::tempdir().unwrap();
    maildir(
        top.path(),
        &["cur/1:2,ST", "cur/2:2,S", "cur/3:2,Ta", "cur/4;2,T", "cur/5,S=1,W=2:2,FRST", "cur/T:2,", "new/Test"],
    );
    assert_eq!(names(top.path()), ["deleted", "cur/2:2,S", "deleted", "deleted", "deleted", "cur/T:2,", "new/Test"]);
    assert_eq!(names(&top.path().join("cur/1:2,ST")), [""], "it was asked for");
    let plain = folder(&["1:2,T"]);
    assert_eq!(names(plain.path()), ["1:2,T"], "flags are those of Maildirs");
}

#[test]
fn mbox_mails_have_separate_places() {
    let folder = folder(&["a.xml"]);
    let mbox = folder.path().join("mbox");
    fs::write(&mbox, "From a\nSubject: 1\n\nhi\n\nFrom b\nSubject: 2\n\nho\n").unwrap();
    let all = seen(folder.path(), &Limits::default());
    let wanted = [("a.xml", "a.xml"), ("mbox#1", "Subject: 1\n\nhi\n"), ("mbox#2", "Subject: 2\n\nho\n")];
    assert_eq!(all, wanted.map(|(name, text)| (name.to_owned(), Ok(text.to_owned()))));
    let size = fs::metadata(&mbox).unwrap().len();
    for step in walk("test".into(), &mbox, &Limits::default()) {
        let Step::Found(found) = step else { panic!("{step:?}") };
        assert!(matches!(found.place, Place::File { size: told, .. } if told == size));
        assert!(found.place.is_in_mailbox());
    }
}

#[test]
fn stdin_is_one_file_or_an_mbox() {
    let all = |input: &'static str, limit| -> Vec<Option<Bytes>> {
        let limits = Limits { mail_bytes: limit, ..Limits::default() };
        let step = |step| match step {
            Step::Found(found) => match found.read().unwrap() {
                (Place::Stdin { .. }, content) => content.ok(),
                (place, _) => panic!("{place:?}"),
            },
            other => panic!("{other:?}"),
        };
        walk::walk_input("test".into(), Box::new(input.as_bytes()), &limits).map(step).collect()
    };
    assert_eq!(all("<feedback/>", 11), [Some(Bytes::from_static(b"<feedback/>"))]);
    assert_eq!(all("<feedback/>", 10), [None]);
    assert_eq!(all("", 10), [Some(Bytes::new())]);
    let mails = all("From a\n\n1\n\nFrom b\n\n2\n", 10);
    assert_eq!(mails, [Some(Bytes::from_static(b"\n1\n")), Some(Bytes::from_static(b"\n2\n"))]);
}

#[test]
fn symlinks_to_files_are_followed_and_to_folders_are_not() {
    let folder = folder(&["a/1.xml"]);
    symlink(folder.path(), folder.path().join("a/loop")).unwrap();
    symlink("1.xml", folder.path().join("a/2.xml")).unwrap();
    assert_eq!(names(folder.path()), ["a/1.xml", "a/2.xml"]);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    symlink(folder.path(), &link).unwrap();
    assert_eq!(names(&link), ["a/1.xml", "a/2.xml"]);
}

#[test]
fn special_files_are_skipped_unless_given_by_name() {
    let folder = folder(&["a.xml"]);
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert_eq!(names(folder.path()), ["a.xml"]);
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::File::options().write(true).open(pipe).unwrap().write_all(b"<feedback/>").unwrap()
    });
    assert_eq!(seen(&pipe, &Limits::default()), [(String::new(), Ok("<feedback/>".to_owned()))]);
    writer.join().unwrap();
}

#[test]
fn a_file_over_mail_bytes_is_handed_over_as_mail_too_large() {
    let folder = folder(&["a", "large"]);
    let limits = Limits { mail_bytes: 4, ..Limits::default() };
    let wanted = [("a".to_owned(), Ok("a".to_owned())), ("large".to_owned(), Err(Reason::MailTooLarge))];
    assert_eq!(seen(folder.path(), &limits), wanted);
}

#[test]
fn a_file_that_changes_between_finding_and_reading_is_not_read() {
    let folder = folder(&["a"]);
    let mut walker = walk("test".into(), folder.path(), &Limits::default());
    let Some(Step::Found(found)) = walker.next() else { panic!("nothing found") };
    let file = fs::File::options().append(true).open(folder.path().join("a")).unwrap();
    (&file).write_all(b"more").unwrap();
    assert!(found.read().unwrap_err().error.to_string().contains("changed"));
    let Some(Step::Found(found)) = walk("test".into(), folder.path(), &Limits::default()).next() else {
        panic!("nothing found")
    };
    file.set_modified(UNIX_EPOCH + Duration::from_secs(1)).unwrap();
    assert!(found.read().is_err());
}

/// A pipeline that remembers the mails with a verdict, and the source that it runs.
struct Bench {
    mails: mpsc::Receiver<Mail>,
    verdicts: Verdicts,
    memory: Arc<Remembered>,
    stop: CancellationToken,
    source: JoinHandle<Result<Pass, SourceError>>,
}

#[derive(Default)]
struct Remembered {
    known: Mutex<HashSet<Place>>,
    /// Number of places in each look-up.
    asked: Mutex<Vec<usize>>,
    /// A mail that is settled during the next look-up.
    settled: Mutex<Option<(Mail, Verdicts)>>,
}

type Verdicts = mpsc::UnboundedSender<(MailRef, Verdict)>;

impl SourceContext for Remembered {
    fn look_up(&self, places: Vec<Place>) -> BoxFuture<'static, Vec<PlaceStatus>> {
        self.asked.lock().unwrap().push(places.len());
        let mut known = self.known.lock().unwrap();
        let status = |place| PlaceStatus { is_known: known.contains(place), suspected: suspected(place) };
        let answer = places.iter().map(status).collect();
        let settled = self.settled.lock().unwrap().take();
        known.extend(settled.iter().map(|(mail, _)| mail.place.clone()));
        Box::pin(async move {
            if let Some((mail, verdicts)) = settled {
                verdicts.send((mail.mail, Verdict::Archive)).unwrap();
                tokio::task::yield_now().await;
            }
            answer
        })
    }
}

/// As the name of the file says: `suspect-7` is suspected since second 7.
fn suspected(place: &Place) -> Option<Timestamp> {
    let Place::File { path, .. } = place else { return None };
    let (_, second) = path.rsplit_once("suspect-")?;
    Timestamp::from_second(second.parse().unwrap()).ok()
}

impl Bench {
    fn start(path: &Path, once: bool, budget_bytes: u32) -> Self {
        let (to_pipeline, mails) = mpsc::channel(1);
        let (verdicts, to_source) = mpsc::unbounded_channel();
        let (memory, stop) = (Arc::new(Remembered::default()), CancellationToken::new());
        let budget = Arc::new(Semaphore::new(budget_bytes as usize));
        let intake =
            Intake::new(to_pipeline, to_source, budget, budget_bytes, memory.clone(), once, false, stop.clone());
        let config = config::source::File {
            path: path.to_owned(),
            poll_interval: Duration::from_millis(1),
            tenant: None,
            senders: config::senders::Senders::default(),
        };
        let source = Box::new(new("test".into(), config, Limits::default()));
        Bench { mails, verdicts, memory, stop, source: tokio::spawn(source.run(intake)) }
    }

    async fn mail(&mut self) -> (Mail, String) {
        let mail = self.mails.recv().await.unwrap();
        let text = String::from_utf8(mail.content.clone().unwrap().to_vec()).unwrap();
        (mail, text)
    }

    fn archive(&self, mail: &Mail) {
        self.memory.known.lock().unwrap().insert(mail.place.clone());
        self.verdicts.send((mail.mail, Verdict::Archive)).unwrap();
    }
}

#[tokio::test]
async fn one_pass_ends_when_every_mail_has_its_verdict() {
    let folder = folder(&["a", "b"]);
    let mut bench = Bench::start(folder.path(), true, 1000);
    let (a, text) = bench.mail().await;
    assert_eq!(text, "a");
    let (b, text) = bench.mail().await;
    assert_eq!(text, "b");
    bench.verdicts.send((b.mail, Verdict::Quarantine(Trouble::new(Reason::Empty, "")))).unwrap();
    tokio::task::yield_now().await;
    assert!(!bench.source.is_finished());
    bench.archive(&a);
    let pass = bench.source.await.unwrap().unwrap();
    assert_eq!(pass, Pass { taken: 2, settled: 2, ..Pass::default() });
    assert!(folder.path().join("a").exists() && folder.path().join("b").exists());
}

#[tokio::test]
async fn suspect_mails_are_read_last_oldest_first() {
    let folder = folder(&["a-suspect-2", "b", "c-suspect-1", "d-suspect-2", "e"]);
    let mut bench = Bench::start(folder.path(), true, 1000);
    for wanted in ["b", "e", "c-suspect-1", "a-suspect-2", "d-suspect-2"] {
        let (mail, text) = bench.mail().await;
        assert_eq!(text, wanted);
        bench.archive(&mail);
    }
    assert_eq!(bench.source.await.unwrap().unwrap().taken, 5);
}

#[tokio::test]
async fn known_files_are_skipped_until_they_change() {
    let folder = folder(&["a", "b"]);
    let mut bench = Bench::start(folder.path(), false, 1000);
    let (a, _) = bench.mail().await;
    let (b, _) = bench.mail().await;
    // Without a verdict, neither is handed over again.
    fs::write(folder.path().join("c"), "c").unwrap();
    let (c, text) = bench.mail().await;
    assert_eq!(text, "c");
    for mail in [&a, &b, &c] {
        bench.archive(mail);
    }
    fs::write(folder.path().join("a"), "changed").unwrap();
    let (_, text) = bench.mail().await;
    assert_eq!(text, "changed");
}

#[tokio::test]
async fn places_are_looked_up_in_batches() {
    let names: Vec<_> = (0..=PLACES_AT_ONCE).map(|name| name.to_string()).collect();
    let folder = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut bench = Bench::start(folder.path(), true, 1000);
    for _ in &names {
        let (mail, _) = bench.mail().await;
        bench.archive(&mail);
    }
    bench.source.await.unwrap().unwrap();
    assert_eq!(*bench.memory.asked.lock().unwrap(), [PLACES_AT_ONCE, 1]);
}

#[tokio::test]
async fn a_file_that_changes_while_others_are_read_is_read_as_it_is_then() {
    let folder = folder(&["aaaa", "bbbb"]);
    let mut bench = Bench::start(folder.path(), true, 6);
    let (a, _) = bench.mail().await;
    // There is no room for the second file yet.
    fs::write(folder.path().join("bbbb"), "other").unwrap();
    bench.archive(&a);
    drop(a);
    let (b, text) = bench.mail().await;
    assert_eq!(text, "other");
    bench.archive(&b);
    assert_eq!(bench.source.await.unwrap().unwrap().taken, 2);
}

/// A mail becomes known just before its verdict arrives: a look-up that began before it was known must not be believed.
#[tokio::test]
async fn a_mail_that_is_settled_during_the_look_up_is_not_read_again() {
    let folder = folder(&["a"]);
    let mut bench = Bench::start(folder.path(), false, 1000);
    let (a, _) = bench.mail().await;
    *bench.memory.settled.lock().unwrap() = Some((a, bench.verdicts.clone()));
    while bench.memory.settled.lock().unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    fs::write(folder.path().join("b"), "b").unwrap();
    let (_, text) = bench.mail().await;
    assert_eq!(text, "b", "the first one was handed over again");
}

#[tokio::test]
async fn reading_waits_for_the_memory_budget() {
    let folder = folder(&["aaaa", "bbbb"]);
    let mut bench = Bench::start(folder.path(), true, 6);
    let (a, _) = bench.mail().await;
    assert_eq!(a.permit.num_permits(), 4);
    assert!(bench.mails.try_recv().is_err());
    bench.archive(&a);
    drop(a);
    // Both would take 8 of the 6 bytes.
    let (b, _) = bench.mail().await;
    assert_eq!(b.permit.num_permits(), 4);
    bench.archive(&b);
    assert_eq!(bench.source.await.unwrap().unwrap().taken, 2);
}

#[tokio::test]
async fn a_stop_ends_the_source_once_its_mails_are_settled() {
    let folder = folder(&["a", "b", "c", "d"]);
    let mut bench = Bench::start(folder.path(), false, 1);
    let (a, _) = bench.mail().await;
    bench.stop.cancel();
    bench.verdicts.send((a.mail, Verdict::Leave)).unwrap();
    let pass = bench.source.await.unwrap().unwrap();
    assert_eq!((pass.taken, pass.settled), (1, 1));
}

#[tokio::test]
async fn unreadable_files_are_reported_after_the_others_were_read() {
    let folder = folder(&["a", "c"]);
    symlink("nowhere", folder.path().join("b")).unwrap();
    let mut bench = Bench::start(folder.path(), true, 1000);
    for _ in 0..2 {
        let (mail, _) = bench.mail().await;
        bench.archive(&mail);
    }
    let error = bench.source.await.unwrap().unwrap_err();
    assert!(matches!(error, SourceError::NoInput(_)));
    assert!(error.to_string().contains("/b cannot be read: "), "{error}");
}

#[tokio::test]
async fn a_missing_path_ends_a_single_pass_and_is_polled_otherwise() {
    let folder = folder(&[]);
    let path = folder.path().join("later.xml");
    let bench = Bench::start(&path, true, 1000);
    assert!(matches!(bench.source.await.unwrap(), Err(SourceError::NoInput(_))));
    let mut bench = Bench::start(&path, false, 1000);
    fs::write(folder.path().join("earlier"), "here").unwrap();
    fs::rename(folder.path().join("earlier"), &path).unwrap();
    assert_eq!(bench.mail().await.1, "here");
}

#[tokio::test]
async fn the_source_ends_when_the_pipeline_is_closed() {
    let folder = folder(&["a"]);
    let mut bench = Bench::start(folder.path(), true, 1000);
    bench.mail().await;
    drop(bench.verdicts);
    assert!(matches!(bench.source.await.unwrap(), Err(SourceError::Stopped)));
}
