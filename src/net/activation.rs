//! Sockets that systemd has made: sd_listen_fds(3).

use crate::error::Result;
use crate::fd::State;
use crate::fd::table;
use crate::net::options::TcpOptions;
use crate::net::socket as sockets;
use crate::sys::{self, Fd, process};
use core::ffi::CStr;

/// The first of the descriptors: `SD_LISTEN_FDS_START`.
const START: Fd = 3;

/// The most that are believed in. systemd names each that it passes, in one
/// string of the environment, and execve(2) has room for 128 KiB in one.
const COUNT_MAX: u32 = 1 << 17;

/// What a descriptor is called that nobody has named.
const UNNAMED: &[u8] = b"unknown";

/// The sockets named `name` (`None`: all), in order; each is shown to `found`,
/// which says whether it is wanted and so comes into the table. How many there
/// are. None, where what was passed is for another process, or is garbled.
pub fn listen_fds(name: Option<&[u8]>, mut found: impl FnMut(Fd) -> bool) -> Result<usize> {
    let mine = number(c"LISTEN_PID")?.is_some_and(|pid| pid == process::id());
    let count = number(c"LISTEN_FDS")?.filter(|count| mine && *count <= COUNT_MAX);
    let count = count.and_then(|count| Fd::try_from(count).ok());
    let end = START + count.unwrap_or(0);
    let names = sys::environment(c"LISTEN_FDNAMES")?;
    if let Some(names) = &names
        && names.split(|byte| *byte == b':').count() != (START..end).len()
    {
        return Ok(0);
    }
    let mut named = names
        .iter()
        .flat_map(|names| names.split(|byte| *byte == b':'));
    let mut matching = 0;
    for fd in START..end {
        let its = named.next().unwrap_or(UNNAMED);
        if name.is_some_and(|name| name != its) {
            continue;
        }
        let Ok((family, sotype, _)) = sys::socket::describe(fd) else {
            continue; // a pipe, a file, or gone
        };
        let state = state_of(fd);
        if matches!(state, State::Destroying | State::Detaching | State::Closing) {
            continue; // going: its end is not to be undone
        }
        matching += 1;
        // The callers of one that an earlier call brought in are not to be
        // disturbed.
        if found(fd) && state != State::Open {
            sockets::attach(fd)?;
            if sotype == libc::SOCK_STREAM && matches!(family, libc::AF_INET | libc::AF_INET6) {
                TcpOptions::gos().apply(fd);
            }
        }
    }
    Ok(matching)
}

/// A variable that is a number, without a sign.
fn number(name: &CStr) -> Result<Option<u32>> {
    let text = sys::environment(name)?.unwrap_or_default();
    let plain = text.iter().all(u8::is_ascii_digit);
    let text = core::str::from_utf8(&text).unwrap_or_default();
    Ok(text.parse().ok().filter(|_| plain))
}

/// How the table knows a number.
fn state_of(fd: Fd) -> State {
    table::find(fd).map_or(State::Free, |entry| entry.mutex.state(process::epoch()).0)
}
