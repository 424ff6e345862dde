//! Descriptors: from an int to its entry, who may enter, and the loops that
//! call and park.

pub mod any;
mod bound;
pub mod cancel;
pub mod desc;
pub mod end;
pub mod helper;
pub mod limits;
pub mod look;
pub mod mutex;
pub mod pair;
mod peer;
pub mod queue;
pub mod table;
mod word;

pub use word::{State, Tag, Turn};

#[cfg(test)]
mod tests {
    //! What C cannot reach: a million callers on one descriptor.

    use super::word::{Entered, Hold, Word};
    use super::{State, Turn};
    use crate::error::CLOSED;

    const EPOCH: u32 = 7;
    const CALLERS_MAX: u32 = (1 << 20) - 1;

    fn open() -> Word {
        let word = Word::default();
        let (tag, state) = word.renew(EPOCH, true);
        assert!(word.advance(tag, state, State::Open));
        word
    }

    #[test]
    fn one_caller_too_many_is_eusers_and_destroy_finds_room_all_the_same() {
        let word = open();
        let enter = || word.enter(EPOCH, Hold::of(Turn::Read), false);
        let mut inside = Vec::new();
        for _ in 0..CALLERS_MAX {
            inside.push(enter().expect("there is room"));
        }
        let full = enter().expect_err("there is none left");
        assert!(full.is(libc::EUSERS));
        let tag = word
            .close(EPOCH, State::Destroying)
            .expect("destroy fits in");
        assert!(enter().is_err_and(|error| error.same(CLOSED)));
        let lasts = inside
            .iter()
            .map(|call| word.leave(call.tag, call.held).last);
        assert_eq!(lasts.flatten().count(), 0, "destroy is inside still");
        let last = word.leave(tag, Hold::NONE).last;
        assert_eq!(last, Some(State::Destroying));
    }

    #[test]
    fn a_process_that_forked_inherits_no_caller() {
        let word = open();
        let enter = |epoch| word.enter(epoch, Hold::of(Turn::Read), false);
        let parent = enter(EPOCH).expect("it is open");
        assert_ne!(parent.held, Hold::NONE);
        let Entered { tag, held, .. } = enter(EPOCH + 1).expect("it is open here too");
        assert_ne!(held, Hold::NONE, "the parent's turn is void");
        assert!(!word.is_open(parent.tag), "and its caller is a stranger");
        assert_eq!(word.leave(parent.tag, parent.held).last, None);
        assert!(word.is_open(tag), "who takes nothing away");
        assert!(word.close(EPOCH + 1, State::Destroying).is_ok());
        assert_eq!(word.leave(tag, held).last, None, "destroy is inside");
    }

    #[test]
    fn a_number_that_is_attached_anew_answers_as_before_until_it_is_open() {
        let word = Word::default();
        let enter = || word.enter(EPOCH, Hold::NONE, true);
        let (tag, state) = word.renew(EPOCH, false);
        assert!(enter().is_err_and(|error| error.is(libc::EBADF)));
        assert!(word.advance(tag, state, State::Open));
        let (_, state) = word.renew(EPOCH, false);
        assert_eq!(state, State::Closed);
        assert!(enter().is_err_and(|error| error.same(CLOSED)));
    }
}
