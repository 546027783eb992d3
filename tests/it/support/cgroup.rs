//! A control group with a memory limit: a process in it that needs more is killed, as in a container.

use std::{fs, path::PathBuf, process};

pub struct Cgroup {
    folder: PathBuf,
}

impl Cgroup {
    /// Creates a group with a limit of `bytes` bytes, without swap. Needs root, and cgroups version 1, or version 2 with
    /// the memory controller.
    pub fn limited(bytes: u64) -> Self {
        let name = format!("dmarc-shipper-test-{}-{bytes}", process::id());
        let (parent, limits): (_, &[&str]) = if fs::exists("/sys/fs/cgroup/memory/cgroup.procs").unwrap() {
            ("/sys/fs/cgroup/memory", &["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"])
        } else {
            ("/sys/fs/cgroup", &["memory.max", "memory.swap.max"])
        };
        let folder = PathBuf::from(parent).join(name);
        fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}; expected to be root", folder.display()));
        let group = Self { folder };
        fs::write(group.folder.join(limits[0]), bytes.to_string()).unwrap();
        // This file exists only if the kernel accounts swap.
        let swap = if limits[1] == "memory.swap.max" { 0 } else { bytes };
        if fs::exists(group.folder.join(limits[1])).unwrap() {
            fs::write(group.folder.join(limits[1]), swap.to_string()).unwrap();
        }
        group
    }

    /// Returns the file to which a process writes its id to enter the group.
    pub fn processes(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The last process may not be gone yet; an empty folder that remains does no harm.
        fs::remove_dir(&self.folder).ok();
    }
}
