//! Options that Go has a policy for: no delay, and keepalive.

use crate::error::{INVAL, Result};
use crate::sys::option::{self, SocketOption};
use crate::sys::{Fd, time::SECOND};
use libc::c_int;

/// A choice that a caller may leave to Go: 0 Go's rule, 1 on, -1 off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Go's rule.
    Default,
    /// On.
    On,
    /// Off.
    Off,
}

impl Switch {
    /// Reads C's number: `-EINVAL` where it is none of the three.
    pub fn new(value: c_int) -> Result<Self> {
        match value {
            0 => Ok(Self::Default),
            1 => Ok(Self::On),
            -1 => Ok(Self::Off),
            _ => Err(INVAL),
        }
    }

    /// Whether it is on, where Go's rule is `default`.
    pub fn is_on(self, default: bool) -> bool {
        match self {
            Self::Default => default,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// Go's defaults, in `netFD.setKeepAlive…` of tcpsock.go.
const IDLE: c_int = 15;
const INTERVAL: c_int = 15;
const COUNT: c_int = 9;

/// The most that the kernel takes: `MAX_TCP_KEEPIDLE` and its like.
const SECONDS_MAX: i64 = 32767;
const COUNT_MAX: c_int = 127;

/// What a TCP socket is given.
#[derive(Clone, Copy, Debug)]
pub struct TcpOptions {
    nodelay: bool,
    keepalive: bool,
    /// Each `None` where the kernel's own value stays.
    idle: Option<c_int>,
    interval: Option<c_int>,
    count: Option<c_int>,
}

impl TcpOptions {
    /// Go's policy.
    pub const fn gos() -> Self {
        Self {
            nodelay: true,
            keepalive: true,
            idle: Some(IDLE),
            interval: Some(INTERVAL),
            count: Some(COUNT),
        }
    }

    /// What a caller wants: durations in nanoseconds, rounded up to seconds; 0
    /// is Go's. Negative: as an idle time, no keepalive; else the kernel's own
    /// value. `-EINVAL` where the kernel would not take it.
    pub fn new(idle: i64, interval: i64, count: c_int, nodelay: Switch) -> Result<Self> {
        let count = match count {
            0 => Some(COUNT),
            1..=COUNT_MAX => Some(count),
            ..0 => None,
            _ => return Err(INVAL),
        };
        Ok(Self {
            nodelay: nodelay.is_on(true),
            keepalive: idle >= 0,
            idle: seconds(idle, IDLE)?,
            interval: seconds(interval, INTERVAL)?,
            count,
        })
    }

    /// Sets them. As in Go, what the kernel refuses (on an MPTCP socket, say)
    /// is no reason to fail.
    pub fn apply(&self, fd: Fd) {
        let set = |what: SocketOption, value: c_int| {
            let _ = option::set(fd, what, value);
        };
        set(option::NODELAY, self.nodelay.into());
        set(option::KEEPALIVE, self.keepalive.into());
        if self.keepalive {
            let each = [
                (option::KEEPALIVE_IDLE, self.idle),
                (option::KEEPALIVE_INTERVAL, self.interval),
                (option::KEEPALIVE_COUNT, self.count),
            ];
            for (what, value) in each {
                if let Some(value) = value {
                    set(what, value);
                }
            }
        }
    }
}

fn seconds(ns: i64, default: c_int) -> Result<Option<c_int>> {
    match ns {
        ..0 => Ok(None),
        0 => Ok(Some(default)),
        _ => {
            let up = ns / SECOND + i64::from(ns % SECOND > 0);
            if up > SECONDS_MAX {
                return Err(INVAL);
            }
            c_int::try_from(up).map(Some).map_err(|_| INVAL)
        }
    }
}
