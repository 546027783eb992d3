//! Test driver in place of the pipeline: receives mails, and returns the verdict that a test wants for each.

use std::{
    collections::HashSet,
    future::{Future, ready},
    sync::{Arc, Mutex},
    time::Duration,
};

use dmarc_shipper::{
    config::{
        folder::FolderName,
        search::Search,
        secret::Secret,
        senders::Senders,
        source::{After, Auth, Credentials, Imap, Security, Watch, WithoutReport},
        tls::Tls,
    },
    limits::Limits,
    source::{Intake, Pass, Place, PlaceStatus, Source, SourceContext, SourceError, Verdict, imap::ImapSource},
    trouble::Trouble,
};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::support::{
    ca::Ca,
    dovecot::{Dovecot, Options, PASSWORD, USER},
    maildir::Maildir,
};

/// A Dovecot, and the CA that signed its certificate.
pub struct Server {
    pub dovecot: Dovecot,
    pub ca: Ca,
}

impl Server {
    pub fn start() -> Self {
        Self::with(&Options::default())
    }

    pub fn with(options: &Options) -> Self {
        let ca = Ca::new();
        Self { dovecot: Dovecot::with(&ca.server_named("localhost"), options), ca }
    }

    /// Starts a server with this number of mails in its INBOX.
    pub fn filled(mails: usize) -> Self {
        let server = Self::start();
        server.fill(mails);
        server
    }

    pub fn fill(&self, mails: usize) {
        (1..=mails).for_each(|number| self.mailbox().deliver("INBOX", &mail(number)));
    }

    pub fn mailbox(&self) -> &Maildir {
        self.dovecot.mailbox()
    }
}

/// A mail as handed over to the pipeline.
#[derive(Debug, Clone)]
pub struct Seen {
    pub folder: String,
    pub uid: u32,
    pub content: Result<Vec<u8>, Trouble>,
}

/// Memory that contains these UIDs, permanently or until the process ends.
pub struct Remembered {
    uids: HashSet<u32>,
    forgets: bool,
    ships_again: bool,
}

impl SourceContext for Remembered {
    fn look_up(&self, places: Vec<Place>) -> BoxFuture<'static, Vec<PlaceStatus>> {
        let is_known = |place: &Place| matches!(place, Place::Imap { uid, .. } if self.uids.contains(uid));
        let status = |place| PlaceStatus { is_known: is_known(place), suspected: None };
        Box::pin(ready(places.iter().map(status).collect()))
    }

    fn forgets(&self) -> bool {
        self.forgets
    }

    fn ships_again(&self) -> bool {
        self.ships_again
    }
}

pub struct Driver {
    pub config: Imap,
    pub limits: Limits,
    pub budget: u32,
    pub once: bool,
    pub dry_run: bool,
    pub remembered: HashSet<u32>,
    /// True if there is no ledger.
    pub forgets: bool,
    pub ships_again: bool,
    pub give_up_after: Duration,
    pub max_attempts: u32,
    pub stop: CancellationToken,
    /// Maximum duration of the run.
    pub within: Duration,
}

impl Driver {
    pub fn new(config: Imap) -> Self {
        Self {
            config,
            limits: Limits::default(),
            budget: 16 << 20,
            once: true,
            dry_run: false,
            remembered: HashSet::new(),
            forgets: false,
            ships_again: false,
            give_up_after: Duration::from_secs(30),
            max_attempts: 3,
            stop: CancellationToken::new(),
            within: Duration::from_secs(60),
        }
    }

    /// Runs the source to its end; `verdict` decides on each mail as soon as it arrives.
    pub async fn run(
        self,
        mut verdict: impl FnMut(&Seen) -> Verdict + Send + 'static,
    ) -> (Result<Pass, SourceError>, Vec<Seen>) {
        self.run_slowly(move |seen| ready(verdict(seen))).await
    }

    /// Like [`run`](Self::run), with verdicts that take time; those on later mails wait for them.
    pub async fn run_slowly<V: Future<Output = Verdict> + Send>(
        self,
        mut verdict: impl FnMut(&Seen) -> V + Send + 'static,
    ) -> (Result<Pass, SourceError>, Vec<Seen>) {
        let (mail_tx, mut mails) = mpsc::channel(16);
        let (verdicts, verdict_rx) = mpsc::unbounded_channel();
        let budget = Arc::new(Semaphore::new(self.budget as usize));
        let memory =
            Arc::new(Remembered { uids: self.remembered, forgets: self.forgets, ships_again: self.ships_again });
        let intake = Intake::new(mail_tx, verdict_rx, budget, self.budget, memory, self.once, self.dry_run, self.stop);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let pipeline = tokio::spawn({
            let seen = seen.clone();
            async move {
                while let Some(mail) = mails.recv().await {
                    let Place::Imap { folder, uid, .. } = mail.place else { panic!("not a mail of a folder") };
                    let one =
                        Seen { folder: folder.to_string(), uid, content: mail.content.map(|bytes| bytes.to_vec()) };
                    let decided = verdict(&one).await;
                    seen.lock().unwrap().push(one);
                    drop(mail.permit);
                    verdicts.send((mail.mail, decided)).ok();
                }
                // Kept until the source ends: if it is dropped, the source assumes that the pipeline has died.
                drop(verdicts);
            }
        });
        let source = ImapSource::new("rua".into(), self.config, self.limits, self.give_up_after, self.max_attempts);
        let result =
            tokio::time::timeout(self.within, Box::new(source).run(intake)).await.expect("the source ends in time");
        pipeline.await.unwrap();
        let seen = seen.lock().unwrap().clone();
        (result, seen)
    }
}

pub fn config(port: u16) -> Imap {
    Imap {
        host: "localhost".into(),
        port,
        security: Security::None,
        user: USER.into(),
        credentials: password(PASSWORD),
        auth: Auth::Auto,
        tls: Tls::default(),
        folder: folders(&["INBOX"]),
        search: Search::default(),
        archive_folder: None,
        quarantine_folder: None,
        // Archives if archive_folder is set.
        after: After::Archive,
        without_report: WithoutReport::Keep,
        watch: Watch::Poll,
        poll_interval: Duration::from_secs(60),
        max_messages_per_run: None,
        connect_timeout: Duration::from_secs(10),
        read_timeout: Duration::from_secs(20),
        pipelining: true,
        tenant: None,
        senders: Senders::default(),
    }
}

pub fn folders(names: &[&str]) -> Vec<FolderName> {
    names.iter().map(|name| FolderName::from(*name)).collect()
}

/// Returns a configuration for IMAPS that trusts the server's CA, with an archive folder.
pub fn archiving(server: &Server) -> Imap {
    Imap {
        security: Security::Tls,
        tls: Tls { ca_file: Some(server.ca.file()), ..Tls::default() },
        archive_folder: Some("Processed".into()),
        ..config(server.dovecot.imaps_port)
    }
}

/// Returns credentials with this password.
pub fn password(password: &str) -> Credentials {
    Credentials::Password(Secret::Value(password.into()))
}

pub fn mail(number: usize) -> Vec<u8> {
    format!(
        "From: a@example.com\r\nSubject: report {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\nrow {number}\r\n"
    )
    .into_bytes()
}
