//! A pseudo-terminal for a program's stderr, and the text written to it.

use std::{
    fs::{File, OpenOptions},
    io::Read,
    os::fd::OwnedFd,
    sync::{Arc, Mutex},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

pub struct Terminal {
    /// The program's end.
    pub end: File,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    pub fn open() -> Self {
        let ours: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: 500, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let end = OpenOptions::new().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        let bytes: Arc<Mutex<Vec<u8>>> = Arc::default();
        let written = bytes.clone();
        // Ends when the program's end is closed everywhere, or with the test process.
        thread::spawn(move || {
            let (mut ours, mut piece) = (File::from(ours), [0; 4096]);
            while let Ok(length @ 1..) = ours.read(&mut piece) {
                written.lock().unwrap().extend(&piece[..length]);
            }
        });
        Self { end, bytes }
    }

    /// Returns the text written so far, with control sequences.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}
