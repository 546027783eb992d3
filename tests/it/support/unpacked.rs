//! Servers that tests/install-servers.sh has unpacked, because their packages conflict with others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

pub struct Unpacked {
    pub root: PathBuf,
}

impl Unpacked {
    /// Finds an unpacked server. A missing one fails the test: a skipped test proves nothing.
    pub fn find(name: &str, program: &str) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let root = target.join("servers").join(name);
        assert!(root.join(program).is_file(), "{name} is not unpacked: run tests/install-servers.sh");
        Self { root }
    }

    /// Sets the library path of a command to the unpacked libraries, which are in one of these folders, depending on the
    /// architecture and the release of the distribution.
    pub fn with_libraries(&self, command: &mut Command) {
        let libraries: Vec<String> = ["usr/lib", "lib"]
            .iter()
            .flat_map(|lib| children(&self.root.join(lib)).into_iter().chain([self.root.join(lib)]))
            .map(|path| path.display().to_string())
            .collect();
        command.env("LD_LIBRARY_PATH", libraries.join(":"));
    }
}

/// Returns the folders in a folder.
pub fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
}
