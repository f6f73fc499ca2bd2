//! Blocks by the tile instructions of AMX (`tdpbf16ps`), which Rust has no stable functions for.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1 chapter 18 and volume 2; the permission is that of
//! Linux (`Documentation/arch/x86/xstate.rst`).

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use super::block::{Block, Product, RIGHT_TILE, STEP, Sums, TILE};

/// The tile instructions.
pub struct Amx;

/// Whether the processor has them and the system saves their registers and lets this process use them.
pub fn is_there() -> bool {
    let (bf16, tiles) = (1 << 22, 1 << 24);
    let (saved_by_system, osxsave) = (0b11 << 17, 1 << 27);
    // A processor without leaf 7 has no such instructions; `_xgetbv` is there where `osxsave` says so.
    let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (bf16 | tiles) == bf16 | tiles && __cpuid(1).ecx & osxsave != 0;
    // SAFETY: just looked up.
    has && unsafe { saved(saved_by_system) } && is_permitted()
}

#[target_feature(enable = "xsave")]
unsafe fn saved(registers: u64) -> bool {
    // SAFETY: the feature is on in this function.
    unsafe { _xgetbv(0) & registers == registers }
}

/// Asks Linux for the tile registers, for all threads of the process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the call reads no memory; the kernel changes rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// The layout of all eight tiles: 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = TILE as u8;
        tile += 1;
    }
    Configuration(bytes)
};

/// Does `work` while this thread's tiles are set up.
///
/// # Safety
/// [`is_there`] has said yes.
pub unsafe fn with_tiles<T>(work: impl FnOnce() -> T) -> T {
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            // SAFETY: the instructions are there.
            unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
        }
    }
    // SAFETY: the configuration is 64 bytes that say what the manual asks for.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const CONFIGURATION, options(nostack, preserves_flags, readonly)) };
    let _release = Release;
    work()
}

macro_rules! load {
    ($tile:literal, $from:expr, $row_bytes:expr) => {
        asm!(concat!("tileloadd tmm", $tile, ", [{} + {}*1]"), in(reg) $from, in(reg) $row_bytes, options(nostack, preserves_flags, readonly))
    };
}

macro_rules! store {
    ($tile:literal, $to:expr) => {
        asm!(concat!("tilestored [{} + {}*1], tmm", $tile), in(reg) $to, in(reg) SUMS_ROW, options(nostack, preserves_flags))
    };
}

macro_rules! multiply {
    ($sums:literal, $left:literal, $right:literal) => {
        asm!(concat!("tdpbf16ps tmm", $sums, ", tmm", $left, ", tmm", $right), options(nostack, preserves_flags))
    };
}

macro_rules! clear {
    ($tile:literal) => {
        asm!(concat!("tilezero tmm", $tile), options(nostack, preserves_flags))
    };
}

/// Bytes of a row of [`Sums`].
const SUMS_ROW: usize = 4 * 2 * TILE;

impl Product for Amx {
    /// Tiles 0 to 3 are the sums (rows, then columns), 4 and 5 the left, 6 and 7 the right. Unused tiles are left alone.
    unsafe fn run(block: &Block, sums: &mut Sums) {
        // SAFETY: the caller's promise; tiles were set up by `with_tiles`.
        unsafe {
            match (block.rows, block.columns) {
                (2, 2) => tiles::<true, true>(block, sums),
                (2, _) => tiles::<true, false>(block, sums),
                (_, 2) => tiles::<false, true>(block, sums),
                _ => tiles::<false, false>(block, sums),
            }
        }
    }
}

#[inline(always)]
unsafe fn tiles<const ROWS: bool, const COLUMNS: bool>(block: &Block, sums: &mut Sums) {
    // SAFETY: `Block` states the sizes.
    unsafe {
        let target: *mut f32 = sums.0.as_mut_ptr().cast();
        let [t1, t2, t3] = [TILE, 2 * TILE * TILE, 2 * TILE * TILE + TILE].map(|offset| target.add(offset));
        if block.add {
            load!("0", target, SUMS_ROW);
            load!("1", t1, SUMS_ROW);
            load!("2", t2, SUMS_ROW);
            load!("3", t3, SUMS_ROW);
        } else {
            clear!("0");
            clear!("1");
            clear!("2");
            clear!("3");
        }
        let row_bytes = 2 * block.left_row;
        let mut right = block.right;
        for run in block.runs {
            let mut left = block.left.offset(*run);
            for _ in 0..block.steps {
                load!("4", left, row_bytes);
                load!("6", right, 2 * STEP);
                multiply!("0", "4", "6");
                if ROWS {
                    load!("5", left.add(TILE * block.left_row), row_bytes);
                    multiply!("2", "5", "6");
                }
                if COLUMNS {
                    load!("7", right.add(RIGHT_TILE), 2 * STEP);
                    multiply!("1", "4", "7");
                    if ROWS {
                        multiply!("3", "5", "7");
                    }
                }
                left = left.add(STEP);
                right = right.add(if COLUMNS { 2 * RIGHT_TILE } else { RIGHT_TILE });
            }
        }
        store!("0", target);
        store!("1", t1);
        store!("2", t2);
        store!("3", t3);
    }
}
