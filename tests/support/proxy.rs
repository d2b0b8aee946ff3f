//! A stretch of network that can fail: TCP from one port of the loopback interface to another.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How the stretch behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// As a network should.
    Pass,
    /// Every byte comes that much later, in both directions.
    Delay(Duration),
    /// Connections are reset, and new ones too.
    Cut,
    /// Nothing passes and nobody is told. When it heals, what was under way arrives.
    Freeze,
    /// The same, but what was open when it began, or opened meanwhile, stays dead for ever: neither side hears of the
    /// other again, as behind a router that has forgotten its connections. New ones pass when it heals.
    Hole,
}

/// The stretch. Its thread ends with it.
pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<State>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// How it behaves, and how often it broke connections: a break that is over before a connection has noticed is a break.
#[derive(Clone, Copy)]
struct State {
    mode: Mode,
    n_breaks: u64,
    last_break: Mode,
}

impl Proxy {
    /// From a free port to `to`, which need not be there yet.
    pub(crate) fn start(to: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (state, watched) = watch::channel(State {
            mode: Mode::Pass,
            n_breaks: 0,
            last_break: Mode::Cut,
        });
        runtime.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((near, _)) => drop(tokio::spawn(connection(near, to, watched.clone()))),
                    // Out of file descriptors, perhaps; some will be free again.
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
        Self {
            port,
            state,
            runtime: Some(runtime),
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Behaves otherwise from now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.state.send_modify(|state| {
            state.mode = mode;
            if matches!(mode, Mode::Cut | Mode::Hole) {
                state.n_breaks += 1;
                state.last_break = mode;
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn connection(near: TcpStream, to: u16, mut state: watch::Receiver<State>) {
    let far = loop {
        let now = *state.borrow_and_update();
        match now.mode {
            Mode::Cut => {
                near.set_zero_linger().ok();
                return;
            }
            Mode::Hole => return dead(near).await,
            Mode::Freeze => {
                if state.changed().await.is_err() {
                    return;
                }
            }
            Mode::Pass | Mode::Delay(_) => {
                let to = SocketAddr::from(([127, 0, 0, 1], to));
                if let Ok(far) = TcpStream::connect(to).await {
                    break far;
                }
                near.set_zero_linger().ok();
                return;
            }
        }
    };
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (there, back) = (state.clone(), state.clone());
    let n_breaks = state.borrow().n_breaks;
    let broken = async {
        let broken = state.wait_for(|state| state.n_breaks != n_breaks);
        broken.await.map_or(Mode::Cut, |state| state.last_break)
    };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let both = async {
        tokio::join!(
            pump(&mut near_read, &mut far_write, there),
            pump(&mut far_read, &mut near_write, back)
        )
    };
    let last = tokio::select! {
        _ = both => None,
        last = broken => Some(last),
    };
    match last {
        None => {}
        Some(Mode::Hole) => std::future::pending().await,
        Some(_) => {
            for half in [&near_write, &far_write] {
                let stream: &TcpStream = half.as_ref();
                stream.set_zero_linger().ok();
            }
        }
    }
    drop((near_read, near_write, far_read, far_write));
}

/// A connection that nobody answers on.
async fn dead(near: TcpStream) {
    std::future::pending::<()>().await;
    drop(near);
}

/// Copies one direction until its end.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    // Bytes, and when they came.
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let read = async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match from.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    let chunk = (Instant::now(), buffer[..n].to_vec());
                    if sender.send(chunk).await.is_err() {
                        return;
                    }
                }
                _ => return,
            }
        }
    };
    let write = async {
        while let Some((came, bytes)) = receiver.recv().await {
            loop {
                let mode = state.borrow_and_update().mode;
                match mode {
                    Mode::Delay(delay) => {
                        tokio::time::sleep_until(came + delay).await;
                        break;
                    }
                    Mode::Freeze => {
                        if state.changed().await.is_err() {
                            return;
                        }
                    }
                    // Broken connections are not asked.
                    Mode::Pass | Mode::Cut | Mode::Hole => break,
                }
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    };
    tokio::join!(read, write);
}
