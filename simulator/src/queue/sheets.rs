//! The memory of the calendar's buckets: sheets of a few entries each, which any bucket takes and gives back.
//!
//! The sheet that was given back last is the next one taken, so the memory that is written to is as much as there are
//! events to come, and not as much as each bucket ever held.

/// Entries of a sheet: with entries of 16 bytes it is four cache lines.
const ENTRIES: usize = 15;
/// No sheet.
const NONE: u32 = u32::MAX;

/// An event, and when it happens within its bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Jot<E> {
    pub(super) within: u32,
    pub(super) event: E,
}

/// What a bucket holds: a chain of sheets, all of them full but the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stack {
    first: u32,
    last: u32,
    /// Entries in the last sheet.
    filled: u32,
}

impl Default for Stack {
    fn default() -> Self {
        Self { first: NONE, last: NONE, filled: 0 }
    }
}

/// All sheets.
#[derive(Debug)]
pub(super) struct Sheets<E> {
    sheets: Vec<Sheet<E>>,
    /// The first of the chain of those that are blank.
    blank: u32,
}

#[derive(Debug)]
#[repr(align(64))]
struct Sheet<E> {
    jots: [Jot<E>; ENTRIES],
    next: u32,
}

impl<E> Default for Sheets<E> {
    fn default() -> Self {
        Self { sheets: Vec::new(), blank: NONE }
    }
}

impl<E: Copy> Sheets<E> {
    /// Adds to what a bucket holds what happens so many nanoseconds after its beginning.
    #[inline(always)]
    pub(super) fn put(&mut self, stack: &mut Stack, within: u32, event: E) {
        let sheet = self.sheets.get_mut(stack.last as usize);
        match sheet.and_then(|sheet| sheet.jots.get_mut(stack.filled as usize)) {
            Some(jot) => {
                *jot = Jot { within, event };
                stack.filled += 1;
            }
            None => self.put_on_blank(stack, Jot { within, event }),
        }
    }

    /// Adds to a bucket whose last sheet is full, or which has none.
    #[inline(never)]
    fn put_on_blank(&mut self, stack: &mut Stack, jot: Jot<E>) {
        let taken = self.take_blank(jot);
        match self.sheets.get_mut(stack.last as usize) {
            Some(last) => last.next = taken,
            None => stack.first = taken,
        }
        (stack.last, stack.filled) = (taken, 1);
    }

    /// Moves all that a bucket holds to `page`, in the order in which it was put in.
    pub(super) fn take(&mut self, stack: &mut Stack, page: &mut Vec<Jot<E>>) {
        let Stack { first, last, filled } = std::mem::take(stack);
        let mut at = first;
        while let Some(sheet) = self.sheets.get(at as usize) {
            let held = if at == last { filled as usize } else { ENTRIES };
            page.extend_from_slice(&sheet.jots[..held]);
            at = sheet.next;
        }
        if let Some(sheet) = self.sheets.get_mut(last as usize) {
            sheet.next = std::mem::replace(&mut self.blank, first);
        }
    }

    /// A sheet that begins with `jot`.
    fn take_blank(&mut self, jot: Jot<E>) -> u32 {
        let Some(sheet) = self.sheets.get_mut(self.blank as usize) else {
            self.sheets.push(Sheet { jots: [jot; ENTRIES], next: NONE });
            return (self.sheets.len() - 1) as u32;
        };
        sheet.jots[0] = jot;
        std::mem::replace(&mut self.blank, std::mem::replace(&mut sheet.next, NONE))
    }
}
