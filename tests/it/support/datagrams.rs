//! A kernel that refuses large datagrams, as those of other systems do: Linux takes all that fit into an IP packet.

use std::{io, os::unix::process::CommandExt, process::Command};

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JGT, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, EMSGSIZE, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP,
    SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SYS_sendto, sock_filter, sock_fprog,
};

/// Offsets in `struct seccomp_data` of linux/seccomp.h: the number of the call, and the low half of its third argument, the
/// length.
const CALL: u32 = 0;
const LENGTH: u32 = if cfg!(target_endian = "little") { 32 } else { 36 };

/// Has sendto(2) fail with EMSGSIZE in the program, and whatever it starts, if it is to send more than `bytes` bytes. The
/// program writes to streams in other ways.
#[allow(unsafe_code, reason = "there is no safe call that sets a filter of system calls")]
pub fn limit(command: &mut Command, bytes: u32) {
    let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let jump = |code: u32, k: u32, jt: u8, jf: u8| sock_filter { code: (BPF_JMP | code | BPF_K) as u16, jt, jf, k };
    let mut filter = [
        statement(BPF_LD | BPF_W | BPF_ABS, CALL),
        jump(BPF_JEQ, SYS_sendto as u32, 0, 3),
        statement(BPF_LD | BPF_W | BPF_ABS, LENGTH),
        jump(BPF_JGT, bytes, 0, 1),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EMSGSIZE as u32),
        statement(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    ];
    let set = move || {
        let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: the kernel copies the filter, which lives until the calls have returned.
        let set = unsafe {
            libc::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
                && libc::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) == 0
        };
        if set { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec, it makes two system calls, and allocates nothing.
    unsafe { command.pre_exec(set) };
}
