//! What only unix sockets do: pass descriptors, and tell who the peer is.

use crate::error::{Error, INVAL, Result, Sys};
use crate::fd::desc::Call;
use crate::fd::limits::Side;
use crate::net::failure::Explain;
use crate::net::stream::receive;
use crate::net::{packet, socket as sockets};
use crate::sys::message::{self, FDS_MAX};
use crate::sys::socket::{self, Bytes};
use crate::sys::{self, Fd};
use core::mem::MaybeUninit;

fn check_family(call: &Call) -> Result<()> {
    if call.kind().family == libc::AF_UNIX {
        Ok(())
    } else {
        Err(Error::argument(libc::EOPNOTSUPP))
    }
}

/// Whether descriptors need a byte to travel with, and one that carries
/// nothing else does: on a stream, and on a sequence whose empty message would
/// look like its end.
fn needs_byte(call: &Call, len: usize) -> bool {
    len == 0 && call.kind().takes_turns()
}

/// Sends bytes with descriptors. As Go does, a stream gets one byte where the
/// caller has none.
pub fn send_fds(fd: Fd, fds: &[Fd], buf: &Bytes) -> Result<usize> {
    if fds.len() > FDS_MAX {
        return Err(INVAL);
    }
    let mut call = Call::shared(fd, Side::Write)?;
    let fills = !fds.is_empty() && needs_byte(&call, buf.len());
    let filler = [MaybeUninit::new(0)];
    let data = if fills { &filler } else { buf };
    let send = || {
        if fds.is_empty() {
            socket::send(fd, data, 0).map_err(|e| e.named(Sys::Sendmsg))
        } else {
            message::send_rights(fd, data, fds)
        }
    };
    let sent = check_family(&call).and_then(|()| packet::send_one(&mut call, 0, send));
    let n = sent.explain("write", &call)?;
    Ok(if fills { 0 } else { n })
}

/// Receives bytes and the descriptors that come along: sockets are attached,
/// and what finds no room in `fds` is closed. Returns the bytes, and how many
/// descriptors came.
pub fn recv_fds(fd: Fd, fds: &mut [MaybeUninit<Fd>], buf: &mut Bytes) -> Result<(usize, usize)> {
    let mut call = Call::shared(fd, Side::Read)?;
    let fills = needs_byte(&call, buf.len());
    let mut filler = [MaybeUninit::uninit()];
    let data = if fills { &mut filler[..] } else { buf };
    let mut all = [-1; FDS_MAX];
    let mut came = 0;
    let asked = data.len();
    let recv = || {
        let (n, count) = message::recv_rights(fd, data, &mut all)?;
        came = count;
        Ok(n)
    };
    let received = check_family(&call).and_then(|()| receive(&mut call, asked, recv));
    let n = received.explain("read", &call)?;
    for (index, one) in all.iter().take(came).enumerate() {
        match fds.get_mut(index) {
            Some(place) => {
                // What is no socket stays as it is; so does a socket that
                // finds no memory, which any call then answers with EBADF.
                let _ = sockets::attach(*one);
                place.write(*one);
            }
            None => {
                let _ = sys::close(*one);
            }
        }
    }
    Ok((if fills { 0 } else { n }, came))
}

/// Who was at the other end when the connection was made.
pub fn peer_cred(fd: Fd) -> Result<libc::ucred> {
    let call = Call::incref(fd)?;
    credentials(&call).explain("getpeername", &call)
}

fn credentials(call: &Call) -> Result<libc::ucred> {
    check_family(call)?;
    let who = socket::peer_credentials(call.fd())?;
    // The kernel has no error for a socket without a peer.
    if who.pid == 0 && who.uid == libc::uid_t::MAX {
        return Err(Error::os(libc::ENOTCONN, Sys::GetSockOpt));
    }
    Ok(who)
}
