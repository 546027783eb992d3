//! The files of one sink, on a thread that may block: opening, rotation, retention.

use std::{io::ErrorKind, num::NonZeroU32, path::Path, sync::Arc};

use bytes::Bytes;
use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use tracing::{info, warn};

use super::{
    layout::Layout,
    pattern::Pattern,
    retention,
    target::{FileError, Target},
};
use crate::folder;

/// Maximum number of open files: yesterday's, today's, and one for clocks that are changed.
const OPEN_FILES: usize = 3;

/// The open files of a sink: never more than three, the one used last at the end.
pub(super) struct Writer {
    sink: Arc<str>,
    layout: Layout,
    open: Vec<Target>,
    retention: Option<Retention>,
}

/// Settings and state of the deletion of old files.
pub(super) struct Retention {
    pub(super) pattern: Pattern,
    pub(super) days: NonZeroU32,
    /// The day (UTC) of the last sweep.
    pub(super) swept: Option<Date>,
}

impl Writer {
    pub(super) fn new(sink: Arc<str>, layout: Layout, retention: Option<Retention>) -> Self {
        Self { sink, layout, open: Vec::new(), retention }
    }

    /// Checks that `path` can be written, before there is anything to write: creates its folder, and opens and repairs the
    /// file if it exists. Creates no empty file.
    pub(super) fn prepare(&mut self, path: &Path) -> Result<(), FileError> {
        if path.exists() {
            let target = self.take(path)?;
            self.open.push(target);
            return Ok(());
        }
        let above = path.parent().unwrap_or(Path::new(""));
        let failed = |error| FileError::Io { doing: "write to", path: above.into(), error };
        folder::create(above).map_err(|error| FileError::Io { doing: "create", path: above.into(), error })?;
        accessat(CWD, folder::or_here(above), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .map_err(|error| failed(error.into()))
    }

    /// Appends `frames` to the file at `path`; when this returns they are on the disk.
    pub(super) fn append(&mut self, path: &Path, frames: &[Bytes]) -> Result<(), FileError> {
        let mut target = self.take(path)?;
        let appended = target.append(frames);
        if appended.is_err() {
            // Restored now if possible, otherwise before the next attempt.
            target.restore().ok();
        }
        self.open.push(target);
        if appended.is_err() {
            // The disk may be full of old files.
            self.sweep(Timestamp::now());
        }
        appended
    }

    /// Deletes the files of days past their retention; once a day.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let today = now.to_zoned_datetime(TimeZone::UTC).date();
        let Some(retention) = self.retention.as_mut().filter(|retention| retention.swept != Some(today)) else {
            return;
        };
        retention.swept = Some(today);
        let days = retention.days.get();
        let Ok(oldest) = today.checked_sub(i64::from(days).days()) else { return };
        let swept = retention::delete_before(oldest, &retention.pattern);
        for path in swept.deleted {
            info!(sink = %self.sink, path = %path.display(), retention_days = days, "deleted a file past its retention");
        }
        for (path, error) in swept.failed {
            warn!(sink = %self.sink, path = %path.display(), %error, "can't delete files past their retention");
        }
    }

    /// Returns the open file at `path`; reopens it if it is no longer there.
    fn take(&mut self, path: &Path) -> Result<Target, FileError> {
        if let Some(index) = self.open.iter().position(|target| target.path() == path) {
            let mut target = self.open.remove(index);
            if target.is_in_place() {
                return Ok(target);
            }
            // It may have been rotated with an incomplete end; nobody will look at it again.
            target.restore().ok();
            info!(sink = %self.sink, path = %path.display(), "the file was moved, deleted or changed; reopening it");
        }
        if self.open.len() >= OPEN_FILES {
            self.open.remove(0).restore()?;
        }
        let (target, mended) = Target::open(path, self.layout)?;
        if let Some(mended) = mended {
            warn!(
                sink = %self.sink, path = %path.display(), bytes = mended.cut,
                "truncated an incomplete event, which a crash left at the end of the file; it was not confirmed, and is sent again"
            );
        }
        Ok(target)
    }
}

impl FileError {
    /// True if only a person can fix this: a missing permission, a file where a folder should be.
    pub(super) fn needs_a_person(&self) -> bool {
        match self {
            FileError::NotOurs { .. } => true,
            FileError::Io { error, .. } => matches!(
                error.kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::NotADirectory
                    | ErrorKind::IsADirectory
                    | ErrorKind::AlreadyExists
                    | ErrorKind::NotFound
                    | ErrorKind::ReadOnlyFilesystem
                    | ErrorKind::InvalidFilename
                    | ErrorKind::InvalidInput
            ),
        }
    }
}
