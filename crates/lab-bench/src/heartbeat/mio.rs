//! The arm on a bare event loop.

use core::time::Duration;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use job_core::JobPool;
use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use rustls::ServerConfig;
use ssl_async::{Outcome, Ssl, SslContext};
use wait_ctx::{ReadyQueue, Route};

use super::setting::{HeartbeatDelays, PERIOD, Setting};

const LISTENER: usize = usize::MAX - 2;
const READY: usize = usize::MAX - 1;
const TIMER: usize = usize::MAX;

pub(crate) fn offloaded(
    listener: TcpListener,
    setting: &Setting,
    stop: &Arc<AtomicBool>,
) -> io::Result<HeartbeatDelays> {
    serve(listener, &setting.offloaded, stop)
}

/// Accepts, shakes hands and says goodbye, on the calling thread, with the heartbeat between.
pub(super) fn serve(
    listener: TcpListener,
    config: &Arc<ServerConfig>,
    stop: &Arc<AtomicBool>,
) -> io::Result<HeartbeatDelays> {
    let context = SslContext::server(Arc::clone(config));
    let mut listener = mio::net::TcpListener::from_std(listener);
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    let (mut queue, jobs) = (ReadyQueue::new()?, JobPool::new());
    poll.registry().register(&mut listener, Token(LISTENER), Interest::READABLE)?;
    let bell = queue.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&bell), Token(READY), Interest::READABLE)?;
    // The poller's own timeouts are whole milliseconds, as long as a beat.
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
    let fd = timer.as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), Token(TIMER), Interest::READABLE)?;
    let mut sessions: Vec<Option<Ssl<TcpStream>>> = Vec::new();
    let (mut free, mut ready) = (Vec::new(), Vec::new());
    let (mut delays, mut due) = (HeartbeatDelays::default(), Instant::now() + PERIOD);
    while !stop.load(Ordering::Acquire) {
        set(&timer, due)?;
        let timeout = if queue.prepare_sleep() { None } else { Some(Duration::ZERO) };
        match poll.poll(&mut events, timeout) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        queue.awake();
        queue.drain(&mut ready);
        ready.extend(events.iter().map(|event| wait_ctx::Token(event.token().0)));
        for token in ready.drain(..) {
            if Instant::now() >= due {
                due = delays.note(due);
            }
            if token.0 == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    let _ = socket.set_nodelay(true);
                    let n = free.pop().unwrap_or_else(|| {
                        sessions.push(None);
                        sessions.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut socket, Token(n), both)?;
                    let ssl = Ssl::accept(&context, &jobs, socket).map_err(io::Error::other)?;
                    let route = Route::Ready(queue.sender(), wait_ctx::Token(n));
                    ssl.wait_ctx().notifier().set_route(route);
                    sessions[n] = Some(ssl);
                    // Clients come in bursts: the backlog is as long as they like.
                    if Instant::now() >= due {
                        due = delays.note(due);
                    }
                }
            } else if let Some(place) = sessions.get_mut(token.0)
                && let Some(ssl) = place
            {
                match ssl.do_handshake() {
                    Ok(Outcome::Ready(())) => {
                        // As small as it is, it leaves at once.
                        let _ = ssl.shutdown();
                    }
                    Ok(_) => continue,
                    Err(error) => tracing::debug!(%error, "connection.failed"),
                }
                *place = None;
                free.push(token.0);
            }
        }
        if Instant::now() >= due {
            due = delays.note(due);
        }
    }
    Ok(delays)
}

/// Makes the timer's descriptor readable at `due`.
fn set(timer: &OwnedFd, due: Instant) -> io::Result<()> {
    // Zero would disarm it.
    let wait = due.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
    let once = Itimerspec {
        it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: Timespec { tv_sec: 0, tv_nsec: wait.as_nanos().min(999_999_999) as _ },
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
    Ok(())
}
