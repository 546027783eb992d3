//! Part of the ACK probe: the bytes in a TCP socket's send queue that the peer has not acknowledged.

use std::{ffi::c_int, io, os::fd::AsFd};

use rustix::ioctl::{Getter, Opcode, ioctl};

// asm/ioctls.h: SIOCOUTQ is the terminals' TIOCOUTQ.
#[cfg(any(target_arch = "mips", target_arch = "mips32r6", target_arch = "mips64", target_arch = "mips64r6"))]
const SIOCOUTQ: Opcode = 0x7472;
#[cfg(any(target_arch = "powerpc", target_arch = "powerpc64", target_arch = "sparc", target_arch = "sparc64"))]
const SIOCOUTQ: Opcode = 0x4004_7473;
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    target_arch = "powerpc",
    target_arch = "powerpc64",
    target_arch = "sparc",
    target_arch = "sparc64"
)))]
const SIOCOUTQ: Opcode = 0x5411;

/// linux/sockios.h.
const SIOCOUTQNSD: Opcode = 0x894B;

/// Send queue of a TCP socket, in bytes. A FIN counts as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Not acknowledged by the peer's kernel, sent or not (SIOCOUTQ; tcp(7), `write_seq - snd_una` in tcp_ioctl).
    pub unacknowledged: u64,
    /// Not sent yet (SIOCOUTQNSD; `write_seq - snd_nxt`).
    pub unsent: u64,
}

impl Queued {
    /// True if everything sent is acknowledged and the rest is not sent: the peer has closed its receive window.
    pub fn window_is_closed(self) -> bool {
        self.unsent > 0 && self.unsent >= self.unacknowledged
    }
}

pub fn queued(socket: impl AsFd) -> io::Result<Queued> {
    Ok(Queued { unacknowledged: ask::<SIOCOUTQ>(&socket)?, unsent: ask::<SIOCOUTQNSD>(&socket)? })
}

#[allow(unsafe_code)] // There is no safe call for it; both requests are defined above, and nothing else can be requested.
fn ask<const REQUEST: Opcode>(socket: impl AsFd) -> io::Result<u64> {
    // SAFETY: both requests are valid on any socket (another kind of file answers with an error), and both write
    // exactly one C int, which is what this getter has room for.
    let bytes: c_int = unsafe { ioctl(socket, Getter::<REQUEST, c_int>::new()) }?;
    Ok(u64::try_from(bytes).unwrap_or(0))
}
