//! Settings of the C library's allocator: large blocks are returned to the system.

/// Threshold in bytes from which a block is mapped on its own, and unmapped when it is freed.
const LARGE_BYTES: i32 = 128 << 10;

/// Has large blocks returned to the system as soon as they are freed. To be called before the first thread is started.
///
/// glibc starts with this threshold, but raises it to the size of the largest block that was freed, 32 MiB at most: once mails of
/// some MiB have come, it keeps as much for each of its arenas, of which there are eight for each core. Other C libraries don't.
#[allow(unsafe_code)] // There is no safe call for it; it sets a number, and no other thread runs yet.
pub fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES);
    }
}
