//! `netfd_dial_config` and `netfd_listen_config`: structs that say how long
//! they are, so that they can grow; and what may stand in them.
//!
//! Specifies principle 9 of the ABI: shorter means that the missing tail is
//! zero, longer is fine where what is unknown is zero, NULL is all defaults.

#![allow(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

mod common;

use common::*;
use libc::{c_char, c_int, c_void};
use std::ffi::{CStr, CString};
use std::mem::{offset_of, size_of};
use std::ptr::null;

const EINVAL: c_int = -libc::EINVAL;
const DIAL: usize = size_of::<netfd_dial_config>();
const LISTEN: usize = size_of::<netfd_listen_config>();

/// A struct of C that may be longer than we know it.
#[repr(C, align(8))]
struct Bytes([u8; 8192]);

impl Bytes {
    /// Nothing but its size.
    fn sized(size: usize) -> Self {
        let mut bytes = Self([0; 8192]);
        bytes.0[..8].copy_from_slice(&size.to_ne_bytes());
        bytes
    }

    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..][..bytes.len()].copy_from_slice(bytes);
        self
    }
}

/// netfd_dial() of somebody who listens.
fn dial_with(at: &Addr, config: &Bytes) -> c_int {
    let address = CString::new(at.text()).expect("no NUL");
    // SAFETY: the texts end with a NUL, the config is longer than it says, or
    // says what is refused.
    unsafe { netfd_dial(c"tcp".as_ptr(), address.as_ptr(), config.0.as_ptr().cast()) }
}

/// netfd_listen() and netfd_listen_packet() anywhere.
fn listen_with(config: &Bytes) -> [c_int; 2] {
    let (config, address) = (config.0.as_ptr().cast(), c"127.0.0.1:0".as_ptr());
    // SAFETY: as for `dial_with`.
    let stream = unsafe { netfd_listen(c"tcp".as_ptr(), address, config) };
    // SAFETY: as for `dial_with`.
    let packet = unsafe { netfd_listen_packet(c"udp".as_ptr(), address, config) };
    [stream, packet]
}

fn dials(config: &Bytes) {
    let (listener, at) = listener();
    let fd = dial_with(&at, config);
    assert!(fd >= 0, "{}", error_text());
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(listener), 0);
}

fn dial_refuses(config: &Bytes) {
    let (listener, at) = listener();
    assert_eq!(dial_with(&at, config), EINVAL);
    assert_eq!(error_text(), "dial: invalid argument");
    let nobody = wait(listener, NETFD_READABLE, after(20 * MS));
    assert_eq!(nobody, NETFD_EDEADLINE, "nothing was begun");
    assert_eq!(destroy(listener), 0);
}

fn listens(config: &Bytes) {
    for fd in listen_with(config) {
        assert!(fd >= 0, "{}", error_text());
        assert_eq!(destroy(fd), 0);
    }
}

fn listen_refuses(config: &Bytes) {
    assert_eq!(listen_with(config), [EINVAL; 2]);
    assert_eq!(error_text(), "listen: invalid argument");
}

#[test]
fn a_config_of_size_0_is_einval() {
    dial_refuses(&Bytes::sized(0));
    listen_refuses(&Bytes::sized(0));
}

#[test]
fn null_is_all_defaults() {
    let (listener, at) = listener();
    let fd = dial("tcp", &at.text(), None);
    assert!(fd >= 0, "{}", error_text());
    let other = common::listen("tcp", "127.0.0.1:0", None);
    let packet = listen_packet("udp", "127.0.0.1:0", None);
    assert!(other >= 0 && packet >= 0, "{}", error_text());
    for fd in [listener, fd, other, packet] {
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn all_zero_but_the_size_is_all_defaults() {
    dials(&Bytes::sized(DIAL));
    listens(&Bytes::sized(LISTEN));
}

#[test]
fn a_shorter_config_ends_where_it_says() {
    // What lies behind it is the caller's own, and would be refused.
    let end = offset_of!(netfd_dial_config, nodelay);
    dials(&Bytes::sized(end).put(end, &[0x55; 64]));
    let end = offset_of!(netfd_listen_config, reuse_port);
    listens(&Bytes::sized(end).put(end, &[0x55; 64]));
    for size in 8..=DIAL {
        dials(&Bytes::sized(size));
    }
    for size in 8..=LISTEN {
        listens(&Bytes::sized(size));
    }
}

#[test]
fn a_shorter_config_is_obeyed_as_far_as_it_goes() {
    let at = offset_of!(netfd_dial_config, deadline);
    let config = Bytes::sized(at + 8).put(at, &1i64.to_ne_bytes());
    let (listener, to) = listener();
    assert_eq!(dial_with(&to, &config), NETFD_EDEADLINE);
    assert_eq!(destroy(listener), 0);
    let at = offset_of!(netfd_listen_config, reuse_port);
    let config = Bytes::sized(at + 4).put(at, &1i32.to_ne_bytes());
    for fd in listen_with(&config) {
        assert_eq!(option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT), 1);
        assert_eq!(destroy(fd), 0);
    }
}

#[test]
fn a_longer_config_is_fine_where_its_tail_is_zero() {
    for more in [1, 7, 8, 500, 1024] {
        dials(&Bytes::sized(DIAL + more));
        listens(&Bytes::sized(LISTEN + more));
    }
    // What lies behind its end is not looked at.
    dials(&Bytes::sized(DIAL + 8).put(DIAL + 8, &[1]));
    listens(&Bytes::sized(LISTEN + 8).put(LISTEN + 8, &[1]));
}

#[test]
fn a_longer_config_whose_tail_is_not_zero_is_einval() {
    for at in [0, 1, 255] {
        dial_refuses(&Bytes::sized(DIAL + 256).put(DIAL + at, &[1]));
        listen_refuses(&Bytes::sized(LISTEN + 256).put(LISTEN + at, &[1]));
    }
}

#[test]
fn a_size_that_cannot_be_meant_is_einval_and_nothing_is_read() {
    for size in [1 << 20, usize::MAX / 2, usize::MAX] {
        dial_refuses(&Bytes::sized(size));
        listen_refuses(&Bytes::sized(size));
    }
}

/// What a switch must not be.
const NO_SWITCH: [c_int; 5] = [2, -2, 255, c_int::MAX, c_int::MIN];

#[test]
fn a_switch_that_is_none_of_three_is_einval() {
    for value in NO_SWITCH {
        let value = value.to_ne_bytes();
        for at in [
            offset_of!(netfd_dial_config, nodelay),
            offset_of!(netfd_dial_config, mptcp),
        ] {
            dial_refuses(&Bytes::sized(DIAL).put(at, &value));
        }
        for at in [
            offset_of!(netfd_listen_config, reuse_port),
            offset_of!(netfd_listen_config, v6only),
            offset_of!(netfd_listen_config, nodelay),
            offset_of!(netfd_listen_config, mptcp),
            offset_of!(netfd_listen_config, unlink),
        ] {
            listen_refuses(&Bytes::sized(LISTEN).put(at, &value));
        }
    }
}

/// More than the kernel takes: 32767 s, and one nanosecond over it, which
/// rounds up; and the largest number there is.
const TOO_LONG: [i64; 3] = [32_768 * SECOND, 32_767 * SECOND + 1, i64::MAX];

#[test]
fn keepalive_that_the_kernel_would_refuse_is_einval() {
    for value in TOO_LONG {
        let value = value.to_ne_bytes();
        for at in [
            offset_of!(netfd_dial_config, keepalive_idle),
            offset_of!(netfd_dial_config, keepalive_interval),
        ] {
            dial_refuses(&Bytes::sized(DIAL).put(at, &value));
        }
        for at in [
            offset_of!(netfd_listen_config, keepalive_idle),
            offset_of!(netfd_listen_config, keepalive_interval),
        ] {
            listen_refuses(&Bytes::sized(LISTEN).put(at, &value));
        }
    }
    for count in [128, c_int::MAX] {
        let count = count.to_ne_bytes();
        let at = offset_of!(netfd_dial_config, keepalive_count);
        dial_refuses(&Bytes::sized(DIAL).put(at, &count));
        let at = offset_of!(netfd_listen_config, keepalive_count);
        listen_refuses(&Bytes::sized(LISTEN).put(at, &count));
    }
}

#[test]
fn the_most_that_the_kernel_takes_is_fine() {
    let config = netfd_dial_config {
        keepalive_idle: 32_767 * SECOND,
        keepalive_interval: 32_767 * SECOND,
        keepalive_count: 127,
        ..dial_config()
    };
    let (listener, at) = listener();
    let fd = dial("tcp", &at.text(), Some(&config));
    assert!(fd >= 0, "{}", error_text());
    for (name, value) in [
        (libc::TCP_KEEPIDLE, 32_767),
        (libc::TCP_KEEPINTVL, 32_767),
        (libc::TCP_KEEPCNT, 127),
    ] {
        assert_eq!(option(fd, libc::IPPROTO_TCP, name), value);
    }
    assert_eq!(destroy(fd), 0);
    assert_eq!(destroy(listener), 0);
}

#[test]
fn any_time_is_a_time() {
    // The far past has passed, the far future never comes.
    let (listener, at) = listener();
    for (deadline, has_passed) in [(i64::MIN, true), (-1, true), (1, true), (i64::MAX, false)] {
        for fallback_delay in [i64::MIN, -1, 0, 1, i64::MAX] {
            let config = netfd_dial_config {
                deadline,
                fallback_delay,
                ..dial_config()
            };
            let fd = dial("tcp", &at.text(), Some(&config));
            if has_passed {
                assert_eq!(fd, NETFD_EDEADLINE, "{deadline}");
            } else {
                assert!(fd >= 0, "{}", error_text());
                assert_eq!(destroy(fd), 0);
            }
        }
    }
    assert_eq!(destroy(listener), 0);
}

#[test]
fn a_config_that_is_refused_shows_nothing_to_its_control_function() {
    unsafe extern "C" fn control(
        _: c_int,
        _: *const c_char,
        _: *const c_char,
        called: *mut c_void,
    ) -> c_int {
        // SAFETY: the test passes a bool.
        unsafe { *called.cast::<bool>() = true };
        0
    }
    let mut called = false;
    let config = netfd_dial_config {
        nodelay: 2,
        control: Some(control),
        control_arg: (&raw mut called).cast(),
        ..dial_config()
    };
    assert_eq!(dial("tcp", &refusing().text(), Some(&config)), EINVAL);
    assert!(!called);
}

#[test]
fn a_text_that_is_null_is_efault() {
    type ByName<T> = unsafe extern "C" fn(*const c_char, *const c_char, *const T) -> c_int;
    fn is_efault<T>(network: &CStr, call: ByName<T>) {
        let some = c"127.0.0.1:1";
        for (network, address) in [(null(), some.as_ptr()), (network.as_ptr(), null())] {
            // SAFETY: NULL is told, the other text ends with a NUL.
            let code = unsafe { call(network, address, null()) };
            assert_eq!(code, -libc::EFAULT);
        }
    }
    is_efault(c"tcp", netfd_dial);
    is_efault(c"tcp", netfd_listen);
    is_efault(c"udp", netfd_listen_packet);
}
