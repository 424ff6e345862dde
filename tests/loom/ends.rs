//! How descriptors end, and that their number is another one's as soon as
//! close(2) has been called: who waits is told, who comes late with the old tag
//! does nothing, and the next one is nobody's but its owner's.

use crate::EPOCH;
use crate::end::{End, Ending};
use crate::error::{CLOSED, Result};
use crate::explore;
use crate::mutex::FdMutex;
use crate::park;
use crate::sync::{AtomicU32, Ordering};
use crate::word::{Entered, Hold, State, Tag, Turn};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// Which number it is says nothing here: there is one.
const FD: i32 = 7;

/// A number, and what the kernel has under it.
struct Number {
    mutex: FdMutex,
    end: End,
    /// Callers of the first descriptor that are inside.
    inside: AtomicU32,
    kernel: Mutex<Kernel>,
    given_back: Condvar,
}

#[derive(Default)]
struct Kernel {
    open: bool,
    closes: u32,
}

impl Ending for Number {
    fn mutex(&self) -> &FdMutex {
        &self.mutex
    }

    fn end_of(&self) -> &End {
        &self.end
    }

    fn let_go(&self, _: State) {
        assert_eq!(self.inside.load(Ordering::Acquire), 0, "all have left");
    }

    fn close_fd(&self, _: i32) -> Result<()> {
        let mut kernel = self.kernel.lock().expect("no model panics in here");
        assert!(kernel.open, "it is not open");
        kernel.open = false;
        kernel.closes += 1;
        self.given_back.notify_all();
        Ok(())
    }
}

impl Number {
    /// A number with its first descriptor.
    fn open() -> (Arc<Self>, Tag) {
        let this = Self {
            mutex: FdMutex::default(),
            end: End::default(),
            inside: AtomicU32::new(0),
            kernel: Mutex::default(),
            given_back: Condvar::new(),
        };
        this.kernel.lock().expect("no model panics in here").open = true;
        let tag = this.attach();
        (Arc::new(this), tag)
    }

    /// `table::attach`.
    fn attach(&self) -> Tag {
        let (tag, state) = self.replace(true);
        self.mutex.advance(tag, state, State::Open);
        tag
    }

    /// Another thread's socket(2), which is given the number once it is free.
    fn is_given_out_anew(&self) -> Tag {
        let mut kernel = self.kernel.lock().expect("no model panics in here");
        while kernel.open {
            kernel = self.given_back.wait(kernel).expect("no model panics");
        }
        kernel.open = true;
        drop(kernel);
        self.attach()
    }

    fn closes(&self) -> u32 {
        self.kernel.lock().expect("no model panics in here").closes
    }

    /// netfd_destroy() and netfd_detach(), by the thread whose waiter is `id`.
    fn ends(&self, id: u32, end: State) -> Result<()> {
        park::begin(id);
        let result = self.close(FD, end);
        park::end(id);
        result
    }

    /// A caller that sleeps until it is evicted. It is `counted` where all of
    /// its descriptor have to leave before the end.
    fn read(&self, id: u32, counted: bool) {
        let waiter = park::begin(id);
        let entered = self.mutex.enter(EPOCH, Hold::of(Turn::Read), true);
        if let Ok(Entered { tag, held, .. }) = entered {
            self.inside.fetch_add(u32::from(counted), Ordering::AcqRel);
            let slot = self.mutex.slot(Turn::Read).expect("each turn has one");
            waiter.arm(false);
            slot.put(id);
            while self.mutex.is_open(tag) && !waiter.is_woken() {
                waiter.sleep(0);
            }
            if !slot.withdraw(id) {
                waiter.settle();
            }
            self.inside.fetch_sub(u32::from(counted), Ordering::AcqRel);
            if let Some(state) = self.mutex.leave(EPOCH, tag, held) {
                let _ = Ending::end(self, FD, tag, state);
            }
        }
        park::end(id);
    }
}

fn spawn<T: 'static>(
    number: &Arc<Number>,
    body: impl FnOnce(&Number) -> T + 'static,
) -> thread::JoinHandle<T> {
    let number = number.clone();
    thread::spawn(move || body(&number))
}

#[test]
fn two_destroy_and_close_has_been_called_when_either_returns() {
    explore(2, || {
        let (number, _) = Number::open();
        let reader = spawn(&number, |number| number.read(1, true));
        let other = spawn(&number, |number| {
            (number.ends(2, State::Destroying), number.closes())
        });
        let mine = (number.ends(3, State::Destroying), number.closes());
        let results = [mine, other.join().expect("it ends")];
        assert!(results.contains(&(Ok(()), 1)), "{results:?}");
        assert!(results.contains(&(Err(CLOSED), 1)), "{results:?}");
        reader.join().expect("it ends");
    });
}

#[test]
fn one_detaches_and_one_destroys() {
    explore(2, || {
        let (number, _) = Number::open();
        let reader = spawn(&number, |number| number.read(1, true));
        let other = spawn(&number, |number| number.ends(2, State::Detaching));
        let mine = number.ends(3, State::Destroying);
        let theirs = other.join().expect("it ends");
        assert!(mine.is_ok() != theirs.is_ok());
        assert_eq!(number.closes(), u32::from(mine.is_ok()));
        reader.join().expect("it ends");
    });
}

#[test]
fn a_number_is_given_out_before_its_destroyer_is_back() {
    explore(3, || {
        let (number, _) = Number::open();
        let next = spawn(&number, |number| {
            let tag = number.is_given_out_anew();
            assert!(number.mutex.is_open(tag), "it is its owner's");
            assert_eq!(number.ends(2, State::Destroying), Ok(()));
        });
        assert_eq!(number.ends(3, State::Destroying), Ok(()));
        next.join().expect("it ends");
        assert_eq!(number.closes(), 2);
    });
}

#[test]
fn who_comes_late_with_the_old_tag_ends_nobody() {
    explore(3, || {
        let (number, old) = Number::open();
        let late = spawn(&number, move |number| {
            park::begin(1);
            number.destroy_of(FD, old);
            park::end(1);
        });
        let told = number.ends(2, State::Destroying);
        assert!(matches!(told, Ok(()) | Err(CLOSED)));
        assert_eq!(number.closes(), 1);
        let tag = number.is_given_out_anew();
        late.join().expect("it ends");
        assert!(number.mutex.is_open(tag), "it is its owner's");
        assert_eq!(number.ends(2, State::Destroying), Ok(()));
        assert_eq!(number.closes(), 2);
    });
}

/// A number that somebody closed behind the library's back and another one was
/// given: whoever waits for the end of the old one is not forgotten.
#[test]
fn who_detaches_is_told_that_the_number_is_anothers() {
    explore(2, || {
        let (number, _) = Number::open();
        let reader = spawn(&number, |number| number.read(1, false));
        let detaches = spawn(&number, |number| number.ends(2, State::Detaching));
        let tag = number.attach();
        let told = detaches.join().expect("it ends");
        assert!(matches!(told, Ok(()) | Err(CLOSED)));
        if number.mutex.is_open(tag) {
            assert_eq!(number.ends(3, State::Destroying), Ok(()));
        }
        reader.join().expect("it ends");
    });
}
