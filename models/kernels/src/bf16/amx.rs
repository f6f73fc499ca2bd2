//! Micro-kernel for the tile instructions of AMX (`tdpbf16ps`), in inline assembly because Rust has no stable intrinsics for AMX.
//!
//! Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1 chapter 18 and volume 2; for the permission to use tile
//! registers, `Documentation/arch/x86/xstate.rst` of Linux.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use super::micro_kernel::{Accumulators, Block, MicroKernel, RIGHT_TILE, STEP, TILE};

/// AMX micro-kernel: 2 x 2 tiles of accumulators.
pub struct Amx;

/// Reports whether the processor has AMX-BF16, and the system saves the tile registers and permits their use to this process.
pub fn is_available() -> bool {
    let (bf16, tiles) = (1 << 22, 1 << 24);
    let (saved_by_system, osxsave) = (0b11 << 17, 1 << 27);
    // A processor without CPUID leaf 7 has no AMX. The instruction `xgetbv` exists if the bit `osxsave` is set.
    let has = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & (bf16 | tiles) == bf16 | tiles && __cpuid(1).ecx & osxsave != 0;
    // SAFETY: the bit `osxsave` was checked first.
    has && unsafe { saved(saved_by_system) } && is_permitted()
}

/// Reports whether the operating system saves these registers on a context switch (bits of XCR0).
///
/// # Safety
/// The processor must have `xgetbv`.
#[target_feature(enable = "xsave")]
unsafe fn saved(registers: u64) -> bool {
    // SAFETY: the feature is enabled in this function.
    unsafe { _xgetbv(0) & registers == registers }
}

/// Requests the tile registers from Linux, for all threads of the process.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
    const TILE_DATA: i64 = 18;
    let result: i64;
    // SAFETY: the system call reads no memory of the process; the kernel changes rcx and r11 only.
    unsafe {
        asm!("syscall", inlateout("rax") ARCH_PRCTL => result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") TILE_DATA,
            out("rcx") _, out("r11") _, options(nostack));
    }
    result == 0
}

/// Tile registers are used on Linux only.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Configuration([u8; 64]);

/// Configuration of all eight tiles as 16 rows of 64 bytes.
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

/// Calls `work` with the tile registers of this thread configured, and releases them afterwards.
///
/// # Safety
/// [`is_available`] must have returned true.
pub unsafe fn with_tiles<T>(work: impl FnOnce() -> T) -> T {
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            // SAFETY: AMX is available by the contract of `with_tiles`.
            unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
        }
    }
    // SAFETY: AMX is available by the caller's contract; the configuration is 64 bytes in the manual's format.
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

/// Stride of the rows of [`Accumulators`], in bytes.
const SUMS_ROW: usize = 4 * 2 * TILE;

impl MicroKernel for Amx {
    /// Tile registers 0 to 3 are the accumulators (`[row][column]`), 4 and 5 the left tiles, 6 and 7 the right tiles.
    unsafe fn run(block: &Block, sums: &mut Accumulators) {
        // SAFETY: the caller's contract; `with_tiles` configured the tile registers.
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

/// Computes a block with a second tile of rows if `ROWS`, and a second tile of columns if `COLUMNS`.
///
/// # Safety
/// As for [`MicroKernel::run`]; the tile registers must be configured.
#[inline(always)]
unsafe fn tiles<const ROWS: bool, const COLUMNS: bool>(block: &Block, sums: &mut Accumulators) {
    // SAFETY: the caller's contract: the operands have the sizes that `Block` states.
    unsafe {
        let target: *mut f32 = sums.0.as_mut_ptr().cast();
        let accumulators = [0, TILE, 2 * TILE * TILE, 2 * TILE * TILE + TILE].map(|offset| target.add(offset));
        start_sums(accumulators, block.add);
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
        store_sums(accumulators);
    }
}

/// Loads the accumulators into tile registers 0 to 3 if `add`; clears these registers otherwise.
///
/// # Safety
/// The tile registers must be configured, and `accumulators` must point at the four tiles of [`Accumulators`].
#[inline(always)]
unsafe fn start_sums(accumulators: [*mut f32; 4], add: bool) {
    let [t0, t1, t2, t3] = accumulators;
    // SAFETY: the caller's contract.
    unsafe {
        if add {
            load!("0", t0, SUMS_ROW);
            load!("1", t1, SUMS_ROW);
            load!("2", t2, SUMS_ROW);
            load!("3", t3, SUMS_ROW);
        } else {
            clear!("0");
            clear!("1");
            clear!("2");
            clear!("3");
        }
    }
}

/// Stores tile registers 0 to 3 into the accumulators.
///
/// # Safety
/// As for [`start_sums`].
#[inline(always)]
unsafe fn store_sums(accumulators: [*mut f32; 4]) {
    let [t0, t1, t2, t3] = accumulators;
    // SAFETY: the caller's contract.
    unsafe {
        store!("0", t0);
        store!("1", t1);
        store!("2", t2);
        store!("3", t3);
    }
}
