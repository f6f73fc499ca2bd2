//! How the process holds memory.

/// Blocks of at least so many bytes are taken from the system one by one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: i32 = 1 << 20;

/// Has large blocks (windows, maps, bands) given back to the system as soon as they are freed.
///
/// glibc puts blocks of up to 32 MB into its heaps once one of that size has been freed, and their gaps stay: some 30 MB for every
/// 1000 columns of a slide. To be called once, before threads start; does nothing where there is another allocator.
pub fn give_back_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt reads its two numbers; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}
