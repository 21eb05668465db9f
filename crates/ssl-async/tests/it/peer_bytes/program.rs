//! The encoding of programs. All byte strings are programs.
//!
//! ```text
//!   setup  op*            setup: one byte, its bits are the constants of `Setup`
//!   op     0nnnnnnn       the event number n, modulo their count
//!          1hhhhhhh llllllll bytes   the peer sends h * 256 + l bytes, or all that are left
//! ```

/// The role under test, and what it offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup(pub(crate) u8);

impl Setup {
    /// The session is a client's, and the peer a server.
    pub(crate) const CLIENT: u8 = 1;
    /// The server reads the hello first, with an `Acceptor`.
    pub(crate) const ACCEPTOR: u8 = 1 << 1;
    /// Certificates are chosen and judged by futures.
    pub(crate) const HOOKS: u8 = 1 << 2;
    /// Key exchanges are offloaded.
    pub(crate) const EXCHANGE: u8 = 1 << 3;
    /// Tickets are offloaded.
    pub(crate) const TICKETS: u8 = 1 << 4;
    /// The device takes one request at a time.
    pub(crate) const NARROW: u8 = 1 << 5;
    /// One job at a time.
    pub(crate) const ONE_JOB: u8 = 1 << 6;
    /// Both sides show certificates.
    pub(crate) const MUTUAL: u8 = 1 << 7;

    pub(crate) fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    /// These bytes of the peer's arrive.
    Peer(Vec<u8>),
    Event(Event),
}

macro_rules! events {
    ($($name:ident),+ $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Event { $($name),+ }

        impl Event {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

// The order is part of the format: new ones go to the end.
events! {
    // Calls.
    Handshake, Read, Peek, Write, Flush, Shutdown, KeyUpdate, WatchPeer,
    // The device, the hooks and time.
    Answer, AnswerWrongly, Fail, Overtake, AllowHook, DenyHook, DeadlinePasses,
    // Completion within `submit`, with async mode on or off, or on command.
    AtOnce, Blocking, WhenTold,
    // Wakes.
    Wake, SetCallback, UnsetCallback,
    // The transport.
    PeerCloses, Stall, GoOn, Trickle, Break,
    // The session and the pool of jobs.
    Clear, Replace, Squat, Unsquat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) setup: Setup,
    pub(crate) ops: Vec<Op>,
}

impl Program {
    pub(crate) fn parse(data: &[u8]) -> Self {
        let (&setup, mut rest) = data.split_first().unwrap_or((&0, &[]));
        let mut ops = Vec::new();
        while let Some((&first, more)) = rest.split_first() {
            if first & 0x80 == 0 {
                ops.push(Op::Event(Event::ALL[usize::from(first) % Event::ALL.len()]));
                rest = more;
                continue;
            }
            let (&low, more) = more.split_first().unwrap_or((&0, &[]));
            let len = usize::from(first & 0x7f) << 8 | usize::from(low);
            let (bytes, more) = more.split_at(len.min(more.len()));
            ops.push(Op::Peer(bytes.to_vec()));
            rest = more;
        }
        Self { setup: Setup(setup), ops }
    }

    #[cfg(test)]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut data = vec![self.setup.0];
        for op in &self.ops {
            match op {
                Op::Event(event) => data.push(*event as u8),
                Op::Peer(bytes) => {
                    for piece in bytes.chunks(0x7fff) {
                        data.extend_from_slice(&((0x8000 | piece.len()) as u16).to_be_bytes());
                        data.extend_from_slice(piece);
                    }
                }
            }
        }
        data
    }
}
