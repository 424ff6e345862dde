//! What is wrong with an address text, in Go's words.

use crate::error::{ADDRESS, Error, NETWORK};
use crate::text::Long;

/// How much is shown of a text: more than any that would do.
const SHOWN_MAX: usize = 512;

/// What a complaint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About<'a> {
    /// Nothing that could be shown.
    Nothing,
    /// Go's AddrError: the text of an address, or a part of it.
    Address(&'a [u8]),
    /// Go's DNSError: a name.
    Lookup(&'a [u8]),
    /// Go's DNSError: a service of a transport.
    Service(&'static str, &'a [u8]),
    /// Go's UnknownNetworkError: the name of a network.
    Network(&'a [u8]),
}

/// A text that will not do, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complaint<'a> {
    /// The number that C sees.
    pub error: Error,
    /// What it is about.
    pub about: About<'a>,
    /// Go's words.
    pub why: &'static str,
}

/// What reading an address comes to.
pub type Read<'a, T> = core::result::Result<T, Complaint<'a>>;

impl<'a> Complaint<'a> {
    /// No such network.
    pub const fn network(name: &'a [u8]) -> Self {
        Self {
            error: NETWORK,
            about: About::Network(name),
            why: "",
        }
    }

    /// There is an address of this network, but not for what is asked.
    pub const fn unexpected(text: &'a [u8]) -> Self {
        Self {
            error: NETWORK,
            about: About::Address(text),
            why: "unexpected address type",
        }
    }

    /// An address, or a part of one, that does not parse.
    pub const fn address(text: &'a [u8], why: &'static str) -> Self {
        Self {
            error: ADDRESS,
            about: About::Address(text),
            why,
        }
    }

    /// An address where there must be one.
    pub const fn missing() -> Self {
        Self {
            error: ADDRESS,
            about: About::Nothing,
            why: "missing address",
        }
    }

    /// A host that is neither an address nor a name.
    pub const fn host(text: &'a [u8]) -> Self {
        Self {
            error: ADDRESS,
            about: About::Lookup(text),
            why: "no such host",
        }
    }

    /// A service that nobody knows.
    pub const fn service(transport: &'static str, text: &'a [u8]) -> Self {
        Self {
            error: ADDRESS,
            about: About::Service(transport, text),
            why: "unknown port",
        }
    }

    /// Go's text, without the operation. What would not end is cut.
    pub fn write(&self, text: &mut Long) {
        let cut = |long: &'a [u8]| long.get(..SHOWN_MAX).unwrap_or(long);
        match self.about {
            About::Nothing => {}
            About::Network(name) => {
                text.push(b"unknown network ");
                text.push(cut(name));
            }
            About::Address(address) => {
                text.push(b"address ");
                text.push(cut(address));
                text.push(b": ");
            }
            About::Lookup(name) => {
                text.push(b"lookup ");
                text.push(cut(name));
                text.push(b": ");
            }
            About::Service(transport, name) => {
                text.push(b"lookup ");
                text.push(transport.as_bytes());
                text.push(b"/");
                text.push(cut(name));
                text.push(b": ");
            }
        }
        text.push(self.why.as_bytes());
    }
}
