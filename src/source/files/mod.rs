//! `file` source: reads mails and reports from files, folders, Maildirs, mboxes and stdin. Changes nothing there; what was
//! read is remembered by path, size and mtime.

mod mbox;
#[cfg(test)]
mod tests;
mod too_large;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tracing::{debug, info, warn};

use super::{
    Intake, Mail, MailRef, Pass, Place, Source, SourceError, Verdict,
    registry::{Checking, Kind},
};
use crate::{
    config::{self, Config},
    limits::Limits,
    steps::{Steps, local},
};

pub use walk::{FoundFile, Step, Unreadable, Walker, walk};

/// A file, folder, Maildir, mbox or stdin as a source.
pub struct FileSource {
    name: Arc<str>,
    config: config::source::File,
    limits: Limits,
}

pub fn new(name: Arc<str>, config: config::source::File, limits: Limits) -> FileSource {
    FileSource { name, config, limits }
}

impl Kind for config::source::File {
    fn build(&self, name: Arc<str>, config: &Config) -> Box<dyn Source> {
        Box::new(new(name, self.clone(), config.limits.clone()))
    }

    fn takes_away(&self, _: &Verdict) -> bool {
        false
    }

    fn check<'a>(&'a self, _: Checking, steps: &'a mut Steps) -> BoxFuture<'a, Option<()>> {
        Box::pin(local::read(&self.path, steps))
    }
}

impl Source for FileSource {
    fn name(&self) -> &str {
        &self.name
    }

    fn run(self: Box<Self>, intake: Intake) -> BoxFuture<'static, Result<Pass, SourceError>> {
        let running = Running {
            source: *self,
            intake,
            pass: Pass::default(),
            handed_over: 0,
            waiting: HashMap::new(),
            places: HashSet::new(),
            unreadable: BTreeMap::new(),
            told: BTreeSet::new(),
            suspected: BTreeSet::new(),
            deleted: 0,
            told_deleted: 0,
        };
        Box::pin(running.run())
    }
}

struct Running {
    source: FileSource,
    intake: Intake,
    pass: Pass,
    handed_over: u64,
    /// Mails without a verdict.
    waiting: HashMap<MailRef, Place>,
    /// Places of these mails.
    places: HashSet<Place>,
    /// Files and folders that this pass could not read, with their errors.
    unreadable: BTreeMap<PathBuf, String>,
    /// Those that the last pass could not read, so that each is logged once.
    told: BTreeSet<PathBuf>,
    /// Times at which mails that this pass has met and not taken were last suspected of blocking others.
    suspected: BTreeSet<Timestamp>,
    /// Mails that this pass passed over as deleted, and the number that was logged last.
    deleted: u64,
    told_deleted: u64,
}

impl Running {
    async fn run(mut self) -> Result<Pass, SourceError> {
        // What came from stdin does not come again.
        let only_once = self.intake.once || self.is_stdin();
        loop {
            self.pass = Pass::default();
            self.pass_over(None).await?;
            while let Some(since) = self.suspected.pop_first() {
                self.pass_over(Some(since)).await?;
            }
            self.tell_deleted();
            if only_once || self.intake.stop.is_cancelled() {
                break;
            }
            self.told = std::mem::take(&mut self.unreadable).into_keys().collect();
            let rest = tokio::time::sleep(self.source.config.poll_interval);
            if self.meanwhile(rest).await?.is_none() {
                break;
            }
        }
        while !self.waiting.is_empty() {
            let verdict = self.intake.verdict().await.ok_or(SourceError::Stopped)?;
            self.settle(verdict);
        }
        match self.unreadable.iter().next() {
            Some((path, error)) if only_once => Err(SourceError::NoInput(self.all_unreadable(path, error))),
            _ => Ok(self.pass),
        }
    }

    /// Walks over everything once, and takes the mails that were last suspected at this time; `None`: those that never
    /// were. Ends early when the process stops.
    async fn pass_over(&mut self, suspected: Option<Timestamp>) -> Result<(), SourceError> {
        let mut walker = walk(self.source.name.clone(), &self.source.config.path, &self.source.limits);
        loop {
            let walking = self.blocking(move || (walker.next_steps(), walker));
            let Some(walked) = self.meanwhile(walking).await? else { return Ok(()) };
            let (steps, rest) = walked?;
            walker = rest;
            if steps.is_empty() {
                if suspected.is_none() {
                    self.intake.looked_through(&self.source.name);
                }
                return Ok(());
            }
            let Some(wanted) = self.wanted(steps, suspected).await? else { return Ok(()) };
            for found in wanted {
                if !self.take(found, &mut walker).await? {
                    return Ok(());
                }
            }
        }
    }

    /// Returns the files that are to be read; `None` if the process stops.
    async fn wanted(
        &mut self,
        steps: Vec<Step>,
        suspected: Option<Timestamp>,
    ) -> Result<Option<Vec<FoundFile>>, SourceError> {
        let mut found = Vec::new();
        for step in steps {
            match step {
                Step::Unreadable(unreadable) => self.note(unreadable),
                Step::Deleted => self.deleted += u64::from(suspected.is_none()),
                Step::Found(file) if self.is_in_flight(&file.place) => {}
                Step::Found(file) => found.push(file),
            }
        }
        let asking = self.intake.remembered(found.iter().map(|file| file.place.clone()).collect());
        let Some(answers) = self.meanwhile(asking).await? else { return Ok(None) };
        let mut wanted = Vec::new();
        for (file, status) in found.into_iter().zip(answers) {
            if status.is_known {
                self.pass.remembered += u64::from(suspected.is_none());
            } else if status.suspected == suspected {
                wanted.push(file);
            } else if suspected.is_none() {
                self.suspected.extend(status.suspected);
            }
        }
        Ok(Some(wanted))
    }

    /// True for a mail that was handed over in an earlier pass and has no verdict yet. The mails of an mbox that is piped in
    /// all have the same place.
    fn is_in_flight(&self, place: &Place) -> bool {
        place.comes_again() && self.places.contains(place)
    }

    /// Reads a file and hands it over, or leaves it to the next steps of the walk if it has changed. False if the process
    /// stops.
    async fn take(&mut self, found: FoundFile, walker: &mut Walker) -> Result<bool, SourceError> {
        let stop = self.intake.stop.clone();
        let Some(permit) = stop.run_until_cancelled(self.intake.reserve(found.bytes)).await else { return Ok(false) };
        let read = self.blocking(move || if found.has_changed() { Err(Box::new(found)) } else { Ok(found.read()) });
        let Some(read) = self.meanwhile(read).await? else { return Ok(false) };
        let (place, content) = match read? {
            Ok(Ok(read)) => read,
            Ok(Err(unreadable)) => {
                self.note(unreadable);
                return Ok(true);
            }
            Err(changed) => {
                walker.look_again(*changed);
                return Ok(true);
            }
        };
        let mail = MailRef(self.handed_over);
        self.handed_over += 1;
        self.intake.expects(1);
        let handing = self.intake.hand_over(Mail { mail, place: place.clone(), content, permit });
        match stop.run_until_cancelled(handing).await {
            None => return Ok(false),
            Some(handed) => handed?,
        }
        self.places.insert(place.clone());
        self.waiting.insert(mail, place);
        self.pass.taken += 1;
        while let Some(verdict) = self.intake.try_verdict() {
            self.settle(verdict);
        }
        Ok(true)
    }

    /// Does `work`, and settles verdicts that come meanwhile. `None` if the process stops before it is done.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<Option<T>, SourceError> {
        let stop = self.intake.stop.clone();
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(None),
                verdict = self.intake.verdict() => self.settle(verdict.ok_or(SourceError::Stopped)?),
                done = &mut work => return Ok(Some(done)),
            }
        }
    }

    fn settle(&mut self, (mail, verdict): (MailRef, Verdict)) {
        let Some(place) = self.waiting.remove(&mail) else { return };
        self.places.remove(&place);
        self.pass.settled += 1;
        let source = &*self.source.name;
        if self.intake.dry_run && matches!(verdict, Verdict::Archive | Verdict::Quarantine(_)) {
            info!(source, file = %place, "would ship its reports, and leave the file in place");
        } else {
            debug!(source, file = %place, ?verdict, "left in place");
        }
    }

    fn note(&mut self, Unreadable { path, error }: Unreadable) {
        if !self.told.contains(&path) {
            warn!(source = &*self.source.name, path = %path.display(), %error, "cannot be read");
        }
        self.unreadable.entry(path).or_insert_with(|| error.to_string());
    }

    /// Logs the number of mails that were passed over as deleted, if it is not that of the last pass.
    fn tell_deleted(&mut self) {
        let deleted = std::mem::take(&mut self.deleted);
        if deleted > 0 && deleted != self.told_deleted {
            info!(source = &*self.source.name, mails = deleted, "passed over mails that are marked as deleted");
        }
        self.told_deleted = deleted;
    }

    fn all_unreadable(&self, path: &Path, error: &str) -> String {
        match self.unreadable.len() - 1 {
            0 => format!("{} cannot be read: {error}", path.display()),
            more => format!("{} cannot be read: {error} (and {more} more)", path.display()),
        }
    }

    fn is_stdin(&self) -> bool {
        self.source.config.path == Path::new("-")
    }

    /// Runs blocking `work` on another thread. A read from stdin may block for ever, and the runtime would wait for a
    /// thread of its own before the process can end.
    fn blocking<T, F>(&self, work: F) -> impl Future<Output = Result<T, SourceError>> + use<T, F>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (sender, done) = oneshot::channel();
        let work = move || drop(sender.send(work()));
        if self.is_stdin() {
            std::thread::spawn(work);
        } else {
            tokio::task::spawn_blocking(work);
        }
        async { done.await.map_err(|_| SourceError::Stopped) }
    }
}
