//! Test helper: a file system that is full after some kilobytes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A mounted tmpfs; unmounted when dropped.
pub(crate) struct SmallDisk {
    mounted: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts a tmpfs of this size; `None`, with a loud message, if this process may not mount.
    pub(crate) fn mount(kilobytes: u32) -> Option<Self> {
        let mounted = tempfile::tempdir().unwrap();
        let size = format!("size={kilobytes}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(mounted.path()).output();
        if mount.is_ok_and(|output| output.status.success()) {
            return Some(Self { mounted });
        }
        println!("SKIPPED: mounting a tmpfs needs root; what happens on a full disk was not tested");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.mounted.path()
    }

    /// Fills the disk; deleting the returned file frees it.
    pub(crate) fn fill(&self) -> PathBuf {
        let filler = self.path().join("filler");
        let mut size = 1 << 20;
        let mut file = fs::File::create(&filler).unwrap();
        while size > 0 {
            if std::io::Write::write_all(&mut file, &vec![b'x'; size]).is_err() {
                size /= 2;
            }
        }
        filler
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.path()).status().ok();
    }
}
