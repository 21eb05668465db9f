//! A flag that can be waited for with poll, epoll or select: an eventfd on Linux, a pipe elsewhere.

#[cfg(not(loom))]
pub(crate) use os::Signal;

#[cfg(loom)]
pub(crate) use model::Signal;

#[cfg(not(loom))]
mod os {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

    /// Level-triggered: readable from the first `raise` until `drain`. Never blocks.
    #[derive(Debug)]
    pub(crate) struct Signal {
        reader: OwnedFd,
        /// The writing end of a pipe; an eventfd is written through `reader`.
        writer: Option<OwnedFd>,
    }

    impl Signal {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        pub(crate) fn new() -> io::Result<Self> {
            use rustix::event::{EventfdFlags, eventfd};
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { reader: fd, writer: None })
        }

        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        pub(crate) fn new() -> io::Result<Self> {
            use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
            use rustix::io::{FdFlags, fcntl_setfd};
            let (reader, writer) = rustix::pipe::pipe()?;
            for end in [&reader, &writer] {
                fcntl_setfl(end, fcntl_getfl(end)? | OFlags::NONBLOCK)?;
                fcntl_setfd(end, FdFlags::CLOEXEC)?;
            }
            Ok(Self { reader, writer: Some(writer) })
        }

        /// Makes the descriptor readable.
        pub(crate) fn raise(&self) {
            let writer = self.writer.as_ref().unwrap_or(&self.reader);
            // An eventfd takes eight bytes, and a pipe takes them too. EAGAIN means it is readable already; no other
            // error can come from an open descriptor of our own.
            while let Err(rustix::io::Errno::INTR) = rustix::io::write(writer, &1_u64.to_ne_bytes())
            {
            }
        }

        /// Makes it unreadable again.
        pub(crate) fn drain(&self) {
            let mut buffer = [0_u8; 512];
            loop {
                match rustix::io::read(&self.reader, &mut buffer) {
                    Ok(n) if n == buffer.len() => {}
                    Err(rustix::io::Errno::INTR) => {}
                    Ok(_) | Err(_) => return,
                }
            }
        }

        /// The number of descriptors it uses.
        pub(crate) fn n_fds(&self) -> u64 {
            1 + u64::from(self.writer.is_some())
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }

    impl AsRawFd for Signal {
        fn as_raw_fd(&self) -> RawFd {
            self.reader.as_raw_fd()
        }
    }
}

#[cfg(loom)]
mod model {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

    use crate::sync::{Condvar, Mutex};

    /// The model of a signal for loom, which must see the write and the wait.
    #[derive(Debug)]
    pub(crate) struct Signal {
        raised: Mutex<bool>,
        changed: Condvar,
    }

    impl Signal {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self { raised: Mutex::new(false), changed: Condvar::new() })
        }

        pub(crate) fn raise(&self) {
            *self.raised.lock().unwrap() = true;
            self.changed.notify_all();
        }

        pub(crate) fn drain(&self) {
            *self.raised.lock().unwrap() = false;
        }

        /// Stands for poll(2): returns once the signal is raised.
        #[allow(dead_code, reason = "used by the loom models only")]
        pub(crate) fn wait(&self) {
            let mut raised = self.raised.lock().unwrap();
            while !*raised {
                raised = self.changed.wait(raised).unwrap();
            }
        }

        pub(crate) fn n_fds(&self) -> u64 {
            1
        }
    }

    impl AsFd for Signal {
        fn as_fd(&self) -> BorrowedFd<'_> {
            unreachable!("a model has no descriptor")
        }
    }

    impl AsRawFd for Signal {
        fn as_raw_fd(&self) -> RawFd {
            -1
        }
    }
}
