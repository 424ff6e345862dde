//! Sockets that systemd has made: sd_listen_fds(3).

use crate::error::Result;
use crate::fd::State;
use crate::fd::table;
use crate::net::options::TcpOptions;
use crate::net::socket as sockets;
use crate::sys::{self, Fd, process};

/// The first of the descriptors: `SD_LISTEN_FDS_START`.
const START: Fd = 3;

/// What a descriptor is called that nobody has named.
const UNNAMED: &[u8] = b"unknown";

/// The sockets named `name` (`None`: all), in order; each is shown to `found`,
/// which says whether it is wanted and so comes into the table. How many there
/// are. None, where what was passed is for another process, or is garbled.
pub fn listen_fds(name: Option<&[u8]>, mut found: impl FnMut(Fd) -> bool) -> Result<usize> {
    let number = |name| -> Option<Fd> {
        let text = sys::environment(name)?;
        core::str::from_utf8(&text).ok()?.parse().ok()
    };
    let mine = number(c"LISTEN_PID").is_some_and(|pid| pid.unsigned_abs() == process::id());
    let count = number(c"LISTEN_FDS").filter(|count| mine && *count > 0);
    let Some(end) = count.and_then(|count| START.checked_add(count)) else {
        return Ok(0);
    };
    let names = sys::environment(c"LISTEN_FDNAMES");
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
        matching += 1;
        if found(fd) && !is_attached(fd) {
            sockets::attach(fd)?;
            if sotype == libc::SOCK_STREAM && matches!(family, libc::AF_INET | libc::AF_INET6) {
                TcpOptions::gos().apply(fd);
            }
        }
    }
    Ok(matching)
}

/// Whether an earlier call has brought it in: its callers are not to be
/// disturbed.
fn is_attached(fd: Fd) -> bool {
    table::find(fd).is_ok_and(|entry| entry.mutex.state(process::epoch()).0 == State::Open)
}
