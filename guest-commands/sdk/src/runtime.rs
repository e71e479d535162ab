//! What `std` brings to other programs, for commands without it: the allocator, the panic handler, and the function
//! by which the host puts arguments and results into the command's memory. The only file with `unsafe` of our own.

#![allow(unsafe_code)]

use crate::log;
use alloc::alloc::{Layout, alloc, realloc};
use core::arch::wasm32::{memory_grow, memory_size, unreachable};
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::ptr::NonNull;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::cell::TalcSyncCell;
use talc::source::Source;
use talc::wasm::WasmBinning;

/// The global allocator of a `no_std` command.
pub type Allocator = TalcSyncCell<LinearMemory, WasmBinning>;

/// Makes the global allocator.
pub const fn allocator() -> Allocator {
    TalcSyncCell::new_wasm(LinearMemory { heap_end: None })
}

/// Ends a `no_std` command that panicked: its message goes to the host's log, and the trap tells the client.
pub fn panicked(info: &PanicInfo) -> ! {
    let mut message = Message { bytes: [0; Message::SIZE], length: 0 };
    // It fails where the message is too long; then its beginning has to do.
    let _ = write!(message, "{info}");
    log::error(message.text());
    unreachable()
}

/// Text on the stack, because what panicked may have been the allocator.
struct Message {
    bytes: [u8; Message::SIZE],
    length: usize,
}

impl Message {
    const SIZE: usize = 512;

    fn text(&self) -> &str {
        let bytes = &self.bytes[..self.length];
        str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Write for Message {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = &text[..text.floor_char_boundary(Message::SIZE - self.length)];
        self.bytes[self.length..][..fits.len()].copy_from_slice(fits.as_bytes());
        self.length += fits.len();
        if fits.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// Where the allocator gets its memory: first what lies between the command's data and the end of its initial
/// memory, so that a small command never grows it, and then as many pages more as are needed.
#[derive(Debug)]
pub struct LinearMemory {
    heap_end: Option<NonNull<u8>>,
}

const PAGE: usize = 65536;

// `std` would link the C library, where the compiler finds `memcmp` and its like. Nothing else of it is linked in.
#[link(name = "c")]
unsafe extern "C" {
    /// The linker's symbol for the first byte after stack and data.
    static mut __heap_base: u8;
}

// SAFETY: nothing here allocates, or touches the allocator other than through `talc`.
unsafe impl Source for LinearMemory {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        match talc.source.heap_end {
            None => {
                let base = &raw mut __heap_base;
                if memory_end().addr() - base.addr() < talc::min_first_heap_size::<B>() {
                    grow(1)?;
                }
                // SAFETY: the linker puts nothing behind `__heap_base`, and nothing else claims this memory.
                talc.source.heap_end = unsafe { talc.claim(base, memory_end().addr() - base.addr()) };
                talc.source.heap_end.map(drop).ok_or(())
            }
            Some(heap_end) => {
                // The page more is for the allocator's own notes, which are a few bytes.
                grow((layout.size() + layout.align()).div_ceil(PAGE) + 1)?;
                // SAFETY: `heap_end` is what the last call gave, and only this function grows the memory.
                talc.source.heap_end = Some(unsafe { talc.extend(heap_end, memory_end()) });
                Ok(())
            }
        }
    }
}

fn memory_end() -> *mut u8 {
    // A memory of 4 GiB ends where no pointer points, so its last byte is left unused.
    (&raw mut __heap_base).with_addr(memory_size::<0>().saturating_mul(PAGE))
}

fn grow(pages: usize) -> Result<(), ()> {
    if memory_grow::<0>(pages) == usize::MAX { Err(()) } else { Ok(()) }
}

/// The canonical ABI's `realloc`. The linker prefers it to the one of a C library, so that it is the same for commands
/// with `std` and without.
///
/// # Safety
///
/// Called only by the host, which passes on what earlier calls returned.
#[unsafe(no_mangle)]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, new_size: usize) -> *mut u8 {
    if new_size == 0 {
        return core::ptr::without_provenance_mut(align);
    }
    // SAFETY: the host gives a power of two as `align`, and sizes that fit into the memory.
    let new = unsafe {
        if old_size == 0 {
            alloc(Layout::from_size_align_unchecked(new_size, align))
        } else {
            realloc(old, Layout::from_size_align_unchecked(old_size, align), new_size)
        }
    };
    if new.is_null() {
        unreachable()
    }
    new
}
