//! What memory holds when it is given back. Owns the allocator of the unit tests, which looks for a secret
//! in every block that the watching thread frees; for tests only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static WATCHER: Watcher = Watcher;

struct Watcher;

thread_local! {
    static WATCHED: Cell<Option<&'static [u8]>> = const { Cell::new(None) };
    static FOUND: Cell<usize> = const { Cell::new(0) };
}

fn watched() -> Option<&'static [u8]> {
    WATCHED.try_with(Cell::get).ok().flatten()
}

// SAFETY: everything is left to the system's allocator; a block is only read, before it is freed.
unsafe impl GlobalAlloc for Watcher {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises. Zeroed, so that whatever is read later was written.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(secret) = watched() {
            // SAFETY: the block is still whole, and nobody else has it any more.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            if bytes.windows(secret.len()).any(|part| part == secret) {
                FOUND.set(FOUND.get() + 1);
            }
        }
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if watched().is_none() {
            // SAFETY: as the caller promises.
            return unsafe { System.realloc(block, layout, size) };
        }
        // Moved every time, so that what grows in place by luck is found, too.
        // SAFETY: as the caller promises, the size is not too large for the alignment.
        let layout_after = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: the size is not zero, as the caller promises; both blocks are as long as is copied.
        unsafe {
            let moved = self.alloc(layout_after);
            if !moved.is_null() {
                std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size));
                self.dealloc(block, layout);
            }
            moved
        }
    }
}

/// Does `work`, and answers in how many blocks that this thread freed meanwhile `secret` was still to be
/// read.
pub(crate) fn freed_with(secret: &'static str, work: impl FnOnce()) -> usize {
    FOUND.set(0);
    WATCHED.set(Some(secret.as_bytes()));
    work();
    WATCHED.set(None);
    FOUND.get()
}

#[test]
fn what_is_not_wiped_is_found() {
    let secret = "swordfish-1";
    assert!(freed_with(secret, || drop(format!("<{secret}>"))) > 0);
    let grown = || {
        let mut text = zeroize::Zeroizing::new(String::from(secret));
        text.push_str("and so it had to move");
    };
    assert!(freed_with(secret, grown) > 0);
    assert_eq!(freed_with(secret, || drop(zeroize::Zeroizing::new(secret.to_owned()))), 0);
}
