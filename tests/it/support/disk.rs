//! A file system whose size a test chooses, and can change.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// A mounted tmpfs; unmounted when dropped.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Mounts a tmpfs; `None`, with a visible message, if this process may not mount.
    pub fn mount(kilobytes: u32) -> Option<Self> {
        let disk = Self { folder: tempfile::tempdir().unwrap() };
        if disk.mount_with(&format!("size={kilobytes}k")) {
            return Some(disk);
        }
        eprintln!("SKIPPED: mounting a tmpfs needs root; what happens on a full disk was not tested");
        None
    }

    pub fn enlarge(&self, kilobytes: u32) {
        assert!(self.mount_with(&format!("remount,size={kilobytes}k")));
    }

    /// Remounts the file system read-only.
    pub fn make_read_only(&self) {
        assert!(self.mount_with("remount,ro"));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn mount_with(&self, options: &str) -> bool {
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.root()).output();
        mount.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.root()).status().ok();
    }
}
