//! What a call is told of how it may wait: which way its bytes go, what limits
//! it, and whether it may park at all.

use crate::fd::cancel::Cancel;
use crate::fd::look::earlier;
use crate::fd::word::Turn;
use libc::c_short;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Reads and accepts.
    Read,
    /// Writes and connects.
    Write,
}

impl Side {
    pub(super) fn turn(self) -> Turn {
        match self {
            Self::Read => Turn::Read,
            Self::Write => Turn::Write,
        }
    }

    pub(super) fn poll_turn(self) -> Turn {
        match self {
            Self::Read => Turn::PollIn,
            Self::Write => Turn::PollOut,
        }
    }

    /// The poll(2) event that ends a wait.
    pub fn event(self) -> c_short {
        match self {
            Self::Read => libc::POLLIN,
            Self::Write => libc::POLLOUT,
        }
    }
}

/// What limits a call besides the descriptor's token.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The descriptor's deadline that counts, if one does.
    pub side: Option<Side>,
    /// A deadline of the call's own; 0: none.
    pub deadline: i64,
    /// A token of the call's own, which its caller holds.
    pub token: Option<&'static Cancel>,
}

impl Limits {
    /// The descriptor's token alone.
    pub const NONE: Self = Self {
        side: None,
        deadline: 0,
        token: None,
    };

    /// The same, and not beyond `deadline` (0: no limit).
    #[must_use]
    pub fn no_later(self, deadline: i64) -> Self {
        Self {
            deadline: earlier(self.deadline, deadline),
            ..self
        }
    }

    /// The descriptor's own limits and no others.
    pub const fn of(side: Side) -> Self {
        Self {
            side: Some(side),
            deadline: 0,
            token: None,
        }
    }
}

/// Whether a call may park.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It waits for its turn and for readiness.
    Park,
    /// It says EAGAIN instead.
    Never,
}
