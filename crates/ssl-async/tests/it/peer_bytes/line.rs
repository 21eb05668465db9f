//! The transport of a fuzzed session, which stalls, narrows and breaks on command.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::rc::Rc;

use crate::support::Pipe;

/// The current behaviour of the transport.
#[derive(Clone, Copy, Default)]
pub(crate) struct Weather {
    /// It takes nothing.
    pub(crate) stalled: bool,
    /// It passes one byte at a time.
    pub(crate) trickles: bool,
    /// Every call fails.
    pub(crate) broken: bool,
}

/// Control of the transport, shared by the session and its driver.
#[derive(Clone, Default)]
pub(crate) struct LineControl(Rc<Shared>);

#[derive(Default)]
struct Shared {
    weather: Cell<Weather>,
    calls: Cell<u32>,
}

/// The limit of reads and writes in one call; a session beyond it loops.
const MOST_CALLS: u32 = 200_000;

impl LineControl {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Weather)) {
        let mut weather = self.0.weather.get();
        change(&mut weather);
        self.0.weather.set(weather);
    }

    /// Marks the beginning of a call.
    pub(crate) fn begin_call(&self) {
        self.0.calls.set(0);
    }

    fn ask(&self) -> io::Result<Weather> {
        let calls = self.0.calls.get() + 1;
        self.0.calls.set(calls);
        assert!(calls < MOST_CALLS, "the session goes round in circles");
        let weather = self.0.weather.get();
        if weather.broken { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(weather) }
    }
}

pub(crate) struct Line {
    inner: Pipe,
    control: LineControl,
}

impl Line {
    pub(crate) fn new(inner: Pipe, control: LineControl) -> Self {
        Self { inner, control }
    }
}

impl Read for Line {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = if self.control.ask()?.trickles { into.len().min(1) } else { into.len() };
        self.inner.read(&mut into[..most])
    }
}

impl Write for Line {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let weather = self.control.ask()?;
        if weather.stalled {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.inner.write(&data[..if weather.trickles { data.len().min(1) } else { data.len() }])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
