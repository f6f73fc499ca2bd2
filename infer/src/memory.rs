//! Setting of the system's memory allocator.

/// Least size of a block that is mapped from the system on its own.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK_BYTES: i32 = 1 << 20;

/// Makes glibc return large blocks (windows, feature maps, bands) to the system as soon as they are freed.
///
/// By default, glibc moves blocks of up to 32 MB to its heaps once a block of that size was freed, and the heaps keep their gaps: about
/// 30 MB per 1000 columns of a slide. Call this function once, before threads start. With other allocators it does nothing.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two integers by value, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES);
    }
}
